"""Pages of notes and of topics, and the map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from keyturn.atlas.answers.phrases import decimals
from keyturn.atlas.collection import Fact, Note, Quantity, Relation
from keyturn.atlas.prose import quantities_of
from keyturn.atlas.search import Hit
from keyturn.core.numbers import counted
from keyturn.report.svg import Point
from keyturn.site import compass as compasses
from keyturn.site import paths
from keyturn.site.boxes import Box, box_of
from keyturn.site.bylines import UNNAMED, authors, paper_name
from keyturn.site.clauses import clauses_of
from keyturn.site.drawing import Line, Node, map_of
from keyturn.site.figures import measured, quoted
from keyturn.site.layout import GAP, place
from keyturn.site.marks import facts_told, told
from keyturn.site.page import Page, relative
from keyturn.site.prose import prose
from keyturn.site.source import Source, together
from keyturn.site.views.questions import question_row

BOX = 172.0
"""Width of a box of the full map."""
WIDTH = 1216.0
MOST_NOTES = 150
"""Beyond these the map shows topics."""
_SIDES = (("for", "left"), ("against", "right"), ("limits", "below"), ("structure", "below"))
_WEIGHT = {"against": 0, "limits": 1, "for": 2, "structure": 3}


def pages(source: Source, places: Mapping[str, Point]) -> Iterator[Page]:
    """Every note, every topic, their lists, and the map.

    Args:
        source: everything.
        places: middles of the boxes of the full map.
    """
    for note in source.atlas.notes.values():
        yield source.page(paths.note(note.id), _note_page, source, note)
    for topic, names in source.atlas.topics.items():
        found = [source.atlas.notes[name] for name in names]
        yield source.page(paths.topic(topic), _topic_page, source, topic, found)
    yield _topics_page(source)
    yield _map_page(source, places)


def card(source: Source, note: Note) -> dict[str, Any]:
    """What a list shows of a note."""
    marks = source.marks(note)
    return {
        "path": paths.note(note.id),
        "title": note.question,
        "statement": note.statement,
        "states": marks,
        "state": source.note_state(note),
        "told": facts_told(marks),
    }


def similarity(name: str, hit: Hit) -> Markup:
    """How near the text of another note or paper is, as a number that a test looks up."""
    return Markup('<span class="n" data-related="{}">{}</span>').format(
        f"{name} {hit.id}", decimals(hit.cosine, 2)
    )


def map_boxes(source: Source) -> list[Box]:
    """The boxes of the full map: notes, or topics where there are many notes."""
    if len(source.atlas.notes) > MOST_NOTES:
        return [box_of(name, name, 1, BOX) for name in source.atlas.topics]
    return [box_of(n.id, n.question, len(n.facts), BOX) for n in source.atlas.notes.values()]


def map_links(source: Source) -> list[tuple[str, str]]:
    """Which boxes are joined."""
    if len(source.atlas.notes) > MOST_NOTES:
        return [(line.source, line.target) for line in _topic_lines(source)]
    return [(one.source, one.target) for one in source.atlas.relations]


def places_of(source: Source, known: Mapping[str, Point]) -> dict[str, Point]:
    """Middles of the boxes of the full map; those that are known stay."""
    return place(map_boxes(source), map_links(source), known, width=WIDTH)


def _note_page(source: Source, note: Note) -> Page:
    path = paths.note(note.id)
    around = source.around(note.id)
    questions = [source.atlas.questions[name] for name in source.atlas.questions_of.get(note.id, ())]
    marks = source.marks(note)
    shows = {
        "note": note,
        "topics": [(paths.topic(topic), topic) for topic in note.topics],
        "state": source.note_state(note),
        "told": f"{facts_told(marks)}.",
        "body": _body(source, note, path),
        "facts": [_fact(source, fact) for fact in note.facts],
        "compass": _compass(source, note, path) if around else "",
        "sides": _sides(source, note),
        "questions": [question_row(source, one) for one in questions],
        "papers": [_paper(source, name) for name in note.papers],
        "related": [
            {
                **card(source, source.atlas.notes[hit.id]),
                "number": similarity(note.id, hit),
            }
            for hit in source.related.get(note.id, ())
        ],
    }
    return Page(
        path=path,
        template="note.html.jinja",
        title=note.question,
        summary=note.statement,
        under="map.html",
        shows=shows,
    )


def _paper(source: Source, name: str) -> dict[str, Any]:
    found = source.atlas.papers.get(name)
    if found is None:
        return {
            "path": "papers/index.html",
            "title": f"{name} (not in the list of papers)",
            "authors": UNNAMED,
            "year": "no year",
        }
    return {
        "path": paths.paper(found.id),
        "title": found.title,
        "authors": authors(found.authors),
        "year": found.year,
    }


def _body(source: Source, note: Note, path: str) -> Markup:
    if not note.body:
        return Markup("")
    quantities = quantities_of(note)

    def link(name: str) -> tuple[str, str] | None:
        other = source.atlas.notes.get(name)
        return (relative(path, paths.note(name)), other.question) if other else None

    def number(name: str) -> Markup | None:
        if name in quantities:
            fact, quantity = quantities[name]
            return quoted(str(quantity), f"{fact}/{quantity.id}")
        state = source.states.readings.get(name)
        if state is None or not state.sound:
            return Markup("(no sound record)") if state else None
        return measured(state.number, state.reading.number, state.records, state.reading.bound)

    return prose(note.body, link, number)


def _fact(source: Source, fact: Fact) -> dict[str, Any]:
    state = source.states.facts[fact.id]
    settled = source.atlas.experiments.get(fact.settled_by)
    elsewhere = [source.atlas.facts[name] for name in fact.same_as if name in source.atlas.facts]
    return {
        "anchor": paths.fact_anchor(fact.id),
        "says": fact.says,
        "state": state.state,
        "clauses": () if elsewhere else clauses_of(source, state.readings),
        "elsewhere": [
            (paths.fact(one.id), source.atlas.notes[name].question)
            for name, one in {fact.note: fact for fact in reversed(elsewhere)}.items()
        ],
        "otherwise": source.otherwise(fact.id),
        "why": "" if state.readings or elsewhere else "Nothing here measures it yet.",
        "reported": [_reported(source, fact, one) for one in fact.quantities],
        "caution": fact.caution,
        "settled_by": settled and (paths.experiment(settled.id), settled.says),
    }


def _reported(source: Source, fact: Fact, one: Quantity) -> dict[str, Any]:
    paper = source.atlas.papers.get(one.paper)
    return {
        "what": one.what,
        "number": quoted(str(one), f"{fact.id}/{one.id}"),
        "paper": paper and (paths.paper(paper.id), paper_name(paper.authors, paper.year)),
        "locator": ", ".join(filter(None, (one.locator, one.version))),
    }


def _neighbour(source: Source, note: Note, path: str, how: str) -> Node:
    marks = source.marks(note)
    box = compasses.raised(box_of(note.id, note.question, len(marks), compasses.BOX))
    return Node(
        box=box,
        href=f"{relative(path, paths.note(note.id))}#around",
        state=source.note_state(note),
        marks=marks,
        words=f"{note.question} {how} this. {told(marks)}.",
        above=how,
    )


def _compass(source: Source, note: Note, path: str) -> Markup:
    marks = source.marks(note)
    around = sorted(source.around(note.id), key=lambda one: _WEIGHT[one[0].polarity])
    sides: dict[str, list[Node]] = {"left": [], "right": [], "below": []}
    seen: set[str] = set()
    for relation, other, how in around:
        if other.id not in seen:
            seen.add(other.id)
            sides[dict(_SIDES)[relation.polarity]].append(_neighbour(source, other, path, how))
    centre = Node(
        box=box_of(note.id, note.question, len(marks), compasses.CENTRE),
        href="#main",
        state=source.note_state(note),
        marks=marks,
        words=f"{note.question} {told(marks)}.",
    )
    names = {"left": "For it", "right": "Against it", "below": "Limits and parts"}
    return compasses.compass(
        "compass",
        centre,
        {side: (names[side], nodes) for side, nodes in sides.items()},
        [line_of(source, relation) for relation, _, _ in around],
        title=f"What stands around: {note.question}",
        description="; ".join(f"{names[side]}: {len(nodes)}" for side, nodes in sides.items())
        + ". The lists below say the same.",
    )


def line_of(source: Source, one: Relation) -> Line:
    """A relation as a line of a map."""
    return Line(source=one.source, target=one.target, polarity=one.polarity, words=one.why)


@dataclass(frozen=True, kw_only=True)
class Side:
    """One list beside a compass."""

    name: str
    lines: Sequence[Mapping[str, Any]]


def _sides(source: Source, note: Note) -> list[Side]:
    lists: dict[str, list[dict[str, Any]]] = {"For it": [], "Against it": [], "Limits and parts": []}
    for relation, other, how in source.around(note.id):
        name = {"for": "For it", "against": "Against it"}.get(relation.polarity, "Limits and parts")
        lists[name].append(
            {
                "how": f"{how}:" if relation.source == note.id else how_from(how),
                "path": paths.note(other.id),
                "title": other.question,
                "state": source.note_state(other),
                "why": relation.why,
                "decides": source.decides(relation),
            }
        )
    return [Side(name=name, lines=lines) for name, lines in lists.items()]


def how_from(how: str) -> str:
    """The head of a line whose neighbour is the subject."""
    return f"it {how} this:"


def _topic_page(source: Source, topic: str, notes: Sequence[Note]) -> Page:
    marks = [mark for note in notes for mark in source.marks(note)]
    return Page(
        path=paths.topic(topic),
        template="topic.html.jinja",
        title=topic.capitalize(),
        under="map.html",
        shows={
            "topic": topic,
            "notes": [card(source, note) for note in notes],
            "told": f"{counted(len(notes), 'note')} with {counted(len(marks), 'fact')}: {told(marks)}.",
            "others": [(paths.topic(one), one) for one in source.atlas.topics if one != topic],
        },
    )


def _topics_page(source: Source) -> Page:
    topics = [
        {
            "path": paths.topic(topic),
            "name": topic,
            "notes": [card(source, source.atlas.notes[name]) for name in names],
        }
        for topic, names in source.atlas.topics.items()
    ]
    return Page(
        path="topics/index.html", template="topics.html.jinja", title="Topics", shows={"topics": topics}
    )


def _topic_lines(source: Source) -> list[Line]:
    found: dict[tuple[str, str], list[Relation]] = {}
    for one in source.atlas.relations:
        ends = [
            source.atlas.notes[name].topics[:1]
            for name in (one.source, one.target)
            if name in source.atlas.notes
        ]
        if len(ends) == 2 and all(ends) and ends[0] != ends[1]:
            found.setdefault((ends[0][0], ends[1][0]), []).append(one)
    return [
        Line(
            source=a,
            target=b,
            polarity=min((one.polarity for one in group), key=_WEIGHT.__getitem__),
            words=f"{len(group)} relations",
        )
        for (a, b), group in found.items()
    ]


def _map_nodes(source: Source) -> tuple[list[Node], list[Line]]:
    if len(source.atlas.notes) > MOST_NOTES:
        nodes = []
        for box in map_boxes(source):
            notes = [source.atlas.notes[name] for name in source.atlas.topics[box.id]]
            state = together(source.note_state(note) for note in notes)
            words = f"{box.id}: {counted(len(notes), 'note')}"
            nodes.append(Node(box=box, href=paths.topic(box.id), state=state, marks=(state,), words=words))
        return nodes, _topic_lines(source)
    boxes = {box.id: box for box in map_boxes(source)}
    nodes = []
    for note in source.atlas.notes.values():
        marks = source.marks(note)
        nodes.append(
            Node(
                box=boxes[note.id],
                href=paths.note(note.id),
                state=source.note_state(note),
                marks=marks,
                words=f"{note.question} {note.statement} {told(marks).capitalize()}.",
            )
        )
    return nodes, [line_of(source, one) for one in source.atlas.relations]


def full_map(source: Source, places: Mapping[str, Point]) -> Markup:
    """The drawing of the map."""
    nodes, lines = _map_nodes(source)
    tall = max((places[n.box.id][1] + n.box.height / 2 for n in nodes), default=0.0) + GAP
    return map_of(
        "map",
        nodes,
        lines,
        places,
        size=(WIDTH, tall),
        title="The map",
        description=f"{len(nodes)} boxes and {len(lines)} lines. The list below says the same.",
    )


def _map_page(source: Source, places: Mapping[str, Point]) -> Page:
    groups = []
    for topic, names in source.atlas.topics.items():
        own = [source.atlas.notes[n] for n in names if source.atlas.notes[n].topics[0] == topic]
        lines = [
            {**card(source, note), "sides": [side for side in _sides(source, note) if side.lines]}
            for note in own
        ]
        groups.append({"name": topic, "path": paths.topic(topic), "notes": lines})
    return Page(
        path="map.html",
        template="map.html.jinja",
        title="The map",
        under="map.html",
        shows={
            "drawing": full_map(source, places),
            "groups": [group for group in groups if group["notes"]],
            "notes": len(source.atlas.notes),
            "relations": len(source.atlas.relations),
        },
    )
