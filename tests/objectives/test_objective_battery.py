"""What must hold for every entry of OBJECTIVES, and the twins that the battery must reject."""

import importlib
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook

from keyturn.objectives import OBJECTIVES
from keyturn.objectives.contract import PolicyTokens, RolloutBatch, total
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.objectives.reinforce import ReinforceConfig, reinforce
from keyturn.objectives.rloo import RlooConfig, rloo

SETTINGS = {
    **{name: make() for name, make in OBJECTIVES.items()},
    "grpo kl": grpo(GrpoConfig(kl_weight=0.1)),
    "grpo token-mean": grpo(GrpoConfig(aggregation="token-mean")),
    "dr grpo": grpo(GrpoConfig(scale="none", aggregation="seq-mean-token-sum-norm")),
    "rloo kl": rloo(RlooConfig(kl_weight=0.1)),
    "reinforce group": reinforce(ReinforceConfig(baseline="group")),
}
CENTRED = [name for name in SETTINGS if name != "reinforce none"]


@pytest.fixture(params=SETTINGS, ids=str)
def objective(request):
    return SETTINGS[request.param]


def make_batch(seed=0, groups=4, draws=3, width=5, shift=0.0):
    rng = np.random.default_rng(seed)
    rows = groups * draws
    lengths = rng.integers(1, width + 1, rows)
    mask = torch.tensor(np.arange(width) < lengths[:, None])
    sampled = torch.tensor(-rng.exponential(1.0, (rows, width))) * mask
    rewards = torch.tensor(rng.normal(size=rows))
    rewards[:draws] = 0.1  # one silent group
    return RolloutBatch(
        tokens=torch.tensor(rng.integers(0, 9, (rows, width))),
        mask=mask,
        rewards=rewards,
        group=torch.arange(groups).repeat_interleave(draws),
        truncated=torch.zeros(rows, dtype=torch.bool),
        sampled_logprobs=sampled,
        entropies=torch.tensor(rng.uniform(0, 1, (rows, width))) * mask,
        max_new_tokens=width,
        reference_logprobs=(sampled + torch.tensor(rng.normal(0, 0.2, (rows, width)))) * mask,
    ), (sampled + shift * torch.tensor(rng.normal(size=(rows, width)))) * mask


def take(objective, batch, logprobs, parts=None, denominators=None):
    """Loss and its gradient by log-probability, over micro-batches given as row indices."""
    leaf = logprobs.clone().requires_grad_()
    batch = replace(batch, credit=objective.credit(batch))
    if denominators is None:
        with torch.no_grad():
            terms = objective.loss(PolicyTokens(batch.sampled_logprobs, batch.entropies), batch)
        denominators = {t.name: t.denominator for t in terms}
    losses = []
    for part in parts or [torch.arange(len(batch.mask))]:
        tokens = PolicyTokens(leaf[part], batch.entropies[part])
        losses.append(total(objective.loss(tokens, batch.rows(part)), denominators))
    loss = torch.stack(losses).sum()
    (grad,) = torch.autograd.grad(loss, leaf)
    return loss.detach(), grad


def same(a, b):
    return all(torch.allclose(x, y, rtol=1e-10, atol=1e-13) for x, y in zip(a, b, strict=True))


def test_micro_batches_change_nothing(objective):
    batch, now = make_batch(shift=0.1)
    parts = [torch.tensor(p) for p in ([3, 1], [0, 2, 4, 5, 6], [7], [11, 10, 9, 8])]
    assert same(take(objective, batch, now), take(objective, batch, now, parts))


def test_micro_batches_divided_by_their_own_denominator_do_not():
    # Twin: the mean of micro-batch means, the common fault.
    batch, now = make_batch(shift=0.1)
    objective = SETTINGS["grpo token-mean"]
    batch = replace(batch, credit=objective.credit(batch))
    whole = take(objective, batch, now)[0]
    parts = []
    for index in (torch.arange(2), torch.arange(2, 12)):
        terms = objective.loss(PolicyTokens(now[index], batch.entropies[index]), batch.rows(index))
        parts.append(total(terms, {t.name: t.denominator for t in terms}))
    assert not torch.allclose(torch.stack(parts).mean(), whole, rtol=1e-3)


def test_padding_changes_nothing(objective):
    batch, now = make_batch(shift=0.1)
    extra = 4

    def widen(x, fill):
        return torch.cat([x, torch.full((len(x), extra), fill, dtype=x.dtype)], 1)

    # NaN as padding: whatever reads it would show.
    wide = replace(
        batch,
        tokens=widen(batch.tokens, 7),
        mask=widen(batch.mask, False),
        sampled_logprobs=widen(batch.sampled_logprobs, torch.nan),
        entropies=widen(batch.entropies, torch.nan),
        reference_logprobs=widen(batch.reference_logprobs, torch.nan),
    )
    loss, grad = take(objective, batch, now)
    wide_loss, wide_grad = take(objective, wide, widen(now, torch.nan))
    assert same((loss, grad), (wide_loss, wide_grad[:, : now.shape[1]]))
    assert not wide_grad[:, now.shape[1] :].any()


def test_row_order_and_group_names_change_nothing(objective):
    batch, now = make_batch(shift=0.1)
    order = torch.tensor(np.random.default_rng(5).permutation(len(now)))
    names = torch.tensor([40, -2, 7, 7000])
    moved = replace(batch, group=names[batch.group]).rows(order)
    loss, grad = take(objective, batch, now)
    moved_loss, moved_grad = take(objective, moved, now[order])
    assert same((loss, grad[order]), (moved_loss, moved_grad))


def test_a_constant_on_a_prompts_rewards_changes_nothing(objective):
    if objective.name == "reinforce" and objective.config.baseline != "group":
        shift = torch.full((4,), 2.0, dtype=torch.float64)  # its baseline is the batch's
    else:
        shift = torch.tensor([2.0, -1.0, 0.5, 8.0], dtype=torch.float64)
    batch, now = make_batch(shift=0.1)
    moved = replace(batch, rewards=batch.rewards + shift[batch.group])
    loss, grad = take(objective, batch, now)
    moved_loss, moved_grad = take(objective, moved, now)
    assert torch.allclose(loss, moved_loss, atol=1e-11)
    assert torch.allclose(grad, moved_grad, atol=1e-11)


def test_a_prompts_credit_depends_on_no_other_prompt():
    for name in ("grpo", "rloo", "dr grpo", "reinforce group"):
        batch, _ = make_batch()
        moved = replace(batch, rewards=torch.where(batch.group == 2, 5 * batch.rewards, batch.rewards))
        others = batch.group != 2
        before, after = SETTINGS[name].credit(batch), SETTINGS[name].credit(moved)
        assert torch.equal(before[others], after[others]), name
    # Twin: a batch-wide baseline leaks, and this comparison sees it.
    leaky = reinforce(ReinforceConfig(baseline="batch"))
    assert not torch.equal(leaky.credit(batch)[others], leaky.credit(moved)[others])


def test_silent_groups_have_credit_exactly_zero_and_may_be_left_out():
    batch, now = make_batch(shift=0.1)
    for name in ("grpo", "rloo", "dr grpo", "grpo token-mean", "reinforce group"):
        objective = SETTINGS[name]
        credit = objective.credit(batch)
        assert not credit[:3].any(), name
        terms = objective.loss(PolicyTokens(now, batch.entropies), replace(batch, credit=credit))
        assert all(t.credited for t in terms), name
        loss, grad = take(objective, batch, now)
        kept_loss, kept_grad = take(objective, batch, now, [torch.arange(3, 12)])
        assert same((loss, grad), (kept_loss, kept_grad)), name


def test_terms_that_do_not_vanish_with_the_credit_say_so():
    batch, now = make_batch(shift=0.1)
    objective = SETTINGS["grpo kl"]
    terms = objective.loss(PolicyTokens(now, batch.entropies), replace(batch, credit=torch.zeros_like(now)))
    assert {t.name: t.credited for t in terms} == {
        "policy": True,
        "clipped_high": True,
        "clipped_low": True,
        "kl": False,
    }
    for term in terms:
        assert bool(term.sum.abs() > 1e-6) is not term.credited


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-8, 1e6])
def test_equal_rewards_give_exactly_nothing_in_float32(name, value):
    # 0.1 + 0.1 + 0.1 is not 3 * 0.1 in float32: the mean of equal rewards may differ from them.
    batch, _ = make_batch(draws=7)
    batch = replace(batch, rewards=torch.full((28,), value, dtype=torch.float32))
    if name == "rloo":
        batch = replace(batch, reference_logprobs=None)
    assert not OBJECTIVES[name]().credit(batch).any()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_groups_of_one_and_rows_without_tokens_are_defined(name):
    batch, now = make_batch(groups=4, draws=1)
    mask = batch.mask.clone()
    mask[1] = False
    batch = replace(batch, mask=mask)
    loss, grad = take(OBJECTIVES[name](), batch, now)
    assert torch.isfinite(loss)
    assert torch.isfinite(grad).all()
    if name != "reinforce":
        assert not grad.any()


def test_shapes_are_what_the_annotations_say():
    before = {name: module for name, module in sys.modules.items() if name.startswith("keyturn.objectives")}
    for name in before:
        del sys.modules[name]
    try:
        with install_import_hook("keyturn.objectives", "beartype.beartype"):
            checked = importlib.import_module("keyturn.objectives")
            contract = importlib.import_module("keyturn.objectives.contract")
        batch, now = make_batch(shift=0.1)
        fields = vars(batch) | {"reference_logprobs": batch.reference_logprobs}
        fresh = contract.RolloutBatch(**fields)
        for make in checked.OBJECTIVES.values():
            objective = make()
            graded = replace(fresh, credit=objective.credit(fresh))
            objective.loss(contract.PolicyTokens(now, fresh.entropies), graded)
        # Twin: a reward a token is not a reward a row.
        with pytest.raises(Exception, match="rewards"):
            contract.RolloutBatch(**(fields | {"rewards": now}))
    finally:
        for name in [name for name in sys.modules if name.startswith("keyturn.objectives")]:
            del sys.modules[name]
        sys.modules.update(before)


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
    batch = replace(batch, credit=objective.credit(batch))
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
    without = take(SETTINGS["dr grpo"], batch, now)[1]
    assert with_mean[0, 0] == pytest.approx(5 * with_mean[1, 0])
    assert without[0, 0] == pytest.approx(without[1, 0])
    assert with_mean[0, 0] > 0 > with_mean[2, 0]
