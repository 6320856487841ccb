"""Conversion of any engine's rows: token ids to completions, padded numbers to lists, terms to a loss.

Source: none; ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from keyturn.engines.contract import Divisor
from keyturn.objectives.contract import Objective, PolicyTokens, RolloutBatch, judged
from keyturn.rollouts.completions import Completions, Prompts, Stop, ragged

Decode: TypeAlias = Callable[[Sequence[int]], str]
"""Token ids to text without special tokens, for role sources that read text."""


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
        group: value that rows of one prompt share.
        truncated: whether each row was cut at the length limit.
        logprobs: log-probabilities of the drawn tokens, one list per row; None means unknown (NaN).
        entropies: entropies in the same form.
        decode: token ids to text; without it the texts are empty.
        policy: name of the policy.
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
    """The batch with credit on its graded rows, for engines that cannot drop the others.

    Args:
        objective: the objective whose credit is computed.
        batch: the batch; rows whose reward is NaN leave their group, as in our loop.

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


def _flat(values: Sequence[Sequence[float]] | None, count: int) -> NDArray[np.float32]:
    if values is None:
        return np.full(count, np.nan, dtype=np.float32)
    flat = np.array([value for row in values for value in row], dtype=np.float32)
    if len(flat) != count:
        raise ValueError(f"{len(flat)} numbers for {count} tokens")
    return flat


def table(rows: Sequence[Tensor]) -> Tensor:
    """One tensor per row as ``[row, token]``, right-padded with zeros."""
    return pad_sequence(list(rows), batch_first=True)


def loss_rows(
    *,
    mask: Bool[Tensor, "row token"],
    credit: Float[Tensor, "row token"],
    old: Float[Tensor, "row token"],
    limit: int,
    tokens: Int[Tensor, "row token"] | None = None,
    reference: Float[Tensor, "row token"] | None = None,
) -> RolloutBatch:
    """The values that an engine's loss gets, as a batch; all other values are NaN, so that their use is
    noticed.

    Args:
        mask: tokens that count.
        credit: credit from the engine.
        old: log-probabilities before the updates of the rollout.
        limit: maximum number of tokens in a completion.
        tokens: token ids, if the engine has them there.
        reference: log-probabilities under the reference, if it has them.
    """
    unknown = torch.full_like(old, torch.nan)
    rows = len(mask)
    return RolloutBatch(
        tokens=torch.zeros_like(mask, dtype=torch.long) if tokens is None else tokens,
        mask=mask,
        rewards=unknown.new_full((rows,), torch.nan),
        group=torch.arange(rows, device=mask.device),
        truncated=torch.zeros(rows, dtype=torch.bool, device=mask.device),
        sampled_logprobs=unknown,
        entropies=unknown,
        max_new_tokens=limit,
        old_logprobs=old,
        reference_logprobs=reference,
        credit=credit,
    )


def loss_sum(
    objective: Objective,
    logprobs: Float[Tensor, "row token"],
    entropies: Float[Tensor, "row token"] | None,
    batch: RolloutBatch,
    counts: Mapping[Divisor, float],
    kinds: Mapping[str, Divisor | None],
) -> tuple[Tensor, dict[str, float]]:
    """The loss of a micro-batch, with each term divided by the engine's count over the whole update.

    Args:
        objective: the objective.
        logprobs: log-probabilities of the policy, with gradient.
        entropies: its entropies, or None.
        batch: batch of :func:`loss_rows`.
        counts: counts of the whole update, by kind; a kind by which the engine divides itself counts 1.
        kinds: kind of count of each term, from :func:`keyturn.engines.contract.divisors`.

    Returns:
        The scalar, and every term's share of it (also terms of weight 0) for the engine's log.
    """
    entropies = batch.entropies if entropies is None else entropies
    loss = logprobs[:, :0].sum()
    shares: dict[str, float] = {}
    for term in objective.loss(PolicyTokens(logprobs, entropies), batch):
        kind = kinds.get(term.name)
        if kind is None:
            shares[term.name] = float(term.sum.detach()) / max(term.denominator, 1.0)
            continue
        value = term.sum / counts[kind]
        loss = loss + term.weight * value
        shares[term.name] = float(value.detach())
    return loss, shares
