"""The study shared by claims about objectives: all arms use the same base, problems, draws and learning
rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from keyturn.experiments.arms import (
    CHAIN_RL,
    GRAPH_RL,
    base_arm,
    embedded_task,
    numbers_on_test,
    rl_arm,
    sizes_for,
    steps_for,
)
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.plan import contrast, run_plan
from keyturn.experiments.study import outcome_of
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.objectives.contract import Objective
from keyturn.rewards import REWARDS
from keyturn.training.config import UpdateConfig

Compared = Mapping[str, tuple[str, str, str]]
"""Name of a number -> (arm, control, number of a run)."""

LEARNS, COVERAGE = "the control learns", "coverage to keep"
"""Numbers that every such study reports and claims use as gates."""
CHAIN_STEPS, GRAPH_STEPS = 60, 20
WHERE = {
    "chain": "CHAIN learnt from depths 2 and 3, tested at 2 to 5",
    "graph": "GRAPH learnt at one operation, tested at one and two",
}


def objectives_on(
    lab: Lab, subject: Subject, objectives: Mapping[str, Objective], compared: Compared, *, updates: int = 1
) -> Outcome:
    """Train the base with every objective and compare arms seed by seed.

    Args:
        lab: the run directory.
        subject: base and profile.
        objectives: arm name -> objective; the first is the control of the gate.
        compared: definitions of the claim's numbers.
        updates: mini-batches per rollout; above 1, ratios differ from 1 and clipping takes effect.
    """
    task = embedded_task(lab, subject.base)
    chain = task.world is not None and task.world.domain == "chain"
    usual_run = replace(CHAIN_RL, steps=CHAIN_STEPS) if chain else replace(GRAPH_RL, steps=GRAPH_STEPS)
    config = steps_for(replace(usual_run, update=UpdateConfig(minibatches=updates)), subject.profile)
    reward = REWARDS["outcome"]()
    arms = [rl_arm(name, objective=one, reward=reward, config=config) for name, one in objectives.items()]
    runs = run_plan(
        Session(lab, task),
        [base_arm(), *arms],
        sizes_for(subject.profile),
        numbers_on_test(16),
        name="objectives",
    )
    control = next(iter(objectives))
    return outcome_of(
        Session(lab, task),
        runs,
        {
            **{name: contrast(runs, *three) for name, three in compared.items()},
            LEARNS: contrast(runs, control, "base", "success"),
        },
        setting=(
            f"base {subject.base!r}, {WHERE['chain' if chain else 'graph']}; {config.steps} steps of "
            f"{config.prompts} x {config.draws} draws, {updates} update{'s' if updates > 1 else ''} a rollout"
        ),
    )
