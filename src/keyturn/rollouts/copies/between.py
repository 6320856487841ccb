"""Draws that two policies share: one file given twice, or one seed and nearly the same weights.

Suppose both policies were drawn independently. Given the texts of each, the probability is then known that the
base's draw equals the tuned policy's draw at the same place, whatever the policies are and whatever property of
the texts the files were sorted by. The evidence against independence has the same error rate as that for copies
within a file (one pair of files in a million).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from keyturn.rollouts.copies.draws import draws_of
from keyturn.rollouts.copies.evidence import mixed, same_place_evidence, same_texts_evidence
from keyturn.rollouts.copies.patterns import UNAFFECTED
from keyturn.rollouts.copies.within import LEVEL

NEARLY_ALL = 0.9
"""Share of equal draws beyond chance from which on there is nothing to compare."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Shared:
    """Draws that two policies share.

    Args:
        kind: ``same``: (nearly) all draws are equal, so nothing can be compared; ``some``: more draws are equal
            than independent policies can have; ``alike``: every draw is equal, which is possible for
            independent policies too (one draw per problem, or one text per problem).
        equal: number of the tuned policy's draws that equal the base's.
        compared: number of the tuned policy's draws that were compared.
        text: one sentence, without the names of the files.
    """

    kind: Literal["same", "some", "alike"]
    equal: int
    compared: int
    text: str


def find_shared(
    base: tuple[NDArray[np.integer], Sequence[str], NDArray[np.integer] | None],
    tuned: tuple[NDArray[np.integer], Sequence[str], NDArray[np.integer] | None],
) -> Shared | None:
    """Look for draws of one policy among those of the other.

    Args:
        base: the base's problem ``[row]``, completion ``[row]`` and number of the draw ``[row]`` (or None).
        tuned: the same for the tuned policy; problems have the same numbers in both.

    Returns:
        The finding, or None.
    """
    if not any(base[1]) or not any(tuned[1]):
        return None
    # Tools change white space when they copy a file.
    ours, theirs = draws_of(*base, spaces=False), draws_of(*tuned, spaces=False)
    place = {problem: index for index, problem in enumerate(theirs.problems)}
    pairs = [
        (label.tolist(), theirs.labels[place[problem]].tolist())
        for problem, label in zip(ours.problems, ours.labels, strict=True)
        if problem in place
    ]
    if not pairs:
        return None
    compared = sum(min(len(a), len(b)) for a, b in pairs)
    in_place = sum(sum(x == y for x, y in zip(a, b, strict=False)) for a, b in pairs)
    in_any_order = sum(len(a) for a, b in pairs if sorted(a) == sorted(b))
    if _enough([same_place_evidence(a, b) for a, b in pairs]):
        return _shared(in_place, compared, sum(_by_chance(a, b) for a, b in pairs))
    if _enough([same_texts_evidence(a, b) for a, b in pairs]):
        return _shared(in_any_order, compared, 0.0)
    if in_place == compared == sum(len(b) for _, b in pairs) and len(pairs) > 1:
        text = (
            f"the two files have the same text for each of {compared} draws: either they are from one policy,"
            " or both policies give the same answers"
        )
        return Shared(kind="alike", equal=in_place, compared=compared, text=text)
    return None


def _enough(evidence: Sequence[float]) -> bool:
    values = np.array(evidence)
    both = np.logaddexp.reduce([mixed(values, share) for share in UNAFFECTED])
    # Two kinds of evidence share the stakes.
    return bool(both - np.log(2 * len(UNAFFECTED)) >= -np.log(LEVEL))


def _by_chance(base: Sequence[int], tuned: Sequence[int]) -> float:
    """Expected number of equal draws at the same place for a problem, if both were drawn independently."""
    ours, theirs = Counter(base), Counter(tuned)
    both = sum(count * theirs[text] for text, count in ours.items())
    return both / max(len(base), len(tuned))


def _shared(equal: int, compared: int, expected: float) -> Shared:
    if equal - expected >= NEARLY_ALL * (compared - expected):
        text = f"the two files hold the same completions ({equal} of {compared} draws are equal)"
        return Shared(kind="same", equal=equal, compared=compared, text=text)
    text = (
        f"{equal} of {compared} draws are the same in both files, more than in independent draws of two"
        " policies: both were drawn with one seed, or one file contains a part of the other"
    )
    return Shared(kind="some", equal=equal, compared=compared, text=text)
