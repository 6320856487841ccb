"""Chooses the completions of the token view: those that decide the verdict, each with a sibling beside it."""

from __future__ import annotations

from typing import Any

import numpy as np

from keyturn.auditing.result import TokenSpan
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.measures.contract import Tables, TokenShift
from keyturn.measures.verdict import REACHABLE, UNREACHABLE, Verdict

PER_KIND = 2
"""Number of completions shown of each kind."""


def choose_spans(tables: Tables, verdict: Verdict, tokenizer: Any, streams: Streams) -> tuple[TokenSpan, ...]:
    """Tuned completions on problems that the base did not solve, on problems that it did solve, and failures.

    Args:
        tables: with token tables of both policies.
        verdict: its classes say which kind each problem is.
        tokenizer: turns ids into text; None: no token view.
        streams: random streams. The choice within a kind is random, so nobody can pick flattering examples.
    """
    shift, base = tables.shift.get("tuned"), tables.shift.get("base")
    if tokenizer is None or shift is None or base is None or not len(shift.completions):
        return ()
    good = _success(shift) == 1
    classes = verdict.classes[shift.completions.problem]
    kinds = {
        "out of the base's reach": good & (classes == UNREACHABLE),
        "within the base's reach": good & (classes == REACHABLE),
        "a failure": ~good,
    }
    generator = streams.generator("choose")
    spans: list[TokenSpan] = []
    for kind, rows in kinds.items():
        found = np.flatnonzero(rows)
        for row in generator.permutation(found)[:PER_KIND]:
            sibling = _sibling(base, int(shift.completions.problem[row]), tokenizer)
            spans.append(_span(shift, int(row), tokenizer, f"tuned policy, {kind}", sibling))
    return tuple(spans)


def _sibling(base: TokenShift, problem: int, tokenizer: Any) -> TokenSpan | None:
    rows = np.flatnonzero(base.completions.problem == problem)
    if not len(rows):
        return None
    return _span(base, int(rows[0]), tokenizer, "base, its first draw on the same problem", None)


def _success(shift: TokenShift) -> np.ndarray:
    if shift.grades is None:
        return np.zeros(len(shift.completions))
    verified = shift.grades.verified
    return verified if np.isfinite(verified).any() else shift.grades.outcome


def _span(shift: TokenShift, row: int, tokenizer: Any, kind: str, sibling: TokenSpan | None) -> TokenSpan:
    drawn = shift.completions
    part = slice(int(drawn.offsets[row]), int(drawn.offsets[row + 1]))
    problem = int(drawn.problem[row])
    roles = None if shift.grades is None else shift.grades.roles
    count = part.stop - part.start
    return TokenSpan(
        title=f"{kind} (draw {int(drawn.draw[row])})",
        problem=drawn.prompts.ids[problem],
        prompt=drawn.prompts.texts[problem],
        text=_pieces(drawn.tokens[part], tokenizer),
        role=("unknown",) * count if roles is None else tuple(Role(int(r)).name.lower() for r in roles[part]),
        entropy=(shift.base_entropies if shift.drawn_by == "base" else shift.tuned_entropies)[part],
        logprob=shift.tuned_logprobs[part],
        base_logprob=shift.base_logprobs[part],
        outcome=_outcome(shift, row),
        sibling=sibling,
    )


def _outcome(shift: TokenShift, row: int) -> str:
    if shift.grades is None or np.isnan(shift.grades.outcome[row]):
        return "ungraded"
    if shift.grades.outcome[row] != 1:
        return "wrong"
    verified = shift.grades.verified[row]
    if np.isnan(verified):
        return "right answer"
    return "verified" if verified == 1 else "right answer, invalid trace"


def _pieces(tokens: np.ndarray, tokenizer: Any) -> tuple[str, ...]:
    """The text that each token adds. A character split over several tokens appears with the last of them."""
    ids = [int(t) for t in tokens]
    words = [tokenizer.decode(ids[: i + 1], skip_special_tokens=False) for i in range(len(ids))]
    pieces = []
    before = ""
    for text in words:
        pieces.append(text[len(before) :] if text.startswith(before) else text)
        before = text
    return tuple(pieces)
