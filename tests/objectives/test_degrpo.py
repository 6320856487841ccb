"""DeGRPO: the control token's gradient does not know how long the answers are; GRPO's does."""

from dataclasses import replace

import pytest
import torch
from role_policy import (
    MASK,
    RIGHT,
    SUPPORT,
    THETA,
    chances,
    close,
    expected_ascent,
    fixed,
    same_as_battery,
    slope,
    true_ascent,
)
from softmax_policy import CONTEXTS
from test_objective_battery import make_batch, take

from keyturn.core.errors import UsageError
from keyturn.objectives.contract import PolicyTokens, judged
from keyturn.objectives.degrpo import DegrpoConfig, degrpo
from keyturn.objectives.grpo import GrpoConfig, grpo

ALPHA = 0.05
SIZE = 3
BEGIN = CONTEXTS.index(())
NORMALISATIONS = ("sequence", "token-mean")
VANILLA = {
    "sequence": grpo(GrpoConfig(scale="none")),
    "token-mean": grpo(GrpoConfig(scale="none", aggregation="token-mean")),
}


def made(normalisation="sequence", alpha=ALPHA, **settings):
    return degrpo(DegrpoConfig(alpha=alpha, normalisation=normalisation, **settings))


def declared():
    p = (chances(THETA) * RIGHT).sum()
    answer = MASK.double()
    answer[:, 0] = 0
    answer = answer / answer.sum(1, keepdim=True).clamp(min=1)
    control = MASK.double() * torch.tensor([1.0, 0.0])
    return (1 - 1 / SIZE) * slope(THETA, (RIGHT - p)[:, None] * (ALPHA * control + answer))


def test_the_bias_is_the_one_declared():
    assert close(expected_ascent(made(), THETA, SIZE, fixed(RIGHT)), declared())


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_the_control_token_follows_the_true_gradient_whatever_the_lengths(normalisation):
    # Completions of the enumerated policy are of one or two tokens.
    found = expected_ascent(made(normalisation), THETA, SIZE, fixed(RIGHT))[BEGIN]
    truth = true_ascent(THETA, RIGHT)[BEGIN]
    assert close(found, ALPHA * (1 - 1 / SIZE) * truth)
    vanilla = expected_ascent(VANILLA[normalisation], THETA, SIZE, fixed(RIGHT))[BEGIN]
    assert not torch.allclose(vanilla / truth, (vanilla / truth).mean(), rtol=1e-3)


def _answer_by_alpha(objective):
    def loss(policy, batch):
        return tuple(
            t._replace(weight={"control": 1.0, "policy": ALPHA}.get(t.name, t.weight))
            for t in objective.loss(policy, batch)
        )

    return replace(objective, loss=loss)


def _control_in_the_answer_too(objective):
    def loss(policy, batch):
        return (*objective.loss(policy, batch)[:3], *VANILLA["sequence"].loss(policy, batch))

    return replace(objective, loss=loss)


def _standardised(objective):
    return replace(objective, credit=grpo().credit)


@pytest.mark.parametrize("broken", [_answer_by_alpha, _control_in_the_answer_too, _standardised])
def test_broken_decoupling_is_rejected(broken):
    assert not close(expected_ascent(broken(made()), THETA, SIZE, fixed(RIGHT)), declared())


def of_lengths(lengths):
    batch, _ = make_batch(groups=2, draws=3, width=12)
    mask = torch.arange(12) < torch.tensor(lengths)[:, None]
    zeros = torch.zeros(6, 12, dtype=torch.float64)
    rewards = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    return replace(batch, mask=mask, sampled_logprobs=zeros, rewards=rewards), zeros


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_the_control_tokens_gradient_does_not_see_the_length_of_answers(normalisation):
    short, long = ([2, 3, 2, 4, 2, 3], [12, 3, 9, 4, 11, 3])
    control = [take(made(normalisation), *of_lengths(lengths))[1][:, 0] for lengths in (short, long)]
    assert torch.equal(control[0], control[1])
    assert bool((control[0] != 0).all())
    vanilla = [take(VANILLA[normalisation], *of_lengths(lengths))[1][:, 0] for lengths in (short, long)]
    assert not torch.allclose(vanilla[0], vanilla[1], rtol=0.3)


def test_alpha_weighs_the_control_token_alone():
    batch, now = make_batch(shift=0.1)
    one, two = (take(made(alpha=alpha), batch, now)[1] for alpha in (0.1, 0.2))
    assert torch.allclose(two[:, 0], 2 * one[:, 0])
    assert torch.equal(two[:, 1:], one[:, 1:])


def test_the_two_normalisations_are_those_of_paper_and_code():
    batch, now = of_lengths([2, 3, 2, 4, 1, 3])
    credit = judged(made(), batch).credit
    tokens = batch.mask.sum(1)
    answers = (tokens - 1).clamp(min=1)
    paper, code = (take(made(n), batch, now)[1] for n in NORMALISATIONS)
    assert torch.allclose(paper[:, 1:], -(credit / answers[:, None] / 6)[:, 1:])
    assert torch.allclose(code[:, 1:], -(credit / (tokens - 1).sum())[:, 1:])
    assert torch.allclose(paper[:, 0], -ALPHA * credit[:, 0] / 6)
    assert torch.allclose(code[:, 0], paper[:, 0])


def test_the_penalty_is_split_like_the_loss():
    batch, now = make_batch(shift=0.1)
    objective = made(kl_weight=0.3)
    batch = judged(objective, batch)
    terms = {t.name: t for t in objective.loss(PolicyTokens(now, batch.entropies), batch)}
    assert terms["kl"].weight == pytest.approx(0.3)
    assert terms["control_kl"].weight == pytest.approx(0.3 * ALPHA)
    silent = replace(batch, credit=torch.zeros_like(batch.credit))
    assert terms["kl"].sum > 0
    assert objective.needs == {"reference_logprobs"}
    assert not any(t.sum for t in objective.loss(PolicyTokens(now, batch.entropies), silent) if t.credited)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("kl_weight", [0.0, 0.1])
def test_every_setting_passes_the_battery(normalisation, kl_weight):
    same_as_battery(made(normalisation, kl_weight=kl_weight))


@pytest.mark.parametrize("choice", [{"normalisation": "rows"}, {"alpha": -1.0}])
def test_settings_that_mean_nothing_are_refused(choice):
    with pytest.raises(UsageError):
        degrpo(DegrpoConfig(**choice))


def test_the_enumeration_has_completions_of_both_lengths():
    assert {len(sequence) for sequence in SUPPORT} == {1, 2}
