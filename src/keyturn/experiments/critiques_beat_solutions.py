"""Learning to critique answers teaches a model to answer, and does so better than imitating right solutions."""

from __future__ import annotations

from dataclasses import replace

from keyturn.experiments.arms import base_arm, embedded_task, method_arm, numbers_on_test, sizes_for
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.plan import Arm, contrast, run_plan
from keyturn.experiments.study import outcome_of
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.methods.cft import ARMS, CftConfig
from keyturn.methods.cft import METHOD as CFT
from keyturn.methods.sft import TINY

TOKENS = 40_000
ONE = CftConfig(train_problems=1, candidates=64, replay=1.0)


def learnt(name: str, config: CftConfig) -> Arm:
    """An arm trained by critique fine-tuning."""
    return method_arm(name, CFT, lambda lr: replace(config, fit=replace(TINY, lr=lr)))


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare six kinds of training data at the same number of trained tokens, wrong teachers, and a single
    problem."""
    task = embedded_task(lab, subject.base)
    tokens = TOKENS * (10 if subject.profile == "long" else 1)
    config = CftConfig(train_problems=0, candidates=4, replay=1.0, gradient_tokens=tokens)
    arms = [base_arm(), *(learnt(name, replace(config, arm=name)) for name in ARMS)]
    arms += [
        learnt("critique alone", replace(config, replay=0.0)),
        learnt("critique, .5 right", replace(config, correctness=0.5)),
        learnt("critique, one problem", replace(ONE, gradient_tokens=tokens)),
        learnt("corrected, one problem", replace(ONE, arm="corrected", gradient_tokens=tokens)),
    ]
    runs = run_plan(Session(lab, task), arms, sizes_for(subject.profile), numbers_on_test(8), name="critiques")
    return outcome_of(
        Session(lab, task),
        runs,
        {
            "effect": contrast(runs, "critique", "corrected", "success"),
            "critique - base": contrast(runs, "critique", "base", "success"),
            "corrected - base": contrast(runs, "corrected", "base", "success"),
            "critique - no correction": contrast(runs, "critique", "no_correction", "success"),
            "no correction - base": contrast(runs, "no_correction", "base", "success"),
            "critique - self-critique": contrast(runs, "critique", "self_critique", "success"),
            "critique - shuffled": contrast(runs, "critique", "shuffled", "success"),
            "critique - form": contrast(runs, "critique", "format_only", "success"),
            "without replay": contrast(runs, "critique alone", "critique", "success"),
            "half wrong": contrast(runs, "critique, .5 right", "critique", "success"),
            "one problem": contrast(runs, "critique, one problem", "base", "success"),
            "one problem: critique - corrected": contrast(
                runs, "critique, one problem", "corrected, one problem", "success"
            ),
        },
        setting=(
            f"base {subject.base}; four answers of the base to each of {len(task.train.problems)} problems, "
            f"critiques by the verifier, {tokens} learnt tokens an arm, half of the rows of every arm but "
            "one the base's own answers, the same ones on the same problems; asked directly at the end"
        ),
    )
