"""The token view: completions token by token, as escaped text.

A token's fill shows one number (entropy, or the shift of its log-probability), its underline shows its role.
The exact values are in a table below, from which the side panel reads too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from keyturn.auditing.result import AuditResult, TokenSpan
from keyturn.core.numbers import number
from keyturn.core.text import visible_tokens
from keyturn.problems.examples import NEXT_QUESTION
from keyturn.report.tables import Table

SHOWN = 1500
"""Maximum number of tokens shown of a completion; a longer one is cut, with a note."""

PAGE = 16_000
"""Maximum number of tokens of all completions of a page, so that a page of many long ones opens quickly."""

LETTERS = 400
"""Maximum number of characters shown of one token; the longest tokens have about a hundred."""

WORDS = 20_000
"""Maximum number of characters shown of a prompt."""

ENTROPY_STEPS = (0.05, 0.2, 0.5, 1.0, 2.0)
"""Limits in nats between the six fills for entropy."""

SHIFT_STEPS = (-2.0, -0.5, -0.1, 0.1, 0.5, 2.0)
"""Limits in nats between the seven fills for the shift; the middle fill means no shift."""

NO_ROLE = "n/a"
"""In the table of exact values, for a token whose role nobody knows."""

FORK = 0.5
"""Entropy in nats from which a token counts as a fork for the keys n and p."""

UNDERLINES: dict[str, str] = {
    **dict.fromkeys(("strategy", "plan", "goal"), "plan"),
    "verify": "verify",
    **dict.fromkeys(("backtrack", "wrong"), "back"),
    "answer": "answer",
    "invalid": "invalid",
    **dict.fromkeys(("syntax", "repeat", "arbitrary"), "quiet"),
}
"""Role -> class of its underline; the others (execution, unknown) have none."""

LINES = (
    ("plan", "plan, strategy, goal"),
    ("verify", "verify"),
    ("back", "backtrack, retracted"),
    ("answer", "answer"),
    ("invalid", "lost the grammar"),
    ("none", "execution (no line)"),
)
"""Classes of underline and their meaning, in the order of the legend."""

OUTCOMES = {
    "verified": ("good", "✓"),
    "right answer": ("good", "✓"),
    "right answer, invalid trace": ("half", "◐"),
    "wrong": ("bad", "✗"),
}
"""Outcome -> class and sign of its badge."""


@dataclass(frozen=True, kw_only=True)
class TokenBlock:
    """One completion as the page shows it.

    Args:
        name: identifier that is unique in the page.
        title, problem, prompt, outcome: text from outside, escaped by the page.
        before: worked examples that stand in front of the prompt; empty without.
        badge: class and sign of the outcome.
        tokens: the completion, one element per token.
        table: exact values, one row per token.
        cut: number of tokens that are not shown.
        sibling: another draw of the same problem.
    """

    name: str
    title: str
    problem: str
    before: str
    prompt: str
    outcome: str
    badge: tuple[str, str]
    tokens: Markup
    table: Table
    cut: int
    sibling: TokenBlock | None = None

    @property
    def has_roles(self) -> bool:
        """Whether a role is known of any token here or of the sibling."""
        known = any(row[2] != NO_ROLE for row in self.table.rows)
        return known or (self.sibling is not None and self.sibling.has_roles)


def share_of(results: Sequence[AuditResult]) -> int:
    """Number of tokens of each completion that fit into a page."""
    completions = sum(1 if span.sibling is None else 2 for result in results for span in result.spans)
    return max(1, min(SHOWN, PAGE // max(completions, 1)))


def blocks(spans: Sequence[TokenSpan], prefix: str, most: int = SHOWN) -> tuple[TokenBlock, ...]:
    """All chosen completions of an audit, each with its sibling, with at most ``most`` tokens of each."""
    return tuple(block(span, f"{prefix}-span{i + 1}", most) for i, span in enumerate(spans))


def block(span: TokenSpan, name: str, most: int = SHOWN) -> TokenBlock:
    """One completion."""
    size = min(len(span.text), most)
    before, prompt = parts_of(span.prompt)
    return TokenBlock(
        name=name,
        title=span.title,
        problem=span.problem,
        before=_cut(before, WORDS),
        prompt=_cut(prompt, WORDS),
        outcome=span.outcome,
        badge=OUTCOMES.get(span.outcome, ("none", "?")),
        tokens=Markup("").join(_token(span, i) for i in range(size)),
        table=_values(span, size),
        cut=len(span.text) - size,
        sibling=None if span.sibling is None else block(span.sibling, f"{name}-sibling", most),
    )


def parts_of(prompt: str) -> tuple[str, str]:
    """The worked examples of a prompt, and what is asked behind them."""
    at = prompt.rfind(f"\n\n{NEXT_QUESTION}")
    return ("", prompt) if at < 0 else (prompt[:at], prompt[at:].lstrip("\n"))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}⟨{len(text) - most} more characters⟩"


def level(value: float, steps: Sequence[float]) -> str:
    """The fill of a value: the number of limits that it reaches, or ``x`` if it is not known."""
    return "x" if math.isnan(value) else str(sum(value >= step for step in steps))


def legend(steps: Sequence[float]) -> list[tuple[str, str]]:
    """Each fill and its range of values."""
    names = [number(step, digits=2).rstrip("0").rstrip(".") for step in steps]
    inner = [f"{a} to {b}" for a, b in itertools.pairwise(names)]
    return [(str(i), words) for i, words in enumerate([f"below {names[0]}", *inner, f"{names[-1]} and more"])]


def _token(span: TokenSpan, i: int) -> Markup:
    """One token. A writing direction that it switches on ends with it."""
    entropy, shift = float(span.entropy[i]), _shift(span, i)
    role = span.role[i]
    classes = ["t", f"e{level(entropy, ENTROPY_STEPS)}", f"s{level(shift, SHIFT_STEPS)}"]
    if role in UNDERLINES:
        classes.append(f"r-{UNDERLINES[role]}")
    if entropy >= FORK:
        classes.append("fork")
    return Markup('<bdi class="{}">{}</bdi>').format(" ".join(classes), pieces(_cut(span.text[i], LETTERS)))


def pieces(text: str) -> Markup:
    """Text from outside as text nodes: invisible characters become chips, line breaks are shown and kept."""
    if not text:
        return Markup('<span class="chip">∅</span>')
    out = []
    for piece, chip in visible_tokens(text):
        shown = escape(piece)
        if chip:
            out.append(Markup('<span class="chip">{}</span>').format(shown))
        else:
            broken = shown.replace("\n", Markup('<span class="brk">⏎</span>\n'))
            out.append(broken.replace("\t", Markup('<span class="brk">⇥</span>\t')))
    return Markup("").join(out)


def _shift(span: TokenSpan, i: int) -> float:
    return float(span.logprob[i]) - float(span.base_logprob[i])


def _values(span: TokenSpan, size: int) -> Table:
    return Table(
        caption="Exact values per token (nats)",
        header=("#", "token", "role", "entropy", "log p tuned", "log p base", "shift"),
        rows=tuple(
            (
                str(i),
                _cut(span.text[i], LETTERS),
                NO_ROLE if span.role[i] == "unknown" else span.role[i],
                number(float(span.entropy[i]), digits=3),
                number(float(span.logprob[i]), digits=3),
                number(float(span.base_logprob[i]), digits=3),
                number(_shift(span, i), digits=3, signed=True),
            )
            for i in range(size)
        ),
        words=frozenset({1, 2}),
        head=False,
    )
