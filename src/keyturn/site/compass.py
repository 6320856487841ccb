"""The local map of a note: what speaks for it on the left, against it on the right, what limits it below.

The places follow from the lists alone, so that a note's compass is the same on every machine. Many boxes of one
side stand in two columns, the inner ones halfway between the outer ones, so that every line has a way through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from markupsafe import Markup

from keyturn.report.svg import Point, element, label
from keyturn.site.boxes import LINE, Box
from keyturn.site.drawing import Line, Node, drawing_of

WIDTH = 1152.0
BOX = 186.0
"""Width of a neighbour's box."""
CENTRE = 220.0
GAP = 16.0
HEAD = 34.0
"""Room for the name of a side."""
_DOUBLE = 5
"""More neighbours than this stand in two columns."""
_INSET = 20.0
"""Between two columns."""


def raised(box: Box) -> Box:
    """A box with room for a small line above its label."""
    return Box(id=box.id, lines=box.lines, marks=box.marks, width=box.width, height=box.height + LINE)


def compass(
    name: str,
    centre: Node,
    sides: Mapping[str, tuple[str, Sequence[Node]]],
    lines: Sequence[Line],
    *,
    title: str,
    description: str,
) -> Markup:
    """The drawing.

    Args:
        name: unique in the page.
        centre: the note.
        sides: left, right, below -> (heading, neighbours); boxes are :data:`BOX` wide.
        lines: from neighbours to the centre or back.
        title, description: in words.
    """
    left, right, below = (sides[side][1] for side in ("left", "right", "below"))
    tall = max(_height(left), _height(right), centre.box.height + 60)
    middle: Point = (WIDTH / 2, HEAD + tall / 2)
    at = _columns(left, middle[1], -1) | _columns(right, middle[1], 1)
    bottom, rows = _rows(below, HEAD + tall + (52 if below else 8))
    at |= rows | {centre.box.id: middle}
    nodes = [*left, centre, *right, *below]
    boxes = {node.box.id: node.box for node in nodes}
    under = {node.box.id for node in below}
    drawn = [_curve(one, centre, boxes, at, under) for one in lines if {one.source, one.target} <= set(boxes)]
    words = [
        label((1.0, 16.0), sides["left"][0] if left else f"{sides['left'][0]}: nothing so far", "side"),
        label(
            (WIDTH - 1, 16.0),
            sides["right"][0] if right else f"{sides['right'][0]}: nothing so far",
            "side",
            "end",
        ),
    ]
    if below:
        words.append(label((WIDTH / 2 + 14, HEAD + tall + 34), sides["below"][0], "side"))
    heads = element("g", *words, aria_hidden="true")
    return drawing_of(
        name, nodes, drawn, at, size=(WIDTH, bottom), title=title, description=description, over=heads
    )


def _curve(
    one: Line, centre: Node, boxes: Mapping[str, Box], at: Mapping[str, Point], under: Set[str]
) -> Markup:
    """A line that leaves level, passes between the boxes of the inner column, and bends to the centre."""
    other = one.target if one.source == centre.box.id else one.source
    box, (x, y), (cx, cy) = boxes[other], at[other], at[centre.box.id]
    half, high = centre.box.width / 2, centre.box.height / 2
    if other in under:
        end = (cx + (x - cx) * 0.12, cy + high)
        start = (x, y - box.height / 2)
        bend = (start[1] + end[1]) / 2
        path = (
            f"M{start[0]:.1f} {start[1]:.1f}"
            f"C{x:.1f} {bend:.1f} {end[0]:.1f} {bend:.1f} {end[0]:.1f} {end[1]:.1f}"
        )
    else:
        side = -1 if x < cx else 1
        start = (x - side * box.width / 2, y)
        way = cx + side * (WIDTH / 2 - 2 * BOX - _INSET - 2)  # where the inner column ends
        through = way if (start[0] - way) * side > 0 else start[0]
        end = (cx + side * half, cy + (y - cy) * 0.07)
        bend = (through + end[0]) / 2
        path = (
            f"M{start[0]:.1f} {y:.1f}H{through:.1f}"
            f"C{bend:.1f} {y:.1f} {bend:.1f} {end[1]:.1f} {end[0]:.1f} {end[1]:.1f}"
        )
    return element(
        "path",
        element("title", one.words),
        d=path,
        class_=f"rel p-{one.polarity}",
        data_a=one.source,
        data_b=one.target,
    )


def _split(nodes: Sequence[Node]) -> tuple[list[Node], list[Node]]:
    """Outer and inner column."""
    if len(nodes) <= _DOUBLE:
        return list(nodes), []
    return list(nodes[0::2]), list(nodes[1::2])


def _pitch(nodes: Sequence[Node]) -> float:
    return max((node.box.height for node in nodes), default=0.0) + GAP


def _height(nodes: Sequence[Node]) -> float:
    outer, inner = _split(nodes)
    pitch = _pitch(nodes)
    return max(len(outer) * pitch, (len(inner) + 0.5) * pitch if inner else 0.0)


def _columns(nodes: Sequence[Node], middle: float, side: int) -> dict[str, Point]:
    """One or two columns at an edge (side -1 left, 1 right), around a height."""
    outer, inner = _split(nodes)
    pitch = _pitch(nodes)
    top = middle - _height(nodes) / 2
    found: dict[str, Point] = {}
    for column, depth, shift in ((outer, 0, 0.5), (inner, 1, 1.0)):
        offset = BOX / 2 + 1 + depth * (BOX + _INSET)
        x = offset if side < 0 else WIDTH - offset
        for index, node in enumerate(column):
            found[node.box.id] = (x, top + pitch * (index + shift))
    return found


def _rows(nodes: Sequence[Node], top: float) -> tuple[float, dict[str, Point]]:
    """Rows of up to five below; gives where they end."""
    found: dict[str, Point] = {}
    y = top
    for start in range(0, len(nodes), 5):
        row = nodes[start : start + 5]
        tall = max(n.box.height for n in row)
        across = len(row) * BOX + (len(row) - 1) * 24
        x = WIDTH / 2 - across / 2 + BOX / 2
        for node in row:
            found[node.box.id] = (x, y + tall / 2)
            x += BOX + 24
        y += tall + GAP
    return y, found
