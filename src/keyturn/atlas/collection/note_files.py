"""Note files: YAML front matter, then prose. One note a file, or one file that adds to a shipped note.

::

    ---
    id: one-example
    question: Can a single training example unlock mathematical reasoning?
    statement: One example is enough for most of the gain.
    kind: finding
    topics: [how little data]
    papers: ["2504.20571"]
    facts:
      - id: one-example/1
        says: RL on one example comes close to RL on a whole pool.
        quantities:
          - {id: gain, what: gain on MATH-500, value: 37, unit: points, paper: "2504.20571"}
        readings:
          - claim: one-example-nearly-suffices
            number: effect
            counts: ">="
            bound: -0.05
            how: tests
            where: in GRAPH
            says: RL on one example ends within .05 of RL on the whole pool
            otherwise: RL on one example ends further than .05 below RL on the whole pool
    relations:
      - {type: evidence-for, to: latent-reasoning, why: one example cannot teach what it activates}
    ---
    Prose in Markdown, with [[latent-reasoning]] and {gain}.

A file with ``adds-to: NOTE`` in place of ``id`` holds only ``facts``, ``readings`` (each naming its ``fact``)
and ``relations``; the note's own words stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast, get_args

from keyturn.atlas.collection.fields import Fields, File
from keyturn.atlas.collection.front_matter import MAX_BYTES, Refused, read_yaml
from keyturn.atlas.collection.objects import (
    Counts,
    Fact,
    How,
    Note,
    NoteKind,
    Quantity,
    Reading,
    Relation,
)
from keyturn.atlas.relation_types import RelationType

NOTE_KEYS = ("id", "question", "statement", "kind", "topics", "papers", "facts", "relations")
ADDITION_KEYS = ("adds-to", "facts", "readings", "relations")
FACT_KEYS = ("id", "says", "quantities", "measures", "settled-by", "caution", "same-as", "readings")
QUANTITY_KEYS = ("id", "what", "value", "unit", "paper", "locator", "version")
READING_KEYS = (
    "fact",
    "claim",
    "number",
    "counts",
    "bound",
    "how",
    "where",
    "says",
    "otherwise",
    "gates",
    "base",
    "illustrative",
)
RELATION_KEYS = ("type", "to", "why", "decides")
FENCE = "---"


@dataclass(frozen=True, kw_only=True)
class Addition:
    """What a file adds to a note of another file.

    Args:
        note: id of the note.
        facts, readings, relations: what it adds.
        line: where it says so.
    """

    note: str
    facts: tuple[Fact, ...]
    readings: tuple[Reading, ...]
    relations: tuple[Relation, ...]
    line: int


def read_note(text: str, file: File) -> tuple[Note, tuple[Relation, ...]] | Addition | None:
    """A note with its outgoing relations, or an addition; None where the file is refused.

    Args:
        text: the whole file.
        file: takes the problems.
    """
    if len(text) > MAX_BYTES:
        file.wrong(1, f"the file has more than {MAX_BYTES // 1024} kB", "one note a file, and shorter")
        return None
    front = _front(text, file)
    if front is None:
        return None
    head, body = front
    try:
        document = read_yaml(head, first_line=2)
    except Refused as refused:
        file.wrong(refused.line, refused.what, refused.fix)
        return None
    adds = isinstance(document.data, dict) and "adds-to" in document.data
    fields = Fields(file, document, (), ADDITION_KEYS if adds else NOTE_KEYS)
    note = fields.text("adds-to" if adds else "id")
    facts = tuple(_fact(fields.inside("facts", i, FACT_KEYS), note) for i in fields.items("facts"))
    relations = tuple(
        _relation(fields.inside("relations", i, RELATION_KEYS), note) for i in fields.items("relations")
    )
    if adds:
        readings = tuple(
            _reading(fields.inside("readings", i, READING_KEYS), "") for i in fields.items("readings")
        )
        return Addition(note=note, facts=facts, readings=readings, relations=relations, line=fields.line)
    found = Note(
        id=note,
        question=fields.text("question"),
        statement=fields.text("statement"),
        kind=cast(NoteKind, fields.choice("kind", get_args(NoteKind), "finding")),
        topics=fields.texts("topics"),
        papers=fields.texts("papers"),
        facts=facts,
        body=body.strip(),
        body_line=head.count("\n") + 4 + len(body) - len(body.lstrip("\n")),
        place=file.place(fields.line_of("id")),
    )
    return found, relations


def _front(text: str, file: File) -> tuple[str, str] | None:
    """The front matter and the body."""
    lines = text.replace("\r\n", "\n").split("\n")
    if lines[0].rstrip() != FENCE:
        file.wrong(1, "the file does not begin with front matter", f"{FENCE} alone on the first line")
        return None
    for index, line in enumerate(lines[1:], start=1):
        if line.rstrip() == FENCE:
            return "\n".join(lines[1:index]), "\n".join(lines[index + 1 :])
    file.wrong(1, "the front matter does not end", f"{FENCE} alone on the line after it")
    return None


def _fact(fields: Fields, note: str) -> Fact:
    name = fields.text("id")
    return Fact(
        id=name,
        note=note,
        says=fields.text("says"),
        quantities=tuple(
            _quantity(fields.inside("quantities", i, QUANTITY_KEYS)) for i in fields.items("quantities")
        ),
        measures=fields.texts("measures"),
        settled_by=fields.text("settled-by", needed=False),
        caution=fields.text("caution", needed=False),
        same_as=fields.texts("same-as"),
        readings=tuple(
            _reading(fields.inside("readings", i, READING_KEYS), name) for i in fields.items("readings")
        ),
        place=fields.file.place(fields.line_of("id")),
    )


def _quantity(fields: Fields) -> Quantity:
    return Quantity(
        id=fields.text("id"),
        what=fields.text("what"),
        values=fields.numbers("value"),
        unit=fields.text("unit", needed=False),
        paper=fields.text("paper", needed=False),
        locator=fields.text("locator", needed=False),
        version=fields.text("version", needed=False),
        place=fields.file.place(fields.line_of("id")),
    )


def _reading(fields: Fields, fact: str) -> Reading:
    if fact and "fact" in fields:
        fields.file.wrong(fields.line_of("fact"), "a reading inside a fact names a fact", "without that line")
    gates: Any = fields.texts("gates") if "gates" in fields else None
    return Reading(
        fact=fact or fields.text("fact"),
        claim=fields.text("claim"),
        number=fields.text("number"),
        counts=cast(Counts, fields.choice("counts", get_args(Counts))),
        bound=fields.number("bound"),
        how=cast(How, fields.choice("how", get_args(How))),
        where=fields.text("where"),
        says=fields.text("says"),
        otherwise=fields.text("otherwise"),
        gates=gates,
        base=fields.text("base", needed=False),
        illustrative=fields.switch("illustrative"),
        place=fields.file.place(fields.line_of("claim")),
    )


def _relation(fields: Fields, source: str) -> Relation:
    return Relation(
        source=source,
        target=fields.text("to"),
        type=cast(RelationType, fields.choice("type", get_args(RelationType))),
        why=fields.text("why"),
        decides=fields.text("decides", needed=False),
        place=fields.file.place(fields.line_of("to")),
    )
