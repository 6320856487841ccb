"""Learning to criticise answers teaches to answer, and more so than imitating right solutions."""

from __future__ import annotations

from dataclasses import replace

from keyturn.atlas.contract import Claim, Gate, Outcome, Subject, Threshold
from keyturn.atlas.planned import planned
from keyturn.studies.arms import base_arm, embedded_task, sizes_for, usual
from keyturn.studies.plan import Arm, contrast, run_plan
from keyturn.training.contract import Task
from keyturn.training.lab import Lab
from keyturn.training.recipes.cft import ARMS, CftConfig, train
from keyturn.training.recipes.sft import TINY
from keyturn.training.stages import Model

TOKENS = 40_000
ONE = CftConfig(problems=1, candidates=64, replay=1.0)


def learnt(name: str, config: CftConfig) -> Arm:
    """An arm of critique fine-tuning."""

    def fit(lab: Lab, task: Task, lr: float, seed: int) -> Model:
        return train(lab, task, replace(config, fit=replace(TINY, lr=lr)), seed=seed)[0]

    return Arm(name=name, train=fit)


def study(lab: Lab, subject: Subject) -> Outcome:
    """Six kinds of material at equal learnt tokens, wrong teachers, and one problem alone."""
    task = embedded_task(lab, subject.base)
    tokens = TOKENS * (10 if subject.profile == "long" else 1)
    config = CftConfig(problems=0, candidates=4, replay=1.0, gradient_tokens=tokens)
    arms = [base_arm(), *(learnt(name, replace(config, arm=name)) for name in ARMS)]
    arms += [
        learnt("critique alone", replace(config, replay=0.0)),
        learnt("critique, .5 right", replace(config, correctness=0.5)),
        learnt("critique, one problem", replace(ONE, gradient_tokens=tokens)),
        learnt("corrected, one problem", replace(ONE, arm="corrected", gradient_tokens=tokens)),
    ]
    ran = run_plan(lab, task, arms, sizes_for(subject.profile), usual(8), name="critiques")
    return planned(
        lab,
        task,
        ran,
        {
            "effect": contrast(ran, "critique", "corrected", "success"),
            "critique - base": contrast(ran, "critique", "base", "success"),
            "corrected - base": contrast(ran, "corrected", "base", "success"),
            "critique - no correction": contrast(ran, "critique", "no_correction", "success"),
            "no correction - base": contrast(ran, "no_correction", "base", "success"),
            "critique - self-critique": contrast(ran, "critique", "self_critique", "success"),
            "critique - shuffled": contrast(ran, "critique", "shuffled", "success"),
            "critique - form": contrast(ran, "critique", "format_only", "success"),
            "without replay": contrast(ran, "critique alone", "critique", "success"),
            "half wrong": contrast(ran, "critique, .5 right", "critique", "success"),
            "one problem": contrast(ran, "critique, one problem", "base", "success"),
            "one problem: critique - corrected": contrast(
                ran, "critique, one problem", "corrected, one problem", "success"
            ),
        },
        setting=(
            f"base {subject.base}; four answers of the base to each of {len(task.train.problems)} problems, "
            f"critiques by the verifier, {tokens} learnt tokens an arm, half of the rows of every arm but "
            "one the base's own answers, the same ones on the same problems; asked directly at the end"
        ),
    )


CLAIM = Claim(
    id="critiques-beat-solutions",
    version=2,
    question="Does learning to judge answers teach more than imitating right ones?",
    statement=(
        "A model fitted to critiques of right and wrong answers answers better, asked directly, than one "
        "fitted to as many tokens of right solutions of the same problems."
    ),
    source="Wang, Yue and Chen 2025, arXiv 2501.17703; one problem: Wang et al. 2025, arXiv 2506.03295",
    threshold=Threshold(
        estimand="effect",
        says="success on test problems, critiques minus right solutions, mean over seeds",
        direction=1,
        smallest=0.02,
        why="the paper's margin over its best imitation is 4 to 10 points; a fiftieth is of interest",
    ),
    gates=(Gate(name="corrected - base", says="right solutions teach something", minimum=0.0),),
    controls=(
        Gate(
            name="critique - shuffled",
            says="a critique under another answer is worth less: it is the judgement that teaches",
            minimum=0.0,
        ),
    ),
    study=study,
    study_says="ten kinds of material and the base; short: some 40 runs of 4 to 8 s",
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +.02",
    methods=("cft",),
    not_shown=(
        "Without its own answers beside them a model this small forgets to answer, which large ones do not. "
        "The verifier's critiques are short and of a fixed form, and what they say of a wrong answer holds the "
        "whole solution, as teachers' do: only the arms without it tell judging from imitating. A base that "
        "never saw a critique learns their language on the way."
    ),
)
