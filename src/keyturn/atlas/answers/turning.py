"""What would change a reading: how far its interval is from the bound, and how many seeds would decide an open
one.

The seeds follow the rule of the studies' smallest visible effect: a distance d is seen with power .8 by n seeds
where ``(t_.975 + t_.8) sd / sqrt(n) <= d`` with n - 1 degrees of freedom; sd is what the present interval
implies.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable

from scipy import stats

from keyturn.atlas.answers.parts import Turning
from keyturn.atlas.answers.phrases import count, decimals
from keyturn.atlas.readings import ReadingState

MOST_SEEDS = 500
"""Beyond it the answer is that seeds will not decide it."""


def turning_of(states: Iterable[ReadingState]) -> tuple[Turning, ...]:
    """What would change each sound test, the nearest to its bound first, in units of its own standard error."""
    found = [_turning(one) for one in states if one.sound and one.reading.how == "tests"]
    return tuple(sorted(found, key=lambda one: (_errors(one), one.state.reading.id)))


def seeds_to_decide(state: ReadingState) -> int:
    """Seeds after which an interval of the present spread would leave the bound; 0 where the spread is unknown.

    One more than :data:`MOST_SEEDS` stands for "more than that".
    """
    distance = abs(state.number.value - state.reading.bound)
    if distance == 0:
        return MOST_SEEDS + 1
    if not state.spread or state.seeds < 2 or len(state.records) != 1:
        return 0
    half = (state.number.high - state.number.low) / 2
    deviation = half * math.sqrt(state.seeds) / float(stats.t.ppf(0.975, state.seeds - 1))
    for n in range(state.seeds + 1, MOST_SEEDS + 1):
        if _reach(n) * deviation / math.sqrt(n) <= distance:
            return n
    return MOST_SEEDS + 1


@functools.cache
def _reach(seeds: int) -> float:
    """Standard errors that so many seeds can tell from 0 with power .8."""
    return float(stats.t.ppf(0.975, seeds - 1) + stats.t.ppf(0.8, seeds - 1))


def _turning(state: ReadingState) -> Turning:
    bound = state.reading.bound
    if state.outcome in ("open", "split"):
        distance = abs(state.number.value - bound)
        seeds = seeds_to_decide(state) if state.outcome == "open" else 0
        return Turning(state=state, distance=distance, seeds=seeds, text=_open(state, distance, seeds))
    end = (
        state.number.low if (state.reading.counts == ">=") == (state.outcome == "holds") else state.number.high
    )
    distance = abs(end - bound)
    far = decimals(distance, 3 if distance < 0.05 else 2)
    text = f"its interval ends {far} from the bound of {decimals(bound, 2)}"
    if len(state.bases) < 2:
        text += "; a second base that differs may undo it, since one base says nothing of others"
    return Turning(state=state, distance=distance, seeds=0, text=text)


def _open(state: ReadingState, distance: float, seeds: int) -> str:
    if not state.spread:
        return "it has no spread as yet: more seeds, or an interval over problems, come first"
    if state.outcome == "split":
        return "one of the origins has to be run again by the other"
    if not seeds:
        return "how many runs would decide it cannot be said from records of several runs"
    if seeds > MOST_SEEDS:
        return f"its value lies too near the bound for seeds to decide: over {MOST_SEEDS} at the present spread"
    more = count(seeds, "seed")
    return f"at the present spread {more} in place of {count(state.seeds, 'seed')} would decide it"


def _errors(one: Turning) -> float:
    width = one.state.number.high - one.state.number.low
    return one.distance / width if math.isfinite(width) and width > 0 else math.inf
