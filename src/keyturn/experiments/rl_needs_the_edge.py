"""RL extends a skill only from problems at the edge of the base's competence."""

from __future__ import annotations

from dataclasses import replace

from keyturn.experiments.arms import (
    CHAIN_RL,
    Cells,
    base_arm,
    embedded_task,
    experiment_arm,
    numbers_on_test,
    rl_arm,
    sizes_for,
    steps_for,
    verified_only,
)
from keyturn.experiments.competence_edge import RUN, EdgeConfig, task_of, trained
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.plan import against_best, contrast, level, run_plan
from keyturn.experiments.study import outcome_of
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.lab.task import Task
from keyturn.objectives import OBJECTIVES

BEYOND = "success depth 3"
ZONES: dict[str, tuple[int, ...]] = {"in": (1,), "edge": (2,), "hard": (4,), "mixed": (1, 2, 4)}
"""Zone -> depths of the RL problems on CHAIN."""
TESTED = (1, 2, 3, 4, 5)


def zones_on(lab: Lab, base: str) -> dict[str, Task]:
    """One CHAIN base with the training problems of each zone; the test problems are the same."""
    cells = {name: Cells(train=depths, test=TESTED, per_cell=224) for name, depths in ZONES.items()}
    return {name: embedded_task(lab, base, one) for name, one in cells.items()}


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare RL by zone on CHAIN; on GRAPH, mid-training for a third of the compute, and rare and unseen
    contexts."""
    zones = zones_on(lab, subject.base)
    longest = zones["edge"].max_new_tokens
    short = steps_for(replace(CHAIN_RL, steps=60, max_new_tokens=longest), subject.profile)
    strict = verified_only()
    grpo = OBJECTIVES["grpo"]()
    run = steps_for(RUN, subject.profile)
    usual_base, unseen_base = EdgeConfig(rl=run, steps=0), EdgeConfig(rl=run, exposure=0.0)
    graph, unseen = task_of(lab, usual_base), task_of(lab, unseen_base)
    arms = [
        base_arm(),
        *(rl_arm(name, objective=grpo, reward=strict, config=short, on=on) for name, on in zones.items()),
        base_arm("GRAPH base", on=graph),
        experiment_arm("GRAPH edge", trained, usual_base, graph),
        experiment_arm("GRAPH edge after mid-training", trained, replace(usual_base, mid=0.33), graph),
        base_arm("GRAPH base, context unseen", on=unseen),
        experiment_arm("GRAPH edge, context unseen", trained, unseen_base, unseen),
    ]
    runs = run_plan(
        Session(lab, zones["edge"]), arms, sizes_for(subject.profile), numbers_on_test(16), name="edge"
    )
    mid, deep = "GRAPH edge after mid-training", "success operations 3"
    new, old = "GRAPH edge, context unseen", "GRAPH base, context unseen"
    return outcome_of(
        Session(lab, zones["edge"]),
        runs,
        {
            "effect": against_best(runs, "edge", ("in", "hard"), BEYOND),
            "edge against in": contrast(runs, "edge", "in", BEYOND),
            "edge against hard": contrast(runs, "edge", "hard", BEYOND),
            "edge against mixed": contrast(runs, "edge", "mixed", BEYOND),
            "edge learns": contrast(runs, "edge", "base", "success depth 2"),
            "edge, two beyond": contrast(runs, "edge", "base", "success depth 5"),
            "in is mastered": level(runs, "base", "success depth 1"),
            "edge is an edge": level(runs, "base", "success depth 2"),
            "hard is hard": level(runs, "base", "success depth 4"),
            "mid-training, GRAPH at 3": contrast(runs, mid, "GRAPH edge", deep),
            "context of 5 %": contrast(runs, "GRAPH edge", "GRAPH base", "success context C2"),
            "context unseen": contrast(runs, new, old, "success context C2"),
            "the other context, same base": contrast(runs, new, old, "success context C1"),
        },
        setting=(
            "CHAIN, the shipped base; RL asks depth 1 (in), 2 (edge), 4 (hard) or all three (mixed), is paid "
            f"for verified answers and judged at depth 3; {short.steps} steps of {short.prompts} x "
            f"{short.draws} draws. GRAPH: two operations in context C1, {run.steps} steps of {run.prompts} x "
            f"{run.draws} draws; context C2 in 5 % of the shipped base's text, in none of a base of 1,200 steps"
        ),
    )
