"""The adaptive entropy coefficient in a real run: it reaches the loss, and it moves the policy."""

import pytest
from probes import config, probe, train

from keyturn.objectives.grpo import GrpoConfig, grpo

SAME = probe(lambda problem, words: 1.0, ("ask", "tell"))
"""Every draw is right: nothing but the bonus pulls."""


def run(folder, target):
    objective = grpo(GrpoConfig(entropy_target=target, entropy_step=0.5))
    return train(folder, SAME, config(steps=6, lr=1e-3), objective=objective).history


def test_below_the_target_the_coefficient_grows_and_entropy_with_it(tmp_path):
    history = run(tmp_path, 10.0)
    assert [row["factor/entropy"] for row in history] == [0.5 * step for step in range(6)]
    assert history[0]["grad_norm"] == 0, "no entropy is known yet"
    for row in history[1:]:
        assert row["loss"] == pytest.approx(-row["factor/entropy"] * row["loss/entropy"], rel=1e-5)
        assert row["grad_norm"] > 0
    assert history[-1]["entropy/all"] > history[0]["entropy/all"]


def test_above_the_target_nothing_pulls(tmp_path):
    history = run(tmp_path, 0.0)
    assert {row["factor/entropy"] for row in history} == {0.0}
    assert all(row["grad_norm"] == 0 for row in history)
