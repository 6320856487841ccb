"""Whether the base could have said what the tuned policy says: its log-probability of those completions.

Formula: For a completion y of length T, with the base's log-probabilities l_t and ranks r_t of its tokens:
    ``reach_logprob``  log P(y) = sum_t l_t, mean over completions, in nats
    ``reach_below``    share of completions whose log P(y) is below the 5th percentile of the base's own
                       completions of matched length (within 20 %, at least the 20 nearest; other problems only)
    ``reach_worst``    max_t -l_t: surprisal of the least likely token
    ``reach_rank``     tokens of y with r_t > 10, per completion
    ``reach_samples``  exp(-log P(y)), median: draws the base would need to say exactly this completion
    ``reach_bound``    mean over problems of the certified lower bound of the base's success (file certified)
``rows`` is ``all`` or ``verified`` (only successes). The length-normalised perplexity of the literature is
left out on purpose: a sharpened policy has a low one by construction, so it proves sharpening and not reach.
Denominator: completions that ended by themselves, pooled (``reach_bound``: problems).
Null: the base's own completions, treated in the same way. Degenerate: no such completion gives NaN with n = 0.
Known bias: one completion stands for its whole class of equivalent ones, so ``reach_samples`` is an upper
bound of the draws that a success takes. Intervals over problems take the base's percentiles as known.
Source: Yue et al. 2025, 2504.13837 (perplexity probe), turned into quantities that test reach; the bound is
ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Estimate, Measurement, Null
from keyturn.core.statistics.bootstrap import bootstrap_mean
from keyturn.core.streams import Streams
from keyturn.measures.by_problem import POSITIVE, RESAMPLES, SHARE, ByProblem, Resampled, weighted_quantile
from keyturn.measures.certified import bound_of, row_logprobs, success_of
from keyturn.measures.certified import certified_bound as certified_bound
from keyturn.measures.contract import Measure, Tables, TokenShift
from keyturn.rollouts.completions import Stop

OWN = "the base's own completions"


@dataclass(frozen=True, kw_only=True)
class ReachabilityConfig:
    """What counts as out of the base's usual reach."""

    percentile: float = 0.05
    """Share of the base's own completions that lie below the line by construction."""
    length_window: float = 0.2
    """Completions are of matched length when they differ by at most this share of the length."""
    references: int = 20
    """Own completions that the percentile is read from at least; fewer of matched length: the nearest."""
    rank: int = 10
    """A token is far down in the base's list when more than this many are more likely."""
    resamples: int = RESAMPLES
    """Bootstrap resamples of the problems."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BaseView:
    """Completions as the base sees them; columns ``[row]``, one entry per completion that ended by itself.

    Args:
        problem: index of the problem.
        length: tokens.
        logprob: of the whole completion, nats.
        worst: surprisal of the least likely token, nats.
        far: tokens ranked beyond ``config.rank``.
        success: verified (or right, where no traces are read).
        problems: how many problems there are.
    """

    problem: NDArray[np.int64]
    length: NDArray[np.int64]
    logprob: NDArray[np.float64]
    worst: NDArray[np.float64]
    far: NDArray[np.float64]
    success: NDArray[np.bool_]
    problems: int


def base_view(shift: TokenShift, config: ReachabilityConfig) -> BaseView:
    """Whole completions under the base: cut, failed and empty ones are left out."""
    completions = shift.completions
    size, row = len(completions), completions.token_row
    worst = np.full(size, -np.inf)
    np.maximum.at(worst, row, -shift.base_logprobs.astype(np.float64))
    far = np.bincount(row, weights=shift.base_ranks > config.rank, minlength=size)
    logprob = row_logprobs(completions, shift.base_logprobs)
    success = np.zeros(size, dtype=bool) if shift.grades is None else success_of(shift.grades) == 1
    kept = (completions.lengths > 0) & ~np.isnan(logprob)
    kept &= (completions.stop != Stop.LENGTH) & (completions.stop != Stop.ERROR)
    return BaseView(
        problem=completions.problem[kept].astype(np.int64),
        length=completions.lengths[kept],
        logprob=logprob[kept],
        worst=worst[kept],
        far=far[kept].astype(np.float64),
        success=success[kept],
        problems=len(completions.prompts),
    )


def below_own(view: BaseView, own: BaseView, config: ReachabilityConfig) -> NDArray[np.float64]:
    """Which completions lie under the percentile of the base's own of matched length.

    The reference leaves out the completion's own problem, for the base's own completions too: so these lie
    below with the stated share where problems are exchangeable.

    Returns:
        1 or 0, NaN where no other problem has a completion; float64 ``[row]``.
    """
    out = np.full(len(view.problem), np.nan)
    for row in range(len(out)):
        others = own.problem != view.problem[row]
        if not others.any():
            continue
        distance = np.abs(own.length[others] - view.length[row])
        near = distance <= config.length_window * view.length[row]
        if near.sum() < config.references:
            near = distance <= np.sort(distance)[: config.references][-1]
        # This order statistic is exceeded from below with the stated probability at every sample size.
        line = np.quantile(own.logprob[others][near], config.percentile, method="weibull")
        out[row] = view.logprob[row] < line
    return out


def measure(tables: Tables, config: ReachabilityConfig) -> tuple[Measurement, ...]:
    """Tuned completions under the base beside the base's own.

    Args:
        tables: ``shift`` with the completions ``"tuned"`` drew, and ``"base"`` for the null; ``bound`` where
            the study computed it from more completions than the tables hold.
        config: what counts as out of reach.
    """
    tuned, base = tables.shift.get("tuned"), tables.shift.get("base")
    if tuned is None:
        return ()
    streams = tables.streams.child("reachability")
    view = base_view(tuned, config)
    own = None if base is None else base_view(base, config)
    found: list[Measurement] = []
    for rows in ("all", "verified"):
        if rows == "verified" and tuned.grades is None:
            continue
        found += _rows(view, own, rows, config, streams)
    return (*found, *_bound(tables, streams, config))


def _rows(
    view: BaseView, own: BaseView | None, rows: str, config: ReachabilityConfig, streams: Streams
) -> Iterator[Measurement]:
    """Every quantity over all completions or over the successes."""
    of_tuned = _quantities(view, own, rows, config, streams)
    of_own = {} if own is None else _quantities(own, own, rows, config, streams)
    for name, unit in _UNITS.items():
        found = of_tuned[name]
        null = Null(kind="none possible")
        if name in of_own:
            e = of_own[name].estimate
            null = Null(kind=OWN, value=e.value, low=e.low, high=e.high)
        yield Measurement(
            name=name,
            value=found.estimate.value,
            low=found.estimate.low,
            high=found.estimate.high,
            n=found.n,
            unit=unit,
            null=null,
            parameters={"rows": rows, "policy": "tuned", "under": "base"},
        )


_UNITS = {
    "reach_logprob": "nats",
    "reach_below": "share of completions",
    "reach_worst": "nats",
    "reach_rank": "tokens per completion",
    "reach_samples": "draws",
}


def _quantities(
    view: BaseView, own: BaseView | None, rows: str, config: ReachabilityConfig, streams: Streams
) -> dict[str, Resampled]:
    by = ByProblem.of(view.problem, view.problems, streams, config.resamples)
    mask = view.success if rows == "verified" else np.ones(len(view.problem), dtype=bool)
    below = np.full(len(view.problem), np.nan) if own is None else below_own(view, own, config)
    chosen = ByProblem(problem=view.problem[mask], size=by.size, weights=by.weights)
    return {
        "reach_logprob": by.mean(view.logprob, mask),
        "reach_below": by.mean(below, mask, SHARE),
        "reach_worst": by.mean(view.worst, mask, POSITIVE),
        "reach_rank": by.mean(view.far, mask, POSITIVE),
        "reach_samples": _samples(chosen.statistic(view.logprob[mask], _median)),
    }


def _median(values: NDArray, weights: NDArray) -> float:
    return weighted_quantile(values, weights, 0.5)


def _samples(logprob: Resampled) -> Resampled:
    """Draws needed, from the median log-probability: the order of the limits turns round."""
    e = logprob.estimate
    turned = Estimate(_draws(e.value), _draws(e.high), _draws(e.low))
    return Resampled(estimate=turned, n=logprob.n, replicates=np.array([_draws(x) for x in logprob.replicates]))


def _draws(logprob: float) -> float:
    """``exp(-logprob)``, infinite where a double cannot hold it."""
    return math.inf if -logprob > 700 else math.exp(-logprob)


def _bound(tables: Tables, streams: Streams, config: ReachabilityConfig) -> Iterator[Measurement]:
    """The certified lower bound of the base's success, mean over problems."""
    tuned = bound_of(s for drawn_by, s in tables.shift.items() if drawn_by == "tuned")
    bound = tuned if tables.paired.bound is None else tables.paired.bound
    if bound is None:
        return
    own = bound_of(s for drawn_by, s in tables.shift.items() if drawn_by == "base")
    generator = streams.generator("bound")
    found = _probability(bootstrap_mean(bound, generator, resamples=config.resamples))
    null = Estimate(math.nan)
    if own is not None:
        null = _probability(bootstrap_mean(own, generator, resamples=config.resamples))
    yield Measurement(
        name="reach_bound",
        value=found.value,
        low=found.low,
        high=found.high,
        n=int(np.isfinite(bound).sum()),
        unit="probability",
        null=Null(kind=OWN, value=null.value, low=null.low, high=null.high),
        parameters={"policy": "base", "rows": "verified"},
        note="a lower bound of the base's mean success: its probability of the distinct successes given",
    )


def _probability(estimate: Estimate) -> Estimate:
    return Estimate(estimate.value, max(estimate.low, 0.0), min(estimate.high, 1.0))


READINGS = {
    "reach_logprob": "Log-probability of whole completions under the base; far below its own: out of reach.",
    "reach_below": "Share of completions less likely under the base than 95 % of its own of that length.",
    "reach_worst": "Surprisal of the token of a completion that the base finds least likely.",
    "reach_rank": "Tokens per completion that are not among the base's ten most likely ones.",
    "reach_samples": "Median number of draws that the base would need to produce exactly this completion.",
    "reach_bound": "A certified lower bound of the base's success: its probability of the successes seen.",
}
"""Measurement -> how to read it."""

REACHABILITY = Measure(
    name="reachability",
    title="Reachability",
    summary="Whether the base could have said what the tuned policy says.",
    source="Yue et al. 2025, arXiv:2504.13837; certified bound ours",
    unit="nats",
    null="the base's own completions, treated in the same way",
    needs=frozenset({"shift"}),
    readings=READINGS,
    config=ReachabilityConfig,
    measure=measure,
)
