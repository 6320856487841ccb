"""Entropy, in nats, of a distribution, estimated from n draws.

With counts ``f_a`` (``n = sum f_a``), ``m`` values seen and ``s`` of them seen once:

    plug-in        H = -sum (f/n) log(f/n)                        biased low by about (m - 1) / 2n
    Miller-Madow   H + (m - 1) / 2n
    Chao-Shen      -sum C f/n log(C f/n) / (1 - (1 - C f/n)^n),   coverage C = 1 - s/n

Denominator: the draws. Degenerate: no draw gives NaN; if every value was seen once, the coverage would be 0, so
``s = n - 1`` is used (Chao and Shen's convention). Known bias: each stays biased if most values are unseen, so
two policies are compared at equal n and with a replicate.

Source: Miller 1955 (Miller-Madow); Chao and Shen 2003, "Nonparametric estimation of Shannon's index of
diversity when there are unseen species in sample", equation 6.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def plug_in_entropy(counts: ArrayLike) -> NDArray[np.float64]:
    """Plug-in entropy over the last axis; zero counts are padding."""
    frequency = _frequencies(counts)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(frequency > 0, frequency * np.log(frequency), 0.0)
    return np.where(np.isnan(frequency).any(axis=-1), np.nan, -terms.sum(axis=-1) + 0.0)


def miller_madow_entropy(counts: ArrayLike) -> NDArray[np.float64]:
    """Miller-Madow entropy over the last axis; zero counts are padding."""
    table = np.asarray(counts, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        correction = ((table > 0).sum(axis=-1) - 1) / (2 * table.sum(axis=-1))
    return plug_in_entropy(table) + correction


def chao_shen_entropy(counts: ArrayLike) -> NDArray[np.float64]:
    """Chao-Shen entropy over the last axis; zero counts are padding."""
    table = np.asarray(counts, dtype=np.float64)
    n = table.sum(axis=-1, keepdims=True)
    once = (table == 1).sum(axis=-1, keepdims=True).astype(np.float64)
    once = np.where((once == n) & (n > 1), n - 1, np.where(n == 1, 0.0, once))
    with np.errstate(divide="ignore", invalid="ignore"):
        covered = (1 - once / n) * table / n
        seen = -np.expm1(n * np.log1p(-covered))
        terms = np.where(table > 0, covered * np.log(covered) / seen, 0.0)
    terms = np.where(covered == 1, 0.0, terms)
    return np.where(n[..., 0] > 0, -terms.sum(axis=-1) + 0.0, np.nan)


def _frequencies(counts: ArrayLike) -> NDArray[np.float64]:
    table = np.asarray(counts, dtype=np.float64)
    if np.any(table < 0):
        raise ValueError("counts cannot be negative")
    with np.errstate(divide="ignore", invalid="ignore"):
        return table / table.sum(axis=-1, keepdims=True)
