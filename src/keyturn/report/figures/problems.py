"""Which problems moved: one stroke per problem from base to tuned success, sorted within its class."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from keyturn.core.numbers import counted as counted_words
from keyturn.core.numbers import number
from keyturn.measures.verdict import AT_CHANCE, REACHABLE, UNDECIDED, UNREACHABLE
from keyturn.report.axes import Frame, Scale, unit
from keyturn.report.figure import Figure, full
from keyturn.report.keys import SAMPLE, Key, keys, spot
from keyturn.report.svg import drawing, element, line
from keyturn.report.tables import Table

PLOT = 250.0
"""Height of the plot itself."""
SHOWN = 1200
"""Maximum number of strokes and table rows; of more problems an evenly spaced choice is shown."""
CLASSES = (
    (REACHABLE, "reachable"),
    (UNDECIDED, "undecided"),
    (AT_CHANCE, "at chance"),
    (UNREACHABLE, "unreachable"),
)
"""Class codes and their names, in the order drawn."""
GAP = 12.0
"""Between classes."""


def moved(
    name: str,
    ids: Sequence[str],
    cells: Sequence[str],
    base_p: NDArray[np.float64],
    tuned_q: NDArray[np.float64],
    classes: NDArray[np.int8],
    budget: int,
) -> Figure:
    """Success of each problem before and after.

    Args:
        name: identifier that is unique in the page.
        ids: ids of the problems (text from outside), ``[problem]``.
        cells: name of each problem's cell, ``[problem]``.
        base_p, tuned_q: estimated success, ``[problem]``.
        classes: REACHABLE / UNREACHABLE / UNDECIDED / AT_CHANCE, ``[problem]``.
        budget: the K of the classes.
    """
    order = _order(base_p, tuned_q, classes)
    kept: list[int] = _kept(order).tolist()
    words = dict(CLASSES)
    table = Table(
        caption="Success per problem, in the order of the figure"
        + (f" ({len(kept)} of {len(order)}, evenly chosen)" if len(kept) < len(order) else ""),
        header=("problem", "cell", "base", "tuned", "class"),
        rows=tuple(
            (
                ids[i],
                cells[i],
                number(float(base_p[i])),
                number(float(tuned_q[i])),
                words.get(int(classes[i]), "undecided"),
            )
            for i in kept
        ),
        words=frozenset({0, 1, 4}),
    )
    change = tuned_q - base_p
    rose, fell = int(np.nansum(change > 0.1)), int(np.nansum(change < -0.1))
    found = [(int((classes == code).sum()), word) for code, word in CLASSES]
    counted = ", ".join(f"{count} {word}" for count, word in found if count)
    says = (
        f"{counted_words(len(base_p), 'problem')} ({counted} at K = {budget}); {rose} rose by more than 0.10, "
        f"{fell} fell by as much."
    )

    def draw(drawn: str, width: float) -> Markup:
        shown, top = keys(_keys(classes), 0, width, 32)
        frame = Frame(left=34, right=width - 6, top=top, bottom=top + PLOT, lift=top - 12)
        y = unit(frame.bottom, frame.top)
        parts = [*shown, *frame.y_axis(y, "success per problem")]
        for code, word in CLASSES:
            parts += _class(kept, code, word, base_p, tuned_q, classes, frame, y)
        return drawing(drawn, (width, frame.bottom + 18), "Which problems moved", says, parts)

    return full(
        name,
        "Which problems moved",
        says,
        "One stroke per problem, from the base's success (hollow end) to the tuned policy's (full end), sorted "
        "by the base's success within each class. A rise in the unreachable class was created"
        + ("; a rise at chance never counts as deployed." if (classes == AT_CHANCE).any() else "."),
        table,
        draw,
    )


def _order(
    base_p: NDArray[np.float64], tuned_q: NDArray[np.float64], classes: NDArray[np.int8]
) -> NDArray[np.int64]:
    """Order by class, then by base success, then by tuned success."""
    rank = np.select([classes == code for code, _ in CLASSES], range(len(CLASSES)), default=1)
    direction = np.where(rank == 0, -1.0, 1.0)
    return np.lexsort((direction * np.nan_to_num(tuned_q), direction * np.nan_to_num(base_p), rank))


def _kept(order: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(order) <= SHOWN:
        return order
    return order[np.linspace(0, len(order) - 1, SHOWN).round().astype(int)]


def _keys(classes: NDArray[np.int8]) -> list[Key]:
    """Keys of both ends of a stroke and of the line of each class that occurs, with its count."""
    out = [Key(words="base", sample=spot("dot-base")), Key(words="tuned", sample=spot("dot-tuned"))]
    for code, word in CLASSES:
        count = int((classes == code).sum())
        if count:

            def sample(x: float, y: float, word: str = word) -> Markup:
                return line((x, y), (x + SAMPLE, y), f"rule rule-{_look(word)}")

            out.append(Key(words=f"{word} ({count})", sample=sample))
    return out


def _look(word: str) -> str:
    return word.replace(" ", "-")


def _class(
    kept: Sequence[int],
    code: int,
    word: str,
    base_p: NDArray[np.float64],
    tuned_q: NDArray[np.float64],
    classes: NDArray[np.int8],
    frame: Frame,
    y: Scale,
) -> Iterator[Markup]:
    """The strokes of one class with a line below them."""
    places = [place for place, i in enumerate(kept) if classes[i] == code]
    if not places:
        return
    shown = [c for c, _ in CLASSES if any(classes[i] == c for i in kept)]
    pitch = (frame.right - frame.left - GAP * (len(shown) - 1)) / len(kept)
    gap = GAP * shown.index(code)
    first = frame.left + gap + pitch * places[0]
    last = frame.left + gap + pitch * (places[-1] + 1)
    yield line((first, frame.bottom + 8), (last, frame.bottom + 8), f"rule rule-{_look(word)}")
    size = min(2.6, max(0.7, pitch * 0.38))
    ups, downs, hollow, solid = [], [], [], []
    for place in places:
        i = kept[place]
        x, y1, y2 = frame.left + gap + pitch * (place + 0.5), y(float(base_p[i])), y(float(tuned_q[i]))
        if not (math.isfinite(y1) and math.isfinite(y2)):
            continue
        (ups if y2 <= y1 else downs).append(f"M{x:.1f} {y1:.1f}V{y2:.1f}")
        hollow.append(_round(x, y1, size))
        solid.append(_round(x, y2, size))
    dense = " dense" if pitch < 2 else ""
    for marks, class_ in ((ups, f"stroke stroke-{_look(word)}{dense}"), (downs, f"stroke stroke-loss{dense}")):
        if marks:
            yield element("path", d="".join(marks), class_=class_)
    if hollow:
        yield element("path", d="".join(hollow), class_="dot-base thin")
        yield element("path", d="".join(solid), class_=f"end-{_look(word)}")


def _round(x: float, y: float, r: float) -> str:
    """A circle as a path, so that hundreds of them are one element."""
    return f"M{x - r:.1f} {y:.1f}a{r:.1f} {r:.1f} 0 1 0 {2 * r:.1f} 0a{r:.1f} {r:.1f} 0 1 0 {-2 * r:.1f} 0"
