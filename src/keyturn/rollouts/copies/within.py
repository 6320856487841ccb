"""Draws of a policy that are copies of others: they are found, counted once, and reported.

Copies come from temperature 0 with repeats, from one seed in several workers or at every request, or from a
resumed job that wrote its first part again. If they counted as draws, every interval would be too narrow.

========  ====================================================================  ========================
kind      pattern                                                               kept draws
========  ====================================================================  ========================
period    from the L-th draw of a problem on, its draws repeat the first L       the first L
blocks    a problem's draws are one sequence m times                            the first n/m
overlap   draws from o + D on repeat those from o on (resumed after o)          all but the repetition
row       every draw occurs m times in a row                                    one of each m
multiple  every text occurs a multiple of m times, in any order                 1/m of each text
uniform   all problems gave one text each                                       one draw of each problem
========  ====================================================================  ========================

All but the last are decided by evidence (:mod:`keyturn.rollouts.copies.evidence`). At most one file in a
million (:data:`LEVEL`) of independent draws is flagged, however peaked its policy is and whatever property of
the texts the file was sorted by, over all values of L, m, o and D together. This holds for texts compared
exactly; comparing them without white space adds the same rate once more.

The last one cannot be decided: greedy decoding and a collapsed policy leave the same file. Then the draws count
once and a sentence says so. The pattern needs at least :data:`FEWEST_REPEATS` repeats and equal texts. Long
texts (:data:`LONG` words) may differ if their collision entropy is below :data:`COLLAPSED` nats per word, a
tenth of the entropy per token of the most collapsed reasoning policies after RL (0.005). If most problems
(:data:`MOST`) gave one text each and others did not, a note says so and every draw counts.

Not found: copies that differ in more than white space (a request number in every text), rows repeated a
different number of times each, and a part that was written twice before the file was sorted by its texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.rollouts.copies.draws import Draws, counts_of, draws_of, number_of
from keyturn.rollouts.copies.evidence import collisions
from keyturn.rollouts.copies.patterns import Found, Kind, patterns

LEVEL = 1e-6
"""Maximum probability that independent draws of one file are called copies."""
COLLAPSED = 5e-4
"""Collision entropy in nats per word below which draws count as one text."""
LONG = 20
"""Number of words from which on texts of greedy decoding may differ; rounding hardly affects short texts."""
MOST = 0.75
"""Share of problems with one text each from which on a note is made."""
FEWEST_REPEATS = 30
"""Minimum number of repeats (draws beyond the first of each problem) to conclude "always the same text": after
30 the probability of another text may still be a tenth."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Copies:
    """Copies in the draws of one policy.

    Args:
        kinds: the patterns, in the order of their removal; ``mostly`` removes nothing.
        keep: rows that count, bool ``[row]``.
        texts: one sentence for each kind, without the name of the file.
    """

    kinds: tuple[Kind, ...]
    keep: NDArray[np.bool_]
    texts: tuple[str, ...]


def find_copies(
    problem: NDArray[np.integer], texts: Sequence[str], order: NDArray[np.integer] | None = None
) -> Copies | None:
    """Look for draws that are copies of others of the same policy.

    Args:
        problem: number of each row's problem, ``[row]``.
        texts: completions, ``[row]``; if all are empty, nothing can be found.
        order: number of the draw within its problem, ``[row]``; None means the order of the rows.

    Returns:
        The findings, or None.
    """
    if not any(texts):
        return None
    draws = draws_of(problem, texts, order)
    kinds: list[Kind] = []
    said: list[str] = []
    while found := by_pattern(draws) or _without_spaces(draws, texts) or all_alike(draws):
        draws = draws.kept(found.keep)
        kinds.append(found.kind)
        said.append(found.text)
    if (text := mostly_alike(draws)) and "uniform" not in kinds:
        kinds.append("mostly")
        said.append(text)
    if not kinds:
        return None
    keep = np.zeros(len(texts), dtype=np.bool_)
    keep[np.concatenate(draws.rows)] = True
    return Copies(kinds=tuple(kinds), keep=keep, texts=tuple(said))


def by_pattern(draws: Draws) -> Found | None:
    """The pattern with the most evidence, if that suffices for :data:`LEVEL`."""
    enough = [
        found
        for found in patterns(draws)
        if found.evidence >= -np.log(LEVEL) and not all(mask.all() for mask in found.keep)
    ]
    return max(enough, key=lambda found: found.evidence, default=None)


def _without_spaces(draws: Draws, texts: Sequence[str]) -> Found | None:
    """The same search, ignoring white space."""
    bare = [_bare_numbers(texts, rows) for rows in draws.rows]
    if all(len(np.unique(a)) == len(np.unique(b)) for a, b in zip(draws.labels, bare, strict=True)):
        return None
    return by_pattern(Draws(problems=draws.problems, labels=tuple(bare), rows=draws.rows, words=draws.words))


def _bare_numbers(texts: Sequence[str], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.array([number_of(" ".join(texts[int(row)].split())) for row in rows], dtype=np.int64)


def all_alike(draws: Draws) -> Found | None:
    """The case that every problem gave one text, which is undecidable and counts once."""
    repeated = [label for label in draws.labels if len(label) > 1]
    if draws.size - len(draws.labels) < FEWEST_REPEATS:
        return None
    least = np.exp(-COLLAPSED * draws.words) if draws.words >= LONG else 1.0
    if np.mean([collisions(counts_of(label)) for label in repeated]) < least:
        return None
    one = sum(len(np.unique(label)) == 1 for label in repeated)
    which = "each of" if one == len(repeated) else f"{one} of"
    text = (
        f"all draws of {which} {len(repeated)} problems have the same text. Temperature 0, one seed for every"
        " request and a collapsed policy cannot be distinguished here, so every problem counts as one draw"
    )
    keep = tuple(np.arange(len(label)) == 0 for label in draws.labels)
    return Found(kind="uniform", evidence=0.0, keep=keep, text=text)


def mostly_alike(draws: Draws) -> str:
    """A sentence if most problems gave one text each in all their draws and others did not; else ``""``."""
    repeated = [label for label in draws.labels if len(label) > 1]
    one = [label for label in repeated if len(np.unique(label)) == 1]
    if sum(len(label) - 1 for label in one) < FEWEST_REPEATS or len(one) < MOST * len(repeated):
        return ""
    return (
        f"in {len(one)} of {len(repeated)} problems all draws have the same text: the policy is near collapse,"
        " or a part of the file was drawn at temperature 0. Every draw counts"
    )
