"""Self-consistency: draw several answers and give the one that most of them agree on.

Answers are compared as the grader extracts them, numbers by value. Of equally frequent ones the answer that was
drawn first wins; draws without an answer have no vote. What is returned is the first draw with that answer.

Source: Wang et al. 2022 (2203.11171), with 40 draws at temperature 0.7.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keyturn.elicitation.choosing import majority, positive, taken
from keyturn.elicitation.contract import Asked, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import costs_of, tempered


@dataclass(frozen=True, kw_only=True)
class VoteConfig:
    """Settings of self-consistency."""

    samples: int = 16
    """Draws behind one answer."""
    temperature: float = 0.7
    """Of the draws."""


def answer(asked: Asked, config: VoteConfig, prepared: Prepared) -> Elicitation:
    """Draw, extract, vote."""
    positive(config.samples, "--samples")
    policy, many = tempered(asked.policy, config.temperature), asked.many(config.samples)
    drawn = policy.draw(many.problems.problems, many.draws, many.streams, many.limits)
    size = config.samples
    found = asked.answers(drawn) if size > 1 else [""] * len(drawn)
    votes = [majority(found[start : start + size]) for start in range(0, len(drawn), size)]
    return taken(
        asked,
        drawn,
        np.array([place for place, _ in votes], dtype=np.int64),
        costs_of(drawn).grouped(size),
        agreement=np.array([share for _, share in votes]),
    )


METHOD = ElicitationMethod(
    name="self-consistency",
    summary="draw several answers and give the one that most of them agree on",
    source="Wang et al. 2022, arXiv 2203.11171",
    cost="16 answers",
    control=("plain", "best-of-n"),
    config=VoteConfig(),
    neutral=VoteConfig(samples=1, temperature=1.0),
    answer=answer,
)
