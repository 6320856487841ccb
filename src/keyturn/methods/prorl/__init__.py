"""ProRL: very long RL with a penalty towards a reference that is reset whenever validation stagnates.

GRPO with the parts of DAPO (clip-higher, token mean, dynamic sampling) and a penalty

    loss = policy + kl_weight * k3(policy || reference),   reference <- policy  where validation stagnates

Five arms: ``none`` (no penalty), ``fixed`` (the base stays the reference), ``reference`` (the reference is
reset), ``reference+optimiser`` (the optimiser's moments are reset too, as in the paper), ``optimiser`` (only
the moments are reset; the base stays the reference).
Denominator: tokens of the update; for the classes, problems of the cell.
Degenerate: a curve that never stagnates is never reset; the number of resets is in the table.
Known bias: a reset is triggered by validation, so validation success is not a held-out number; the table uses
test problems. Resetting the moments alone is a small warm restart; its arm separates that effect from the
reference's.
Source: Liu et al. 2025 (2505.24864), sections 2 and 4.2. Departures: the paper does not print the weight of the
penalty; our trigger is a rule; we start from a base (the paper: a distilled reasoner). Its strict and lenient
success are therefore given beside every class: failing for form is not the same as lacking the ability.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np

from keyturn.core.measurement import Estimate, Json, json_number
from keyturn.core.statistics.bootstrap import bootstrap_mean
from keyturn.core.streams import Streams
from keyturn.lab.session import Model, Session
from keyturn.lab.tables import row
from keyturn.lab.task import Task
from keyturn.methods.contract import Method, Policies, Rows
from keyturn.methods.prorl.stagnation import ResetWhen, StopAfterPlateau, Validate
from keyturn.methods.prorl.sustained import MARGIN, classify, pass_curves
from keyturn.methods.sft_then_rl import LARGE_RL, TINY_RL, shortened
from keyturn.methods.snapshots import KeepAt, kept_policies
from keyturn.objectives.by_name import objective_named
from keyturn.policies.local import Sampling
from keyturn.policies.protocol import Limits
from keyturn.rewards.by_name import reward_named
from keyturn.rollouts.grades import Answers
from keyturn.training.config import RLConfig, UpdateConfig
from keyturn.training.loop import Hook

ResetArm: TypeAlias = Literal["none", "fixed", "reference", "reference+optimiser", "optimiser"]
ARMS: tuple[ResetArm, ...] = ("none", "fixed", "reference", "reference+optimiser", "optimiser")
"""What constrains the policy, and what is reset when validation stagnates."""


@dataclass(frozen=True, kw_only=True)
class ProrlConfig:
    """Settings of ProRL."""

    arm: ResetArm = "reference+optimiser"
    """What constrains the policy, see the file's docstring (2505.24864: reference and optimiser)."""
    rl: RLConfig = field(default_factory=lambda: replace(TINY_RL, steps=80, rounds=2))
    """Sizes and rates; ``rounds`` above 1 is dynamic sampling."""
    objective: str = "grpo"
    """How rewards become credit and loss; it must have the four settings below."""
    clip_low: float = 0.2
    """Lower clip range (2505.24864)."""
    clip_high: float = 0.4
    """Upper clip range: clip-higher (2505.24864)."""
    aggregation: str = "token-mean"
    """How tokens are aggregated (as in DAPO)."""
    kl_weight: float = 0.01
    """Weight of the penalty, per nat; not printed in 2505.24864. Ours: sweep it."""
    reward: str = "outcome"
    """How verdicts become rewards."""
    validate_every: int = 10
    """Steps between measurements of validation success."""
    validation_draws: int = 4
    """Draws per validation problem."""
    patience: int = 3
    """Consecutive measurements without progress that count as stagnation."""
    margin: float = 0.01
    """What counts as progress, in success."""
    times: float = 0.0
    """Stop at this multiple of the first plateau's step, at the latest at ``rl.steps``; 0: only at
    ``rl.steps``."""
    keep_every: int = 20
    """Steps between the policies that are kept; the one nearest to half of the run is the middle."""
    draws: int = 32
    """Draws per test problem, and the k of the classes (2505.24864: up to 256)."""
    temperatures: tuple[float, ...] = (0.6, 1.5)
    """Further temperatures for sampling the base: its coverage at the best of them is the fair comparison."""


def train(session: Session, config: ProrlConfig) -> Policies:
    """One long run; ``middle`` is the kept policy nearest to half of it, or the final one if none was kept."""
    settings = replace(
        config.rl,
        prompts=min(config.rl.prompts, len(session.task.train.problems)),
        max_new_tokens=min(config.rl.max_new_tokens, session.task.max_new_tokens),
    )
    held = config.kl_weight if config.arm != "none" else 0.0
    final = session.rl(
        session.base,
        objective=objective_named(
            config.objective,
            clip_low=config.clip_low,
            clip_high=config.clip_high,
            aggregation=config.aggregation,
            kl_weight=held,
        ),
        reward=reward_named(config.reward),
        config=settings,
        hooks=lambda: hooks(session.task, config, settings, session.streams.child("prorl")),
        label=f"ProRL, {config.arm}",
    )
    policies = kept_policies(session.task, final)
    half = len(final.history) / 2
    middle = policies[min(policies, key=lambda step: abs(step - half))] if policies else final
    return {"policy": final, "middle": middle}


def hooks(task: Task, config: ProrlConfig, settings: RLConfig, streams: Streams) -> Sequence[Hook]:
    """The hooks of the run: validation first, so that hooks that act on it see it in the same step."""
    watch = Validate(
        problems=task.validation,
        streams=streams,
        limits=Limits(max_new_tokens=task.max_new_tokens, batch_rows=settings.batch_rows),
        every=config.validate_every,
        draws=config.validation_draws,
    )
    found: list[Hook] = [
        watch,
        KeepAt(steps=tuple(range(config.keep_every, settings.steps, config.keep_every))),
    ]
    if config.times:
        found.append(StopAfterPlateau(patience=config.patience, margin=config.margin, times=config.times))
    if config.arm in ("reference", "reference+optimiser", "optimiser"):
        found.append(
            ResetWhen(
                patience=config.patience,
                margin=config.margin,
                reference="reference" in config.arm,
                optimiser="optimiser" in config.arm,
            )
        )
    return found


def table(session: Session, config: ProrlConfig, policies: Policies) -> Rows:
    """Classes of the cells, and the base's results at other temperatures and with lenient grading."""
    final = policies["policy"]
    models = {"base": session.base, "middle": policies["middle"], "final": final}
    given = {
        name: session.answers(model, session.task.test, config.draws, name=f"draw {name}")
        for name, model in models.items()
    }
    lines: list[Mapping[str, Json]] = [_ran(final)]
    for name, answers in given.items():
        lines += readings(name, answers, config.draws, session.streams.child("prorl", name))
    for temperature in config.temperatures:
        name = f"base at temperature {temperature:g}"
        sampling = Sampling(temperature=temperature)
        hot = session.answers(models["base"], session.task.test, config.draws, name=name, sampling=sampling)
        lines += readings(name, hot, config.draws, session.streams.child("prorl", name))
    lines += _classes(given, config.draws, session.streams.child("prorl"))
    return lines


def readings(name: str, given: Answers, k: int, streams: Streams) -> list[dict[str, Json]]:
    """Success at one draw and at k draws, answers alone, and lenient grading if the grader has it."""
    columns = dict(zip(("pass@1", f"pass@{k}"), pass_curves(given, k), strict=True))
    for what, values in (("answer alone", given.outcome), ("lenient", given.columns.get("lenient"))):
        if values is not None:
            graded, right = given.counts(np.asarray(values, dtype=np.float32))
            columns[what] = np.where(graded > 0, right / np.maximum(graded, 1), np.nan)
    return [
        row(
            f"{name}: {what}",
            bootstrap_mean(values, streams.generator(what)),
            problems=len(given.problems),
            draws=k,
        )
        for what, values in columns.items()
    ]


def _ran(model: Model) -> dict[str, Json]:
    steps = len(model.history)
    plateau = [one["plateau"] for one in model.history if "plateau" in one]
    resets = sum(one.get("reset", 0.0) for one in model.history)
    return {
        "name": "steps",
        "value": steps,
        "plateau": json_number(plateau[0]) if plateau else None,
        "resets": json_number(resets),
    }


def _classes(given: Mapping[str, Answers], k: int, streams: Streams) -> list[dict[str, Json]]:
    found = classify(given["base"], given["middle"], given["final"], streams, k=k, margin=MARGIN)

    def ends(name: str, estimate: Estimate) -> dict[str, Json]:
        return {name: [json_number(x) for x in (estimate.value, estimate.low, estimate.high)]}

    return [
        {
            **row(f"{one.cell}: {one.label}", one.whole, problems=one.problems, draws=k),
            **ends("first half", one.first),
            **ends("second half", one.second),
            **ends("base", one.base),
            **ends("at one draw", one.one),
        }
        for one in found
    ]


def brief(config: ProrlConfig) -> ProrlConfig:
    """Two steps of sixteen problems, every one of them validated."""
    small = replace(shortened(config.rl), prompts=16, draws=8, rounds=1, update=UpdateConfig())
    return replace(
        config,
        rl=small,
        validate_every=1,
        validation_draws=1,
        patience=1,
        keep_every=1,
        times=0.0,
        draws=2,
        temperatures=config.temperatures[:1],
    )


METHOD = Method(
    name="prorl",
    summary="RL for ten times as long as its plateau, near a reference that is reset when validation stagnates",
    source="Liu et al. 2025, arXiv 2505.24864",
    cost="demo: 80 steps of 128 draws; study: to 10 x plateau, 2,000 steps at most; real: 2,000 steps of 4,096",
    profiles={
        "demo": ProrlConfig(),
        "study": ProrlConfig(rl=replace(TINY_RL, steps=2000, rounds=2), times=10.0, keep_every=40, draws=128),
        "real": ProrlConfig(
            rl=replace(
                LARGE_RL,
                steps=2000,
                rounds=2,
                prompts=256,
                draws=16,
                max_new_tokens=8192,
                lr=2e-6,
                update=UpdateConfig(minibatches=4),
            ),
            validate_every=50,
            keep_every=250,
            times=10.0,
            draws=128,
        ),
    },
    brief=brief,
    train=train,
    table=table,
)
