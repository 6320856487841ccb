"""Interventions that do not change weights, one file each.

``format_prompt`` is part of the audit; the others are methods of ``keyturn elicit``.
"""

from __future__ import annotations

from keyturn.elicitation import (
    best_of,
    budget,
    confident_vote,
    exemplars,
    no_thinking,
    opener,
    plain,
    revision,
    self_consistency,
    temperature,
    zero_shot,
)
from keyturn.elicitation.contract import ElicitationMethod

ELICITATIONS: dict[str, ElicitationMethod] = {
    "plain": plain.METHOD,
    "low-temperature": temperature.METHOD,
    "zero-shot": zero_shot.METHOD,
    "few-shot": exemplars.FEW_SHOT,
    "few-shot-corrupted": exemplars.CORRUPTED,
    "forced-opener": opener.METHOD,
    "no-thinking": no_thinking.METHOD,
    "self-consistency": self_consistency.METHOD,
    "confident-vote": confident_vote.METHOD,
    "best-of-n": best_of.LIKELIEST,
    "best-of-n-verifier": best_of.VERIFIED,
    "budget-more": budget.MORE,
    "budget-less": budget.LESS,
    "answer-prompt": budget.PROMPT,
    "revision": revision.METHOD,
}
"""Name -> the method."""
