"""Format only: pays for the right form, whatever the answer in it.

Formula: ``r_i = right * [form_i] + wrong * (1 - [form_i])``, ``[row]``, where ``form_i`` holds if

* a ``pattern`` is set and occurs in the text; else
* an answer was extracted: by the grader's strict rule (for mathematics: a box that is not empty), or with
  ``lenient`` by the rule that requires no format;
* and, if ``named`` is set, the column ``format`` has that name (a world's F1, F2, F3).

Denominator: none; one number per completion.
Degenerate: extraction never uses the gold answer, so a row that the verifier left ungraded has a reward.
Known bias: a wrong, guessed or copied answer is paid in full; the shortest text in the form is as good as any.
Source: the format reward of Shao et al. 2025 (2506.10947), section 2 (at least one box that is not empty); with
``right`` 1 and ``wrong`` -1 the format part of ToM-RL (2504.01698). Departures: lenient and by name are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.rewards.contract import Graded, Reward
from keyturn.rewards.wording import compiled


@dataclass(frozen=True, kw_only=True)
class FormatConfig:
    """Settings of the format reward."""

    pattern: str = ""
    """Regular expression that has to occur in the text; empty: the grader's extraction decides."""
    lenient: bool = False
    """Without a pattern: an answer by lenient extraction is enough (column ``lenient_answer``)."""
    named: str = ""
    """Only this format of the column ``format``; empty: any."""
    right: float = 1.0
    """Reward of the right form (2506.10947)."""
    wrong: float = 0.0
    """Reward of any other (2506.10947; ToM-RL takes -1)."""


def format_only(config: FormatConfig = FormatConfig()) -> Reward:
    """The format reward with the given settings."""
    check(config)
    return Reward(
        name="format",
        summary="pays for the right form, whatever the answer in it",
        source="Shao et al. 2025, arXiv 2506.10947, section 2",
        reward=lambda graded: np.where(has_format(graded, config), config.right, config.wrong),
        config=config,
        blind=True,
    )


def check(config: FormatConfig) -> None:
    """Refuse an invalid pattern, and a pattern together with a rule that it would replace.

    Raises:
        UsageError: the config has one of these faults.
    """
    if config.pattern:
        compiled(config.pattern, "pattern")
        if config.lenient:
            raise UsageError("lenient has no effect together with a pattern", fix="set one of them")


def has_format(graded: Graded, config: FormatConfig) -> NDArray[np.bool_]:
    """Whether each completion has the right form, bool ``[row]``.

    Raises:
        InputError: the config needs lenient extraction or names of formats, which the grader does not give.
    """
    if config.pattern:
        pattern = compiled(config.pattern, "pattern")
        found = np.array([pattern.search(text) is not None for text in graded.completions.texts], dtype=bool)
    elif config.lenient:
        answers = graded.column("lenient_answer", "the lenient format reward")
        found = np.array([bool(answer) for answer in answers], dtype=bool)
    else:
        found = np.array([bool(answer) for answer in graded.grades.answer], dtype=bool)
    if config.named:
        found &= graded.column("format", "the reward of one format") == config.named
    return found
