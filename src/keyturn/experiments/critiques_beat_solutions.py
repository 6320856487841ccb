"""Learning to criticise answers teaches to answer, and more so than imitating right solutions."""

from __future__ import annotations

from dataclasses import replace

from keyturn.experiments.arms import base_arm, embedded_task, method_arm, sizes_for, usual
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.plan import Arm, contrast, run_plan
from keyturn.experiments.planned import planned
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.methods.cft import ARMS, CftConfig
from keyturn.methods.cft import METHOD as CFT
from keyturn.methods.sft import TINY

TOKENS = 40_000
ONE = CftConfig(problems=1, candidates=64, replay=1.0)


def learnt(name: str, config: CftConfig) -> Arm:
    """An arm of critique fine-tuning."""
    return method_arm(name, CFT, lambda lr: replace(config, fit=replace(TINY, lr=lr)))


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
    ran = run_plan(Session(lab, task), arms, sizes_for(subject.profile), usual(8), name="critiques")
    return planned(
        Session(lab, task),
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
