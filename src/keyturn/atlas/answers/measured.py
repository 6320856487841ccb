"""Lines of an answer: readings as sentences, facts beside what the literature reports, notes in tension."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from keyturn.atlas.answers.parts import Agreement, Measured, Reported, Source, Tension
from keyturn.atlas.answers.phrases import count, decimals, listed, sentence, shown, word
from keyturn.atlas.collection.atlas import Atlas
from keyturn.atlas.collection.objects import Reading
from keyturn.atlas.readings import ReadingState
from keyturn.atlas.states import STATES, FactState, States
from keyturn.atlas.verdict import ENOUGH_BASES
from keyturn.experiments.plan import FINDING_SEEDS


def told(state: ReadingState, *, plain: bool = False) -> str:
    """A reading in words, with its number and seeds; begins in lower case and has no full stop.

    Args:
        state: the reading and what the records say of it.
        plain: of an open reading what is open, without the words that it is.
    """
    one, number = state.reading, f"{shown(state.number, state.reading.bound)}, {seeds_of(state)}"
    if state.outcome in ("holds", "fails"):
        return f"{one.where}, {state.says} ({number})"
    if state.outcome == "split":
        return (
            f"{one.where}, records of different origin contradict one another on whether {one.says} ({number})"
        )
    if state.outcome == "open" and not state.spread:
        every = f"every seed gave {decimals(state.number.value, 2)} and nothing shows the spread"
        return f"{one.where}, it is open whether {one.says}, since {every}"
    if state.outcome == "open" and plain:
        return f"{one.where}, whether {one.says} ({number})"
    if state.outcome == "open":
        return f"{one.where}, it is open whether {one.says} ({number})"
    return f"{one.where}, nothing sound says whether {one.says}"


def seeds_of(state: ReadingState) -> str:
    """How many seeds a number is over, and on how many bases where there are several."""
    seeds, bases = count(state.seeds, "seed"), len(state.bases)
    return f"{seeds} on {count(bases, 'base')}" if bases > 1 else seeds


def needed(reading: Reading) -> str:
    """The bound in words."""
    sign = "at least" if reading.counts == ">=" else "at most"
    return f"{sign} {decimals(reading.bound, 3 if abs(reading.bound * 100) % 1 > 1e-9 else 2)}"


def rests_on(state: ReadingState) -> str:
    """Bases and seeds, and whether they make a finding."""
    if not state.sound:
        return "no sound record"
    said = f"{count(len(state.bases), 'base')}, {count(state.seeds, 'seed')}"
    if len(state.bases) < ENOUGH_BASES or state.seeds < FINDING_SEEDS:
        said += ": a lead"
    if state.illustrates:
        said += "; the bound was set after the number had been seen"
    return said


def measured_lines(states: Iterable[ReadingState]) -> tuple[Measured, ...]:
    """A line for each reading, each reading once."""
    found = {one.reading.id: one for one in states}
    return tuple(
        Measured(
            state=one,
            sentence=sentence(told(one)),
            value=shown(one.number, one.reading.bound),
            bound=needed(one.reading),
            rests_on=rests_on(one),
            checked="controls held" if one.sound else one.why,
        )
        for one in found.values()
    )


_AGREEMENT: dict[str, tuple[Agreement, str]] = {
    "holds": ("agrees", "it holds in the worlds tried; sizes are of other models and tasks"),
    "fails": ("differs", "it fails in the worlds tried; sizes are of other models and tasks"),
    "split": ("agrees in part", "one test holds and one fails in the worlds tried"),
    "open": ("not comparable", "its test here is not decided"),
    "indication only": ("not comparable", "no test here is of just this"),
    "no sound record": ("not comparable", "no sound record tests it here"),
    "no reading": ("not comparable", "nothing here measures it"),
}


def reported_lines(atlas: Atlas, facts: Iterable[FactState]) -> tuple[Reported, ...]:
    """A line for each fact: what papers report, and whether that agrees with what was found here."""
    found = []
    for state in facts:
        agreement, why = _AGREEMENT[state.state]
        quantities = state.fact.quantities
        own = tuple(dict.fromkeys(one.paper for one in quantities if one.paper))
        note = atlas.notes.get(state.fact.note)
        found.append(
            Reported(
                fact=state,
                quantities=quantities,
                papers=own or (note.papers if note else ()),
                agreement=agreement,
                why=why,
            )
        )
    return tuple(found)


def in_words(states: Sequence[FactState]) -> str:
    """How the facts of a note stand: ``one holds, two are unmeasured``."""
    if not states:
        return "it states no fact"
    kinds = [one.state for one in states]
    if len(kinds) == 1:
        return ALONE[kinds[0]]
    if len(set(kinds)) == 1:
        return f"{'both' if len(kinds) == 2 else f'all {word(len(kinds))}'} {MANY[kinds[0]]}"
    groups = [(kinds.count(kind), kind) for kind in STATES if kind in kinds]
    return listed([f"{word(n)} {ALONE[kind] if n == 1 else MANY[kind]}" for n, kind in groups])


ALONE = {
    "holds": "holds",
    "fails": "fails",
    "split": "holds in part",
    "open": "is open",
    "indication only": "has only an indication",
    "no sound record": "has no sound record",
    "no reading": "is unmeasured",
}
MANY = {
    "holds": "hold",
    "fails": "fail",
    "split": "hold in part",
    "open": "are open",
    "indication only": "have only an indication",
    "no sound record": "have no sound record",
    "no reading": "are unmeasured",
}


def note_states(atlas: Atlas, states: States, note: str) -> str:
    """How the facts of one note stand, in words."""
    return (
        in_words(states.of(fact.id for fact in atlas.notes[note].facts))
        if note in atlas.notes
        else "is not there"
    )


def tensions_of(atlas: Atlas, states: States, notes: Sequence[str]) -> tuple[Tension, ...]:
    """Pairs of cited notes of which one speaks against the other."""
    found = []
    for relation in atlas.relations:
        if relation.polarity != "against" or not {relation.source, relation.target} <= set(notes):
            continue
        if relation.source not in atlas.notes or relation.target not in atlas.notes:
            continue
        first, second = (atlas.notes[one] for one in (relation.source, relation.target))
        sides = note_states(atlas, states, first.id), note_states(atlas, states, second.id)
        verb = "denies a part of" if relation.type == "contradicts-in-part" else "stands against"
        stand = f"Of the facts of the first, {sides[0]}; of the second, {sides[1]}."
        text = f"“{first.question}” {verb} “{second.question}”: {relation.why}. {stand}"
        found.append(Tension(relation=relation, sides=sides, text=text))
    return tuple(found)


def sources_of(atlas: Atlas, states: States, notes: Sequence[str]) -> tuple[Source, ...]:
    """The cited notes that are there, with the states of their facts."""
    return tuple(
        Source(note=atlas.notes[one], states=note_states(atlas, states, one))
        for one in notes
        if one in atlas.notes
    )
