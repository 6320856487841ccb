"""Equal tokens: how many steps of a fit learn from a given number of tokens.

``steps = tokens / (mean weighted tokens a row * rows a step)``, at least 1.
Denominator: weighted tokens, those that are learnt from; prompts weigh nothing.
Degenerate: 0 tokens leave the schedule as it is. Known bias: rows of different length make the last bit
unequal.
Source: ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from keyturn.policies.fit import Row
from keyturn.policies.optimise import FitConfig


def tokens_a_row(rows: Sequence[Row]) -> float:
    """Tokens that are learnt from, mean over rows."""
    return float(np.mean([np.count_nonzero(row.weights) for row in rows]))


def for_tokens(rows: Sequence[Row], fit: FitConfig, tokens: int) -> FitConfig:
    """The schedule whose steps learn from so many tokens; the warm-up is a tenth of it at most."""
    if not tokens:
        return fit
    steps = max(round(tokens / (tokens_a_row(rows) * fit.batch_rows)), 1)
    return replace(fit, steps=steps, warmup=min(fit.warmup, steps // 10))
