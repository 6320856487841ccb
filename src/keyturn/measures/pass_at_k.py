"""pass@k: the share of problems that k draws solve, for both policies, with bands that hold for all k.

``pass@k = mean_i [1 - C(n_i - c_i, k) / C(n_i, k)]`` at k = 1, 2, 4... up to the policy's draws, for verified
answers and for answers alone (``core.statistics.pass_at_k``; draws in two stages: ``two_stage``). The band is
sup-t over the curve, by bootstrap over problems. Beyond a problem's own draws the value is the mean of its
Jeffreys posterior; ``extrapolated`` is the share of such problems, and figures must show it.

Denominator: the problems with a graded draw. Degenerate: no such problem gives NaN with n = 0. Known bias:
none up to a problem's own draws. The null of the tuned policy is the base: the curve if nothing had changed.
The null of the base is guessing, where guessing rates are known.

Source: Chen et al. 2021 (arXiv 2107.03374), equation 1; bands: Montiel Olea and Plagborg-Moller 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Measurement, Null, Parameter
from keyturn.core.statistics.bands import Band, sup_t_band
from keyturn.core.statistics.bootstrap import RESAMPLES
from keyturn.core.statistics.pass_at_k import powers_of_two
from keyturn.core.streams import Streams
from keyturn.measures.contract import Measure, Tables
from keyturn.measures.draws import Draws


@dataclass(frozen=True, kw_only=True)
class PassAtKConfig:
    """Options of the measure."""

    by: tuple[str, ...] = ()
    """Fields of a problem's cell; where given, each cell gets a curve too."""
    resamples: int = RESAMPLES
    """Bootstrap resamples over problems."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PassAtKCurve:
    """pass@k of one policy.

    Args:
        ks: budgets, ``[k]``.
        band: mean over problems and simultaneous band, ``[k]``.
        extrapolated: share of problems whose value came from the posterior, float64 ``[k]``.
        problems: how many stand behind it.
    """

    ks: tuple[int, ...]
    band: Band
    extrapolated: NDArray[np.float64]
    problems: int


def pass_at_k_curve(draws: Draws, streams: Streams, *, limit: int, resamples: int = RESAMPLES) -> PassAtKCurve:
    """The curve of one policy at powers of two up to ``limit``.

    Args:
        draws: of one policy.
        streams: randomness of the band.
        limit: largest k; 1 where no draw is known.
        resamples: bootstrap resamples.
    """
    graded = draws.at(draws.n > 0)
    ks = powers_of_two(max(limit, 1))
    values, beyond = graded.curve(ks)
    band = sup_t_band(values, streams.generator("band"), resamples=resamples, bounds=(0.0, 1.0))
    share = beyond.mean(axis=0) if len(graded) else np.full(len(ks), np.nan)
    return PassAtKCurve(ks=ks, band=band, extrapolated=share, problems=len(graded))


def measure_pass_at_k(tables: Tables, config: PassAtKConfig) -> tuple[Measurement, ...]:
    """pass@k of both policies, every kind of success, pooled and by cell."""
    found: list[Measurement] = []
    for where, counts in tables.paired.by_place(config.by):
        streams = tables.streams.child("pass_at_k", counts.kind, str(where))
        curves = {
            policy: pass_at_k_curve(
                draws,
                streams.child(policy),
                limit=int(draws.n.max(initial=0)),
                resamples=config.resamples,
            )
            for policy, draws in (("base", counts.base), ("tuned", counts.tuned))
        }
        nulls = {
            "base": _guessing(curves["base"], counts.chance if counts.kind == "answer" else None),
            "tuned": _as_the_base(curves["tuned"], curves["base"]),
        }
        for policy, curve in curves.items():
            found += _measurements(curve, nulls[policy], {"policy": policy, "success": counts.kind, **where})
    return tuple(found)


def _measurements(
    curve: PassAtKCurve, nulls: list[Null | None], parameters: dict[str, Parameter]
) -> list[Measurement]:
    return [
        Measurement(
            name="pass_at_k",
            value=float(curve.band.value[j]),
            low=float(curve.band.low[j]),
            high=float(curve.band.high[j]),
            n=curve.problems,
            unit="probability",
            null=nulls[j],
            parameters={**parameters, "k": k, "extrapolated": float(curve.extrapolated[j])},
            note="beyond the draws of some problems, from their posterior" if curve.extrapolated[j] > 0 else "",
        )
        for j, k in enumerate(curve.ks)
    ]


def _as_the_base(curve: PassAtKCurve, base: PassAtKCurve) -> list[Null | None]:
    at = {k: j for j, k in enumerate(base.ks)}
    return [
        Null(
            kind="the base itself",
            value=float(base.band.value[at[k]]),
            low=float(base.band.low[at[k]]),
            high=float(base.band.high[at[k]]),
        )
        if k in at
        else None
        for k in curve.ks
    ]


def _guessing(curve: PassAtKCurve, guess: NDArray[np.float64] | None) -> list[Null | None]:
    if guess is None or not np.isfinite(guess).any():
        return [None] * len(curve.ks)
    rates = guess[np.isfinite(guess)]
    return [
        Null(
            kind="guessing the answer",
            value=float(np.mean(-np.expm1(k * np.log1p(-np.minimum(rates, 1 - 1e-12))))),
        )
        for k in curve.ks
    ]


READINGS = {
    "pass_at_k": "The chance that at least one of k draws succeeds, mean over problems.",
}
"""Measurement -> how to read it."""

PASS_AT_K = Measure(
    name="pass_at_k",
    title="pass@k",
    summary="Share of problems that k draws solve, verified and by answer alone, with simultaneous bands.",
    source="Chen et al. 2021, arXiv 2107.03374, equation 1",
    unit="probability",
    null="for the tuned policy the base itself, for the base guessing",
    readings=READINGS,
    config=PassAtKConfig,
    measure=measure_pass_at_k,
)
