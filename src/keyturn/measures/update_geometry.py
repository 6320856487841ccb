"""Where and how far training moved the weights, and how much of that picture rounding alone would give.

Formula: ``D = W' - W`` for each tensor, in float32, one pair of tensors in memory at a time.
    ``update_zero``         share of entries with D exactly 0 (fp32 pairs only)
    ``update_within``       share with |D| <= tolerance, absolute or times max(|W|, |W'|) (fp32; total only)
    ``update_visible``      share with bf16(W') != bf16(W); ``against`` says which null stands beside it
    ``update_rows/columns`` Gini of the energy sum D^2 over rows / columns: is it anywhere in particular?
    ``update_gini``, ``update_participation``, ``update_share90``
                            Gini of |D|, (sum D^2)^2 / (n sum D^4), fewest entries with 90 % of sum D^2
    ``update_stable_rank``, ``update_entropy_rank``  ||D||_F^2 / ||D||_2^2 and exp(H(s^2 / sum s^2))
    ``update_norm``         ||D||_F / ||W||_F
Nulls: *Permuted updates*: D shuffled within its matrix among weights of equal binary exponent. That keeps the
sizes and their relation to the weight, which is all that rounding depends on, and destroys the places. *Dense
Gaussian*: i.i.d. Gaussian updates (or matrices) of equal norm, which have no structure at all, added in
float32. Ranges are prediction intervals.
Denominator: All entries of float tensors; tied weights once. Rows of a vocabulary matrix that did not move at
all are reported in ``update_untouched_rows`` and left out (their tokens were never seen, so their zeros come
from the data). Totals weigh entries equally; ``update_rows/columns`` and the rank shares weigh matrices by
their entries.
Degenerate: Nothing moved: shares are 1 or 0, shapes and ranks NaN with n = 0. A pair that exists only in bf16
or fp16 is ``precision-limited``: it gets what is visible, where, its norm and its ranks, and no statement on
zeros, because small updates of the training's own precision cannot be seen in it; that is no sparsity.
Known bias: Where W lies on the bf16 grid, the visible share is the same under permutation. It then tells of
sizes and not of places, which is what the null is there to say (up to some 1e-3 in a limited pair: updates
that crossed an exponent have the finer spacing and may vanish when they are moved elsewhere). The norm behind
the Gaussian null of a limited pair is that of the rounded update. Entropy rank counts noise as fully as
signal.
Source: Mukherjee et al. 2025, 2505.11711 (sparsity at tolerance 1e-5 in bf16, update rank); Zhu et al. 2025,
2511.08567 (relative probe). Departures: fp32 where there is fp32, nulls beside every share, stable and entropy
rank instead of matrix_rank, which is full for any noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from keyturn.core.measurement import Measurement, Null, Parameter
from keyturn.measures.concentration import Magnitudes, gini, holding
from keyturn.measures.contract import Measure, Tables
from keyturn.measures.tensor_update import ZERO, TensorUpdate, UpdateGeometryConfig, WithNull, describe_update
from keyturn.measures.weights import weight_pairs

PERMUTED = "updates permuted within matrix and exponent"
GAUSSIAN = "dense Gaussian update of equal norm"
ENTRIES = "share of entries"


def measure(tables: Tables, config: UpdateGeometryConfig) -> tuple[Measurement, ...]:
    """Totals first, then one block of rows per tensor.

    Args:
        tables: ``weights`` are the two model folders.
        config: what is counted.

    Raises:
        InputError: the folders do not hold comparable weights (see :func:`weight_pairs`).
    """
    streams = tables.streams.child("update_geometry")
    tensors = [describe_update(pair, config, streams) for pair in weight_pairs(*tables.weights)]
    rows = list(_totals(tensors, config))
    if config.per_tensor:
        rows += [row for one in tensors for row in _of_tensor(one, config)]
    return tuple(rows)


def structured(measurements: Sequence[Measurement]) -> bool | None:
    """Whether the update as a whole sits in particular rows or columns, beyond the null of permuted updates.

    None where nothing moved or nothing was measured. An exactly sparse update that is strewn at random is not
    structured in this sense; ``update_zero`` shows it.
    """
    found = [
        m
        for m in measurements
        if m.name in ("update_rows", "update_columns") and m.parameters["tensor"] == "all"
    ]
    known = [m for m in found if m.null is not None and math.isfinite(m.value) and math.isfinite(m.null.high)]
    return any(m.value > m.null.high for m in known if m.null is not None) if known else None


def null_range(kind: str, draws: NDArray[np.float64]) -> Null:
    """Centre and 95 % prediction interval of one more draw of a quantity that is never negative.

    It holds every draw that was seen, so that rounding cannot put a constant outside its own range.
    """
    seen = draws[np.isfinite(draws)]
    if len(seen) < 2:
        return Null(kind=kind, value=float(seen[0]) if len(seen) else math.nan)
    reach = student.ppf(0.975, len(seen) - 1) * seen.std(ddof=1) * math.sqrt(1 + 1 / len(seen))
    low, high = max(0.0, seen.mean() - reach), seen.mean() + reach
    return Null(
        kind=kind, value=float(seen.mean()), low=float(min(low, seen.min())), high=float(max(high, seen.max()))
    )


def _of_tensor(one: TensorUpdate, config: UpdateGeometryConfig) -> Iterator[Measurement]:
    where: dict[str, Parameter] = {"tensor": one.name, "precision": _precision(one.limited)}
    gaussian = Magnitudes.gaussian(one.n, math.sqrt(one.sizes.energy / one.n)) if one.n else Magnitudes.empty()
    yield from _entries(one.shares, one.gaussian, one.permuted, one.n, one.limited, where, config, curve=False)
    yield from _shape(one.sizes, gaussian, one.base_energy, one.limited, where)
    if one.vocabulary_rows:
        yield _untouched(one.untouched_rows, one.vocabulary_rows, where)
    for name, against, kind, unit in (
        ("update_rows", one.rows, PERMUTED, "Gini"),
        ("update_columns", one.columns, PERMUTED, "Gini"),
        ("update_stable_rank", one.stable, "Gaussian matrix of equal shape", "directions"),
        ("update_entropy_rank", one.entropy, "Gaussian matrix of equal shape", "directions"),
    ):
        if against is not None:
            n = one.n if math.isfinite(against.value) else 0
            sided = {**where, "side": one.side} if unit == "directions" else where
            yield _row(name, against.value, n, unit, null_range(kind, against.null), sided)


def _totals(tensors: Sequence[TensorUpdate], config: UpdateGeometryConfig) -> Iterator[Measurement]:
    """The whole model: entries pooled, matrices averaged by their entries."""
    limited = any(one.limited for one in tensors)
    where: dict[str, Parameter] = {"tensor": "all", "precision": _precision(limited)}
    used = [one for one in tensors if one.n]
    if not used:
        yield _row("update_visible", math.nan, 0, ENTRIES, None, {**where, "against": PERMUTED})
        return
    sizes, gaussian = Magnitudes.empty(), Magnitudes.empty()
    for one in used:
        sizes += one.sizes
        gaussian += Magnitudes.gaussian(one.n, math.sqrt(one.sizes.energy / one.n))
    n = np.array([one.n for one in used])
    weight = n / n.sum()
    shares = sum((w * one.shares for w, one in zip(weight, used, strict=True)), np.zeros(1))
    dense = sum((w * one.gaussian for w, one in zip(weight, used, strict=True)), np.zeros(1))
    shuffled = sum((w * one.permuted for w, one in zip(weight, used, strict=True)), np.zeros(1))
    yield from _entries(shares, dense, shuffled, int(n.sum()), limited, where, config, curve=True)
    yield from _shape(sizes, gaussian, sum(one.base_energy for one in used), limited, where)
    if any(one.vocabulary_rows for one in tensors):
        yield _untouched(sum(o.untouched_rows for o in tensors), sum(o.vocabulary_rows for o in tensors), where)
    for name, field, kind, by_side in (
        ("update_rows", "rows", PERMUTED, False),
        ("update_columns", "columns", PERMUTED, False),
        ("update_stable_rank_share", "stable", "Gaussian matrix of equal shape", True),
        ("update_entropy_rank_share", "entropy", "Gaussian matrix of equal shape", True),
    ):
        value, null, weight = _mean_over_matrices(used, field, by_side)
        unit = "share of the smaller side" if by_side else "Gini"
        yield _row(name, value, weight, unit, null_range(kind, null), where)


def _mean_over_matrices(
    tensors: Sequence[TensorUpdate], field: str, by_side: bool
) -> tuple[float, NDArray[np.float64], int]:
    """Mean weighted by entries over the matrices where the quantity is defined, its null, and the entries."""
    there = [(one, getattr(one, field)) for one in tensors]
    kept: list[tuple[TensorUpdate, WithNull]] = [
        (one, against) for one, against in there if against is not None and math.isfinite(against.value)
    ]
    if not kept:
        return math.nan, np.array([]), 0
    weight = np.array([one.n for one, _ in kept], dtype=np.float64)
    scale = weight / weight.sum() / np.array([one.side if by_side else 1 for one, _ in kept])
    value = float(scale @ [against.value for _, against in kept])
    null = np.asarray(scale @ np.array([against.null for _, against in kept]), dtype=np.float64)
    return value, null, int(weight.sum())


def _entries(
    shares: NDArray[np.float64],
    gaussian: NDArray[np.float64],
    permuted: NDArray[np.float64],
    n: int,
    limited: bool,
    where: dict[str, Parameter],
    config: UpdateGeometryConfig,
    *,
    curve: bool,
) -> Iterator[Measurement]:
    note = "precision-limited: updates below bf16's spacing cannot be seen in these files" if limited else ""
    for index, (name, parameters) in enumerate(config.labels):
        if (index > ZERO and not curve) or (index >= ZERO and limited):
            return
        kinds = (
            {PERMUTED: permuted, GAUSSIAN: gaussian[:, index]}
            if index < ZERO
            else {GAUSSIAN: gaussian[:, index]}
        )
        for kind, draws in kinds.items():
            more = {**where, **parameters, **({"against": kind} if index < ZERO else {})}
            yield _row(name, float(shares[index]), n, ENTRIES, null_range(kind, draws), more, note)


def _shape(
    sizes: Magnitudes, gaussian: Magnitudes, base_energy: float, limited: bool, where: dict[str, Parameter]
) -> Iterator[Measurement]:
    """How far the weights moved, and how unequally over entries."""
    length = math.sqrt(sizes.energy / base_energy) if base_energy > 0 else math.nan
    n = sizes.n if math.isfinite(length) else 0
    yield _row(
        "update_norm", length, n, "share of the base's norm", Null(kind="equal weights", value=0.0), where
    )
    if limited:
        return
    for name, unit, of in (
        ("update_gini", "Gini", lambda m: gini(m.size_curve())),
        ("update_participation", ENTRIES, lambda m: m.participation()),
        ("update_share90", ENTRIES, lambda m: holding(m.energy_curve(), 0.9)),
    ):
        value = of(sizes)
        n = sizes.n if math.isfinite(value) else 0
        yield _row(name, value, n, unit, Null(kind=GAUSSIAN, value=of(gaussian)), where)


def _untouched(untouched: int, rows: int, where: dict[str, Parameter]) -> Measurement:
    note = "rows of vocabulary matrices that did not move at all; left out of every other share"
    none = Null(kind="none possible")
    return _row("update_untouched_rows", untouched / rows, rows, "share of vocabulary rows", none, where, note)


def _row(
    name: str,
    value: float,
    n: int,
    unit: str,
    null: Null | None,
    parameters: dict[str, Parameter],
    note: str = "",
) -> Measurement:
    return Measurement(name=name, value=value, n=n, unit=unit, null=null, parameters=parameters, note=note)


def _precision(limited: bool) -> str:
    return "precision-limited" if limited else "fp32"


READINGS = {
    "update_zero": "Share of entries that training left exactly as they were (fp32 pairs only).",
    "update_within": "Share of entries that moved no further than a tolerance.",
    "update_visible": "Share of entries whose bf16 value changed; if it equals its null, only sizes matter.",
    "update_rows": "Whether the update's energy sits in particular rows: Gini, 0 even, 1 in one.",
    "update_columns": "Whether the update's energy sits in particular columns.",
    "update_gini": "How unequally the absolute update is spread over entries.",
    "update_participation": "Effective share of entries that carry the update.",
    "update_share90": "Fewest entries that hold nine tenths of the update's energy.",
    "update_stable_rank": "Energy over that of the largest direction: how many directions matter at all.",
    "update_entropy_rank": "Directions weighed by their energy: how many are in use.",
    "update_stable_rank_share": "Stable rank as a share of the possible, mean over matrices.",
    "update_entropy_rank_share": "Entropy rank as a share of the possible, mean over matrices.",
    "update_norm": "Length of the update against the length of the base's weights.",
    "update_untouched_rows": "Rows of vocabulary matrices that never moved: tokens that training never saw.",
}
"""Measurement -> how to read it."""

UPDATE_GEOMETRY = Measure(
    name="update_geometry",
    title="Weights",
    summary="Where and how far training moved the weights, beside what rounding and chance would show.",
    source="Mukherjee et al. 2025, arXiv:2505.11711; Zhu et al. 2025, arXiv:2511.08567",
    unit="share of entries",
    null="updates permuted within matrix and exponent; a dense Gaussian update of equal norm",
    needs=frozenset({"weights"}),
    readings=READINGS,
    config=UpdateGeometryConfig,
    measure=measure,
)
