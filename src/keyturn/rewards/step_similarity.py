"""Step similarity: pays for the similarity of a step to the expert's; the monologue before it is free.

Formula, with ``S1`` the step of the completion, ``S2`` the expert's, and ``M`` the summed sizes of the blocks
that match between them (``keyturn.rewards.matching``, the number of ``difflib``)::

    r_i = 2 M / (|S1| + |S2|)    in [0, 1]      [row]
          malformed              without exactly one marker, or without a step after it, or too long a step

The step is the text after the marker that ends the monologue; with an empty marker it is the whole completion.
The expert's step is the fact ``step`` of the problem, else its answer. ``level`` chooses what is matched:
characters or words. White space around both does not count.
Denominator: ``|S1| + |S2|``, in characters or words.
Degenerate: all rows of a problem without an expert's step are ungraded (NaN). The verdict is not used, so a row
that the verifier left ungraded has a reward.
Known bias: paraphrases and other valid steps are penalised, and copying the context scores. The match is greedy
and
not symmetric, so the order of arguments is part of the reward: ``SequenceMatcher(a=completion, b=expert)``.
Source: SRL (OpenReview Uro84w2xz5, ICLR 2026), the sequence similarity reward, -1 if malformed. Departures:
``autojunk`` is off (it drops frequent characters from 200 on); words are ours; so is the longest step, since
matching is quadratic (about a second at 2,000 characters).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.core.problem import Problem
from keyturn.rewards.contract import Graded, Reward
from keyturn.rewards.matching import matched


@dataclass(frozen=True, kw_only=True)
class StepSimilarityConfig:
    """Settings of the step similarity reward."""

    marker: str = "</think>"
    """End of the monologue (SRL); empty means that there is none, and the completion is the step."""
    level: Literal["character", "word"] = "character"
    """What is matched (SRL: characters)."""
    malformed: float = -1.0
    """Reward of a malformed completion (SRL)."""
    longest: int = 2000
    """Maximum number of characters of a step; a longer one is malformed (ours)."""


def step_similarity(config: StepSimilarityConfig = StepSimilarityConfig()) -> Reward:
    """The step similarity reward with the given settings."""
    if config.level not in ("character", "word"):
        raise UsageError(f"level is {config.level!r}", fix="take 'character' or 'word'")
    if config.longest < 1:
        raise UsageError(f"longest is {config.longest}", fix="set it to at least 1")
    return Reward(
        name="step_similarity",
        summary="similarity of the step after the monologue to the expert's, -1 if malformed",
        source="SRL, ICLR 2026, OpenReview Uro84w2xz5",
        reward=lambda graded: step_similarity_reward(graded, config),
        config=config,
        blind=True,
    )


def step_similarity_reward(graded: Graded, config: StepSimilarityConfig) -> NDArray[np.float32]:
    """One reward per completion, float32 ``[row]``; NaN without an expert's step."""
    values = np.full(len(graded), np.nan, dtype=np.float32)
    for problem, rows in graded.groups():
        target = expert_step(problem)
        if not target:
            continue
        known: dict[str, float] = {}
        for row in rows.tolist():
            text = graded.completions.texts[row]
            if text not in known:
                step = step_of(text, config)
                known[text] = config.malformed if step is None else similarity(step, target, config.level)
            values[row] = known[text]
    return values


def expert_step(problem: Problem) -> str:
    """The expert's step of a problem, or ""."""
    return str(problem.facts.get("step", problem.answer)).strip()


def step_of(text: str, config: StepSimilarityConfig) -> str | None:
    """The step in a completion; None if it is malformed."""
    if config.marker:
        if text.count(config.marker) != 1:
            return None
        text = text.split(config.marker)[1]
    step = text.strip()
    return step if 0 < len(step) <= config.longest else None


def similarity(step: str, target: str, level: Literal["character", "word"] = "character") -> float:
    """``2 M / (|S1| + |S2|)`` with the completion's step first, 0 to 1."""
    a, b = (step.split(), target.split()) if level == "word" else (step, target)
    return 2 * matched(a, b) / (len(a) + len(b)) if a or b else 1.0
