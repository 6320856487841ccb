"""Where the boxes of a map stand: few crossings, no overlaps, and the same place every time.

Stress layout (Kamada and Kawai, by networkx) gives the shape, pushing boxes apart gives room, and a search over
small moves removes crossings and lines that run under a box. Positions that are known already stay where
they are: a new box starts at the barycentre of its neighbours and gives way to those that were there before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import networkx
import numpy as np
from numpy.typing import NDArray

from keyturn.core.streams import Streams
from keyturn.report.svg import Point
from keyturn.site.boxes import Box

GAP = 18.0
"""Least distance between two boxes."""
Links = Sequence[tuple[str, str]]
_Array = NDArray[np.float64]


def place(
    boxes: Sequence[Box], links: Links, known: Mapping[str, Point], *, width: float, moves: int = 0
) -> dict[str, Point]:
    """Middle of every box, rounded to whole units, so that a file holds it without loss.

    Args:
        boxes: what to place.
        links: pairs of ids that are joined; others are ignored.
        known: middles of boxes that do not move, ids that are gone are ignored.
        width: of the drawing; it grows downwards.
        moves: how many moves the search tries; it makes the map calmer and takes a second for some 5,000.
    """
    if not boxes:
        return {}
    kept = {box.id: known[box.id] for box in boxes if box.id in known}
    frame = _Frame(boxes, links, width)
    if 2 * len(kept) < len(boxes):
        kept = {}
        frame.stress()
    else:
        frame.start(kept)
    moving = np.array([box.id not in kept for box in boxes])
    frame.push(moving)
    if moves:
        frame.search(moves)
        frame.push(moving)
    if not kept:
        frame.at[:, 1] -= (frame.at[:, 1] - frame.half[:, 1]).min() - GAP
    return {box.id: (float(round(x)), float(round(y))) for box, (x, y) in zip(boxes, frame.at, strict=True)}


class _Frame:
    """Middles ``at`` and half sizes ``half`` of the boxes, ``[box, x or y]``, and which pairs are linked."""

    def __init__(self, boxes: Sequence[Box], links: Links, width: float) -> None:
        self.index = {box.id: i for i, box in enumerate(boxes)}
        self.half: _Array = np.array([[box.width / 2, box.height / 2] for box in boxes])
        self.at: _Array = np.zeros_like(self.half)
        pairs = {tuple(sorted((a, b))) for a, b in links if a in self.index and b in self.index and a != b}
        self.pairs = np.array([[self.index[a], self.index[b]] for a, b in sorted(pairs)], dtype=int).reshape(
            -1, 2
        )
        # Lines that share a box never cross, and a line does not run under its own ends.
        self.apart = ~(self.pairs[:, None, :, None] == self.pairs[None, :, None, :]).any(axis=(2, 3))
        self.foreign = ~(self.pairs[:, :, None] == np.arange(len(self.at))[None, None]).any(axis=1)
        self.width = width
        area = float((4 * self.half[:, 0] * self.half[:, 1]).sum())
        self.height = max(2.5 * area / width, float(2 * self.half[:, 1].max() + 2 * GAP))

    def stress(self) -> None:
        """Place all by distance in the graph, the long axis across, filling the drawing."""
        graph = networkx.Graph()
        graph.add_nodes_from(range(len(self.at)))
        graph.add_edges_from((int(a), int(b)) for a, b in self.pairs)
        parts = [sorted(part) for part in networkx.connected_components(graph)]
        for part, other in zip(sorted(parts, key=len, reverse=True), parts[1:], strict=False):
            graph.add_edge(part[0], other[0])  # what nothing joins stands near all the same
        placed = networkx.kamada_kawai_layout(graph)
        found = np.array([placed[i] for i in range(len(self.at))])
        found -= found.mean(axis=0)
        axes = np.linalg.svd(found, full_matrices=False)[2]
        axes *= np.where(axes[:, np.abs(axes).argmax(axis=1)].diagonal() < 0, -1.0, 1.0)[:, None]
        found = found @ axes.T
        low, high = found.min(axis=0), found.max(axis=0)
        span = np.maximum(high - low, 1e-9)
        room = np.array([self.width, self.height]) - 2 * self.half.max(axis=0) - 2 * GAP
        self.at = (found - low) / span * room + self.half.max(axis=0) + GAP

    def start(self, kept: Mapping[str, Point]) -> None:
        """Known places, and the barycentre of their neighbours for the others, in the order of their ids."""
        known = {self.index[name]: np.array(point) for name, point in kept.items()}
        self.height = max(self.height, max(y for _, y in kept.values()) + GAP + float(self.half[:, 1].max()))
        for name in sorted(self.index):
            i = self.index[name]
            if i not in known:
                near = [known[j] for a, b in self.pairs for j in (a, b) if i in (a, b) and j in known]
                known[i] = np.mean(near, axis=0) if near else np.array([self.width / 2, self.height])
        self.at = np.array([known[i] for i in range(len(self.at))], dtype=float)

    def push(self, moving: NDArray[np.bool_]) -> None:
        """Push boxes apart until none overlap; those that do not move are gone around."""
        for turn in range(600):
            a, b, depth = self._overlaps(self.at)
            if not len(a):
                return
            for i, j, (across, along) in zip(a, b, depth, strict=True):
                axis = 0 if across < along and turn < 400 else 1
                amount = (across, along)[axis] + 0.5
                sign = 1.0 if self.at[j, axis] >= self.at[i, axis] else -1.0
                free = float(moving[i]) + float(moving[j])
                if free:
                    self.at[i, axis] -= sign * amount * float(moving[i]) / free
                    self.at[j, axis] += sign * amount * float(moving[j]) / free
            low = self.half[:, 0] + 1
            self.at[moving, 0] = np.clip(self.at[:, 0], low, self.width - low)[moving]

    def search(self, moves: int) -> None:
        """Try small moves and exchanges, and keep what makes the map calmer (annealing with a fixed stream)."""
        generator = Streams(0).generator("map")
        low, high = self.half + 1, np.array([self.width, self.height]) - self.half - 1
        self.at = np.clip(self.at, low, high)
        cost = self._cost(self.at)
        best, least = self.at.copy(), cost
        for step in range(moves):
            heat = 10.0 * (1 - step / moves) ** 2
            tried = self.at.copy()
            i = int(generator.integers(len(tried)))
            if generator.random() < 0.25:
                j = int(generator.integers(len(tried)))
                tried[[i, j]] = tried[[j, i]]
            else:
                reach = 260 * (1 - step / moves) + 20
                tried[i] += generator.normal(size=2) * reach
            tried = np.clip(tried, low, high)
            now = self._cost(tried)
            if now < cost or generator.random() < math.exp((cost - now) / max(heat, 1e-9)):
                self.at, cost = tried, now
                if cost < least:
                    best, least = self.at.copy(), cost
        self.at = best

    def _cost(self, at: _Array) -> float:
        _, _, depth = self._overlaps(at)
        starts, ends = at[self.pairs[:, 0]], at[self.pairs[:, 1]]
        length = np.linalg.norm(ends - starts, axis=1)
        crowded = float(np.minimum(depth[:, 0], depth[:, 1]).sum()) if len(depth) else 0.0
        return (
            0.5 * crowded
            + 6.0 * crossings(starts, ends, self.apart)
            + 7.0 * covered(starts, ends, self.foreign, at, self.half)
            + float((length / 150).sum())
        )

    def _overlaps(self, at: _Array) -> tuple[NDArray[np.int64], NDArray[np.int64], _Array]:
        """Pairs of boxes that are too near, and by how much, ``[pair, x or y]``."""
        depth = self.half[:, None] + self.half[None] + GAP - np.abs(at[:, None] - at[None])
        near = np.triu((depth > 0).all(axis=2), 1)
        a, b = np.nonzero(near)
        return a, b, depth[a, b]


def crossings(starts: _Array, ends: _Array, apart: NDArray[np.bool_]) -> int:
    """How many pairs of lines cross; ``apart`` says which pairs ``[line, line]`` share no end."""
    step = ends - starts
    # Twice the signed area of (line, start of the other) and (line, end of the other), [line, other].
    first = np.multiply.outer(step[:, 0], starts[:, 1]) - np.multiply.outer(step[:, 1], starts[:, 0])
    last = np.multiply.outer(step[:, 0], ends[:, 1]) - np.multiply.outer(step[:, 1], ends[:, 0])
    own = (step[:, 0] * starts[:, 1] - step[:, 1] * starts[:, 0])[:, None]
    parted = (first - own) * (last - own) < 0
    return int((parted & parted.T & apart).sum()) // 2


def covered(starts: _Array, ends: _Array, foreign: NDArray[np.bool_], at: _Array, half: _Array) -> int:
    """How often a line runs under a box; ``foreign`` says which boxes are not its ends, ``[line, box]``."""
    step = ends - starts
    safe = np.where(np.abs(step) < 1e-9, 1e-9, step)
    near = (at[None] - half[None] - 4 - starts[:, None]) / safe[:, None]
    far = (at[None] + half[None] + 4 - starts[:, None]) / safe[:, None]
    enter = np.minimum(near, far).max(axis=2)
    leave = np.maximum(near, far).min(axis=2)
    return int(((enter < leave) & (leave > 0) & (enter < 1) & foreign).sum())
