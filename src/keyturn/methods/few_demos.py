"""Few demonstrations: how many are needed, how good, and for which base, with the same number of updates.

Formula: SFT's ``loss = - sum_i w_i log p(y_i | x, y_<i) / sum_i w_i`` on ``count`` solutions, of which a share
``quality`` is the expert's and the rest has every number of its trace replaced (``[row, token]``). The number
of updates does not depend on ``count``: few demonstrations are seen often, many seldom.
Denominator: weighted tokens of the batch; of the table, test problems, those of levels that were learnt from
and those beyond apart.
Degenerate: more demonstrations than there are take all there are, and the table says how many.
Known bias: equal updates favour small counts where more steps would still help the large ones; the base's
share in the result shows only beside a weaker base (the study has one). Demonstrations are teaching: no gain
from them says what was latent.
Source: LIMI, Xiao et al. 2025 (2509.17567): 78 trajectories, 4 epochs, learning rate 1e-5 to 1e-6. Departures:
quality is a dial of wrong traces, not a curator's taste; one turn instead of an agent's many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from keyturn.core.errors import UsageError
from keyturn.core.measurement import Json
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.lab.fit_rows import demonstrations, supervised
from keyturn.lab.session import Session
from keyturn.lab.task import Task, subset
from keyturn.methods.contract import Method, Policies, Rows
from keyturn.methods.sft import LARGE, TINY
from keyturn.methods.traces import Worked, parted, remade
from keyturn.policies.optimise import FitConfig


@dataclass(frozen=True, kw_only=True)
class FewDemosConfig:
    """Settings of fine-tuning on few demonstrations."""

    count: int = 78
    """Demonstrations, of different problems (2509.17567: 78); 0 takes all."""
    quality: float = 1.0
    """Share of them that is right; the others have wrong numbers in their traces and the right answer."""
    fit: FitConfig = field(default_factory=lambda: replace(TINY, steps=100, warmup=10))
    """Schedule and sizes, the same for every count."""
    draws: int = 8
    """Draws per test problem for the table."""


def chosen_demonstrations(
    task: Task, config: FewDemosConfig, streams: Streams, *, seed: int = 0
) -> list[Worked]:
    """The demonstrations: a random choice of problems, the first of them right.

    Raises:
        UsageError: quality is no share, or there is no expert.
    """
    if not 0 <= config.quality <= 1:
        raise UsageError(f"quality is {config.quality}", fix="a share from 0 to 1")
    order = streams.generator("few", seed).permutation(len(task.train.problems))
    asked = [task.train.problems[i] for i in order[: config.count or None]]
    found = [parted(problem, text) for problem, text in demonstrations(task, asked, streams.child("expert"))]
    right = round(config.quality * len(found))
    return [*found[:right], *remade(found, "invalid", streams.child("few"))[right:]]


def _demonstrations(session: Session, config: FewDemosConfig) -> list[Worked]:
    return chosen_demonstrations(session.task, config, session.streams, seed=session.seed)


def train(session: Session, config: FewDemosConfig) -> Policies:
    """Fit the base to them; replicates differ in the choice of problems and the order of rows."""
    demos = _demonstrations(session, config)
    rows = supervised(session.task.base, [(one.problem, one.text) for one in demos])
    return {"policy": session.fit(session.base, rows, config.fit, label=f"{len(demos)} demonstrations")}


def beyond(task: Task) -> tuple[Problem, ...]:
    """Test problems of a level that no training problem has; empty outside of a world."""
    if task.world is None:
        return ()
    key = task.world.level
    known = {problem.cell.get(key) for problem in task.train.problems}
    return tuple(problem for problem in task.test.problems if problem.cell.get(key) not in known)


def table(session: Session, config: FewDemosConfig, policies: Policies) -> Rows:
    """The demonstrations, and success on all test problems and on those beyond."""
    demos = _demonstrations(session, config)
    models = {"base": session.base, f"{len(demos)} demonstrations": policies["policy"]}
    rows = [*_facts(demos, config), *session.scores(models, config.draws)]
    further = beyond(session.task)
    if further:
        found = session.scores(models, config.draws, problems=subset(session.task.test, further, "beyond"))
        rows += [{**line, "name": f"{line['name']}, beyond"} for line in found]
    return rows


def _facts(demos: Sequence[Worked], config: FewDemosConfig) -> list[dict[str, Json]]:
    passes = config.fit.steps * config.fit.batch_rows / len(demos)
    words = float(np.mean([len(one.text.split()) for one in demos]))
    return [
        {"name": "demonstrations", "value": len(demos), "right": round(config.quality * len(demos))},
        {"name": "passes over them", "value": round(passes, 2), "words of one": round(words, 1)},
    ]


def brief(config: FewDemosConfig) -> FewDemosConfig:
    """Two steps on four demonstrations."""
    fit = replace(config.fit, steps=2, batch_rows=2, bucket_batches=1, warmup=0)
    return replace(config, count=4, fit=fit, draws=1)


METHOD = Method(
    name="few-demos",
    summary="fine-tune on a few demonstrations of a chosen quality, with a fixed number of updates",
    source="Xiao et al. 2025 (LIMI), arXiv 2509.17567",
    cost="demo: 78 demonstrations, 100 steps; study: 2,000 steps; real: 78 demonstrations, 4 passes",
    domain="chain",
    needs=frozenset({"expert"}),
    profiles={
        "demo": FewDemosConfig(),
        "study": FewDemosConfig(fit=replace(TINY, steps=2000), draws=32),
        "real": FewDemosConfig(
            fit=replace(LARGE, steps=20, batch_rows=16, warmup=0, lr=1e-5, final_lr=0.1, decay_from=0.0),
            draws=4,
        ),
    },
    brief=brief,
    train=train,
    table=table,
)
