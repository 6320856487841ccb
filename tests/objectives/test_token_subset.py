"""Where the gradient goes: entropy, roles, the control token; Clip-Cov and KL-Cov."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from role_policy import (
    MASK,
    RIGHT,
    ROLES,
    SUPPORT,
    THETA,
    chances,
    close,
    expected_ascent,
    fixed,
    of_equal_length,
    same_as_battery,
    slope,
    true_ascent,
)
from softmax_policy import CONTEXTS, batch_of, logprobs
from test_objective_battery import make_batch, take

from keyturn.core.errors import UsageError
from keyturn.core.roles import EXECUTION, PLANNING, Role
from keyturn.core.streams import Streams
from keyturn.objectives.clip_cov import ClipCovConfig, clip_cov, dropped
from keyturn.objectives.contract import PolicyTokens, judged
from keyturn.objectives.covariance import covariance
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.objectives.kl_cov import KlCovConfig, kl_cov
from keyturn.objectives.token_masks import largest, top_entropy
from keyturn.objectives.token_subset import KINDS, TokenSubsetConfig, token_subset

SIZE = 3
EQUAL = of_equal_length()
KEPT = {
    "plan": (ROLES == Role.PLAN).double(),
    "execution": (ROLES == Role.ARITHMETIC).double(),
    "control": torch.tensor([1.0, 0.0]).double() * MASK,
}


def of_all(tokens, scale="none"):
    return token_subset(TokenSubsetConfig(tokens=tokens, denominator="all", scale=scale))


def declared(tokens, theta=EQUAL, size=SIZE):
    p = (chances(theta) * RIGHT).sum()
    return (1 - 1 / size) / 2 * slope(theta, (RIGHT - p)[:, None] * KEPT[tokens])


@pytest.mark.parametrize("tokens", KEPT)
def test_kept_tokens_have_the_bias_that_is_declared(tokens):
    assert close(expected_ascent(of_all(tokens), EQUAL, SIZE, fixed(RIGHT)), declared(tokens))


def test_the_control_token_alone_moves_as_it_would_with_all_the_others():
    found = expected_ascent(of_all("control"), EQUAL, SIZE, fixed(RIGHT))
    whole = expected_ascent(grpo(GrpoConfig(scale="none", aggregation="token-mean")), EQUAL, SIZE, fixed(RIGHT))
    begin = CONTEXTS.index(())
    assert close(found[begin], whole[begin])
    assert not found[[c for c in range(len(CONTEXTS)) if c != begin]].any()
    assert close(found[begin], (1 - 1 / SIZE) / 2 * true_ascent(EQUAL, RIGHT)[begin])


@pytest.mark.parametrize("tokens", ["plan", "execution"])
def test_by_role_the_baseline_does_not_cancel(tokens):
    # Twin: the closed form without a baseline, which is right where the place decides, is wrong here.
    without = (1 - 1 / SIZE) / 2 * slope(EQUAL, RIGHT[:, None] * KEPT[tokens])
    assert not close(declared(tokens), without)
    control = (1 - 1 / SIZE) / 2 * slope(EQUAL, RIGHT[:, None] * KEPT["control"])
    assert close(declared("control"), control)


def _leaks(objective):
    def loss(policy, batch):
        return objective.loss(policy, replace(batch, marked=batch.mask))

    return replace(objective, loss=loss)


def _shifted(objective):
    return replace(objective, mark=lambda batch: objective.mark(batch).roll(1, 1) & batch.mask)


def _divided_by_kept(objective):
    return token_subset(replace(objective.config, denominator="kept"))


@pytest.mark.parametrize("broken", [_leaks, _shifted, _divided_by_kept])
def test_broken_choices_are_rejected(broken):
    assert not close(expected_ascent(broken(of_all("plan")), EQUAL, SIZE, fixed(RIGHT)), declared("plan"))


@pytest.mark.parametrize("tokens", KINDS)
def test_a_batch_learns_from_its_kept_tokens_and_from_no_others(tokens):
    batch, now = make_batch(shift=0.1, width=9)
    full = take(grpo(GrpoConfig(clip_high=0.28, aggregation="token-mean")), batch, now)[1]
    of_every, of_kept = (
        token_subset(TokenSubsetConfig(tokens=tokens, denominator=denominator))
        for denominator in ("all", "kept")
    )
    marked = judged(of_every, batch).marked
    assert 0 < marked.sum() < batch.mask.sum()
    found = take(of_every, batch, now)[1]
    assert torch.allclose(found, full * marked)
    ratio = batch.mask.sum() / marked.sum()
    assert torch.allclose(take(of_kept, batch, now)[1], found * ratio)


def test_the_uncertain_fifth_is_the_batchs_not_a_rows():
    batch = make_batch(groups=6, draws=4, width=9)[0]
    marked = top_entropy(batch, 0.2)
    inside = sorted(batch.entropies[batch.mask].tolist(), reverse=True)
    count = math.ceil(0.2 * len(inside))
    assert int(marked.sum()) == count
    assert sorted(batch.entropies[marked].tolist(), reverse=True) == inside[:count]
    assert len(set(marked.sum(1).tolist())) > 2  # a fifth of every row would be nearly the same of all


def test_ties_are_kept_and_rounding_keeps_no_token_more():
    values = torch.tensor([[3.0, 2.0, 2.0, 1.0, torch.nan]])
    mask = torch.tensor([[True, True, True, True, False]])
    assert largest(values, mask, 0.5).tolist() == [[True, True, True, False, False]]
    assert largest(values, mask, 0.25).tolist() == [[True, False, False, False, False]]
    fifth = torch.arange(5.0)[None]
    assert int(largest(fifth, torch.ones(1, 5, dtype=torch.bool), 0.2).sum()) == 1  # 0.2 * 5 is no more than 1
    assert int(largest(fifth, torch.ones(1, 5, dtype=torch.bool), 0.21).sum()) == 2


def test_choices_are_what_their_names_say():
    batch = make_batch(groups=6, draws=4, width=9)[0]
    chosen = {name: judged(token_subset(TokenSubsetConfig(tokens=name)), batch).marked for name in KINDS}
    assert torch.equal(chosen["low_entropy"], batch.mask & ~chosen["top_entropy"])
    assert chosen["random"].sum() == chosen["top_entropy"].sum()
    assert not torch.equal(chosen["random"], chosen["top_entropy"])
    roles = {"plan": PLANNING, "execution": EXECUTION, "strategy": {Role.STRATEGY}}
    for name, wanted in roles.items():
        ids = {int(role) for role in wanted}
        expected = [
            [int(r) in ids and bool(m) for r, m in zip(*row, strict=True)]
            for row in zip(batch.roles, batch.mask, strict=True)
        ]
        assert chosen[name].tolist() == expected
    assert bool(chosen["control"][:, 0].all())
    assert not chosen["control"][:, 1:].any()


def test_a_batch_without_a_kept_token_moves_nothing():
    batch, now = make_batch(shift=0.1)
    batch = replace(batch, roles=torch.zeros_like(batch.roles))
    for denominator in ("all", "kept"):
        objective = token_subset(TokenSubsetConfig(tokens="plan", denominator=denominator))
        assert not take(objective, batch, now)[1].any()


@pytest.mark.parametrize("tokens", KINDS)
@pytest.mark.parametrize("denominator", ["kept", "all"])
def test_every_choice_passes_the_battery(tokens, denominator):
    same_as_battery(token_subset(TokenSubsetConfig(tokens=tokens, denominator=denominator, quantile=0.3)))


@pytest.mark.parametrize("choice", [{"tokens": "planing"}, {"denominator": "own"}, {"quantile": 0.0}])
def test_choices_that_mean_nothing_are_refused(choice):
    with pytest.raises(UsageError):
        token_subset(TokenSubsetConfig(**choice))


# Covariance.


def test_the_covariance_of_the_batch_is_that_of_numpy():
    batch = judged(grpo(), make_batch()[0])
    found = covariance(batch)[batch.mask]
    credit, logprob = batch.credit[batch.mask].numpy(), batch.sampled_logprobs[batch.mask].numpy()
    assert found.mean().item() == pytest.approx(np.cov(credit, logprob, ddof=0)[0, 1])
    by_hand = (credit - credit.mean()) * (logprob - logprob.mean())
    np.testing.assert_allclose(found, by_hand)


def bounded(share, **settings):
    return ClipCovConfig(share=share, bound_low=0.1, bound_high=2.0, **settings)


def in_bounds(batch):
    found = covariance(batch)
    return batch.mask & (found > 0.1) & (found < 2.0)


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (2e-4, 1), (0.1, 3), (1.0, None)])
def test_clip_cov_drops_its_share_of_what_is_in_bounds(share, count):
    batch = judged(grpo(), make_batch()[0])
    gone, candidates = dropped(batch, bounded(share)), in_bounds(batch)
    assert not bool((gone & ~candidates).any())
    assert int(candidates.sum()) > 3
    assert int(gone.sum()) == (int(candidates.sum()) if count is None else count)
    assert int(batch.mask.sum() * 0.1) == 3


def test_clip_cov_drops_evenly():
    batch = judged(grpo(), make_batch()[0])
    candidates = in_bounds(batch)
    draws = 600
    hits = sum(dropped(replace(batch, streams=Streams(n)), bounded(0.1)).double() for n in range(draws))
    chance = 3 / int(candidates.sum())
    assert not hits[~candidates].any()
    spread = (draws * chance * (1 - chance)) ** 0.5
    assert bool(((hits[candidates] - draws * chance).abs() < 4.5 * spread).all())


def by_hand_without(index, theta, kept):
    """Gradient of one group under GRPO with a token mean, token by token; ``kept`` says what a token counts."""
    rows = [SUPPORT[i] for i in index]
    rewards = RIGHT[list(index)]
    if rewards.min() == rewards.max():
        return torch.zeros_like(theta)
    credit = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
    n = sum(len(row) for row in rows)
    leaf = theta.clone().requires_grad_()
    own = logprobs(leaf, rows)
    fixed_logprobs = own.detach()
    mean_credit = sum(float(credit[i]) * len(row) for i, row in enumerate(rows)) / n
    mean_logprob = float(fixed_logprobs.sum()) / n
    ascent = 0 * leaf.sum()
    for i, row in enumerate(rows):
        for t in range(len(row)):
            c = (float(credit[i]) - mean_credit) * (float(fixed_logprobs[i, t]) - mean_logprob)
            ascent = ascent + kept(c) * credit[i] * own[i, t] / n
    return torch.autograd.grad(ascent, leaf)[0]


def expected_by_hand(kept, size=2):
    chance = chances(THETA)
    return sum(
        chance[list(index)].prod() * by_hand_without(index, THETA, kept)
        for index in itertools.product(range(len(SUPPORT)), repeat=size)
    )


def test_clip_cov_has_the_bias_that_it_declares():
    # With a share of 1 everything in bounds is dropped, whatever the stream: the declared weight is 0 there.
    found = expected_ascent(clip_cov(bounded(1.0)), THETA, 2, fixed(RIGHT))
    declared_bias = expected_by_hand(lambda c: float(not 0.1 < c < 2.0))
    assert close(found, declared_bias)
    everything = expected_by_hand(lambda c: 1.0)
    assert not close(found, everything)
    # Twins: bounds on the covariance's size, and the other side of it.
    assert not close(found, expected_by_hand(lambda c: float(not 0.1 < abs(c) < 2.0)))
    assert not close(found, expected_by_hand(lambda c: float(0.1 < c < 2.0)))


def test_kl_cov_is_grpo_at_the_first_update():
    assert close(expected_ascent(kl_cov(), THETA, 2, fixed(RIGHT)), expected_by_hand(lambda c: 1.0))


def test_kl_cov_with_equal_lengths_weighs_prompts_as_grpo_does():
    p = (chances(EQUAL) * RIGHT).sum()
    counts = torch.arange(SIZE + 1, dtype=torch.float64)
    v = counts / SIZE * (1 - counts / SIZE)
    binomial = torch.distributions.Binomial(SIZE, probs=p).log_prob(counts).exp()
    weight = (binomial * v / ((v * SIZE / (SIZE - 1)).sqrt() + 1e-4)).sum() / (p * (1 - p))
    found = expected_ascent(kl_cov(), EQUAL, SIZE, fixed(RIGHT))
    assert close(found, weight / 2 * true_ascent(EQUAL, RIGHT))


def test_kl_cov_pulls_the_held_tokens_back_and_clips_nothing():
    batch, now = make_batch(shift=0.6)
    config = KlCovConfig(share=0.15, weight=0.7)
    objective = kl_cov(config)
    batch = judged(objective, batch)
    count = int(0.15 * int(batch.mask.sum()))
    found = covariance(batch)
    assert int(batch.marked.sum()) == count >= 3
    assert found[batch.marked].min() >= found[batch.mask & ~batch.marked].max()
    gap = now - batch.sampled_logprobs
    declared_bias = (-gap.exp() * batch.credit + 0.7 * gap.sign() * batch.marked) / batch.mask.sum()
    assert torch.allclose(take(objective, batch, now)[1], declared_bias * batch.mask)
    # Twin: pulled everywhere.
    everywhere = (-gap.exp() * batch.credit + 0.7 * gap.sign()) / batch.mask.sum()
    assert not torch.allclose(take(objective, batch, now)[1], everywhere * batch.mask)


def test_rounding_between_sampler_and_trainer_is_not_pulled_at():
    batch, _ = make_batch()
    rng = np.random.default_rng(0)
    now = (batch.sampled_logprobs + torch.tensor(rng.uniform(-1e-5, 1e-5, batch.mask.shape))) * batch.mask
    without, pulled = kl_cov(KlCovConfig(weight=0.0, share=0.2)), kl_cov(KlCovConfig(weight=9.0, share=0.2))
    assert torch.equal(take(without, batch, now)[1], take(pulled, batch, now)[1])
    strict = kl_cov(KlCovConfig(weight=9.0, share=0.2, slack=0.0))
    assert not torch.allclose(take(strict, batch, now)[1], take(pulled, batch, now)[1], atol=1e-2)


def test_without_a_difference_in_credit_nothing_is_marked():
    batch = make_batch()[0]
    same = replace(batch, rewards=torch.ones_like(batch.rewards))
    for objective in (clip_cov(ClipCovConfig(bound_low=-1.0)), kl_cov(KlCovConfig(share=1.0))):
        chosen = judged(objective, same).marked
        if objective.name == "kl_cov":
            assert not chosen.any()
        else:  # bounds that hold 0 hold every token: one of them is dropped, and had no credit to lose
            assert int(chosen.sum()) == 1
            policy = PolicyTokens(batch.sampled_logprobs, batch.entropies)
            terms = {t.name: t for t in objective.loss(policy, judged(objective, same))}
            assert terms["dropped"].sum == 0


@pytest.mark.parametrize(
    "objective",
    [clip_cov(bounded(0.1)), clip_cov(bounded(1.0)), kl_cov(KlCovConfig(share=0.2))],
    ids=["clip-cov tenth", "clip-cov all", "kl-cov fifth"],
)
def test_covariance_settings_pass_the_battery(objective):
    same_as_battery(objective)


@pytest.mark.parametrize(
    "make",
    [
        lambda: clip_cov(ClipCovConfig(share=2.0)),
        lambda: clip_cov(ClipCovConfig(bound_low=5.0)),
        lambda: kl_cov(KlCovConfig(share=0.0)),
        lambda: kl_cov(KlCovConfig(slack=-1.0)),
    ],
)
def test_covariance_settings_that_mean_nothing_are_refused(make):
    with pytest.raises(UsageError):
        make()


def test_batches_of_the_enumeration_know_their_entropies():
    # What the tests above rest on: entropies of the enumerated policy are those of its contexts.
    batch = batch_of(SUPPORT, RIGHT, torch.zeros(len(SUPPORT), dtype=torch.long), THETA)
    first = torch.distributions.Categorical(logits=THETA[CONTEXTS.index(())]).entropy()
    assert torch.allclose(batch.entropies[:, 0], first)
