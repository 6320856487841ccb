"""Backward passes of large models are bounded by what they keep; small models read as many tokens as before."""

import numpy as np
import pytest
import small_models

from keyturn.core.streams import Streams
from keyturn.objectives.rloo import rloo
from keyturn.policies import kept_for_backward
from keyturn.policies.kept_for_backward import token_bytes, tokens_of_a_pass
from keyturn.policies.local import LocalPolicy
from keyturn.problems.contract import ProblemSet
from keyturn.rewards.bernoulli import bernoulli
from keyturn.training import update as updating
from keyturn.training.config import RLConfig, UpdateConfig
from keyturn.training.rl import train_rl


def test_a_token_of_a_gated_block_is_counted():
    config = small_models.family("llama").config
    assert token_bytes(config) == 4 * 2 * (10 * 32 + 4 * 48)
    gpt2 = small_models.family("gpt2").config
    assert token_bytes(gpt2) == 4 * 2 * (10 * 32 + 4 * 4 * 32)


def test_small_models_read_what_was_asked_for_and_large_ones_less(monkeypatch):
    config = small_models.family("llama").config
    assert tokens_of_a_pass(config, 8192, 0) == 8192
    monkeypatch.setattr(kept_for_backward, "KEPT_BYTES", 100 * token_bytes(config))
    assert tokens_of_a_pass(config, 8192, 0) == 100
    assert tokens_of_a_pass(config, 60, 0) == 60
    assert tokens_of_a_pass(config, 8192, 0, recompute=True) > 500
    # The bound grows with the weights, since the run holds five times their bytes anyway.
    assert tokens_of_a_pass(config, 8192, 200 * token_bytes(config)) == 300
    monkeypatch.setattr(kept_for_backward, "KEPT_BYTES", 1)
    assert tokens_of_a_pass(config, 8192, 0) == 1


class Right:
    """A grader that calls every answer right: the reward is random."""

    name, reads_traces, config = "right", False, None

    def grade(self, problems, completions):
        from keyturn.rollouts.grades import Grades

        rows = len(completions)
        nothing = np.full(rows, np.nan, np.float32)
        return Grades(outcome=np.ones(rows, np.float32), verified=nothing, answer=("",) * rows, columns={})


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_bounded_passes_make_the_same_update(tmp_path, monkeypatch, name):
    passes = []
    one = updating._policy_on
    monkeypatch.setattr(
        updating,
        "_policy_on",
        lambda *args, recompute: (passes.append(recompute), one(*args, recompute=recompute))[1],
    )

    def trained(folder, recompute):
        passes.clear()
        who = LocalPolicy(small_models.family(name), small_models.tokenizer())
        done = train_rl(
            who,
            ProblemSet(name="asked", problems=small_models.problems((4, 9, 12, 7)), grader=Right()),
            reward=bernoulli(),
            objective=rloo(),
            config=RLConfig(
                steps=1,
                prompts=4,
                draws=4,
                max_new_tokens=8,
                kl_every=0,
                update=UpdateConfig(recompute=recompute),
            ),
            folder=folder,
            streams=Streams(3),
        )
        return done.history[0], list(passes)

    whole, few = trained(tmp_path / "whole", "auto")
    assert not any(few)
    each = token_bytes(small_models.family(name).config)
    monkeypatch.setattr(kept_for_backward, "KEPT_BYTES", 20 * each)
    monkeypatch.setattr(kept_for_backward, "KEPT_OF_WEIGHTS", 0)
    for recompute in ("never", "always"):
        bounded, many = trained(tmp_path / recompute, recompute)
        assert set(many) == {recompute == "always"}
        assert len(many) > len(few) or recompute == "always"
        # Weights would not do: Adam makes whole steps of gradients that are zero but for rounding.
        for number in ("loss", "grad_norm", "gap/mean"):
            assert bounded[number] == pytest.approx(whole[number], rel=1e-5, abs=1e-6), number
