"""Interventions that do not change weights, one file each.

``format_prompt`` is part of the audit; the others are methods of ``keyturn elicit``.
"""

from __future__ import annotations

from keyturn.elicitation import (
    best_of,
    budget,
    confident_vote,
    cot_decoding,
    exemplars,
    hybrid,
    no_thinking,
    opener,
    plain,
    power,
    power_smc,
    revision,
    self_consistency,
    steering,
    steering_kinds,
    temperature,
    tip,
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
    "cot-decoding": cot_decoding.MAX,
    "cot-decoding-sum": cot_decoding.SUM,
    "cot-branches-vote": cot_decoding.VOTE,
    "power": power.METHOD,
    "power-smc": power_smc.METHOD,
    "steering-mean": steering.MEAN,
    "steering-pca": steering.PCA,
    "steering-logistic": steering.LOGISTIC,
    "steering-answer": steering_kinds.ANSWER,
    "steering-delimiter": steering_kinds.DELIMITER,
    "steering-conditional": steering_kinds.CONDITIONAL,
    "steering-random": steering.RANDOM,
    "steering-other": steering.OTHER,
    "steering-unconditional": steering_kinds.UNCONDITIONAL,
    "tip": tip.METHOD,
    "tip-flipped": tip.FLIPPED,
    "tip-random": tip.RANDOM,
    "hybrid-disagree": hybrid.DISAGREE,
    "hybrid-divergence": hybrid.DIVERGENCE,
    "hybrid-entropy": hybrid.ENTROPY,
    "hybrid-planning": hybrid.PLANS,
    "hybrid-backwards": hybrid.BACKWARDS,
    "hybrid-random": hybrid.RANDOM,
    "hybrid-rerank": hybrid.RERANK,
    "hybrid-student": hybrid.STUDENT,
}
"""Name -> the method."""
