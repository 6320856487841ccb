"""A few completions before an audit, to measure how fast a policy is here and how long it answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Limits

TRIAL_S = 8.0
"""Seconds that a trial may take, about."""
_WARM_TOKENS = 16
_WARM_ROWS = 8
_MOST_ROWS = 512
_LEAST_ROWS = 8


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a trial found of one policy.

    Args:
        tokens_per_second: sampled tokens a second.
        rows: completions decoded together while it was measured.
        tokens_per_draw: mean length of a completion; NaN where none could end in the time of a trial.
        prompt_tokens: mean length of the prompts.
    """

    tokens_per_second: float
    rows: int
    tokens_per_draw: float
    prompt_tokens: float


def try_policy(policy: LocalPolicy, problems: Sequence[Problem], limits: Limits) -> Trial:
    """Measure a policy on some of the problems, in about :data:`TRIAL_S` seconds.

    Args:
        policy: a model in this process.
        problems: that will be asked; they are taken evenly from the whole list.
        limits: of the audit.
    """
    streams = Streams(0).child("trial")
    prompts = np.diff(policy.prompts(problems).offsets)
    short = Limits(max_new_tokens=min(_WARM_TOKENS, limits.max_new_tokens), batch_rows=limits.batch_rows)
    asked = _spread(problems, _WARM_ROWS)
    _timed(policy, asked, 1, streams, short)  # compiles, or fills the processor's caches
    _, rate, _ = _timed(policy, asked, 1, streams, short)
    affordable = int(rate * TRIAL_S / limits.max_new_tokens)
    if affordable >= _LEAST_ROWS:
        asked = _spread(problems, min(affordable, _MOST_ROWS))
        draws = max(min(affordable, _MOST_ROWS) // len(asked), 1)
        rows, rate, length = _timed(policy, asked, draws, streams, limits)
    else:
        tokens = max(int(rate * TRIAL_S / _WARM_ROWS), 2)
        cut = Limits(max_new_tokens=min(tokens, limits.max_new_tokens), batch_rows=limits.batch_rows)
        rows, rate, _ = _timed(policy, asked, max(_WARM_ROWS // len(asked), 1), streams, cut)
        length = float("nan")
    return Trial(tokens_per_second=rate, rows=rows, tokens_per_draw=length, prompt_tokens=float(prompts.mean()))


def _spread(problems: Sequence[Problem], count: int) -> list[Problem]:
    places = np.unique(np.linspace(0, len(problems) - 1, min(count, len(problems))).round().astype(int))
    return [problems[place] for place in places]


def _timed(
    policy: LocalPolicy, asked: Sequence[Problem], draws: int, streams: Streams, limits: Limits
) -> tuple[int, float, float]:
    """Rows, tokens a second, and mean length of a completion."""
    started = time.perf_counter()
    lengths = policy.draw(asked, range(draws), streams, limits).lengths
    spent = max(time.perf_counter() - started, 1e-6)
    return min(len(lengths), limits.batch_rows), float(lengths.sum()) / spent, float(lengths.mean())
