"""What another engine must provide for an objective to be the same there, found by trying the objective.

Other engines store rows (prompt, completion, reward) in their own layouts, give a credit function only some of
them at a time, do not pass everything on to the loss, and divide a loss by their own count. No list says which
objectives survive that. Instead, :func:`missing` runs credit and loss on a small batch whose numbers of rows,
of tokens and of allowed tokens all differ, changes the values that the engine would not store, and states what
would be lost. Degenerate: an objective that needs demonstrations is refused without a trial, since no engine's
batch holds them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from keyturn.core.errors import UsageError
from keyturn.core.roles import EXECUTION, PLANNING
from keyturn.core.streams import Streams
from keyturn.objectives.contract import Objective, PolicyTokens, RolloutBatch, Term, judged

Divisor: TypeAlias = Literal["rows", "tokens", "limit"]
"""What a term is divided by: rows, generated tokens, or rows times the length limit."""

FIELDS: dict[str, str] = {
    "tokens": "token ids",
    "rewards": "rewards",
    "group": "groups",
    "truncated": "information on which rows were cut",
    "sampled_logprobs": "the sampler's log-probabilities",
    "entropies": "entropies at sampling time",
    "reference_logprobs": "log-probabilities under a reference",
    "roles": "roles",
}
"""Fields besides mask, credit and old log-probabilities that an engine may or may not have, as text."""

EVERYTHING = frozenset(FIELDS)


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What an engine provides to an objective.

    Args:
        name: the engine's name, for messages.
        credit: names of :data:`FIELDS` that credit gets.
        loss: names of :data:`FIELDS` that the loss gets, and ``policy_entropies`` if it has entropies with
            gradient.
        divides: counts by which a loss may be divided there; None if keyturn divides itself.
        whole: whether credit gets every group of an update, and not one group at a time.
        stepwise: whether keyturn is called at every step, so that schedules and marks reach the loss.
    """

    name: str
    credit: frozenset[str] = EVERYTHING
    loss: frozenset[str] = EVERYTHING | {"policy_entropies"}
    divides: frozenset[Divisor] | None = None
    whole: bool = True
    stepwise: bool = True


def missing(objective: Objective, engine: Engine) -> tuple[str, ...]:
    """Reasons why an engine cannot carry an objective, one clause each; empty if it can.

    Args:
        objective: built with its config, on which its needs depend.
        engine: the engine.
    """
    reasons = []
    if "demonstration" in objective.needs:
        return ("its batch holds only draws and no demonstrations",)
    if "policy_entropies" in objective.needs - engine.loss:
        reasons.append("its loss gets no entropies with gradient")
    if not engine.stepwise and objective.adapt is not None:
        reasons.append("a schedule of weights does not reach its loss")
    if not engine.stepwise and objective.mark is not None:
        reasons.append("tokens that the objective marks do not reach its loss")
    whole = judged(objective, _probe())
    for field in FIELDS:
        needed = field in objective.needs or _credit_reads(objective, whole, field)
        if field not in engine.credit and needed:
            reasons.append(f"its credit gets no {FIELDS[field]}")
        if field not in engine.loss and _loss_reads(objective, whole, field):
            reasons.append(f"its loss gets no {FIELDS[field]}")
    if not engine.whole and not _credit_is_by_group(objective, whole):
        reasons.append("credit depends on the whole batch, but its credit gets one group at a time")
    if engine.divides is not None:
        for name, divisor in divisors(objective).items():
            if divisor not in engine.divides:
                reasons.append(f"the term {name!r} is divided by {_WORDS[divisor]}, which it does not support")
    return tuple(reasons)


def refuse(objective: Objective, engine: Engine) -> None:
    """Refuse an objective that an engine cannot carry, before anything is trained.

    Raises:
        UsageError: the engine cannot carry it; the message has every reason.
    """
    reasons = missing(objective, engine)
    if reasons:
        raise UsageError(
            f"{engine.name} cannot carry the objective {objective.name!r}: {'; '.join(reasons)}",
            fix="train it with `keyturn train`, or choose settings of it that the engine can carry",
        )


def divisors(objective: Objective) -> dict[str, Divisor | None]:
    """The count by which each term with gradient is divided; None for a count that no engine has.

    Empty for an objective that needs demonstrations, since it cannot be tried without them.
    """
    if "demonstration" in objective.needs:
        return {}
    batch = judged(objective, _probe())
    rows, tokens = float(len(batch.mask)), float(batch.mask.sum())
    known: dict[float, Divisor] = {rows: "rows", tokens: "tokens", rows * batch.max_new_tokens: "limit"}
    return {t.name: known.get(float(t.denominator)) for t in _terms(objective, batch) if t.weight}


_WORDS: dict[Divisor | None, str] = {
    "rows": "the rows of the update",
    "tokens": "the tokens of the update",
    "limit": "rows times the length limit",
    None: "a count of its own",
}


def _terms(objective: Objective, batch: RolloutBatch) -> tuple[Term, ...]:
    """Terms at ratios other than 1, so that everything that the loss reads has an effect."""
    old = batch.behaviour_logprobs
    moved = old + 0.3 * torch.sin(7 * old)
    # Entropies with gradient are the policy's, all others the sampler's.
    entropies = moved.square() if "policy_entropies" in objective.needs else batch.entropies
    return objective.loss(PolicyTokens(moved, entropies), batch)


def _credit_reads(objective: Objective, whole: RolloutBatch, field: str) -> bool:
    if field in ("rewards", "group"):
        return True
    other = judged(objective, replace(_CHANGES[field](whole), credit=None, marked=None))
    assert whole.credit is not None
    assert other.credit is not None
    same = whole.marked is None or (other.marked is not None and torch.equal(whole.marked, other.marked))
    return not (same and torch.allclose(whole.credit, other.credit, atol=1e-6))


def _loss_reads(objective: Objective, whole: RolloutBatch, field: str) -> bool:
    held = replace(whole, old_logprobs=whole.behaviour_logprobs)
    before, after = (
        [(t.sum, t.denominator) for t in _terms(objective, batch) if t.weight]
        for batch in (held, replace(_CHANGES[field](held), credit=held.credit))
    )
    return any(
        not torch.allclose(mine[0], its[0], atol=1e-6) or mine[1] != its[1]
        for mine, its in zip(before, after, strict=True)
    )


def _credit_is_by_group(objective: Objective, whole: RolloutBatch) -> bool:
    for name in torch.unique(whole.group):
        rows = (whole.group == name).nonzero()[:, 0]
        alone = judged(objective, replace(whole.rows(rows), credit=None, marked=None))
        assert whole.credit is not None
        assert alone.credit is not None
        if not torch.allclose(alone.credit, whole.credit[rows], atol=1e-6):
            return False
    return True


def _moved(values: Tensor | None, mask: Tensor) -> Tensor | None:
    return None if values is None else (values - 0.1 - 0.2 * torch.cos(11 * values)) * mask


_CHANGES: dict[str, Callable[[RolloutBatch], RolloutBatch]] = {
    "tokens": lambda b: replace(b, tokens=(b.tokens + 1) * b.mask),
    "rewards": lambda b: replace(b, rewards=b.rewards.flip(0) + 0.5),
    "group": lambda b: replace(b, group=torch.arange(len(b.group)) // 2),
    "truncated": lambda b: replace(b, truncated=~b.truncated),
    "sampled_logprobs": lambda b: replace(b, sampled_logprobs=_moved(b.sampled_logprobs, b.mask)),  # type: ignore[arg-type]
    "entropies": lambda b: replace(b, entropies=b.entropies.flip(1).abs() + b.mask),
    "reference_logprobs": lambda b: replace(b, reference_logprobs=_moved(b.reference_logprobs, b.mask)),
    "roles": lambda b: replace(b, roles=None if b.roles is None else b.roles.flip(1) * b.mask),
}
"""Field -> the batch with other values in it."""


def _probe() -> RolloutBatch:
    """Five rows of two problems, 14 tokens, 11 allowed per row, so that all counts differ."""
    lengths = torch.tensor([1, 2, 4, 3, 4])
    mask = torch.arange(4) < lengths[:, None]
    rng = np.random.default_rng(0)

    def noise(low: float, high: float) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, mask.shape).astype(np.float32)) * mask

    planning, execution = int(min(PLANNING)), int(min(EXECUTION))
    roles = torch.where(torch.arange(4) % 2 == 0, planning, execution) * mask
    return RolloutBatch(
        tokens=torch.ones(mask.shape, dtype=torch.long) * mask,
        mask=mask,
        rewards=torch.tensor([1.0, 0.0, 0.0, 1.0, 0.5]),
        group=torch.tensor([0, 0, 0, 1, 1]),
        truncated=torch.tensor([False, False, True, False, False]),
        sampled_logprobs=noise(-2, -0.1),
        entropies=noise(0.1, 2),
        max_new_tokens=11,
        reference_logprobs=noise(-2, -0.1),
        roles=roles,
        streams=Streams(0),
    )
