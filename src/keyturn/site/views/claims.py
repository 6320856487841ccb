"""Pages of claims: the statement, the verdict, the forest plot, what must hold, and what would change it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from keyturn.atlas.answers.phrases import shown
from keyturn.atlas.answers.turning import turning_of
from keyturn.atlas.contract import Claim, Gate
from keyturn.atlas.evidence import Evidence
from keyturn.atlas.linked import linked_claim, script_text
from keyturn.atlas.readings import ReadingState
from keyturn.atlas.reported import Reported
from keyturn.atlas.states import FactState
from keyturn.atlas.verdict import ClaimVerdict
from keyturn.core.numbers import counted
from keyturn.site import paths
from keyturn.site.clauses import clauses_of
from keyturn.site.figures import Row, bound, forest, measured
from keyturn.site.page import Page
from keyturn.site.source import Source, forward
from keyturn.site.views.questions import question_row, turning_line

LOOKS = {
    "supported": ("supported", "●"),
    "contradicted": ("contradicted", "✕"),
    "undecided": ("undecided", "?"),
    "invalid": ("quiet", "⊘"),
    "not applicable": ("quiet", "–"),
    "untested": ("quiet", "○"),
}
"""Verdict -> class and sign."""
ORDER = tuple(LOOKS)
HEADS = {
    "supported": "Supported here",
    "contradicted": "Contradicted here",
    "undecided": "Undecided: the interval spans the bound",
    "invalid": "A control failed, so that the run says nothing",
    "not applicable": "A gate was not met, so that the run does not apply",
    "untested": "Never run",
}


def badge(said: ClaimVerdict) -> dict[str, str]:
    """How a verdict looks."""
    look, sign = LOOKS[said.state]
    more = ", preliminary" if said.preliminary and said.records else ""
    return {"look": look, "sign": sign, "word": f"{said.state}{more}", "state": said.state}


def pages(source: Source) -> Iterator[Page]:
    """Every claim, and their list by verdict."""
    for claim in source.claims.values():
        yield source.page(paths.claim(claim.id), _page, source, claim)
    groups = []
    for state in ORDER:
        found = [claim for name, claim in source.claims.items() if source.verdicts[name].state == state]
        if found or state == "contradicted":
            groups.append(
                {
                    "state": state,
                    "id": state.replace(" ", "-"),
                    "head": HEADS[state],
                    "claims": [claim_row(source, claim) for claim in found],
                }
            )
    yield Page(
        path="claims/index.html",
        template="claims.html.jinja",
        title="Claims",
        under="claims/index.html",
        shows={"groups": groups, "count": len(source.claims)},
    )


def claim_row(source: Source, claim: Claim) -> dict[str, Any]:
    """What a list shows of a claim."""
    said = source.verdicts[claim.id]
    return {
        "id": claim.id,
        "path": paths.claim(claim.id),
        "title": claim.statement,
        "question": claim.question,
        "badge": badge(said),
        "number": effect_of(source, claim, said) if said.records else "",
        "needed": needed(claim),
        "says": claim.threshold.says,
        "why": "" if said.records else unmet(source, claim),
        "source": claim.source,
    }


def effect_of(source: Source, claim: Claim, said: ClaimVerdict) -> Markup:
    """The effect that decides, with its records."""
    counted_ = [one.id for one in source.counting(claim)]
    return measured(said.effect, claim.threshold.estimand, counted_, claim.threshold.smallest)


def needed(claim: Claim) -> Markup:
    """What the claim asks of its effect."""
    sign = ">=" if claim.threshold.direction > 0 else "<="
    return bound(claim.threshold.smallest, sign, f"claim:{claim.id}")


def _page(source: Source, claim: Claim) -> Page:
    said = source.verdicts[claim.id]
    records = source.of(claim.id)
    current = [one for one in source.known.of(claim.id) if one.claim_hash == claim.hash]
    facts = [source.states.facts[fact.id] for fact in source.facts_of_claim(claim.id)]
    questions = [q for q in source.atlas.questions.values() if claim.id in q.claims]
    return Page(
        path=paths.claim(claim.id),
        template="claim.html.jinja",
        title=claim.statement,
        summary=claim.question,
        under="claims/index.html",
        shows={
            "claim": claim,
            "linked": Markup(script_text(linked_claim(claim, said, source.counting(claim)))),
            "badge": badge(said),
            "effect": effect_of(source, claim, said) if said.records else "",
            "scope": f"{counted(said.records, 'record')} of {counted(said.bases, 'base')}"
            if said.records
            else "",
            "needed": needed(claim),
            "why": "" if said.records else unmet(source, claim),
            "forest": _forest(source, claim, said, current),
            "lights": _lights(claim, said, current),
            "checks": _checks(claim, current),
            "changes": [turning_line(one) for one in turning_of(_readings(facts, claim))],
            "command": f"keyturn claim run {claim.id} --seed {_next_seed(current)}",
            "records": [record_row(source, one) for one in records],
            "reported": [_reported(source, one) for one in source.reported(claim.id)],
            "slide": _slide(claim, said),
            "relations": [
                (paths.claim(other), source.claims[other].statement, forward(kind.replace(" ", "-")), why)
                for other, (kind, why) in claim.relations.items()
                if other in source.claims
            ],
            "facts": [
                {
                    "path": paths.fact(one.fact.id),
                    "says": one.fact.says,
                    "state": one.state,
                    "clauses": clauses_of(source, [r for r in one.readings if r.reading.claim == claim.id]),
                }
                for one in facts
            ],
            "questions": [question_row(source, one) for one in questions],
            "methods": [(paths.method(name), name) for name in claim.methods],
            "papers": [
                (paths.paper(p.id), p.title) for p in source.atlas.papers.values() if p.id in claim.source
            ],
            "left_out": said.left_out,
        },
    )


def _readings(facts: Sequence[FactState], claim: Claim) -> list[ReadingState]:
    found = {r.reading.id: r for fact in facts for r in fact.readings if r.reading.claim == claim.id}
    return list(found.values())


def unmet(source: Source, claim: Claim) -> Markup:
    """Why no record decides: what the latest one did not meet, with its numbers."""
    current = [one for one in source.known.of(claim.id) if one.claim_hash == claim.hash]
    if not current:
        return Markup("No record of this version yet.")
    found = []
    for kind, gates in (("A control failed", claim.controls), ("A gate was not met", claim.gates)):
        for gate in gates:
            number = current[-1].deciding(gate.name)
            if not gate.holds(number):
                said = (
                    "undefined" if math.isnan(number.value) else measured(number, gate.name, [current[-1].id])
                )
                found.append(
                    Markup("{}: {} ({}, must be {}).").format(kind, gate.says, said, _must(claim, gate))
                )
    return Markup(" ").join(found) or Markup("The number that decides is undefined.")


def _reported(source: Source, one: Reported) -> dict[str, Any]:
    """A published number; it stands beside ours and enters no state."""
    kind, _, name = one.source.partition(":")
    paper = source.atlas.papers.get(re.sub(r"v\d+$", "", name)) if kind.lower() == "arxiv" else None
    return {
        "number": Markup('<span class="n" data-from="reported:{}">{}</span>').format(
            one.claim, shown(one.estimate)
        ),
        "what": one.number,
        "source": one.source,
        "path": paths.paper(paper.id) if paper else "",
        "locator": one.locator,
    }


def _slide(claim: Claim, said: ClaimVerdict) -> dict[str, Any] | None:
    """The ends of the interval, and a range of bounds in which the verdict flips; None without an interval."""
    low, high = said.effect.low, said.effect.high
    if not (said.records and math.isfinite(low) and math.isfinite(high)):
        return None
    ends = min(low, claim.threshold.smallest), max(high, claim.threshold.smallest)
    step = 10 ** math.floor(math.log10(max(ends[1] - ends[0], 1e-3))) / 20
    return {
        "low": low,
        "high": high,
        "counts": ">=" if claim.threshold.direction > 0 else "<=",
        "bound": claim.threshold.smallest,
        "from": round((math.floor(ends[0] / step) - 4) * step, 6),
        "to": round((math.ceil(ends[1] / step) + 4) * step, 6),
        "step": round(step, 6),
    }


def record_row(source: Source, one: Evidence) -> dict[str, Any]:
    """What a list shows of a record."""
    claim = source.claims[one.claim]
    return {
        "counts": source.counts(one),
        "path": paths.record(one.id),
        "name": one.id[:6],
        "base": one.base_name or one.base,
        "seed": one.seed,
        "profile": one.profile,
        "origin": source.made_by(one),
        "number": measured(
            one.deciding(claim.threshold.estimand), claim.threshold.estimand, [one.id], claim.threshold.smallest
        ),
        "old": one.claim_hash != claim.hash,
        "repeats": one.repeats,
    }


def _next_seed(records: Sequence[Evidence]) -> int:
    return max((one.seed for one in records), default=-1) + 1


def _forest(source: Source, claim: Claim, said: ClaimVerdict, records: Sequence[Evidence]) -> Markup:
    decide = {one.id for one in source.counting(claim)}
    rows = [
        Row(
            name=f"{one.base_name or one.base[:8]}, seed {one.seed}",
            number=one.deciding(claim.threshold.estimand),
            kind="plain" if one.id in decide else "hollow",
        )
        for one in records
        if not math.isnan(one.deciding(claim.threshold.estimand).value)
    ]
    if not rows:
        return Markup("")
    if len(decide) > 1:
        rows.append(Row(name="together", number=said.effect, kind="pooled"))
    drawn = [
        forest(
            f"forest-{look}",
            rows,
            at=claim.threshold.smallest,
            direction=claim.threshold.direction,
            title="The number that decides, record by record",
            unit="the shaded side is what the claim needs",
            narrow=look == "narrow",
        )
        for look in ("wide", "narrow")
    ]
    return Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(*drawn)


def _lights(claim: Claim, said: ClaimVerdict, records: Sequence[Evidence]) -> list[tuple[str, str]]:
    """Implemented, ran, matched: three questions that a replication answers apart."""
    matched = {"supported": "holds", "contradicted": "fails", "undecided": "open"}.get(
        said.state, "no sound record"
    )
    words = {"holds": "it came out as claimed", "fails": "it came out otherwise", "open": "it is not decided"}
    return [
        ("holds", "the study is written"),
        (
            "holds" if records else "no reading",
            f"it ran: {counted(len(records), 'record')}" if records else "it was never run",
        ),
        (
            matched if records else "no reading",
            words.get(matched, "no sound record") if records else "nothing to compare",
        ),
    ]


def _checks(claim: Claim, records: Sequence[Evidence]) -> list[dict[str, Any]]:
    """Gates and controls with what they came to in every record."""
    found = []
    for kind, gates in (("control", claim.controls), ("gate", claim.gates)):
        for gate in gates:
            cells = [_check(gate, one) for one in records]
            found.append({"kind": kind, "says": gate.says, "must": _must(claim, gate), "cells": cells})
    return found


def _check(gate: Gate, one: Evidence) -> dict[str, Any]:
    number = one.deciding(gate.name)
    held = gate.holds(number)
    return {
        "state": "holds" if held else "fails",
        "word": "held" if held else "not held",
        "number": measured(number, gate.name, [one.id]) if not math.isnan(number.value) else "undefined",
        "path": paths.record(one.id),
        "name": one.id[:6],
    }


def _must(claim: Claim, gate: Gate) -> Markup:
    ends = [(">", gate.minimum), ("<", gate.maximum)]
    return Markup(" and ").join(
        bound(end, sign, f"gate:{claim.id}:{gate.name}") for sign, end in ends if math.isfinite(end)
    )
