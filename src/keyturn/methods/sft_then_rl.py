"""SFT, then RL: the two stages in order, with the moment of the switch as a dial.

The schedule of SFT runs for ``fit.steps``; the policy is taken at each of ``switch`` (shares of those steps)
and RL goes on from there with the same budget.
Denominator: each stage's own.
Degenerate: a switch at 0 is RL alone; a switch at 1 is the whole of SFT first.
Known bias: an early switch leaves the learning rate of SFT at its peak; the schedule is not shortened.
Source: the SFT-then-RL pipelines that CHORD argues with (Zhang et al. 2025, 2508.11408, section 2).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from keyturn.lab.fit_rows import demonstrations, supervised
from keyturn.lab.session import Model, Session
from keyturn.methods.contract import Made, Recipe
from keyturn.methods.sft import LARGE, TINY
from keyturn.objectives import OBJECTIVES
from keyturn.policies.optimise import FitConfig
from keyturn.rewards.by_name import named
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
    """Worked solutions; 0 takes all."""
    fit: FitConfig = field(default_factory=lambda: TINY)
    """Schedule of SFT."""
    switch: tuple[float, ...] = (0.0, 0.2, 1.0)
    """Shares of the schedule after which RL takes over; the last one's policy is the product."""
    rl: RLConfig = field(default_factory=lambda: TINY_RL)
    """Sizes and rates of RL, the same after every switch."""
    objective: str = "grpo"
    """How rewards become credit and loss."""
    reward: str = "outcome"
    """How verdicts become rewards."""
    draws: int = 8
    """Draws a test problem for the table."""


def run(session: Session, config: SftThenRlConfig) -> Made:
    """Fit, switch, reinforce; once per switch."""
    start = session.base
    asked = session.task.train.problems[: config.demonstrations or None]
    rows = supervised(session.task.base, demonstrations(session.task, asked, session.streams.child("expert")))
    models: dict[str, Model] = {"base": start}
    now = start
    for share in config.switch:
        steps = round(share * config.fit.steps)
        now = start
        if steps:
            now = session.fit(start, rows, config.fit, label=f"SFT to {share:.0%}", steps_at=steps)
            models[f"SFT {share:.0%}"] = now
        now = session.rl(
            now,
            objective=OBJECTIVES[config.objective](),
            reward=named(config.reward),
            config=replace(
                config.rl, max_new_tokens=min(config.rl.max_new_tokens, session.task.max_new_tokens)
            ),
            label=f"RL after {share:.0%}",
        )
        models[f"RL after SFT {share:.0%}"] = now
    return Made(policies={"policy": now.path}, rows=session.scores(models, config.draws))


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


RECIPE = Recipe(
    name="sft-then-rl",
    summary="SFT on worked solutions, then RL, with the moment of the switch as a dial",
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
    run=run,
)
