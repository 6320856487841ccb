"""Every objective's expected gradient over all groups of draws, against the gradient of its declared target."""

from dataclasses import replace

import pytest
import torch
from softmax_policy import (
    expected_gradient,
    logits,
    logprobs,
    per_sequence_gradients,
    sequences,
)

from keyturn.objectives import OBJECTIVES
from keyturn.objectives.contract import Objective, Term
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.objectives.reinforce import ReinforceConfig, reinforce
from keyturn.objectives.rloo import RlooConfig, rloo

THETA = logits(3)
SUPPORT = sequences()
RIGHT = {(1, 0), (1, 2), (2, 0)}


def right(sequence):
    return float(sequence in RIGHT)


def graded(sequence):
    """A reward that is not 0/1, so that nothing depends on two values."""
    return 0.25 * len(sequence) + 0.5 * sequence[0] - 0.3 * (sequence[-1] == 0)


def true_gradient(reward):
    value = torch.tensor([reward(s) for s in SUPPORT], dtype=torch.float64)
    return (value[:, None, None] * per_sequence_gradients(THETA)).sum(0)


def close(a, b):
    return torch.allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("reward", [right, graded])
def test_leave_one_out_has_no_bias(size, reward):
    assert close(expected_gradient(rloo(), THETA, reward, size), true_gradient(reward))


@pytest.mark.parametrize("size", [2, 3, 4])
def test_group_mean_shortens_the_gradient_by_one_over_g(size):
    objective = grpo(GrpoConfig(scale="none", aggregation="seq-mean-token-sum"))
    found = expected_gradient(objective, THETA, graded, size)
    assert close(found, (1 - 1 / size) * true_gradient(graded))


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("baseline", ["none", "batch", "group"])
def test_reinforce_has_the_bias_that_it_declares(size, baseline):
    found = expected_gradient(reinforce(ReinforceConfig(baseline=baseline)), THETA, graded, size)
    factor = 1.0 if baseline == "none" else 1 - 1 / size
    assert close(found, factor * true_gradient(graded))


def grpo_target_gradient(size, config, weight_of_length):
    """The declared target by binomial counts of right draws; no group is enumerated here.

    sum_c Binomial(c; G, p) v_c / (sqrt(v_c G / (G - 1)) + eps) * (g_right / p - g_wrong / (1 - p)), where
    g_right = sum over right sequences of grad pi(o) / T(o) (the token mean's factor), g_wrong likewise.
    """
    gradients = per_sequence_gradients(THETA)
    chance = logprobs(THETA, SUPPORT).sum(1).exp()
    is_right = torch.tensor([right(s) for s in SUPPORT], dtype=torch.bool)
    factor = torch.tensor([weight_of_length(len(s)) for s in SUPPORT], dtype=torch.float64)
    p = chance[is_right].sum()
    counts = torch.arange(size + 1, dtype=torch.float64)
    binomial = torch.distributions.Binomial(size, probs=p).log_prob(counts).exp()
    v = counts / size * (1 - counts / size)
    weight = (binomial * v / ((v * size / (size - 1)).sqrt() + config.std_epsilon)).sum()
    scaled = factor[:, None, None] * gradients
    return weight * (scaled[is_right].sum(0) / p - scaled[~is_right].sum(0) / (1 - p))


@pytest.mark.parametrize("size", [2, 3, 4])
def test_grpo_follows_its_declared_target(size):
    config = GrpoConfig()
    found = expected_gradient(grpo(config), THETA, right, size)
    assert close(found, grpo_target_gradient(size, config, lambda length: 1 / length))


def test_grpo_without_the_token_mean_is_a_multiple_of_the_true_gradient():
    config = GrpoConfig(aggregation="seq-mean-token-sum")
    found = expected_gradient(grpo(config), THETA, right, 3)
    assert close(found, grpo_target_gradient(3, config, lambda length: 1.0))
    truth = true_gradient(right)
    assert torch.allclose(found / truth, (found / truth).mean(), rtol=1e-9)


def test_grpo_weight_tends_to_that_of_arcsine_for_large_groups():
    # d/dp 2 arcsin(sqrt p) = 1 / sqrt(p (1 - p)): the limit that the bias sentence's "over-weighted" means.
    for p in (0.05, 0.5, 0.9):
        size = 4000
        counts = torch.arange(size + 1, dtype=torch.float64)
        binomial = torch.distributions.Binomial(size, probs=torch.tensor(p, dtype=torch.float64))
        v = counts / size * (1 - counts / size)
        weight = (binomial.log_prob(counts).exp() * (v * (size - 1) / size).sqrt()).sum() / (p * (1 - p))
        assert weight == pytest.approx((p * (1 - p)) ** -0.5, rel=4e-3)


def test_the_penalty_inside_the_reward_has_the_gradient_of_the_kl():
    reference = logits(11)
    found = expected_gradient(rloo(RlooConfig(kl_weight=0.3)), THETA, lambda s: 0.0, 2, reference=reference)
    theta = THETA.clone().requires_grad_()
    own = logprobs(theta, SUPPORT).sum(1)
    kl = (own.exp() * (own - logprobs(reference, SUPPORT).sum(1))).sum()
    (towards,) = torch.autograd.grad(-kl, theta)
    assert close(found, 0.3 * towards)


def test_k3_as_a_loss_has_its_own_gradient_not_that_of_the_kl():
    reference = logits(11)
    config = GrpoConfig(kl_weight=1.0, aggregation="seq-mean-token-sum")
    found = expected_gradient(grpo(config), THETA, lambda s: 0.0, 1, reference=reference)
    # E[d k3 / d theta] with the draws held fixed: (1 - pi_ref / pi) * d l.
    theta = THETA.clone().requires_grad_()
    own, anchor = logprobs(theta, SUPPORT), logprobs(reference, SUPPORT)
    chance = own.detach().sum(1).exp()
    pushed = (chance[:, None] * (1 - (anchor - own).exp()).detach() * own).sum()
    (gradient,) = torch.autograd.grad(-pushed, theta)
    assert close(found, gradient)


# Twins: each is one deliberate error, and the test that proves the bias must reject it.


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


def test_every_objective_states_its_bias_and_source():
    for name, make in OBJECTIVES.items():
        objective = make()
        assert objective.name == name
        assert objective.bias.endswith(".") or objective.bias.endswith(")")
        assert any(character.isdigit() for character in objective.source)
