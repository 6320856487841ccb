"""What the rungs of the causal ladder are held against: areas within problems, other directions, a patch.

Areas are taken within problems: the share of pairs of a draw that shows the behaviour and one that does not,
both of one problem, in which the first has the larger score (ties count half). So a direction that only knows
which problems are easy has an area of .5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keyturn.core.lazy import torch
from keyturn.policies.sites import Places

SHUFFLES = 200
"""Of the labels, for the null of an area."""
HALVINGS, STEEPEST = 60, 64.0
"""The search for a direction of given second moment: halvings, and the largest power that is tried."""


def areas_within(
    score: NDArray[np.floating], shown: NDArray[np.bool_], problem: NDArray[np.integer], count: int
) -> NDArray[np.float64]:
    """Area under the curve of each problem, NaN where its draws are all of one kind: ``[problem]``.

    Args:
        score: of each draw.
        shown: whether it shows the behaviour.
        problem: its problem, below ``count``.
        count: number of problems.
    """
    found = np.full(count, np.nan)
    for index in range(count):
        own = problem == index
        yes, no = score[own & shown], score[own & ~shown]
        if len(yes) and len(no):
            above = yes[:, None] - no[None, :]
            found[index] = float(((above > 0) + (above == 0) / 2).mean())
    return found


def shuffled_areas(
    score: NDArray[np.floating],
    shown: NDArray[np.bool_],
    problem: NDArray[np.integer],
    count: int,
    dice: np.random.Generator,
) -> NDArray[np.float64]:
    """Mean areas with the labels permuted within each problem, ``[shuffle]``."""
    home = np.argsort(np.argsort(problem, kind="stable"))
    mixed = (shown[np.lexsort((dice.random(len(shown)), problem))][home] for _ in range(SHUFFLES))
    return np.array([float(np.nanmean(areas_within(score, one, problem, count))) for one in mixed])


def axes_apart(states: NDArray[np.floating], vector: NDArray[np.floating], count: int) -> NDArray[np.float64]:
    """The first principal axes of states once their part along a unit vector is gone, ``[axis, dim]``: other
    features of the same states.

    Args:
        states: ``[state, dim]``.
        vector: ``[dim]``, of length 1.
        count: number of axes, at most ``dim - 1``.
    """
    rest = states - np.outer(states @ vector, vector)
    rest = rest - rest.mean(axis=0)
    axes = np.linalg.eigh(rest.T @ rest)[1][:, ::-1].T
    return axes[: min(count, len(vector) - 1)]


def alike(
    states: NDArray[np.floating], vector: NDArray[np.floating], count: int, dice: np.random.Generator
) -> NDArray[np.float64]:
    """Random unit directions at right angles to a vector along which states have its second moment.

    With ``S`` the second moment of states without their part along ``v``, and ``r`` random::

        u = S^p r / |S^p r|,   p such that u'Su = E (h.v)^2

    ``u'Su`` grows with p. Where no direction has so large a moment, u is near the one that has the largest.

    Args:
        states: ``[state, dim]``.
        vector: ``[dim]``, of length 1.
        count: number of directions.
        dice: draws ``r``.
    """
    along = states @ vector
    rest = states - np.outer(along, vector)
    moment, axes = np.linalg.eigh(rest.T @ rest / len(states))
    # The smallest one is that of the vector itself, 0.
    moment, axes = np.maximum(moment[1:], 0.0), axes[:, 1:]
    shares = moment / max(float(moment.max()), np.finfo(float).tiny)
    logs, wanted = np.log(np.maximum(shares, 1e-300)), float((along**2).mean())

    def turned(power: float, start: NDArray[np.float64]) -> NDArray[np.float64]:
        weights = power * logs
        found = np.exp(weights - weights.max()) * start
        return found / np.linalg.norm(found)

    out = []
    for _ in range(count):
        start, low, high = dice.normal(size=len(moment)), -STEEPEST, STEEPEST
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            less = float(turned(middle, start) ** 2 @ moment) < wanted
            low, high = (middle, high) if less else (low, middle)
        out.append(axes @ turned((low + high) / 2, start))
    return np.array(out)


@dataclass(frozen=True, kw_only=True, eq=False)
class Patched:
    """Gives hidden states of written tokens the part along a vector that another run had at the same place.

    Args:
        vector: ``[dim]``, of length 1.
        table: that run's parts, problem by problem and written place by place, ``[problem, place]``.
    """

    vector: NDArray[np.float64]
    table: NDArray[np.float64]

    def __call__(self, hidden: Any, places: Places) -> Any:
        """Hidden states with the other run's part."""
        unit = torch.as_tensor(self.vector, dtype=hidden.dtype, device=hidden.device)
        table = torch.as_tensor(self.table, dtype=hidden.dtype, device=hidden.device)
        at = (places.position - places.prompt).clamp(0, table.shape[1] - 1)
        wanted = table[places.problem.expand(at.shape), at]
        return hidden + (wanted - hidden @ unit)[..., None] * unit


def parts_of_donors(
    parts: NDArray[np.floating],
    row: NDArray[np.integer],
    place: NDArray[np.integer],
    donors: NDArray[np.integer],
) -> NDArray[np.float64]:
    """The table of :class:`Patched`: parts of one run for each problem, the last one again behind its end.

    Args:
        parts: of every written token.
        row: its row.
        place: its place among the written tokens.
        donors: the row of each problem's run.
    """
    table = np.zeros((len(donors), int(place.max(initial=0)) + 1))
    for index, donor in enumerate(donors.tolist()):
        own = np.flatnonzero(row == donor)
        table[index, place[own]] = parts[own]
        if len(own):
            table[index, place[own[-1]] :] = parts[own[-1]]
    return table
