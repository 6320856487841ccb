"""Rejection-sampling fine-tuning, and expert iteration when repeated: imitate one's own verified answers.

In each round the policy answers every training problem ``draws`` times. Answers that succeed are kept, at
most ``keep`` different ones per problem; ``success`` says whether that means a verified trace or a right
answer whatever its trace. The *base* is then fitted to everything that was kept so far (with ``anew`` off,
the last policy is fitted to what this round kept), and the next round draws from the result.
Denominator: that of the fit, tokens of the kept answers.
Degenerate: a problem without a success teaches nothing and is counted; no success at all is an error.
Known bias: the positive half of a policy gradient without a baseline: problems that are already solved weigh
most, unless ``keep`` caps them.
Source: STaR (Zelikman et al. 2022, 2203.14465); rejection-sampling fine-tuning, Yuan et al. 2023 (2308.01825);
ReST-EM (Singh et al. 2023, 2312.06585), which begins anew from the base each round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from keyturn.core.measurement import Json
from keyturn.lab.fit_rows import rows_from_draws
from keyturn.lab.session import Model, Session
from keyturn.lab.task import subset
from keyturn.methods.contract import Method, Policies, Rows
from keyturn.methods.sft import LARGE, TINY
from keyturn.policies.fit import Row
from keyturn.policies.optimise import FitConfig
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.grades import Grades


@dataclass(frozen=True, kw_only=True)
class RejectionConfig:
    """Settings of rejection-sampling fine-tuning."""

    rounds: int = 1
    """1 is rejection-sampling fine-tuning; more is expert iteration."""
    train_problems: int = 128
    """How many training problems a round asks, from the first on; 0 takes all."""
    draws: int = 16
    """Draws per problem."""
    success: Literal["verified", "outcome"] = "verified"
    """What is kept: answers with a verified trace (right answers where no trace is read), or right answers
    whatever their trace, which is what an outcome reward pays."""
    keep: int = 4
    """Different successful answers that are kept per problem and round (2308.01825 keeps distinct ones)."""
    anew: bool = True
    """Fit the base again each round (ReST-EM), or go on from the last policy."""
    fit: FitConfig = field(default_factory=lambda: replace(TINY, steps=150))
    """Schedule and sizes of a round's fit."""
    test_draws: int = 8
    """Draws per test problem for the table."""


def train(session: Session, config: RejectionConfig) -> Policies:
    """The policy after the last round."""
    return {"policy": iterate(session, config)[0]}


def table(session: Session, config: RejectionConfig, policies: Policies) -> Rows:
    """What each round kept, then success before and after."""
    _, lines = iterate(session, config)
    models = {"base": session.base, "rejection": policies["policy"]}
    return (*lines, *session.scores(models, config.test_draws))


def iterate(session: Session, config: RejectionConfig) -> tuple[Model, Rows]:
    """Draw, keep, fit; again: the policy after the last round, and what each round kept.

    Another replicate gets other draws and another order of the rows.
    """
    now = session.base
    asked = subset(session.task.train, session.task.train.problems[: config.train_problems or None], "first")
    kept: list[Row] = []
    lines: list[Mapping[str, Json]] = []
    for number in range(config.rounds):
        completions, grades = session.draw(
            now,
            asked,
            config.draws,
            name=f"round {number + 1}",
            first=(session.seed * config.rounds + number) * config.draws,
        )
        chosen = successes(completions, grades, config.keep, config.success)
        new = rows_from_draws(completions, chosen)
        kept = [*kept, *new] if config.anew else new
        lines.append(
            {
                "name": f"round {number + 1}: problems with a success",
                "value": len(np.unique(completions.problem[chosen])),
                "problems": len(asked.problems),
                "kept": len(chosen),
            }
        )
        start = session.base if config.anew else now
        now = session.fit(start, kept, config.fit, label=f"fit round {number + 1}")
    return now, lines


def successes(
    completions: Completions, grades: Grades, keep: int, by: Literal["verified", "outcome"] = "verified"
) -> list[int]:
    """Rows of the first ``keep`` different successful answers to each problem, in the order of the draws.

    Args:
        completions: what was drawn.
        grades: of every row.
        keep: how many per problem at most.
        by: verified where traces are read and the outcome elsewhere, or the outcome.
    """
    read = by == "verified" and np.isfinite(grades.verified).any()
    good = grades.verified if read else grades.outcome
    found: dict[int, set[bytes]] = {}
    rows = []
    for index in np.flatnonzero(good >= 1.0):
        own = found.setdefault(int(completions.problem[index]), set())
        text = completions.row(int(index)).tobytes()
        if len(own) < keep and text not in own:
            own.add(text)
            rows.append(int(index))
    return rows


def brief(config: RejectionConfig) -> RejectionConfig:
    """One round of two steps on eight problems."""
    fit = replace(config.fit, steps=2, batch_rows=2, bucket_batches=1, warmup=0)
    return replace(config, rounds=1, train_problems=8, draws=8, fit=fit, test_draws=1)


METHOD = Method(
    name="rejection",
    summary="imitate one's own verified answers, once or in rounds (RFT, expert iteration)",
    source="Yuan et al. 2023, arXiv 2308.01825; STaR, Zelikman et al. 2022, arXiv 2203.14465",
    cost="demo: 2,048 draws and 150 steps; study: 5 rounds; real: 4 draws of every problem and 500 steps",
    profiles={
        "demo": RejectionConfig(),
        "study": RejectionConfig(
            rounds=5, train_problems=0, draws=32, fit=replace(TINY, steps=600), test_draws=32
        ),
        "real": RejectionConfig(train_problems=0, draws=4, fit=LARGE, test_draws=4),
    },
    brief=brief,
    train=train,
    table=table,
)
