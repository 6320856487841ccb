"""More credit on planning tokens (HICRA) learns faster than plain group credit, if the base executes
reliably."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from keyturn.core.roles import EXECUTION, PLANNING
from keyturn.experiments.arms import (
    GRAPH_RL,
    base_arm,
    embedded_task,
    numbers_on_test,
    pretrained,
    rl_arm,
    sizes_for,
    steps_for,
)
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.mined_roles import mined_roles
from keyturn.experiments.plan import Arm, ArmRun, Contrast, contrast, level, run_plan
from keyturn.experiments.study import outcome_of
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task
from keyturn.objectives.hicra import HicraConfig, hicra
from keyturn.rewards import REWARDS
from keyturn.training.collect import RoleSource

AREA = "auc"
PLANS, COUNT = "planning share", "planning tokens"
PLAN_ERROR, EXECUTION_ERROR = "planning error", "execution error"
LOW, HIGH = "low error", "high error"
DRAWS = 16
RANDOM = {LOW: "random reward", HIGH: "random reward, high error"}
"""Base -> the name of its arms under random reward."""
RULES: dict[str, HicraConfig] = {
    "GRPO": HicraConfig(alpha=0.0),
    "HICRA": HicraConfig(),
    "symmetric": HicraConfig(rule="symmetric"),
    "centred": HicraConfig(rule="centred"),
    "placebo": HicraConfig(mask="placebo"),
}


def evaluate(session: Session, model: Model) -> Mapping[str, float]:
    """The usual numbers; the share of planning tokens and their number per completion; and, among planning and
    among execution tokens, the share that the verifier found wrong."""
    found = numbers_on_test(DRAWS)(session, model)
    _, grades = session.draw(model, session.task.test, DRAWS, name="test")
    assert grades.roles is not None, "the grader of a world's own base knows what tokens do"
    plans, acts = (np.isin(grades.roles, [int(role) for role in some]) for some in (PLANNING, EXECUTION))
    wrong = grades.token_columns["error"]
    return {
        **found,
        PLANS: float(plans.mean()),
        COUNT: float(plans.sum() / len(grades.outcome)),
        PLAN_ERROR: float(wrong[plans].mean()) if plans.any() else float("nan"),
        EXECUTION_ERROR: float(wrong[acts].mean()) if acts.any() else float("nan"),
    }


def arms_on(where: str, task: Task, profile: str, grams: RoleSource) -> list[Arm]:
    """The base, all five credit rules, and HICRA with strategic grams instead of the grammar, on one base."""
    config = steps_for(GRAPH_RL, profile)

    def arm(name: str, roles: RoleSource | None = None) -> Arm:
        return rl_arm(
            f"{name}, {where}",
            objective=hicra(RULES.get(name, HicraConfig())),
            reward=REWARDS["outcome"](),
            config=config,
            on=task,
            roles=roles,
        )

    return [base_arm(f"base, {where}", on=task), *map(arm, RULES), arm("gram mask", grams)]


def random_arms(where: str, task: Task, profile: str) -> list[Arm]:
    """HICRA and GRPO on one base under an uninformative reward: any change is drift."""
    return [
        rl_arm(
            f"{name}, {RANDOM[where]}",
            objective=hicra(RULES[name]),
            reward=REWARDS["random"](),
            config=steps_for(GRAPH_RL, profile),
            on=task,
        )
        for name in ("GRPO", "HICRA")
    ]


def compared(runs: Sequence[ArmRun]) -> dict[str, Contrast]:
    """The claim's numbers."""

    def against(name: str, where: str) -> Contrast:
        return contrast(runs, f"{name}, {where}", f"GRPO, {where}", AREA)

    def coin(where: str, number: str) -> Contrast:
        return contrast(runs, f"HICRA, {RANDOM[where]}", f"GRPO, {RANDOM[where]}", number)

    rivals = ("symmetric", "centred", "placebo", "gram mask")
    return {
        "effect": against("HICRA", LOW),
        "high error": against("HICRA", HIGH),
        **{f"{name}, {where}": against(name, where) for where in RANDOM for name in rivals},
        "less placebo": contrast(runs, f"HICRA, {LOW}", f"placebo, {LOW}", AREA),
        "success at the end": contrast(runs, f"HICRA, {LOW}", f"GRPO, {LOW}", "success"),
        **{name: coin(where, AREA) for where, name in RANDOM.items()},
        **{f"{name}, success": coin(where, "success") for where, name in RANDOM.items()},
        **{f"{name}, drift": coin(where, PLANS) for where, name in RANDOM.items()},
        **{f"{name}, planning tokens": coin(where, COUNT) for where, name in RANDOM.items()},
        **{f"{name}, length": coin(where, "length") for where, name in RANDOM.items()},
        "GRPO learns": contrast(runs, f"GRPO, {LOW}", f"base, {LOW}", "success"),
        **{
            f"{number} of the base, {where}": level(runs, f"base, {where}", number)
            for number in (EXECUTION_ERROR, PLAN_ERROR, "success")
            for where in RANDOM
        },
    }


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare six credit rules, two of them also under random reward, on a base that executes well and on one
    that does not."""
    low = embedded_task(lab, subject.base)
    high = embedded_task(lab, str(pretrained(lab, "graph", "brief")))
    config = steps_for(GRAPH_RL, subject.profile)
    tasks = {LOW: low, HIGH: high}
    random = [arm for where, task in tasks.items() for arm in random_arms(where, task, subject.profile)]
    mined = {where: mined_roles(Session(lab, task)) for where, task in tasks.items()}
    arms = [
        arm for where, task in tasks.items() for arm in arms_on(where, task, subject.profile, mined[where][0])
    ]
    runs = run_plan(
        Session(lab, low),
        [*arms, *random],
        sizes_for(subject.profile, seeds=5),
        evaluate,
        name="HICRA against GRPO",
    )
    return outcome_of(
        Session(lab, low),
        runs,
        compared(runs),
        setting=(
            f"GRAPH at one operation; low error: the shipped base, high error: the same recipe stopped at two "
            f"fifths; {config.steps} steps of {config.prompts} x {config.draws} draws, mean-only credit, one "
            "update a rollout; planning tokens by the grammar, in the arm 'gram mask' by strategic grams "
            "mined from the base's right answers"
        ),
        more={
            f"gram mask, {what}, {where}": estimate
            for where, (_, found) in mined.items()
            for what, estimate in found.items()
        },
    )
