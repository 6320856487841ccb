"""Section on where and how far the weights moved, compared with rounding and chance."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from keyturn.auditing.result import AuditResult
from keyturn.core.measurement import Estimate, Measurement
from keyturn.core.numbers import number
from keyturn.report.figure import Figure
from keyturn.report.figures.compare import Bar, Words, beside_null
from keyturn.report.figures.lines import Plot, Series, lines
from keyturn.report.lookup import estimate_of, find, first, null_of
from keyturn.report.sections.contract import Section, absence

MOST = 14
"""Maximum number of tensors in a figure, largest first; the listing has all of them."""


def weights(result: AuditResult, prefix: str) -> Section:
    """Tolerance curve, bf16-visible share, places and ranks."""
    made = (
        _tolerances(result, prefix),
        _places(result, prefix),
        _visible(result, prefix),
        *(_ranks(result, prefix, name, words) for name, words in _RANKS),
    )
    figures = tuple(figure for figure in made if figure is not None)
    return Section(
        id=f"{prefix}-weights",
        title="Weights",
        says=_norm(result),
        figures=figures,
        absent=""
        if figures
        else absence(result, "update_geometry", "The weights of the policies are not available."),
    )


_RANKS = (("update_stable_rank", "Stable rank"), ("update_entropy_rank", "Entropy rank"))


def _tolerances(result: AuditResult, prefix: str) -> Figure | None:
    rows = find(result.measurements, "update_within", tensor="all", relative=False)
    zero = first(result.measurements, "update_zero", tensor="all")
    if sum(math.isfinite(m.value) for m in rows) < 2:
        return None
    rows = sorted(rows, key=lambda m: float(m.parameters["tolerance"] or 0.0))
    x = tuple(float(m.parameters["tolerance"] or 0.0) for m in rows)
    series = [
        Series(name="tuned", look="tuned", x=x, y=tuple(m.value for m in rows)),
        Series(name="null", look="base", x=x, y=tuple(null_of(m).value for m in rows)),
    ]
    exact = (
        ""
        if zero is None
        else f" Exactly unchanged: a share of {number(zero.value, small=True)} of the entries."
    )
    plot = Plot(
        title="Entries within a tolerance",
        x_words="tolerance (log scale)",
        y_words="share of entries that moved no further",
        reading="How much of the model counts as unchanged depends on the tolerance; dashed: a dense Gaussian "
        f"update of the same norm.{exact}",
        shares=True,
        base=10.0,
    )
    return lines(f"{prefix}-tolerance", series, plot)


def _visible(result: AuditResult, prefix: str) -> Figure | None:
    rows = [
        m for m in find(result.measurements, "update_visible") if "permuted" in str(m.parameters["against"])
    ]
    rows = [m for m in rows if m.n and math.isfinite(m.value)]
    if not rows:
        return None
    limited = any(m.parameters.get("precision") == "precision-limited" for m in rows)
    words = Words(
        title="What bf16 would show of the update" + (" (precision-limited)" if limited else ""),
        axis="share of entries whose bf16 value changed",
        reading="Grey: the same updates shuffled within each matrix and exponent. A share at its null "
        "reflects the sizes of the updates, not their places; it is never evidence of sparsity.",
    )
    return beside_null(f"{prefix}-visible", _bars(rows), words, shares=True)


def _places(result: AuditResult, prefix: str) -> Figure | None:
    bars = []
    for name, words in (("update_rows", "rows"), ("update_columns", "columns")):
        found = first(result.measurements, name, tensor="all")
        if found is not None and found.n and math.isfinite(found.value):
            bars.append(Bar(name=words, found=estimate_of(found), null=null_of(found)))
    if not bars:
        return None
    words = Words(
        title="Is the update concentrated?",
        axis="Gini of the update's energy (0: even, 1: in one place)",
        reading="Energy over rows and over columns, mean over matrices; grey: the same updates at permuted "
        "places.",
    )
    return beside_null(f"{prefix}-places", bars, words)


def _ranks(result: AuditResult, prefix: str, name: str, title: str) -> Figure | None:
    rows = [
        m
        for m in find(result.measurements, name)
        if m.n and math.isfinite(m.value) and m.parameters.get("side")
    ]
    if not rows:
        return None
    bars = [
        Bar(name=_short(str(m.parameters["tensor"])), found=_over(estimate_of(m), m), null=_over(null_of(m), m))
        for m in _largest(rows)
    ]
    words = Words(
        title=f"{title} of the update, by matrix",
        axis="share of the smaller side",
        reading="How many of the possible directions the update uses; grey: a Gaussian matrix of equal shape.",
    )
    return beside_null(f"{prefix}-{name.replace('_', '-')}", bars, words, shares=True)


def _over(found: Estimate, measured: Measurement) -> Estimate:
    side = float(measured.parameters["side"] or 1)
    return Estimate(found.value / side, found.low / side, found.high / side)


def _norm(result: AuditResult) -> tuple[str, ...]:
    found = first(result.measurements, "update_norm", tensor="all")
    if found is None or not found.n:
        return ()
    return (
        f"The norm of the update is {number(found.value, digits=4, small=True)} of that of the base's weights.",
    )


def _bars(rows: Sequence[Measurement]) -> list[Bar]:
    kept = [m for m in rows if m.parameters.get("tensor") == "all"]
    kept += _largest([m for m in rows if m.parameters.get("tensor") != "all"])
    return [
        Bar(name=_short(str(m.parameters["tensor"])), found=estimate_of(m), null=null_of(m))
        for m in kept
        if m.n and math.isfinite(m.value)
    ]


def _largest(rows: Sequence[Measurement]) -> list[Measurement]:
    """The largest tensors, in the order of the model."""
    chosen = {id(m) for m in sorted(rows, key=lambda m: -m.n)[:MOST]}
    return [m for m in rows if id(m) in chosen]


def _short(tensor: str) -> str:
    """``model.layers.3.self_attn.q_proj.weight`` as ``3 self_attn.q_proj``."""
    return re.sub(r"^(model|transformer)\.(layers|h)?\.?|\.weight$", "", tensor).replace(".", " ", 1)
