"""What must hold for every entry of OBJECTIVES, and the twins that the battery must reject.

A new line in the dictionary is tested with its defaults at once; other settings of it are lines of SETTINGS.
"""

import importlib
import itertools
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook
from made_batch import batch_for, draws_of, make_batch, reordered, same, take

from keyturn.core.errors import UsageError
from keyturn.core.roles import Role
from keyturn.objectives import OBJECTIVES
from keyturn.objectives.cispo import CispoConfig, cispo
from keyturn.objectives.contract import INVARIANTS, PolicyTokens, judged, total
from keyturn.objectives.dapo import DapoConfig, dapo
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.objectives.gspo import GspoConfig, gspo
from keyturn.objectives.passk_grpo import PasskGrpoConfig, passk_grpo
from keyturn.objectives.reinforce import ReinforceConfig, reinforce
from keyturn.objectives.reinforce_pp import ReinforcePpConfig, reinforce_pp
from keyturn.objectives.rloo import RlooConfig, rloo

SETTINGS = {
    **{name: make() for name, make in OBJECTIVES.items()},
    "grpo kl": grpo(GrpoConfig(kl_weight=0.1)),
    "grpo token-mean": grpo(GrpoConfig(aggregation="token-mean")),
    "grpo mean only": grpo(GrpoConfig(scale="none", aggregation="seq-mean-token-sum-norm")),
    "rloo kl": rloo(RlooConfig(kl_weight=0.1)),
    "grpo kl in reward": grpo(GrpoConfig(kl_weight=0.1, kl_in="reward", kl_kind="k1")),
    "grpo entropy": grpo(GrpoConfig(entropy_weight=0.01, kl_weight=0.1, kl_kind="k2")),
    "grpo adaptive entropy": grpo(GrpoConfig(entropy_target=0.3)),
    "dapo kl": dapo(DapoConfig(kl_weight=0.1, kl_kind="k2")),
    "dapo unfiltered": dapo(DapoConfig(overlong_filter=False)),
    "gspo token": gspo(GspoConfig(form="token", clip_low=0.1, clip_high=0.1)),
    "cispo relative": cispo(CispoConfig(cap_low=0.8, cap_high=1.2)),
    "passk 1": passk_grpo(PasskGrpoConfig(k=1)),
    "passk 2": passk_grpo(PasskGrpoConfig(k=2)),
    "reinforce_pp baseline": reinforce_pp(ReinforcePpConfig(baseline="group")),
    "reinforce_pp kl": reinforce_pp(ReinforcePpConfig(kl_weight=0.1)),
    "reinforce_pp discount": reinforce_pp(ReinforcePpConfig(gamma=0.9)),
    "reinforce_pp baseline discount kl": reinforce_pp(
        ReinforcePpConfig(baseline="group", gamma=0.9, kl_weight=0.1)
    ),
    "reinforce kl": reinforce(ReinforceConfig(kl_weight=0.1)),
    "reinforce none": reinforce(ReinforceConfig(baseline="none")),
    "reinforce group": reinforce(ReinforceConfig(baseline="group")),
}


@pytest.fixture(params=SETTINGS, ids=str)
def objective(request):
    return SETTINGS[request.param]


def test_what_is_kept_is_known():
    assert set().union(*(objective.invariants for objective in SETTINGS.values())) <= set(INVARIANTS)
    # Each is kept by some and not by others, or its test could not fail.
    for name in INVARIANTS:
        assert any(name in objective.invariants for objective in SETTINGS.values()), name


def test_micro_batches_change_nothing(objective):
    batch, now = batch_for(objective, shift=0.1)
    parts = [torch.tensor(p) for p in ([3, 1], [0, 2, 4, 5, 6], [7], [11, 10, 9, 8])]
    parts += [torch.tensor([row]) for row in range(12, len(now))]
    assert same(take(objective, batch, now), take(objective, batch, now, parts))


def test_micro_batches_divided_by_their_own_denominator_do_not():
    # Twin: the mean of micro-batch means, the common fault.
    batch, now = make_batch(shift=0.1)
    objective = SETTINGS["grpo token-mean"]
    batch = judged(objective, batch)
    whole = take(objective, batch, now)[0]
    parts = []
    for index in (torch.arange(2), torch.arange(2, 12)):
        terms = objective.loss(PolicyTokens(now[index], batch.entropies[index]), batch.rows(index))
        parts.append(total(terms, {t.name: t.denominator for t in terms}))
    assert not torch.allclose(torch.stack(parts).mean(), whole, rtol=1e-3)


def test_padding_changes_nothing(objective):
    batch, now = batch_for(objective, shift=0.1)
    extra = 4

    def widen(x, fill):
        return torch.cat([x, torch.full((len(x), extra), fill, dtype=x.dtype)], 1)

    # NaN as padding: whatever reads it would show.
    wide = replace(
        batch,
        tokens=widen(batch.tokens, 7),
        mask=widen(batch.mask, False),
        roles=widen(batch.roles, int(Role.STRATEGY)),
        sampled_logprobs=widen(batch.sampled_logprobs, torch.nan),
        entropies=widen(batch.entropies, torch.nan),
        reference_logprobs=widen(batch.reference_logprobs, torch.nan),
    )
    loss, *grads = take(objective, batch, now)
    wide_loss, *wide_grads = take(objective, wide, widen(now, torch.nan))
    assert same((loss, *grads), (wide_loss, *(grad[:, : now.shape[1]] for grad in wide_grads)))
    assert not any(grad[:, now.shape[1] :].any() for grad in wide_grads)


def test_credit_and_marks_stay_inside_the_mask(objective):
    batch = judged(objective, batch_for(objective)[0])
    assert batch.credit.shape == batch.mask.shape
    assert not batch.credit[~batch.mask].any()
    if objective.mark is not None:
        assert batch.marked.dtype == torch.bool
        assert not batch.marked[~batch.mask].any()


def test_entropies_get_a_gradient_just_where_the_objective_asks_for_it(objective):
    batch, now = batch_for(objective, shift=0.1)
    assert bool(take(objective, batch, now)[2].any()) is ("policy_entropies" in objective.needs)


def test_terms_that_vanish_with_the_credit_and_no_others_say_so(objective):
    # What the loop leaves out of the backward must add nothing, and a term that could be left out says so.
    batch, now = batch_for(objective, shift=0.1)
    batch = judged(objective, batch)
    nothing = replace(batch, credit=torch.zeros_like(batch.credit))
    for term in objective.loss(PolicyTokens(now, batch.entropies), nothing):
        assert bool(term.sum.abs() > 1e-9) is not term.credited, term.name


@pytest.mark.parametrize("need", ["reference_logprobs", "roles", "demonstration"])
def test_what_is_needed_and_missing_is_said(objective, need):
    batch, _ = batch_for(objective)
    without = replace(batch, **{need: None})
    if need in objective.needs:
        with pytest.raises(UsageError, match=need):
            judged(objective, without)
    else:
        assert torch.equal(judged(objective, without).credit, judged(objective, batch).credit)


# What most keep: each is checked where it is declared, and must have a counterexample where it is not.


def _equal_rewards(objective, seed):
    # 0.1 + 0.1 + 0.1 is not 3 * 0.1 in float32: the mean of equal rewards may differ from them.
    batch, _ = batch_for(objective, seed=seed, draws=7)
    drawn = draws_of(batch)
    for value in (0.1, 1 / 3, 1e-8, 1.0, 1e6):
        rewards = torch.where(drawn, value, 0.0).float()
        yield not judged(objective, replace(batch, rewards=rewards)).credit[drawn].any()


def _silent_groups(objective, seed):
    batch, _ = batch_for(objective, seed=seed)
    for value in (0.1, 1.0, -1.0):
        rewards = torch.where(batch.group == 0, value, batch.rewards)
        yield not judged(objective, replace(batch, rewards=rewards)).credit[batch.group == 0].any()


def _shift_by(objective, seed, shift):
    batch, now = batch_for(objective, seed=seed, shift=0.1)
    moved = replace(batch, rewards=batch.rewards + torch.where(draws_of(batch), shift(batch.group), 0.0))
    before, after = take(objective, batch, now), take(objective, moved, now)
    return all(torch.allclose(x, y, rtol=0, atol=1e-11) for x, y in zip(before, after, strict=True))


def _shift(objective, seed):
    yield _shift_by(objective, seed, lambda group: 2.0 * torch.ones(len(group), dtype=torch.float64))


def _prompt_shift(objective, seed):
    by_prompt = torch.tensor([2.0, -1.0, 0.5, 8.0] + 3 * [0.0], dtype=torch.float64)
    yield _shift_by(objective, seed, lambda group: by_prompt[group])


def _own_group(objective, seed):
    batch, _ = batch_for(objective, seed=seed)
    for change in (5.0, -5.0):
        rewards = torch.where(batch.group == 2, change * batch.rewards, batch.rewards)
        moved = judged(objective, replace(batch, rewards=rewards)).credit
        others = (batch.group != 2) & draws_of(batch)
        yield torch.equal(judged(objective, batch).credit[others], moved[others])


def _row_order(objective, seed):
    batch, now = batch_for(objective, seed=seed, shift=0.1)
    order = torch.tensor(np.random.default_rng(seed + 5).permutation(len(now)))
    names = torch.tensor([40, -2, 7, 7000, 5, 6, 41])
    moved = replace(batch, group=names[batch.group]).rows(order)
    yield same(reordered(take(objective, batch, now), order), take(objective, moved, now[order]))


EXAMPLES = {
    "equal rewards": _equal_rewards,
    "silent groups": _silent_groups,
    "shift": _shift,
    "prompt shift": _prompt_shift,
    "own group": _own_group,
    "row order": _row_order,
}
"""Key of INVARIANTS -> ``(objective, seed) -> whether it held``, example by example."""


def held(objective, name):
    return list(itertools.chain.from_iterable(EXAMPLES[name](objective, seed) for seed in range(3)))


@pytest.mark.parametrize("name", INVARIANTS)
def test_an_objective_keeps_what_it_says_and_no_more(objective, name):
    found = held(objective, name)
    assert all(found) if name in objective.invariants else not all(found)


def test_a_false_declaration_is_seen():
    # Twins: a batch-wide baseline declared as a group's, and a group's not declared at all.
    assert not all(held(reinforce(ReinforceConfig(baseline="batch")), "own group"))
    assert all(held(reinforce(ReinforceConfig(baseline="group")), "own group"))
    assert not all(held(reinforce(ReinforceConfig(baseline="none")), "shift"))


def test_silent_groups_may_be_left_out():
    batch, now = make_batch(shift=0.1)
    for name in ("grpo", "rloo", "grpo mean only", "grpo token-mean", "reinforce group"):
        objective = SETTINGS[name]
        whole, kept = take(objective, batch, now), take(objective, batch, now, [torch.arange(3, 12)])
        assert same(whole, kept), name


def test_groups_of_one_and_rows_without_tokens_are_defined(objective):
    batch, now = batch_for(objective, groups=4, draws=1)
    mask = batch.mask.clone()
    mask[1] = False
    batch = replace(batch, mask=mask)
    assert all(torch.isfinite(x).all() for x in take(objective, batch, now))
    if "silent groups" in objective.invariants:
        assert not judged(objective, batch).credit[draws_of(batch)].any()


def test_a_batch_without_a_token_is_defined(objective):
    batch, now = batch_for(objective)
    batch = replace(batch, mask=torch.zeros_like(batch.mask))
    assert all(torch.isfinite(x).all() for x in take(objective, batch, now))


def test_shapes_are_what_the_annotations_say():
    before = {name: module for name, module in sys.modules.items() if name.startswith("keyturn.objectives")}
    for name in before:
        del sys.modules[name]
    try:
        with install_import_hook("keyturn.objectives", "beartype.beartype"):
            checked = importlib.import_module("keyturn.objectives")
            contract = importlib.import_module("keyturn.objectives.contract")
        for make in checked.OBJECTIVES.values():
            objective = make()
            batch, now = batch_for(objective, shift=0.1)
            fresh = contract.judged(objective, contract.RolloutBatch(**vars(batch)))
            objective.loss(contract.PolicyTokens(now, fresh.entropies), fresh)
        # Twin: a reward a token is not a reward a row.
        with pytest.raises(Exception, match="rewards"):
            contract.RolloutBatch(**(vars(batch) | {"rewards": now}))
    finally:
        for name in [name for name in sys.modules if name.startswith("keyturn.objectives")]:
            del sys.modules[name]
        sys.modules.update(before)
