"""The settings of an audit: models, problems, budget, temperature, prompt, grader, seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from keyturn.auditing.result import AuditResult
from keyturn.core.numbers import counted, whole
from keyturn.report.svg import clip

NONE = "not known"
NAME = 40
"""Maximum number of characters of a setting's name."""
VALUE = 160
"""Maximum number of characters of a setting; the JSON document has all of it."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One setting: one value for both policies (``both``), or one value for each."""

    name: str
    both: str = ""
    base: str = ""
    tuned: str = ""


def conditions(result: AuditResult) -> tuple[Condition, ...]:
    """Models first, then settings that differ between them, then shared settings; each name once."""
    verdict = result.verdict
    unit = "a verified completion" if verdict.unit == "verified" else "the answer alone"
    found = [
        Condition(name="model", base=result.base, tuned=result.tuned),
        *_settings(result.settings),
        Condition(name="problems", both=f"{result.problems}; {whole(verdict.problems)} judged"),
        Condition(
            name="budget", both=f"K = {verdict.k}; up to {counted(verdict.n_base, 'base draw')} per problem"
        ),
        Condition(name="success", both=unit),
    ]
    once: dict[str, Condition] = {}
    for one in found:
        once.setdefault(one.name, one)
    return tuple(once.values())


def _settings(settings: Mapping[str, Mapping[str, str]]) -> list[Condition]:
    base, tuned = settings.get("base", {}), settings.get("tuned", {})
    out = []
    for name in dict.fromkeys([*base, *tuned]):
        one, other = base.get(name, NONE), tuned.get(name, NONE)
        out.append(
            Condition(name=name, both=one) if one == other else Condition(name=name, base=one, tuned=other)
        )
    out += [Condition(name=name, both=value) for name, value in settings.get("both", {}).items()]
    return [
        replace(
            one,
            name=clip(one.name, NAME),
            **{part: clip(getattr(one, part), VALUE) for part in ("both", "base", "tuned")},
        )
        for one in out
    ]
