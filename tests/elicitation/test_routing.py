"""Routing: scores by hand from the prompt alone, thresholds by shares, and both ways of answering left as they
are."""

from dataclasses import replace

import made_asked
import numpy as np
import pytest
import torch

from keyturn.core.errors import InputError, UsageError
from keyturn.elicitation import ELICITATIONS, routing
from keyturn.elicitation.directions import benefit_probe
from keyturn.elicitation.drafts import Drafts
from keyturn.policies.hooks import hooked
from keyturn.policies.sites import Site

THINK, SHORT = " w9 w4", " w8"


def given(**more):
    return made_asked.made(lengths=(4, 6, 5, 7, 8), draws=range(1, 3), tokens=6, **more)


def run(name, asked, **settings):
    method = ELICITATIONS[name]
    config = replace(method.config, **{"think": THINK} | settings)
    prepared = method.prepare(asked, config) if method.prepare is not None else {}
    return method.answer(asked, config, prepared), prepared, config


def law(asked, text):
    with torch.no_grad():
        return (
            asked.policy.model(torch.tensor([asked.policy.tokenizer(text)["input_ids"]]))
            .logits[0, -1]
            .double()
            .softmax(-1)
        )


def opened(asked, words):
    """Answers that begin with some words."""
    drafts = Drafts(asked)
    drafts.write(words)
    drafts.grow()
    return drafts.completions()


def state(asked, text, layer=1):
    seen = []
    hook = Site(layer=layer).hook(asked.policy.model, "look", lambda hidden: seen.append(hidden[0, -1]))
    with hooked(asked.policy.model, [hook]):
        law(asked, text)
    return seen[0].double().numpy()


def test_a_routed_answer_is_that_of_its_way():
    """Every answer is what the policy draws behind the words of its mode, by the same random numbers."""
    asked = given()
    found, _, _ = run("route-random", asked, short=SHORT)
    ways = {thinks: opened(asked, words).texts for thinks, words in ((1, THINK), (0, SHORT))}
    thinks = found.facts["thinks"].astype(int)
    assert 0 < thinks.sum() < len(thinks)
    assert [ways[way][row] for row, way in enumerate(thinks)] == list(found.completions.texts)
    assert (thinks.reshape(5, 2)[:, 0] == thinks.reshape(5, 2)[:, 1]).all(), "a problem has one way"


@pytest.mark.parametrize("short", [SHORT, ""])
def test_the_threshold_is_on_the_share_of_thinking_in_the_first_tokens_law(short):
    asked = given()
    shares = []
    for problem in asked.problems.problems:
        p = law(asked, problem.prompt)
        shares.append(float(p[9] / (p[9] + (p[8] if short else 1 - p[9]))))
    middle = float(np.median(shares))
    found, _, _ = run("route-threshold", asked, short=short, threshold=middle)
    assert np.allclose(found.facts["score"], np.repeat(shares, 2), rtol=1e-4)
    assert found.facts["thinks"].sum() == 2 * sum(one > middle for one in shares)
    own = found.completions.lengths - 2 * found.facts["thinks"] - bool(short) * (1 - found.facts["thinks"])
    assert np.allclose(found.costs.generated, own + 0.5), "half a token: one a problem, for two draws"
    with pytest.raises(UsageError, match="same token"):
        run("route-threshold", asked, short=THINK)
    with pytest.raises(UsageError, match="threshold"):
        run("route-threshold", asked, threshold=2.0)


def test_margins_are_compared_with_those_of_development_problems():
    asked = given()
    found, prepared, _ = run("route-unsure", asked, share=0.5)

    def unsure(problem):
        top = law(asked, problem.prompt).topk(2).values
        return float(1 - (top[0] - top[1]))

    past = sorted(unsure(one) for one in asked.development.problems)
    assert past[0] < float(prepared["threshold"][0]) < past[1]
    scores = [unsure(one) for one in asked.problems.problems]
    assert np.allclose(found.facts["score"], np.repeat(scores, 2), rtol=1e-4)


def test_the_benefit_is_measured_in_both_modes_and_predicted_from_the_prompt():
    asked = given(development=made_asked.problem_set((5, 4, 6, 7, 5, 8), 7, "d"))
    found, prepared, config = run("route-benefit", asked, layer=1, trials=6)
    trial = replace(
        asked,
        problems=asked.development,
        draws=range(6),
        streams=asked.streams.child("elicit", "routing"),
    )
    rates = []
    for words in (THINK, ""):
        drawn = opened(trial, words)
        grades = trial.problems.grader.grade(trial.problems.problems, drawn)
        rates.append(grades.outcome.reshape(-1, 6).mean(axis=1))
    benefit = rates[0] - rates[1]
    assert np.ptp(benefit) > 0
    assert prepared["benefit"][0] == pytest.approx(float(benefit.mean()))
    states = np.array([state(asked, one.prompt) for one in asked.development.problems])
    probe, constant = benefit_probe(states, benefit)
    scores = np.array([state(asked, one.prompt) @ probe + constant for one in asked.problems.problems])
    assert np.allclose(found.facts["score"], np.repeat(scores, 2), atol=1e-4)
    assert ELICITATIONS["route-benefit"].examples(asked, config) == 6
    few = replace(asked, development=made_asked.problem_set((5,), 7, "d"))
    with pytest.raises(InputError, match="two development problems"):
        run("route-benefit", few)


def test_a_linear_benefit_is_found_and_noise_is_shrunk():
    dice = np.random.default_rng(0)
    states = dice.normal(size=(200, 6))
    truth = np.array([1.0, 0, 0, -2.0, 0, 0])
    probe, constant = benefit_probe(states, states @ truth + 0.5 + 0.1 * dice.normal(size=200))
    assert np.allclose(probe, truth, atol=0.05)
    assert constant == pytest.approx(0.5, abs=0.05)
    noise, _ = benefit_probe(dice.normal(size=(12, 30)), dice.normal(size=12))
    assert np.linalg.norm(noise) < 1


def test_the_oracle_asks_the_grader_about_other_draws():
    asked = given()
    found, _, _ = run("route-oracle", asked, trials=3)
    assert (found.costs.checks == 3).all(), "six checks a problem, for two draws"
    child = replace(asked, streams=asked.streams.child("oracle"))
    rates, _ = routing._both(child, ELICITATIONS["route-oracle"].config, 3)
    assert rates.shape == (2, 5)
    assert set(np.unique(found.facts["thinks"])) <= {0.0, 1.0}
    assert (found.facts["thinks"] == (found.facts["score"] > 0)).all()


def test_lengths_and_chance_need_no_answer():
    asked = given()
    found, prepared, _ = run("route-length", asked, share=0.5)
    assert found.facts["score"][::2].tolist() == [4, 6, 5, 7, 8]
    assert prepared["threshold"][0] == 4.5
    _, prepared, _ = run("route-random", asked, share=0.25)
    assert prepared["threshold"][0] == 0.75


def test_a_score_of_the_wrong_problem_is_found_out(monkeypatch):
    """The broken twin gives every problem the score of its neighbour."""
    own = routing._first
    monkeypatch.setattr(routing, "_first", lambda *a: (np.roll(own(*a)[0], 1), own(*a)[1]))
    with pytest.raises(AssertionError):
        test_the_threshold_is_on_the_share_of_thinking_in_the_first_tokens_law("")
