"""An audit in which every text that comes from outside is an attack."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from keyturn.auditing.result import AuditResult, Cell, TokenSpan
from keyturn.measures.verdict import Caution

ATTACKS = (
    "</script><script>alert('x')</script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(2)" style="position:fixed',
    "</style></svg></title><iframe src=//example.test>",
    "{{ 7*'7' }}{% raw %}${alert(3)}",
    "\x1b]8;;http://example.test\x07link\x1b]8;;\x07\x1b[2J",
    "\u202egnp.exe\u2066 \u200b\x00\ud800",
    "<!--<script>",
    "](javascript:alert(4)) [bold]rich[/bold] | `code` \n# title",
    "]]><base href=//example.test><form action=//example.test>",
)


def all_attacks(sep: str = " ") -> str:
    return sep.join(ATTACKS)


def hostile(result: AuditResult) -> AuditResult:
    """The same audit with attacks for names, tokens, prompts, keys and notes."""
    every = all_attacks()
    tables = result.tables
    problems = tuple(
        replace(p, id=f"{ATTACKS[i % len(ATTACKS)]}{i}", cell={"depth": every})
        for i, p in enumerate(tables.paired.problems)
    )
    base, tuned = (replace(side, problems=problems) for side in (tables.paired.base, tables.paired.tuned))
    history = tuple({**row, f"share/strategy {every}": 0.5} for row in tables.history)
    return replace(
        result,
        name=every,
        base=every,
        tuned=every,
        problems=every,
        run=every,
        verdict=replace(result.verdict, why=every, notes=ATTACKS, needed=every),
        cells=tuple(Cell(key={every: every}, verdict=replace(c.verdict, why=every)) for c in result.cells),
        measurements=tuple(
            replace(m, note=every, unit=every, parameters={**m.parameters, "extra": every})
            for m in result.measurements[::6]
        ),
        tables=replace(tables, paired=replace(tables.paired, base=base, tuned=tuned), history=history),
        spans=(*tuple(hostile_span(span) for span in result.spans), attack_tokens()),
        seconds={every: 3.0, **result.seconds},
        limits=ATTACKS,
        left_out={every: every},
        settings={"base": {every: every}, "tuned": {every: "x"}, "both": {f"{every} ": every}},
        cautions=(Caution(kind=every, text=every),),
    )


def hostile_span(span: TokenSpan) -> TokenSpan:
    texts = tuple(ATTACKS[i % len(ATTACKS)] for i in range(len(span.text)))
    return replace(
        span,
        title=all_attacks(),
        problem=all_attacks(),
        prompt=all_attacks("\n"),
        text=texts,
        role=texts,
        outcome=all_attacks(),
        sibling=None if span.sibling is None else hostile_span(span.sibling),
    )


def attack_tokens() -> TokenSpan:
    """Attacks cut into single characters, as a tokenizer of bytes would cut them."""
    letters = tuple(all_attacks())
    unknown = np.full(len(letters), np.nan, dtype=np.float32)
    return TokenSpan(
        title="letters",
        problem="p",
        prompt="",
        text=letters,
        role=("unknown",) * len(letters),
        entropy=unknown,
        logprob=unknown,
        base_logprob=unknown,
        outcome="ungraded",
    )
