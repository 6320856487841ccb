"""Steering vectors: a planted direction is found, a dose moves what it should, the random one is as long."""

from dataclasses import replace

import made_asked
import numpy as np
import pytest
import torch

from keyturn.core.errors import InputError, UsageError
from keyturn.core.streams import Streams
from keyturn.elicitation import ELICITATIONS
from keyturn.elicitation.directions import direction
from keyturn.elicitation.steering import layer_of

STEERING = ("steering-mean", "steering-pca", "steering-logistic", "steering-random")


def planted(rows=200, width=12, scale=3.0):
    """Two sets that differ along one axis, with noise that is larger along another."""
    dice = np.random.default_rng(4)
    axis = np.zeros(width)
    axis[2] = 1.0
    noise = dice.normal(size=(2, rows, width)) * np.where(np.arange(width) == 7, 4.0, 0.5)
    return noise[0] + scale * axis, noise[1], axis


def test_a_planted_direction_is_found_and_a_random_one_is_not():
    ours, theirs, axis = planted()
    found = {how: direction(how, ours, theirs, Streams(1)) for how in ("mean", "logistic", "random")}
    for how, vector in found.items():
        assert abs(np.linalg.norm(vector) - 1) < 1e-12, how
    assert found["mean"] @ axis > 0.95
    assert found["logistic"] @ axis > 0.95
    assert abs(found["random"] @ axis) < 0.7
    quiet = np.random.default_rng(5).normal(size=ours.shape) * 0.1
    pca = direction("pca", theirs + 2 * axis + quiet, theirs, Streams(1))
    assert pca @ axis > 0.99, "pairs share their noise, and the sign points to the first set"
    assert direction("pca", theirs - 2 * axis + quiet, theirs, Streams(1)) @ axis < -0.99
    with pytest.raises(InputError, match="do not differ"):
        direction("mean", ours, ours, Streams(1))


def test_layers_are_shares_or_numbers():
    assert [layer_of(share, 10) for share in (0.0, 0.4, 0.99, 1, 9)] == [0, 4, 9, 1, 9]
    for bad in (-1, 10, 2.5):
        with pytest.raises(UsageError):
            layer_of(bad, 10)


def test_prepared_directions_are_of_unit_length_and_doses_are_matched():
    asked = made_asked.made(draws=range(2))
    config = replace(ELICITATIONS["steering-mean"].config, trials=24)
    prepared = {name: ELICITATIONS[name].prepare(asked, config) for name in STEERING}
    for name, found in prepared.items():
        assert abs(np.linalg.norm(found["vector"]) - 1) < 1e-6, name
        assert found["norm"] == prepared["steering-mean"]["norm"]
        assert (found["texts"] >= 2).all()
    assert ELICITATIONS["steering-mean"].examples(asked, config) == 2
    assert (
        ELICITATIONS["steering-mean"].examples(asked, replace(config, contrast="trigger", trigger=" w9")) == 0
    )


def test_a_larger_dose_moves_the_law_further():
    asked = made_asked.made(draws=range(1), tokens=6)
    method = ELICITATIONS["steering-mean"]
    config = replace(method.config, trials=24, where="all")
    prepared = method.prepare(asked, config)
    plain = ELICITATIONS["plain"].answer(asked, None, {}).completions

    def moved(dose):
        """Mean distance between first-token laws, by the entropies and log-probabilities of the same tokens."""
        from keyturn.policies.interventions import Intervention
        from keyturn.policies.sites import Site
        from keyturn.policies.steered import SteeredPolicy

        one = Intervention(
            name="steering",
            site=Site(layer=0),
            vector=prepared["vector"],
            coefficient=dose * float(prepared["norm"][0]),
            where="all",
        )
        score = SteeredPolicy(asked.policy, [one]).score(plain)
        return float(np.abs(score.logprobs - asked.policy.score(plain).logprobs).mean())

    doses = [moved(dose) for dose in (0.0, 0.05, 0.2, 0.8)]
    assert doses[0] < 1e-5
    assert doses[0] < doses[1] < doses[2] < doses[3]


def test_a_vector_is_bound_to_the_weights_it_was_made_with():
    asked = made_asked.made(draws=range(1))
    method = ELICITATIONS["steering-mean"]
    config = replace(method.config, trials=24)
    prepared = method.prepare(asked, config)
    found = method.answer(asked, config, prepared)
    assert (found.costs.steered == np.maximum(found.completions.lengths - 1, 0)).all()
    once = method.answer(asked, replace(config, where="first_step", persistent=False), prepared)
    assert (once.costs.steered == 1).all()
    assert (once.costs.read == 2 * found.costs.read).all(), "the prompt is read twice"
    short = {**prepared, "vector": prepared["vector"][:-1]}
    with pytest.raises(UsageError, match="width"):
        method.answer(asked, config, short)


def test_no_right_draw_is_said_in_one_line():
    asked = made_asked.made()
    wrong = replace(
        asked.development,
        problems=tuple(replace(one, answer="never", also=()) for one in asked.development.problems),
    )
    with pytest.raises(InputError, match="right and wrong draws") as refused:
        ELICITATIONS["steering-mean"].prepare(
            replace(asked, development=wrong), ELICITATIONS["steering-mean"].config
        )
    assert "--contrast trigger" in refused.value.fix
    with torch.no_grad():
        assert not any(one._forward_hooks for one in asked.policy.model.modules())
