"""The settings of an RL run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class UpdateConfig:
    """How a rollout is turned into updates."""

    epochs: int = 1
    """Passes over a rollout."""
    minibatches: int = 1
    """Updates per pass, each over whole groups; with more than one update, the ratio differs from 1."""
    clip: float = 1.0
    """Largest global gradient norm."""
    micro_tokens: int = 8192
    """Tokens of one backward pass, a shared prompt counted once. Changes memory and speed, not the gradient.
    Large models read fewer at once, so that a pass keeps half a gigabyte or 1.5 times the weights at most."""
    recompute: Literal["auto", "always", "never"] = "auto"
    """Run decoder layers again in the backward pass and keep only their inputs (activation checkpointing):
    where that costs less than smaller passes, always, or never. Changes memory and speed, not the gradient."""


@dataclass(frozen=True, kw_only=True)
class RLConfig:
    """How long, how much and how fast."""

    steps: int = 240
    """Rollout steps (the pilot on CHAIN; 100 on GRAPH)."""
    prompts: int = 16
    """Problems per step."""
    draws: int = 16
    """Draws per problem: the group size."""
    rounds: int = 1
    """Maximum rounds of sampling per step. Above 1 it is dynamic sampling (DAPO): groups with a single reward
    value are dropped and further problems asked until ``prompts`` groups have a learning signal."""
    max_new_tokens: int = 64
    """Maximum tokens of a completion."""
    batch_rows: int = 256
    """Rows decoded at once."""
    lr: float = 3e-4
    """Learning rate; for models of about 1e5 to 1e6 parameters (1e-6 is usual above 1e8)."""
    warmup: int = 0
    """Steps of linear warm-up."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's moment decays (torch's default)."""
    weight_decay: float = 0.0
    """AdamW's decay."""
    update: UpdateConfig = field(default_factory=UpdateConfig)
    """How a rollout is turned into updates."""
    kl_every: int = 5
    """Steps between estimates of KL(policy || base), which cost a forward pass of the base; 0 never."""
    term_norms_every: int = 0
    """Steps between measurements of the gradient norm of each term of a loss with several terms. Each costs a
    backward pass and a copy of the gradients per term; 0 never. Changes no result."""
    checkpoint_every: int = 20
    """Steps between checkpoints."""
    keep_checkpoints: int = 2
    """How many stay on disk."""
    store_rollouts: bool = False
    """Keep every step's completions and grades as Parquet parts."""
