"""A vault of Markdown files with front matter and wikilinks, as Obsidian and its like read them.

One file a note and one a question, with states and answers as they are today; numbers in prose are looked up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from keyturn.atlas.answers import Answer, answer
from keyturn.atlas.collection.atlas import Atlas
from keyturn.atlas.collection.objects import Note
from keyturn.atlas.known import Known
from keyturn.atlas.prose import pieces
from keyturn.atlas.relation_types import INVERSE
from keyturn.atlas.states import MARKS, States, all_states


def vault(atlas: Atlas, known: Known) -> dict[str, str]:
    """Path below the vault -> text of the file."""
    states = all_states(atlas, known)
    found = {f"notes/{one.id}.md": _note(atlas, states, one) for one in atlas.notes.values()}
    for one in atlas.questions.values():
        found[f"questions/question-{one.id}.md"] = _question(atlas, answer(one, atlas, known, states=states))
    return found


def _front(fields: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in fields.items() if value}
    return f"---\n{yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=100)}---\n"


def _tag(topic: str) -> str:
    return re.sub(r"[^\w/-]+", "-", topic)


def _note(atlas: Atlas, states: States, note: Note) -> str:
    facts = states.of(fact.id for fact in note.facts)
    front = _front(
        {
            "aliases": [note.question],
            "tags": [_tag(topic) for topic in note.topics],
            "kind": note.kind,
            "papers": list(note.papers),
            "states": {one.fact.id: one.state for one in facts},
        }
    )
    body = "".join(
        f"[[{one.text}]]" if one.kind == "note" else one.text for one in pieces(note, atlas.notes, states)
    )
    lines = [f"- {MARKS[one.state]} **{one.state}**: {one.fact.says}" for one in facts]
    relations = [f"- {one.type} [[{one.target}]]: {one.why}" for one in atlas.leaving.get(note.id, ())]
    relations += [
        f"- {INVERSE[one.type]} [[{one.source}]]: {one.why}" for one in atlas.arriving.get(note.id, ())
    ]
    asked = [
        f"- [[question-{one}|{atlas.questions[one].question}]]" for one in atlas.questions_of.get(note.id, ())
    ]
    sections = (("Facts", lines), ("Related", relations), ("Asked by", asked))
    return _page(front, note.question, [note.statement, body], sections)


def _question(atlas: Atlas, found: Answer) -> str:
    asked = found.question
    front = _front(
        {
            "aliases": [asked.question, *asked.variants],
            "tags": [_tag(asked.topic)],
            "answer": found.leaning,
            "answerable": asked.answerable,
        }
    )
    gaps = [
        f"- {gap.why}: `{gap.command}`" if gap.command else f"- {gap.why or 'named by the question'}: {gap.by}"
        for gap in found.gaps
    ]
    sources = [f"- [[{one.note.id}|{one.note.question}]]: {one.states}" for one in found.sources]
    further = [f"- [[question-{one}|{atlas.questions[one].question}]]" for one in found.further]
    return _page(
        front, asked.question, [found.text], (("Gaps", gaps), ("Sources", sources), ("Go on with", further))
    )


def _page(
    front: str, title: str, paragraphs: Sequence[str], sections: Sequence[tuple[str, Sequence[str]]]
) -> str:
    blocks = [f"# {title}", *(one for one in paragraphs if one)]
    for heading, lines in sections:
        if lines:
            blocks += [f"## {heading}", "\n".join(lines)]
    return front + "\n" + "\n\n".join(blocks) + "\n"
