"""Small sets: RL and SFT of a few parameters at the same budget, compared with training all parameters.

Sets by structure (``bias``, ``rank-1``, ``tinylora``) and sets of single weights: ``hindsight`` (the entries
that a full RL run moved most), ``random`` (anywhere), ``matched`` (in each matrix, among weights of each binary
exponent, as many as ``hindsight`` has there).
Formula: ``hindsight = the n entries of largest |theta_full - theta_0|``; training then begins anew at
``theta_0`` with gradients zero outside of the set. ``gain share = (success - base) / (full - base)``.
Denominator: test problems; for the gain share, the gain from training all parameters.
Degenerate: where full training gains nothing the share has no value. A budget of 0 is that of ``bias``.
Known bias: the mask is chosen after a full run, so it saves nothing and shows no necessity; only ``matched``
says whether it is the place of the weights, and not their matrix and size, that counts. Each arm is at the
same learning rate here; small sets like larger ones: sweep it.
Source: masks: Mukherjee et al. 2025 (2505.11711), section 5 (theirs: all entries with a nonzero change; ours: a
number of them); random and matched masks: the missing controls, ours. Sets by structure: see
``methods/small_sets/parameter_sets.py``; RL against SFT at one budget: Morris et al. 2026 (2602.04118).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import unknown
from keyturn.core.measurement import Json, json_number
from keyturn.lab.fit_rows import demonstrations, supervised
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task
from keyturn.measures.rounding import exponents
from keyturn.methods.contract import Method, Policies, Rows
from keyturn.methods.sft import LARGE, TINY
from keyturn.methods.sft_then_rl import LARGE_RL, TINY_RL
from keyturn.methods.small_sets.parameter_sets import (
    KINDS,
    Kind,
    Mask,
    Masked,
    MergeAtEnd,
    attached,
    biases_of,
    fitted,
    trained_numbers,
    weights_by_name,
)
from keyturn.objectives import OBJECTIVES
from keyturn.policies.optimise import FitConfig
from keyturn.rewards.by_name import reward_named
from keyturn.training.config import RLConfig
from keyturn.training.loop import Hook

Chosen = Literal["full", "bias", "rank-1", "tinylora", "hindsight", "random", "matched"]
CHOSEN: tuple[Chosen, ...] = get_args(Chosen)


@dataclass(frozen=True, kw_only=True)
class SmallSetsConfig:
    """Settings of training few parameters."""

    chosen: Chosen = "bias"
    """Which parameters, see the file's docstring."""
    learn: Literal["rl", "sft"] = "rl"
    """By RL, or by SFT on worked solutions."""
    budget: int = 0
    """Numbers of ``tinylora`` and of the masks; 0: as many as ``bias`` has (2602.04118: 13)."""
    rl: RLConfig = field(default_factory=lambda: replace(TINY_RL, lr=1e-3))
    """Sizes and rates of RL."""
    full_lr: float = 1e-3
    """Learning rate when all parameters are trained (adapters need about ten times as much, Schulman et al.
    2025)."""
    fit: FitConfig = field(default_factory=lambda: replace(TINY, weight_decay=0.0))
    """Schedule and sizes of SFT."""
    demonstrations: int = 200
    """Worked solutions; 0 takes all."""
    objective: str = "grpo"
    """How rewards become credit and loss."""
    reward: str = "outcome"
    """How verdicts become rewards."""
    draws: int = 8
    """Draws per test problem for the table."""


def chosen_after(
    base: Mapping[str, NDArray[np.float32]], tuned: Mapping[str, NDArray[np.float32]], budget: int
) -> Mask:
    """The ``budget`` entries that a run moved most; ties go to the earlier entry.

    Args:
        base: weights before, by name, any shapes.
        tuned: after; names that ``base`` lacks are passed over.
        budget: how many, at most all.
    """
    moved = np.concatenate([np.abs(tuned[name] - base[name]).ravel() for name in sorted(base)])
    flat = np.zeros(len(moved), dtype=bool)
    flat[np.argsort(-moved, kind="stable")[:budget]] = True
    return _cut(base, flat)


def chosen_anywhere(
    base: Mapping[str, NDArray[np.float32]], budget: int, generator: np.random.Generator
) -> Mask:
    """``budget`` entries, chosen uniformly."""
    size = sum(value.size for value in base.values())
    flat = np.zeros(size, dtype=bool)
    flat[generator.choice(size, min(budget, size), replace=False)] = True
    return _cut(base, flat)


def chosen_alike(
    base: Mapping[str, NDArray[np.float32]], mask: Mask, generator: np.random.Generator
) -> dict[str, NDArray[np.bool_]]:
    """As many entries as a mask has in each matrix and among weights of each binary exponent, placed anew."""
    out = {}
    for name in sorted(base):
        scale, own = exponents(base[name]).ravel(), mask[name].ravel()
        placed = np.zeros(len(own), dtype=bool)
        for value in np.unique(scale[own]):
            among = np.flatnonzero(scale == value)
            count = int(own[among].sum())
            placed[generator.choice(among, count, replace=False)] = True
        out[name] = placed.reshape(base[name].shape)
    return out


def _cut(base: Mapping[str, NDArray[np.float32]], flat: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    out, start = {}, 0
    for name in sorted(base):
        out[name] = flat[start : start + base[name].size].reshape(base[name].shape)
        start += base[name].size
    return out


def budget_of(task: Task, config: SmallSetsConfig) -> int:
    """Number of parameters in a set without a structure of its own."""
    return config.budget or biases_of(task.base.model)


def mask_for(session: Session, config: SmallSetsConfig) -> Mask | None:
    """The mask of a choice; None for a set by structure. ``hindsight`` is of a full RL run of the seed."""
    if config.chosen in KINDS:
        return None
    base, budget = weights_by_name(session.task.base.model), budget_of(session.task, config)
    draw = session.streams.generator("small sets", config.chosen, session.seed)
    if config.chosen == "random":
        return chosen_anywhere(base, budget, draw)
    whole = replace(config, chosen="full", rl=replace(config.rl, lr=config.full_lr))
    full = by_rl(session, whole)
    mask = chosen_after(base, weights_by_name(full.policy.model), budget)
    return mask if config.chosen == "hindsight" else chosen_alike(base, mask, draw)


def start_of(task: Task, config: SmallSetsConfig, *, seed: int = 0) -> Model:
    """The base with only the set left to be trained (all of it, for masks: they hold gradients)."""
    if config.chosen not in CHOSEN:
        raise unknown("set of parameters", config.chosen, CHOSEN)
    kind: Kind = config.chosen if config.chosen in KINDS else "full"  # type: ignore[assignment]
    policy = attached(task.base, kind, budget=budget_of(task, config), seed=seed)
    return Model(task.folder, policy)


def by_rl(session: Session, config: SmallSetsConfig) -> Model:
    """RL of the set."""
    mask = mask_for(session, config)
    settings = replace(
        config.rl,
        prompts=min(config.rl.prompts, len(session.task.train.problems)),
        max_new_tokens=min(config.rl.max_new_tokens, session.task.max_new_tokens),
        weight_decay=0.0,
    )

    def hooks() -> Sequence[Hook]:
        if mask is not None:
            return (Masked(mask),)
        return (MergeAtEnd(steps=settings.steps),) if config.chosen in ("rank-1", "tinylora") else ()

    return session.rl(
        start_of(session.task, config, seed=session.seed),
        objective=OBJECTIVES[config.objective](),
        reward=reward_named(config.reward),
        config=settings,
        hooks=hooks,
        label=f"RL {config.chosen}",
    )


def by_sft(session: Session, config: SmallSetsConfig) -> Model:
    """SFT of the set on the expert's solutions."""
    pairs = demonstrations(
        session.task,
        session.task.train.problems[: config.demonstrations or None],
        session.streams.child("expert"),
    )
    return fitted(
        session,
        start_of(session.task, config, seed=session.seed),
        supervised(session.task.base, pairs),
        replace(config.fit, weight_decay=0.0),
        mask=mask_for(session, config),
        label=f"SFT {config.chosen}",
    )


def gain_share(success: float, base: float, full: float) -> float:
    """The share of the full training's gain that a set reaches; NaN if that gain is not above 0."""
    return (success - base) / (full - base) if full > base else math.nan


def train(session: Session, config: SmallSetsConfig) -> Policies:
    """Train the set by RL or by SFT."""
    ways = {"rl": by_rl, "sft": by_sft}
    if config.learn not in ways:
        raise unknown("way to learn", config.learn, ways)
    return {"policy": ways[config.learn](session, config)}


def rivals(config: SmallSetsConfig) -> dict[str, SmallSetsConfig]:
    """RL and SFT of everything and of the set."""
    whole = replace(
        config,
        chosen="full",
        rl=replace(config.rl, lr=config.full_lr),
        fit=replace(config.fit, lr=config.full_lr),
    )
    sets = (whole, config)
    return {
        **{f"RL {one.chosen}": replace(one, learn="rl") for one in sets},
        **{f"SFT {one.chosen}": replace(one, learn="sft") for one in sets},
    }


def table(session: Session, config: SmallSetsConfig, policies: Policies) -> Rows:
    """Success of RL and SFT of the set and of everything, and the share of the gain that the set gets."""
    models = {"base": session.base} | {name: policies[name] for name in rivals(config)}
    masked = config.chosen not in KINDS
    numbers = (
        budget_of(session.task, config)
        if masked
        else trained_numbers(start_of(session.task, config).policy.model)
    )
    lines: list[Mapping[str, Json]] = []
    found = {str(line["name"]): line for line in session.scores(models, config.draws)}
    value = {name: float(str(line["value"])) for name, line in found.items()}
    for name, line in found.items():
        full = value.get(f"{name.split()[0]} full", math.nan)
        small_one = name.endswith(f" {config.chosen}") and config.chosen != "full"
        share = gain_share(value[name], value["base"], full) if small_one else math.nan
        lines.append({**line, "gain share": json_number(share), "numbers": numbers if small_one else None})
    return lines


def brief(config: SmallSetsConfig) -> SmallSetsConfig:
    """Two steps of each, with a reward that surely differs within a group."""
    return replace(
        config,
        rl=replace(config.rl, steps=2, prompts=2, draws=4, max_new_tokens=16),
        reward="random",
        fit=replace(config.fit, steps=2, batch_rows=2, bucket_batches=1, warmup=0),
        demonstrations=2,
        draws=1,
    )


METHOD = Method(
    name="small-sets",
    summary="train one bias per layer, a rank-1 adapter, 13 numbers or a masked sub-network, by RL or by SFT",
    source="Sinii et al. 2505.18706; Morris et al. 2602.04118; Mukherjee et al. 2505.11711",
    cost="demo: two RL runs of 40 steps, two fits of 200; study: 400 and 2,000; real: 200 and 500",
    needs=frozenset({"expert"}),
    profiles={
        "demo": SmallSetsConfig(),
        "study": SmallSetsConfig(
            rl=replace(TINY_RL, steps=400, lr=3e-3), fit=replace(TINY, steps=2000, weight_decay=0.0), draws=32
        ),
        "real": SmallSetsConfig(
            chosen="rank-1",
            rl=replace(LARGE_RL, lr=1e-5),
            full_lr=1e-6,
            fit=replace(LARGE, lr=5e-5, weight_decay=0.0),
            draws=4,
        ),
    },
    brief=brief,
    train=train,
    rivals=rivals,
    table=table,
)
