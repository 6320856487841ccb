"""Agreement with the formulas of TRL's trainers, written as they stand there."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_batch import make_batch

from keyturn.objectives.cispo import CispoConfig, cispo
from keyturn.objectives.contract import PolicyTokens, judged, total
from keyturn.objectives.dapo import DapoConfig, dapo
from keyturn.objectives.dr_grpo import DrGrpoConfig, dr_grpo
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.objectives.gspo import GspoConfig, gspo
from keyturn.objectives.passk_grpo import PasskGrpoConfig, passk_grpo
from keyturn.objectives.reinforce_pp import ReinforcePpConfig, reinforce_pp
from keyturn.objectives.rloo import RlooConfig, rloo


def ours(objective, batch, now):
    batch = judged(objective, batch)
    terms = objective.loss(PolicyTokens(now, batch.entropies), batch)
    return total(terms, {t.name: t.denominator for t in terms})


def trl_grpo(
    batch, now, draws, loss_type, scale, beta, low=0.2, high=0.2, eps=1e-4, level="token", mask_truncated=False
):
    """GRPOTrainer 1.16: rewards.view(-1, G).mean / std(ddof 1) + 1e-4; per-token loss; reductions by type.

    ``level`` is importance_sampling_level, ``mask_truncated`` mask_truncated_completions, which zeroes the
    completion mask of cut rows; for cispo ``high`` is epsilon_high, the cap itself.
    """
    grouped = batch.rewards.view(-1, draws)
    mean = grouped.mean(1).repeat_interleave(draws)
    advantages = batch.rewards - mean
    if scale:
        advantages = advantages / (grouped.std(1).repeat_interleave(draws) + eps)
    advantages = advantages[:, None]
    mask = batch.mask.to(now.dtype)
    if mask_truncated:
        mask = mask * (~batch.truncated).to(now.dtype)[:, None]
    log_ratio = now - batch.sampled_logprobs
    if level == "sequence":
        log_ratio = ((log_ratio * mask).sum(-1) / mask.sum(-1).clamp(min=1.0))[:, None]
    coef_1 = torch.exp(log_ratio)
    if loss_type == "cispo":
        per_token = -coef_1.clamp(max=high).detach() * advantages * now
    else:
        coef_2 = torch.clamp(coef_1, 1 - low, 1 + high)
        per_token = -torch.min(coef_1 * advantages, coef_2 * advantages)
    if beta:
        ref = batch.reference_logprobs
        per_token = per_token + beta * (torch.exp(ref - now) - (ref - now) - 1)
    if loss_type == "grpo":
        return ((per_token * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).mean()
    if loss_type in ("bnpo", "dapo", "cispo"):
        # The last two divide by the tokens of the whole generation batch, which this batch is.
        return (per_token * mask).sum() / mask.sum().clamp(min=1.0)
    return (per_token * mask).sum() / (per_token.size(0) * batch.max_new_tokens)  # dr_grpo


def agree(objective, batch, now, theirs):
    """Equal value, and equal gradient by every log-probability."""
    leaves = [now.clone().requires_grad_() for _ in range(2)]
    losses = [ours(objective, batch, leaves[0]), theirs(leaves[1])]
    grads = [torch.autograd.grad(loss, leaf)[0] for loss, leaf in zip(losses, leaves, strict=True)]
    assert losses[0].item() == pytest.approx(losses[1].item(), abs=1e-9)
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize(
    ("loss_type", "aggregation"),
    [("grpo", "seq-mean-token-mean"), ("bnpo", "token-mean"), ("dr_grpo", "seq-mean-token-sum-norm")],
)
@pytest.mark.parametrize("scale", [True, False])
def test_grpo_agrees(beta, loss_type, aggregation, scale):
    batch, now = make_batch(seed=4, shift=0.3)
    config = GrpoConfig(scale="std" if scale else "none", aggregation=aggregation, kl_weight=beta)
    agree(grpo(config), batch, now, lambda now: trl_grpo(batch, now, 3, loss_type, scale, beta))


@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize("masked", [True, False])
def test_dapo_agrees(beta, masked):
    batch, now = make_batch(seed=4, shift=0.3)
    assert 0 < batch.truncated.sum() < len(batch.truncated)
    objective = dapo(DapoConfig(overlong_filter=masked, kl_weight=beta))

    def theirs(now, high=0.28):
        return trl_grpo(batch, now, 3, "dapo", True, beta, high=high, mask_truncated=masked)

    agree(objective, batch, now, theirs)
    assert ours(objective, batch, now).item() != pytest.approx(theirs(now, high=0.2).item(), abs=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.04])
def test_dr_grpo_agrees(beta):
    batch, now = make_batch(seed=4, shift=0.3)
    objective = dr_grpo(DrGrpoConfig(kl_weight=beta))
    agree(objective, batch, now, lambda now: trl_grpo(batch, now, 3, "dr_grpo", False, beta))
    assert ours(objective, batch, now).item() != pytest.approx(
        trl_grpo(batch, now, 3, "dr_grpo", True, beta).item(), abs=1e-5
    )


@pytest.mark.parametrize("form", ["sequence", "token"])
@pytest.mark.parametrize(("low", "high"), [(3e-4, 4e-4), (0.1, 0.2)])
def test_gspo_agrees(form, low, high):
    batch, now = make_batch(seed=4, shift=0.3)
    objective = gspo(GspoConfig(form=form, clip_low=low, clip_high=high))

    def theirs(now, level="sequence"):
        return trl_grpo(batch, now, 3, "grpo", True, 0.0, low=low, high=high, level=level)

    agree(objective, batch, now, theirs)
    assert ours(objective, batch, now).item() != pytest.approx(theirs(now, "token").item(), abs=1e-5)


@pytest.mark.parametrize("high", [1.1, 5.0])
def test_cispo_agrees(high):
    batch, now = make_batch(seed=4, shift=0.6)

    def theirs(now, high=high):
        return trl_grpo(batch, now, 3, "cispo", True, 0.0, high=high)

    agree(cispo(CispoConfig(cap_high=high)), batch, now, theirs)
    assert theirs(now).item() != pytest.approx(theirs(now, 1.5).item(), abs=1e-5)


def test_cispo_agrees_with_the_relative_caps_of_verl():
    # compute_policy_loss_cispo: clamp(ratio, 1 - low, 1 + high).detach() * advantages * log_prob, token-mean.
    batch, now = make_batch(seed=4, shift=0.6)
    advantages = judged(grpo(GrpoConfig(std_epsilon=1e-6)), batch).credit

    def theirs(now, low=0.2, high=0.3):
        ratio = torch.exp(now - batch.sampled_logprobs)
        losses = -torch.clamp(ratio, 1 - low, 1 + high).detach() * advantages * now
        return losses[batch.mask].mean()

    objective = cispo(CispoConfig(cap_low=0.8, cap_high=1.3, std_epsilon=1e-6))
    agree(objective, batch, now, theirs)
    assert theirs(now).item() != pytest.approx(theirs(now, low=1.0).item(), abs=1e-5)


def verl_reinforce_pp(batch, now, gamma, beta, group_mean, draws, low=0.2, high=0.2):
    """compute_reinforce_plus_plus_outcome_advantage and masked_whiten, token by token; PPO clip, token-mean."""
    mask = batch.mask.to(now.dtype)
    rewards = batch.rewards
    if group_mean:
        rewards = rewards - rewards.view(-1, draws).mean(1).repeat_interleave(draws)
    token_level = -beta * (batch.sampled_logprobs - batch.reference_logprobs) * mask
    last = (mask.sum(1) - 1).long()
    token_level[torch.arange(len(mask)), last] += rewards
    returns, running = torch.zeros_like(mask), torch.zeros(len(mask), dtype=now.dtype)
    for t in reversed(range(mask.shape[1])):
        running = token_level[:, t] + gamma * running
        returns[:, t] = running
        running = running * mask[:, t]
    mean = (returns * mask).sum() / mask.sum()
    variance = (((returns - mean) ** 2) * mask).sum() / mask.sum() * mask.sum() / (mask.sum() - 1)
    advantages = (returns - mean) * torch.rsqrt(variance + 1e-8) * mask
    ratio = torch.exp(now - batch.sampled_logprobs)
    losses = -torch.min(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)
    return (losses * mask).sum() / mask.sum()


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("beta", [0.0, 0.05])
@pytest.mark.parametrize("baseline", ["none", "group"])
def test_reinforce_pp_agrees_with_verl(gamma, beta, baseline):
    batch, now = make_batch(seed=4, shift=0.3)
    objective = reinforce_pp(ReinforcePpConfig(baseline=baseline, gamma=gamma, kl_weight=beta))

    def theirs(now, group_mean=baseline == "group"):
        return verl_reinforce_pp(batch, now, gamma, beta, group_mean, 3)

    agree(objective, batch, now, theirs)
    assert theirs(now).item() != pytest.approx(theirs(now, baseline != "group").item(), abs=1e-5)


def rho(n, c, k):
    return 1 - math.comb(n - c, k) / math.comb(n, k)


@pytest.mark.parametrize("k", [2, 3])
def test_the_best_of_k_agrees_with_the_published_weights_up_to_a_baseline(k):
    # Walder & Karkhanis: k / n for a right draw, (k / n) rho(n - 1, c, k - 1) for a wrong one, c of n right.
    batch, _ = make_batch(groups=1, draws=6)
    for right in range(1, 6):
        rewards = (torch.arange(6) < right).double()
        found = passk_grpo(PasskGrpoConfig(k=k)).credit(replace(batch, rewards=rewards))[:, 0]
        for i in range(6):
            published = k / 6 * (1.0 if i < right else rho(5, right, k - 1))
            baseline = k / 6 * rho(5, right - (i < right), k)
            assert (k / 6 * found[i]).item() == pytest.approx(published - baseline, abs=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_best_of_k_is_a_positive_multiple_of_pass_at_k_training(k):
    # Chen et al.: ((1 - R) / s, (1 - R - C(wrong - 1, k - 1) / C(n - 1, k - 1)) / s), R = rho(n, c, k),
    # s = sqrt(R (1 - R)); the same for right and wrong draws once both are centred on what the group expects.
    batch, _ = make_batch(groups=1, draws=6)
    for right in range(1, 6):
        rewards = (torch.arange(6) < right).double()
        found = passk_grpo(PasskGrpoConfig(k=k)).credit(replace(batch, rewards=rewards))[:, 0]
        whole = rho(6, right, k)
        good, bad = 1 - whole, 1 - whole - math.comb(6 - right - 1, k - 1) / math.comb(5, k - 1)
        centred = torch.where(rewards > 0, good, bad)
        assert float(right * good + (6 - right) * bad) == pytest.approx(0, abs=1e-12)
        ratio = (found - found.mean()) / centred
        if whole < 1:
            assert torch.allclose(ratio, ratio[0].expand(6))
            assert ratio[0] > 0


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
