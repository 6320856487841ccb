"""CHORD: two terms divided apart, demonstrations outside every group, and mu as its schedule says."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from role_policy import RIGHT, SUPPORT, THETA, chances, close, expected_ascent, fixed, same_as_battery
from softmax_policy import batch_of, logprobs
from test_objective_battery import make_batch, take

from keyturn.core.errors import UsageError
from keyturn.objectives.chord import PHI, ChordConfig, chord, mu_at
from keyturn.objectives.contract import PolicyTokens, judged, total
from keyturn.objectives.grpo import GrpoConfig, grpo

MU = 0.3
SIZE = 2
SHOWN = [(2, 1), (1, 0), (0,)]
GRPO = grpo(GrpoConfig(aggregation="token-mean"))


def made(phi="variance", **settings):
    return chord(ChordConfig(phi=phi, **({"mu": MU} | settings)))


def expected(objective, factors=None):
    """Minus the expected gradient over groups of draws, with the same demonstrations beside each."""
    chance = chances(THETA)
    leaf = THETA.clone().requires_grad_()
    out = 0 * leaf.sum()
    for index in itertools.product(range(len(SUPPORT)), repeat=SIZE):
        rows = [SUPPORT[i] for i in index] + SHOWN
        rewards = torch.cat([RIGHT[list(index)], torch.zeros(3, dtype=torch.float64)])
        batch = batch_of(rows, rewards, torch.tensor([0, 0, 1, 2, 3]), THETA)
        shown = torch.arange(5) >= SIZE
        # As the loop lays them: of demonstrations nothing is known but their tokens.
        batch = replace(
            batch,
            demonstration=shown,
            sampled_logprobs=torch.where(shown[:, None], 0.0, batch.sampled_logprobs),
        )
        batch = judged(objective, batch)
        terms = objective.loss(PolicyTokens(logprobs(leaf, rows), batch.entropies), batch)
        terms = tuple(t._replace(weight=t.weight * (factors or {}).get(t.name, 1.0)) for t in terms)
        out = out + chance[list(index)].prod() * total(terms, {t.name: t.denominator for t in terms})
    return -torch.autograd.grad(out, leaf)[0]


TARGETS = {
    "variance": lambda p: p - p**2 / 2,
    "one": torch.log,
    "probability": lambda p: p,
}


def shown_ascent(target):
    """Gradient of the mean of a function of p over the demonstrations' tokens."""
    leaf = THETA.clone().requires_grad_()
    p = torch.cat([logprobs(leaf, [row])[0, : len(row)] for row in SHOWN]).exp()
    return torch.autograd.grad(target(p).mean(), leaf)[0]


def mean_spread():
    p = torch.cat([logprobs(THETA, [row])[0, : len(row)] for row in SHOWN]).exp()
    return float((p * (1 - p)).mean())


def declared(phi):
    draws = expected_ascent(GRPO, THETA, SIZE, fixed(RIGHT))
    return (1 - MU) * draws + MU * shown_ascent(TARGETS[phi])


@pytest.mark.parametrize("phi", TARGETS)
def test_each_phi_climbs_the_function_that_is_declared(phi):
    assert close(expected(made(phi)), declared(phi))


def test_matched_weighs_all_tokens_with_the_mean_of_the_variance():
    objective = made("matched")
    adapted = objective.adapt({}, 1, {"loss/phi": mean_spread()})
    found = expected(objective, adapted.weights)
    draws = expected_ascent(GRPO, THETA, SIZE, fixed(RIGHT))
    assert close(found, (1 - MU) * draws + MU * mean_spread() * shown_ascent(torch.log))
    # The same weight on average, and another direction.
    assert not close(found, declared("variance"))


def test_what_matched_follows_is_what_the_loss_reports():
    objective = made("matched")
    batch, now = make_batch(demonstrations=3)
    batch = judged(objective, batch)
    terms = {t.name: t for t in objective.loss(PolicyTokens(now, batch.entropies), batch)}
    p = now[batch.demonstration][batch.mask[batch.demonstration]].exp()
    assert terms["phi"].weight == 0
    assert float(terms["phi"].sum / terms["phi"].denominator) == pytest.approx(float((p * (1 - p)).mean()))


def _with_gradient_through_phi(objective):
    def loss(policy, batch):
        terms = objective.loss(policy, batch)
        shown = batch.mask & batch.demonstration[:, None]
        p = torch.where(shown, policy.logprobs, 0.0).exp()
        alive = -(torch.where(shown, p * (1 - p) * policy.logprobs, 0.0)).sum()
        return tuple(t._replace(sum=alive) if t.name == "sft" else t for t in terms)

    return replace(objective, loss=loss)


def _one_denominator(objective):
    def loss(policy, batch):
        terms = objective.loss(policy, batch)
        return tuple(t._replace(denominator=float(batch.mask.sum())) for t in terms)

    return replace(objective, loss=loss)


def _demonstrations_as_draws(objective):
    def credit(batch):
        return GRPO.credit(replace(batch, group=torch.zeros_like(batch.group)))

    def loss(policy, batch):
        nobody = torch.zeros_like(batch.demonstration)
        policy_terms = objective.loss(policy, replace(batch, demonstration=nobody))
        others = objective.loss(policy, batch)
        return (policy_terms[0], *others[1:])

    return replace(objective, credit=credit, loss=loss)


@pytest.mark.parametrize("broken", [_with_gradient_through_phi, _one_denominator, _demonstrations_as_draws])
def test_broken_mixtures_are_rejected(broken):
    assert not close(expected(broken(made())), declared("variance"))


def test_demonstrations_enter_no_group_and_no_denominator_of_the_draws():
    batch, now = make_batch(demonstrations=3, shift=0.1)
    objective = made()
    alone = batch.rows(torch.arange(12))
    found = judged(objective, batch)
    assert not found.credit[batch.demonstration].any()
    assert torch.equal(found.credit[:12], GRPO.credit(alone))
    terms = {t.name: t for t in objective.loss(PolicyTokens(now, batch.entropies), found)}
    assert terms["policy"].denominator == alone.mask.sum()
    assert terms["sft"].denominator == batch.mask[12:].sum()
    both = take(objective, batch, now)[1]
    assert torch.allclose(both[:12], (1 - MU) * take(GRPO, alone, now[:12])[1])


@pytest.mark.parametrize("rows", [range(12), range(12, 15)], ids=["draws alone", "demonstrations alone"])
def test_one_kind_of_rows_alone_is_defined(rows):
    batch, now = make_batch(demonstrations=3, shift=0.1)
    index = torch.tensor(list(rows))
    loss, grads, _ = take(made(), batch.rows(index), now[index])
    assert torch.isfinite(loss)
    assert bool(grads.any())


# The schedule of mu.


def test_the_cosine_schedule_is_the_published_one():
    config = ChordConfig(schedule="cosine", warmup=10, decay=40, peak=0.8, valley=0.1)
    found = [mu_at(config, step, {}) for step in range(60)]
    assert found[:11] == pytest.approx([0.08 * step for step in range(11)])
    for step in range(10, 50):
        assert found[step] == pytest.approx(0.7 * 0.5 * (1 + math.cos(math.pi * (step - 10) / 40)) + 0.1)
    assert found[30] == pytest.approx(0.45)
    assert found[50:] == [0.1] * 10
    assert mu_at(ChordConfig(schedule="cosine"), 0, {}) == 0.9
    assert mu_at(ChordConfig(schedule="cosine", decay=0), 0, {}) == 0.05


@pytest.mark.parametrize(("reward", "mu"), [(0.0, 0.5), (0.2, 0.3), (0.5, 0.0), (0.9, 0.0), (-1.0, 1.0)])
def test_adaptive_mu_is_what_the_mean_reward_lacks(reward, mu):
    adapted = made(schedule="adaptive").adapt({}, 3, {"reward": reward})
    assert adapted.weights["sft"] == pytest.approx(mu)
    assert adapted.weights["policy"] == pytest.approx(1 - mu)


def test_what_was_measured_last_stands_where_a_step_measured_nothing():
    objective = made("matched", schedule="adaptive")
    begin = objective.adapt({}, 0, {})
    assert begin.weights == {"policy": pytest.approx(1 - MU), "sft": 0.0}
    first = objective.adapt(begin.state, 1, {"reward": 0.1, "loss/phi": 0.2, "lr": 1.0})
    assert first.weights["sft"] == pytest.approx(0.4 * 0.2)
    later = objective.adapt(first.state, 2, {"lr": 1.0})
    assert later == first
    assert set(later.state) == {"reward", "loss/phi"}
    assert objective.adapt(first.state, 2, {"reward": 0.5}).weights["sft"] == 0.0


def test_a_constant_mu_needs_no_schedule_and_weighs_the_same():
    batch, now = make_batch(demonstrations=3, shift=0.1)
    constant, moving = made(), made(schedule="cosine", peak=MU, valley=MU)
    assert constant.adapt is None
    batch = judged(constant, batch)
    factors = moving.adapt({}, 7, {}).weights
    names = {t.name: t.weight for t in constant.loss(PolicyTokens(now, batch.entropies), batch)}
    for term in moving.loss(PolicyTokens(now, batch.entropies), batch):
        assert term.weight * factors.get(term.name, 1.0) == pytest.approx(names[term.name])


@pytest.mark.parametrize("phi", PHI)
@pytest.mark.parametrize("schedule", ["constant", "cosine", "adaptive"])
def test_every_setting_passes_the_battery(phi, schedule):
    same_as_battery(made(phi, schedule=schedule))


@pytest.mark.parametrize(
    "choice", [{"phi": "p"}, {"schedule": "linear"}, {"mu": 1.1}, {"peak": -0.1}, {"decay": -1}]
)
def test_settings_that_mean_nothing_are_refused(choice):
    with pytest.raises(UsageError):
        chord(ChordConfig(**choice))
