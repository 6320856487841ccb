"""The state of a fact as a shape and a word; colour only repeats what these say."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from markupsafe import Markup

from keyturn.core.numbers import counted
from keyturn.report.svg import Point, dot, element, group, line

LOOK: Mapping[str, str] = MappingProxyType(
    {
        "holds": "holds",
        "fails": "fails",
        "split": "split",
        "open": "open",
        "indication only": "hint",
        "no sound record": "unsound",
        "no reading": "unread",
    }
)
"""State -> class of its look."""

MEANING: Mapping[str, str] = MappingProxyType(
    {
        "holds": "every sound reading that tests it holds: the whole interval is on the right side",
        "fails": "a reading that tests it fails, none holds: the whole interval is on the wrong side",
        "split": "readings that test it disagree, or records of different origin do",
        "open": "a reading that tests it is undecided: its interval spans the bound, or it has none yet",
        "indication only": "what was measured bears on it and does not test it",
        "no sound record": "no record is sound: none was made, a control failed, or a gate was not met",
        "no reading": "nothing here measures it yet",
    }
)
"""State -> what it says."""


def shape(state: str, at: Point, radius: float = 4.5) -> Markup:
    """The shape of a state around a point of a drawing."""
    x, y = at
    r = radius
    look = LOOK[state]
    if look == "holds":
        parts = [dot(at, r, "m-full")]
    elif look == "fails":
        a = r * 0.82
        parts = [line((x - a, y - a), (x + a, y + a), "m-line"), line((x - a, y + a), (x + a, y - a), "m-line")]
    elif look == "split":
        half = f"M{x:.1f} {y - r:.1f}A{r:.1f} {r:.1f} 0 0 0 {x:.1f} {y + r:.1f}Z"
        parts = [dot(at, r, "m-ring"), element("path", d=half, class_="m-full")]
    elif look == "open":
        parts = [dot(at, r, "m-ring"), line((x - r, y), (x + r, y), "m-ring")]
    elif look == "hint":
        parts = [dot(at, r * 0.45, "m-full")]
    elif look == "unsound":
        a = r * 0.7
        parts = [dot(at, r, "m-ring"), line((x - a, y + a), (x + a, y - a), "m-ring")]
    else:
        parts = [dot(at, r, "m-ring m-dotted")]
    return group(parts, f"mark s-{look}")


@functools.cache
def mark(state: str) -> Markup:
    """The shape of a state within a line of text; the word stands beside it, so that readers skip the shape."""
    return element(
        "svg",
        shape(state, (7, 7), 5.2),
        class_="m",
        viewBox="0 0 14 14",
        width=14,
        height=14,
        aria_hidden="true",
    )


_WORDS = {
    "holds": ("holds", "hold"),
    "fails": ("fails", "fail"),
    "split": ("is split", "are split"),
    "open": ("is open", "are open"),
    "indication only": ("has only an indication", "have only an indication"),
    "no sound record": ("has no sound record", "have no sound record"),
    "no reading": ("is not measured", "are not measured"),
}
"""How a state reads of one fact, and of several."""


def facts_told(states: Sequence[str]) -> str:
    """Facts counted, with their states: ``3 facts: 2 hold, 1 is open``; ``1 fact, which holds``."""
    if len(states) == 1:
        return f"1 fact, which {_WORDS[states[0]][0]}"
    return f"{counted(len(states), 'fact')}: {told(states)}"


def told(states: Sequence[str]) -> str:
    """States in words, counted: ``2 hold, 1 is open``."""
    counts = {state: list(states).count(state) for state in LOOK}
    return ", ".join(f"{n} {_WORDS[state][n != 1]}" for state, n in counts.items() if n) or "no facts"
