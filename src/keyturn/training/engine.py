"""What another engine must do for an objective to be the same there, found out by trying the objective.

Other engines hold rows (prompt, completion, reward) in layouts of their own, show a credit function some of
them at a time, and divide a loss by something of their own. Whether an objective survives that is not a list to
be kept: :func:`missing` runs credit and loss on a small batch whose numbers of rows, of tokens and of tokens
allowed all differ, and says in sentences what the engine lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from keyturn.core.errors import UsageError
from keyturn.core.roles import EXECUTION, PLANNING
from keyturn.core.streams import Streams
from keyturn.objectives.contract import Objective, PolicyTokens, RolloutBatch, judged
from keyturn.rollouts.completions import Completions, Prompts, Stop, ragged

Divisor: TypeAlias = Literal["rows", "tokens", "limit"]
"""What a term is divided by: rows, generated tokens, or rows times the length limit."""

Decode: TypeAlias = Callable[[Sequence[int]], str]
"""Token ids to text without special tokens, for role sources that read text."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What an engine lets an objective have.

    Args:
        name: of the engine, for messages.
        needs: fields of ``Objective.needs`` that its data can hold.
        divides: what a loss may be divided by there; None where keyturn divides itself.
        whole: credit sees every group of an update; else one group at a time.
        stepwise: keyturn is called at every step, so that schedules and marks can reach the loss.
    """

    name: str
    needs: frozenset[str]
    divides: frozenset[Divisor] | None
    whole: bool
    stepwise: bool


_LACKS = {
    "demonstration": "its batch holds draws alone, no demonstrations",
    "reference_logprobs": "its credit and loss are given no log-probabilities of a reference",
    "roles": "its credit is given no token ids, so that nothing can tell roles",
    "policy_entropies": "its loss is given no entropies that carry gradient",
}


def missing(objective: Objective, engine: Engine) -> tuple[str, ...]:
    """Why an engine cannot carry an objective, a clause each; none where it can.

    Args:
        objective: built with its config, since what it needs depends on that.
        engine: what is there.
    """
    reasons = [_LACKS.get(need, f"its data holds no {need}") for need in sorted(objective.needs - engine.needs)]
    if not engine.stepwise and objective.adapt is not None:
        reasons.append("its loss is not told of the schedule of the weights")
    if not engine.stepwise and objective.mark is not None:
        reasons.append("the tokens that the objective marks do not reach its loss")
    if "demonstration" in objective.needs:
        return tuple(reasons)
    whole = judged(objective, _probe())
    if not engine.whole and not _credit_is_by_group(objective, whole):
        reasons.append("credit depends on the whole batch, and it shows one group at a time")
    if engine.divides is not None:
        for name, divisor in divisors(objective).items():
            if divisor not in engine.divides:
                reasons.append(f"the term {name!r} is divided by {_WORDS[divisor]}, which it does not do")
    return tuple(reasons)


def refuse(objective: Objective, engine: Engine) -> None:
    """Say what cannot be carried, before anything is trained.

    Raises:
        UsageError: with every reason.
    """
    reasons = missing(objective, engine)
    if reasons:
        raise UsageError(
            f"{engine.name} cannot carry the objective {objective.name!r}: {'; '.join(reasons)}",
            fix="train it with `keyturn train`, or choose settings of it that the engine can carry",
        )


def divisors(objective: Objective) -> dict[str, Divisor | None]:
    """What each term that moves weights is divided by; None for anything that no engine counts."""
    batch = judged(objective, _probe())
    rows, tokens = float(len(batch.mask)), float(batch.mask.sum())
    known: dict[float, Divisor] = {rows: "rows", tokens: "tokens", rows * batch.max_new_tokens: "limit"}
    terms = objective.loss(PolicyTokens(batch.behaviour_logprobs, batch.entropies), batch)
    return {term.name: known.get(float(term.denominator)) for term in terms if term.weight}


_WORDS: dict[Divisor | None, str] = {
    "rows": "the rows of the update",
    "tokens": "the tokens of the update",
    "limit": "rows times the length limit",
    None: "a count of its own",
}


def _credit_is_by_group(objective: Objective, whole: RolloutBatch) -> bool:
    for name in torch.unique(whole.group):
        rows = (whole.group == name).nonzero()[:, 0]
        alone = judged(objective, replace(whole.rows(rows), credit=None, marked=None))
        assert whole.credit is not None
        assert alone.credit is not None
        if not torch.allclose(alone.credit, whole.credit[rows], atol=1e-6):
            return False
    return True


def _probe() -> RolloutBatch:
    """Five rows of two problems, 14 tokens, 11 allowed a row: every count is a different number."""
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
        rewards=torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0]),
        group=torch.tensor([0, 0, 0, 1, 1]),
        truncated=torch.tensor([False, False, True, False, False]),
        sampled_logprobs=noise(-2, -0.1),
        entropies=noise(0.1, 2),
        max_new_tokens=11,
        reference_logprobs=noise(-2, -0.1),
        roles=roles,
        streams=Streams(0),
    )


def rows_of(
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    *,
    group: Sequence[object],
    truncated: Sequence[bool],
    logprobs: Sequence[Sequence[float]] | None = None,
    entropies: Sequence[Sequence[float]] | None = None,
    decode: Decode | None = None,
    policy: str = "",
) -> Completions:
    """Rows of any engine as completions: groups become problems, numbered in the order of their appearance.

    Args:
        prompts: token ids of each row's prompt.
        completions: token ids of each row's completion.
        group: what rows of one prompt share.
        truncated: cut at the length limit.
        logprobs: of the drawn tokens, one list a row; None: unknown (NaN).
        entropies: likewise.
        decode: for the texts, which are empty without it.
        policy: name of what answered.
    """
    first: dict[object, int] = {}
    for row, name in enumerate(group):
        first.setdefault(name, row)
    names = {name: number for number, name in enumerate(first)}
    tokens, offsets = ragged(completions)
    problem = np.array([names[name] for name in group], dtype=np.int32)
    asked = [prompts[row] for row in first.values()]
    text = decode or (lambda _: "")
    return Completions(
        policy=policy,
        prompts=Prompts.build([str(name) for name in names], [text(row) for row in asked], asked),
        problem=problem,
        draw=draws(problem),
        tokens=tokens,
        offsets=offsets,
        logprobs=_flat(logprobs, len(tokens)),
        entropies=_flat(entropies, len(tokens)),
        stop=np.where(truncated, Stop.LENGTH, Stop.EOS).astype(np.uint8),
        texts=tuple(text(row) for row in completions),
    )


def draws(problem: NDArray[np.int32]) -> NDArray[np.int32]:
    """The number of each row within its problem, from 0."""
    order = np.argsort(problem, kind="stable")
    counts = np.bincount(problem)
    out = np.empty(len(problem), dtype=np.int32)
    out[order] = np.arange(len(problem)) - np.repeat(np.cumsum(counts) - counts, counts)
    return out


def judged_rows(objective: Objective, batch: RolloutBatch) -> tuple[RolloutBatch, Bool[Tensor, " row"]]:
    """The batch with credit on its graded rows, where an engine cannot drop the others.

    Args:
        objective: whose credit.
        batch: rewards may be NaN: such rows leave their group, as in our loop.

    Returns:
        The same rows (ungraded ones without mask and credit), and which are graded: only those may enter
        a loss or a denominator.
    """
    graded = torch.isfinite(batch.rewards)
    index = graded.nonzero()[:, 0]
    part = judged(objective, batch.rows(index))

    def spread(values: Tensor | None) -> Tensor | None:
        if values is None:
            return None
        out = torch.zeros(batch.mask.shape, dtype=values.dtype, device=values.device)
        return out.index_copy(0, index, values)

    whole = replace(
        batch,
        mask=batch.mask & graded[:, None],
        rewards=torch.where(graded, batch.rewards, 0.0),
        credit=spread(part.credit),
        marked=spread(part.marked),
    )
    return whole, graded


def token_lists(values: Float[Tensor, "row token"], mask: Bool[Tensor, "row token"]) -> list[list[float]]:
    """Padded numbers as one list a row, padding left out."""
    return [row[keep].tolist() for row, keep in zip(values.cpu(), mask.cpu().bool(), strict=True)]


def _flat(values: Sequence[Sequence[float]] | None, count: int) -> NDArray[np.float32]:
    if values is None:
        return np.full(count, np.nan, dtype=np.float32)
    flat = np.array([value for row in values for value in row], dtype=np.float32)
    if len(flat) != count:
        raise ValueError(f"{len(flat)} numbers for {count} tokens")
    return flat
