"""How much of a tuned policy's distance from its base is sharpening: the divergence that no exponent explains.

With the base's law ``p`` and the tuned policy's ``q`` over whole answers to one problem::

    p_a(y)  = p(y)^a / Z_a,      Z_a = sum_y p(y)^a                 one exponent for all problems
    left    = min_a mean_i KL(q_i || p_a,i),      explained = 1 - left / mean_i KL(q_i || p_i)
    KL(q || p_a) = E_q log q - a E_q log p + log Z_a                nats an answer, ``[exponent, problem]``

If training only sharpened the base, ``left`` is 0 at some exponent from 1 on. Expectations under ``q`` are
means over its draws, and at each token over all next tokens. ``Z_a`` is where it is easy to cheat, so it comes
with bounds that hold whatever was drawn: all answers with ``p(y) >= least`` are listed, and with the mass ``m``
of all others::

    max(sum_listed p^a, exp(-(a - 1) H(p)))  <=  Z_a  <=  sum_listed p^a + m least^(a - 1)      for a >= 1
    estimate of Z_a  =  sum_listed p^a + mean over the base's draws of p(y)^(a - 1) [p(y) < least]

The list is tight where few answers hold the mass, the entropy (Jensen) where all are about as likely. A
divergence is never below 0, so what comes out lower by noise is set to 0.

Tempering is the control: ``p_t(v)^b / sum_v p_t(v)^b`` at every token. It needs no sum over answers, and it is
what a low temperature does. Answers that are cut at the length limit are answers like others.
Denominator: problems, which are the unit of the intervals; per token: the mean length of the tuned policy's
draws. The exponent is chosen anew in every resample. Null: two draws of one base have a divergence of exactly
0, and no share; two bases of other seeds have a divergence that no exponent explains.
Degenerate: a divergence whose interval does not lie above 0 has no explained share, nor one whose bounds lie
further than a fifth apart: then only the bounds are known.
Known bias: the estimate of ``log Z`` is low by chance where few draws of the base lie outside of the list; the
bounds tell by how much at most. A minimum over exponents is a little too small.
Source: the sharpened law: Karan and Du 2025 (2510.14901), who say that it does as well as RL. The divergence
that is left, and the bounds: ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from keyturn.core.errors import UsageError
from keyturn.core.measurement import Estimate
from keyturn.core.statistics.bootstrap import resample_weights
from keyturn.core.streams import Streams
from keyturn.measures.by_problem import POSITIVE, RESAMPLES, SHARE, interval

EXPONENTS = (1.0, 1.05, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 16.0, 32.0)
"""Exponents that are tried; the first is the base itself."""
APART = 0.2
"""Bounds of a share that lie further apart leave it undetermined."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Normaliser:
    """``log Z`` with bounds, ``[exponent, problem]``."""

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def normaliser(
    listed: tuple[NDArray[np.integer], NDArray[np.float64]],
    drawn: tuple[NDArray[np.integer], NDArray[np.float64]],
    entropy: NDArray[np.float64],
    *,
    least: float,
    problems: int,
    exponents: Sequence[float] = EXPONENTS,
) -> Normaliser:
    """``log Z`` of the sharpened base.

    Args:
        listed: problem and log-probability of *all* answers with a probability of ``least`` or more.
        drawn: problem and log-probability of answers that the base drew.
        entropy: of the base's law over answers, nats, ``[problem]``.
        least: of the list.
        problems: how many there are.
        exponents: 1 or more.

    Raises:
        UsageError: an exponent is below 1, where the bounds do not hold.
    """
    if min(exponents) < 1:
        raise UsageError(f"the exponent {min(exponents):g} flattens", fix="exponents of 1 or more")
    value, low, high = (np.full((len(exponents), problems), -np.inf) for _ in range(3))
    edge = np.log(least)
    for i in range(problems):
        own, said = listed[1][listed[0] == i], drawn[1][drawn[0] == i]
        rest = np.log(max(1.0 - float(np.exp(own).sum()), 1e-12))
        outside = said[said < edge]
        for e, a in enumerate(exponents):
            if a == 1:
                value[e, i] = low[e, i] = high[e, i] = 0.0
                continue
            known = logsumexp(a * own) if len(own) else -np.inf
            low[e, i] = max(known, -(a - 1) * entropy[i])
            high[e, i] = max(min(np.logaddexp(known, rest + (a - 1) * edge), 0.0), low[e, i])
            tail = logsumexp((a - 1) * outside) - np.log(len(said)) if len(outside) else -np.inf
            # Never beyond what is certain: a lucky draw of the tail may weigh more than all of it can.
            value[e, i] = min(max(np.logaddexp(known, tail), low[e, i]), high[e, i])
    return Normaliser(value=value, low=low, high=high)


def divergences(
    own: NDArray[np.float64],
    cross: NDArray[np.float64],
    log_normaliser: NDArray[np.float64],
    exponents: Sequence[float] = EXPONENTS,
) -> NDArray[np.float64]:
    """``KL(q || p_a)`` in nats an answer, ``[exponent, problem]``.

    Args:
        own: ``E_q log q`` of each problem.
        cross: ``E_q log p`` of each problem.
        log_normaliser: ``[exponent, problem]``.
        exponents: of its rows.
    """
    return np.maximum(own - np.asarray(exponents)[:, None] * cross + log_normaliser, 0.0)


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What sharpening explains.

    Args:
        divergence: ``KL(q || p)``, nats an answer, with its interval over problems.
        left: the least that an exponent leaves.
        share: of the divergence that is explained.
        exponent: at which the least is left.
        bounds: the share if ``Z`` is as large, and as small, as it can be; NaN where there are no bounds.
        tokens: mean length of the tuned policy's answers, for numbers per token.
    """

    divergence: Estimate
    left: Estimate
    share: Estimate
    exponent: float
    bounds: tuple[float, float]
    tokens: float


def explained(
    found: NDArray[np.float64],
    streams: Streams,
    *,
    low: NDArray[np.float64] | None = None,
    high: NDArray[np.float64] | None = None,
    exponents: Sequence[float] = EXPONENTS,
    tokens: float = float("nan"),
    resamples: int = RESAMPLES,
) -> Explained:
    """What is left at the best exponent, and the share that is explained.

    Args:
        found: ``[exponent, problem]``; the first row is the base itself.
        streams: of the resamples; equal streams give equal resamples.
        low, high: the same with the smallest and largest ``Z`` that are possible.
        exponents: of the rows.
        tokens: mean length of the answers.
        resamples: of the problems.
    """
    count = found.shape[1]
    means = found.mean(axis=1)
    best = int(np.argmin(means))
    weights = resample_weights(count, resamples, streams.generator("sharpening", "problems"))
    many = weights @ found.T / weights.sum(axis=1, keepdims=True)
    base, least = many[:, 0], many.min(axis=1)
    divergence = interval(float(means[0]), base, count, POSITIVE)
    share = Estimate(float("nan"))
    known = divergence.low > 0
    bounds = tuple(float("nan") if one is None or not known else _share(one) for one in (high, low))
    if known and not bounds[1] - bounds[0] > APART:
        share = interval(float(1 - means[best] / means[0]), 1 - least / base, count, SHARE)
    return Explained(
        divergence=divergence,
        left=interval(float(means[best]), least, count, POSITIVE),
        share=share,
        exponent=float(exponents[best]),
        bounds=(bounds[0], bounds[1]),
        tokens=tokens,
    )


def _share(found: NDArray[np.float64]) -> float:
    means = found.mean(axis=1)
    return float(1 - means.min() / means[0])
