"""The thought-switch penalty where the right time to switch is known: it should help late and hurt early.

A base is pretrained on SEARCH (``problems/world/search.py``), whose texts give an attempt up with one
probability whatever its depth. In *cycles* that is too early, in *stars* it is not early enough. The penalty,
the same with its sign changed, and the same on random words are asked within a limit of tokens, and beside
each stands what it would be worth to a policy that switches exactly as the texts do
(``problems/world/search_value.py``), and what the best fixed time of switching is worth.
Denominator: the test problems; intervals over bases are Student's. Known bias: a base that makes wrong steps,
or begins an attempt otherwise than at random, is not the policy of the computed column.
Source: Wang et al. 2025 (2501.18585), with its penalty of 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Json, json_number
from keyturn.core.progress import progress
from keyturn.elicitation import ELICITATIONS
from keyturn.elicitation.contract import Asked
from keyturn.elicitation.stage import elicit
from keyturn.elicitation.tip import TipConfig
from keyturn.experiments.contract import Experiment, Outcome, Subject
from keyturn.experiments.plan import Contrast, ShareDone, over_seeds
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.lab.task import Task
from keyturn.methods.contract import MethodResult
from keyturn.policies.protocol import Limits
from keyturn.pretraining.recipes import Size
from keyturn.pretraining.stage import pretrained, quick, task_in
from keyturn.problems.contract import answers
from keyturn.problems.world.search import SearchWorld, hits
from keyturn.problems.world.search_value import best_depth, penalised, value_of

LATE, EARLY = "cycles", "stars"
PENALTY = 3.0
DURATIONS = (8, 12)
"""Tokens: a choice after step d is the token 2 + 2 d of its attempt, so these hold for 2 and for 4 steps."""
MAIN = f"penalty, {DURATIONS[1]} tokens"
FLIPPED, RANDOM = "flipped", "random words"


@dataclass(frozen=True, kw_only=True)
class SwitchConfig:
    """Settings of the comparison."""

    bases: int = 3
    """Seeds of pretraining, a base each for late and for early hits."""
    steps: int = 1200
    """Pretraining steps. After 900 a base of another seed found .09 less than its texts are worth."""
    batch_rows: int = 64
    """Documents per pretraining step."""
    size: Size = field(default_factory=lambda: Size(hidden=64, inner=170, layers=2))
    """Shape of the bases."""
    switch: float = 0.6
    """Probability with which texts give an attempt up."""
    tokens: int = 32
    """Tokens of an answer."""
    problems: int = 40
    """Test problems per number of starts, or as many as there are."""
    draws: int = 8
    """Answers per problem and row."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One row on one base: success of each problem, what was computed for it, and switches an answer."""

    kind: str
    base: int
    row: str
    success: NDArray[np.float64]
    computed: float
    switches: float


def _world(kind: str, config: SwitchConfig) -> SearchWorld:
    return SearchWorld(name=f"search, {kind}", kind=LATE if kind == LATE else EARLY, switch=config.switch)


def task_of(lab: Lab, config: SwitchConfig, kind: str, base: int) -> Task:
    """A base with its problems, pretrained once."""
    world = _world(kind, config)
    recipe = quick(world, steps=config.steps, size=config.size, batch_rows=config.batch_rows)
    return task_in(lab, pretrained(lab, world, recipe, seed=base), world, held_out=config.problems)


def settings() -> dict[str, tuple[str, TipConfig, float]]:
    """Row -> method, its settings, and the penalty that the switch token gets."""
    main = TipConfig(words=("BK",), penalty=PENALTY, duration=DURATIONS[1])
    return {
        "plain": ("tip", replace(main, penalty=0.0), 0.0),
        **{
            f"penalty, {duration} tokens": ("tip", replace(main, duration=duration), PENALTY)
            for duration in DURATIONS
        },
        FLIPPED: ("tip-flipped", main, -PENALTY),
        RANDOM: ("tip-random", main, 0.0),
    }


def rows_of(lab: Lab, config: SwitchConfig, kind: str, base: int) -> list[Row]:
    """Every row of one base, and the best time of switching."""
    task = task_of(lab, config, kind, base)
    world, asked = _world(kind, config), task.test
    laws = [hits(world, problem) for problem in asked.problems]
    session = Session(lab, task, seed=base)
    given = Asked(
        policy=task.base,
        problems=asked,
        draws=range(config.draws),
        streams=session.streams.child("switches"),
        limits=Limits(max_new_tokens=config.tokens),
        in_words=False,
    )
    out = []
    for row, (method, tip, penalty) in settings().items():
        found = elicit(lab, ELICITATIONS[method], tip, given)
        completions = found.elicitation.completions
        _, grades = lab.grade(asked.grader, asked.problems, completions, found.stage, name="grade")
        rule = penalised(config.switch, penalty, tip.duration)
        out.append(
            Row(
                kind=kind,
                base=base,
                row=row,
                success=answers(row, asked.problems, completions, grades).rates(),
                computed=float(np.mean([value_of(law, rule, config.tokens) for law in laws])),
                switches=float(found.elicitation.facts["switches"].mean()),
            )
        )
    best = np.array([best_depth(law, config.tokens)[1] for law in laws])
    out.append(
        Row(kind=kind, base=base, row="best time", success=best, computed=float(best.mean()), switches=np.nan)
    )
    return out


def all_rows(lab: Lab, config: SwitchConfig) -> list[Row]:
    """Every row of every base. What is finished is read from disk."""
    bases = [(kind, base) for base in range(config.bases) for kind in (LATE, EARLY)]
    if lab.share is not None:
        bases = bases[lab.share[0] :: lab.share[1]]
    out: list[Row] = []
    with progress("switch penalty", len(bases)) as advance:
        for kind, base in bases:
            out += rows_of(lab, config, kind, base)
            advance(1)
    return out


def lines_of(rows: Sequence[Row]) -> tuple[dict[str, Json], ...]:
    """One flat line a row."""
    return tuple(
        {
            "arm": f"{row.kind}: {row.row}",
            "lr": None,
            "seed": row.base,
            "chosen": True,
            "validation": None,
            "success": json_number(round(float(row.success.mean()), 4)),
            "computed": json_number(round(row.computed, 4)),
            "switches": json_number(round(row.switches, 3)),
        }
        for row in rows
    )


def numbers_of(rows: Sequence[Row]) -> Mapping[str, Contrast]:
    """The numbers of the claim."""
    bases = 1 + max(row.base for row in rows)
    by = {(row.kind, row.row, row.base): row for row in rows}

    def success(kind: str, row: str) -> NDArray[np.float64]:
        return np.array([by[kind, row, base].success.mean() for base in range(bases)])

    def gain(kind: str, row: str) -> Contrast:
        name = f"{row} - plain, {kind}"
        return over_seeds(name, success(kind, row) - success(kind, "plain"), (-1.0, 1.0))

    computed = np.array([by[LATE, "plain", base].computed for base in range(bases)])
    return {
        "effect": gain(LATE, MAIN),
        "the base searches": over_seeds(
            "plain - what its texts are worth, late hits", success(LATE, "plain") - computed, (-1.0, 1.0)
        ),
        "flipped": gain(LATE, FLIPPED),
        "random words": gain(LATE, RANDOM),
        "shorter penalty": gain(LATE, f"penalty, {DURATIONS[0]} tokens"),
        "early hits": gain(EARLY, MAIN),
        "early hits, flipped": gain(EARLY, FLIPPED),
        "left to the best time": over_seeds(
            "best time of switching - penalty, late hits",
            success(LATE, "best time") - success(LATE, MAIN),
            (-1.0, 1.0),
        ),
    }


def study(lab: Lab, subject: Subject) -> Outcome:
    """The penalty, its sign changed, and on random words, where hits come late and where they come early."""
    config: SwitchConfig = EXPERIMENT.profiles["study" if subject.profile == "long" else "demo"]
    rows = all_rows(lab, config)
    if lab.share is not None:
        raise ShareDone
    numbers = numbers_of(rows)
    task = task_of(lab, config, LATE, 0)
    return Outcome(
        numbers={name: one.estimate for name, one in numbers.items()},
        base=task.base.fingerprint,
        base_name="search",
        run=str(lab.root),
        n=len(task.test.problems),
        rows=lines_of(rows),
        contrasts=tuple({"key": name, **one.to_json()} for name, one in numbers.items()),
        setting=(
            f"SEARCH, {config.bases} bases with late and {config.bases} with early hits ({config.steps} steps "
            f"of {config.batch_rows} texts that switch with probability {config.switch:g}); {config.draws} "
            f"answers a problem within {config.tokens} tokens; penalty {PENALTY:g}; computed: what a policy is "
            "worth that switches exactly as its texts do"
        ),
    )


def run(lab: Lab, config: SwitchConfig) -> MethodResult:
    """Pretrain and search under every row. Nothing is tuned: ``base`` has late hits, ``policy`` early ones."""
    lines = lines_of(all_rows(lab, config))
    made = {
        slot: Path(task_of(lab, config, kind, 0).folder) for slot, kind in (("base", LATE), ("policy", EARLY))
    }
    rows = tuple(
        {"name": f"{line['arm']}, base {line['seed']}", "value": line["success"], "computed": line["computed"],
         "switches": line["switches"]}
        for line in lines
    )  # fmt: skip
    return MethodResult(policies=made, rows=rows)


def brief(config: SwitchConfig) -> SwitchConfig:
    """Two steps of pretraining, one base, a problem or two."""
    return replace(config, bases=1, steps=2, batch_rows=2, tokens=16, problems=1, draws=1)


EXPERIMENT = Experiment(
    name="switch-penalty",
    summary="the thought-switch penalty where the right time to switch is known: late hits and early ones",
    source="Wang et al. 2025, arXiv 2501.18585",
    cost="demo: six bases of 1,200 steps; study: 16 of 3,000; real: as study",
    profiles={
        "demo": SwitchConfig(),
        "study": SwitchConfig(bases=8, steps=3000, draws=32),
        "real": SwitchConfig(bases=8, steps=3000, draws=32),
    },
    brief=brief,
    run=run,
)
