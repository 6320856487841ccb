"""RL on what comes next predicts hard tokens better than plain training; or is it thought that does it?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from keyturn.experiments.arms import Cells, base_arm, embedded_task, sizes_for, steps_for
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.plan import Arm, contrast, level, over_seeds, run_plan, values
from keyturn.experiments.planned import planned
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.methods.rpt import (
    Positions,
    RptConfig,
    by_reasoning,
    by_text,
    direct,
    equal_compute,
    equal_tokens,
    positions_of,
)
from keyturn.problems.contract import ProblemSet

CELLS = Cells(train=(2, 3), test=(2, 3))
STEPS = 60
COSTED = 1e-3
"""Rate of the run whose cost plain training gets."""


def reasoned(session: Session, lr: float, *, given: Positions, config: RptConfig, only_hard: bool) -> Model:
    """RPT at a rate."""
    own = replace(config, rl=replace(config.rl, lr=lr))
    return by_reasoning(session, given, own, only_hard=only_hard)


def plain(
    session: Session, _: float, *, given: Positions, config: RptConfig, rates: tuple[float, ...], compute: bool
) -> Model:
    """Plain training at the rate of the same grid that predicts validation positions best at once."""
    steps = equal_tokens(config, given)
    if compute:
        costed = replace(config, rl=replace(config.rl, lr=COSTED))
        steps = equal_compute(config, given, by_reasoning(session.replicate(0), given, costed))
    tried = [
        by_text(session, given, replace(config, plain=replace(config.plain, lr=rate)), steps) for rate in rates
    ]
    right = [float(direct(session.task, model, session.task.validation.problems).mean()) for model in tried]
    return tried[int(np.argmax(right))]


def mean_of(found: np.ndarray) -> float:
    """Mean, NaN of nothing."""
    return float(np.nanmean(found)) if len(found) else float("nan")


def look(session: Session, model: Model, *, asked: ProblemSet, draws: int = 8) -> Mapping[str, float]:
    """Right predictions with thought and at once, over all positions and those of answers; the task itself."""
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
    """RPT with and without filter, plain training at two costs, on positions of CHAIN's texts."""
    source = embedded_task(lab, subject.base, CELLS)
    config = RptConfig()
    config = replace(config, rl=steps_for(replace(config.rl, steps=STEPS), subject.profile))
    given, sizes = positions_of(Session(lab, source), config), sizes_for(subject.profile)
    thinking = {"RPT": True, "RPT without filter": False}
    costs = {"next token, equal tokens": False, "next token, equal compute": True}
    arms = [
        base_arm(),
        *[
            Arm(name=name, train=partial(reasoned, given=given, config=config, only_hard=hard))
            for name, hard in thinking.items()
        ],
        *[
            Arm(
                name=name,
                train=partial(plain, given=given, config=config, rates=sizes.lrs, compute=compute),
                says="its rate is chosen by direct prediction on validation positions",
                tuned=False,
            )
            for name, compute in costs.items()
        ],
    ]
    ran = run_plan(Session(lab, given.task), arms, sizes, partial(look, asked=source.test), name="RPT")
    rival = "next token, equal compute"

    def beyond(number: str):
        gap = values(ran, "RPT", f"thought{number}") - values(ran, rival, f"direct{number}")
        return over_seeds(f"RPT with thought - {rival} at once{number}", gap)

    numbers = {
        "effect": beyond(""),
        "at answers": beyond(", answers"),
        "training adds to thought": contrast(ran, "RPT", "base", "thought"),
        "training adds at answers": contrast(ran, "RPT", "base", "thought, answers"),
        "the filter": contrast(ran, "RPT", "RPT without filter", "thought"),
        "compute": contrast(ran, rival, "next token, equal tokens", "direct"),
        "problems": contrast(ran, "RPT", rival, "problems"),
        "problems, against the base": contrast(ran, "RPT", "base", "problems"),
        "base with thought": level(ran, "base", "thought"),
        "plain training learns": contrast(ran, rival, "base", "direct"),
    }
    return planned(
        Session(lab, given.task),
        ran,
        numbers,
        setting=(
            f"base {subject.base!r}; texts of depths 2 and 3 with answers and without traces; "
            f"{len(given.hard.problems)} of {len(given.every.problems)} positions above {config.threshold:g} "
            f"nats; {config.rl.steps} RL steps of {config.rl.prompts} x {config.rl.draws} draws"
        ),
    )
