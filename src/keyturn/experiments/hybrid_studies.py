"""What a tuned policy's tokens at few places recover, and whether that depends on how it was tuned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Json, json_number
from keyturn.core.progress import progress
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.elicitation_studies import OTHER, RARE, config_for, difference
from keyturn.experiments.plan import Contrast, ShareDone, over_seeds
from keyturn.experiments.present_and_absent import PresentConfig, task_of, tuned
from keyturn.experiments.token_hybrids import RULES, Hybrid, hybrid, threshold_of
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session

DIRECTIONS = ("tuned in base", "base in tuned")
"""Whose tokens are put into whose text."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a number of the table stands."""

    world: str
    base: int
    teacher: str
    direction: str
    rule: str


def hybrids_of(lab: Lab, config: PresentConfig, world: str, base: int) -> dict[Place, Hybrid]:
    """Every rule in both directions, for the RL-tuned and for the distilled teacher of one base."""
    session = Session(lab, task_of(lab, config, world, base), seed=base)
    out: dict[Place, Hybrid] = {}
    for teacher, model in tuned(session, config).items():
        for direction, (writer, other) in zip(
            DIRECTIONS, ((session.base, model), (model, session.base)), strict=True
        ):
            share = 0.0
            for rule in RULES:
                threshold = share if rule == "random" else 0.0
                if rule in ("kl", "entropy"):
                    threshold = threshold_of(session, writer, other, rule)
                made = hybrid(
                    session, writer, other, rule, session.task.test, threshold=threshold, label=direction
                )
                share = made.share if rule == "kl" else share
                place = Place(world=world, base=base, teacher=teacher, direction=direction, rule=rule)
                out[place] = made
    return out


def rows_of(found: Mapping[Place, Hybrid]) -> tuple[dict[str, Json], ...]:
    """One flat line for each number."""
    return tuple(
        {
            "arm": f"{place.world}: {place.teacher}, {place.direction}, {place.rule}",
            "lr": None,
            "seed": place.base,
            "chosen": True,
            "validation": None,
            "success": json_number(round(float(made.success.mean()), 4)),
            "share": json_number(round(made.share, 4)),
            "top five": json_number(round(made.top_five, 4)),
        }
        for place, made in found.items()
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Hybrids:
    """All numbers, by place."""

    found: Mapping[Place, Hybrid]
    bases: int

    def mean(self, world: str, teacher: str, direction: str, rule: str) -> NDArray[np.float64]:
        """Success, ``[base]``."""
        places = (
            Place(world=world, base=base, teacher=teacher, direction=direction, rule=rule)
            for base in range(self.bases)
        )
        return np.array([self.found[place].success.mean() for place in places])

    def share(self, world: str, teacher: str, rule: str) -> NDArray[np.float64]:
        """Share of tokens put into the base's text, ``[base]``."""
        places = (
            Place(world=world, base=base, teacher=teacher, direction=DIRECTIONS[0], rule=rule)
            for base in range(self.bases)
        )
        return np.array([self.found[place].share for place in places])

    def gap(self, world: str, teacher: str) -> NDArray[np.float64]:
        """Success of the teacher minus that of the base, ``[base]``."""
        return self.mean(world, teacher, DIRECTIONS[1], "none") - self.mean(
            world, teacher, DIRECTIONS[0], "none"
        )

    def recovered(self, world: str, teacher: str, rule: str) -> NDArray[np.float64]:
        """Share of the teacher's gap that its tokens recover in the base's text; NaN without a gap of .05."""
        gap = self.gap(world, teacher)
        over = self.mean(world, teacher, DIRECTIONS[0], rule) - self.mean(world, teacher, DIRECTIONS[0], "none")
        return np.divide(over, gap, out=np.full(len(gap), np.nan), where=gap > 0.05)


def _study(lab: Lab, subject: Subject, *, distilled: bool) -> Outcome:
    config = config_for(subject, (RARE, OTHER), ())
    bases = [(world, base) for base in range(config.bases) for world in config.worlds]
    if lab.share is not None:
        bases = bases[lab.share[0] :: lab.share[1]]
    found: dict[Place, Hybrid] = {}
    with progress("hybrids", len(bases)) as advance:
        for world, base in bases:
            found |= hybrids_of(lab, config, world, base)
            advance(1)
    if lab.share is not None:
        raise ShareDone
    table = Hybrids(found=found, bases=config.bases)
    numbers = _distilled_numbers(table) if distilled else _rl_numbers(table)
    task = task_of(lab, config, RARE, 0)
    return Outcome(
        numbers={name: one.estimate for name, one in numbers.items()},
        base=task.base.fingerprint,
        base_name=RARE,
        run=str(lab.root),
        n=len(task.test.problems),
        rows=rows_of(found),
        contrasts=tuple({"key": name, **one.to_json()} for name, one in numbers.items()),
        setting=(
            f"MODES, {config.bases} bases at {RARE!r} and {config.bases} at {OTHER!r}; RL of "
            f"{config.rl.steps} steps and SFT of {config.fit.steps} steps as teachers; one text a problem; "
            "tokens put in at the first place, where KL or the writer's entropy is in the top 12 % of its own "
            "texts, or at random"
        ),
    )


def _rl_numbers(table: Hybrids) -> Mapping[str, Contrast]:
    out = {
        "effect": over_seeds("recovered by RL's tokens where KL is high", table.recovered(RARE, "RL", "kl")),
        "RL learns": difference("RL - base, at 5 %", table.gap(RARE, "RL")),
        "random places": over_seeds("recovered at random places", table.recovered(RARE, "RL", "random")),
        "share of tokens": over_seeds("share of tokens put in by KL", table.share(RARE, "RL", "kl")),
    }
    for rule in ("first", "entropy"):
        out[rule] = over_seeds(f"recovered by rule {rule}", table.recovered(RARE, "RL", rule))
    lost = table.mean(RARE, "RL", DIRECTIONS[1], "first") - table.mean(RARE, "RL", DIRECTIONS[1], "none")
    out["base's first token in RL's text"] = difference("base's first token in RL's text - RL", lost)
    return out


def _distilled_numbers(table: Hybrids) -> Mapping[str, Contrast]:
    own, other = table.recovered(RARE, "RL", "kl"), table.recovered(RARE, "SFT", "kl")
    return {
        "effect": over_seeds("recovered: RL teacher - distilled teacher, at 5 %", own - other),
        "RL learns": difference("RL - base, at 5 %", table.gap(RARE, "RL")),
        "distillation learns": difference("SFT - base, at 5 %", table.gap(RARE, "SFT")),
        "distilled": over_seeds("recovered from the distilled teacher, at 5 %", other),
        "distilled, first token": over_seeds(
            "recovered by the distilled teacher's first token, at 5 %", table.recovered(RARE, "SFT", "first")
        ),
        "distilled, absent": over_seeds(
            "recovered from the distilled teacher by KL, other domain", table.recovered(OTHER, "SFT", "kl")
        ),
        "distilled, absent, first token": over_seeds(
            "recovered by the distilled teacher's first token, other domain",
            table.recovered(OTHER, "SFT", "first"),
        ),
    }


def few_tokens(lab: Lab, subject: Subject) -> Outcome:
    """What RL's tokens at few places recover."""
    return _study(lab, subject, distilled=False)


def distilled_tokens(lab: Lab, subject: Subject) -> Outcome:
    """Whether that holds for a distilled teacher too."""
    return _study(lab, subject, distilled=True)
