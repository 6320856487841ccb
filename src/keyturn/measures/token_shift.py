"""Which tokens training moved: base and tuned policy on the same completions, token by token.

Formula: at each token t of a given completion, with next-token distributions p of the base and q of the tuned
policy:
    ``token_kl``, ``token_kl_reverse``  KL(q || p), KL(p || q) in nats over the whole vocabulary
    ``token_logratio``                  |log q(y_t) - log p(y_t)|
    ``token_flip``                      share of tokens whose most likely token differs
    ``token_rank``                      rank of y_t (0 = first) for the policy that did not draw it
    ``token_unshifted/marginal/shifted``  that rank is 0 / 1 or 2 / 3 or more
    ``token_kl_top``, ``token_kl_gini`` share of all KL in the top 1, 5, 10, 20 % of tokens; Gini over tokens
    ``token_first_flip``                share of a completion before its first flip (1 where there is none)
``drawn_by`` says whose completions they are; the base's own show the reverse direction. ``by`` is ``all``, a
role or a group of roles. Denominator: tokens, pooled (``token_first_flip``: completions).
Nulls: by role, values shuffled among the tokens of each completion; of ranks, those under the policy that drew
the completion (a sampled token is not always the first choice of its own policy either); of concentration,
every token having the mean KL of its position. A table ``"replicate"`` (another run without effect), where the
audit has one, replaces the last null and the zero of identical models.
Degenerate: no token gives NaN with n = 0; models that agree everywhere have no Lorenz curve.
Known bias: the policy that did not draw is led along the other's prefix, so later tokens agree more than they
would in free running; for that reason ``token_first_flip`` and the reverse direction stand beside it.
Source: Lin et al. 2023, 2312.01552 (URIAL: ranks 1, 2-3, above 3 counted from 1). Departures: sampled and not
greedy completions, both directions, full-vocabulary KL, intervals over problems.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Estimate, Measurement, Null, Parameter
from keyturn.core.streams import Streams
from keyturn.measures.by_problem import POSITIVE, RESAMPLES, SHARE, ByProblem, interval
from keyturn.measures.concentration import LorenzCurve, gini, held_by_top, lorenz, lorenz_of_sorted
from keyturn.measures.contract import Measure, Tables, TokenShift
from keyturn.roles.grammar import role_sets, token_roles
from keyturn.rollouts.completions import Completions

IDENTICAL = "identical models"
SHUFFLED = "values shuffled within each completion"
OWN_RANKS = "ranks under the policy that drew"
POSITION = "every token the mean of its position"
REPLICATE = "replicate"


@dataclass(frozen=True, kw_only=True)
class TokenShiftConfig:
    """How the shift is summarised."""

    tops: tuple[float, ...] = (0.01, 0.05, 0.1, 0.2)
    """Shares of tokens for which their share of all KL is measured."""
    resamples: int = RESAMPLES
    """Bootstrap resamples of the problems for means."""
    curve_resamples: int = 300
    """Bootstrap resamples for the Lorenz curve, which is re-summed each time."""
    permutations: int = 100
    """Times that values are shuffled within completions for the null of the roles."""


SHARES = "share of tokens"
_UNITS = {
    "token_kl": "nats per token",
    "token_kl_reverse": "nats per token",
    "token_logratio": "nats per token",
    "token_flip": SHARES,
    "token_rank": "rank",
    "token_unshifted": SHARES,
    "token_marginal": SHARES,
    "token_shifted": SHARES,
}
_DIFFERENCES = ("token_kl", "token_kl_reverse", "token_logratio", "token_flip")


def measure(tables: Tables, config: TokenShiftConfig) -> tuple[Measurement, ...]:
    """By source of completions: means for all tokens and by role, and how concentrated the shift is.

    Args:
        tables: ``shift`` by whoever drew (``"tuned"``, ``"base"``); ``"replicate"`` serves as null.
        config: how it is summarised.
    """
    replicate = tables.shift.get(REPLICATE)
    found: list[Measurement] = []
    for drawn_by, shift in tables.shift.items():
        if drawn_by != REPLICATE:
            streams = tables.streams.child("token_shift", drawn_by)
            found += _means(shift, replicate, config, streams)
            found += _spread(shift, replicate, config, streams)
            found.append(_first_flip(shift, config, streams))
    return tuple(found)


def columns(shift: TokenShift) -> dict[str, NDArray[np.float64]]:
    """The quantities that are averaged, by name, ``[token]`` each; KL below 0 (rounding) counts as 0."""
    drew_tuned = shift.drawn_by != "base"
    other = shift.base_ranks if drew_tuned else shift.tuned_ranks
    return {
        "token_kl": _not_negative(shift.kl),
        "token_kl_reverse": _not_negative(shift.kl_reverse),
        "token_logratio": np.abs(shift.tuned_logprobs.astype(np.float64) - shift.base_logprobs),
        "token_flip": shift.flip.astype(np.float64),
        **_ranked(other),
    }


def own_ranks(shift: TokenShift) -> dict[str, NDArray[np.float64]]:
    """The rank columns under the policy that drew the completions."""
    return _ranked(shift.base_ranks if shift.drawn_by == "base" else shift.tuned_ranks)


def _ranked(ranks: NDArray[np.int32]) -> dict[str, NDArray[np.float64]]:
    return {
        "token_rank": ranks.astype(np.float64),
        "token_unshifted": (ranks == 0).astype(np.float64),
        "token_marginal": ((ranks >= 1) & (ranks <= 2)).astype(np.float64),
        "token_shifted": (ranks >= 3).astype(np.float64),
    }


def _not_negative(values: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.maximum(values.astype(np.float64), 0.0)


def token_problems(completions: Completions) -> NDArray[np.int64]:
    """The problem of every token, int64 ``[token]``."""
    return completions.problem.astype(np.int64)[completions.token_row]


def _means(
    shift: TokenShift, replicate: TokenShift | None, config: TokenShiftConfig, streams: Streams
) -> Iterator[Measurement]:
    completions = shift.completions
    by = ByProblem.of(token_problems(completions), len(completions.prompts), streams, config.resamples)
    values, own = columns(shift), own_ranks(shift)
    everything = {"all": np.ones(len(completions.tokens), dtype=bool)}
    roles = role_sets(token_roles(completions, shift.grades))
    shuffled = _shuffled(values, roles, completions, config, streams.generator("deal"))
    again = {} if replicate is None else _replicated(replicate, config, streams)
    for group, mask in {**everything, **roles}.items():
        for name, unit in _UNITS.items():
            within = SHARE if unit == SHARES else POSITIVE
            found = by.mean(values[name], mask, within)
            if name in own:
                null = _as_null(OWN_RANKS, by.mean(own[name], mask, within).estimate)
            elif group != "all":
                null = _as_null(SHUFFLED, shuffled[name, group])
            else:
                null = again.get(name, Null(kind=IDENTICAL, value=0.0))
            parameters = {"drawn_by": shift.drawn_by, "by": group}
            yield _row(name, found.estimate, found.n, unit, null, parameters)


def _shuffled(
    values: Mapping[str, NDArray[np.float64]],
    roles: Mapping[str, NDArray[np.bool_]],
    completions: Completions,
    config: TokenShiftConfig,
    generator: np.random.Generator,
) -> dict[tuple[str, str], Estimate]:
    """Means by role when values are shuffled within their completion: centre and 95 % range."""
    if not roles:
        return {}
    table = np.stack([values[name] for name in _DIFFERENCES], axis=1)
    share = np.stack([mask / mask.sum() for mask in roles.values()])
    row = completions.token_row
    draws = np.empty((config.permutations, len(roles), len(_DIFFERENCES)))
    for draw in range(config.permutations):
        # Sorting by row and then by noise permutes the tokens of each completion among themselves.
        draws[draw] = share @ table[np.lexsort((generator.random(len(row)), row))]
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    middle = draws.mean(axis=0)
    return {
        (name, group): Estimate(float(middle[g, v]), float(low[g, v]), float(high[g, v]))
        for g, group in enumerate(roles)
        for v, name in enumerate(_DIFFERENCES)
    }


def _replicated(replicate: TokenShift, config: TokenShiftConfig, streams: Streams) -> dict[str, Null]:
    completions = replicate.completions
    streams = streams.child(REPLICATE)
    by = ByProblem.of(token_problems(completions), len(completions.prompts), streams, config.resamples)
    values = columns(replicate)
    return {name: _as_null(REPLICATE, by.mean(values[name], within=POSITIVE).estimate) for name in _DIFFERENCES}


def _spread(
    shift: TokenShift, replicate: TokenShift | None, config: TokenShiftConfig, streams: Streams
) -> Iterator[Measurement]:
    """How concentrated the KL is over tokens."""
    kl, problem = _not_negative(shift.kl), token_problems(shift.completions)
    value = curve_figures(lorenz(kl), config.tops)
    order = np.argsort(kl, kind="stable")[::-1]
    size = len(shift.completions.prompts)
    by = ByProblem.of(problem[order], size, streams.child("curve"), config.curve_resamples)
    replicates = np.array(
        [curve_figures(lorenz_of_sorted(kl[order], w[by.problem]), config.tops) for w in by.weights]
    )
    kind, other = POSITION, _position_means(kl, shift.completions)
    if replicate is not None:
        kind, other = REPLICATE, _not_negative(replicate.kl)
    null = curve_figures(lorenz(other), config.tops)
    units = len(np.unique(problem[kl > 0]))
    rows: list[tuple[str, str, dict[str, Parameter]]] = [
        *(("token_kl_top", "share of all KL", {"top": top}) for top in config.tops),
        ("token_kl_gini", "Gini", {}),
    ]
    for i, (name, unit, more) in enumerate(rows):
        estimate = interval(float(value[i]), replicates[:, i], units, SHARE)
        parameters = {"drawn_by": shift.drawn_by, "by": "all", **more}
        n = len(np.unique(problem)) if units else 0
        yield _row(name, estimate, n, unit, Null(kind=kind, value=float(null[i])), parameters)


def curve_figures(curve: LorenzCurve, tops: tuple[float, ...]) -> NDArray[np.float64]:
    """What is measured of a Lorenz curve: the shares at ``tops``, then the Gini; ``[top + 1]``."""
    if np.isnan(curve[1][-1]):
        return np.full(len(tops) + 1, np.nan)
    return np.append(held_by_top(curve, tops), gini(curve))


def _position_means(values: NDArray[np.float64], completions: Completions) -> NDArray[np.float64]:
    """Each value replaced by the mean over all completions at its position, ``[token]``."""
    position = np.arange(len(values)) - completions.offsets[:-1][completions.token_row]
    count = np.bincount(position)
    return (np.bincount(position, weights=values) / np.maximum(count, 1))[position]


def _first_flip(shift: TokenShift, config: TokenShiftConfig, streams: Streams) -> Measurement:
    """How far into a completion both policies, decoding greedily, would have said the same."""
    completions = shift.completions
    lengths, row = completions.lengths, completions.token_row
    position = np.arange(len(row)) - completions.offsets[:-1][row]
    first = lengths.astype(np.float64)
    np.minimum.at(first, row[shift.flip], position[shift.flip])
    share = np.divide(first, lengths, out=np.full(len(lengths), np.nan), where=lengths > 0)
    by = ByProblem.of(completions.problem, len(completions.prompts), streams, config.resamples)
    found = by.mean(share, within=SHARE)
    return _row(
        "token_first_flip",
        found.estimate,
        found.n,
        "share of the completion",
        Null(kind=IDENTICAL, value=1.0),
        {"drawn_by": shift.drawn_by, "by": "all"},
    )


def _as_null(kind: str, estimate: Estimate) -> Null:
    return Null(kind=kind, value=estimate.value, low=estimate.low, high=estimate.high)


def _row(
    name: str, estimate: Estimate, n: int, unit: str, null: Null, parameters: Mapping[str, Parameter]
) -> Measurement:
    return Measurement(
        name=name,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        n=n,
        unit=unit,
        null=null,
        parameters=parameters,
    )


READINGS = {
    "token_kl": "How far the tuned next-token distribution is from the base's, over the whole vocabulary.",
    "token_kl_reverse": "The same in the other direction: what the tuned policy has given up.",
    "token_logratio": "How much the log-probability of the tokens changed.",
    "token_flip": "Share of tokens at which the two policies' likeliest next tokens differ.",
    "token_rank": "Rank of the tokens for the policy that did not draw them (0 is first).",
    "token_unshifted": "Share of tokens that are the other policy's first choice too.",
    "token_marginal": "Share of tokens that are the other policy's second or third choice.",
    "token_shifted": "Share of tokens beyond the other policy's third choice.",
    "token_kl_top": "Share of all divergence held by the tokens that shifted most.",
    "token_kl_gini": "How unequally divergence is spread over tokens: 0 evenly, 1 all in one.",
    "token_first_flip": "Share of a completion before the policies' most likely tokens first differ.",
}
"""Measurement -> how to read it."""

TOKEN_SHIFT = Measure(
    name="token_shift",
    title="Token shift",
    summary="Which tokens training moved, how far, and how few of them carry the shift.",
    source="Lin et al. 2023, arXiv:2312.01552 (ranks); KL and Lorenz curve ours",
    unit="nats per token",
    null="values shuffled within completions; own ranks of the drawing policy; position means; replicate",
    needs=frozenset({"shift"}),
    readings=READINGS,
    config=TokenShiftConfig,
    measure=measure,
)
