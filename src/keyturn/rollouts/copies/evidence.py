"""Evidence that draws are copies, tested against the hypothesis that they are independent.

Independent draws of one problem may come from any distribution, even from one that nearly always gives the same
text. But they cannot have an order: given the texts that occurred, every arrangement is equally probable. If a
file was sorted by a function of the text (the text itself, its verdict, its length, its score), this holds for
the draws that share one value of it. Each function here bets on a pattern of copies and returns the logarithm
of the payoff of one unit of stakes (an e-value: its expectation is at most 1 for independent draws of *any*
policy). By Markov's inequality ``P(e >= 1/a) <= a``. This also holds for mixtures of patterns and products over
problems, so no distribution of texts has to be known or estimated.

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
"""Share of copies whose text may differ: the same seed on a GPU rounds differently in other batches, so texts
diverge where two tokens are nearly tied."""

GREATEST = 512
"""Greatest number of occurrences of a pair of texts together; more are ignored, since their bounds are slow."""

_STEP = 0.02
"""Distance of the log odds at which :func:`split_bound` looks for its maximum."""


def order_evidence(labels: Sequence[int], source: Sequence[int]) -> float:
    """Log e-value of "these draws repeat those", for one problem.

    Draws are revealed source by source, each followed by its supposed copies. Before a copy is revealed, the
    probability that it equals its source is known exactly from the rest of its pool (:func:`pools`). The stakes
    are divided between equal and different in the proportion that copies would have.

    Args:
        labels: number of each draw's text, ``[draw]``.
        source: index of the draw that each one copies, -1 for none, ``[draw]``. A source copies none itself.
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
    """Parts of a problem's draws that may have changed places if the file was sorted by some property of the
    texts.

    The draws are cut at every place after which no earlier text returns, which is as finely as any such order
    can cut them. A copy that equals its source is in one part with it, and the finer the part, the greater the
    chance of that. So the payoff from the finest parts is at most that from the parts of the true order,
    whichever it was. Neighbouring texts that occur once stay together: they cannot be repeats, and a file whose
    texts all differ shows no sign of sorting.

    Args:
        labels: number of each draw's text, ``[draw]``.

    Returns:
        The number of each draw's part, ``[draw]``.
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
        base: number of each draw's text for one policy, ``[draw]``.
        tuned: the same for the other policy, ``[draw]``; the numbers of draws may differ.
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

    Given how often each text occurs in both together, an even split of each is most probable if both policies
    are the same; that probability is the stake.

    Returns:
        ``-inf`` if the texts or their numbers differ.
    """
    ours = Counter(base)
    if ours != Counter(tuned):
        return -np.inf
    return _log_choose(2 * len(base)) - sum(_log_choose(2 * n) for n in ours.values())


def multiplicity_evidence(first: NDArray, second: NDArray, m: int) -> NDArray[np.float64]:
    """Log e-values of "every text occurs a multiple of m times", whatever the order, for pairs of texts.

    Given that two texts of a problem occur ``s`` times together, each at least once, the split of ``s`` between
    them is binomial with unknown odds. Nothing is staked unless ``s`` is a multiple of m, at least 2m and at
    most :data:`GREATEST`. Then the probability that both are multiples of m is at most :func:`split_bound`,
    whatever the odds. The pairs of a problem must be disjoint and formed without looking at the numbers, so
    that their splits are independent. The same bound holds for two neighbouring runs of equal texts, whether
    the file is sorted (the same binomial split) or in the order of drawing (a geometric split, which gives
    multiples less often).

    Args:
        first: how often the first text of each pair occurs, int ``[pair]``.
        second: the same for the second text, int ``[pair]``.
        m: at least 2.
    """
    together = first + second
    staked = (together % m == 0) & (together >= 2 * m) & (together <= GREATEST)
    chances = {int(s): split_bound(int(s), m) for s in np.unique(together[staked])}
    chance = np.array([chances.get(int(s), 0.5) for s in together])
    won, lost = np.log((1 - UNLIKE) / chance), np.log(UNLIKE / (1 - chance))
    return np.where(staked, np.where(first % m == 0, won, lost), 0.0)


def split_bound(s: int, m: int) -> float:
    """The greatest probability over all odds that both of two texts that occur ``s`` times together occur a
    multiple of m times.

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
    # The curvature of the logarithm is a variance, at most s/4, which bounds the maximum between two points.
    between = float(np.exp(_STEP**2 * s / 32))
    divisors = [m for m in range(2, s // 2 + 1) if s % m == 0]
    return {m: between * float(weights[:, m - 1 :: m].sum(axis=1).max()) for m in divisors}


def mixed(evidence: NDArray[np.float64], unaffected: float) -> float:
    """Log e-value over problems if a share of them does not follow the pattern.

    Args:
        evidence: log e-value of each problem, ``[problem]``.
        unaffected: the share of problems that is assumed to be drawn properly.
    """
    return float(np.logaddexp(np.log(unaffected), np.log1p(-unaffected) + evidence).sum())


def collisions(counts: Iterable[int]) -> float:
    """Probability that two different draws of a problem have the same text; 1 for a single draw."""
    sizes = np.fromiter(counts, dtype=np.float64)
    n = sizes.sum()
    return 1.0 if n < 2 else float((sizes * (sizes - 1)).sum() / (n * (n - 1)))


def _bet(chance: float, equal: bool) -> float:
    """The log payoff of a stake: a copy equals its source except in a share ``UNLIKE`` of cases.

    ``chance`` matters only if they are equal, so it must be right only then.
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
