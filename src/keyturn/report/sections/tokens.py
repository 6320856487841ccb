"""Section on which tokens moved: entropy by role before and after, and the shift of each role."""

from __future__ import annotations

import math

from keyturn.auditing.result import AuditResult
from keyturn.core.measurement import Measurement
from keyturn.core.numbers import estimate, number
from keyturn.core.roles import Role
from keyturn.report.figure import Figure
from keyturn.report.figures.compare import Bar, BeforeAfter, Words, before_and_after, beside_null
from keyturn.report.lookup import estimate_of, find, first, null_of
from keyturn.report.sections.contract import Section, absence

GROUPS = ("all", "planning", "execution", *(role.name.lower() for role in Role))
"""The order in which roles are shown."""


def tokens(result: AuditResult, prefix: str) -> Section:
    """Role entropy, KL and flips by role, on the tuned policy's own completions."""
    made = (_entropy(result, prefix), _shift(result, prefix), _errors(result, prefix))
    figures = tuple(figure for figure in made if figure is not None)
    return Section(
        id=f"{prefix}-tokens",
        title="Which tokens moved",
        says=_concentration(result) if figures else (),
        figures=figures,
        absent=""
        if figures
        else absence(result, "token_shift", "The tokens of both models were not compared."),
    )


def _by_role(result: AuditResult, name: str, **wanted: str) -> dict[str, Measurement]:
    found = {str(m.parameters.get("by")): m for m in find(result.measurements, name, **wanted)}
    known = [g for g in GROUPS if g in found and found[g].n > 0 and math.isfinite(found[g].value)]
    return {group: found[group] for group in known}


def _entropy(result: AuditResult, prefix: str) -> Figure | None:
    base = _by_role(result, "role_entropy", policy="base", drawn_by="tuned")
    tuned = _by_role(result, "role_entropy", policy="tuned", drawn_by="tuned")
    names = [name for name in tuned if name in base]
    if not names:
        return None
    pairs = [BeforeAfter(name=n, base=estimate_of(base[n]), tuned=estimate_of(tuned[n])) for n in names]
    words = Words(
        title="Entropy by role, before and after",
        axis="nats per token above the known floor",
        reading="Both models read the same completions of the tuned policy; hollow: the base, full: the tuned "
        "policy. The entropy that the problem itself leaves open (its floor) is subtracted if it is known.",
    )
    return before_and_after(f"{prefix}-role-entropy", pairs, words)


def _shift(result: AuditResult, prefix: str) -> Figure | None:
    found = _by_role(result, "token_kl", drawn_by="tuned")
    if not found:
        return None
    bars = [Bar(name=name, found=estimate_of(m), null=null_of(m)) for name, m in found.items()]
    words = Words(
        title="How far each role shifted",
        axis="KL(tuned ‖ base), nats per token",
        reading="Dots: mean divergence of the two next-token distributions at tokens of the role. Grey: the "
        "same with values shuffled among the tokens of each completion, so that roles mean nothing.",
    )
    return beside_null(f"{prefix}-kl", bars, words)


def _errors(result: AuditResult, prefix: str) -> Figure | None:
    base = _by_role(result, "role_error", drawn_by="base")
    tuned = _by_role(result, "role_error", drawn_by="tuned")
    names = [name for name in tuned if name in base]
    if not names:
        return None
    pairs = [BeforeAfter(name=n, base=estimate_of(base[n]), tuned=estimate_of(tuned[n])) for n in names]
    words = Words(
        title="Errors by role, before and after",
        axis="share of tokens that the verifier calls wrong",
        reading="Each policy on its own completions; hollow: the base, full: the tuned policy.",
    )
    return before_and_after(f"{prefix}-role-error", pairs, words)


def _concentration(result: AuditResult) -> tuple[str, ...]:
    flips = first(result.measurements, "token_flip", drawn_by="tuned", by="all")
    top = first(result.measurements, "token_kl_top", drawn_by="tuned", top=0.1)
    said = []
    if flips is not None and flips.n:
        said.append(
            f"At a share of {number(flips.value)} of the tuned policy's tokens its most likely next token "
            "differs from the base's."
        )
    if top is not None and top.n:
        said.append(
            f"The tenth of the tokens that shifted most holds {estimate(estimate_of(top))} of all divergence."
        )
    return tuple(said)
