"""Pretraining end to end at toy size: the same bytes again, resumed or straight, and an honest card."""

import json
from dataclasses import replace

import pytest
import torch

from keyturn.cli.main import main
from keyturn.core.errors import UsageError
from keyturn.core.rundir import read_json
from keyturn.core.streams import Streams
from keyturn.policies.hashes import weights_hash
from keyturn.policies.loading import load_policy, world_of
from keyturn.policies.optimise import FitConfig
from keyturn.pretraining.pretrain import pretrain
from keyturn.pretraining.recipes import PRETRAIN, PretrainRecipe, Probe, Size
from keyturn.problems.world.chain import ChainWorld
from keyturn.problems.world.document import LossWeights

TOY = PretrainRecipe(
    name="toy",
    summary="for tests",
    size=Size(hidden=16, inner=24, layers=1, heads=2, context=64),
    fit={"chain": FitConfig(steps=14, batch_rows=8, bucket_batches=4, warmup=4)},
    probe=Probe(documents=24, every=5, problems=3, draws=4),
)
WORLD = ChainWorld(linked=0.3)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """For the module and not for each test: `straight` is made before any test's own fixtures, and the bytes
    are the same for the same number of threads only."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def straight():
    return pretrain(WORLD, TOY, seed=3)


def test_same_seed_same_bytes_other_seed_others(straight):
    assert pretrain(WORLD, TOY, seed=3).card["hashes"] == straight.card["hashes"]
    assert pretrain(WORLD, TOY, seed=4).card["hashes"]["weights"] != straight.card["hashes"]["weights"]


def test_nothing_depends_on_the_global_generators(straight):
    state = torch.get_rng_state()
    torch.manual_seed(12345)
    again = pretrain(WORLD, TOY, seed=3)
    torch.set_rng_state(state)
    assert again.card["hashes"] == straight.card["hashes"]


def test_the_card_counts_what_was_read(straight):
    card = straight.card
    counted = card["corpus"]
    assert sum(row["documents"] for row in counted.values()) == 14 * 8
    assert sum(row["tokens"] for row in counted.values()) == card["tokens"]
    assert set(counted) == {"single", "unlinked", "linked"}
    assert card["parameters"] == sum(p.numel() for p in straight.policy.model.parameters())
    assert [look["step"] for look in card["accuracy_by_role"]] == [0, 5, 10, 14]
    assert [zone["cell"]["depth"] for zone in card["zones"]] == list(WORLD.test_depths)
    assert card["hashes"]["weights"] == weights_hash(straight.policy.model)
    json.dumps(card, allow_nan=False)


def test_the_folder_is_the_policy(straight, tmp_path):
    pretrain(WORLD, TOY, seed=3, out=tmp_path / "model")
    loaded = load_policy(tmp_path / "model")
    assert loaded.fingerprint == straight.policy.fingerprint
    assert world_of(tmp_path / "model") == WORLD
    card = read_json(tmp_path / "model" / "card.json")
    assert card["hashes"] == straight.card["hashes"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "no state file is left behind"
    with pytest.raises(UsageError, match="exists already"):
        pretrain(WORLD, TOY, seed=3, out=tmp_path / "model")


def interrupting(monkeypatch, left):
    """Press Ctrl-C when loss weights were asked for often enough."""
    asked, real = iter(range(left)), LossWeights.of

    def of(self, document):
        if next(asked, None) is None:
            raise KeyboardInterrupt
        return real(self, document)

    monkeypatch.setattr(LossWeights, "of", of)


def test_interrupted_and_resumed_equals_straight(straight, tmp_path, monkeypatch):
    monkeypatch.setattr("keyturn.pretraining.pretrain._CHECKPOINT_EVERY", 5)
    out = tmp_path / "model"
    with monkeypatch.context() as here:
        interrupting(here, 8 * 4 * 3)
        with pytest.raises(KeyboardInterrupt):
            pretrain(WORLD, TOY, seed=3, out=out)
    assert not out.exists()
    (state,) = tmp_path.iterdir()
    assert state.stat().st_size > 1000
    resumed = pretrain(WORLD, TOY, seed=3, out=out)
    assert resumed.card["hashes"] == straight.card["hashes"]
    assert resumed.report.history == straight.report.history
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "the state was found, used and removed"


def test_a_recipe_without_a_schedule_for_the_world():
    with pytest.raises(UsageError, match="no schedule for chain"):
        pretrain(WORLD, replace(TOY, fit={"graph": TOY.fit["chain"]}))


def test_the_verb_writes_a_folder_and_prints_its_card(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(PRETRAIN, "toy", TOY)
    out = tmp_path / "run"
    model = out / "model"
    words = ["world", "pretrain", "chain", "--recipe", "toy", "--out", str(out), "--steps", "10"]
    assert main([*words, "--dials", "linked=0.5", "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["model"] == str(model)
    assert card["steps"] == 10
    world = world_of(model)
    assert world is not None
    assert world.linked == 0.5
    assert load_policy(model).model.config.hidden_size == 16
    assert main([*words, "--overwrite"]) == 0
    shown = capsys.readouterr().out
    assert "teacher-forced accuracy by role" in shown
    assert "depth 6" in shown


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["chian"], "unknown world 'chian'"),
        (["chain", "--recipe", "demmo"], "did you mean demo"),
        (["chain", "--dials", "linked"], "a dial is FIELD=VALUE"),
        (["chain", "--dials", "linkd=1"], "no field 'linkd'"),
        (["chain", "--dials", "linked=7"], "a share lies in [0, 1]"),
    ],
)
def test_bad_calls_are_one_line(words, says, capsys):
    assert main(["world", "pretrain", *words]) in (1, 2)
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said


def test_probe_documents_are_not_training_documents():
    from keyturn.pretraining.pretrain import rows_of
    from keyturn.problems.world.corpus import block

    streams = Streams(3).child("pretrain")
    read = [row.tokens.tolist() for row in rows_of(WORLD, TOY.fit["chain"], streams, 0)]
    probed = [list(document.ids) for document in block(WORLD, streams.child("probe"), 0, 32)]
    assert read[:32] != probed
