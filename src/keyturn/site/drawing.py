"""Maps as drawings: links that need no script, beside a list that says the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keyturn.report.svg import Point, drawing, element, group, label
from keyturn.site.boxes import LINE, MARK, MARKS_ROW, PAD_Y, Box, edge_point
from keyturn.site.marks import LOOK, shape

NOTHING = Markup("")


@dataclass(frozen=True, kw_only=True)
class Node:
    """A box of a map.

    Args:
        box: its size and label.
        href: where it leads.
        state: of the note: the look of its border.
        marks: states of its facts.
        words: what a reader of the drawing hears: the question and its states.
        above: a small line over the label, such as the name of a relation.
    """

    box: Box
    href: str
    state: str
    marks: tuple[str, ...]
    words: str
    above: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A relation of a map.

    Args:
        source, target: ids of boxes.
        polarity: for, against, limits or structure.
        words: what a pointer that rests on it is told.
    """

    source: str
    target: str
    polarity: str
    words: str


def map_of(
    name: str,
    nodes: Sequence[Node],
    lines: Sequence[Line],
    at: Mapping[str, Point],
    *,
    size: Point,
    title: str,
    description: str,
) -> Markup:
    """A drawing of boxes and lines; nodes are links in the order given.

    Args:
        name: unique in the page.
        nodes, lines: what is drawn; lines whose ends are not drawn are left out.
        at: middles of boxes.
        size: width and height.
        title, description: of the drawing, in words.
    """
    boxes = {node.box.id: node.box for node in nodes}
    drawn = [_line(one, boxes, at) for one in lines if one.source in boxes and one.target in boxes]
    return drawing_of(name, nodes, drawn, at, size=size, title=title, description=description)


def drawing_of(
    name: str,
    nodes: Sequence[Node],
    lines: Sequence[Markup],
    at: Mapping[str, Point],
    *,
    size: Point,
    title: str,
    description: str,
    over: Markup = NOTHING,
) -> Markup:
    """Boxes over lines that are drawn already; ``over`` comes last."""
    parts = [group(lines, "lines"), group([_node(node, at[node.box.id]) for node in nodes], "nodes"), over]
    shown = drawing(name, size, title, description, parts)
    # Links inside are reached by keyboard, so that the whole is a group and no image.
    return Markup(str(shown).replace('role="img"', 'role="group" class="map"', 1))


def _line(line: Line, boxes: Mapping[str, Box], at: Mapping[str, Point]) -> Markup:
    a, b = at[line.source], at[line.target]
    start, end = edge_point(boxes[line.source], a, b), edge_point(boxes[line.target], b, a)
    return element(
        "line",
        element("title", line.words),
        x1=start[0],
        y1=start[1],
        x2=end[0],
        y2=end[1],
        class_=f"rel p-{line.polarity}",
        data_a=line.source,
        data_b=line.target,
    )


def _node(node: Node, at: Point) -> Markup:
    box = node.box
    left, top = at[0] - box.width / 2, at[1] - box.height / 2
    parts = [
        element("title", node.words),
        element("rect", x=left, y=top, width=box.width, height=box.height, rx=7.0, class_="frame"),
    ]
    y = top + PAD_Y + 11.0
    if node.above:
        parts.append(label((at[0], y), node.above, "above", "middle"))
        y += LINE
    for line in box.lines:
        parts.append(label((at[0], y), line, "name", "middle"))
        y += LINE
    if node.marks:
        first = at[0] - MARK * (len(node.marks) - 1) / 2
        row = top + box.height - PAD_Y - MARKS_ROW / 2 + 3
        parts += [shape(state, (first + MARK * i, row)) for i, state in enumerate(node.marks)]
    return element("a", *parts, href=node.href, class_=f"node s-{LOOK[node.state]}", data_id=box.id)
