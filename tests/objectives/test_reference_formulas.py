"""Agreement with the formulas of TRL's trainers, written as they stand there."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_batch import make_batch

from keyturn.objectives.contract import PolicyTokens, total
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.objectives.rloo import RlooConfig, rloo


def ours(objective, batch, now):
    batch = replace(batch, credit=objective.credit(batch))
    terms = objective.loss(PolicyTokens(now, batch.entropies), batch)
    return total(terms, {t.name: t.denominator for t in terms})


def trl_grpo(batch, now, draws, loss_type, scale, beta, low=0.2, high=0.2, eps=1e-4):
    """GRPOTrainer: rewards.view(-1, G).mean / std(ddof 1) + 1e-4; per-token loss; three reductions."""
    grouped = batch.rewards.view(-1, draws)
    mean = grouped.mean(1).repeat_interleave(draws)
    advantages = batch.rewards - mean
    if scale:
        advantages = advantages / (grouped.std(1).repeat_interleave(draws) + eps)
    mask = batch.mask.to(now.dtype)
    coef_1 = torch.exp(now - batch.sampled_logprobs)
    coef_2 = torch.clamp(coef_1, 1 - low, 1 + high)
    per_token = -torch.min(coef_1 * advantages[:, None], coef_2 * advantages[:, None])
    if beta:
        ref = batch.reference_logprobs
        per_token = per_token + beta * (torch.exp(ref - now) - (ref - now) - 1)
    if loss_type == "grpo":
        return ((per_token * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).mean()
    if loss_type == "bnpo":
        return (per_token * mask).sum() / mask.sum().clamp(min=1.0)
    return (per_token * mask).sum() / (per_token.size(0) * batch.max_new_tokens)  # dr_grpo


@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize(
    ("loss_type", "aggregation"),
    [("grpo", "seq-mean-token-mean"), ("bnpo", "token-mean"), ("dr_grpo", "seq-mean-token-sum-norm")],
)
@pytest.mark.parametrize("scale", [True, False])
def test_grpo_agrees(beta, loss_type, aggregation, scale):
    batch, now = make_batch(seed=4, shift=0.3)
    config = GrpoConfig(scale="std" if scale else "none", aggregation=aggregation, kl_weight=beta)
    theirs = trl_grpo(batch, now, 3, loss_type, scale, beta)
    assert ours(grpo(config), batch, now).item() == pytest.approx(theirs.item(), abs=1e-9)


def test_the_other_standard_deviation_would_not_agree():
    batch, _ = make_batch(seed=4, shift=0.3)
    grouped = batch.rewards.view(-1, 3)
    wrong = (batch.rewards - grouped.mean(1).repeat_interleave(3)) / (
        grouped.std(1, unbiased=False).repeat_interleave(3) + 1e-4
    )
    assert not torch.allclose(grpo().credit(batch)[3:, 0], wrong[3:], rtol=1e-2)


def trl_rloo(batch, now, draws, beta, low=0.2, high=0.2):
    """RLOOTrainer: KL summed over the sequence inside the reward, leave-one-out, sequence ratio, clip."""
    mask = batch.mask.to(now.dtype)
    rewards = batch.rewards
    if beta:
        kl = ((batch.sampled_logprobs - batch.reference_logprobs) * mask).sum(-1)
        rewards = rewards - beta * kl
    grouped = rewards.view(-1, draws)
    baselines = (grouped.sum(1, keepdim=True) - grouped) / (draws - 1)
    advantages = (grouped - baselines).view(-1)
    ratio = torch.exp((now * mask).sum(-1) - (batch.sampled_logprobs * mask).sum(-1))
    return -torch.min(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages).mean()


@pytest.mark.parametrize("beta", [0.0, 0.05])
def test_leave_one_out_agrees(beta):
    batch, now = make_batch(seed=6, shift=0.1)
    found = ours(rloo(RlooConfig(kl_weight=beta)), batch, now)
    assert found.item() == pytest.approx(trl_rloo(batch, now, 3, beta).item(), abs=1e-9)


def test_worked_example():
    # One prompt, rewards 1, 0, 0, 0: mean 1/4, sum of squares 3/4, std = sqrt(3/4 / 3) = 1/2.
    # A = 0.75 / 0.5 = 1.5 and -0.25 / 0.5 = -0.5 (std_epsilon 0).
    batch, _ = make_batch(groups=1, draws=4)
    batch = replace(batch, rewards=torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64))
    credit = grpo(GrpoConfig(std_epsilon=0.0)).credit(batch)[:, 0]
    np.testing.assert_allclose(credit, [1.5, -0.5, -0.5, -0.5])
    # Leave one out: 1 - 0 and 0 - 1/3.
    np.testing.assert_allclose(rloo().credit(batch)[:, 0], [1.0, -1 / 3, -1 / 3, -1 / 3])
