"""SFT, then RL: the two stages in order; the moment of the switch is a setting.

The schedule of SFT has ``fit.steps`` steps. At each share of them that ``switch`` names, RL starts from the
policy of that moment, with the same budget every time. The product is that of the last switch.
Denominator: each stage's own.
Degenerate: a switch at 0 is RL alone; a switch at 1 is the whole of SFT first.
Known bias: an early switch leaves the learning rate of SFT at its peak; the schedule is not shortened.
Source: the SFT-then-RL pipelines that CHORD argues with (Zhang et al. 2025, 2508.11408, section 2).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from keyturn.lab.fit_rows import demonstrations, supervised
from keyturn.lab.session import Model, Session
from keyturn.methods.contract import Method, Policies, Rows
from keyturn.methods.sft import LARGE, TINY
from keyturn.objectives.by_name import objective_named
from keyturn.policies.optimise import FitConfig
from keyturn.rewards.by_name import reward_named
from keyturn.training.config import RLConfig

TINY_RL = RLConfig(steps=40, prompts=16, draws=8, max_new_tokens=96, batch_rows=128, kl_every=0)
"""For models of 1e5 to 1e6 parameters."""
LARGE_RL = RLConfig(
    steps=200, prompts=32, draws=8, max_new_tokens=2048, batch_rows=64, lr=1e-6, warmup=10, kl_every=10
)
"""For models of some 1e9 parameters."""


@dataclass(frozen=True, kw_only=True)
class SftThenRlConfig:
    """Settings of SFT followed by RL."""

    demonstrations: int = 200
    """How many training problems to ask for a worked solution; 0 takes all."""
    fit: FitConfig = field(default_factory=lambda: TINY)
    """Schedule of SFT."""
    switch: tuple[float, ...] = (0.0, 0.2, 1.0)
    """Shares of the schedule after which RL takes over; the last one gives the product."""
    rl: RLConfig = field(default_factory=lambda: TINY_RL)
    """Sizes and rates of RL, the same after every switch."""
    objective: str = "grpo"
    """How rewards become credit and loss."""
    aggregation: str = ""
    """How the objective sums tokens; empty: its default."""
    reward: str = "outcome"
    """How verdicts become rewards."""
    draws: int = 8
    """Draws per test problem for the table."""


def train(session: Session, config: SftThenRlConfig) -> Policies:
    """Fit up to the last switch, then reinforce."""
    start = fitted(session, config, config.switch[-1])
    return {"policy": reinforced(session, config, start, config.switch[-1])}


def fitted(session: Session, config: SftThenRlConfig, share: float) -> Model:
    """SFT up to a share of its schedule; the base at a share of 0."""
    steps = round(share * config.fit.steps)
    if not steps:
        return session.base
    asked = session.task.train.problems[: config.demonstrations or None]
    pairs = demonstrations(session.task, asked, session.streams.child("expert"))
    rows = supervised(session.task.base, pairs)
    return session.fit(session.base, rows, config.fit, label=f"SFT to {share:.0%}", steps_at=steps)


def reinforced(session: Session, config: SftThenRlConfig, start: Model, share: float) -> Model:
    """RL from what SFT left at a share of its schedule."""
    settings = {"aggregation": config.aggregation} if config.aggregation else {}
    return session.rl(
        start,
        objective=objective_named(config.objective, **settings),
        reward=reward_named(config.reward),
        config=replace(config.rl, max_new_tokens=min(config.rl.max_new_tokens, session.task.max_new_tokens)),
        label=f"RL after {share:.0%}",
    )


def table(session: Session, config: SftThenRlConfig, policies: Policies) -> Rows:
    """Success at every switch, before RL and after it; the switches before the last are trained here."""
    models: dict[str, Model] = {"base": session.base}
    for share in config.switch:
        start = fitted(session, config, share)
        if start.stage is not None:
            models[f"SFT {share:.0%}"] = start
        models[f"RL after SFT {share:.0%}"] = reinforced(session, config, start, share)
    return session.scores(models, config.draws)


def brief(config: SftThenRlConfig) -> SftThenRlConfig:
    """Two steps of each."""
    return replace(
        config,
        demonstrations=2,
        fit=replace(config.fit, steps=2, batch_rows=2, bucket_batches=1, warmup=0),
        switch=(1.0,),
        rl=shortened(config.rl),
        draws=1,
    )


def shortened(config: RLConfig) -> RLConfig:
    """Two steps of four problems, with draws enough that some group is likely to differ."""
    return replace(config, steps=2, prompts=4, draws=8, max_new_tokens=min(config.max_new_tokens, 16))


METHOD = Method(
    name="sft-then-rl",
    summary="SFT on worked solutions, then RL; the moment of the switch is a setting",
    source="Zhang et al. 2025 (CHORD), arXiv 2508.11408, section 2",
    cost="demo: 200 SFT steps and 3 x 40 RL steps; study: RL of 400 steps; real: 500 SFT and 200 RL steps",
    needs=frozenset({"expert"}),
    profiles={
        "demo": SftThenRlConfig(),
        "study": SftThenRlConfig(
            demonstrations=0,
            fit=replace(TINY, steps=1000),
            switch=(0.0, 0.05, 0.2, 0.5, 1.0),
            rl=replace(TINY_RL, steps=400),
            draws=32,
        ),
        "real": SftThenRlConfig(demonstrations=0, fit=LARGE, switch=(1.0,), rl=LARGE_RL, draws=4),
    },
    brief=brief,
    train=train,
    table=table,
)
