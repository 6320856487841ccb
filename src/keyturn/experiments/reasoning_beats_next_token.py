"""RL on next-token prediction predicts hard tokens better than plain training. Or is the gain due to thinking
alone?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from keyturn.experiments.arms import Cells, base_arm, embedded_task, method_arm, sizes_for, steps_for
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.plan import Arm, contrast, level, over_seeds, run_plan, values
from keyturn.experiments.study import outcome_of
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.methods.rpt import METHOD as RPT
from keyturn.methods.rpt import RptConfig, direct, on_positions, training_positions
from keyturn.problems.contract import ProblemSet

CELLS = Cells(train=(2, 3), test=(2, 3))
STEPS = 60
COSTED = 1e-3
"""Learning rate of the RL run whose compute sets the budget of plain training."""


def arm(name: str, config: RptConfig) -> Arm:
    """An arm trained by RPT at the plan's learning rate."""
    return method_arm(name, RPT, lambda lr: replace(config, rl=replace(config.rl, lr=lr)))


def plain_arm(name: str, config: RptConfig, rates: Sequence[float]) -> Arm:
    """Plain training at the rate of the same grid with the best direct predictions on validation positions."""

    def train(session: Session, _: float) -> Model:
        settings = [replace(config, plain=replace(config.plain, lr=rate)) for rate in rates]
        tried = [RPT.train(session, one)["policy"] for one in settings]
        asked = session.task.validation.problems
        right = [float(direct(session.task, model, asked).mean()) for model in tried]
        return tried[int(np.argmax(right))]

    says = "its rate is chosen by direct prediction on validation positions"
    return Arm(name=name, train=train, says=says, tuned=False)


def mean_of(found: np.ndarray) -> float:
    """Mean; NaN of an empty array."""
    return float(np.nanmean(found)) if len(found) else float("nan")


def evaluate(session: Session, model: Model, *, asked: ProblemSet, draws: int = 8) -> Mapping[str, float]:
    """Right predictions with thinking and directly, over all positions and over those of answers; and task
    success."""
    last = np.array([bool(problem.cell["last"]) for problem in session.task.test.problems])
    given = session.answers(model, session.task.test, draws, name="test")
    at_once = direct(session.task, model, session.task.test.problems)
    solved = session.answers(model, asked, draws, name="problems")
    return {
        "thought": float(np.nanmean(given.outcome)),
        "thought, answers": mean_of(given.outcome[last[given.problem]]),
        "direct": float(at_once.mean()),
        "direct, answers": mean_of(at_once[last]),
        "length": float(given.length.mean()),
        "problems": float(np.nanmean(solved.success)),
    }


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare RPT with and without the filter, and plain training at two budgets, on positions of CHAIN's
    texts."""
    source = embedded_task(lab, subject.base, CELLS)
    config = RptConfig()
    config = replace(config, rl=steps_for(replace(config.rl, steps=STEPS), subject.profile))
    given, sizes = training_positions(Session(lab, source), config), sizes_for(subject.profile)
    task = on_positions(Session(lab, source), config)
    costed = replace(config, rl=replace(config.rl, lr=COSTED))
    arms = [
        base_arm(),
        arm("RPT", config),
        arm("RPT without filter", replace(config, learn="all")),
        plain_arm("next token, equal tokens", replace(costed, learn="tokens"), sizes.lrs),
        plain_arm("next token, equal compute", replace(costed, learn="compute"), sizes.lrs),
    ]
    runs = run_plan(Session(lab, task), arms, sizes, partial(evaluate, asked=source.test), name="RPT")
    rival = "next token, equal compute"

    def beyond(number: str):
        gap = values(runs, "RPT", f"thought{number}") - values(runs, rival, f"direct{number}")
        return over_seeds(f"RPT with thought - {rival} at once{number}", gap)

    numbers = {
        "effect": beyond(""),
        "at answers": beyond(", answers"),
        "training adds to thought": contrast(runs, "RPT", "base", "thought"),
        "training adds at answers": contrast(runs, "RPT", "base", "thought, answers"),
        "the filter": contrast(runs, "RPT", "RPT without filter", "thought"),
        "compute": contrast(runs, rival, "next token, equal tokens", "direct"),
        "problems": contrast(runs, "RPT", rival, "problems"),
        "problems, against the base": contrast(runs, "RPT", "base", "problems"),
        "base with thought": level(runs, "base", "thought"),
        "plain training learns": contrast(runs, rival, "base", "direct"),
    }
    return outcome_of(
        Session(lab, task),
        runs,
        numbers,
        setting=(
            f"base {subject.base!r}; texts of depths 2 and 3 with answers and without traces; "
            f"{len(given.hard.problems)} of {len(given.every.problems)} positions above {config.threshold:g} "
            f"nats; {config.rl.steps} RL steps of {config.rl.prompts} x {config.rl.draws} draws"
        ),
    )
