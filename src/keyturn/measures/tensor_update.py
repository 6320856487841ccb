"""One tensor's update: its sizes, places and directions, beside the same quantities under the nulls.

Ours; `update_geometry` says what is counted and why.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Parameter
from keyturn.core.streams import Streams
from keyturn.measures.concentration import Magnitudes, gini, lorenz
from keyturn.measures.rounding import apply, permuted_within_exponent, visible
from keyturn.measures.spectrum import energies, entropy_rank, gaussian_ranks, largest_energy, stable_rank
from keyturn.measures.weights import WeightPair

_PIECE = 1 << 22
VISIBLE, ZERO = 0, 1


@dataclass(frozen=True, kw_only=True)
class UpdateGeometryConfig:
    """What is counted, and how large the nulls are."""

    tolerances: tuple[float, ...] = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
    """Absolute tolerances of the curve, in the unit of the weights; 1e-5 is that of Mukherjee et al. 2025."""
    relative: tuple[float, ...] = (1e-4, 1e-3, 1e-2)
    """Tolerances as shares of max(abs(w), abs(w')); 1e-3 is the probe of Zhu et al. 2025."""
    permutations: int = 20
    """Times that the updates are shuffled within matrix and exponent; at least 2."""
    gaussian_draws: int = 5
    """How many dense Gaussian updates and matrices of equal norm are drawn; at least 2."""
    null_entries: int = 1 << 18
    """Entries of a tensor that the nulls use; of a larger tensor a random block of whole rows."""
    spectrum_side: int = 4096
    """The whole spectrum is computed where the smaller side is at most this; beyond it only the stable rank."""
    per_tensor: bool = True
    """Whether each tensor is measured by itself, or only the totals."""

    @property
    def labels(self) -> tuple[tuple[str, dict[str, Parameter]], ...]:
        """What is counted among entries: ``(name, parameters)`` in the order of :func:`entry_shares`."""
        return (
            ("update_visible", {}),
            ("update_zero", {}),
            *(("update_within", {"tolerance": t, "relative": False}) for t in self.tolerances),
            *(("update_within", {"tolerance": t, "relative": True}) for t in self.relative),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class WithNull:
    """A value and the same under a null, draw by draw."""

    value: float
    null: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class TensorUpdate:
    """The update of one tensor.

    Args:
        name: of the tensor.
        limited: exists only in bf16 or fp16 on one side.
        n: entries counted (untouched vocabulary rows left out).
        untouched_rows, vocabulary_rows: rows whose update is exactly 0, and all rows; 0 and 0 where rows are
            not tokens or the pair is limited.
        shares: of the entries, in the order of ``config.labels``, float64 ``[label]``; NaN where ``n`` is 0.
        gaussian: the same for dense Gaussian updates of equal norm, ``[draw, label]``.
        permuted: the visible share when the updates are shuffled within exponents, ``[permutation]``.
        rows, columns: Gini of the update's energy over rows and columns, against the same permutations; None
            where the tensor is no matrix.
        stable, entropy: ranks against Gaussian matrices; None where the tensor is no matrix, NaN above the cap.
        side: the smaller side of the matrix; 0 where it is none.
        sizes: absolute values of the update.
        base_energy: sum of squared base weights.
    """

    name: str
    limited: bool
    n: int
    untouched_rows: int
    vocabulary_rows: int
    shares: NDArray[np.float64]
    gaussian: NDArray[np.float64]
    permuted: NDArray[np.float64]
    rows: WithNull | None
    columns: WithNull | None
    stable: WithNull | None
    entropy: WithNull | None
    side: int
    sizes: Magnitudes
    base_energy: float


def describe_update(pair: WeightPair, config: UpdateGeometryConfig, streams: Streams) -> TensorUpdate:
    """Describe the update of one tensor.

    Args:
        pair: before and after.
        config: how closely.
        streams: for the nulls; the tensor's name is added here.
    """
    base, tuned = _as_matrix(pair.base), _as_matrix(pair.tuned)
    untouched = 0
    if pair.vocabulary and not pair.limited:
        touched = (base != tuned).any(axis=1)
        untouched = int((~touched).sum())
        if untouched:
            base, tuned = base[touched], tuned[touched]
    delta = tuned - base
    streams = streams.child(pair.name)
    sizes = Magnitudes.of(delta)
    rows = _block_rows(delta.shape, config.null_entries, streams.generator("block"))
    piece, moved = base[rows], delta[rows]
    permuted, by_row, by_column = _permuted(piece, moved, config, streams.generator("permute"))
    is_matrix = pair.base.ndim >= 2 and min(delta.shape) >= 2
    stable, entropy = _ranks(delta, sizes, config, streams) if is_matrix else (None, None)
    shares = entry_shares(base, tuned, config)
    on_block = entry_shares(piece, apply(piece, moved), config)[VISIBLE]
    return TensorUpdate(
        name=pair.name,
        limited=pair.limited,
        n=delta.size,
        untouched_rows=untouched,
        vocabulary_rows=len(pair.base) if pair.vocabulary and not pair.limited else 0,
        shares=shares,
        gaussian=_gaussian(piece, sizes, config, streams.generator("gaussian")),
        # The block stands for the whole tensor: what shuffling changes there is added to the whole's share.
        permuted=shares[VISIBLE] + (permuted - on_block),
        rows=by_row if is_matrix else None,
        columns=by_column if is_matrix else None,
        stable=stable,
        entropy=entropy,
        side=min(delta.shape) if is_matrix else 0,
        sizes=sizes,
        base_energy=Magnitudes.of(base).energy,
    )


def entry_shares(
    base: NDArray[np.float32], tuned: NDArray[np.float32], config: UpdateGeometryConfig
) -> NDArray[np.float64]:
    """Shares of entries that are bf16-visible, exactly unchanged, and within each tolerance.

    Args:
        base: weights, any shape.
        tuned: the same shape.
        config: the tolerances.

    Returns:
        float64 ``[label]`` in the order of ``config.labels``; NaN where there is no entry.
    """
    before, after = base.ravel(), tuned.ravel()
    counts = np.zeros(len(config.labels), dtype=np.int64)
    for start in range(0, before.size, _PIECE):
        w, v = before[start : start + _PIECE], after[start : start + _PIECE]
        change = np.abs(v - w)
        size = np.maximum(np.abs(w), np.abs(v))
        counts += [
            int(visible(w, v).sum()),
            int((change == 0).sum()),
            *(int((change <= tolerance).sum()) for tolerance in config.tolerances),
            *(int((change <= tolerance * size).sum()) for tolerance in config.relative),
        ]
    return counts / before.size if before.size else np.full(len(counts), np.nan)


def _as_matrix(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values.reshape(values.shape[0], -1) if values.ndim else values.reshape(1, 1)


def _block_rows(
    shape: tuple[int, ...], entries: int, generator: np.random.Generator
) -> slice | NDArray[np.int64]:
    """All rows of a small matrix, random ones (in their order) of a large one."""
    rows, cols = shape
    if rows * cols <= entries:
        return slice(None)
    return np.sort(generator.choice(rows, size=min(rows, max(2, entries // cols)), replace=False))


def _permuted(
    base: NDArray[np.float32],
    delta: NDArray[np.float32],
    config: UpdateGeometryConfig,
    generator: np.random.Generator,
) -> tuple[NDArray[np.float64], WithNull, WithNull]:
    """Visible share, and spread over rows and columns, when the updates are shuffled within exponents."""
    nulls = np.full((config.permutations, 3), np.nan)
    if delta.size:
        for draw, shuffled in enumerate(permuted_within_exponent(base, delta, generator, config.permutations)):
            nulls[draw] = visible(base, apply(base, shuffled)).mean(), *spread(shuffled)
    by_row, by_column = spread(delta)
    return nulls[:, 0], WithNull(value=by_row, null=nulls[:, 1]), WithNull(value=by_column, null=nulls[:, 2])


def spread(delta: NDArray[np.float32]) -> tuple[float, float]:
    """Gini of the energy ``sum d^2`` over rows and over columns; NaN where nothing moved."""
    square = delta.astype(np.float64) ** 2
    return gini(lorenz(square.sum(axis=1))), gini(lorenz(square.sum(axis=0)))


def _gaussian(
    base: NDArray[np.float32], sizes: Magnitudes, config: UpdateGeometryConfig, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Entry shares of dense i.i.d. Gaussian updates with the norm of the real one, ``[draw, label]``."""
    out = np.full((config.gaussian_draws, len(config.labels)), np.nan)
    if base.size:
        rms = np.float32(math.sqrt(sizes.energy / sizes.n))
        for draw in range(config.gaussian_draws):
            moved = np.multiply(rms, generator.standard_normal(base.shape, dtype=np.float32))
            out[draw] = entry_shares(base, apply(base, moved), config)
    return out


def _ranks(
    delta: NDArray[np.float32], sizes: Magnitudes, config: UpdateGeometryConfig, streams: Streams
) -> tuple[WithNull, WithNull]:
    """Stable and entropy rank beside those of Gaussian matrices of the same shape."""
    rows, cols = delta.shape
    null = gaussian_ranks((rows, cols), streams.generator("ranks"), config.gaussian_draws)
    if not sizes.energy > 0:
        stable = entropy = math.nan
    elif min(rows, cols) <= config.spectrum_side:
        squares = energies(delta)
        stable, entropy = stable_rank(squares), entropy_rank(squares)
    else:
        stable = sizes.energy / largest_energy(delta, streams.generator("lanczos"))
        entropy = math.nan
    return WithNull(value=stable, null=null[:, 0]), WithNull(value=entropy, null=null[:, 1])
