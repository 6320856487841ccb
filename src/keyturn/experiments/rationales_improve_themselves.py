"""A small catalyst teaches a policy to enrich its own rationales; training on them raises success without gold
answers."""

from __future__ import annotations

from dataclasses import replace

from keyturn.experiments.arms import base_arm, embedded_task, method_arm, numbers_on_test, sizes_for
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.plan import Arm, contrast, run_plan
from keyturn.experiments.study import outcome_of
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.methods.self_improve import METHOD as SELF_IMPROVE
from keyturn.methods.self_improve import SelfImproveConfig
from keyturn.methods.sft import TINY

WAYS: dict[str, SelfImproveConfig] = {
    "SRLM": SelfImproveConfig(),
    "SRLM, by length": SelfImproveConfig(selector="length"),
    "padding catalyst": SelfImproveConfig(kind="padding", selector="length"),
    "catalyst as demonstrations": SelfImproveConfig(kind="demonstrations"),
    "own answers alone": SelfImproveConfig(kind="none"),
}
RIGHT = "right"


def way(name: str, config: SelfImproveConfig, steps: int, problems: int, rounds: int) -> Arm:
    """An arm of self-improvement."""

    settings = replace(config, train_problems=problems, rounds=rounds, catalyst=48)
    fit = replace(TINY, steps=steps, warmup=steps // 10, batch_rows=16)
    return method_arm(name, SELF_IMPROVE, lambda lr: replace(settings, fit=replace(fit, lr=lr)))


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare two selectors, a placebo catalyst, the catalyst as plain demonstrations, and the base's own
    answers alone."""
    task = embedded_task(lab, subject.base)
    long = subject.profile == "long"
    steps, problems, rounds = (600, 0, 3) if long else (40, 96, 1)
    arms = [base_arm(), *(way(name, config, steps, problems, rounds) for name, config in WAYS.items())]
    runs = run_plan(
        Session(lab, task), arms, sizes_for(subject.profile), numbers_on_test(8), name="self-improvement"
    )
    return outcome_of(
        Session(lab, task),
        runs,
        {
            "effect": contrast(runs, "SRLM", "base", RIGHT),
            "less padding": contrast(runs, "SRLM, by length", "padding catalyst", RIGHT),
            "less demonstrations": contrast(runs, "SRLM", "catalyst as demonstrations", RIGHT),
            "less own answers": contrast(runs, "SRLM", "own answers alone", RIGHT),
            "padding": contrast(runs, "padding catalyst", "base", RIGHT),
            "consistency - length": contrast(runs, "SRLM", "SRLM, by length", RIGHT),
            "verified": contrast(runs, "SRLM", "base", "success"),
            "longer": contrast(runs, "SRLM", "base", "length"),
            "padding is longer": contrast(runs, "padding catalyst", "base", "length"),
        },
        setting=(
            f"base {subject.base!r}, GRAPH at one operation (tested at one and two); catalyst of 48 solutions "
            f"that check every sum, {problems or len(task.train.problems)} own rationales, {rounds} round(s), "
            f"fits of {steps} steps of 16 rows"
        ),
    )
