"""Where pass@k of the tuned policy lies above or below the base's: one statement for all k of the draws.

    D(k) = pass@k(tuned) - pass@k(base),   k = 1 ... k_max

with a simultaneous (sup-t) band. The tuned policy is *surely above* where the band lies above 0 and D(k) is
worth at least one problem, *surely below* where the band lies below 0, and *unknown* elsewhere. The confidence
set of the *first loss* (the smallest k with D(k) <= 0) runs from the first k that is not surely above to the
first k that is surely below. At the band's 95 % all of these statements hold together.

``k_max`` is the largest k for which nine of ten problems have draws of their own from both policies. Problems
of the base that stopped after enough successes do not count here: their pass@k is near 1 and comes from the
posterior. Every k up to 128 is compared, and beyond it sixteen values of k per doubling. Denominator: the
problems with graded draws of both policies. Degenerate: fewer than two problems have no band, and nothing is
said. Where misses are so rare that these problems show hardly any, the band is at least as wide as the noise
of the draws (``pass_at_k_noise``). Known bias: none in D(k) up to a problem's own draws.

Source: pass@k Chen et al. 2021 (arXiv 2107.03374); band Montiel Olea and Plagborg-Moller 2019; first-loss
confidence set as in arXiv 2609.22547 (program ``passk-inference``), with which a test compares.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from keyturn.core.statistics.bands import Band, sup_t_band
from keyturn.core.statistics.pass_at_k import pass_at_k_noise
from keyturn.core.streams import Streams
from keyturn.measures.draws import Draws
from keyturn.measures.labels import COVERAGE_MARGIN
from keyturn.measures.verdict import Coverage, CoverageLabel, Range

EVERY = 128
"""Every budget up to here is compared."""

ONE_PROBLEM = 1.0
"""A difference of less than one problem is called none, however sure it is. Where all but one draw in 10,000
succeed, resampling them shows no spread, and the next problem may be the first that is missed."""

NORMAL = 1.96
"""The critical value of the band if it held for a single k."""

A_DOUBLING = 16
"""Budgets per doubling beyond that: D(k) is smooth, and moves by less than its error between them."""


def budgets(limit: int) -> tuple[int, ...]:
    """The budgets compared, from 1 to ``limit``; none below 1."""
    ks = list(range(1, min(limit, EVERY) + 1))
    step = 1
    while ks and ks[-1] < limit:
        ks.append(max(ks[-1] + 1, min(limit, round(EVERY * 2 ** (step / A_DOUBLING)))))
        step += 1
    return tuple(ks)


def largest_budget(base: Draws, tuned: Draws) -> int:
    """``k_max``; 0 where a policy has no draw."""
    waiting = base.went_on if base.staged and base.went_on.any() else None
    return min(base.typical(waiting), tuned.typical())


def compare_pass_at_k(
    base: Draws,
    tuned: Draws,
    streams: Streams,
    *,
    kind: str,
    resamples: int,
    clusters: NDArray | None = None,
) -> tuple[tuple[int, ...], Band]:
    """D(k) with its simultaneous band, as the verdict and the measure ``crossing`` both use it.

    Args:
        base, tuned: draws of the same problems, at least one per problem.
        streams: of the place (pooled, or one cell).
        kind: what counts as success; names the randomness.
        resamples: bootstrap resamples over problems.
        clusters: a label per problem; clusters are resampled whole.

    Returns:
        budgets ``[k]`` and the band over them; one budget where there are no draws.
    """
    ks = budgets(max(largest_budget(base, tuned), 1))
    difference = tuned.curve(ks)[0] - base.curve(ks)[0]
    noise = [pass_at_k_noise(one.n[:, None], one.c[:, None], np.array(ks)) for one in (base, tuned)]
    band = sup_t_band(
        difference,
        streams.generator("pass@k difference", kind),
        resamples=resamples,
        clusters=clusters,
        bounds=(-1.0, 1.0),
        least_error=np.sqrt((noise[0] + noise[1]).sum(axis=0)) / max(len(base), 1),
    )
    return ks, band


def state_coverage(ks: tuple[int, ...], band: Band, problems: int) -> Coverage:
    """The statement that a band makes.

    The label is about large budgets, from half of the largest on; the gain already describes small ones.
    With a single budget there is no coverage to describe.

    Args:
        ks: budgets, ``[k]``.
        band: D(k) over them.
        problems: how many stand behind it.
    """
    if not np.isfinite(band.low).all():
        return Coverage(label="undecided", sentence="too few problems to compare pass@k")
    k = np.asarray(ks)
    some = np.abs(band.value) * problems >= ONE_PROBLEM
    above, below = (band.low > 0) & some, (band.high < 0) & some
    loss = first_loss(k, above, below)
    large = k >= k[-1] / 2
    # That *every* k is within the margin needs no allowance for looking at many: each one's own interval does.
    alone = NORMAL / max(band.critical, NORMAL) if np.isfinite(band.critical) else 1.0
    low, high = (band.value + (edge - band.value) * alone for edge in (band.low, band.high))
    within = (low >= -COVERAGE_MARGIN) & (high <= COVERAGE_MARGIN)
    label: CoverageLabel = "undecided"
    if len(k) < 2:
        label = "undecided"
    elif above.any() and below.any():
        label = "crossing"
    elif (below & large).any():
        label = "narrowed"
    elif (above & large).any():
        label = "expanded"
    elif within[large].all():
        label = "kept"
    ranges = {"above": _ranges(k, above), "below": _ranges(k, below)}
    return Coverage(
        label=label,
        above=ranges["above"],
        below=ranges["below"],
        k_max=int(k[-1]),
        largest=float(np.abs(band.value[above | below]).max(initial=0.0)),
        first_loss=loss,
        sentence=_sentence(ranges, int(k[-1])),
    )


def first_loss(
    k: NDArray[np.int64], above: NDArray[np.bool_], below: NDArray[np.bool_]
) -> tuple[int, int | None] | None:
    """Confidence set of the smallest k at which the tuned policy is not ahead; None where it is surely
    ahead."""
    if above.all():
        return None
    low = int(k[np.argmin(above)])
    return low, int(k[np.argmax(below)]) if below.any() else None


def _ranges(k: NDArray[np.int64], here: NDArray[np.bool_]) -> tuple[Range, ...]:
    edges = np.diff(np.concatenate([[False], here, [False]]).astype(np.int8))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    return tuple((int(k[a]), int(k[b])) for a, b in zip(starts, stops, strict=True))


def _sentence(ranges: dict[str, tuple[Range, ...]], k_max: int) -> str:
    said = [f"surely {side} the base's for k = {_in_words(found)}" for side, found in ranges.items() if found]
    if not said:
        return f"pass@k of the tuned policy is nowhere surely above or below the base's up to k = {k_max}"
    covered = sum(b - a + 1 for found in ranges.values() for a, b in found)
    rest = "" if covered >= k_max else f", unknown elsewhere up to k = {k_max}"
    return f"pass@k of the tuned policy is {' and '.join(said)}{rest}"


def _in_words(found: tuple[Range, ...]) -> str:
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in found)
