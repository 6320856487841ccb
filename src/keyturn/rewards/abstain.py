"""Abstain: a right answer is best, a wrong one is worst, and admitting ignorance lies between.

Formula, per completion (``[row]``)::

    r_i = right      if the outcome is 1, or it abstains on an unanswerable problem that has no outcome
          abstained  if it abstains and that is not right
          wrong      otherwise

A completion abstains if the marker occurs in the answer that the grader extracted, or, if none was extracted,
in the text. A marker before an answer does not count, nor does one in a text that was cut before it answered. A
problem is unanswerable if its fact ``answerable`` is false. A world's verifier knows this and gives abstaining
the outcome 1; a data set of texts leaves the gold answer of such a problem empty, so that it has no outcome.
Denominator: none; one number per completion.
Degenerate: an ungraded completion has reward NaN, except on a problem that is unanswerable.
Known bias: with 1, 0 and -1 answering pays if the probability of being right is above one half; in general
above ``(abstained - wrong) / (right - wrong)``. If abstaining pays no more than a wrong answer, it is strictly
dominated. Source: Wei et al. 2025, TruthRL (2509.25760), the ternary reward. Departure: a marker and not a
judge recognises abstention.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.rewards.contract import Graded, Reward
from keyturn.rewards.wording import compiled
from keyturn.rollouts.completions import Stop

MARKER = r"(?i)\bCTL9\b|\bi (?:do not|don['’]t) know\b|\bcannot be (?:determined|answered)\b"
"""The word for abstaining in a world (UNANSWERABLE), and English phrases for it."""


@dataclass(frozen=True, kw_only=True)
class AbstainConfig:
    """Settings of the ternary reward."""

    marker: str = MARKER
    """Regular expression of an abstention."""
    right: float = 1.0
    """Reward of a right answer, or of abstaining if there is none (2509.25760)."""
    abstained: float = 0.0
    """Reward of abstaining if there is an answer (2509.25760)."""
    wrong: float = -1.0
    """Reward of a wrong answer (2509.25760)."""


def abstain(config: AbstainConfig = AbstainConfig()) -> Reward:
    """The ternary reward with the given settings."""
    compiled(config.marker, "marker")
    if not config.right >= config.abstained >= config.wrong:
        raise UsageError(
            f"right {config.right}, abstained {config.abstained}, wrong {config.wrong} are in the wrong order",
            fix="right >= abstained >= wrong",
        )
    return Reward(
        name="abstain",
        summary="1 right, 0 abstained, -1 wrong",
        source="Wei et al. 2025, TruthRL, arXiv 2509.25760",
        reward=lambda graded: abstain_reward(graded, config),
        config=config,
    )


def abstentions(graded: Graded, marker: str) -> NDArray[np.bool_]:
    """Whether each completion abstains, bool ``[row]``."""
    sought = compiled(marker, "marker")
    drawn = graded.completions
    return np.array(
        [
            sought.search(answer) is not None if answer else not cut and sought.search(text) is not None
            for answer, text, cut in zip(
                graded.grades.answer, drawn.texts, (drawn.stop == Stop.LENGTH).tolist(), strict=True
            )
        ],
        dtype=bool,
    )


def abstain_reward(graded: Graded, config: AbstainConfig) -> NDArray[np.float32]:
    """One of three rewards per completion, float32 ``[row]``; NaN where ungraded."""
    abstaining = abstentions(graded, config.marker)
    unanswerable = np.array(
        [problem.facts.get("answerable", True) is False for problem in graded.asked()], dtype=bool
    )
    given = graded.grades.outcome
    right = (given == 1) | (unanswerable & abstaining & np.isnan(given))
    value = np.where(right, config.right, np.where(abstaining, config.abstained, config.wrong))
    return np.where(np.isnan(given) & ~unanswerable, np.nan, value).astype(np.float32)
