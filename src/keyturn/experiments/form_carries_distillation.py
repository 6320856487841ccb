"""Distillation works through the form of traces: wrong numbers in the right form work about as well."""

from __future__ import annotations

from dataclasses import replace

from keyturn.experiments.arms import base_arm, embedded_task, method_arm, numbers_on_test, sizes_for
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.plan import Arm, contrast, run_plan
from keyturn.experiments.study import outcome_of
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.methods.distill import METHOD as DISTILL
from keyturn.methods.distill import DistillConfig
from keyturn.methods.sft import TINY

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
    """An arm that learns from a given number of tokens of one kind of trace."""
    settings = replace(config, train_problems=0, gradient_tokens=tokens)
    return method_arm(name, DISTILL, lambda lr: replace(settings, fit=replace(TINY, lr=lr)))


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare six kinds of solutions to the same problems at the same number of trained tokens."""
    task = embedded_task(lab, subject.base)
    tokens = TOKENS * (10 if subject.profile == "long" else 1)
    arms = [base_arm(), *(distilled(name, config, tokens) for name, config in TAUGHT.items())]
    runs = run_plan(
        Session(lab, task), arms, sizes_for(subject.profile), numbers_on_test(8), name="form against validity"
    )
    return outcome_of(
        Session(lab, task),
        runs,
        {
            "effect": contrast(runs, "valid", "invalid", RIGHT),
            "valid - base": contrast(runs, "valid", "base", RIGHT),
            "valid - filler": contrast(runs, "valid", "filler", RIGHT),
            "invalid - filler": contrast(runs, "invalid", "filler", RIGHT),
            "invalid - answer alone": contrast(runs, "invalid", "answer alone", RIGHT),
            "swapped - filler": contrast(runs, "swapped", "filler", RIGHT),
            "wrong answers": contrast(runs, "invalid, wrong answer", "invalid", RIGHT),
            "verified": contrast(runs, "valid", "invalid", "success"),
        },
        setting=(
            f"base {subject.base}; solutions of all {len(task.train.problems)} training problems, {tokens} "
            "learnt tokens an arm; invalid: every number of the trace is another one"
        ),
    )
