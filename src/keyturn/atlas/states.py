"""The state of a fact: a pure function of the atlas and the records.

Only readings that *test* a fact decide it, and all of them count. The fact *holds* if all sound ones hold. It
*fails* if one fails and none holds. It is *split* if one holds and one fails, or if two origins contradict
each other. Otherwise it is *open*. Where no test is sound, a reading that *bears* and has an interval makes
the state *indication only*. Else there is *no sound record* (a control or gate failed, or nothing was run) or
*no reading* (no bound was stated that would decide the fact).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from keyturn.atlas import CLAIMS
from keyturn.atlas.collection.atlas import Atlas
from keyturn.atlas.collection.objects import Fact
from keyturn.atlas.contract import Claim
from keyturn.atlas.known import Known
from keyturn.atlas.readings import Memo, ReadingState, reading_state
from keyturn.atlas.verdict import ENOUGH_BASES
from keyturn.core.measurement import Json
from keyturn.experiments.plan import FINDING_SEEDS

State: TypeAlias = Literal[
    "holds", "fails", "split", "open", "indication only", "no sound record", "no reading"
]
STATES: tuple[State, ...] = (
    "holds",
    "fails",
    "split",
    "open",
    "indication only",
    "no sound record",
    "no reading",
)
SETTLED: frozenset[State] = frozenset(("holds", "fails"))
MARKS: Mapping[State, str] = {
    "holds": "●",
    "fails": "✕",
    "split": "◑",
    "open": "◐",
    "indication only": "·",
    "no sound record": "○",
    "no reading": "○",
}
"""The sign of a state; wherever it stands, the word stands beside it."""


@dataclass(frozen=True, kw_only=True)
class FactState:
    """The state of a fact and the readings behind it.

    Args:
        fact: the fact.
        state: see the module.
        readings: of the fact, or of the facts that it is the same as.
        told_by: facts that hold these readings; the fact itself where it is told nowhere else.
    """

    fact: Fact
    state: State
    readings: tuple[ReadingState, ...]
    told_by: tuple[str, ...]

    @property
    def deciding(self) -> tuple[ReadingState, ...]:
        """The readings that make the state: sound tests, else sound indications, else all."""
        for how in ("tests", "bears"):
            found = tuple(one for one in self.readings if one.sound and one.reading.how == how)
            if found:
                return found
        return self.readings

    @property
    def illustrates(self) -> bool:
        """Whether every deciding reading only illustrates: its bound was set after its numbers were seen."""
        return any(one.sound for one in self.deciding) and all(one.illustrates for one in self.deciding)

    @property
    def lead(self) -> bool:
        """Whether a settled state rests on one base or on few seeds, and is a lead and no finding."""
        bases = {base for one in self.deciding for base in one.bases}
        seeds = min((one.seeds for one in self.deciding), default=0)
        return self.state in SETTLED and (len(bases) < ENOUGH_BASES or seeds < FINDING_SEEDS)

    def to_json(self) -> dict[str, Json]:
        """Flat, with its readings."""
        return {
            "id": self.fact.id,
            "note": self.fact.note,
            "says": self.fact.says,
            "state": self.state,
            "lead": self.lead,
            "illustrates": self.illustrates,
            "told_by": list(self.told_by),
            "readings": [one.to_json() for one in self.readings],
        }


@dataclass(frozen=True, kw_only=True)
class States:
    """The states of a whole atlas.

    Args:
        facts: id -> state, of all facts.
        readings: id -> state, of all readings.
    """

    facts: Mapping[str, FactState]
    readings: Mapping[str, ReadingState]

    def of(self, facts: Iterable[str]) -> tuple[FactState, ...]:
        """The states of some facts; ids that are not there are left out."""
        return tuple(self.facts[one] for one in facts if one in self.facts)


def fact_state(readings: Sequence[ReadingState]) -> State:
    """The state that readings make."""
    if not readings:
        return "no reading"
    tests = [one.outcome for one in readings if one.reading.how == "tests" and one.sound]
    if tests:
        if "split" in tests or {"holds", "fails"} <= set(tests):
            return "split"
        return "fails" if "fails" in tests else "open" if "open" in tests else "holds"
    if any(one.sound and one.spread for one in readings if one.reading.how == "bears"):
        return "indication only"
    return "no sound record"


def all_states(atlas: Atlas, known: Known, claims: Mapping[str, Claim] = CLAIMS) -> States:
    """The state of every fact and reading."""
    memo = Memo()
    readings = {
        one.id: reading_state(one, claims.get(one.claim), known, memo) for one in atlas.readings.values()
    }
    facts = {}
    for fact in atlas.facts.values():
        told_by = atlas.told_by(fact.id)
        behind = tuple(readings[one.id] for name in told_by for one in atlas.facts[name].readings)
        facts[fact.id] = FactState(fact=fact, state=fact_state(behind), readings=behind, told_by=told_by)
    return States(facts=facts, readings=readings)


def counts(atlas: Atlas, states: States) -> dict[State, int]:
    """How many distinct facts are in each state; a fact told in several notes counts once."""
    found = [states.facts[fact.id].state for fact in atlas.distinct_facts]
    return {state: found.count(state) for state in STATES}
