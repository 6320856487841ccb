"""Long traces that emerge under an outcome reward were within the base's reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from keyturn.atlas.contract import Claim, Gate, Outcome, Subject, Threshold
from keyturn.atlas.planned import planned
from keyturn.studies.arms import base_arm, sizes_for, steps_for, usual
from keyturn.studies.plan import Arm, contrast, level, run_plan
from keyturn.training.contract import Task
from keyturn.training.lab import Lab
from keyturn.training.recipes.new_domain import RUN, NewDomainConfig, already_there, task_of, trained
from keyturn.training.stages import Model


def arm(name: str, config: NewDomainConfig, on: Task) -> Arm:
    """RL with the outcome reward alone."""

    def train(lab: Lab, task: Task, lr: float, seed: int) -> Model:
        return trained(lab, task, replace(config, rl=replace(config.rl, lr=lr)), seed=seed)

    return Arm(name=name, train=train, task=on)


def study(lab: Lab, subject: Subject) -> Outcome:
    """Parity with long traces in three tenths of pretraining, and in none of it."""
    run = steps_for(RUN, subject.profile)
    settings = {name: NewDomainConfig(world=name, rl=run) for name in ("par", "par-absent")}
    tasks = {name: task_of(lab, one) for name, one in settings.items()}

    def look(lab: Lab, task: Task, model: Model) -> Mapping[str, float]:
        found = usual(16)(lab, task, model)
        there = already_there(lab, task, model, settings["par"])
        return {"strategy FWD": 0.0, **found, **{f"traces {key}": value for key, value in there.items()}}

    arms = []
    for name, task in tasks.items():
        arms += [base_arm(f"base, {name}", on=task), arm(f"RL, {name}", settings[name], task)]
    ran = run_plan(lab, tasks["par"], arms, sizes_for(subject.profile), look, name="emergence")
    return planned(
        lab,
        tasks["par"],
        ran,
        {
            "effect": level(ran, "RL, par", "traces found"),
            "long traces": contrast(ran, "RL, par", "base, par", "strategy FWD"),
            "success": contrast(ran, "RL, par", "base, par", "success"),
            "absent": contrast(ran, "RL, par-absent", "base, par-absent", "strategy FWD"),
            "absent, success": contrast(ran, "RL, par-absent", "base, par-absent", "success"),
        },
        setting=(
            "PAR, parity by a running trace that three tenths of the text show, or none of it; "
            f"{run.steps} steps of {run.prompts} x {run.draws} draws, outcome reward alone"
        ),
    )


CLAIM = Claim(
    id="emergent-traces-were-there",
    version=1,
    question="Do long traces that appear under a simple reward come out of nothing?",
    statement="Traces that emerge under an outcome reward are ones that the base gave within a budget already.",
    source="Zeng et al. 2025 (SimpleRL-Zoo), arXiv 2503.18892; mixtures of traces, arXiv 2510.11495",
    threshold=Threshold(
        estimand="effect",
        says="share of the tuned policy's distinct verified traces with base probability above 1/64",
        direction=1,
        smallest=0.5,
        why="the larger part",
    ),
    gates=(Gate(name="success", says="RL raises verified success", minimum=0.0),),
    controls=(
        Gate(
            name="absent",
            says="where pretraining shows no long trace, none emerges",
            minimum=-0.05,
            maximum=0.05,
        ),
    ),
    study=study,
    study_says="two arms on each of two bases; short: two pretrainings, some 16 runs of 5 to 15 s",
    refuted_if="the interval over seeds lies below one half",
    methods=("new-domain",),
    not_shown="A trace may be unlikely word by word and its kind likely: the share is a lower bound.",
)
