"""Patterns of copies in the draws of one policy, each with the evidence for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from keyturn.rollouts.copies.draws import Draws, counts_of
from keyturn.rollouts.copies.evidence import collisions, mixed, multiplicity_evidence, order_evidence

Kind = Literal["period", "blocks", "overlap", "row", "multiple", "uniform", "mostly"]

MULTIPLES = range(2, 65)
"""Numbers of workers that are considered."""
UNAFFECTED = (0.05, 0.5)
"""Shares of problems that do not follow a pattern; the evidence is the mean over them."""
_MOST = 0.5
"""Share of a problem's supposed copies that must equal their source for the copies to be dropped."""
_NEARLY_ALL = 0.8
"""Share of problems that follow a pattern from which on all are assumed to follow it."""
_KINDS = 5
"""Number of kinds of patterns among which the stakes are divided."""
_SEARCHED = 50_000_000
"""Maximum number of comparisons in the search for places; beyond it only a part of the problems is searched."""
_STANDING_OUT = 4.0
"""Standard errors by which repeats must exceed their expectation before the evidence is computed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """A pattern that was found.

    Args:
        kind: its kind.
        evidence: log e-value over all problems, reduced for all patterns that could have been found instead.
        keep: the draws of each problem that count, bool ``[draw]`` each.
        text: one sentence for the reader.
    """

    kind: Kind
    evidence: float
    keep: tuple[NDArray[np.bool_], ...]
    text: str


def patterns(draws: Draws) -> Iterator[Found]:
    """Every conspicuous pattern, with its evidence."""
    # A problem with a single text gives no evidence for any pattern.
    told = [index for index, label in enumerate(draws.labels) if len(np.unique(label)) > 1]
    if told:
        yield from _in_order(draws, told)
        yield from _multiples(draws, told, "row", _in_a_row, _first_in_row)
        yield from _multiples(draws, told, "multiple", counts_of, _first_of_each)


Source = Callable[[int], list[int]]
"""Function from the number of a problem's draws to the draw that each one copies, -1 for none."""


def period(length: int) -> Source:
    """From draw ``length`` on, a problem's draws repeat the first ones, again and again."""
    return lambda n: [-1 if t < length else t % length for t in range(n)]


def blocks(m: int) -> Source:
    """A problem's draws are one sequence m times, if m divides their number."""
    return lambda n: period(n // m)(n) if n % m == 0 else [-1] * n


def overlap(start: int, lag: int) -> Source:
    """Draws from ``start + lag`` on repeat those from ``start`` on, at most ``lag`` of them."""
    return lambda n: [t - lag if start + lag <= t < start + 2 * lag else -1 for t in range(n)]


def _in_order(draws: Draws, told: Sequence[int]) -> Iterator[Found]:
    for kind, source, others, values in _candidates(draws, told):
        evidence = np.array(
            [order_evidence(draws.labels[i].tolist(), source(len(draws.labels[i]))) for i in told]
        )
        keep = _not_repeated(draws.labels, source)
        yield Found(
            kind=kind, evidence=_over_all(evidence, others), keep=keep, text=sentence(kind, values, keep)
        )


def _over_all(evidence: NDArray[np.float64], others: int) -> float:
    """Log e-value of a pattern over problems, any share of which may be unaffected, in a mixture of
    patterns."""
    shares = np.logaddexp.reduce([mixed(evidence, share) for share in UNAFFECTED])
    return float(shares - np.log(len(UNAFFECTED) * _KINDS * others))


def _candidates(draws: Draws, told: Sequence[int]) -> Iterator[tuple[Kind, Source, int, tuple[int, ...]]]:
    """Patterns of order with more repeats than by chance: kind, source, number of alternatives, values.

    The search uses the data, so the evidence is reduced for every value that could have been found.
    """
    longest = max(len(draws.labels[index]) for index in told)
    every = 1 + draws.size * longest // _SEARCHED
    table = _Table([draws.labels[index] for index in told[::every]])
    periods = [(table.standing_out(table.place % lag, table.place >= lag), lag) for lag in range(1, longest)]
    for score, lag in sorted(periods, reverse=True)[:4]:
        if score > _STANDING_OUT:
            yield "period", period(lag), longest, (lag,)
    overlaps = [table.best_window(lag) for lag in range(1, longest)]
    for score, start, lag in sorted(overlaps, reverse=True)[:4]:
        if score > _STANDING_OUT:
            yield "overlap", overlap(start, lag), longest**2, (start, lag)
    if len(set(map(len, draws.labels))) > 1:
        for m in MULTIPLES:
            size = table.length // m
            fits = (table.length % m == 0) & (table.place >= size)
            if table.standing_out(table.place % np.maximum(size, 1), fits) > _STANDING_OUT:
                yield "blocks", blocks(m), len(MULTIPLES), (m,)


class _Table:
    """All draws, concatenated, to count how often a text equals an earlier one of its problem."""

    def __init__(self, labels: Sequence[NDArray[np.int64]]) -> None:
        sizes = np.array([len(label) for label in labels])
        self.label = np.concatenate(labels)
        self.first = np.repeat(np.cumsum(sizes) - sizes, sizes)
        self.length = np.repeat(sizes, sizes)
        self.place = np.arange(len(self.label)) - self.first
        self.chance = np.repeat([collisions(counts_of(label)) for label in labels], sizes)
        self.longest = int(sizes.max())

    def standing_out(self, source: NDArray[np.int64], where: NDArray[np.bool_]) -> float:
        """Number of repeats beyond chance, in standard errors."""
        at = np.flatnonzero(where)
        chance = self.chance[at]
        equal = self.label[at] == self.label[self.first[at] + source[at]]
        return float((equal - chance).sum() / np.sqrt((chance * (1 - chance)).sum() + 1e-9))

    def best_window(self, lag: int) -> tuple[float, int, int]:
        """The window in which draws most repeat those ``lag`` before them: its score, place and lag."""
        at = np.flatnonzero(self.place >= lag)
        equal = self.label[at] == self.label[at - lag]
        chance = self.chance[at]
        size = self.longest
        beyond = np.bincount(self.place[at], weights=equal - chance, minlength=size)
        spread = np.bincount(self.place[at], weights=chance * (1 - chance), minlength=size)
        sums, squares = (np.concatenate([[0.0], np.cumsum(values)]) for values in (beyond, spread))
        starts = np.arange(lag, size)
        ends = np.minimum(starts + lag, size)
        score = (sums[ends] - sums[starts]) / np.sqrt(squares[ends] - squares[starts] + 1e-9)
        best = int(score.argmax())
        return float(score[best]), int(starts[best]) - lag, lag


def _multiples(
    draws: Draws,
    told: Sequence[int],
    kind: Kind,
    numbers: Callable[[NDArray[np.int64]], NDArray[np.int64]],
    kept: Callable[[NDArray[np.int64], int], NDArray[np.bool_]],
) -> Iterator[Found]:
    """Each draw m times: by how often each text occurs, or by how often it occurs in a row."""
    first, second, owner = [], [], []
    for place, index in enumerate(told):
        counts = numbers(draws.labels[index])
        even = len(counts) // 2 * 2
        first.append(counts[:even:2])
        second.append(counts[1:even:2])
        owner.extend([place] * (even // 2))
    pairs = np.concatenate(first), np.concatenate(second)
    for m in MULTIPLES:
        each = np.bincount(owner, weights=multiplicity_evidence(*pairs, m), minlength=len(told))
        evidence = _over_all(each.astype(np.float64), len(MULTIPLES))
        if evidence > 0:
            keep = tuple(kept(label, m) for label in draws.labels)
            yield Found(kind=kind, evidence=evidence, keep=keep, text=sentence(kind, (m,), keep))


def _in_a_row(label: NDArray[np.int64]) -> NDArray[np.int64]:
    """Lengths of the runs of equal texts, in order."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(label)) + 1, [len(label)]])
    return np.diff(starts)


def _first_in_row(label: NDArray[np.int64], m: int) -> NDArray[np.bool_]:
    """The first of every m draws in a row, unless most runs are not a multiple of m."""
    runs = _in_a_row(label)
    if runs[runs % m == 0].sum() < _MOST * len(label):
        return np.ones(len(label), dtype=np.bool_)
    return np.concatenate([np.arange(run) % m == 0 for run in runs])


def _first_of_each(label: NDArray[np.int64], m: int) -> NDArray[np.bool_]:
    """The first 1/m of the draws of each text, unless most texts do not occur a multiple of m times."""
    _, which, counts = np.unique(label, return_inverse=True, return_counts=True)
    if counts[counts % m == 0].sum() < _MOST * len(label):
        return np.ones(len(label), dtype=np.bool_)
    seen: dict[int, int] = defaultdict(int)
    keep = np.zeros(len(label), dtype=np.bool_)
    for draw, text in enumerate(which.tolist()):
        keep[draw] = seen[text] < -(-counts[text] // m)
        seen[text] += 1
    return keep


def _not_repeated(labels: Sequence[NDArray[np.int64]], source: Source) -> tuple[NDArray[np.bool_], ...]:
    """The draws of each problem that count: all but the copies.

    If most supposed copies of a problem differ from their source, the problem is left as it is, unless nearly
    all
    others follow the pattern: copies diverge where rounding differs, and one problem may have many of these.
    """
    original = [np.array(source(len(label)), dtype=np.int64) for label in labels]
    equal = [
        float((label[of >= 0] == label[of[of >= 0]]).mean()) if (of >= 0).any() else np.nan
        for label, of in zip(labels, original, strict=True)
    ]
    shares = np.array(equal)
    everywhere = bool((shares[np.isfinite(shares)] >= _MOST).mean() >= _NEARLY_ALL)
    return tuple(
        of < 0 if everywhere or share >= _MOST else np.ones(len(of), dtype=np.bool_)
        for of, share in zip(original, equal, strict=True)
    )


def sentence(kind: Kind, values: tuple[int, ...], keep: Sequence[NDArray[np.bool_]]) -> str:
    """A sentence with the pattern and the number of draws that do not count."""
    total, dropped = sum(map(len, keep)), sum(int((~mask).sum()) for mask in keep)
    touched = sum(bool((~mask).any()) for mask in keep)
    what = {
        "period": "the draws of a problem repeat its first {0} in the same order (one seed in several workers,"
        " or a job that was run again into the same file)",
        "blocks": "the draws of a problem are the same sequence {0} times (one seed in {0} workers, or a job"
        " that was run {0} times into the same file)",
        "overlap": "from draw {2} of a problem on, its texts from draw {1} on are repeated (a resumed job that"
        " wrote a part again)",
        "row": "every text of a problem occurs {0} times in a row (one seed in {0} workers)",
        "multiple": "every text of a problem occurs a multiple of {0} times (one seed in {0} workers)",
    }[kind].format(values[0], values[0] + 1, sum(values) + 1)
    return (
        f"{what}: {dropped} of {total} draws, in {touched} of {len(keep)} problems, are copies and do not count"
    )
