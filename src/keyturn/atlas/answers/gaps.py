"""Gaps: what the cited facts lack, grouped by the claim or the experiment that would give it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keyturn.atlas.answers.parts import Gap
from keyturn.atlas.collection.atlas import Atlas
from keyturn.atlas.collection.objects import Question
from keyturn.atlas.contract import Claim
from keyturn.atlas.known import Known
from keyturn.atlas.readings import Outcome, ReadingState
from keyturn.atlas.states import SETTLED, FactState

_WHY: Mapping[Outcome, str] = {
    "no record": "its study is written and was never run",
    "invalid": "a control failed in every run of its study",
    "not applicable": "in no run of its study was enough learnt for it to say anything",
    "open": "its interval straddles the bound",
    "split": "records of different origin contradict one another",
}
UNTHOUGHT = "nobody has said what would measure it"


def gaps_of(
    atlas: Atlas, known: Known, facts: Sequence[FactState], question: Question, claims: Mapping[str, Claim]
) -> tuple[Gap, ...]:
    """What would settle facts that are not settled, and what the question names besides.

    Args:
        atlas: for experiments.
        known: the records, for the next seed to run.
        facts: the cited facts; those told elsewhere are looked up there.
        question: may name claims and experiments that no cited fact waits for.
        claims: by id.
    """
    waiting: dict[tuple[str, bool, str], list[str]] = {}
    for state in facts:
        if state.state not in SETTLED:
            for by, written, why in _needs(atlas, state):
                waiting.setdefault((by, written, why), []).append(state.fact.id)
    named = {by for by, _, _ in waiting}
    for claim in question.claims:
        if claim not in named and not known.of(claim) and claim in claims:
            waiting[claim, True, _WHY["no record"]] = []
    for experiment in question.experiments:
        if experiment not in named:
            waiting[experiment, False, ""] = []
    return tuple(
        Gap(
            by=by,
            written=written,
            facts=tuple(dict.fromkeys(ids)),
            why=why,
            command=f"keyturn claim run {by} --seed {next_seed(known, by)}" if written and by in claims else "",
            minutes=_minutes(atlas, claims, by),
        )
        for (by, written, why), ids in waiting.items()
    )


def next_seed(known: Known, claim: str) -> int:
    """The smallest seed above those of the records, so that the run is a new record."""
    return max((one.seed for one in known.of(claim)), default=-1) + 1


def _minutes(atlas: Atlas, claims: Mapping[str, Claim], by: str) -> float:
    if by in claims:
        return claims[by].minutes
    return atlas.experiments[by].minutes if by in atlas.experiments else 0.0


def _needs(atlas: Atlas, state: FactState) -> list[tuple[str, bool, str]]:
    """What a fact waits for: (id, written, why)."""
    tests = [one for one in state.readings if one.reading.how == "tests"]
    found = [(one.reading.claim, True, _open(one)) for one in tests if one.outcome in _WHY]
    experiments = [atlas.facts[name].settled_by for name in state.told_by if atlas.facts[name].settled_by]
    if not tests or not found:
        why = "readings bear on it and none tests it" if state.readings else "no study tests it"
        found += [(one, False, why) for one in experiments]
    if not found and state.readings:
        found = [(one.reading.claim, True, _open(one)) for one in state.readings if one.outcome in _WHY]
    return found or [("", False, UNTHOUGHT)]


def _open(one: ReadingState) -> str:
    if one.outcome == "open" and not one.spread:
        return "its number has no spread, and decides nothing"
    return _WHY[one.outcome]
