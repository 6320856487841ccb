"""Look-ahead power sampling against enumeration: the law of one step, the whole answer, and the jackknife."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import test_sharpened_laws as enumerated

from keyturn.core.errors import UsageError
from keyturn.elicitation import ELICITATIONS, power_ahead
from keyturn.elicitation.power_ahead import AheadConfig, sharpened

ALPHA = enumerated.ALPHA
policy = enumerated.policy


def conditional(policy, answer):
    """The exact law of the next token after a beginning, by enumeration: ``{token: probability}``."""
    law, total = dict.fromkeys(range(len(enumerated.WORDS)), 0.0), 0.0
    for one, chance in enumerated.exact(policy, ALPHA).items():
        if one[: len(answer)] == answer and len(one) > len(answer):
            law[one[len(answer)]] += chance
            total += chance
    return np.array([law[token] / total for token in sorted(law)])


def low(policy):
    """The exact law of a low temperature."""
    found = enumerated.space(enumerated.LONGEST)
    logs = [enumerated.proposal(policy, one, 0)[0] for one in found]
    return dict(zip(found, np.exp(logs), strict=True))


def stepped(policy, rollouts):
    """The estimated law of the first token with many rollouts."""
    asked = enumerated.asked_for(policy, 1)
    writing = power_ahead._Writing(asked, AheadConfig(alpha=ALPHA, rollouts=rollouts, candidates=0))
    rows = writing.going()
    [law] = writing._laws(rows)
    tried = writing._tried(law)
    [ahead] = writing._ahead(rows, [tried])
    return sharpened(law[tried], ahead, ALPHA, jackknife=True)


def test_with_many_rollouts_a_step_has_the_exact_law(policy):
    exact = conditional(policy, ())
    first = np.exp(ALPHA * enumerated.laws(policy, (0,))[0])
    without = 0.5 * np.abs(first / first.sum() - exact).sum()
    found = 0.5 * np.abs(stepped(policy, 1500) - exact).sum()
    assert without > 0.05, "what follows a token matters here"
    assert found < without / 4


def test_rollouts_that_forget_their_probability_are_found_out(policy, monkeypatch):
    """The broken twin weighs every rollout alike: a low temperature."""
    own = power_ahead._Writing._ahead
    monkeypatch.setattr(power_ahead._Writing, "_ahead", lambda *a: [one * 0 for one in own(*a)])
    exact = conditional(policy, ())
    first = np.exp(ALPHA * enumerated.laws(policy, (0,))[0])
    without = 0.5 * np.abs(first / first.sum() - exact).sum()
    assert not 0.5 * np.abs(stepped(policy, 50) - exact).sum() < without / 4


@pytest.mark.slow
def test_whole_answers_are_nearer_to_the_exact_law_than_a_low_temperature(policy):
    draws = 600
    asked = enumerated.asked_for(policy, draws)
    found = ELICITATIONS["power-ahead"]
    config = replace(found.config, alpha=ALPHA, rollouts=12, candidates=0)
    given = found.answer(asked, config, {})
    exact = enumerated.exact(policy, ALPHA)
    cold = low(policy)
    between = 0.5 * sum(abs(exact[key] - cold[key]) for key in exact)
    chance = enumerated.by_chance(exact, draws)
    assert enumerated.apart(given.completions, exact) < chance + between / 4
    assert enumerated.apart(given.completions, exact) < enumerated.apart(given.completions, cold)


def test_the_jackknife_takes_most_of_the_bias():
    """Two candidates, each with two possible rollouts, three rollouts each: all outcomes enumerated."""
    alpha, count = 2.0, 3
    own = np.log([0.6, 0.4])
    rolls = [(np.log([0.7, 0.3]), np.array([0.7, 0.3])), (np.log([0.9, 0.1]), np.array([0.9, 0.1]))]
    zeta = [float((np.exp(alpha * logs)).sum()) for logs, _ in rolls]
    truth = np.exp(alpha * own) * zeta
    truth = truth / truth.sum()
    bias = {}
    for jackknife in (False, True):
        mean = np.zeros(2)
        for picks in itertools.product(range(2), repeat=2 * count):
            one, other = picks[:count], picks[count:]
            chance = np.prod([rolls[0][1][i] for i in one]) * np.prod([rolls[1][1][i] for i in other])
            ahead = np.array([rolls[0][0][list(one)], rolls[1][0][list(other)]])
            law = sharpened(own, ahead, alpha, jackknife=jackknife)
            assert law.sum() == pytest.approx(1.0)
            mean += chance * law
        bias[jackknife] = float(np.abs(mean - truth).sum())
    assert bias[False] > 0.002
    assert bias[True] < bias[False] / 2


def test_settings_without_a_look_ahead_are_temperatures(policy):
    asked = enumerated.asked_for(policy, 8)
    found = ELICITATIONS["power-ahead"]
    cold = ELICITATIONS["low-temperature"]
    given = found.answer(asked, replace(found.config, alpha=2.0, rollouts=0), {})
    usual = cold.answer(asked, replace(cold.config, temperature=0.5), {})
    assert given.completions.texts == usual.completions.texts
    for settings in ({"alpha": 0.0}, {"rollouts": -1}):
        with pytest.raises(UsageError):
            found.answer(asked, replace(found.config, **settings), {})


def test_fewer_candidates_and_a_horizon_cost_less(policy):
    asked = enumerated.asked_for(policy, 4)
    found = ELICITATIONS["power-ahead"]
    config = replace(found.config, alpha=ALPHA, rollouts=2, candidates=0)
    full, few, near = (
        found.answer(asked, replace(config, **more), {}).costs.generated.sum()
        for more in ({}, {"candidates": 2}, {"horizon": 1})
    )
    assert few < full
    assert near < full
