"""What to run or write next: how many facts and questions wait for a study or an experiment, by its minutes.

A study that waits for its first run, or whose control or gate failed, costs one run. One whose number is open
costs as many as would decide it at its present spread, and is set apart where no number of seeds would.
An experiment costs what its file guesses for one run; writing it is not counted. This ranks by what *waits*,
not by what will come out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from keyturn.atlas import CLAIMS
from keyturn.atlas.answers import answer
from keyturn.atlas.answers.turning import MOST_SEEDS, seeds_to_decide
from keyturn.atlas.collection.atlas import Atlas
from keyturn.atlas.contract import Claim
from keyturn.atlas.known import Known
from keyturn.atlas.readings import ReadingState
from keyturn.atlas.states import SETTLED, States, all_states
from keyturn.core.measurement import Json, json_number


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A study to run or an experiment to write.

    Args:
        by: id of the claim or the experiment.
        written: whether it is a claim, which a command runs.
        facts: distinct facts that wait for it.
        questions: questions that name it as what would settle them, or as a claim that bears on them.
        runs: runs that would decide, by the spread so far; infinite where seeds will not.
        minutes: rough minutes of these runs on one core.
        why: the reason for the wait, in words.
        command: what to type; empty for an experiment.
    """

    by: str
    written: bool
    facts: tuple[str, ...]
    questions: tuple[str, ...]
    runs: float
    minutes: float
    why: str
    command: str

    @property
    def worth(self) -> float:
        """Facts and questions a minute."""
        return (len(self.facts) + len(self.questions)) / self.minutes if self.minutes else 0.0

    def to_json(self) -> dict[str, Json]:
        """Flat."""
        return {
            "by": self.by,
            "written": self.written,
            "facts": list(self.facts),
            "questions": list(self.questions),
            "runs": json_number(self.runs),
            "minutes": json_number(self.minutes),
            "worth": self.worth,
            "why": self.why,
            "command": self.command,
        }


def next_runs(
    atlas: Atlas, known: Known, *, states: States | None = None, claims: Mapping[str, Claim] = CLAIMS
) -> tuple[Candidate, ...]:
    """Everything that something waits for, the most worth a minute first."""
    states = states or all_states(atlas, known, claims)
    facts: dict[str, dict[str, None]] = {}
    questions: dict[str, dict[str, None]] = {}
    gaps = {}
    for question in atlas.questions.values():
        if question.answerable == "outside":
            continue
        for gap in answer(question, atlas, known, states=states, claims=claims).gaps:
            if gap.by:
                gaps.setdefault(gap.by, gap)
                asking = questions.setdefault(gap.by, {})
                if gap.by in (*question.experiments, *question.claims):
                    asking[question.id] = None
                told = (name for fact in gap.facts for name in atlas.told_by(fact))
                waiting = (name for name in told if states.facts[name].state not in SETTLED)
                facts.setdefault(gap.by, {}).update(dict.fromkeys(waiting))
    found = []
    for by, gap in gaps.items():
        runs = _runs(by, states) if gap.written else 1.0
        found.append(
            Candidate(
                by=by,
                written=gap.written,
                facts=tuple(facts[by]),
                questions=tuple(questions[by]),
                runs=runs,
                minutes=gap.minutes * runs,
                why=gap.why or (atlas.experiments[by].says if by in atlas.experiments else ""),
                command=gap.command,
            )
        )
    return tuple(sorted(found, key=lambda one: (-one.worth, one.by)))


def _runs(claim: str, states: States) -> float:
    """Runs of a study that would decide its open tests: of the one that asks for fewest."""
    tests = [
        one for one in states.readings.values() if one.reading.claim == claim and one.reading.how == "tests"
    ]
    waiting = [_to_decide(one) for one in tests if one.outcome not in ("holds", "fails")]
    return min(waiting, default=1.0)


def _to_decide(one: ReadingState) -> float:
    if one.outcome != "open" or not one.spread:
        return 1.0
    seeds = seeds_to_decide(one)
    if seeds > MOST_SEEDS:
        return math.inf
    return float(math.ceil((seeds - one.seeds) / one.seeds)) if seeds else 1.0
