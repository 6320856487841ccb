"""SFT: imitate worked solutions, one pass of cross-entropy over them or many.

Formula: ``loss = - sum_i w_i log p(y_i | x, y_<i) / sum_i w_i``, ``w`` 1 on the tokens of the solution and its
end, 0 on the prompt (``[row, token]``).
Denominator: weighted tokens of the batch.
Degenerate: problems without a solution are left out; none with one is an error.
Known bias: what is learnt is the expert's distribution, its errors and its style included.
Source: maximum likelihood on demonstrations; settings for large models as in CHORD's SFT arm (Zhang et al.
2025, 2508.11408).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from keyturn.lab.fit_rows import demonstrations, supervised
from keyturn.lab.session import Session
from keyturn.methods.contract import Method, Policies, Rows
from keyturn.policies.optimise import FitConfig

TINY = FitConfig(steps=200, batch_rows=32, lr=1e-3, warmup=20, bucket_batches=4)
"""For models of 1e5 to 1e6 parameters."""
LARGE = FitConfig(
    steps=500, batch_rows=64, micro_rows=1, lr=5e-6, warmup=25, betas=(0.9, 0.999), bucket_batches=1
)
"""For models of some 1e9 parameters (learning rates 1e-6 to 1e-5 in 2508.11408)."""


@dataclass(frozen=True, kw_only=True)
class SftConfig:
    """Settings of supervised fine-tuning."""

    demonstrations: int = 200
    """How many training problems to ask for a worked solution, from the first on; 0 takes all."""
    fit: FitConfig = field(default_factory=lambda: TINY)
    """Schedule and sizes."""
    stop_at: int = 0
    """Stop after so many steps of the schedule, a point on its curve; 0 runs all of it."""
    draws: int = 8
    """Draws per test problem for the table."""


def train(session: Session, config: SftConfig) -> Policies:
    """Fit the base to the expert's solutions of its training problems."""
    asked = session.task.train.problems[: config.demonstrations or None]
    pairs = demonstrations(session.task, asked, session.streams.child("expert"))
    rows = supervised(session.task.base, pairs)
    steps = config.stop_at or None
    return {"policy": session.fit(session.base, rows, config.fit, label="SFT", steps_at=steps)}


def table(session: Session, config: SftConfig, policies: Policies) -> Rows:
    """Success before and after."""
    return session.scores({"base": session.base, "SFT": policies["policy"]}, config.draws)


def brief(config: SftConfig) -> SftConfig:
    """Two steps on two demonstrations."""
    fit = replace(config.fit, steps=2, batch_rows=2, bucket_batches=1, warmup=0)
    return replace(config, demonstrations=2, fit=fit, draws=1)


METHOD = Method(
    name="sft",
    summary="imitate worked solutions",
    source="maximum likelihood; large-model settings after CHORD, Zhang et al. 2025, arXiv 2508.11408",
    cost="demo: 200 steps of 32 short rows; study: 2,000; real: 500 steps of 64 solutions",
    needs=frozenset({"expert"}),
    profiles={
        "demo": SftConfig(),
        "study": SftConfig(demonstrations=0, fit=replace(TINY, steps=2000), draws=32),
        "real": SftConfig(demonstrations=0, fit=LARGE, draws=4),
    },
    brief=brief,
    train=train,
    table=table,
)
