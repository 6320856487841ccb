"""HICRA's drift on planning tokens, exactly, also under random reward; and the placebo mask."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from role_policy import (
    MASK,
    RIGHT,
    ROLES,
    SUPPORT,
    THETA,
    chances,
    close,
    coins,
    expected_ascent,
    fixed,
    of_equal_length,
    same_as_battery,
    slope,
    true_ascent,
)
from softmax_policy import CONTEXTS, VOCAB
from test_objective_battery import make_batch

from keyturn.core.errors import UsageError
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.objectives.contract import judged
from keyturn.objectives.groups import group_mean
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.objectives.hicra import HicraConfig, added, hicra
from keyturn.objectives.placebo import scatter, scattered, scores
from keyturn.objectives.token_masks import planning

SIZE = 3
ALPHA = 0.2
PLAN = (ROLES == Role.PLAN).double()
OUTCOMES = {"coins": coins(0.4), "right": fixed(RIGHT)}


def summed(**settings):
    return hicra(HicraConfig(aggregation="seq-mean-token-sum", **settings))


def mean_size_of_credit(p, size=SIZE):
    """E|A_i| of a wrong and of a right row, by the number of right ones among the others."""
    counts = torch.arange(size, dtype=torch.float64)
    chance = torch.distributions.Binomial(size - 1, probs=torch.as_tensor(p, dtype=torch.float64))
    weight = chance.log_prob(counts).exp()
    return torch.stack([(weight * counts / size).sum(), (weight * (1 - (counts + 1) / size)).sum()])


def drift_under_coins(q, size):
    wrong, right = mean_size_of_credit(q, size)
    return ALPHA * (q * right + (1 - q) * wrong) * slope(THETA, PLAN)


@pytest.mark.parametrize(("size", "q"), [(2, 0.1), (2, 0.5), (3, 0.4)])
def test_the_papers_rule_drifts_without_any_information(size, q):
    assert close(expected_ascent(summed(), THETA, size, coins(q)), drift_under_coins(q, size))
    assert drift_under_coins(q, size).abs().max() > 1e-3


def test_the_drift_is_that_of_the_probability_of_planning_in_the_contexts_drawn():
    theta = THETA.clone().requires_grad_()
    visits = torch.tensor(
        [
            sum(chances(THETA)[i] for i, s in enumerate(SUPPORT) if s[: len(c)] == c and len(s) > len(c))
            for c in CONTEXTS
        ]
    )
    plan = torch.log_softmax(theta, -1).exp()[:, 1]
    (gradient,) = torch.autograd.grad((visits * plan).sum(), theta)
    assert close(slope(THETA, PLAN), gradient)
    # Up on the planning token of every context, down on the others.
    assert bool((gradient[:, 1] > 0).all())
    assert bool((gradient[:, [v for v in range(VOCAB) if v != 1]] < 0).all())


# In groups of two all credit has one size, which any centre takes away: the centred rule is tried on three.
@pytest.mark.parametrize(
    ("size", "choice"), [(2, {"rule": "symmetric"}), (3, {"rule": "centred"}), (2, {"alpha": 0.0})]
)
def test_the_other_rules_do_not_drift(size, choice):
    found = expected_ascent(summed(**choice), THETA, size, coins(0.4))
    assert close(found, torch.zeros_like(found))


def test_with_the_token_mean_the_drift_is_divided_by_the_tokens():
    theta = of_equal_length()
    wrong, right = mean_size_of_credit(0.4, 2)
    expected = ALPHA * (0.4 * right + 0.6 * wrong) * slope(theta, PLAN) / 2
    assert close(expected_ascent(hicra(), theta, 2, coins(0.4)), expected)


def test_under_an_informative_reward_the_drift_stands_beside_the_true_gradient():
    p = (chances(THETA) * RIGHT).sum()
    size_of_credit = mean_size_of_credit(p)[RIGHT.long()]
    expected = (1 - 1 / SIZE) * true_ascent(THETA, RIGHT) + ALPHA * slope(THETA, size_of_credit[:, None] * PLAN)
    assert close(expected_ascent(summed(), THETA, SIZE, OUTCOMES["right"]), expected)


def test_symmetric_scaling_learns_planning_faster_both_ways():
    p = (chances(THETA) * RIGHT).sum()
    expected = (1 - 1 / SIZE) * slope(THETA, (RIGHT - p)[:, None] * (MASK + ALPHA * PLAN))
    assert close(expected_ascent(summed(rule="symmetric"), THETA, SIZE, OUTCOMES["right"]), expected)


# Twins: each is one deliberate error, and the test of the declared drift must reject it.


def _everywhere(batch):
    base = grpo(GrpoConfig(scale="none")).credit(batch)
    return base + ALPHA * base.abs()


def _standardised(batch):
    base = grpo().credit(batch)
    return base + ALPHA * base.abs() * planning(batch)


def _down(batch):
    base = grpo(GrpoConfig(scale="none")).credit(batch)
    return base - ALPHA * base.abs() * planning(batch)


@pytest.mark.parametrize("credit", [_everywhere, _standardised, _down, summed(rule="symmetric").credit])
def test_broken_planning_credit_is_rejected(credit):
    broken = replace(summed(), credit=credit)
    assert not close(expected_ascent(broken, THETA, 2, coins(0.4)), drift_under_coins(0.4, 2))


def _centred_by_rows(batch):
    base = grpo(GrpoConfig(scale="none")).credit(batch)
    mask = planning(batch)
    push = base.abs() * mask
    return base + ALPHA * (push - group_mean(push.sum(1), batch.group)[:, None]) * mask


def test_a_wrong_centre_drifts():
    found = expected_ascent(replace(summed(), credit=_centred_by_rows), THETA, 2, coins(0.4))
    assert not close(found, torch.zeros_like(found))


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_centred_credit_adds_nothing_over_the_planning_tokens_of_a_prompt(seed):
    batch, _ = make_batch(seed=seed, groups=3, draws=4)
    base = grpo(GrpoConfig(scale="none")).credit(batch)
    mask = planning(batch)
    for rule in ("centred", "paper"):
        extra = added(rule, base, mask, batch)
        assert not extra[~mask].any()
        for name in batch.group.unique():
            rows = batch.group == name
            found = extra[rows].sum()
            if rule == "centred":
                assert abs(found) < 1e-12
            else:
                assert found == pytest.approx(float((base.abs() * mask)[rows].sum()))


# The placebo.


def runs(marks):
    """Lengths of the maximal runs of True, in order."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(marks, dtype=np.int8), [0]])))
    return (edges[1::2] - edges[::2]).tolist()


@given(marks=st.lists(st.booleans(), max_size=12), seed=st.integers(0, 2**32 - 1))
def test_a_placebo_keeps_density_and_span_lengths(marks, seed):
    laid = scatter(np.array(marks, dtype=bool), np.random.default_rng(seed))
    assert len(laid) == len(marks)
    assert sorted(runs(laid)) == sorted(runs(marks))


def test_every_arrangement_is_as_likely_as_any_other():
    # Spans of 2 and 1 in 6 tokens: 3 outside, so 4 places of which 2, in 2 orders: 12 arrangements.
    marks = np.array([True, True, False, True, False, False])
    generator = np.random.default_rng(0)
    draws = 2400
    counts = Counter(tuple(scatter(marks, generator).tolist()) for _ in range(draws))
    assert len(counts) == 12
    expected = draws / 12
    assert sum((n - expected) ** 2 / expected for n in counts.values()) < 31.3  # chi-square, 11 df, p = .001


def wide_batch(seed=0, **settings):
    return make_batch(seed=seed, groups=5, draws=4, width=9, **settings)[0]


def test_a_placebo_overlaps_the_truth_as_chance_has_it_and_not_more():
    true = torch.zeros(1, 20, dtype=torch.bool)
    true[0, [0, 1, 2, 10]] = True
    batch = replace(
        wide_batch().rows(torch.tensor([0])),
        mask=torch.ones(1, 20, dtype=torch.bool),
        tokens=torch.arange(20)[None],
    )
    shared = [
        int((scattered(replace(batch, streams=Streams(seed)), true, "x") & true).sum()) for seed in range(400)
    ]
    # Exactly: the mean over all arrangements, 17 places of which 2, in 2 orders.
    exact = []
    for first in range(17):
        for second in range(first + 1, 17):
            for lengths in ((3, 1), (1, 3)):
                laid = np.zeros(20, dtype=bool)
                laid[first : first + lengths[0]] = True
                laid[second + lengths[0] : second + 4] = True
                exact.append(int(laid[true[0].numpy()].sum()))
    assert np.mean(shared) == pytest.approx(np.mean(exact), abs=4 * np.std(exact) / 400**0.5)


def test_a_placebo_is_the_rows_own():
    batch = wide_batch()
    true = planning(batch)
    whole = scattered(batch, true, "placebo")
    assert not bool((whole & ~batch.mask).any())
    assert bool((whole != true).any())
    assert torch.equal(whole.sum(1), true.sum(1))
    order = torch.tensor(np.random.default_rng(1).permutation(len(true)))
    names = torch.tensor([30, -1, 7, 2, 9])[batch.group]
    assert torch.equal(scattered(replace(batch, group=names).rows(order), true[order], "placebo"), whole[order])
    some = torch.arange(4, 12)  # other prompts of the batch do not matter
    assert torch.equal(scattered(batch.rows(some), true[some], "placebo"), whole[some])
    later = replace(batch, streams=Streams(0).child("step", 1))
    assert not torch.equal(scattered(later, true, "placebo"), whole)


def test_rows_that_say_the_same_get_their_own_placebo():
    batch = wide_batch().rows(torch.zeros(16, dtype=torch.long))
    batch = replace(batch, mask=torch.ones_like(batch.mask), roles=torch.zeros_like(batch.roles))
    batch.roles[:, 3] = int(Role.PLAN)
    laid = scattered(batch, planning(batch), "placebo")
    assert len({tuple(row.tolist()) for row in laid}) > 3


def test_random_numbers_are_even_and_inside_the_mask():
    batch = wide_batch()
    drawn = torch.cat([scores(replace(batch, streams=Streams(n)), "x")[batch.mask] for n in range(60)])
    assert drawn.mean() == pytest.approx(0.5, abs=4 * (1 / 12 / len(drawn)) ** 0.5)
    assert bool((scores(batch, "x")[~batch.mask] == 1).all())


def test_with_a_placebo_all_tokens_of_rows_that_plan_are_pushed():
    # One planning token in a row of T: each of its tokens gets alpha |A| / T on average.
    batch = wide_batch().rows(torch.arange(4))
    roles = torch.zeros_like(batch.roles)
    roles[1, 0] = int(Role.PLAN)
    rewards = torch.tensor([1.0, 0.0, 0.0, 1.0])
    batch = replace(batch, roles=roles, mask=torch.ones_like(batch.mask), rewards=rewards)
    objective, base = hicra(HicraConfig(mask="placebo")), hicra(HicraConfig(alpha=0.0))
    draws = 300
    credits = [objective.credit(replace(batch, streams=Streams(n))) for n in range(draws)]
    extra = torch.stack(credits).mean(0) - base.credit(batch)
    share = ALPHA * 0.5 / 9
    assert bool((extra[[0, 2, 3]].abs() < 1e-6).all())
    assert torch.allclose(extra[1], torch.full((9,), share), atol=4.5 * ALPHA * 0.5 * (1 / 9 / draws) ** 0.5)


def test_random_places_need_streams():
    with pytest.raises(UsageError, match="streams"):
        judged(hicra(HicraConfig(mask="placebo")), replace(wide_batch(), streams=None))


@pytest.mark.parametrize(
    "choice", [{"rule": "symmetric"}, {"rule": "centred"}, {"mask": "placebo"}, {"alpha": 0.0}]
)
def test_every_setting_passes_the_battery(choice):
    same_as_battery(hicra(HicraConfig(**choice)))


@pytest.mark.parametrize("choice", [{"alpha": 1.0}, {"alpha": -0.1}, {"rule": "papr"}, {"mask": "gram"}])
def test_settings_that_mean_nothing_are_refused(choice):
    with pytest.raises(UsageError):
        hicra(HicraConfig(**choice))
