"""One optimiser loop for all fits: any parameters, any loss, resumable to the byte.

``theta <- AdamW(theta, clip(grad))`` where ``grad`` is the gradient of the sum of the loss's parts.
Denominator: the caller's; every part arrives already divided by the whole batch's denominator.
Degenerate: a step without parts is skipped and counted; a non-finite loss or gradient norm skips the
step, three in a row stop the run.
Known bias: none of its own.
Source: AdamW (Loshchilov and Hutter, 2019, arXiv:1711.05101); warm-up, constant, linear decay.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeAlias

from safetensors import SafetensorError, safe_open

from keyturn.core.errors import NumericsError, StorageError, UsageError
from keyturn.core.identity import identity
from keyturn.core.lazy import torch
from keyturn.core.progress import progress
from keyturn.core.tensor_file import write_tensors

_BAD_STEPS_IN_A_ROW = 3


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Steps, learning rate and batch sizes of a fit."""

    steps: int = 500
    """Optimiser steps."""
    batch_rows: int = 32
    """Rows (documents) per step; the default is from the pilot of the controlled world."""
    micro_rows: int = 0
    """Rows per backward pass; 0 takes the whole batch. Changes memory, never the gradient (up to rounding)."""
    lr: float = 3e-3
    """Peak learning rate; the default suits models of about 1e5 to 1e6 parameters."""
    warmup: int = 60
    """Steps of linear warm-up."""
    decay_from: float = 0.6
    """Share of the steps after which the rate falls linearly; 1 keeps it constant."""
    final_lr: float = 0.05
    """Rate at the last step as a share of the peak."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's moment decays."""
    weight_decay: float = 0.05
    """AdamW's decay, on matrices only (vectors are gains and biases)."""
    clip: float = 1.0
    """Largest global gradient norm."""
    bucket_batches: int = 16
    """Number of batches whose rows are sorted by length together."""

    def rate(self, step: int) -> float:
        """Learning rate of step ``step`` (0 is the first)."""
        hold = self.decay_from * self.steps
        if step < hold or self.steps <= 1:
            share = 1.0
        else:
            share = 1 - (1 - self.final_lr) * (step - hold) / max(self.steps - 1 - hold, 1e-9)
        return self.lr * min(1.0, (step + 1) / max(self.warmup, 1)) * share


@dataclass(frozen=True, kw_only=True)
class FitReport:
    """The record of a fit.

    Args:
        history: one mapping per step (``step``, ``loss``, ``grad_norm``, ``lr``, ``tokens`` so far, and the
            columns that ``evaluate`` returned at that step).
        tokens: tokens trained on, padding left out.
        seconds: wall time of this process's part.
        skipped: steps without an update (non-finite, or a batch without weight).
        engine: what computed the loss.
    """

    history: tuple[Mapping[str, float], ...]
    tokens: int
    seconds: float
    skipped: int
    engine: str


Losses: TypeAlias = "Callable[[int], Iterator[torch.Tensor]]"
"""Step -> the parts of its loss, each already divided by the step's whole denominator."""

Evaluate: TypeAlias = Callable[[int], Mapping[str, float]]
"""Step -> further columns of the history."""


@dataclass
class _State:
    step: int = 0
    tokens: int = 0
    skipped: int = 0
    bad_in_a_row: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def optimise(
    parameters: Mapping[str, torch.nn.Parameter],
    losses: Losses,
    config: FitConfig,
    *,
    label: str = "fit",
    evaluate: Evaluate | None = None,
    evaluate_every: int = 0,
    checkpoint: Path | None = None,
    checkpoint_every: int = 0,
    stop_at: int | None = None,
    tokens: Callable[[], int] = lambda: 0,
    engine: str = "torch",
) -> FitReport:
    """The loop itself: any parameters, any loss. :func:`fit` explains the arguments that both share.

    Args:
        parameters: the parameters to train, by name; frozen ones are left alone.
        losses: step -> parts of the loss; no part at all means that the step has nothing to learn from.
        config: schedule; ``batch_rows``, ``micro_rows`` and ``bucket_batches`` belong to the caller's loss.
        tokens: gives the number of tokens that the last call of ``losses`` read.
        engine: what computes the loss (``which_engine``); only the same one resumes a checkpoint, since last
            bits depend on it.
    """
    if config.steps < 1 or config.batch_rows < 1:
        raise UsageError(f"{config.steps} steps of {config.batch_rows} rows", fix="take at least 1 of each")
    if not (math.isfinite(config.lr) and config.lr >= 0):
        raise UsageError(f"lr is {config.lr}", fix="take a number of 0 or more")
    trained = {name: p for name, p in parameters.items() if p.requires_grad}
    if not trained:
        raise UsageError("nothing to train: every parameter is frozen", fix="set requires_grad on some")
    optimiser = _adamw(trained, config)
    state = _State()
    if checkpoint is not None and checkpoint.exists():
        _load(checkpoint, trained, optimiser, state, config, engine)
    started = time.monotonic()
    last = config.steps if stop_at is None else min(stop_at, config.steps)
    with progress(label, last, note=lambda: _note(state)) as advance:
        advance(state.step)
        while state.step < last:
            row: dict[str, float] = {"step": state.step}
            if evaluate is not None and evaluate_every and state.step % evaluate_every == 0:
                row |= evaluate(state.step)
            row |= _step(trained, losses, optimiser, config, state)
            state.tokens += tokens()
            state.history.append({**row, "tokens": state.tokens})
            state.step += 1
            advance(1)
            if checkpoint is not None and checkpoint_every and state.step % checkpoint_every == 0:
                _save(checkpoint, trained, optimiser, state, config, engine)
    if checkpoint is not None and (checkpoint_every or stop_at is not None):
        _save(checkpoint, trained, optimiser, state, config, engine)
    history = [*state.history]
    if evaluate is not None and state.step == config.steps:
        history.append({"step": state.step, "tokens": state.tokens, **evaluate(state.step)})
    seconds = time.monotonic() - started
    return FitReport(
        history=tuple(history), tokens=state.tokens, seconds=seconds, skipped=state.skipped, engine=engine
    )


def _step(
    trained: Mapping[str, torch.nn.Parameter],
    losses: Losses,
    optimiser: torch.optim.Optimizer,
    config: FitConfig,
    state: _State,
) -> dict[str, float]:
    rate = config.rate(state.step)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    parts = [_backward(part) for part in losses(state.step)]
    loss = math.fsum(parts) if parts else math.nan
    norm = float(torch.nn.utils.clip_grad_norm_(trained.values(), config.clip)) if parts else math.nan
    if parts and math.isfinite(loss) and math.isfinite(norm):
        optimiser.step()
        state.bad_in_a_row = 0
    else:
        state.skipped += 1
        state.bad_in_a_row += bool(parts)
    if state.bad_in_a_row >= _BAD_STEPS_IN_A_ROW:
        raise NumericsError(
            f"loss or gradient not finite in {_BAD_STEPS_IN_A_ROW} steps in a row (last: {state.step})",
            fix="lower the learning rate, or look at the rows of those steps",
        )
    return {"loss": loss, "grad_norm": norm, "lr": rate}


def _backward(part: torch.Tensor) -> float:
    part.backward()
    return float(part.detach())


def _adamw(trained: Mapping[str, torch.nn.Parameter], config: FitConfig) -> torch.optim.AdamW:
    matrices = [p for p in trained.values() if p.ndim >= 2]
    vectors = [p for p in trained.values() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.lr, betas=config.betas, fused=True)


def _note(state: _State) -> str:
    recent = [row["loss"] for row in state.history[-20:] if math.isfinite(row["loss"])]
    return f"loss {sum(recent) / len(recent):.3f}" if recent else ""


def _save(
    path: Path,
    trained: Mapping[str, torch.nn.Parameter],
    optimiser: torch.optim.Optimizer,
    state: _State,
    config: FitConfig,
    engine: str,
) -> None:
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in trained.items():
        tensors[f"weight/{name}"] = parameter.detach()
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"{key}/{name}"] = value.detach()
    facts = asdict(state) | {"identity": identity(asdict(config)), "engine": engine}
    # One file, so that weights, moments and position always belong to the same step.
    write_tensors(path, tensors, {"fit": json.dumps(facts)})


def _load(
    path: Path,
    trained: Mapping[str, torch.nn.Parameter],
    optimiser: torch.optim.Optimizer,
    state: _State,
    config: FitConfig,
    engine: str,
) -> None:
    damaged = StorageError(f"{path} is not a checkpoint of this fit", fix="delete it and start again")
    try:
        with safe_open(path, framework="pt") as stored:
            facts = json.loads((stored.metadata() or {}).get("fit", "null"))
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise damaged from error
    if facts is None or {key.split("/", 1)[-1] for key in tensors} != trained.keys():
        raise damaged
    if facts.pop("identity") != identity(asdict(config)):
        raise StorageError(
            f"{path} was written under another configuration", fix="use the same one or delete the file"
        )
    if (before := facts.pop("engine", "torch")) != engine:
        raise StorageError(
            f"{path} was begun by the engine {before}, here it is {engine}",
            fix="KEYTURN_NATIVE=0 chooses torch; or delete the file and start again",
        )
    with torch.no_grad():
        for key, tensor in tensors.items():
            kind, name = key.split("/", 1)
            if kind == "weight":
                trained[name].copy_(tensor)
            else:
                optimiser.state[trained[name]][kind] = tensor
    for key, value in facts.items():
        setattr(state, key, value)
