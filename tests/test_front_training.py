"""`keyturn.train`: names and objects, typed settings, what comes back; the same as the command trains."""

import hashlib
import json

import numpy as np
import pytest

import keyturn
from keyturn.cli.main import main
from keyturn.core.errors import KeyturnError
from keyturn.front.method_of import settled
from keyturn.front.trained import Training
from keyturn.methods import METHODS
from keyturn.objectives.rloo import rloo
from keyturn.policies.fit import FitConfig
from keyturn.policies.local import LocalPolicy
from keyturn.rewards.outcome import outcome
from keyturn.training.config import RLConfig

SMALL = {"steps": 2, "prompts": 2, "draws": 4, "checkpoint_every": 1}
WORDS = [word for name, value in SMALL.items() for word in (f"--rl.{name.replace('_', '-')}", str(value))]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def weights(folder):
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return keyturn.train("rloo", "chain", rl=SMALL, per_cell=8, out=tmp_path_factory.mktemp("trained") / "run")


@pytest.mark.slow
def test_the_command_trains_the_same(trained, tmp_path, capsys):
    words = ["train", "rloo", "chain", "--per-cell", "8", *WORDS, "--out", str(tmp_path / "cli"), "--json"]
    assert main(words) == 0
    document = json.loads(capsys.readouterr().out)
    assert weights(tmp_path / "cli" / "model") == weights(trained.policies["policy"])
    assert document["last"] == pytest.approx(trained.history[-1], nan_ok=True)


@pytest.mark.parametrize("made", [lambda b: b, lambda b: (b.model, b.tokenizer)], ids=["policy", "model"])
@pytest.mark.slow
def test_objects_train_what_names_train_and_are_left_as_they_are(trained, made):
    base = keyturn.load("chain")
    before = base.fingerprint
    found = keyturn.train(
        rloo(), made(base), reward=outcome(), rl=RLConfig(**SMALL, max_new_tokens=15), per_cell=8
    )
    assert weights(found.policies["policy"]) == weights(trained.policies["policy"])
    assert base.fingerprint == before


@pytest.mark.slow
def test_a_training_has_its_policies_folder_history_and_short_forms(trained):
    assert isinstance(trained.policy, LocalPolicy)
    assert trained.policy is trained.policy, "loaded once"
    assert len(trained.history) == 2
    assert trained.folder.name == "run"
    assert trained.policies["policy"] == trained.folder / "model"
    assert list(trained.to_frame()["step"]) == [row["step"] for row in trained.history]
    assert repr(trained).startswith("Training(rloo: reward 0.")
    assert "in 2 steps" in repr(trained)
    assert "rloo" in trained._repr_html_()
    with pytest.raises(KeyturnError, match="unknown policy of this run 'polcy'"):
        trained.load("polcy")


def test_hostile_text_is_inert_in_a_notebook(tmp_path):
    bad = "<script>alert(1)</script>\x1b]0;x\x07"
    rows = ({"name": bad, "value": 0.5, "low": 0.1, "high": "inf"}, {"name": "n", "value": bad})
    made = Training(method=bad, folder=tmp_path, policies={"policy": tmp_path / bad}, rows=rows, notes=(bad,))
    for text in (made._repr_html_(), repr(made)):
        assert "\x1b" not in text
    assert "<script" not in made._repr_html_()
    assert made._repr_html_().count("&lt;script&gt;") == 5


@pytest.mark.slow
def test_without_a_folder_the_same_call_finds_its_own_again_and_prints_nothing(tmp_path, capfd):
    call = {"rl": SMALL, "per_cell": 8}
    first = keyturn.train("rloo", "chain", **call)
    stamp = (first.policies["policy"] / "model.safetensors").stat().st_mtime_ns
    again = keyturn.train("rloo", "chain", **call)
    assert capfd.readouterr().out == ""
    assert again.folder == first.folder
    assert first.folder.parent.name == "runs"
    assert (again.policies["policy"] / "model.safetensors").stat().st_mtime_ns == stamp
    assert keyturn.train("rloo", "chain", **call, seed=1).folder != first.folder
    assert keyturn.train("rloo", "chain", **call, reward="inverted").folder != first.folder


@pytest.mark.slow
def test_a_recipe_by_its_name_and_as_an_object(tmp_path):
    named = keyturn.train("sft", "chain", dry_run=True, per_cell=8, out=tmp_path / "named")
    assert named.folder == tmp_path / "named" / "dry-run"
    assert [row["name"] for row in named.rows] == [row["name"] for row in named.rows if "name" in row]
    assert named.rows
    assert "SFT" in named._repr_html_()
    base = keyturn.load("chain")
    given = keyturn.train(METHODS["sft"], base, dry_run=True, per_cell=8, out=tmp_path / "given")
    assert weights(given.policies["policy"]) == weights(named.policies["policy"])
    assert given.rows == named.rows


@pytest.mark.slow
def test_a_training_stands_for_its_policy_in_an_audit(trained):
    found = keyturn.audit("chain", trained, per_cell=1, k=4, n_base=16)
    assert found.tuned == str(trained.policies["policy"])
    assert found.verdict.problems > 0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: keyturn.train("gpro", "chain"), r"unknown method 'gpro' \(fix: did you mean .*grpo"),
        (lambda: keyturn.train("chain", "grpo"), "the method comes first"),
        (lambda: keyturn.train(7, "chain"), "a method is of type int"),
        (lambda: keyturn.train("grpo", "chian"), "did you mean chain"),
        (lambda: keyturn.train("grpo", "http://h:1/v1#m"), "training needs its weights"),
        (lambda: keyturn.train("grpo", "chain", reward="outcom"), "unknown reward"),
        (lambda: keyturn.train("grpo", "chain", rl={"stepz": 3}), "unknown setting of RL 'stepz'"),
        (lambda: keyturn.train("grpo", "chain", rl=3), r"of type int \(fix: RLConfig"),
        (lambda: keyturn.train("grpo", "chain", settings={"clip": 1}), "setting of grpo 'clip'"),
        (lambda: keyturn.train(rloo(), "chain", settings={"a": 1}), "rloo has its settings already"),
        (lambda: keyturn.train("sft", "chain", settings={"fit": {"stepz": 3}}), "sft, fit 'stepz'"),
        (lambda: keyturn.train("sft", "chain", reward="format"), "reward would do nothing: sft is a method"),
        (lambda: keyturn.train("sft", "chain", roles="g.json"), r"sft uses no roles \(fix: leave roles out"),
        (lambda: keyturn.train("grpo", "chain", teacher="graph"), "grpo has no teacher"),
        (lambda: keyturn.train("grpo", "chain", profile="dem"), "unknown profile 'dem'"),
        (lambda: keyturn.train("grpo", "chain", test="m.jsonl"), r"test is for .* \(fix: add problems=FILE"),
        (lambda: keyturn.train("grpo", keyturn.load("chain").model), "model without its tokenizer"),
        (lambda: keyturn.train("grpo", keyturn.load("chain", top_p=0.5)), "draws from its own distribution"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_one_line_with_a_fix(capsys, call, said):
    with pytest.raises(KeyturnError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert "--" not in str(caught.value)
    assert caught.value.fix
    assert capsys.readouterr().out == ""


def test_settings_are_a_config_or_some_of_its_fields():
    usual = METHODS["sft"].profiles["demo"]
    made = settled(usual, {"draws": 3, "fit": {"steps": 7}}, "sft")
    assert (made.draws, made.fit.steps, made.fit.lr) == (3, 7, usual.fit.lr)
    assert settled(usual, None, "sft") is usual
    assert settled(usual, made, "sft") is made
    fit = FitConfig(steps=5, batch_rows=2, lr=1.0)
    assert settled(usual, {"fit": fit}, "sft").fit is fit


@pytest.mark.slow
def test_numbers_of_the_history_are_numbers(trained):
    assert all(isinstance(value, int | float) for row in trained.history for value in row.values())
    assert np.isfinite([row["reward"] for row in trained.history]).all()
