"""Every objective's expected gradient over all groups of draws, against the gradient of its declared target."""

import math

import pytest
import torch
from declared_targets import (
    SUPPORT,
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
    batch_of,
    expected_gradient,
    logprobs,
    per_sequence_gradients,
)

from keyturn.objectives import OBJECTIVES
from keyturn.objectives.cispo import cispo
from keyturn.objectives.contract import judged
from keyturn.objectives.dapo import DapoConfig, dapo
from keyturn.objectives.dr_grpo import dr_grpo
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.objectives.gspo import GspoConfig, gspo
from keyturn.objectives.passk_grpo import PasskGrpoConfig, passk_grpo
from keyturn.objectives.reinforce import ReinforceConfig, reinforce
from keyturn.objectives.reinforce_pp import reinforce_pp
from keyturn.objectives.rloo import rloo


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


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("reward", [right, graded])
@pytest.mark.parametrize(
    ("make", "weights"),
    [
        (dapo, dapo_weights),
        (lambda: dapo(DapoConfig(overlong_filter=False)), token_mean_weights),
        (cispo, token_mean_weights),
        (reinforce_pp, whitened_weights),
    ],
)
def test_a_batchs_own_denominator_and_scale_are_as_declared(make, weights, reward, size):
    found = expected_gradient(make(), THETA, reward, size)
    assert close(found, target_by_class(reward, size, weights))
    # And that is another direction than the true one, as the bias says.
    truth = true_gradient(reward)
    assert float((found * truth).sum() / found.norm() / truth.norm()) < 1 - 1e-4


def equal_lengths(sequence):
    """Right or wrong by the first token alone, among rows of two tokens."""
    return float(sequence[0] == 1)


SAME_LENGTH = torch.cat([torch.full((len(THETA), 1), -60.0, dtype=THETA.dtype), THETA[:, 1:]], 1)
"""A policy that never ends early: every draw has LENGTH tokens and is cut."""


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(
    ("make", "epsilon", "under_root", "tokens"),
    [
        (cispo, 1e-4, 0.0, 1),
        (lambda: dapo(DapoConfig(overlong_filter=False)), 1e-4, 0.0, 1),
        (gspo, 1e-4, 0.0, 1),
        (lambda: gspo(GspoConfig(form="token")), 1e-4, 0.0, 1),
        (reinforce_pp, 0.0, 1e-8, LENGTH),
    ],
)
def test_with_equal_lengths_each_is_the_declared_multiple_of_the_true_gradient(
    make, epsilon, under_root, tokens, size
):
    truth = sum(equal_lengths(s) * g for s, g in zip(SUPPORT, per_sequence_gradients(SAME_LENGTH), strict=True))
    p = sum(
        equal_lengths(s) * c for s, c in zip(SUPPORT, logprobs(SAME_LENGTH, SUPPORT).sum(1).exp(), strict=True)
    )
    weight = 0.0
    for c in range(size + 1):
        v = c / size * (1 - c / size)
        chance = math.comb(size, c) * p**c * (1 - p) ** (size - c)
        units = size * tokens
        weight += chance * v / ((v * units / (units - 1) + under_root) ** 0.5 + epsilon)
    found = expected_gradient(make(), SAME_LENGTH, equal_lengths, size)
    assert close(found, weight / (p * (1 - p)) / LENGTH * truth)


def test_whitening_over_prompts_leaks_from_one_to_the_other():
    # The credit of one and the same draw has another sign beside an easier prompt.
    rows = [(1, 0), (0,), (2, 1), (2, 1)]
    group = torch.tensor([0, 0, 1, 1])
    for objective, leaks in ((reinforce_pp(), True), (grpo(), False)):
        credits = []
        for others in (0.0, 1.0):
            rewards = torch.tensor([0.6, 0.0, others, others], dtype=torch.float64)
            credits.append(float(judged(objective, batch_of(rows, rewards, group, THETA)).credit[0, 0]))
        assert (credits[0] * credits[1] < 0) is leaks


@pytest.mark.parametrize(("size", "factor"), [(2, 1 / 2), (3, 2 / 3)])
def test_dr_grpo_is_a_constant_times_the_true_gradient(size, factor):
    found = expected_gradient(dr_grpo(), THETA, graded, size)
    assert close(found, factor / LENGTH * true_gradient(graded))


@pytest.mark.parametrize("reward", [right, graded])
@pytest.mark.parametrize(("k", "size"), [(1, 2), (1, 3), (2, 3), (2, 4), (3, 4)])
def test_the_best_of_k_is_followed(k, size, reward):
    found = expected_gradient(passk_grpo(PasskGrpoConfig(k=k)), THETA, reward, size)
    assert close(found, pass_at_k_gradient(reward, k) / (k * LENGTH))


def test_groups_too_small_follow_the_best_of_as_many_as_there_are_others():
    found = expected_gradient(passk_grpo(PasskGrpoConfig(k=4)), THETA, graded, 3)
    assert close(found, pass_at_k_gradient(graded, 2) / (2 * LENGTH))


def test_every_objective_states_its_bias_and_source():
    for name, make in OBJECTIVES.items():
        objective = make()
        assert objective.name == name
        assert objective.bias.endswith(".") or objective.bias.endswith(")")
        assert any(character.isdigit() for character in objective.source)
