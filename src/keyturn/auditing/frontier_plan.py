"""What a frontier will cost, measured before it is run: every way answers a few of the judged problems once.

What a method prepares for that is prepared in full and found again by the run. Seconds are scaled up from a
small batch, so they are rather too many than too few.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from keyturn.auditing.frontier_setting import Setting
from keyturn.auditing.frontier_ways import Chosen
from keyturn.core.errors import BusyError, KeyturnError, StorageError
from keyturn.core.measurement import Json, json_number
from keyturn.core.progress import progress
from keyturn.elicitation import ELICITATIONS
from keyturn.elicitation.stage import elicit
from keyturn.lab.lab import Lab
from keyturn.measures.frontier import PLAIN, TUNED
from keyturn.methods.contract import Method
from keyturn.training.config import RLConfig

PROBED = 8
"""Problems that every way answers once for the plan."""


SURE_S = 5.0
"""Seconds of work after which plans are corrected by how wrong they were."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What one way will cost.

    Args:
        name: of the way.
        cost: in words.
        generated: tokens generated an answer, NaN where not known before.
        tokens: tokens generated for all answers.
        seconds: of all answers, scaled up from a few.
        before: seconds that it took to prepare, which are spent.
        examples: problems with gold answers that it used.
        why: why it cannot run here; empty where it can.
    """

    name: str
    cost: str
    generated: float = math.nan
    tokens: float = math.nan
    seconds: float = math.nan
    before: float = math.nan
    examples: float = math.nan
    why: str = ""

    def to_json(self) -> dict[str, Json]:
        """All fields; what is not known is null."""
        numbers = ("generated", "tokens", "seconds", "before", "examples")
        known: dict[str, Json] = {name: json_number(getattr(self, name)) for name in numbers}
        return {"name": self.name, "cost": self.cost, **known, "left_out": self.why or None}


def plan_frontier(lab: Lab, setting: Setting, ways: Sequence[Chosen]) -> tuple[Planned, ...]:
    """The plain base, the tuned model where there is one, and every way. Nothing is trained.

    Args:
        lab: the run directory.
        setting: what the frontier is run on.
        ways: what is tried.
    """
    found = []
    plain = Chosen(name=PLAIN, elicitation=ELICITATIONS[PLAIN])
    # The first draw of a process also makes the engine ready, which is no cost of whoever comes first.
    first = setting.asked.problems.problems[:1]
    setting.asked.policy.draw(first, range(1), setting.asked.streams, setting.asked.limits)
    with progress("plan", 1 + len(ways)) as advance:
        for way in (plain, *ways):
            found.append(_planned(lab, setting, way))
            advance(1)
    if setting.trains is not None:
        rl = setting.trains.rl
        found.insert(1, Planned(name=TUNED, cost=f"trained here: {sizes_in_words(rl)}"))
    elif setting.tuned is not None:
        found.insert(1, Planned(name=TUNED, cost="one answer"))
    return tuple(found)


def sizes_in_words(rl: RLConfig) -> str:
    """The work of a run of RL."""
    return f"{rl.steps} steps of {rl.prompts} problems with {rl.draws} draws each"


def seconds_left(
    planned: Mapping[str, Planned], used: Mapping[str, float], remaining: Sequence[str]
) -> float | None:
    """About how long the remaining ways take, by their plans and by how wrong these were so far; None where
    nothing is known of them."""
    known = {name: one.seconds for name, one in planned.items() if math.isfinite(one.seconds)}
    told = [name for name in used if name in known]
    spent, meant = (sum(one[name] for name in told) for one in (used, known))
    pace = spent / meant if spent > SURE_S and meant > 0 else 1.0
    left = [known[name] for name in remaining if name in known]
    return pace * sum(left) if left else None


def _planned(lab: Lab, setting: Setting, way: Chosen) -> Planned:
    method = way.elicitation
    if method is None:
        trains = way.trains
        if isinstance(trains, Method):
            return Planned(name=way.name, cost=trains.cost)
        return Planned(name=way.name, cost=sizes_in_words(setting.rl or RLConfig()))
    asked = setting.asked
    if "teacher" in method.needs and setting.trains is not None:
        return Planned(name=way.name, cost=f"{method.cost}; its teacher is trained first")
    few = asked.of(_spread(asked.problems.problems, PROBED))
    before = dict(lab.seconds)
    try:
        done = elicit(lab, method, way.config, replace(few, draws=range(1)))
    except (BusyError, StorageError):
        raise
    except KeyturnError as why:
        return Planned(name=way.name, cost=method.cost, why=reason(why))
    spent = {label: seconds - before.get(label, 0.0) for label, seconds in lab.seconds.items()}
    generated = float(np.mean(done.elicitation.costs.generated))
    whole = len(asked.problems.problems) * len(asked.draws)
    return Planned(
        name=way.name,
        cost=method.cost,
        generated=generated,
        tokens=generated * whole,
        seconds=spent.get(method.name, math.nan) * whole / max(len(done.elicitation.completions), 1),
        before=spent.get(f"prepare {method.name}", 0.0),
        examples=float(done.examples),
    )


def reason(why: KeyturnError) -> str:
    """Why a way is left out, with the option that a frontier has for a teacher."""
    return str(why).replace("--teacher MODEL", "--tuned MODEL")


def _spread(problems: Sequence, count: int) -> list:
    """Some of the problems, spread over their whole list: cells stand one after the other."""
    return list(problems[:: max(1, len(problems) // count)][:count])
