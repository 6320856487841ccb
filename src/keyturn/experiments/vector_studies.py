"""What vectors that were trained in the base recover where a tuned policy differs, against all their controls.

The hybrids are those of ``keyturn elicit`` (:mod:`keyturn.elicitation.hybrid_vectors`), in both versions. The
teacher is a policy tuned by RL, or one that was distilled from worked solutions; in the twin that lacks the
mode it is only the distilled one, since RL learns nothing there. The share ``recovered = (arm - base) /
(teacher - base)`` of success on the test problems is given for the plain base, and for the base with its best
prompt: the forced opener that ``forced-opener`` finds on development problems, or no prompt, whichever answers
more of the test problems. That choice favours the prompt.
Success of base and teacher is an exact sum over all verified answers, that of an arm is drawn.
Denominator: the test problems of a base, resampled in pairs; over bases Student's. A ratio is given only where
its denominator is .05 or more with an interval above 0, and is never cut. Degenerate: an arm that cannot work
has a row that says why. One seed of training, so no seed was chosen by its result. Version 1 trained vectors in
absolute units, as published, on 60 texts; they moved nothing, and on two of four bases the network's died.
Version 2 measures them in units of the states and has 240 texts, with the same bases, arms and limits.
Source: ours; arms: Venhoff et al. 2025 (2510.07364) and its code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError
from keyturn.core.measurement import Estimate, Json, json_number
from keyturn.core.progress import progress
from keyturn.elicitation import ELICITATIONS
from keyturn.elicitation.contract import Asked, Prepared
from keyturn.elicitation.prepared_file import Given
from keyturn.elicitation.stage import elicit
from keyturn.elicitation.vector_fitting import VectorsConfig
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.elicitation_studies import OTHER, RARE, config_for, difference, of_problems
from keyturn.experiments.hybrid_studies import BASES, LEAST_GAP
from keyturn.experiments.plan import Contrast, ShareDone, over_seeds
from keyturn.experiments.present_and_absent import (
    Cell,
    PresentConfig,
    asked_of,
    exact_success,
    gain_of,
    recovered_of,
    task_of,
    tuned,
)
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.problems.contract import answers

GRID = VectorsConfig(words=1)
"""Sentences of the world are shorter than those of prose."""
NETWORK = replace(GRID, version="network")
CLUSTERS = replace(GRID, taxonomy="clusters")
PLACES, STUDENT = "hybrid-vectors-random-places", "hybrid-vectors-student"
GRID_ARMS = {
    "vectors": "hybrid-vectors",
    "bias alone": "hybrid-vectors-bias",
    "random vectors": "hybrid-vectors-random",
    "random above the bias": "hybrid-vectors-random-above-bias",
    "random kind": "hybrid-vectors-random-kind",
    "coefficient alone": "hybrid-vectors-coefficient",
    "random places": PLACES,
}
NETWORK_ARMS = {
    "network: vectors": "hybrid-vectors-network",
    "network: random vectors": "hybrid-vectors-random",
    "network: random kind": "hybrid-vectors-random-kind",
    "network: coefficient alone": "hybrid-vectors-coefficient",
    "network: random places": PLACES,
}
TOKEN_ARMS = {
    "teacher's token": "hybrid-disagree",
    "teacher's choice of five": "hybrid-rerank",
    "teacher's token, student gate": "hybrid-student",
}
"""Arm -> method."""
FULL, NETWORK_FULL, RANDOM, BIAS = "vectors", "network: vectors", "random vectors", "bias alone"
TEACHERS: Mapping[str, tuple[str, ...]] = {RARE: ("RL", "SFT"), OTHER: ("SFT",)}
"""World -> the tuned policies that are teachers there."""
PROMPTED = "best prompt"


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """The cells of a run.

    Args:
        cells: in any order; ``row`` of each is ``teacher: arm``, or the arm alone where no teacher is asked.
        facts: (world, base, teacher, arm) -> numbers about the training behind it.
        bases: how many.
    """

    cells: tuple[Cell, ...]
    facts: Mapping[tuple[str, int, str, str], Mapping[str, float]]
    bases: int

    @cached_property
    def _by(self) -> dict[tuple[str, str, int], Cell]:
        return {(cell.world, cell.row, cell.base): cell for cell in self.cells}

    def cell(self, world: str, base: int, teacher: str, arm: str) -> Cell:
        """The cell of an arm; of ``teacher``, ``base`` and ``best prompt`` too."""
        alone = {"base": "base", PROMPTED: PROMPTED, "teacher": teacher}
        return self._by[world, alone.get(arm, f"{teacher}: {arm}"), base]

    def problems(self, world: str, teacher: str, arm: str) -> list[NDArray[np.float64]]:
        """Success of every problem, ``[problem]`` a base; empty where the arm could not work."""
        return [self.cell(world, base, teacher, arm).success for base in range(self.bases)]

    def recovered(self, world: str, teacher: str, arm: str, lab: Lab, of: str = "base") -> NDArray[np.float64]:
        """Share of the teacher's gain over ``of`` that an arm recovers, ``[base]``; NaN where there is none."""
        shares = []
        for base in range(self.bases):
            cell, plain, end = (self.cell(world, base, teacher, one) for one in (arm, of, "teacher"))
            shares.append(share_of(cell, plain, end, lab).value)
        return np.array(shares)


def share_of(cell: Cell, plain: Cell, end: Cell, lab: Lab) -> Estimate:
    """Share of the gain from ``plain`` to ``end`` that a cell has; NaN where that gain is below .05, or its
    interval holds 0."""
    if end.success.mean() - plain.success.mean() < LEAST_GAP:
        return Estimate(float("nan"))
    return recovered_of(cell, plain, end, lab)


def cells_of(
    lab: Lab, config: PresentConfig, world: str, base: int
) -> Iterator[tuple[Cell, Mapping[str, float]]]:
    """Base, prompt, teachers and every arm of one base, each with numbers about its training."""
    session = Session(lab, task_of(lab, config, world, base), seed=base)
    asked = asked_of(session, config)
    which = {"world": world, "base": base, "control": True}
    plain = exact_success(session)
    yield Cell(**which, row="base", success=plain), {}
    opened = _arm(lab, asked, "forced-opener", ELICITATIONS["forced-opener"].config, None)[0]
    better = len(opened["success"]) and opened["success"].mean() > plain.mean()
    best = opened["success"] if better else plain
    yield Cell(**which, row=PROMPTED, success=best, costs=opened.get("costs", {})), {}
    for teacher, model in tuned(session, config).items():
        if teacher not in TEACHERS[world]:
            continue
        yield Cell(**which, row=teacher, success=exact_success(session, model)), {}
        taught = replace(asked, teacher=model.policy)
        for arm, control, said, facts in arms_of(lab, taught):
            yield Cell(**{**which, "control": control}, row=f"{teacher}: {arm}", **said), facts


def arms_of(lab: Lab, asked: Asked) -> Iterator[tuple[str, bool, dict, dict[str, float]]]:
    """Every arm: name, whether it is a control, its cell's numbers, numbers about its training."""
    for arms, config in ((GRID_ARMS, GRID), (NETWORK_ARMS, NETWORK)):
        # Random places need the vectors and one number more, so they are prepared first and serve all.
        made: Prepared | None = None
        order = sorted(arms.items(), key=lambda item: item[1] != PLACES)
        for arm, method in order:
            said, prepared = _arm(lab, asked, method, config, made)
            made = made if made is not None else prepared
            yield arm, ELICITATIONS[method].controls, said, _facts(prepared) if method == PLACES else {}
    for arm, method, config in (
        ("student gate", STUDENT, GRID),
        ("vectors of clusters", "hybrid-vectors", CLUSTERS),
    ):
        said, prepared = _arm(lab, asked, method, config, None)
        yield arm, True, said, _facts(prepared)
    for arm, method in TOKEN_ARMS.items():
        yield arm, True, _arm(lab, asked, method, ELICITATIONS[method].config, None)[0], {}


def _arm(
    lab: Lab, asked: Asked, name: str, config: object, made: Prepared | None
) -> tuple[dict, Prepared | None]:
    """Success of each problem and costs of an arm, and what it prepared."""
    problems = asked.problems
    try:
        given = None if made is None else Given.of(made)
        found = elicit(lab, ELICITATIONS[name], config, asked, given=given)
    except InputError as error:
        return {"success": np.zeros(0), "said": error.what}, None
    completions, costs = found.elicitation.completions, found.elicitation.costs
    _, grades = lab.grade(problems.grader, problems.problems, completions, found.stage, name="grade")
    written = float(costs.generated.sum())
    spent = {
        "steered": float(costs.steered.sum()) / written,
        "bits": float(costs.teacher_bits.sum()) / written,
        "passes": float(costs.passes.mean()),
        "generated": float(costs.generated.mean()),
        "weights": float(found.weights),
    }
    success = answers(name, problems.problems, completions, grades).rates()
    return {"success": success, "costs": spent}, found.prepared


def _facts(prepared: Prepared | None) -> dict[str, float]:
    """Numbers about the training."""
    if prepared is None:
        return {}
    facts = {
        name.removeprefix("fact "): float(one[0]) for name, one in prepared.items() if name.startswith("fact ")
    }
    loss = prepared["loss"]
    known = np.isfinite(loss[:, 1])
    facts |= {"kinds": float(prepared["used"].sum())}
    facts |= {"loss before": float(loss[known, 0].mean()), "loss after": float(loss[known, 1].mean())}
    return facts


def lines_of(found: Found, lab: Lab) -> tuple[dict[str, Json], ...]:
    """One flat line a row and base."""
    lines = []
    for cell in found.cells:
        teacher, _, arm = cell.row.partition(": ")
        numbers: dict[str, float] = {"success": float(cell.success.mean()) if len(cell.success) else np.nan}
        numbers |= dict(cell.costs)
        if arm:
            end = found.cell(cell.world, cell.base, teacher, "teacher")
            for of, label in (("base", "recovered"), (PROMPTED, "recovered over prompt")):
                share = share_of(cell, found.cell(cell.world, cell.base, teacher, of), end, lab)
                numbers |= {label: share.value, f"{label} low": share.low, f"{label} high": share.high}
            gain = gain_of(cell, found.cell(cell.world, cell.base, teacher, "base"), lab)
            numbers |= {"gain": gain.value, "gain low": gain.low, "gain high": gain.high}
            numbers |= dict(found.facts.get((cell.world, cell.base, teacher, arm), {}))
        lines.append(
            {
                "arm": f"{cell.world}: {cell.row}",
                "lr": None,
                "seed": cell.base,
                "chosen": True,
                "validation": None,
                "world": cell.world,
                "row": cell.row,
                **({"said": cell.said} if cell.said else {}),
                **{name: json_number(round(value, 4)) for name, value in numbers.items()},
            }
        )
    return tuple(lines)


def numbers_of(found: Found, lab: Lab) -> Mapping[str, Contrast]:
    """Of the claim that trained vectors do more than random ones under the same choice."""

    def over(name: str, one: str, other: str, teacher: str = "RL") -> Contrast:
        ours, theirs = (found.problems(RARE, teacher, arm) for arm in (one, other))
        apart = [a - b if len(a) and len(b) else np.full(1, np.nan) for a, b in zip(ours, theirs, strict=True)]
        made = difference(f"{name}, {teacher} teacher, at 5 %", np.array([each.mean() for each in apart]))
        return of_problems(made, np.array(apart), lab) if made.seeds == len(apart) else made

    out = {
        "effect": over("vectors - random vectors", FULL, RANDOM),
        "RL learns": over("teacher - base", "teacher", "base"),
        "the hybrid works": over("vectors - base", FULL, "base"),
        "random places": over("vectors at random places - base", "random places", "base"),
        "against the bias": over("vectors - bias alone", FULL, BIAS),
        "against the prompt": over("vectors - best prompt", FULL, PROMPTED),
        "against the teacher's token": over("vectors - teacher's token", FULL, "teacher's token"),
        "network": over("network: vectors - random vectors", NETWORK_FULL, "network: random vectors"),
        "network works": over("network: vectors - base", NETWORK_FULL, "base"),
        "distillation learns": over("teacher - base", "teacher", "base", "SFT"),
        "distilled": over("vectors - random vectors", FULL, RANDOM, "SFT"),
    }
    for label, arm in (("recovered", FULL), ("recovered by network", NETWORK_FULL)):
        ours, theirs = (found.recovered(RARE, teacher, arm, lab) for teacher in ("RL", "SFT"))
        out[f"{label}, RL"] = over_seeds(f"{label}, RL teacher, at 5 %", ours)
        out[f"{label}, distilled"] = over_seeds(f"{label}, distilled teacher, at 5 %", theirs)
        out[f"{label}, absent"] = over_seeds(
            f"{label}, distilled teacher, other domain", found.recovered(OTHER, "SFT", arm, lab)
        )
    return out


def vectors_and_controls(lab: Lab, subject: Subject) -> Outcome:
    """Every arm with an RL-tuned and a distilled teacher.

    Raises:
        ShareDone: this process was given a share of the bases and has done it.
    """
    config = config_for(subject, (RARE, OTHER), ())
    config = replace(config, bases=max(config.bases, BASES))
    bases = [(world, base) for base in range(config.bases) for world in config.worlds]
    if lab.share is not None:
        bases = bases[lab.share[0] :: lab.share[1]]
    cells, facts = list[Cell](), {}
    with progress("hybrids with vectors", len(bases)) as advance:
        for world, base in bases:
            for cell, own in cells_of(lab, config, world, base):
                cells.append(cell)
                teacher, _, arm = cell.row.partition(": ")
                facts[world, base, teacher, arm] = own
            advance(1)
    if lab.share is not None:
        raise ShareDone
    found = Found(cells=tuple(cells), facts=facts, bases=config.bases)
    numbers = numbers_of(found, lab)
    task = task_of(lab, config, RARE, 0)
    return Outcome(
        numbers={name: one.estimate for name, one in numbers.items()},
        base=task.base.fingerprint,
        base_name=RARE,
        run=str(lab.root),
        n=len(task.test.problems),
        rows=lines_of(found, lab),
        contrasts=tuple({"key": name, **one.to_json()} for name, one in numbers.items()),
        over_problems=frozenset(name for name, one in numbers.items() if one.basis == "problems"),
        setting=(
            f"MODES, {config.bases} bases at {RARE!r} and {config.bases} at {OTHER!r}; RL of {config.rl.steps} "
            f"steps and SFT of {config.fit.steps} steps as teachers; vectors from {GRID.trials} texts of the "
            f"teacher a development problem, {config.draws} text(s) a test problem; success of base and "
            "teacher is an exact sum"
        ),
    )
