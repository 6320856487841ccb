"""Precision: what share of the weights changes to the bit, by the type of the weights, the rate and the steps.

Three regimes of the weights, each from the base rounded to bf16: ``fp32``; ``master`` (updates are added to an
fp32 copy, and what answers and is differentiated is that copy rounded to bf16); ``bf16`` (weights are rounded
after every step, and nothing else is kept).
What is emulated: the *weights* only. They are float32 tensors on the bf16 grid; sums, gradients and AdamW's
moments are float32 in all regimes, where a bf16 run has bf16 activations too. Under RL rounding happens between
rollouts, so with several updates a rollout it is that often.
Formula, over all entries, tied ones once: ``exact = [theta' != theta]`` in float32, ``visible`` the same after
rounding both to bf16, ``tolerant = [|bf16(theta') - bf16(theta)| > 1e-5]`` (the published tolerance); a change
from the grid shows where it is at least half a spacing, 2^(e-8) for a weight in [2^e, 2^(e+1)).
Denominator: entries of the model. Degenerate: a step without a signal changes nothing.
Known bias: RL and SFT at one rate and number of steps differ in how often they move (idle steps) and in the
size of a step relative to AdamW's normalisation; the table has the norm of the change beside the shares.
Source: shares of changed weights: Mukherjee et al. 2025 (2505.11711), section 3; that rounding makes them:
ours, after IEEE 754 (see ``measures/rounding.py``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from keyturn.core.errors import unknown
from keyturn.core.lazy import torch
from keyturn.core.measurement import Json, json_number
from keyturn.lab.fit_rows import demonstrations, digest, supervised
from keyturn.lab.session import Model, Session, loaded
from keyturn.lab.task import Task
from keyturn.measures.rounding import to_bf16
from keyturn.methods.contract import Method, Policies, Rows
from keyturn.methods.sft import LARGE, TINY
from keyturn.methods.sft_then_rl import LARGE_RL, TINY_RL
from keyturn.objectives import OBJECTIVES
from keyturn.policies.fit import Row, epochs, fit
from keyturn.policies.loading import save_policy
from keyturn.policies.local import LocalPolicy
from keyturn.policies.optimise import FitConfig
from keyturn.policies.which_engine import engine_of_model
from keyturn.rewards.by_name import reward_named
from keyturn.training.config import RLConfig
from keyturn.training.loop import Hook, Loop, duplicate
from keyturn.training.record import MODEL

Regime = Literal["fp32", "master", "bf16"]
REGIMES: tuple[Regime, ...] = ("fp32", "master", "bf16")
TOLERANCE = 1e-5
"""Below which two bf16 weights were called equal (2505.11711)."""


@dataclass(frozen=True, kw_only=True)
class PrecisionConfig:
    """Settings of the comparison of precisions."""

    learn: Literal["RL", "SFT"] = "RL"
    """How the product is trained: at the last of the regimes, rates and numbers of steps."""
    regimes: tuple[Regime, ...] = REGIMES
    """How weights are kept."""
    rates: tuple[float, ...] = (1e-5, 1e-3)
    """Learning rates, the same for RL and SFT."""
    steps: tuple[int, ...] = (20,)
    """Numbers of updates, the same for RL and SFT."""
    rl: RLConfig = field(default_factory=lambda: TINY_RL)
    """Sizes of RL."""
    fit: FitConfig = field(default_factory=lambda: replace(TINY, weight_decay=0.0, warmup=0, decay_from=1.0))
    """Sizes of SFT: constant rate and no decay, as RL has."""
    demonstrations: int = 200
    """Worked solutions; 0 takes all."""
    objective: str = "grpo"
    """How rewards become credit and loss."""
    reward: str = "outcome"
    """How verdicts become rewards."""
    draws: int = 8
    """Draws per test problem for the table."""


class Rounding:
    """The weights of a regime, between steps: call :meth:`begin` before an update, :meth:`end` after it.

    Between ``end`` and ``begin`` a master copy is what the parameters hold, so checkpoints hold it too.
    """

    def __init__(self, regime: Regime) -> None:
        if regime not in REGIMES:
            raise unknown("regime", regime, REGIMES)
        self.regime = regime
        self._master: dict[str, torch.Tensor] = {}

    def begin(self, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        """Put the weights that answer in the place of those that are kept."""
        with torch.no_grad():
            for name, parameter in parameters.items():
                if self.regime == "master":
                    self._master[name] = parameter.detach().clone()
                if self.regime != "fp32":
                    parameter.copy_(parameter.bfloat16())

    def end(self, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        """Take the update up: into the master copy, or rounded."""
        with torch.no_grad():
            for name, parameter in parameters.items():
                if self.regime == "bf16":
                    parameter.copy_(parameter.bfloat16())
                elif self.regime == "master":
                    kept = self._master.pop(name, None)
                    if kept is not None:
                        parameter.copy_(kept + (parameter - kept.bfloat16().float()))


@dataclass
class RoundWeights:
    """The regime as a hook of an RL run."""

    regime: Regime
    """How weights are kept."""

    def __post_init__(self) -> None:
        self._rounding = Rounding(self.regime)

    @property
    def name(self) -> str:
        """Identity."""
        return f"weights kept as {self.regime}"

    def state(self) -> dict[str, Json]:
        """Nothing: between steps the parameters are what is kept."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to take back."""

    def before_rollout(self, loop: Loop) -> None:
        """What answers is rounded."""
        self._rounding.begin(loop.parameters)

    def after_step(self, loop: Loop, row: Mapping[str, float]) -> None:
        """What is kept takes the update up."""
        self._rounding.end(loop.parameters)


def on_grid(policy: LocalPolicy) -> LocalPolicy:
    """A copy of a policy with every weight rounded to bf16, still float32."""
    copy = duplicate(policy)
    with torch.no_grad():
        for parameter in copy.model.parameters():
            parameter.copy_(parameter.bfloat16())
    return copy


def start_of(task: Task) -> Model:
    """What every regime begins with."""
    return Model(task.folder, on_grid(task.base))


def by_rl(session: Session, config: PrecisionConfig, regime: Regime, lr: float, steps: int) -> Model:
    """RL under a regime."""
    settings = replace(
        config.rl,
        lr=lr,
        steps=steps,
        prompts=min(config.rl.prompts, len(session.task.train.problems)),
        max_new_tokens=min(config.rl.max_new_tokens, session.task.max_new_tokens),
        weight_decay=0.0,
        warmup=0,
    )

    def hooks() -> Sequence[Hook]:
        return (RoundWeights(regime),)

    return session.rl(
        start_of(session.task),
        objective=OBJECTIVES[config.objective](),
        reward=reward_named(config.reward),
        config=settings,
        hooks=hooks,
        label=f"RL {regime}",
    )


def by_sft(session: Session, config: PrecisionConfig, regime: Regime, lr: float, steps: int) -> Model:
    """SFT under a regime, a stage of its own: the weights are rounded around every step."""
    asked = session.task.train.problems[: config.demonstrations or None]
    rows = supervised(session.task.base, demonstrations(session.task, asked, session.streams.child("expert")))
    settings = replace(config.fit, lr=lr, steps=steps)
    start, streams = start_of(session.task), session.streams.child("sft", session.seed)
    fields = {
        "policy": start.policy,
        "engine": engine_of_model(start.policy.model),
        "rows": digest(rows),
        "fit": settings,
        "seed": session.seed,
        "regime": regime,
    }

    def work(folder: Path) -> None:
        trained = fitted(start.policy, rows, settings, regime, streams)
        save_policy(folder / MODEL, trained.model, trained.tokenizer, session.task.world, None, overwrite=True)

    stage, policy = session.lab.stage(
        "sft-rounded", fields, work, lambda f: loaded(session.task, f / MODEL), label=f"SFT {regime}"
    )
    return Model(str(stage.folder / MODEL), policy)


def fitted(
    policy: LocalPolicy, rows: Sequence[Row], config: FitConfig, regime: Regime, streams: Any
) -> LocalPolicy:
    """A supervised fit of a copy under a regime."""
    trained = duplicate(policy)
    parameters, rounding = dict(trained.model.named_parameters()), Rounding(regime)

    def between(step: int) -> Mapping[str, float]:
        # Called before every step and once after the last: both ends of a step.
        rounding.end(parameters)
        if step < config.steps:
            rounding.begin(parameters)
        return {}

    source = epochs(rows, config, streams.child("rows"))
    fit(trained.model, source, config, streams, label=f"SFT {regime}", evaluate=between, evaluate_every=1)
    return trained


WAYS = {"RL": by_rl, "SFT": by_sft}


def changed(before: torch.nn.Module, after: torch.nn.Module) -> dict[str, float]:
    """Shares of entries that changed (``exact``, ``visible``, ``tolerant``), and the ``norm`` of the change."""
    own = dict(before.named_parameters())
    count = exact = visible = tolerant = 0
    square = 0.0
    for name, parameter in after.named_parameters():
        old = own[name].detach().float().cpu().numpy()
        new = parameter.detach().float().cpu().numpy()
        gap = np.abs(to_bf16(new).astype(np.float64) - to_bf16(old))
        count += new.size
        exact += int((new != old).sum())
        visible += int((gap > 0).sum())
        tolerant += int((gap > TOLERANCE).sum())
        square += float(((new.astype(np.float64) - old) ** 2).sum())
    shares = {"exact": exact, "visible": visible, "tolerant": tolerant}
    return {name: value / count for name, value in shares.items()} | {"norm": math.sqrt(square)}


def train(session: Session, config: PrecisionConfig) -> Policies:
    """RL or SFT at the last regime, rate and number of steps."""
    if config.learn not in WAYS:
        raise unknown("way to learn", config.learn, WAYS)
    way = WAYS[config.learn]
    return {"policy": way(session, config, config.regimes[-1], config.rates[-1], config.steps[-1])}


def rivals(config: PrecisionConfig) -> dict[str, PrecisionConfig]:
    """Every regime at every rate and number of steps, by RL and by SFT."""
    return {
        f"{how} {regime}, rate {lr:g}, {steps} steps": replace(
            config, learn=how, regimes=(regime,), rates=(lr,), steps=(steps,)
        )
        for steps in config.steps
        for lr in config.rates
        for regime in config.regimes
        for how in WAYS
    }


def table(session: Session, config: PrecisionConfig, policies: Policies) -> Rows:
    """Success, and what share of the weights changed, for every regime, rate and number of steps."""
    grid = on_grid(session.task.base).model
    models = {name: policies[name] for name in rivals(config)}
    shares = {name: changed(grid, model.policy.model) for name, model in models.items()}
    models = {"base": session.base, **models}
    rows = [
        {**line, **{key: json_number(value) for key, value in shares.get(str(line["name"]), {}).items()}}
        for line in session.scores(models, config.draws)
    ]
    return rows


def brief(config: PrecisionConfig) -> PrecisionConfig:
    """Two steps of two regimes."""
    return replace(
        config,
        regimes=("fp32", "bf16"),
        rates=(1e-2,),
        steps=(2,),
        rl=replace(config.rl, prompts=2, draws=2, max_new_tokens=16),
        fit=replace(config.fit, batch_rows=2, bucket_batches=1),
        demonstrations=2,
        reward="random",
        draws=1,
    )


METHOD = Method(
    name="precision",
    summary="what share of weights changes to the bit, in fp32, with a master copy, and in bf16 alone",
    source="ours; the shares that it explains: Mukherjee et al. 2025, arXiv 2505.11711",
    cost="demo: six RL runs and six fits of 20 steps; study: 36 of each up to 300; real: three of 200",
    needs=frozenset({"expert"}),
    profiles={
        "demo": PrecisionConfig(),
        "study": PrecisionConfig(rates=(1e-6, 1e-5, 1e-4, 1e-3), steps=(30, 100, 300), draws=16),
        "real": PrecisionConfig(
            rates=(1e-6,),
            steps=(200,),
            rl=LARGE_RL,
            fit=replace(LARGE, weight_decay=0.0, warmup=0, decay_from=1.0),
            draws=4,
        ),
    },
    brief=brief,
    train=train,
    rivals=rivals,
    table=table,
)
