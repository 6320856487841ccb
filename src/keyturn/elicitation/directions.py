"""Directions in activation space from two sets of hidden states, of unit length.

Formula, for states ``a_i`` of one kind and ``b_j`` of the other::

    mean        mean(a) - mean(b)
    pca         the first principal axis of paired differences a_i - b_i (not centred), pointing to the side of
    a logistic    weights of an L2 logistic regression that tells a from b, states standardised, brought back
    random      a direction drawn at random: the control of every other

Source: difference of means: Rimsky et al. 2023 (2312.06681); paired differences: Zou et al. 2023 (2310.01405).
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeCV

from keyturn.core.errors import InputError
from keyturn.core.streams import Streams

How: TypeAlias = Literal["mean", "pca", "logistic", "random"]

REGULAR = 1.0
"""Inverse strength of the L2 penalty of the logistic regression."""


def direction(
    how: How, positive: NDArray[np.floating], negative: NDArray[np.floating], streams: Streams
) -> NDArray[np.float64]:
    """A unit vector ``[dim]`` that points from ``negative`` to ``positive``.

    Args:
        how: see the module.
        positive, negative: ``[state, dim]``; for ``pca`` row by row a pair.
        streams: draws the random one.

    Raises:
        InputError: the two sets do not differ.
    """
    ours, theirs = np.asarray(positive, dtype=np.float64), np.asarray(negative, dtype=np.float64)
    between = ours.mean(axis=0) - theirs.mean(axis=0)
    if how == "random":
        found = streams.generator("direction").normal(size=ours.shape[1])
    elif how == "mean":
        found = between
    elif how == "pca":
        found = np.linalg.svd(ours - theirs, full_matrices=False)[2][0]
        found = found if found @ between >= 0 else -found
    else:
        both = np.concatenate([ours, theirs])
        found = probe_of(both, np.concatenate([np.ones(len(ours)), np.zeros(len(theirs))]))
    length = float(np.linalg.norm(found))
    if not length > 0:
        raise InputError("the two sets of hidden states do not differ", fix="other texts, or another layer")
    return found / length


def probe_of(states: NDArray[np.floating], labels: NDArray[Any]) -> NDArray[np.float64]:
    """Weights of an L2 logistic regression that tells places apart, standardised and brought back: ``[dim]``.

    Args:
        states: ``[place, dim]``.
        labels: of each place; both kinds occur.
    """
    scale = states.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    fitted = LogisticRegression(C=REGULAR, max_iter=2000).fit((states - states.mean(axis=0)) / scale, labels)
    return fitted.coef_[0] / scale


def kinds_probe(
    states: NDArray[np.floating], kinds: NDArray[np.int64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights ``[kind, dim]`` and constants ``[kind]`` of an L2 multinomial regression, brought back from
    standardised states; a kind that does not occur is never the largest.

    Args:
        states: ``[place, dim]``.
        kinds: of each place.
        count: number of kinds.
    """
    table, constant = np.zeros((count, states.shape[1])), np.full(count, -np.inf)
    present = np.unique(kinds)
    constant[present] = 0.0
    if len(present) < 2:
        return table, constant
    scale = states.std(axis=0)
    scale, mean = np.where(scale > 0, scale, 1.0), states.mean(axis=0)
    fitted = LogisticRegression(C=REGULAR, max_iter=2000).fit((states - mean) / scale, kinds)
    weights, start = fitted.coef_ / scale, fitted.intercept_
    if len(present) == 2:
        weights, start = np.concatenate([-weights, weights]) / 2, np.concatenate([-start, start]) / 2
    table[present], constant[present] = weights, start - weights @ mean
    return table, constant


def benefit_probe(
    states: NDArray[np.floating], benefit: NDArray[np.floating]
) -> tuple[NDArray[np.float64], float]:
    """Weights ``[dim]`` and constant of a ridge regression, its penalty chosen by leaving each problem out.

    Args:
        states: ``[problem, dim]``.
        benefit: ``[problem]``.
    """
    scale = states.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    fitted = RidgeCV(alphas=np.logspace(-1, 5, 13)).fit((states - states.mean(axis=0)) / scale, benefit)
    weights = fitted.coef_ / scale
    return weights, float(fitted.intercept_ - states.mean(axis=0) @ weights)
