"""Best of n: draw several answers and give one of them, chosen by likelihood or by a verifier.

``best-of-n`` takes the draw with the highest log-probability, over all its tokens or per token. It needs no
answer and is the control of every method that sharpens. ``best-of-n-verifier`` takes the first draw that the
grader calls right, else the first: it is told up to ``log2 n`` bits about every gold answer, so its success is
pass@n and a ceiling, not a method for questions whose answer nobody knows.

Source: Cobbe et al. 2021 (2110.14168) for choosing by a verifier; by likelihood: ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from keyturn.core.errors import InputError
from keyturn.elicitation.choosing import positive, taken
from keyturn.elicitation.contract import Asked, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import costs_of, tempered
from keyturn.rollouts.completions import Completions


@dataclass(frozen=True, kw_only=True)
class LikeliestConfig:
    """Settings of choosing by log-probability."""

    samples: int = 16
    """Draws behind one answer."""
    temperature: float = 1.0
    """Of the draws; log-probabilities are of the same distribution."""
    by: Literal["mean", "sum"] = "mean"
    """Log-probability per token, or of the whole text (which prefers short ones)."""


@dataclass(frozen=True, kw_only=True)
class VerifiedConfig:
    """Settings of choosing by a verifier."""

    samples: int = 16
    """Draws behind one answer."""
    temperature: float = 1.0
    """Of the draws."""


def likeliest(asked: Asked, config: LikeliestConfig, prepared: Prepared) -> Elicitation:
    """Draw and take the likeliest."""
    positive(config.samples, "--samples")
    drawn, size = _draws(asked, config.samples, config.temperature), config.samples
    score = np.zeros(len(drawn)) if size == 1 else _logprobs(drawn, config.by)
    chosen = score.reshape(-1, size).argmax(axis=1)
    return taken(asked, drawn, chosen, costs_of(drawn).grouped(size))


def verified(asked: Asked, config: VerifiedConfig, prepared: Prepared) -> Elicitation:
    """Draw, ask the grader about each, take the first that is right."""
    positive(config.samples, "--samples")
    drawn, size = _draws(asked, config.samples, config.temperature), config.samples
    costs = costs_of(drawn)
    chosen = np.zeros(len(drawn) // size, dtype=np.int64)
    if size > 1:
        grades = asked.problems.grader.grade(asked.problems.problems, drawn)
        success = grades.verified if asked.problems.grader.reads_traces else grades.outcome
        chosen = (success == 1).reshape(-1, size).argmax(axis=1)
        costs = replace(costs, checks=costs.checks + 1)
    return taken(asked, drawn, chosen, costs.grouped(size))


def _draws(asked: Asked, samples: int, temperature: float) -> Completions:
    many = asked.many(samples)
    policy = tempered(asked.policy, temperature)
    return policy.draw(many.problems.problems, many.draws, many.streams, many.limits)


def _logprobs(drawn: Completions, by: str) -> np.ndarray:
    """Log-probability of each draw; one without tokens is never taken."""
    if len(drawn.logprobs) and np.isnan(drawn.logprobs).all():
        raise InputError(
            "the policy gives no log-probabilities to choose by",
            fix="a server that gives them at temperature 1, or self-consistency",
        )
    sums = np.bincount(drawn.token_row, weights=drawn.logprobs.astype(np.float64), minlength=len(drawn))
    score = sums / np.maximum(drawn.lengths, 1) if by == "mean" else sums
    return np.where((drawn.lengths > 0) & np.isfinite(score), score, -np.inf)


LIKELIEST = ElicitationMethod(
    name="best-of-n",
    summary="draw several answers and give the likeliest",
    source="ours; a baseline of sharpening",
    cost="16 answers",
    control=("plain", "low-temperature"),
    config=LikeliestConfig(),
    neutral=LikeliestConfig(samples=1),
    answer=likeliest,
)

VERIFIED = ElicitationMethod(
    name="best-of-n-verifier",
    summary="draw several answers and give one that the grader calls right: a ceiling, told about the answers",
    source="Cobbe et al. 2021, arXiv 2110.14168",
    cost="16 answers and 16 questions to the verifier, each of which tells something of the gold answer",
    control=("self-consistency", "best-of-n"),
    config=VerifiedConfig(),
    neutral=VerifiedConfig(samples=1),
    unserved="it asks the grader, which knows the answer",
    answer=verified,
)
