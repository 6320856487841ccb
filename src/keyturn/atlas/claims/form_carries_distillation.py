"""Distillation works by the form of traces: wrong numbers in the right form serve about as well."""

from __future__ import annotations

from dataclasses import replace

from keyturn.atlas.contract import Claim, Gate, Outcome, Subject, Threshold
from keyturn.atlas.planned import planned
from keyturn.studies.arms import base_arm, embedded_task, sizes_for, usual
from keyturn.studies.plan import Arm, contrast, run_plan
from keyturn.training.contract import Task
from keyturn.training.lab import Lab
from keyturn.training.recipes.distill import DistillConfig, train
from keyturn.training.recipes.sft import TINY
from keyturn.training.stages import Model

TOKENS = 30_000
RIGHT = "right"
TAUGHT: dict[str, DistillConfig] = {
    "valid": DistillConfig(),
    "invalid": DistillConfig(traces="invalid"),
    "invalid, wrong answer": DistillConfig(traces="invalid", answer="wrong"),
    "swapped": DistillConfig(traces="swapped"),
    "filler": DistillConfig(traces="filler"),
    "answer alone": DistillConfig(traces="none"),
}


def distilled(name: str, config: DistillConfig, tokens: int) -> Arm:
    """An arm that learns from so many tokens of traces of a kind."""

    def fit(lab: Lab, task: Task, lr: float, seed: int) -> Model:
        settings = replace(config, problems=0, gradient_tokens=tokens, fit=replace(TINY, lr=lr))
        return train(lab, task, settings, seed=seed)[0]

    return Arm(name=name, train=fit)


def study(lab: Lab, subject: Subject) -> Outcome:
    """Six kinds of solutions of the same problems at equal learnt tokens."""
    task = embedded_task(lab, subject.base)
    tokens = TOKENS * (10 if subject.profile == "long" else 1)
    arms = [base_arm(), *(distilled(name, config, tokens) for name, config in TAUGHT.items())]
    ran = run_plan(lab, task, arms, sizes_for(subject.profile), usual(8), name="form against validity")
    return planned(
        lab,
        task,
        ran,
        {
            "effect": contrast(ran, "valid", "invalid", RIGHT),
            "valid - base": contrast(ran, "valid", "base", RIGHT),
            "valid - filler": contrast(ran, "valid", "filler", RIGHT),
            "invalid - filler": contrast(ran, "invalid", "filler", RIGHT),
            "invalid - answer alone": contrast(ran, "invalid", "answer alone", RIGHT),
            "swapped - filler": contrast(ran, "swapped", "filler", RIGHT),
            "wrong answers": contrast(ran, "invalid, wrong answer", "invalid", RIGHT),
            "verified": contrast(ran, "valid", "invalid", "success"),
        },
        setting=(
            f"base {subject.base}; solutions of all {len(task.train.problems)} training problems, {tokens} "
            "learnt tokens an arm; invalid: every number of the trace is another one"
        ),
    )


CLAIM = Claim(
    id="form-carries-distillation",
    version=1,
    question="Must the traces that a student imitates be right?",
    statement=(
        "What a student gains from traces is their form: traces that are invalid step by step, or another "
        "problem's, teach right answers about as well as valid ones."
    ),
    source="Stechly et al. 2025, arXiv 2505.13775; of prompts: Wang et al. 2023, arXiv 2212.10001",
    threshold=Threshold(
        estimand="effect",
        says="share of right answers, valid traces minus invalid ones under the same right answers",
        direction=-1,
        smallest=0.05,
        why="one answer in twenty; valid and invalid arms of the paper lie closer than that, or the other way",
    ),
    gates=(Gate(name="valid - base", says="valid traces teach something", minimum=0.0),),
    controls=(
        Gate(
            name="valid - filler",
            says="a valid trace is worth more than its length, so that validity could matter at all",
            minimum=0.0,
        ),
    ),
    study=study,
    study_says="six kinds of solutions and the base; short: some 25 runs of 2 to 5 s",
    default=Subject(base="chain"),
    refuted_if="the interval over seeds of valid minus invalid lies above +.05",
    methods=("distill",),
    not_shown=(
        "Here the answer is the end of the trace; in the paper's mazes a plan follows a record of a search. "
        "The numbers of an invalid trace are drawn, not carried on from an error. Experts are programs, not "
        "models."
    ),
)
