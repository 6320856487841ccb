"""What pulls beside the reward: which gradient each kind of KL has, and which the entropy bonus."""

from dataclasses import replace

import pytest
import torch
from declared_targets import SUPPORT, THETA, close, graded, true_gradient
from made_batch import make_batch
from softmax_policy import CONTEXTS, batch_of, entropies, expected_gradient, logits, logprobs, padded

from keyturn.core.errors import UsageError
from keyturn.objectives.contract import PolicyTokens, judged, total
from keyturn.objectives.dapo import DapoConfig, dapo
from keyturn.objectives.dr_grpo import DrGrpoConfig, dr_grpo
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.objectives.kl import KINDS, kl_terms, penalty, shaped_rewards
from keyturn.objectives.reinforce import ReinforceConfig, reinforce
from keyturn.objectives.reinforce_pp import returns
from keyturn.objectives.rloo import RlooConfig, rloo

REFERENCE = logits(11)


def nothing(sequence):
    return 0.0


def chances(theta):
    return logprobs(theta, SUPPORT).sum(1).exp()


def sequence_kl(theta, one=None, other=REFERENCE):
    """KL between the distributions over whole sequences."""
    one = theta if one is None else one
    own, anchor = (logprobs(t, SUPPORT).sum(1) for t in (one, other))
    return (own.exp() * (own - anchor)).sum()


def visits():
    """Chance that a context is visited, [context]."""
    chance = chances(THETA)
    return torch.stack(
        [
            sum(p for p, s in zip(chance, SUPPORT, strict=True) if s[: len(c)] == c and len(s) > len(c))
            for c in CONTEXTS
        ]
    )


def next_token_kl(one, other):
    """Mean KL of next-token distributions over the contexts that draws visit, these held fixed."""
    a, b = torch.log_softmax(one, -1), torch.log_softmax(other, -1)
    return (visits() * (a.exp() * (a - b)).sum(-1)).sum()


def gradient_of(function):
    theta = THETA.clone().requires_grad_()
    return torch.autograd.grad(function(theta), theta)[0]


def sample(kind, theta):
    """The summed sample of every sequence, [sequence]."""
    return KINDS[kind](logprobs(theta, SUPPORT) - logprobs(REFERENCE, SUPPORT)).sum(1)


@pytest.mark.parametrize(("kind", "unbiased"), [("k1", True), ("k2", False), ("k3", True)])
def test_as_values_k1_and_k3_are_unbiased_and_k2_is_not(kind, unbiased):
    mean = (chances(THETA) * sample(kind, THETA)).sum()
    assert bool(torch.isclose(mean, sequence_kl(THETA), rtol=1e-9)) is unbiased


TARGETS = {
    "k1": lambda theta: 0 * theta.sum(),
    "k2": lambda theta: next_token_kl(theta, REFERENCE),
    "k3": lambda theta: next_token_kl(REFERENCE, theta),
    "whole": sequence_kl,
}
"""What a loss may be the gradient of."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "make",
    [
        lambda kind: grpo(GrpoConfig(kl_weight=0.7, kl_kind=kind, aggregation="seq-mean-token-sum")),
        lambda kind: reinforce(ReinforceConfig(kl_weight=0.7, kl_kind=kind)),
    ],
)
def test_as_a_loss_each_kind_has_the_gradient_that_is_said_and_no_other(kind, make):
    found = expected_gradient(make(kind), THETA, nothing, 1, reference=REFERENCE)
    for name, target in TARGETS.items():
        assert close(found, -0.7 * gradient_of(target)) is (name == kind), name


def test_dapo_and_dr_grpo_take_the_same_penalty():
    for kind, target in (("k2", TARGETS["k2"]), ("k3", TARGETS["k3"])):
        objective = dr_grpo(DrGrpoConfig(kl_weight=0.7, kl_kind=kind))
        found = expected_gradient(objective, THETA, nothing, 1, reference=REFERENCE)
        assert close(2 * found, -0.7 * gradient_of(target))
    batch, now = make_batch(shift=0.1)
    objective = dapo(DapoConfig(kl_weight=0.7, kl_kind="k2"))
    term = objective.loss(PolicyTokens(now, batch.entropies), judged(objective, batch))[-1]
    kept = batch.mask & ~batch.truncated[:, None]
    gap = (now - batch.reference_logprobs)[kept]
    assert term.sum.item() == pytest.approx(float((gap**2 / 2).sum()))
    assert (term.denominator, term.weight) == (float(kept.sum()), 0.7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [2, 3])
def test_in_the_reward_k1_has_the_whole_gradient_and_the_others_lack_their_own(kind, size):
    objective = rloo(RlooConfig(kl_weight=0.3, kl_kind=kind))
    found = expected_gradient(objective, THETA, nothing, size, reference=REFERENCE)
    mean = gradient_of(lambda theta: (chances(theta) * sample(kind, theta)).sum())
    own = gradient_of(lambda theta: (chances(THETA) * sample(kind, theta)).sum())
    assert close(found, -0.3 * (mean - own))
    assert close(found, -0.3 * gradient_of(sequence_kl)) is (kind == "k1")


def test_in_the_reward_of_a_group_it_is_taken_off_before_the_mean():
    objective = grpo(
        GrpoConfig(scale="none", aggregation="seq-mean-token-sum", kl_weight=0.3, kl_kind="k1", kl_in="reward")
    )
    found = expected_gradient(objective, THETA, graded, 2, reference=REFERENCE)
    assert close(found, 0.5 * (true_gradient(graded) - 0.3 * gradient_of(sequence_kl)))


def test_in_the_rewards_of_tokens_what_follows_is_enough():
    # A token cannot change what was paid before it: returns of the penalty have the whole gradient as well.
    def credit(batch):
        return returns(-0.3 * penalty("k1", batch, batch.sampled_logprobs), batch.mask, 1.0)

    objective = replace(reinforce(ReinforceConfig(baseline="none")), credit=credit)
    found = expected_gradient(objective, THETA, nothing, 1, reference=REFERENCE)
    assert close(found, -0.3 * gradient_of(sequence_kl))
    # Twin: each token charged for itself alone forgets that it leads somewhere.
    alone = replace(objective, credit=lambda b: -0.3 * penalty("k1", b, b.sampled_logprobs))
    found = expected_gradient(alone, THETA, nothing, 1, reference=REFERENCE)
    assert not close(found, -0.3 * gradient_of(sequence_kl))


def test_a_penalty_of_no_weight_is_no_term_and_leaves_rewards_alone():
    batch, now = make_batch()
    tokens = PolicyTokens(now, batch.entropies)
    assert kl_terms(tokens, batch, weight=0.0, kind="k2", aggregation="token-mean") == ()
    assert torch.equal(shaped_rewards(batch, weight=0.0, kind="k1"), batch.rewards)
    with pytest.raises(UsageError, match="k4"):
        penalty("k4", batch, now)


# The entropy bonus.


def bonus_target(theta, tokens_of_row):
    """Mean over one draw's tokens of the entropy in their contexts, draws held fixed."""
    held = entropies(theta, SUPPORT).sum(1) / tokens_of_row
    return (chances(THETA) * held).sum()


def test_the_bonus_has_the_gradient_of_the_entropy_in_the_contexts_drawn():
    objective = grpo(GrpoConfig(entropy_weight=0.2))
    found = expected_gradient(objective, THETA, nothing, 1)
    lengths = padded(SUPPORT)[1].sum(1)
    assert close(found, 0.2 * gradient_of(lambda theta: bonus_target(theta, lengths)))
    # Twins: a sum for the mean, and the entropy of whole sequences, which feels the contexts as well.
    assert not close(found, 0.2 * gradient_of(lambda theta: bonus_target(theta, torch.ones_like(lengths))))
    whole = gradient_of(lambda theta: -(chances(theta) * logprobs(theta, SUPPORT).sum(1)).sum())
    assert not close(found, 0.2 * whole)


def test_the_bonus_is_a_mean_over_tokens_whatever_the_rest_is():
    batch, now = make_batch(shift=0.1)
    for how in ("seq-mean-token-mean", "seq-mean-token-sum-norm"):
        objective = grpo(GrpoConfig(entropy_weight=0.2, aggregation=how))
        term = objective.loss(PolicyTokens(now, batch.entropies), judged(objective, batch))[-1]
        assert (term.name, term.denominator, term.credited) == ("entropy", float(batch.mask.sum()), False)
        assert term.weight == -0.2
        assert term.sum.item() == pytest.approx(float(batch.entropies[batch.mask].sum()))


def test_the_coefficient_follows_the_entropy_by_steps():
    objective = grpo(GrpoConfig(entropy_weight=0.01, entropy_target=0.5, entropy_step=0.005))
    state, coefficients, weights = {}, [], []
    for step, entropy in enumerate([None, 0.4, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.4]):
        said = objective.adapt(state, step, {} if entropy is None else {"entropy/all": entropy})
        state = said.state
        coefficients.append(said.state["coefficient"])
        weights.append(said.weights["entropy"])
    assert coefficients == pytest.approx([0.01, 0.015, 0.02, 0.015, 0.01, 0.005, 0.0, 0.0, 0.005])
    # Above the target the bonus is off, whatever the coefficient remembers.
    assert weights == pytest.approx([0.0, 0.015, 0.02, 0.0, 0.0, 0.0, 0.0, 0.0, 0.005])


def test_a_fixed_coefficient_has_no_schedule():
    assert grpo(GrpoConfig(entropy_weight=0.1)).adapt is None
    assert grpo().needs == frozenset()
    assert grpo(GrpoConfig(entropy_target=0.1)).needs == {"policy_entropies"}


@pytest.mark.parametrize("entropy", [0.4, 0.6])
def test_the_adapted_coefficient_is_the_fixed_one_in_the_gradient(entropy):
    adaptive = grpo(GrpoConfig(entropy_weight=0.3, entropy_target=0.5, entropy_step=0.1))
    factor = adaptive.adapt({}, 1, {"entropy/all": entropy}).weights["entropy"]
    fixed = grpo(GrpoConfig(entropy_weight=0.4 if entropy == 0.4 else 0.0))
    rows = [(1, 0), (2, 1), (0,)]
    batch = batch_of(rows, torch.tensor([1.0, 0.0, 0.5], dtype=torch.float64), torch.zeros(3).long(), THETA)

    def gradient(objective, factors):
        theta = THETA.clone().requires_grad_()
        terms = objective.loss(
            PolicyTokens(logprobs(theta, rows), entropies(theta, rows)), judged(objective, batch)
        )
        # As the loop does it: the schedule's factor on the weight of the named term.
        terms = tuple(t._replace(weight=t.weight * factors.get(t.name, 1.0)) for t in terms)
        loss = total(terms, {t.name: t.denominator for t in terms})
        return torch.autograd.grad(loss, theta)[0]

    assert close(gradient(adaptive, {"entropy": factor}), gradient(fixed, {}))
    assert not close(gradient(adaptive, {}), gradient(fixed, {})), "the twin: a factor that is not used"
