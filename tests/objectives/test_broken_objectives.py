"""Deliberate errors, one each, that the exact enumeration must reject."""

import itertools
import statistics
from dataclasses import replace

import pytest
import torch
from declared_targets import (
    THETA,
    close,
    dapo_weights,
    graded,
    grpo_target_gradient,
    pass_at_k_gradient,
    right,
    target_by_class,
    token_mean_weights,
    true_gradient,
    whitened_weights,
)
from softmax_policy import (
    LENGTH,
    expected_gradient,
)

from keyturn.objectives.cispo import cispo
from keyturn.objectives.contract import Objective, Term
from keyturn.objectives.dapo import DapoConfig, dapo
from keyturn.objectives.dr_grpo import dr_grpo
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.objectives.gspo import gspo
from keyturn.objectives.passk_grpo import PasskGrpoConfig, passk_grpo
from keyturn.objectives.reinforce_pp import reinforce_pp
from keyturn.objectives.rloo import rloo


def _with(objective: Objective, credit=None, loss=None) -> Objective:
    return replace(objective, credit=credit or objective.credit, loss=loss or objective.loss)


def _dropped_mask(objective):
    def loss(policy, batch):
        everywhere = replace(
            batch,
            mask=torch.ones_like(batch.mask),
            credit=batch.credit.amax(1, keepdim=True).expand_as(batch.mask),
        )
        return objective.loss(policy, everywhere)

    return _with(objective, loss=loss)


def _wrong_sign(objective):
    return _with(objective, credit=lambda batch: -objective.credit(batch))


def _population_std(objective):
    def credit(batch):
        size = len(batch.rewards)
        return objective.credit(batch) * (size / (size - 1)) ** 0.5

    return _with(objective, credit=credit)


def _missing_detach(objective):
    def loss(policy, batch):
        alive = replace(batch, sampled_logprobs=policy.logprobs)
        return objective.loss(policy, alive)

    return _with(objective, loss=loss)


def _own_reward_in_the_baseline(objective):
    return _with(objective, credit=grpo(GrpoConfig(scale="none")).credit)


def _mean_for_sum(objective):
    def loss(policy, batch):
        terms = objective.loss(policy, batch)
        return tuple(Term(t.name, t.sum, t.denominator * len(batch.mask), t.weight, t.credited) for t in terms)

    return _with(objective, loss=loss)


@pytest.mark.parametrize(
    "broken", [_dropped_mask, _wrong_sign, _population_std, _missing_detach, _mean_for_sum]
)
def test_broken_grpo_is_rejected(broken):
    target = grpo_target_gradient(3, GrpoConfig(), lambda length: 1 / length)
    assert not close(expected_gradient(broken(grpo()), THETA, right, 3), target)


@pytest.mark.parametrize("broken", [_wrong_sign, _missing_detach, _own_reward_in_the_baseline, _mean_for_sum])
def test_broken_leave_one_out_is_rejected(broken):
    assert not close(expected_gradient(broken(rloo()), THETA, graded, 3), true_gradient(graded))


def _kept_cut_rows(objective):
    return _with(objective, credit=grpo().credit, loss=dapo(DapoConfig(overlong_filter=False)).loss)


def _by_rows(objective):
    return _with(objective, loss=grpo().loss)


def _living_ratio(objective):
    def loss(policy, batch):
        ratio = torch.exp(torch.where(batch.mask, policy.logprobs - batch.sampled_logprobs, 0.0))
        pushed = -(ratio * batch.credit * torch.where(batch.mask, policy.logprobs, 0.0)).sum()
        return (Term("policy", pushed, float(batch.mask.sum())),)

    return _with(objective, loss=loss)


def _whitened_by_rows(objective):
    def credit(batch):
        deviation = batch.rewards.std() + 1e-12
        return ((batch.rewards - batch.rewards.mean()) / deviation)[:, None] * batch.mask

    return _with(objective, credit=credit)


@pytest.mark.parametrize(
    ("make", "weights", "broken"),
    [
        (dapo, dapo_weights, _kept_cut_rows),
        (dapo, dapo_weights, _by_rows),
        (dapo, dapo_weights, _wrong_sign),
        (cispo, token_mean_weights, _living_ratio),
        (cispo, token_mean_weights, _by_rows),
        (reinforce_pp, whitened_weights, _whitened_by_rows),
        (reinforce_pp, whitened_weights, _dropped_mask),
    ],
)
def test_broken_batch_means_are_rejected(make, weights, broken):
    found = expected_gradient(broken(make()), THETA, right, 3)
    assert not close(found, target_by_class(right, 3, weights))


def _row_sum_for_mean(objective):
    def loss(policy, batch):
        gap = torch.where(batch.mask, policy.logprobs - batch.sampled_logprobs, 0.0).sum(1)
        return (Term("policy", -(torch.exp(gap) * batch.credit[:, 0]).sum(), float(len(gap))),)

    return _with(objective, loss=loss)


@pytest.mark.parametrize("broken", [_row_sum_for_mean, _wrong_sign, _missing_detach, _population_std])
def test_broken_row_ratios_are_rejected(broken):
    target = grpo_target_gradient(3, GrpoConfig(), lambda length: 1 / length)
    assert close(expected_gradient(gspo(), THETA, right, 3), target)
    assert not close(expected_gradient(broken(gspo()), THETA, right, 3), target)


@pytest.mark.parametrize("broken", [_by_rows, _wrong_sign, _mean_for_sum])
def test_broken_dr_grpo_is_rejected(broken):
    assert not close(
        expected_gradient(broken(dr_grpo()), THETA, graded, 3), 2 / 3 / LENGTH * true_gradient(graded)
    )


def _own_draw_in_its_baseline(objective):
    """The best of k with a draw among them, less the group's mean of that."""

    def credit(batch):
        size, k = len(batch.rewards), objective.config.k
        best = [
            statistics.fmean(
                float(max(batch.rewards[list(s)])) for s in itertools.combinations(range(size), k) if i in s
            )
            for i in range(size)
        ]
        value = torch.tensor(best, dtype=torch.float64)
        return (value - value.mean())[:, None] * batch.mask

    return _with(objective, credit=credit)


def _best_of_fewer(objective):
    return _with(objective, credit=passk_grpo(PasskGrpoConfig(k=objective.config.k - 1)).credit)


@pytest.mark.parametrize("broken", [_own_draw_in_its_baseline, _best_of_fewer, _by_rows, _wrong_sign])
def test_broken_best_of_k_is_rejected(broken):
    objective = passk_grpo(PasskGrpoConfig(k=2))
    found = expected_gradient(broken(objective), THETA, right, 3)
    assert not close(found, pass_at_k_gradient(right, 2) / (2 * LENGTH))
