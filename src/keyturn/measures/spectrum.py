"""How many directions an update matrix uses: stable rank, entropy rank and their Gaussian null.

Source: stable rank, Rudelson and Vershynin 2007; entropy (effective) rank, Roy and Vetterli 2007; the scaling
of the null, Marchenko and Pastur 1967.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

_PIECE = 1 << 22
_NULL_SIDE = 256


def energies(delta: NDArray[np.float32]) -> NDArray[np.float64]:
    """Squared singular values, largest first, float64 ``[min(row, col)]``.

    They are the eigenvalues of the Gram matrix of the smaller side, added up in float64 over pieces of the
    larger one, so that nothing of the size of ``delta`` is copied.
    """
    tall = delta if delta.shape[0] >= delta.shape[1] else delta.T
    side = tall.shape[1]
    gram = np.zeros((side, side))
    step = max(1, _PIECE // max(side, 1))
    for start in range(0, tall.shape[0], step):
        piece = tall[start : start + step].astype(np.float64)
        gram += piece.T @ piece
    return np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0).astype(np.float64)


def largest_energy(delta: NDArray[np.float32], generator: np.random.Generator) -> float:
    """The square of the largest singular value by Lanczos iteration, for matrices too large for all of them."""
    start = generator.standard_normal(min(delta.shape)).astype(delta.dtype)
    values = svds(delta, k=1, v0=start, return_singular_vectors=False)
    return float(np.max(np.asarray(values))) ** 2


def stable_rank(squares: NDArray[np.float64]) -> float:
    """``||D||_F^2 / ||D||_2^2`` of squared singular values; NaN where all are 0."""
    return float(squares.sum() / squares.max()) if squares.size and squares.max() > 0 else float("nan")


def entropy_rank(squares: NDArray[np.float64]) -> float:
    """``exp(H(s^2 / sum s^2))`` with natural logarithms; NaN where all are 0."""
    total = squares.sum() if squares.size else 0.0
    if not total > 0:
        return float("nan")
    share = squares[squares > 0] / total
    return float(np.exp(-(share * np.log(share)).sum()))


def gaussian_ranks(shape: tuple[int, int], generator: np.random.Generator, draws: int) -> NDArray[np.float64]:
    """Stable and entropy rank of i.i.d. Gaussian matrices, ``[draw, 2]``.

    Both are free of the norm. As shares of the smaller side they depend only on the ratio of the sides (the
    Marchenko-Pastur law), so matrices with a side above 256 are drawn smaller, with that ratio, and scaled.
    """
    side = min(shape)
    shrink = min(1.0, _NULL_SIDE / side)
    rows, cols = (max(1, round(size * shrink)) for size in shape)
    scale = side / min(rows, cols)
    out = np.empty((draws, 2))
    for draw in range(draws):
        squares = energies(generator.standard_normal((rows, cols), dtype=np.float32))
        out[draw] = stable_rank(squares) * scale, entropy_rank(squares) * scale
    return out
