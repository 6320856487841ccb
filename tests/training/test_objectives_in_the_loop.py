"""Objectives that ask more of the loop than credit: demonstrations, schedules, marks, randomness."""

import itertools

import numpy as np
import pytest
from probes import config, first_words, probe, starts_with_a, tiny_policy, train

from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.objectives.chord import ChordConfig, chord
from keyturn.objectives.clip_cov import ClipCovConfig, clip_cov
from keyturn.objectives.hicra import HicraConfig, hicra
from keyturn.objectives.token_subset import TokenSubsetConfig, token_subset
from keyturn.policies.protocol import Limits
from keyturn.rollouts.completions import Completions
from keyturn.training.config import UpdateConfig
from keyturn.training.rollout import Beside, Sampled

ASKED = probe(starts_with_a, prompts=("ask", "tell"))
KINDS = np.array([Role.PLAN, Role.ARITHMETIC], dtype=np.uint8)


def demonstrations() -> Completions:
    """Draws of another policy that begin with b: what the reward does not ask for."""
    drawn = tiny_policy(3).draw(ASKED.problems, range(40), Streams(2), Limits(max_new_tokens=4))
    first = drawn.tokens[drawn.offsets[:-1]]
    return drawn.select(np.flatnonzero(first == 6))


def imitating(folder, steps=5, lr=1e-2, looks=0, micro_tokens=8192, **settings):
    shown = demonstrations()
    assert len(shown) >= 3
    return train(
        folder,
        ASKED,
        config(
            steps=steps,
            prompts=2,
            lr=lr,
            term_norms_every=looks,
            update=UpdateConfig(micro_tokens=micro_tokens),
        ),
        objective=chord(ChordConfig(**settings)),
        rollout=Beside(Sampled(8, Limits(max_new_tokens=4)), shown, 3),
    )


def test_matched_follows_the_mean_of_the_variance_a_step_behind(tmp_path):
    rows = imitating(tmp_path, phi="matched", mu=0.4).history
    assert rows[0]["factor/sft"] == 0
    for before, row in itertools.pairwise(rows):
        assert 0 < before["loss/phi"] <= 0.25
        assert row["factor/sft"] == pytest.approx(0.4 * before["loss/phi"])
        assert row["factor/policy"] == pytest.approx(0.6)
    # The gap of sampler and trainer is that of the draws: demonstrations were never sampled.
    assert all(row["gap/max"] < 1e-3 for row in rows)


def test_gradient_norms_of_the_terms_are_those_of_each_alone(tmp_path):
    def first(mu, looks=1, **more):
        return imitating(tmp_path / f"{mu} {looks} {more}", steps=1, looks=looks, phi="one", mu=mu, **more)

    seen, blind = first(0.4), first(0.4, looks=0)
    both, cut = seen.history[0], first(0.4, micro_tokens=8).history[0]
    for mu, name, share in ((0.0, "policy", 0.6), (1.0, "sft", 0.4)):
        alone = first(mu).history[0]
        assert not [column for column in alone if column.startswith("grad_norm/")], "one term has no parts"
        assert both[f"grad_norm/{name}"] == pytest.approx(share * alone["grad_norm"], rel=1e-4)
        assert cut[f"grad_norm/{name}"] == pytest.approx(both[f"grad_norm/{name}"], rel=1e-4)
    assert both["grad_norm"] <= both["grad_norm/policy"] + both["grad_norm/sft"]
    assert not [column for column in blind.history[0] if column.startswith("grad_norm/")]
    assert blind.policy.fingerprint == seen.policy.fingerprint, "looking changes nothing"


def test_adaptive_mu_follows_the_reward_a_step_behind(tmp_path):
    rows = imitating(tmp_path, schedule="adaptive", target=0.6).history
    for before, row in itertools.pairwise(rows):
        assert row["factor/sft"] == pytest.approx(min(max(0.6 - before["reward"], 0.0), 1.0))


def test_mu_decides_who_is_followed(tmp_path):
    start = first_words(tiny_policy())
    imitated, rewarded = (
        first_words(imitating(tmp_path / f"{mu}", steps=10, lr=6e-2, mu=mu, phi="one").policy)
        for mu in (1.0, 0.0)
    )
    assert imitated["b"] > start["b"] + 0.3
    assert rewarded["a"] > start["a"] + 0.3
    assert rewarded.get("b", 0.0) < 0.3 < imitated["b"]


def test_only_the_control_token_learns(tmp_path):
    # The reward asks for the second word: with the first word alone learning, it cannot be taught.
    second = probe(lambda problem, words: float(words[1:2] == ["a"]))
    shares = {}
    for tokens in ("control", "low_entropy"):
        settings = config(steps=12, draws=16, lr=3e-2)
        objective = token_subset(TokenSubsetConfig(tokens=tokens, denominator="all", quantile=0.01))
        rows = train(tmp_path / tokens, second, settings, objective=objective).history
        shares[tokens] = rows[-1]["reward"]
    assert shares["low_entropy"] > shares["control"] + 0.2


def roles(completions: Completions) -> np.ndarray:
    return KINDS[completions.tokens % 2]


@pytest.mark.parametrize(
    "objective",
    [
        hicra(HicraConfig(mask="placebo")),
        token_subset(TokenSubsetConfig(tokens="random")),
        clip_cov(ClipCovConfig(share=0.2, bound_low=0.05)),
    ],
    ids=["placebo", "random tokens", "clip-cov"],
)
def test_random_tokens_are_the_same_after_a_stop(tmp_path, objective):
    settings = config(update=UpdateConfig(epochs=1, minibatches=2), prompts=2, steps=4)
    whole = train(tmp_path / "whole", ASKED, settings, objective=objective, roles=roles)
    assert train(tmp_path / "cut", ASKED, settings, objective=objective, roles=roles, stop_after=2) is None
    cut = train(tmp_path / "cut", ASKED, settings, objective=objective, roles=roles)
    assert cut.history == whole.history
