"""The atlas as an SQLite file: a table a kind of object, keys between them, states and answers of today."""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from keyturn.atlas import CLAIMS
from keyturn.atlas.answers import answer
from keyturn.atlas.collection.atlas import Atlas
from keyturn.atlas.known import Known
from keyturn.atlas.readings import ReadingState
from keyturn.atlas.states import States, all_states
from keyturn.atlas.verdict import verdict
from keyturn.core.rundir import storage_errors

Cell: TypeAlias = "str | int | float | None"
Row: TypeAlias = Sequence[Cell]

_SCHEMA = """
create table notes (id text primary key, question text, statement text, kind text, topic text, body text);
create table facts (id text primary key, note text references notes, says text, state text, lead integer,
  caution text);
create table quantities (fact text references facts, id text, what text, low real, high real, unit text,
  paper text references papers, locator text, version text, primary key (fact, id));
create table claims (id text primary key, question text, statement text, source text, verdict text);
create table readings (id text, fact text references facts, claim text references claims, number text,
  counts text, bound real, how text, scope text, says text, outcome text, value real, low real, high real,
  seeds integer, primary key (id, counts));
create table relations (source text references notes, type text, polarity text, target text references notes,
  why text, decides text, primary key (source, type, target));
create table papers (id text primary key, title text, authors text, year integer, url text);
create table note_papers (note text references notes, paper text references papers, primary key (note, paper));
create table questions (id text primary key, question text, topic text, answerable text, answer text,
  sentence text, missing text);
create table question_notes (question text references questions, note text references notes, role text,
  primary key (question, note, role));
create table experiments (id text primary key, says text, exists_already text, lacks text, kind text,
  minutes real);
create table records (id text, claim text references claims, base text, seed integer, origin text, n integer,
  made text, primary key (id, origin));
create table numbers (record text, claim text references claims, name text, value real, low real, high real);
create index numbers_by_claim on numbers (claim, name);
"""


def write_tables(atlas: Atlas, known: Known, path: Path) -> None:
    """Write the file, whole or not at all.

    Args:
        atlas: the collection.
        known: the records.
        path: of the new file; one that is there is replaced.
    """
    aside = path.with_name(f".{path.name}.part")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.unlink(missing_ok=True)
        connection = sqlite3.connect(aside)
        try:
            connection.executescript(_SCHEMA)
            for table, rows in _rows(atlas, known):
                _insert(connection, table, rows)
            connection.commit()
        finally:
            connection.close()
        os.replace(aside, path)


def _insert(connection: sqlite3.Connection, table: str, rows: Iterable[Row]) -> None:
    for row in rows:
        marks = ", ".join("?" * len(row))
        connection.execute(f"insert or ignore into {table} values ({marks})", row)


def _rows(atlas: Atlas, known: Known) -> Iterable[tuple[str, list[Row]]]:
    """Every table with its rows, referred ones first."""
    states = all_states(atlas, known)
    papers = atlas.papers.values()
    yield "papers", [(one.id, one.title, one.authors, one.year, one.url) for one in papers]
    yield (
        "claims",
        [
            (one.id, one.question, one.statement, one.source, verdict(one, known.of(one.id)).state)
            for one in CLAIMS.values()
        ],
    )
    yield (
        "notes",
        [
            (one.id, one.question, one.statement, one.kind, one.topics[0] if one.topics else "", one.body)
            for one in atlas.notes.values()
        ],
    )
    yield "note_papers", [(one.id, paper) for one in atlas.notes.values() for paper in one.papers]
    yield (
        "facts",
        [
            (name, one.fact.note, one.fact.says, one.state, int(one.lead), one.fact.caution)
            for name, one in states.facts.items()
        ],
    )
    yield (
        "quantities",
        [
            (fact.id, q.id, q.what, min(q.values), max(q.values), q.unit, q.paper or None, q.locator, q.version)
            for fact in atlas.facts.values()
            for q in fact.quantities
        ],
    )
    yield "readings", [_reading(one) for one in states.readings.values()]
    yield (
        "relations",
        [(one.source, one.type, one.polarity, one.target, one.why, one.decides) for one in atlas.relations],
    )
    yield from _questions(atlas, known, states)
    yield from _records(known)


def _questions(atlas: Atlas, known: Known, states: States) -> Iterable[tuple[str, list[Row]]]:
    """Questions with their answers, the notes that they cite, and experiments."""
    answers = [answer(one, atlas, known, states=states) for one in atlas.questions.values()]
    yield (
        "questions",
        [
            (
                a.question.id,
                a.question.question,
                a.question.topic,
                a.question.answerable,
                a.leaning,
                a.sentence.text,
                a.question.missing,
            )
            for a in answers
        ],
    )
    yield (
        "question_notes",
        [
            (one.id, note, role.role)
            for one in atlas.questions.values()
            for role in one.roles
            for note in role.notes
        ],
    )
    yield (
        "experiments",
        [
            (one.id, one.says, one.exists, one.lacks, one.kind, one.minutes)
            for one in atlas.experiments.values()
        ],
    )


def _records(known: Known) -> Iterable[tuple[str, list[Row]]]:
    """Records and all their numbers."""
    records = [(claim, one) for claim in CLAIMS for one in known.of(claim)]
    yield (
        "records",
        [(one.id, claim, one.base_name, one.seed, one.origin.kind, one.n, one.made) for claim, one in records],
    )
    yield (
        "numbers",
        [
            (one.id, claim, name, _real(x.value), _real(x.low), _real(x.high))
            for claim, one in records
            for name, x in one.numbers.items()
        ],
    )


def _reading(one: ReadingState) -> Row:
    asked, number = one.reading, one.number
    fixed = (asked.id, asked.fact, asked.claim, asked.number, asked.counts, asked.bound, asked.how)
    return (
        *fixed,
        asked.where,
        asked.says,
        one.outcome,
        _real(number.value),
        _real(number.low),
        _real(number.high),
        one.seeds,
    )


def _real(value: float) -> float | None:
    return value if math.isfinite(value) else None
