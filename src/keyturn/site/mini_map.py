"""The map at a glance: every note as the marks of its facts, at the place that it has on the full map."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from keyturn.report.svg import Point, drawing, element, group, line
from keyturn.site import paths
from keyturn.site.marks import LOOK, shape, told
from keyturn.site.source import Source

WIDTH = 1152.0
FLAT = 0.44
"""How far the full map is pressed together."""
STEP = 12.0
HIGH = 20.0
MOST_NOTES = 150


def mini_map(source: Source, places: Mapping[str, Point]) -> Markup:
    """The drawing; nothing for a collection whose full map shows topics."""
    notes = [note for note in source.atlas.notes.values() if note.id in places]
    if not notes or len(source.atlas.notes) > MOST_NOTES:
        return Markup("")
    far = max(places[n.id][0] for n in notes), max(places[n.id][1] for n in notes)
    near = min(places[n.id][0] for n in notes), min(places[n.id][1] for n in notes)
    scale = (WIDTH - 150) / max(far[0] - near[0], 1.0)
    at = {
        n.id: (75 + (places[n.id][0] - near[0]) * scale, 14 + (places[n.id][1] - near[1]) * FLAT) for n in notes
    }
    lines = [
        line(at[one.source], at[one.target], f"rel p-{one.polarity}")
        for one in source.atlas.relations
        if one.source in at and one.target in at and one.polarity != "structure"
    ]
    pills = []
    for note in notes:
        marks = source.marks(note)
        x, y = at[note.id]
        wide = STEP * max(len(marks), 1) + 10
        first = x - STEP * (len(marks) - 1) / 2
        pills.append(
            element(
                "a",
                element("title", f"{note.question} {told(marks).capitalize()}."),
                element(
                    "rect", x=x - wide / 2, y=y - HIGH / 2, width=wide, height=HIGH, rx=HIGH / 2, class_="frame"
                ),
                *[shape(state, (first + STEP * i, y), 4.0) for i, state in enumerate(marks)],
                href=paths.note(note.id),
                class_=f"node s-{LOOK[source.note_state(note)]}",
                aria_label=note.question,
            )
        )
    shown = drawing(
        "mini",
        (WIDTH, 28 + (far[1] - near[1]) * FLAT),
        "The map at a glance",
        "Every capsule is a note, every mark in it a fact. The page of the map has the words.",
        [group(lines, "lines"), group(pills, "nodes")],
    )
    return Markup(str(shown).replace('role="img"', 'role="group" class="map mini"', 1))
