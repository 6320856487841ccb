"""The parts of an answer. Every sentence carries the ids that it comes from, and no id stands in a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from keyturn.atlas.collection.objects import Note, Quantity, Question, Relation
from keyturn.atlas.readings import ReadingState
from keyturn.atlas.states import FactState
from keyturn.core.measurement import Json

Leaning: TypeAlias = Literal["yes", "no", "depends", "both", "undecided", "unmeasured", "outside", "measured"]
Agreement: TypeAlias = Literal["agrees", "agrees in part", "differs", "not comparable"]


@dataclass(frozen=True, kw_only=True)
class Clause:
    """A sentence, or two that belong together.

    Args:
        text: what is said.
        data_from: ids of the readings, facts, relations, claims, experiments and records that it rests on.
    """

    text: str
    data_from: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """Flat."""
        return {"text": self.text, "data_from": list(self.data_from)}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One reading as a line: what holds, fails or is open here.

    Args:
        state: the reading and what the records say of it.
        sentence: the same in words.
        value: the number with its interval, in words.
        bound: what it is held against: ``at least .05``.
        rests_on: bases and seeds: ``one base, three seeds: a lead``.
        checked: whether the claim's controls held.
    """

    state: ReadingState
    sentence: str
    value: str
    bound: str
    rests_on: str
    checked: str

    def to_json(self) -> dict[str, Json]:
        """Flat."""
        said: dict[str, Json] = {
            "sentence": self.sentence,
            "shown": self.value,
            "needed": self.bound,
            "rests_on": self.rests_on,
            "checked": self.checked,
        }
        return self.state.to_json() | said


@dataclass(frozen=True, kw_only=True)
class Reported:
    """One fact as the literature tells it, beside what was found here.

    Args:
        fact: the fact and its state here.
        quantities: what papers report.
        papers: ids of papers.
        agreement: of direction only: numbers of a benchmark and of a world are never compared in size.
        why: the reason for that word.
    """

    fact: FactState
    quantities: tuple[Quantity, ...]
    papers: tuple[str, ...]
    agreement: Agreement
    why: str

    def to_json(self) -> dict[str, Json]:
        """Flat."""
        return {
            "fact": self.fact.fact.id,
            "says": self.fact.fact.says,
            "caution": self.fact.fact.caution,
            "quantities": [
                {
                    "what": one.what,
                    "values": list(one.values),
                    "unit": one.unit,
                    "paper": one.paper,
                    "locator": one.locator,
                    "version": one.version,
                }
                for one in self.quantities
            ],
            "papers": list(self.papers),
            "agreement": self.agreement,
            "why": self.why,
        }


@dataclass(frozen=True, kw_only=True)
class Tension:
    """Two cited notes, one of which speaks against the other.

    Args:
        relation: source, target, type, reason, and what decides.
        sides: the words for both states: ``(holds in part, is unmeasured)``.
        text: the tension in words.
    """

    relation: Relation
    sides: tuple[str, str]
    text: str

    def to_json(self) -> dict[str, Json]:
        """Flat."""
        one = self.relation
        return {
            "id": one.id,
            "from": one.source,
            "to": one.target,
            "type": one.type,
            "why": one.why,
            "decides": one.decides,
            "sides": list(self.sides),
            "text": self.text,
        }


@dataclass(frozen=True, kw_only=True)
class Gap:
    """What is not settled, by what would settle it.

    Args:
        by: id of a claim or an experiment; empty where nothing is thought of.
        written: True for a claim, which a command runs; False for an experiment, which is not written yet.
        facts: ids of the facts that wait for it; empty where only the question names it.
        why: the reason, in words.
        command: what to type; empty where there is nothing to run.
        minutes: rough minutes of one run on one core; 0 where unknown.
    """

    by: str
    written: bool
    facts: tuple[str, ...]
    why: str
    command: str
    minutes: float

    def to_json(self) -> dict[str, Json]:
        """Flat."""
        return {
            "by": self.by,
            "written": self.written,
            "facts": list(self.facts),
            "why": self.why,
            "command": self.command,
            "minutes": self.minutes,
        }


@dataclass(frozen=True, kw_only=True)
class Turning:
    """What would change a reading.

    Args:
        state: the reading and its state. distance: from the bound to the nearest end of the interval; of an
        open reading, to the value. seeds: seeds that would decide an open reading at its present spread and
        value with power .8; 0 where that
            is unknown or the reading is settled.
        text: the same in words.
    """

    state: ReadingState
    distance: float
    seeds: int
    text: str

    def to_json(self) -> dict[str, Json]:
        """Flat."""
        return {
            "reading": self.state.reading.id,
            "distance": self.distance,
            "seeds": self.seeds,
            "text": self.text,
        }


@dataclass(frozen=True, kw_only=True)
class Source:
    """A cited note with the states of its facts in words."""

    note: Note
    states: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer to a question: computed from the atlas and the records, word by word.

    Args:
        question: what is asked.
        leaning: what the first sentence says, in one word.
        sentence: the first sentence.
        article: paragraphs of sentences; the first begins with the first sentence.
        cautions: what to keep in mind with it: what the open part waits for, and bounds that were set late.
        measured: what holds, fails or is open here, a line a reading.
        reported: what the literature reports, a line a fact.
        tensions, gaps, turning: see there; gaps are in the order of the facts, turning nearest first.
        absent: ids that the question names and the collection lacks.
        sources: the notes cited.
        further: ids of questions to go on to.
    """

    question: Question
    leaning: Leaning
    sentence: Clause
    article: tuple[tuple[Clause, ...], ...]
    cautions: tuple[Clause, ...]
    measured: tuple[Measured, ...]
    reported: tuple[Reported, ...]
    tensions: tuple[Tension, ...]
    gaps: tuple[Gap, ...]
    turning: tuple[Turning, ...]
    absent: tuple[str, ...]
    sources: tuple[Source, ...]
    further: tuple[str, ...]

    @property
    def text(self) -> str:
        """The article as plain text."""
        return "\n\n".join(" ".join(one.text for one in paragraph) for paragraph in self.article)

    def to_json(self) -> dict[str, Json]:
        """Everything, for machines."""
        asked = self.question
        return {
            "id": asked.id,
            "question": asked.question,
            "read_as": asked.read_as,
            "topic": asked.topic,
            "answerable": asked.answerable,
            "missing": asked.missing,
            "leaning": self.leaning,
            "sentence": self.sentence.to_json(),
            "article": [[one.to_json() for one in paragraph] for paragraph in self.article],
            "cautions": [one.to_json() for one in self.cautions],
            "measured": [one.to_json() for one in self.measured],
            "reported": [one.to_json() for one in self.reported],
            "tensions": [one.to_json() for one in self.tensions],
            "gaps": [one.to_json() for one in self.gaps],
            "turning": [one.to_json() for one in self.turning],
            "absent": list(self.absent),
            "conflicts": list(asked.conflicts),
            "sources": [
                {"note": one.note.id, "question": one.note.question, "states": one.states}
                for one in self.sources
            ],
            "further": list(self.further),
        }
