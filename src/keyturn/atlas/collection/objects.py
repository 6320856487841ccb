"""The objects of the atlas: notes, facts, readings, relations, questions, experiments, papers.

Read top down: a **note** asks one question and holds **facts**. A fact is one assertion of the literature, with
the **quantities** that papers report for it, and **readings**: a reading picks one number of one claim's study
and fixes the bound that decides. **Relations** join notes. A **question** cites notes in roles, so that its
answer can be computed from the states of their facts. An **experiment** is a claim not yet written.

Everything here is data. No object knows a record, a verdict or a page. Ids may dangle (``to`` names a note that
is not there): the collection says so when it is checked, and an answer names the gap.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from keyturn.atlas.relation_types import POLARITY, Polarity, RelationType

Origin: TypeAlias = Literal["shipped", "mine"]
NoteKind: TypeAlias = Literal["finding", "synthesis", "hub"]
Counts: TypeAlias = Literal[">=", "<="]
How: TypeAlias = Literal["tests", "bears"]
RoleName: TypeAlias = Literal["answer", "support", "ground", "turn", "tension", "method", "frame", "gap"]
Answerable: TypeAlias = Literal["yes", "partly", "no", "outside"]
Asks: TypeAlias = Literal["whether", "open"]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where something is written.

    Args:
        file: path of the file; shipped files by their name below the package's assets.
        line: counted from 1.
        origin: shipped with the package, or the user's own.
    """

    file: str
    line: int
    origin: Origin = "shipped"

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}"


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A number as the literature reports it. Prose refers to it as ``{FACT.ID}`` or ``{ID}``.

    Args:
        id: unique within its fact.
        what: what it is, in words.
        values: one number, or the two ends of a range.
        unit: ``%``, ``points``, ``B parameters``...; empty for a count.
        paper: id of the paper that reports it.
        locator: where in the paper (``table 3``); empty where not noted.
        version: version of the paper (``v2``); empty where not noted.
        place: where it is written.
    """

    id: str
    what: str
    values: tuple[float, ...]
    unit: str = ""
    paper: str = ""
    locator: str = ""
    version: str = ""
    place: Place

    def __str__(self) -> str:
        said = " to ".join(f"{value:g}" for value in self.values)
        glue = "" if self.unit == "%" else " "
        return f"{said}{glue}{self.unit}".strip()


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What makes a fact testable: a number of a claim's study, and the bound that decides.

    Args:
        fact: the fact that it tests or bears on.
        claim, number: key of the claim, and of a number that its study returns.
        counts: ``>=``: the fact holds where the whole interval is at least ``bound``; ``<=``: at most.
        bound: fixed before the run.
        how: ``tests`` decides the fact; ``bears`` is an indication only.
        where: the scope, as it stands at the head of a sentence: ``in CHAIN``.
        says: what the world shows where the reading holds, a clause without its scope:
            ``one example ends within .05 of the whole pool``.
        otherwise: the same where it fails.
        gates: gates of the claim that must be met; None for all of them, an empty tuple for none.
        base: the base that it speaks of: records of the base of this name, and of other bases of the world of
            this name, are read. Empty for a claim whose study makes its bases itself.
        illustrative: True if the bound was set after the shipped numbers had been seen; what rests on shipped
            records alone then illustrates and does not test.
        place: where it is written.
    """

    fact: str
    claim: str
    number: str
    counts: Counts
    bound: float
    how: How
    where: str
    says: str
    otherwise: str
    gates: tuple[str, ...] | None = None
    base: str = ""
    illustrative: bool = False
    place: Place

    @property
    def id(self) -> str:
        """``FACT:CLAIM:number-in-kebab``; a bound may move, so it is no part."""
        return f"{self.fact}:{self.claim}:{kebab(self.number)}"


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One assertion of the literature.

    Args:
        id: ``NOTE/NAME``.
        note: the note that holds it.
        says: the assertion, one sentence in our words.
        quantities: numbers that papers report for it.
        measures: names of measures that would show it in an audit.
        settled_by: id of the experiment that would settle it; empty where none is thought of.
        caution: what to keep in mind; empty for nothing.
        same_as: facts of other notes that tell the same; then this one has no readings and no state of its own.
        readings: in the order of the file, those that another file adds last.
        place: where it is written.
    """

    id: str
    note: str
    says: str
    quantities: tuple[Quantity, ...] = ()
    measures: tuple[str, ...] = ()
    settled_by: str = ""
    caution: str = ""
    same_as: tuple[str, ...] = ()
    readings: tuple[Reading, ...] = ()
    place: Place


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A typed relation from one note to another.

    Args:
        source, target: ids of notes.
        type: one of the closed list.
        why: the reason, at most 160 characters.
        decides: id of a claim or an experiment that decides between the two; for tensions.
        place: where it is written.
    """

    source: str
    target: str
    type: RelationType
    why: str
    decides: str = ""
    place: Place

    @property
    def id(self) -> str:
        """``SOURCE:TYPE:TARGET``."""
        return f"{self.source}:{self.type}:{self.target}"

    @property
    def polarity(self) -> Polarity:
        """What it says of the target: for, against, limits, structure."""
        return POLARITY[self.type]


@dataclass(frozen=True, kw_only=True)
class Note:
    """One question, and what the literature says to it.

    Args:
        id: stable; in kebab case.
        question: the title.
        statement: the declarative claim behind the question, one or two sentences.
        kind: a finding of one source, a synthesis of several notes, or a hub that gathers them.
        topics: first the main one.
        papers: ids of papers.
        facts: in the order of the file, those that another file adds last.
        body: prose in Markdown with ``[[note-id]]`` and ``{number}`` references; may be empty.
        body_line: the line of the file on which it begins.
        place: where it is written.
    """

    id: str
    question: str
    statement: str
    kind: NoteKind
    topics: tuple[str, ...]
    papers: tuple[str, ...]
    facts: tuple[Fact, ...]
    body: str
    body_line: int = 1
    place: Place


@dataclass(frozen=True, kw_only=True)
class Role:
    """What some notes do in the answer to a question.

    Args:
        role: ``answer`` decides the first sentence; the others are told after it.
        says: the step of the argument, a clause.
        notes: ids of notes.
        facts: ids of their facts that matter here; empty for all that the question's claims test.
        denies: True if these facts, where they hold, speak for "no".
    """

    role: RoleName
    says: str
    notes: tuple[str, ...]
    facts: tuple[str, ...] = ()
    denies: bool = False


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question that somebody asks, and the notes that answer it.

    Args:
        id: stable.
        question: the text.
        variants: other wordings of the same question.
        read_as: how it is read, where the wording leaves that open.
        topic: one of the topics of questions.
        asks: ``whether``: the facts with role answer are worded so that yes and no can be said; ``open``: not.
        if_yes, if_no: the two answers in words, clauses, for a question that offers two; empty for yes and no.
        answerable: by current claims: ``yes``, ``partly`` (``missing`` names what is not measured), ``no``
            (could be measured, no claim does), ``outside`` (nothing in this laboratory measures it).
        missing: what is not measured, in words.
        roles: the notes cited, in the order of the argument.
        claims: ids of claims that bear on it.
        experiments: ids of experiments that would settle what is missing.
        conflicts: where sources disagree among themselves, or where the wording assumes what is untested.
        added: True for a question that this atlas asks besides the families of the literature's lists.
        place: where it is written.
    """

    id: str
    question: str
    variants: tuple[str, ...] = ()
    read_as: str = ""
    topic: str
    asks: Asks = "open"
    if_yes: str = ""
    if_no: str = ""
    answerable: Answerable
    missing: str = ""
    roles: tuple[Role, ...] = ()
    claims: tuple[str, ...] = ()
    experiments: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    added: bool = False
    place: Place

    @property
    def notes(self) -> tuple[str, ...]:
        """All notes cited, each once, in order."""
        return tuple(dict.fromkeys(note for role in self.roles for note in role.notes))


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A claim not yet written.

    Args:
        id: stable; in kebab case.
        says: what it would measure.
        exists: what of it keyturn has.
        lacks: what has to be written.
        kind: training, elicitation, measures or studies.
        minutes: a rough guess at one run's minutes on two cores once it is written; writing it is not counted.
        place: where it is written.
    """

    id: str
    says: str
    exists: str
    lacks: str
    kind: str
    minutes: float
    place: Place


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A paper.

    Args:
        id: arXiv id where there is one.
        title, authors, year: as published; authors in BibTeX's form, joined by ``and``.
        url: where it is.
        note: what a reader should know of how it is cited here; empty for nothing.
        place: where it is written.
    """

    id: str
    title: str
    authors: str
    year: int
    url: str
    note: str = ""
    place: Place


def kebab(words: str) -> str:
    """Words as part of an id: lower case, everything but letters and digits one hyphen."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
