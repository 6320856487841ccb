"""Sections on strategies and formats, on answers and lengths, and on the course of training."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from keyturn.auditing.result import AuditResult
from keyturn.core.measurement import Estimate
from keyturn.core.numbers import estimate
from keyturn.report.figure import Figure
from keyturn.report.figures.compare import Bar, BeforeAfter, Words, before_and_after, changes
from keyturn.report.figures.lines import Plot, Series, lines
from keyturn.report.lookup import estimate_of, find, first, null_of
from keyturn.report.sections.contract import Section, absence

EFFECTS = (("routing", "plan"), ("execution", "exec"), ("unattributed", "undecided"))
"""Parts of the Kitagawa decomposition and the look of their bars."""

LOOKS = {"planning": "plan", "execution": "exec", "all": "plain", "verified": "tuned", "reward": "base"}
MOST = 6
"""Maximum number of strategies with a line in the plot of training."""


def strategies(result: AuditResult, prefix: str) -> Section:
    """Shares of strategies and formats, and the decomposition of the gain into routing and execution."""
    figures = []
    for over in ("strategy", "format"):
        pairs = [pair for pair in _pairs(result, "strategy_share", over) if _known(pair)]
        if len(pairs) > 1:
            words = Words(
                title=f"How completions are spread over {_plural(over)}",
                axis="share of completions",
                reading="Hollow dot: the base; full dot: the tuned policy; problems count equally.",
            )
            figures += [before_and_after(f"{prefix}-{over}", pairs, words, shares=True)]
            figures += _split(result, prefix, over)
    return Section(
        id=f"{prefix}-strategies",
        title="Routing and execution",
        says=_shares(result) if figures else (),
        figures=tuple(figures),
        absent=""
        if figures
        else absence(
            result, "routing_execution", "The strategies and formats of these completions are not known."
        ),
    )


def _shares(result: AuditResult) -> tuple[str, ...]:
    """Routing and execution as shares of the gain, if they exist."""
    found = [(name, result.verdict.shares.get(name)) for name in ("routing", "execution")]
    said = [f"{name} {estimate(share)}" for name, share in found if share and not math.isnan(share.value)]
    return (f"Shares of the gain: {', '.join(said)}.",) if said else ()


def answers(result: AuditResult, prefix: str) -> Section:
    """Changes of answers and lengths, and whether the base failed at the format only."""
    figures = []
    scorings = _scorings(result)
    if scorings:
        words = Words(
            title="Format against capability",
            axis="success at one draw",
            reading="Hollow: the base; full: the tuned policy. If lenient or few-shot scoring raises the "
            "base's success, it lacked the format and not the skill.",
        )
        figures.append(before_and_after(f"{prefix}-scoring", scorings, words, shares=True))
    for name, words in _SIMPLE:
        pairs = _simple(result, name)
        if pairs:
            figures.append(before_and_after(f"{prefix}-{name.replace('_', '-')}", pairs, words))
    return Section(
        id=f"{prefix}-answers",
        title="Answers and lengths",
        figures=tuple(figures),
        absent="" if figures else absence(result, "length", "Neither lengths nor answers were measured."),
    )


_SIMPLE = (
    (
        "length",
        Words(
            title="Length of completions",
            axis="tokens",
            reading="Mean over problems, by the outcome of the completion; hollow: the base, full: the "
            "tuned policy.",
            digits=1,
        ),
    ),
    (
        "answer_entropy",
        Words(
            title="Entropy of the answers",
            axis="nats per problem",
            reading="How much each policy varies its answers to one problem: 0 means always the same answer.",
        ),
    ),
)


def _simple(result: AuditResult, name: str) -> list[BeforeAfter]:
    """Base and tuned value of a measurement, one row per outcome."""
    rows: dict[str, dict[str, Estimate]] = {}
    for m in find(result.measurements, name, cell=None):
        if not math.isnan(m.value):
            row = rows.setdefault(str(m.parameters.get("outcome", "all")), {})
            row[str(m.parameters.get("policy"))] = estimate_of(m)
    return [
        BeforeAfter(name=key, base=row["base"], tuned=row["tuned"])
        for key, row in rows.items()
        if len(row) == 2
    ]


def _scorings(result: AuditResult) -> list[BeforeAfter]:
    rows: dict[str, dict[str, Estimate]] = {}
    for m in find(result.measurements, "accuracy"):
        rows.setdefault(str(m.parameters.get("scoring")), {})[str(m.parameters.get("policy"))] = estimate_of(m)
    pairs = [
        BeforeAfter(name=key, base=row["base"], tuned=row["tuned"])
        for key, row in rows.items()
        if len(row) == 2
    ]
    return [pair for pair in pairs if _known(pair)]


def _known(pair: BeforeAfter) -> bool:
    """Whether there is anything to draw of a row."""
    return math.isfinite(pair.base.value) or math.isfinite(pair.tuned.value)


def training(result: AuditResult, prefix: str) -> Section:
    """Curves of the training run, if its history is known."""
    history = result.tables.history
    steps = tuple(float(row.get("step", i)) for i, row in enumerate(history))
    figures = [
        figure
        for figure in (
            _curves(f"{prefix}-reward", history, steps, _REWARD),
            _curves(f"{prefix}-entropy", history, steps, _ENTROPY),
            _curves(f"{prefix}-error", history, steps, _ERROR),
            _curves(f"{prefix}-routes", history, steps, _ROUTES),
        )
        if figure is not None
    ]
    why = "The history of the training run is not known (policies were given, not trained here)."
    return Section(
        id=f"{prefix}-training",
        title="During training",
        figures=tuple(figures),
        absent="" if figures else why,
    )


def _pairs(result: AuditResult, name: str, over: str) -> list[BeforeAfter]:
    """Every alternative before and after, largest change first."""
    rows: dict[str, dict[str, Estimate]] = {}
    for m in find(result.measurements, name, over=over, cell=None):
        row = rows.setdefault(str(m.parameters.get("alternative")), {})
        row[str(m.parameters.get("policy"))] = estimate_of(m)
    pairs = [
        BeforeAfter(name=key or "none", base=row["base"], tuned=row["tuned"])
        for key, row in rows.items()
        if len(row) == 2
    ]
    return sorted(pairs, key=lambda p: -abs(np.nan_to_num(p.tuned.value - p.base.value)))


def _split(result: AuditResult, prefix: str, over: str) -> list[Figure]:
    """Bars of the Kitagawa decomposition over strategies or formats."""
    bars = []
    for part, look in EFFECTS:
        found = first(result.measurements, "routing_execution", part=part, over=over, cell=None)
        if found is not None and not math.isnan(found.value):
            bars.append(Bar(name=part, found=estimate_of(found), null=null_of(found), look=look))
    if not bars:
        return []
    words = Words(
        title=f"The gain, split over {_plural(over)}",
        axis="part of the gain in mean success",
        reading=f"Routing is the gain from choosing another {over}, execution the gain from doing better "
        "with the same one; unattributed rests on too few draws. The parts sum to the gain; grey: two halves "
        "of the base.",
    )
    return [changes(f"{prefix}-split-{over}", bars, words)]


_REWARD = (
    re.compile(r"^(reward|verified)$"),
    Plot(
        title="Reward during training",
        x_words="training step",
        y_words="mean of the step's completions",
        reading="Each step samples anew; the bold line is a running mean over the faint one.",
        shares=True,
        smooth=True,
    ),
)
_ENTROPY = (
    re.compile(r"^entropy/(planning|execution|all)$"),
    Plot(
        title="Entropy by role during training",
        x_words="training step",
        y_words="entropy, nats per token",
        reading="How open the next token is when planning tokens (what to do next) and execution tokens "
        "(carrying it out) are drawn; the one that falls first was learnt first.",
        smooth=True,
    ),
)
_ERROR = (
    re.compile(r"^error/(planning|execution)$"),
    Plot(
        title="Errors by role during training",
        x_words="training step",
        y_words="share of wrong tokens",
        reading="Share of the tokens of each role that the verifier found wrong.",
        smooth=True,
    ),
)
_ROUTES = (
    re.compile(r"^share/strategy (.+)$"),
    Plot(
        title="Strategies during training",
        x_words="training step",
        y_words="share of completions",
        reading="Share of the step's completions that follow each strategy; at most the six largest are drawn.",
        shares=True,
        smooth=True,
    ),
)
_CYCLE = ("tuned", "base", "exec", "plan", "deployed", "other")


def _curves(
    name: str, history: Sequence, steps: tuple[float, ...], wanted: tuple[re.Pattern[str], Plot]
) -> Figure | None:
    pattern, plot = wanted
    keys = sorted({key for row in history for key in row if pattern.match(key)})
    columns = {key: tuple(float(row.get(key, math.nan)) for row in history) for key in keys}
    # A line needs two points.
    columns = {key: values for key, values in columns.items() if np.isfinite(values).sum() > 1}
    if not columns or len(steps) < 2:
        return None
    largest = sorted(columns, key=lambda key: -float(np.nanmax(columns[key])))[:MOST]
    series = []
    for place, key in enumerate(largest):
        match = pattern.match(key)
        said = match[1] if match else key
        look = LOOKS.get(said, _CYCLE[place % len(_CYCLE)])
        series.append(Series(name=said, look=look, x=steps, y=columns[key]))
    return lines(name, series, plot)


def _plural(column: str) -> str:
    return {"strategy": "strategies"}.get(column, f"{column}s")
