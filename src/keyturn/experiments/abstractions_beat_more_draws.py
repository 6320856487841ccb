"""Drawing abstractions and a few solutions for each beats drawing the same number of solutions without them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from keyturn.experiments.arms import Cells, embedded_task, method_arm, sizes_for, steps_for
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.plan import Arm, contrast, run_plan
from keyturn.experiments.study import outcome_of
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task, subset
from keyturn.methods.rlad import METHOD as RLAD
from keyturn.methods.rlad import RUN, RladConfig, hinted, measured, prepared

SETTINGS = RladConfig(rl=RUN)
WITHOUT = "RL without abstractions"
ARMS: dict[str, RladConfig] = {
    "RLAD": SETTINGS,
    "random abstractions": replace(SETTINGS, arm="random"),
    "all prompts paid": replace(SETTINGS, arm="unzeroed"),
}
"""Arm -> its settings."""
PASS = "pass"
CELLS = Cells(train=(1, 2), test=(1, 2), per_cell=24, held_out=16)


def hinted_validation(session: Session, config: RladConfig) -> Task:
    """Validation problems, each with a uniformly drawn word; all arms that get words get the same ones."""
    picks = session.streams.generator("validation words").integers(
        len(config.words), size=len(session.task.validation.problems)
    )
    chosen = [hinted(p, config.words[i]) for p, i in zip(session.task.validation.problems, picks, strict=True)]
    return replace(session.task, validation=subset(session.task.validation, chosen, "given words"))


def arm(name: str, config: RladConfig, *, on: Task | None = None) -> Arm:
    """An arm that trains solver and generator in turn."""
    return method_arm(name, RLAD, lambda lr: replace(config, rl=replace(config.rl, lr=lr)), on=on)


def evaluate(session: Session, model: Model) -> Mapping[str, float]:
    """Success and pass@k; ``pass`` uses abstractions if the arm's validation problems have them."""
    found = measured(session, model.beside, SETTINGS)
    given = "z" in session.task.validation.problems[0].facts
    return {**found, PASS: found["pass given" if given else "pass without"]}


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare RLAD, its two controls and plain RL at the same number of draws."""
    run = steps_for(RUN, subject.profile, 6)
    plain = prepared(embedded_task(lab, subject.base, CELLS))
    task = hinted_validation(Session(lab, plain), SETTINGS)
    arms = [
        method_arm("start", RLAD, lambda _: replace(SETTINGS, rounds=0), says="no RL", tuned=False),
        *(arm(name, replace(config, rl=run)) for name, config in ARMS.items()),
        # The learning rate of this arm is chosen without abstractions too.
        arm(WITHOUT, replace(SETTINGS, arm="without", rl=run), on=plain),
    ]
    runs = run_plan(Session(lab, task), arms, sizes_for(subject.profile), evaluate, name="abstractions")
    return outcome_of(
        Session(lab, task),
        runs,
        {
            "effect": contrast(runs, "RLAD", WITHOUT, PASS),
            "against random abstractions": contrast(runs, "RLAD", "random abstractions", PASS),
            "against all prompts paid": contrast(runs, "RLAD", "all prompts paid", PASS),
            "RLAD learns": contrast(runs, "RLAD", "start", "success given"),
            "abstractions are followed": contrast(runs, "RLAD", "all prompts paid", "adherence"),
        },
        setting=(
            f"GRAPH at one and two operations; z names one of {len(SETTINGS.words)} strategies; "
            f"{SETTINGS.rounds} rounds of {run.steps} RL steps of {RUN.prompts} x {RUN.draws} draws; pass@"
            f"{SETTINGS.abstractions * SETTINGS.solutions} of {SETTINGS.abstractions} abstractions; rates by "
            "validation with a word where an arm is given words, without where it is not"
        ),
    )
