"""Evidence that draws are copies, against the hypothesis that they are draws.

Independent draws of one problem may come from any distribution whatever, also from one that nearly always gives
the same text. What they cannot have is an order: given which texts came, every arrangement is equally probable,
or, where a file was sorted by something that follows from the text (the text itself, its verdict, its length,
its score), every arrangement of the draws that share one value of it. Each function here bets on a pattern of
copies and returns the logarithm of what one unit of stakes became (an e-value: its expectation is at most 1 for
independent draws of *any* policy). By Markov's inequality ``P(e >= 1/a) <= a``, for mixtures of patterns and
products over problems as well, so that no distribution of texts has to be known or estimated.

Source: test martingales (Vovk and Wang 2021, "E-values"; Shafer 2021, "Testing by betting"); the bets are
ours.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from math import lgamma, log

import numpy as np
from numpy.typing import NDArray

UNLIKE = 0.1
"""Share of copies whose text is allowed to differ: one seed twice on a GPU gives other roundings in other
batches, and texts part where two tokens are nearly tied."""

GREATEST = 512
"""Pairs of texts that came more often together are left aside: their bounds take long to reckon."""

_STEP = 0.02
"""Distance of the log odds at which :func:`split_bound` looks for its maximum."""


def order_evidence(labels: Sequence[int], source: Sequence[int]) -> float:
    """Log e-value of "these draws repeat those", for one problem.

    Draws are uncovered source by source, each followed by what is said to copy it. Before a copy is uncovered
    the chance that it equals its source is known exactly from what is left of its pool (:func:`pools`); the
    stakes are divided between equal and different in proportion to what copies would do.

    Args:
        labels: which text each draw has, ``[draw]``.
        source: index of the draw that each copies, -1 for a draw that copies none, ``[draw]``. A source
            copies none itself.
    """
    copies: dict[int, list[int]] = defaultdict(list)
    for draw, original in enumerate(source):
        if original >= 0:
            copies[original].append(draw)
    pool = pools(labels)
    left, total, gained = Counter(labels), Counter(pool), 0.0
    for original, repeated in copies.items():
        text = labels[original]
        left[text] -= 1
        total[pool[original]] -= 1
        for draw in repeated:
            gained += _bet(left[text] / total[pool[draw]], labels[draw] == text)
            left[labels[draw]] -= 1
            total[pool[draw]] -= 1
    return gained


def pools(labels: Sequence[int]) -> list[int]:
    """Which draws of a problem may have changed places, had the file been sorted by something of the texts.

    Places between which no text returns part the draws as finely as any such order can. A copy that equals its
    source lies in one part with it, and the finer the part, the greater the chance of that: what is won from
    the finest parts is at most what is won from those of the true order, whichever it was. Neighbouring texts
    that came once stay together: nothing of theirs can be repeated, and a file whose texts all differ shows no
    sign of having been sorted.

    Args:
        labels: which text each draw has, ``[draw]``.

    Returns:
        the number of each draw's part, ``[draw]``.
    """
    last = {label: draw for draw, label in enumerate(labels)}
    parts: list[list[int]] = []
    until = -1
    for draw, label in enumerate(labels):
        if draw > until:
            parts.append([])
        parts[-1].append(draw)
        until = max(until, last[label])
    number, found = -1, []
    for before, part in zip([[], *parts], parts, strict=False):
        number += not (len(before) == len(part) == 1)
        found += [number] * len(part)
    return found


def same_place_evidence(base: Sequence[int], tuned: Sequence[int]) -> float:
    """Log e-value of "the tuned draws are the base's, one by one", for one problem.

    Args:
        base: which text each draw of one policy has, ``[draw]``.
        tuned: the same of the other, ``[draw]``; their numbers may differ.
    """
    pool = pools(tuned)
    left, total, gained = Counter(tuned), Counter(pool), 0.0
    for part, ours, theirs in zip(pool, base, tuned, strict=False):
        gained += _bet(left[ours] / total[part], ours == theirs)
        left[theirs] -= 1
        total[part] -= 1
    return gained


def same_texts_evidence(base: Sequence[int], tuned: Sequence[int]) -> float:
    """Log e-value of "both policies gave the same texts equally often, in any order", for one problem.

    Given how often each text came in both together, an even split of every one of them is most probable
    where both policies are one; that probability is the stake.

    Returns:
        ``-inf`` where the texts or their numbers differ.
    """
    ours = Counter(base)
    if ours != Counter(tuned):
        return -np.inf
    return _log_choose(2 * len(base)) - sum(_log_choose(2 * n) for n in ours.values())


def multiplicity_evidence(first: NDArray, second: NDArray, m: int) -> NDArray[np.float64]:
    """Log e-values of "every text came a multiple of m times", whatever the order, for pairs of texts.

    Given that two texts of a problem came ``s`` times together, each at least once, how they share ``s`` is a
    binomial split for some unknown odds. Nothing is staked unless ``s`` is a multiple of m, at least
    2m and at most :data:`GREATEST`; then the chance that both are multiples of m is at most
    :func:`split_bound`, whatever the odds. The pairs of a problem must be disjoint and formed without a look
    at the numbers; then their splits are independent. The same bound holds for
    two neighbouring rows of equal texts, whether the file is sorted (the same binomial split) or in the order
    of drawing (a geometric one, which gives multiples more seldom).

    Args:
        first: how often the first text of each pair came, int ``[pair]``.
        second: the same of the second, int ``[pair]``.
        m: at least 2.
    """
    together = first + second
    staked = (together % m == 0) & (together >= 2 * m) & (together <= GREATEST)
    chances = {int(s): split_bound(int(s), m) for s in np.unique(together[staked])}
    chance = np.array([chances.get(int(s), 0.5) for s in together])
    won, lost = np.log((1 - UNLIKE) / chance), np.log(UNLIKE / (1 - chance))
    return np.where(staked, np.where(first % m == 0, won, lost), 0.0)


def split_bound(s: int, m: int) -> float:
    """The greatest chance over all odds that two texts which came ``s`` times together came multiples of m.

    Args:
        s: a multiple of m, at least 2m and at most :data:`GREATEST`.
        m: at least 2.
    """
    return _bounds(s)[m]


@cache
def _bounds(s: int) -> dict[int, float]:
    """The bound for every m that divides s at least twice."""
    counts = np.arange(1, s)
    log_odds = np.arange(-8.0, 8.0, _STEP)
    weights = _log_choose_all(s)[1:-1] + counts * log_odds[:, None]
    weights = np.exp(weights - weights.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    # The curvature of the logarithm is a variance, at most s/4: so much may lie between two points.
    between = float(np.exp(_STEP**2 * s / 32))
    divisors = [m for m in range(2, s // 2 + 1) if s % m == 0]
    return {m: between * float(weights[:, m - 1 :: m].sum(axis=1).max()) for m in divisors}


def mixed(evidence: NDArray[np.float64], unaffected: float) -> float:
    """Log e-value over problems of which a share does not follow the pattern.

    Args:
        evidence: log e-value of each problem, ``[problem]``.
        unaffected: the share that is taken to be drawn as it should be.
    """
    return float(np.logaddexp(np.log(unaffected), np.log1p(-unaffected) + evidence).sum())


def collisions(counts: Iterable[int]) -> float:
    """Chance that two different draws of a problem have the same text; 1 for a single draw."""
    sizes = np.fromiter(counts, dtype=np.float64)
    n = sizes.sum()
    return 1.0 if n < 2 else float((sizes * (sizes - 1)).sum() / (n * (n - 1)))


def _bet(chance: float, equal: bool) -> float:
    """What a stake becomes, in logs: a copy equals its source except in a share ``UNLIKE`` of cases.

    ``chance`` does not matter where they differ, so it need be right only where they are equal.
    """
    if not equal:
        return log(UNLIKE)
    return log(chance + (1 - chance) * (1 - UNLIKE)) - log(chance)


def _log_choose(even: int) -> float:
    """Log of the central binomial coefficient."""
    return lgamma(even + 1) - 2 * lgamma(even // 2 + 1)


def _log_choose_all(n: int) -> NDArray[np.float64]:
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    return factorials[n] - factorials - factorials[::-1]
