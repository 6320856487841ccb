"""A reading as a clause of a page: sentence, number, bound and runs, with links to what is behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keyturn.atlas.evidence import MADE
from keyturn.atlas.readings import ReadingState
from keyturn.core.numbers import counted
from keyturn.site import paths
from keyturn.site.figures import bound, measured
from keyturn.site.source import Source


@dataclass(frozen=True, kw_only=True)
class Clause:
    """What a page shows of one reading.

    Args:
        state: its look: that of a fact in this state.
        sentence: what the world shows, or that nothing sound shows it.
        number: value and interval, with where they come from; empty where no record is sound.
        bound: what was asked of the number.
        scope: bases and seeds.
        links: (page, name) of records and claims behind it.
        cautions: what to keep in mind.
    """

    state: str
    sentence: str
    number: Markup | str
    bound: Markup | str
    scope: str
    links: tuple[tuple[str, str], ...]
    cautions: tuple[str, ...]


def clause_of(source: Source, one: ReadingState) -> Clause:
    """The clause of a reading."""
    reading = one.reading
    scope = [_bases(one)]
    if one.sound:
        scope[0] += f", {counted(one.seeds, 'seed')}"
    if reading.how == "bears" and one.sound:
        scope.append("bears on it, does not test it")
    if one.sound and one.illustrates:
        scope.append("bound set after the number was known")
    links = [(paths.record(name), f"record {name[:6]}") for name in one.records if name in source.records]
    if reading.claim in source.claims:
        links.append((paths.claim(reading.claim), "claim"))
    return Clause(
        state=_look(one),
        sentence=sentence_of(one),
        number=measured(one.number, reading.number, one.records, reading.bound) if one.sound else "",
        bound=bound(reading.bound, reading.counts, f"reading:{reading.id}"),
        scope=" · ".join(scope),
        links=tuple(links),
        cautions=() if one.sound else (f"{_first_up(one.why)}.",),
    )


def _bases(one: ReadingState) -> str:
    """The bases that a reading speaks of: those behind its number, else those that would be."""
    names = [name for name in one.bases if name != MADE]
    if one.sound and names:
        return f"{'base' if len(names) == 1 else 'bases'} {' and '.join(names)}"
    return f"base {one.reading.base}" if one.reading.base else "bases made by the study"


def clauses_of(source: Source, states: Sequence[ReadingState]) -> tuple[Clause, ...]:
    """Clauses of several readings, those that test first."""
    return tuple(clause_of(source, one) for one in sorted(states, key=lambda s: s.reading.how != "tests"))


def sentence_of(one: ReadingState) -> str:
    """One sentence, its scope first."""
    where = f"{one.reading.where}, " if one.reading.where else ""
    if one.outcome in ("holds", "fails"):
        return f"{_first_up(where + one.says)}."
    if one.outcome == "open":
        return f"Undecided whether, {where}{one.reading.says}."
    if one.outcome == "split":
        return f"Origins disagree whether, {where}{one.reading.says}."
    return f"No sound record shows whether, {where}{one.reading.says}."


def _look(one: ReadingState) -> str:
    if not one.sound:
        return "no sound record"
    return one.outcome if one.reading.how == "tests" else "indication only"


def _first_up(words: str) -> str:
    return words[:1].upper() + words[1:]
