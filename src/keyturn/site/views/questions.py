"""Pages of questions: the computed answer, and the list with its filters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from keyturn.atlas.answers import Answer, Clause, Gap, Reported, Tension, Turning
from keyturn.atlas.collection import Question
from keyturn.core import numbers
from keyturn.report.svg import clip
from keyturn.site import paths
from keyturn.site.bylines import paper_name
from keyturn.site.clauses import clauses_of, sentence_of
from keyturn.site.figures import counted, quoted
from keyturn.site.page import Page
from keyturn.site.source import Source

ANSWERABLE = {
    "yes": "answerable now",
    "partly": "answerable in part",
    "no": "measurable, nothing does yet",
    "outside": "outside this laboratory",
}
"""How far the current claims answer a question."""
MEANS = {
    "yes": "a study measures it as it is asked",
    "partly": "a study bears on it; the page names what of it is not measured",
    "no": "it could be measured here; the page names the experiment that would and what it lacks",
    "outside": "nothing in this laboratory measures it; the page says what that would take",
}
LEANINGS = {
    "yes": ("yes", "holds"),
    "no": ("no", "fails"),
    "depends": ("it depends", "split"),
    "both": ("both sides hold", "split"),
    "measured": ("measured", "holds"),
    "undecided": ("undecided", "open"),
    "unmeasured": ("not measured", "no reading"),
    "outside": ("outside", "no sound record"),
}
"""What the first sentence says -> (word, the mark that goes with it)."""
AGREEMENT = {
    "agrees": "holds",
    "agrees in part": "split",
    "differs": "fails",
    "not comparable": "no reading",
}


def pages(source: Source) -> Iterator[Page]:
    """Every question, and their list."""
    for one in source.atlas.questions.values():
        yield source.page(paths.question(one.id), _page, source, source.answer(one.id))
    yield _list(source)


def question_row(source: Source, one: Question) -> dict[str, Any]:
    """What a list shows of a question."""
    found = source.answer(one.id)
    word, look = LEANINGS[found.leaning]
    return {
        "path": paths.question(one.id),
        "title": one.question,
        "answerable": one.answerable,
        "state": look,
        "word": word,
        "leaning": found.leaning,
        "topic": one.topic,
        "sentence": clause(found.sentence),
        "why": why(one),
    }


def why(one: Question) -> str:
    """Why a question is answerable as far as it is: what it lacks, in words."""
    shapes = {
        "yes": "not measured besides: {}",
        "partly": "not measured: {}",
        "no": "lacking: {}",
        "outside": "lacking: {}",
    }
    return shapes[one.answerable].format(one.missing) if one.missing else ""


def clause(one: Clause) -> Markup:
    """A sentence with the ids that it rests on."""
    if not one.data_from:
        return Markup('<span class="c">{}</span>').format(one.text)
    return Markup('<span class="c" data-from="{}">{}</span>').format(" ".join(one.data_from), one.text)


def _list(source: Source) -> Page:
    topics: dict[str, list[dict[str, Any]]] = {}
    for one in source.atlas.questions.values():
        topics.setdefault(one.topic, []).append(question_row(source, one))
    order = {"yes": 0, "partly": 1, "no": 2, "outside": 3}
    for rows in topics.values():
        rows.sort(key=lambda row: order[row["answerable"]])
    # Topics that are answered best come first.
    best = {topic: sum(order[row["answerable"]] for row in rows) / len(rows) for topic, rows in topics.items()}
    groups = [
        {"name": topic, "rows": topics[topic], "told": _tallied(topics[topic])}
        for topic in sorted(topics, key=lambda t: (best[t], t))
    ]
    every = source.atlas.questions.values()
    added = [one for one in every if one.added]
    return Page(
        path="questions/index.html",
        template="questions.html.jinja",
        title="Questions",
        under="questions/index.html",
        shows={
            "groups": groups,
            "answerable": [
                {
                    "key": key,
                    "words": words,
                    "means": MEANS[key],
                    "count": counted(sum(one.answerable == key for one in every), key),
                    "families": counted(
                        sum(one.answerable == key and not one.added for one in every), f"families:{key}"
                    ),
                }
                for key, words in ANSWERABLE.items()
            ],
            "families": counted(len(every) - len(added), "families"),
            "added": [
                {"path": paths.question(one.id), "title": one.question, "word": ANSWERABLE[one.answerable]}
                for one in added
            ],
            "added_count": counted(len(added), "added"),
            "leanings": [(key, word) for key, (word, _) in LEANINGS.items()],
            "count": counted(len(every), "questions"),
        },
    )


def _tallied(rows: list[dict[str, Any]]) -> list[tuple[str, str, int]]:
    """How the questions of a topic are answered: (mark, word, how many)."""
    words = [row["word"] for row in rows]
    return [(look, word, words.count(word)) for word, look in LEANINGS.values() if word in words]


def _page(source: Source, found: Answer) -> Page:
    one = found.question
    word, look = LEANINGS[found.leaning]
    gaps = [gap_line(source, line) for line in found.gaps]
    return Page(
        path=paths.question(one.id),
        template="question.html.jinja",
        title=one.question,
        summary=found.sentence.text,
        under="questions/index.html",
        shows={
            "question": one,
            "answerable": ANSWERABLE[one.answerable],
            "word": word,
            "look": look,
            "sentence": clause(found.sentence),
            "article": article(found),
            "first_run": next((line for line in gaps if line["command"]), None),
            "cautions": Markup(" ").join(clause(line) for line in found.cautions),
            "facts": [_fact(source, line) for line in found.reported],
            "tensions": [_tension(source, line) for line in found.tensions],
            "gaps": gaps,
            "turning": [turning_line(line) for line in found.turning],
            "absent": found.absent,
            "sources": [
                {
                    "path": paths.note(line.note.id),
                    "title": line.note.question,
                    "statement": line.note.statement,
                    "states": source.marks(line.note),
                    "words": line.states,
                }
                for line in found.sources
            ],
            "further": [question_row(source, source.atlas.questions[name]) for name in found.further],
        },
    )


def article(found: Answer, *, first: bool = False) -> list[Markup]:
    """The paragraphs; without the first sentence, which stands above, unless it is asked for."""
    paragraphs = []
    for index, paragraph in enumerate(found.article):
        sentences = paragraph if first or index else paragraph[1:]
        if sentences:
            paragraphs.append(Markup(" ").join(clause(one) for one in sentences))
    return paragraphs


def _fact(source: Source, line: Reported) -> dict[str, Any]:
    fact = line.fact.fact
    papers = [source.atlas.papers[name] for name in line.papers if name in source.atlas.papers]
    return {
        "path": paths.fact(fact.id),
        "says": fact.says,
        "state": line.fact.state,
        "clauses": clauses_of(source, line.fact.readings),
        "agreement": line.agreement,
        "agreement_look": AGREEMENT[line.agreement],
        "why": line.why,
        "caution": fact.caution,
        "quantities": [
            {"what": q.what, "number": quoted(str(q), f"{fact.id}/{q.id}")} for q in line.quantities
        ],
        "papers": [(paths.paper(p.id), paper_name(p.authors, p.year)) for p in papers],
    }


def _tension(source: Source, line: Tension) -> dict[str, Any]:
    notes = [source.atlas.notes[name] for name in (line.relation.source, line.relation.target)]
    return {
        "sides": [
            {
                "path": paths.note(note.id),
                "title": note.question,
                "states": source.marks(note),
                "state": source.note_state(note),
            }
            for note in notes
        ],
        "why": line.relation.why,
        "verb": "denies a part of" if line.relation.type == "contradicts-in-part" else "stands against",
        "decides": source.decides(line.relation),
        "origin": line.relation.id,
    }


def gap_line(source: Source, one: Gap) -> dict[str, Any]:
    """What is missing, and the command or the experiment that would give it."""
    facts = [source.atlas.facts[name] for name in one.facts if name in source.atlas.facts]
    claim, experiment = source.claims.get(one.by), source.atlas.experiments.get(one.by)
    says, path = "", ""
    if claim:
        says, path = claim.question, paths.claim(claim.id)
    elif experiment:
        says, path = experiment.says, paths.experiment(experiment.id)
    return {
        "id": f"run-{one.by or 'none'}",
        "says": says,
        "path": path,
        "written": one.written,
        "why": one.why,
        "command": one.command,
        "cost": f"about {numbers.counted(max(1, round(one.minutes)), 'minute')}" if one.minutes else "",
        "facts": [(paths.fact(fact.id), clip(fact.says, 120)) for fact in facts],
    }


def turning_line(one: Turning) -> dict[str, Any]:
    """What would change a reading."""
    return {
        "state": one.state.outcome,
        "sentence": sentence_of(one.state),
        "text": Markup('<span data-from="turning:{}">{}</span>').format(
            one.state.reading.id, f"{one.text[:1].upper()}{one.text[1:]}."
        ),
        "path": paths.fact(one.state.reading.fact),
    }
