"""What a frontier found: the record from which the terminal table, the JSON document and the page are made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from keyturn.core.measurement import Json, json_number
from keyturn.core.numbers import number
from keyturn.measures.frontier import TUNED, Frontier, Point


@dataclass(frozen=True, kw_only=True)
class Told:
    """What is said of a way in words.

    Args:
        summary, source, cost: one sentence each.
        at_most: costs that are upper bounds.
    """

    summary: str
    source: str
    cost: str
    at_most: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class FrontierResult:
    """The complete result of one frontier.

    Args:
        name: short name.
        base, tuned, problems: how they were named; ``tuned`` is empty without a tuned model.
        run: absolute path of the run directory.
        frontier: all points.
        told: way -> what is said of it.
        draws: answers per problem of every way.
        unit: what counts as success.
        left_out: way -> why it is not on the frontier.
        notes: what a reader must know, one sentence each.
        seconds: wall seconds of this call.
        stages: stage -> wall seconds when it ran.
    """

    name: str
    base: str
    tuned: str
    problems: str
    run: str
    frontier: Frontier
    told: Mapping[str, Told]
    draws: int
    unit: str
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)

    @property
    def cheapest(self) -> Point | None:
        """The way with neither a change of weights nor a teacher that recovers most, of those that are surely
        better than both draws of the base; None where there is none."""
        free = [
            one
            for one in self.frontier.points
            if one.kind in ("prompt", "elicitation", "control")
            and one.call == "better"
            and not one.costs["teacher_bits"] > 0
            and not one.costs["weights"] > 0
        ]
        return max(free, key=lambda one: one.gain.value, default=None)

    @property
    def sentence(self) -> str:
        """What the frontier says, in one sentence."""
        tried = sum(one.kind in ("prompt", "elicitation", "control") for one in self.frontier.points)
        best, gain = self.cheapest, self.frontier.tuned_gain
        if best is None:
            return f"none of {tried} ways without training or teacher is surely better than the base"
        cost = f"{number(best.costs['generated'], digits=0)} tokens an answer"
        if math.isnan(best.share.value):
            why = (
                "no tuned model was given" if math.isnan(gain.value) else "the tuned gain is not surely above 0"
            )
            return (
                f"{best.name} gains {number(best.gain.value, signed=True)} at {cost} ({why}, so no share of it)"
            )
        low, high = (number(100 * end, digits=0) for end in (best.share.low, best.share.high))
        share = number(100 * best.share.value, digits=0)
        return (
            f"of the tuned gain, {share} % [{low}, {high}] is recovered without changing a weight, "
            f"by {best.name}, at {cost} (the best of {tried} ways on these problems, which flatters it)"
        )

    @property
    def cautions(self) -> tuple[str, ...]:
        """Reasons to distrust the numbers."""
        said = []
        if self.frontier.left_out:
            said.append(
                f"{self.frontier.left_out} problems have no graded answer of every way and are not judged."
            )
        if self.tuned and not self.frontier.gap.low > 0:
            said.append(
                "The tuned model is not surely better than the base with its best prompt, so no share of that "
                "gap is given."
            )
        null = next((one for one in self.frontier.points if one.kind == "null"), None)
        if null is not None and (null.gain.low > 0 or null.gain.high < 0):
            said.append("The second draw of the base differs from the first by more than its interval.")
        if TUNED not in self.frontier.names:
            said.append("No tuned model was given: gains have no 100 % line.")
        return tuple(said)

    def to_json(self) -> dict[str, Json]:
        """One entry of ``frontiers`` in the JSON document."""
        frontier = self.frontier
        points: list[Json] = []
        for one in frontier.points:
            told = self.told[one.name]
            points.append(
                {
                    **one.to_json(),
                    "summary": told.summary,
                    "source": told.source,
                    "cost": told.cost,
                    "at_most": list(told.at_most),
                }
            )
        return {
            "name": self.name,
            "base": self.base,
            "tuned": self.tuned or None,
            "problems": self.problems,
            "judged": frontier.problems,
            "draws": self.draws,
            "unit": self.unit,
            "run": self.run,
            "sentence": self.sentence,
            "best_prompt": frontier.best_prompt,
            "gap": frontier.gap.to_json(),
            "tuned_gain": frontier.tuned_gain.to_json(),
            "points": points,
            "left_out": dict(self.left_out),
            "notes": list(self.notes),
            "cautions": list(self.cautions),
            "seconds": json_number(self.seconds),
            "stages": {name: json_number(value) for name, value in self.stages.items()},
        }
