"""CHORD: demonstrations as a weighted term together with on-policy GRPO, so that imitation can fade gradually.

Formula, with GRPO's clipped surrogate ``S`` on the draws and ``p_t`` the policy's probability of a
demonstration's token (``[row, token]``)::

    loss = - (1 - mu) / draws' tokens * sum_t,i S  -  mu / demonstrations' tokens * sum_t,i sg[phi(p)] log p

``phi``: ``variance`` p (1 - p), ``one`` 1, ``probability`` p (importance sampling), ``matched`` the mean of
p (1 - p) over the demonstrations' tokens, the same for every token. ``variance`` is at most 1/4, so only the
comparison with ``matched`` separates the effect of its shape from that of a smaller step.
``schedule`` of ``mu`` at step ``k``: ``constant`` (``mu``); ``cosine``: ``peak k / warmup`` while ``k <
warmup``, then ``valley + (peak - valley) (1 + cos(pi (k - warmup) / decay)) / 2``, then ``valley``;
``adaptive``: ``max(0, target - mean reward)`` of the previous step, at most 1.
Denominator: tokens of the draws, silent groups included, and tokens of the demonstrations, separately.
Degenerate: demonstrations belong to no group and have credit 0. A batch without draws or without demonstrations
has only the other term. Before the first measurement ``adaptive`` uses ``mu``, and ``matched`` uses no
demonstrations (for one step).
Known bias: stated in ``Objective.bias``. ``mu`` is not a share of the learning: the two terms differ in scale,
and so do their gradient norms.
Source: Zhang et al. 2025 (2508.11408); cosine schedule: Trinity-RFT and ms-swift; adaptive mu with target 0.5
and ``phi = p`` are variants of the paper. Ours: ``matched``. Departures: ``adaptive`` and ``matched`` use
measurements of the previous step; TRL's 1e-4 is added to the deviation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from jaxtyping import Float

from keyturn.core.errors import UsageError, unknown
from keyturn.core.lazy import torch
from keyturn.objectives.aggregation import aggregate
from keyturn.objectives.contract import INVARIANTS, Adapted, Objective, PolicyTokens, RolloutBatch, Term
from keyturn.objectives.grpo import SINGLE_UPDATE, GrpoConfig
from keyturn.objectives.grpo import credit as group_credit
from keyturn.objectives.grpo import loss as clipped_loss


@dataclass(frozen=True, kw_only=True)
class ChordConfig:
    """Settings of CHORD."""

    schedule: Literal["constant", "cosine", "adaptive"] = "constant"
    """Schedule of mu."""
    mu: float = 0.1
    """Constant weight of the demonstrations (2508.11408, with phi), and first weight of ``adaptive``."""
    phi: Literal["variance", "one", "probability", "matched"] = "variance"
    """Weight of a demonstration's token (2508.11408: variance)."""
    warmup: int = 0
    """Number of steps of ``cosine`` in which mu rises from 0 (2508.11408: 0; Trinity's example: 200)."""
    decay: int = 200
    """Number of steps of ``cosine`` in which mu falls (2508.11408, mathematics)."""
    peak: float = 0.9
    """Largest mu of ``cosine`` (2508.11408)."""
    valley: float = 0.05
    """Last mu of ``cosine`` (2508.11408)."""
    target: float = 0.5
    """Mean reward at which ``adaptive`` needs no demonstrations (2508.11408: 0.5; 0.7 was bad)."""
    clip_low: float = 0.2
    """Lower clip range of the ratio (2402.03300)."""
    clip_high: float = 0.2
    """Upper clip range of the ratio (2402.03300)."""
    std_epsilon: float = 1e-4
    """Added to the standard deviation, in units of reward (TRL's value; verl takes 1e-6)."""


def chord(config: ChordConfig = ChordConfig()) -> Objective:
    """CHORD with the given settings."""
    _check(config)
    inner = GrpoConfig(
        clip_low=config.clip_low,
        clip_high=config.clip_high,
        std_epsilon=config.std_epsilon,
        aggregation="token-mean",
    )
    moves = config.schedule != "constant" or config.phi == "matched"
    return Objective(
        name="chord",
        summary="GRPO on draws and a weighted likelihood of demonstrations in one loss",
        source="Zhang et al. 2025, arXiv 2508.11408",
        bias=(
            "The expected gradient is (1 - mu) times that of GRPO with a token mean plus mu times that of the "
            "mean over the demonstrations' tokens of p - p^2 / 2 (variance), log p (one), p (probability) or "
            "a constant times log p (matched), which is not a gradient of the reward; the two bounded ones "
            "hardly learn tokens that the policy finds unlikely."
        ),
        needs=frozenset({"demonstration"}),
        credit=lambda batch: credit(batch, inner),
        loss=lambda policy, batch: loss(policy, batch, inner, config),
        adapt=_adapt(config) if moves else None,
        no_op_when_single_update=SINGLE_UPDATE,
        invariants=frozenset(INVARIANTS),
        config=config,
    )


PHI: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "variance": lambda p: p * (1 - p),
    "one": lambda p: torch.ones_like(p),
    "probability": lambda p: p,
    "matched": lambda p: torch.ones_like(p),  # the constant is a factor of the whole term
}
"""Name -> weight of a demonstration's token from its probability."""

MATCHED = "loss/phi"
"""Column of the metrics for ``matched``: the mean of p (1 - p) over the demonstrations' tokens."""

REWARD = "reward"
"""Column of the metrics for ``adaptive``: the mean reward of the draws."""


def _check(config: ChordConfig) -> None:
    if config.phi not in PHI:
        raise unknown("phi", config.phi, PHI)
    if config.schedule not in ("constant", "cosine", "adaptive"):
        raise unknown("schedule of mu", config.schedule, ("constant", "cosine", "adaptive"))
    for name in ("mu", "peak", "valley"):
        if not 0 <= getattr(config, name) <= 1:
            raise UsageError(f"{name} is {getattr(config, name)}", fix="take a number from 0 to 1")
    if config.warmup < 0 or config.decay < 0:
        raise UsageError(f"{config.warmup} and {config.decay} steps of mu", fix="take 0 or more")


def credit(batch: RolloutBatch, inner: GrpoConfig) -> Float[torch.Tensor, "row token"]:
    """GRPO's credit on draws, 0 on demonstrations, ``[row, token]``."""
    return group_credit(batch, inner) * _draws(batch).mask


def _draws(batch: RolloutBatch) -> RolloutBatch:
    """The batch without tokens of demonstrations."""
    assert batch.demonstration is not None, "the objective's needs name demonstrations"
    return replace(batch, mask=batch.mask & ~batch.demonstration[:, None])


def loss(policy: PolicyTokens, batch: RolloutBatch, inner: GrpoConfig, config: ChordConfig) -> tuple[Term, ...]:
    """GRPO's terms on draws, the likelihood of demonstrations, and the mean of p (1 - p) (reported, weight
    0)."""
    draws = _draws(batch)
    shown = batch.mask & ~draws.mask
    logprobs = torch.where(shown, policy.logprobs, 0.0)
    p = logprobs.detach().exp()
    limit = batch.max_new_tokens
    moves = config.schedule != "constant" or config.phi == "matched"
    of_draws, of_shown = (1.0, 1.0) if moves else (1 - config.mu, config.mu)
    terms = [term._replace(weight=of_draws * term.weight) for term in clipped_loss(policy, draws, inner)]
    likelihood = aggregate("token-mean", -PHI[config.phi](p) * logprobs, shown, limit)
    spread = aggregate("token-mean", PHI["variance"](p), shown, limit)
    return (*terms, Term("sft", *likelihood, weight=of_shown), Term("phi", *spread, weight=0.0))


def mu_at(config: ChordConfig, step: int, metrics: Mapping[str, float]) -> float:
    """The weight of the demonstrations at a step, from 0.

    Args:
        config: settings with the schedule.
        step: number of the step, from 0.
        metrics: metrics of the previous step.
    """
    if config.schedule == "constant":
        return config.mu
    if config.schedule == "adaptive":
        reward = metrics.get(REWARD, math.nan)
        return config.mu if math.isnan(reward) else min(max(config.target - reward, 0.0), 1.0)
    if step < config.warmup:
        return config.peak * step / config.warmup
    if step >= config.warmup + config.decay:
        return config.valley
    falling = (1 + math.cos(math.pi * (step - config.warmup) / config.decay)) / 2
    return config.valley + (config.peak - config.valley) * falling


def _adapt(config: ChordConfig) -> Callable[[Mapping[str, float], int, Mapping[str, float]], Adapted]:
    """Factors of the two terms at each step; the state keeps the last measurement of p (1 - p)."""

    def adapt(state: Mapping[str, float], step: int, metrics: Mapping[str, float]) -> Adapted:
        # A step without an update measures nothing, so the earlier measurement stays.
        state = {name: metrics[name] for name in (MATCHED, REWARD) if name in metrics} | {
            name: value for name, value in state.items() if name not in metrics
        }
        mu = mu_at(config, step, state)
        scale = state.get(MATCHED, 0.0) if config.phi == "matched" else 1.0
        return Adapted(state, {"policy": 1 - mu, "sft": mu * scale})

    return adapt
