"""The sign of the evidence: what a token's logits feel; both signs pull the same way in expectation."""

from dataclasses import replace

import pytest
import torch
from role_policy import (
    RIGHT,
    SUPPORT,
    THETA,
    chances,
    close,
    expected_ascent,
    fixed,
    of_equal_length,
    same_as_battery,
    true_ascent,
)
from softmax_policy import CONTEXTS, VOCAB, batch_of, logprobs
from test_objective_battery import make_batch, take

from keyturn.core.errors import UsageError
from keyturn.objectives.contract import PolicyTokens, judged, total
from keyturn.objectives.signed import SignedConfig, signed

SIZE = 3
THETA2 = of_equal_length()
P = float((chances(THETA2) * RIGHT).sum())
FACTORS = {
    ("positive", "all"): 1.0,
    ("negative", "all"): 1.0,
    ("weighted", "all"): 1.1,
    ("weighted", "kept"): 1.1,
    ("positive", "kept"): (1 - (1 - P) ** SIZE) / P,
    ("negative", "kept"): (1 - P**SIZE) / (1 - P),
}


def declared(evidence, denominator):
    return FACTORS[evidence, denominator] / 2 * true_ascent(THETA2, RIGHT)


def expected(objective):
    return expected_ascent(objective, THETA2, SIZE, fixed(RIGHT))


@pytest.mark.parametrize(("evidence", "denominator"), FACTORS)
def test_right_and_wrong_evidence_have_the_bias_that_is_declared(evidence, denominator):
    objective = signed(SignedConfig(evidence=evidence, denominator=denominator))
    assert close(expected(objective), declared(evidence, denominator))


def _wrong_sign(objective):
    return replace(objective, credit=lambda batch: -objective.credit(batch))


def _with_a_baseline(objective):
    def credit(batch):
        centred = batch.rewards - batch.rewards.mean()
        return centred.clamp(max=0)[:, None] * batch.mask

    return replace(objective, credit=credit)


def _divided_by_all(objective):
    return signed(replace(objective.config, denominator="all"))


@pytest.mark.parametrize("broken", [_wrong_sign, _with_a_baseline, _divided_by_all])
def test_broken_negative_evidence_is_rejected(broken):
    objective = signed(SignedConfig(evidence="negative"))
    assert not close(expected(broken(objective)), declared("negative", "kept"))


# One drawn token, and the slope of the loss by every logit of its distribution.


def ascent_of_one_token(evidence, token, reward):
    """Minus the gradient of the loss of a single draw of one token by the logits it was drawn from."""
    objective = signed(SignedConfig(evidence=evidence))
    theta = THETA.clone().requires_grad_()
    rows = [(token,)]
    batch = judged(objective, batch_of(rows, torch.tensor([reward]).double(), torch.zeros(1).long(), THETA))
    terms = objective.loss(PolicyTokens(logprobs(theta, rows), batch.entropies), batch)
    loss = total(terms, {t.name: t.denominator for t in terms})
    return -torch.autograd.grad(loss, theta)[0][CONTEXTS.index(())]


PI = torch.softmax(THETA[CONTEXTS.index(())], -1)


@pytest.mark.parametrize("token", range(VOCAB))
def test_the_slope_of_a_draw_is_that_of_the_log_probability(token):
    drawn = torch.nn.functional.one_hot(torch.tensor(token), VOCAB)
    assert close(ascent_of_one_token("positive", token, 1.0), drawn - PI)
    assert close(ascent_of_one_token("negative", token, 0.0), -(drawn - PI))


@pytest.mark.parametrize("token", range(VOCAB))
def test_the_papers_formulas_are_that_slope_times_the_probability(token):
    logits = THETA[CONTEXTS.index(())].clone().requires_grad_()
    (of_probability,) = torch.autograd.grad(torch.softmax(logits, -1)[token], logits)
    for v in range(VOCAB):
        formula = PI[v] * (1 - PI[v]) if v == token else -PI[token] * PI[v]
        assert of_probability[v] == pytest.approx(float(formula))
    assert close(PI[token] * ascent_of_one_token("positive", token, 1.0), of_probability)
    assert not close(ascent_of_one_token("positive", token, 1.0), of_probability)


def test_an_unlikely_wrong_token_is_pushed_down_harder_than_a_likely_one():
    slopes = torch.stack([ascent_of_one_token("negative", v, 0.0)[v] for v in range(VOCAB)])
    assert bool((slopes < 0).all())
    assert slopes.argmin() == PI.argmin()


@pytest.mark.parametrize("wrong", range(VOCAB))
def test_what_a_wrong_token_loses_goes_to_the_others_by_their_probabilities(wrong):
    gained = ascent_of_one_token("negative", wrong, 0.0)
    others = [v for v in range(VOCAB) if v != wrong]
    assert close(gained[others] / PI[others], torch.ones(2, dtype=torch.float64))
    assert gained.sum() == pytest.approx(0.0, abs=1e-12)
    # So the odds between two others do not stay: the likelier gains.
    likely, rare = sorted(others, key=lambda v: -PI[v])
    moved = torch.softmax(PI.log() + 0.1 * gained, -1)
    assert moved[likely] / moved[rare] > PI[likely] / PI[rare]


def test_subsets_divide_by_their_own_tokens():
    batch, now = make_batch(shift=0.0)
    batch = replace(batch, rewards=(torch.arange(12) % 4 == 0).double())
    right = batch.rewards > 0.5
    for evidence, rows, sign in (("positive", right, -1), ("negative", ~right, 1)):
        kept, every = (
            take(signed(SignedConfig(evidence=evidence, denominator=d)), batch, now)[1] for d in ("kept", "all")
        )
        own = (batch.mask & rows[:, None]).double()
        assert torch.allclose(kept, sign * own / own.sum())
        assert torch.allclose(every, sign * own / batch.mask.sum())
    # Weighted learns from all rows, and divides by all.
    weighted = take(signed(), batch, now)[1]
    value = torch.where(right, -0.1, 1.0).double()[:, None]
    assert torch.allclose(weighted, value * batch.mask / batch.mask.sum())


def test_the_last_failure_still_gives_a_step_of_full_size():
    batch, now = make_batch(shift=0.0)
    for failures in (1, 6):
        rewards = (torch.arange(12) >= failures).double()
        taken = take(signed(SignedConfig(evidence="negative")), replace(batch, rewards=rewards), now)[1]
        assert taken.sum() == pytest.approx(1.0)


def test_without_evidence_nothing_moves():
    batch, now = make_batch(shift=0.1)
    for evidence, rewards in (("positive", torch.zeros(12)), ("negative", torch.ones(12))):
        objective = signed(SignedConfig(evidence=evidence))
        assert not take(objective, replace(batch, rewards=rewards.double()), now)[1].any()


def test_the_threshold_splits_rewards_of_other_kinds():
    batch = replace(make_batch()[0], rewards=torch.tensor([-1.0, -0.1, 0.5, 1.0] * 3).double())
    credit = signed(SignedConfig(evidence="weighted", weight=0.3)).credit(batch)
    assert torch.allclose(credit[:4, 0], torch.tensor([-1.0, -1.0, -1.0, 0.3]).double())
    lower = signed(SignedConfig(weight=0.3, threshold=0.0)).credit(batch)
    assert torch.allclose(lower[:4, 0], torch.tensor([-1.0, -1.0, 0.3, 0.3]).double())


@pytest.mark.parametrize("choice", FACTORS)
def test_every_setting_passes_the_battery(choice):
    evidence, denominator = choice
    same_as_battery(signed(SignedConfig(evidence=evidence, denominator=denominator)))


@pytest.mark.parametrize("choice", [{"evidence": "both"}, {"denominator": "own"}, {"weight": -0.1}])
def test_settings_that_mean_nothing_are_refused(choice):
    with pytest.raises(UsageError):
        signed(SignedConfig(**choice))


def test_one_prompts_worth_of_sequences_is_what_the_factors_assume():
    assert 0.05 < P < 0.95
    assert all(chances(THETA2)[i] < 1e-12 for i, s in enumerate(SUPPORT) if len(s) < 2)
