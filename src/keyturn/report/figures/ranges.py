"""A strip of ranges of k below a pair of curves: tuned policy surely above, unknown, surely below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from keyturn.core.numbers import whole
from keyturn.report.axes import Scale
from keyturn.report.svg import element, label, width_of

Kind = Literal["above", "unknown", "below"]
WORDS: dict[Kind, tuple[str, ...]] = {
    "above": ("tuned surely above", "surely above", "above"),
    "unknown": ("not known", "?"),
    "below": ("tuned surely below", "surely below", "below"),
}
"""Labels of a stretch, longest first; the first that fits is used."""
THICK = 10.0
OVER = 12.0
"""How far a label may extend beyond its stretch on either side."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Budgets from ``low`` to ``high``, both included, of one kind."""

    kind: Kind
    low: int
    high: int

    @property
    def words(self) -> str:
        """Text for the tooltip and for readers who do not see the drawing."""
        budgets = whole(self.low) if self.low == self.high else f"{whole(self.low)} to {whole(self.high)}"
        return f"k = {budgets}: {WORDS[self.kind][0]}"


def stretches_of(
    above: Sequence[tuple[int, int]], below: Sequence[tuple[int, int]], k_max: int
) -> tuple[Stretch, ...]:
    """All budgets from 1 to ``k_max`` in order; gaps between the known ranges count as unknown."""
    known = [*(("above", one) for one in above), *(("below", one) for one in below)]
    out: list[Stretch] = []
    at = 1
    for kind, (low, high) in sorted(known, key=lambda pair: pair[1]):
        if low > at:
            out.append(Stretch(kind="unknown", low=at, high=low - 1))
        out.append(Stretch(kind="above" if kind == "above" else "below", low=low, high=high))
        at = high + 1
    if at <= k_max:
        out.append(Stretch(kind="unknown", low=at, high=k_max))
    return tuple(out)


def strip(stretches: Sequence[Stretch], x: Scale, top: float, name: str) -> tuple[list[Markup], float]:
    """The strip with its labels below.

    Args:
        stretches: stretches in order; if empty, nothing is drawn.
        x: the scale of the plot above.
        top: where the strip begins.
        name: name of its patterns, unique in the page.

    Returns:
        The drawing, and the height at which it ends (0 if nothing is drawn).
    """
    if not stretches:
        return [], 0.0
    out = [_patterns(name)]
    end = 0.0
    for one in stretches:
        # A budget is a point. On the strip it extends half way to its neighbours.
        left, right = (
            x(max(end, x.low)) for end in (one.low - 0.5 if one.low > 1 else one.low, one.high + 0.5)
        )
        if not left < right:
            left, right = left - 1.5, left + 1.5
        look = {"class_": "known-not"} if one.kind == "unknown" else {"class_": f"known-{one.kind}"}
        if one.kind != "unknown":
            look["fill"] = f"url(#{name}-{one.kind})"
        out.append(
            element(
                "rect",
                element("title", one.words),
                x=left,
                y=top,
                width=right - left,
                height=THICK,
                **look,
            )
        )
        words, middle, end = _words(one.kind, left, right, end, x.stop + OVER)
        if words:
            out.append(label((middle, top + THICK + 13), words, "key", "middle"))
    out.append(label((0, top + 9), "sure?", "tick"))
    return out, top + THICK + 20


def _words(kind: Kind, left: float, right: float, taken: float, limit: float) -> tuple[str, float, float]:
    """Label of a stretch, its middle, and the position up to which the line is then occupied; None if no label
    fits.
    """
    for words in WORDS[kind]:
        half = width_of(words) / 2
        middle = min((left + right) / 2, limit - half)
        if 2 * half <= right - left + 2 * OVER and middle - half >= taken + 4:
            return words, middle, middle + half
    return "", 0.0, taken


def _patterns(name: str) -> Markup:
    """Rising stripes for above and falling ones for below, which differ without colour."""
    kinds = (("above", 45), ("below", -45))
    return element(
        "defs",
        *(
            element(
                "pattern",
                element("rect", width=6, height=6, class_=f"ground-{kind}"),
                element("path", d="M0 0V6", class_=f"stripe-{kind}"),
                id=f"{name}-{kind}",
                width=6,
                height=6,
                patternUnits="userSpaceOnUse",
                patternTransform=f"rotate({turn})",
            )
            for kind, turn in kinds
        ),
    )
