"""Confidence-filtered voting: draw several answers, drop those with an unsure stretch, weigh the votes of the
rest.

Formula, for draw ``i`` with log-probabilities ``l_t`` of its own tokens::

    c_i = min over windows W of w consecutive tokens of  (1 / w) sum_{t in W} l_t
    kept: the eta n draws with the largest c_i;  votes are weighed by exp(c_i)

A text shorter than the window is one window. The publication takes the mean log-probability of the top 20
tokens at each place; the chosen token's is what every policy gives, servers included.

Source: after Fu et al. 2025, DeepConf (2508.15260).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError, UsageError
from keyturn.elicitation.choosing import majority, positive, taken
from keyturn.elicitation.contract import Asked, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import costs_of
from keyturn.rollouts.completions import Completions


@dataclass(frozen=True, kw_only=True)
class ConfidentConfig:
    """Settings of confidence-filtered voting."""

    samples: int = 16
    """Draws behind one answer."""
    keep: float = 0.5
    """Share of the draws that vote: the surest."""
    window: int = 16
    """Tokens of a stretch; 2048 in the publication, whose texts are that much longer."""


def answer(asked: Asked, config: ConfidentConfig, prepared: Prepared) -> Elicitation:
    """Draw, drop the unsure, vote."""
    positive(config.samples, "--samples")
    positive(config.window, "--window")
    if not 0 < config.keep <= 1:
        raise UsageError(f"--keep is {config.keep}", fix="a share above 0, at most 1")
    many, size = asked.many(config.samples), config.samples
    drawn = asked.policy.draw(many.problems.problems, many.draws, many.streams, many.limits)
    sure = confidence(drawn, config.window) if size > 1 else np.zeros(len(drawn))
    found = asked.answers(drawn) if size > 1 else [""] * len(drawn)
    chosen, agreement = [], []
    for start in range(0, len(drawn), size):
        own = sure[start : start + size]
        best = np.sort(np.argsort(-own, kind="stable")[: math.ceil(config.keep * size)])
        place, share = majority([found[start + i] for i in best], np.exp(own[best]).tolist())
        chosen.append(int(best[place]))
        agreement.append(share)
    return taken(
        asked,
        drawn,
        np.array(chosen, dtype=np.int64),
        costs_of(drawn).grouped(size),
        agreement=np.array(agreement),
        confidence=sure.reshape(-1, size).mean(axis=1),
    )


def confidence(drawn: Completions, window: int) -> NDArray[np.float64]:
    """Mean log-probability of the least sure window of each draw, ``[row]``; minus infinity without tokens.

    Raises:
        InputError: the policy gives no log-probabilities.
    """
    if len(drawn.logprobs) and np.isnan(drawn.logprobs).all():
        raise InputError(
            "the policy gives no log-probabilities to be sure by",
            fix="a server that gives them at temperature 1, or self-consistency",
        )
    out = np.full(len(drawn), -np.inf)
    for row in range(len(drawn)):
        own = drawn.logprobs[drawn.offsets[row] : drawn.offsets[row + 1]].astype(np.float64)
        if len(own) and np.isfinite(own).all():
            size = min(window, len(own))
            sums = np.concatenate([[0.0], np.cumsum(own)])
            out[row] = ((sums[size:] - sums[:-size]) / size).min()
    return out


METHOD = ElicitationMethod(
    name="confident-vote",
    summary="draw several answers, drop those with an unsure stretch, weigh the votes of the rest",
    source="after Fu et al. 2025 (DeepConf), arXiv 2508.15260",
    cost="16 answers",
    control=("self-consistency",),
    config=ConfidentConfig(),
    neutral=ConfidentConfig(samples=1),
    answer=answer,
)
