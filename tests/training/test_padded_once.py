"""A rollout becomes a padded table once, whatever reads it afterwards, and lists of rows nowhere."""

import collections

import numpy as np
import pytest
import torch
from probes import config, probe, starts_with_a, tiny_policy, train

from keyturn.core.streams import Streams
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.policies import batching
from keyturn.policies.batching import Texts
from keyturn.policies.native import build
from keyturn.policies.protocol import Limits
from keyturn.rollouts import completions as columns
from keyturn.training import batches
from keyturn.training.config import UpdateConfig

# Two problems have one prompt: the rows of both are read behind it. Prompts are long: each is read once.
LONG = "ask a b c d e a b c d e"
ASKED = probe(starts_with_a, prompts=(LONG, f"tell {LONG}", LONG, f"tell a b {LONG}"))
ENGINES = pytest.mark.parametrize("switch", ["0", "1"], ids=["torch", "native"])


@pytest.fixture
def counted(monkeypatch):
    """How often each function that packs or unpacks rows has been called, by where it was called from."""
    calls = collections.Counter()

    def counting(module, name):
        right = getattr(module, name)

        def counted(*given, **named):
            calls[f"{module.__name__.rsplit('.', 1)[-1]}.{name}"] += 1
            return right(*given, **named)

        monkeypatch.setattr(module, name, counted)

    for module, name in (
        (batches, "pad_ragged"),
        (batching, "pad_ragged"),
        (batching, "ragged"),
        (columns, "ragged"),
        (batching, "pad_left"),
    ):
        counting(module, name)
    for name in ("build", "whole"):
        counting(Texts, name)
    return calls


def steps(folder, count, kl_every):
    """A run of many passes: two epochs of two mini-batches, a few rows a pass, the reference read as well."""
    update = UpdateConfig(epochs=2, minibatches=2, micro_tokens=24)
    settings = config(
        steps=count, prompts=4, draws=6, max_new_tokens=5, kl_every=kl_every, update=update, rounds=1
    )
    return train(folder, ASKED, settings, objective=grpo(GrpoConfig(kl_weight=0.1)))


@ENGINES
@pytest.mark.parametrize("kl_every", [0, 1], ids=["no look at the base", "a look at the base"])
def test_a_rollout_is_padded_once_however_often_it_is_read(tmp_path, monkeypatch, counted, switch, kl_every):
    monkeypatch.setenv(build.SWITCH, switch)
    steps(tmp_path / "one", 1, kl_every)
    first = counted.copy()
    counted.clear()
    run = steps(tmp_path / "four", 4, kl_every)
    assert run.history[-1]["updates"] == 4
    # What a model's first draw is checked against is the same in both runs and is left out by the difference.
    per_step = {name: (counted[name] - first[name]) / 3 for name in counted}
    assert per_step["batches.pad_ragged"] == 4, "tokens, mask, log-probabilities and entropies, once each"
    assert per_step["batching.pad_ragged"] == 0, "the scorer takes the rows of the batch"
    assert per_step["batching.ragged"] == per_step.get("Texts.build", 0) == 0, "no list of rows is packed"
    assert per_step["completions.ragged"] == 1, "the prompts, as the tokenizer gives them"
    assert per_step.get("Texts.whole", 0) == 0, "no prompt is copied before each of its completions"


def drawn():
    return tiny_policy().draw(ASKED.problems, range(5), Streams(2), Limits(max_new_tokens=6))


def test_what_was_drawn_is_read_as_the_lists_of_its_rows_are():
    completions = drawn()
    for rows in (np.arange(20), np.array([17, 3, 12, 4, 11]), np.array([6])):
        ours = Texts.of(completions).rows(rows)
        theirs = Texts.build(
            [completions.prompts.row(int(completions.problem[row])) for row in rows],
            [completions.row(int(row)) for row in rows],
        )
        assert [one.tolist() for one in ours.prompts] == [one.tolist() for one in theirs.prompts]
        for name in ("prompt", "tokens", "offsets"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
            assert getattr(ours, name).dtype == getattr(theirs, name).dtype
    assert len(Texts.of(completions).prompts) == 3
    assert Texts.of(completions).tokens is completions.tokens


def test_tables_hold_every_token_but_the_last_and_zeros_behind():
    completions = drawn()
    plain = Texts.of(completions)
    padded = torch.from_numpy(batches.padded(completions, completions.tokens.astype(np.int64)))
    with_table = plain.rows(np.arange(20), padded)
    for rows in (np.flatnonzero(plain.lengths > 1), np.flatnonzero(plain.lengths > 1)[::-3].copy()):
        fed, whole = plain.fed(rows), plain.whole(rows)
        assert torch.equal(fed, with_table.fed(rows))
        assert fed.shape[1] == plain.lengths[rows].max() - 1
        for place, row in enumerate(rows):
            read = completions.row(int(row))[:-1].tolist()
            prompt = completions.prompts.row(int(completions.problem[row])).tolist()
            assert fed[place].tolist() == read + [0] * (fed.shape[1] - len(read))
            assert whole[place].tolist() == prompt + read + [0] * (whole.shape[1] - len(prompt) - len(read))
