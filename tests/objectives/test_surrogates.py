"""What tokens do with their credit: where surrogates agree, and where they must not."""

import itertools
from dataclasses import replace

import pytest
import torch
from made_batch import make_batch, same, take

from keyturn.core.errors import UsageError
from keyturn.objectives.cispo import CispoConfig, cispo
from keyturn.objectives.contract import PolicyTokens, judged
from keyturn.objectives.dapo import DapoConfig, dapo
from keyturn.objectives.dr_grpo import dr_grpo
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.objectives.gspo import GspoConfig, gspo
from keyturn.objectives.passk_grpo import PasskGrpoConfig, passk_grpo
from keyturn.objectives.reinforce import ReinforceConfig, reinforce
from keyturn.objectives.reinforce_pp import ReinforcePpConfig, reinforce_pp
from keyturn.objectives.rloo import rloo

MEAN_ONLY = grpo(GrpoConfig(scale="none", aggregation="seq-mean-token-sum-norm"))


def test_one_update_makes_all_surrogates_equal():
    # At ratio 1 clipping, the importance ratio and plain log-probability have one gradient.
    batch, now = make_batch(shift=0.0)
    for one, other in (
        (
            grpo(GrpoConfig(scale="none", aggregation="seq-mean-token-sum")),
            reinforce(ReinforceConfig(baseline="group")),
        ),
        (
            grpo(GrpoConfig(clip_low=0.01, clip_high=0.01)),
            grpo(GrpoConfig(clip_low=0.9, clip_high=9.0)),
        ),
    ):
        assert torch.allclose(take(one, batch, now)[1], take(other, batch, now)[1], atol=1e-12)
    # RLOO is the group mean's credit times G / (G - 1).
    grouped = take(reinforce(ReinforceConfig(baseline="group")), batch, now)[1]
    assert torch.allclose(take(rloo(), batch, now)[1], 1.5 * grouped, atol=1e-12)


def test_off_policy_they_differ():
    # Twin of the equality above: it must not hold once the ratio has left 1.
    batch, now = make_batch(shift=1.0)
    narrow, wide = (
        grpo(GrpoConfig(clip_low=0.01, clip_high=0.01)),
        grpo(GrpoConfig(clip_low=0.9, clip_high=9.0)),
    )
    assert not torch.allclose(take(narrow, batch, now)[1], take(wide, batch, now)[1], atol=1e-3)


def test_clipped_shares_are_counted_by_side():
    batch, _ = make_batch()
    objective = grpo()
    up = torch.where(batch.mask, batch.sampled_logprobs + 1.0, 0.0)
    batch = judged(objective, batch)
    terms = {t.name: t for t in objective.loss(PolicyTokens(up, batch.entropies), batch)}
    good = (batch.credit > 0).sum()
    assert terms["clipped_high"].sum == good
    assert terms["clipped_low"].sum == 0
    assert terms["clipped_high"].denominator == batch.mask.sum()


def test_length_changes_the_gradient_of_wrong_answers_only_through_the_token_mean():
    # Two wrong answers of 1 and 5 tokens: the token mean punishes the long one five times less a token.
    batch, _ = make_batch(groups=1, draws=3, width=5)
    mask = torch.arange(5) < torch.tensor([1, 5, 3])[:, None]
    batch = replace(
        batch,
        mask=mask,
        rewards=torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64),
        sampled_logprobs=torch.zeros(3, 5, dtype=torch.float64),
    )
    now = torch.zeros(3, 5, dtype=torch.float64)
    with_mean = take(grpo(), batch, now)[1]
    without = take(MEAN_ONLY, batch, now)[1]
    assert with_mean[0, 0] == pytest.approx(5 * with_mean[1, 0])
    assert without[0, 0] == pytest.approx(without[1, 0])
    assert with_mean[0, 0] > 0 > with_mean[2, 0]


def terms_of(objective, batch, now):
    batch = judged(objective, batch)
    return {t.name: t for t in objective.loss(PolicyTokens(now, batch.entropies), batch)}


def test_one_update_makes_rows_and_tokens_and_caps_equal():
    batch, now = make_batch(shift=0.0)
    batch = replace(batch, truncated=torch.zeros_like(batch.truncated))
    by_mean, by_token = grpo(), grpo(GrpoConfig(aggregation="token-mean"))
    for one, other in (
        (gspo(), by_mean),
        (gspo(GspoConfig(form="token")), by_mean),
        (cispo(), by_token),
        (dapo(), by_token),
        (dr_grpo(), MEAN_ONLY),
    ):
        assert torch.allclose(take(one, batch, now)[1], take(other, batch, now)[1], atol=1e-12), one.name


def test_off_policy_they_differ_as_they_should():
    batch, now = make_batch(shift=0.5)
    batch = replace(batch, truncated=torch.zeros_like(batch.truncated))
    by_mean, by_token = grpo(), grpo(GrpoConfig(aggregation="token-mean"))
    for one, other in ((gspo(), by_mean), (cispo(), by_token)):
        assert not torch.allclose(take(one, batch, now)[1], take(other, batch, now)[1], atol=1e-3), one.name
    # A token that is a quarter likelier has room in DAPO and none in GRPO.
    up = torch.where(batch.mask, batch.sampled_logprobs + torch.tensor(1.25).log(), 0.0)
    good = judged(by_token, batch).credit > 0
    assert take(dapo(), batch, up)[1][good].all()
    assert not take(by_token, batch, up)[1][good].any()


def test_both_forms_of_a_rows_ratio_agree_until_credit_differs_within_a_row():
    batch, now = make_batch(shift=0.3)
    wide = {"clip_low": 0.05, "clip_high": 0.05}
    row, token = gspo(GspoConfig(**wide)), gspo(GspoConfig(form="token", **wide))
    assert same(take(row, batch, now), take(token, batch, now))
    tilted = batch.mask * torch.arange(5)
    row, token = (replace(o, credit=lambda b: grpo().credit(b) + tilted) for o in (row, token))
    assert not torch.allclose(take(row, batch, now)[1], take(token, batch, now)[1], atol=1e-4)


def test_a_row_beyond_its_range_is_off_as_a_whole():
    batch, _ = make_batch()
    up = torch.where(batch.mask, batch.sampled_logprobs + 0.1, 0.0)
    first = torch.arange(5) == 0
    up = torch.where(first & batch.mask & (batch.mask.sum(1) > 2)[:, None], batch.sampled_logprobs - 0.05, up)
    # A long row's first token moved down: by tokens it would be on; the row's mean is still above the range.
    objective = gspo()
    _, grad, _ = take(objective, batch, up)
    credit = judged(objective, batch).credit[:, 0]
    assert not grad[credit > 0].any()
    assert grad[credit < 0].any()
    terms = terms_of(objective, batch, up)
    assert terms["clipped_high"].sum == (credit > 0).sum()
    assert terms["clipped_high"].denominator == len(batch.rewards)


def test_a_capped_ratio_still_teaches():
    batch, _ = make_batch()
    up = torch.where(batch.mask, batch.sampled_logprobs + 1.0, 0.0)
    capped, clipped = cispo(CispoConfig(cap_low=0.8, cap_high=1.2)), grpo(GrpoConfig(aggregation="token-mean"))
    credit = judged(capped, batch).credit
    grad = take(capped, batch, up)[1]
    assert not take(clipped, batch, up)[1][credit > 0].any()
    assert torch.allclose(grad, -1.2 * credit / batch.mask.sum(), atol=1e-12)
    terms = terms_of(capped, batch, up)
    assert terms["capped_high"].sum == (credit != 0).sum()
    # Twin: with the ratio not held fixed the gradient would grow with the log-probability.
    alive = (torch.exp(up - batch.sampled_logprobs).clamp(0.8, 1.2) * credit * up).sum()
    assert not torch.allclose(alive / batch.mask.sum(), terms["policy"].sum, atol=1e-3)


def test_cut_rows_leave_loss_and_denominator_but_not_their_groups_mean():
    batch, now = make_batch(shift=0.1)
    cut = torch.zeros_like(batch.truncated)
    cut[[4, 7]] = True
    batch = replace(batch, truncated=cut)
    terms = terms_of(dapo(), batch, now)
    assert terms["policy"].denominator == batch.mask[~cut].sum()
    assert not take(dapo(), batch, now)[1][cut].any()
    whole = judged(grpo(), batch).credit
    assert torch.equal(judged(dapo(), batch).credit[~cut], whole[~cut])
    # Twins: rows that only lose their credit stay in the denominator; rows that leave early change the mean.
    without_credit = replace(dapo(DapoConfig(overlong_filter=False)), credit=dapo().credit)
    assert not torch.allclose(take(without_credit, batch, now)[0], take(dapo(), batch, now)[0], rtol=1e-3)
    early = judged(grpo(), batch.rows(torch.flatten((~cut).nonzero()))).credit
    assert not torch.allclose(early, whole[~cut])


def test_a_batch_of_cut_rows_alone_has_no_loss():
    batch, now = make_batch(shift=0.1)
    batch = replace(batch, truncated=torch.ones_like(batch.truncated))
    loss, grad, _ = take(dapo(), batch, now)
    assert loss == 0
    assert not grad.any()


def test_returns_of_tokens_by_hand():
    # Reward 1 at the end of three tokens, of which the second is not the policy's: gamma counts its own two.
    batch, _ = make_batch(groups=1, draws=2, width=4)
    mask = torch.tensor([[True, False, True, False], [True, True, True, True]])
    batch = replace(batch, mask=mask, rewards=torch.tensor([1.0, 0.0], dtype=torch.float64))
    found = reinforce_pp(ReinforcePpConfig(gamma=0.5)).credit(batch)
    returns = torch.tensor([0.5, 1.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    expected = (returns - 0.25) / (returns.var() + 1e-8).sqrt()
    assert torch.allclose(found[mask], expected, atol=1e-12)


def test_whitened_credit_has_mean_zero_and_deviation_one_over_tokens():
    batch, _ = make_batch()
    inside = reinforce_pp().credit(batch)[batch.mask]
    assert inside.mean().item() == pytest.approx(0, abs=1e-12)
    assert inside.std().item() == pytest.approx(1, abs=1e-6)
    # Twin: over rows, where long ones weigh no more, it is neither.
    rows = (batch.rewards - batch.rewards.mean()) / batch.rewards.std()
    assert (rows[:, None] * batch.mask)[batch.mask].mean().abs() > 1e-3


def test_the_best_of_k_by_hand():
    # Four draws, one right, k = 2. The right one: 1 with it, 0 without. A wrong one: with it and one of three
    # others 1/3, without it two of three others 2/3.
    batch, _ = make_batch(groups=1, draws=4)
    batch = replace(batch, rewards=torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64))
    found = passk_grpo(PasskGrpoConfig(k=2)).credit(batch)[:, 0]
    assert torch.allclose(found, torch.tensor([1.0, -1 / 3, -1 / 3, -1 / 3], dtype=torch.float64))
    # Two right: one more adds 1 - 2/3 = 1/3 (others: one right of three, two drawn: 2/3).
    batch = replace(batch, rewards=torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64))
    found = passk_grpo(PasskGrpoConfig(k=2)).credit(batch)[:, 0]
    assert torch.allclose(found, torch.tensor([1 / 3, -1 / 3, 1 / 3, -1 / 3], dtype=torch.float64))


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_the_best_of_k_is_a_mean_over_subsets(k):
    batch, _ = make_batch(seed=2, groups=1, draws=6)
    rewards = torch.tensor([0.3, -1.0, 0.3, 2.0, 0.0, 0.9], dtype=torch.float64)
    found = passk_grpo(PasskGrpoConfig(k=k)).credit(replace(batch, rewards=rewards))[:, 0]
    for i in range(6):
        with_it = [max(rewards[list(s)]) for s in itertools.combinations(range(6), k) if i in s]
        without = [max(rewards[list(s)]) for s in itertools.combinations(range(6), k) if i not in s]
        assert found[i].item() == pytest.approx(
            float(sum(with_it) / len(with_it) - sum(without) / len(without))
        )


def test_the_best_of_one_is_leave_one_out():
    batch, _ = make_batch(seed=3)
    assert torch.allclose(passk_grpo(PasskGrpoConfig(k=1)).credit(batch), rloo().credit(batch), atol=1e-12)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: cispo(CispoConfig(cap_high=0.5)),
        lambda: cispo(CispoConfig(cap_low=1.5)),
        lambda: passk_grpo(PasskGrpoConfig(k=0)),
        lambda: reinforce_pp(ReinforcePpConfig(gamma=1.5)),
        lambda: gspo(GspoConfig(form="word")),
        lambda: grpo(GrpoConfig(kl_in="advantage")),
        lambda: grpo(GrpoConfig(entropy_target=0.2, entropy_step=0.0)),
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(UsageError):
        wrong()
