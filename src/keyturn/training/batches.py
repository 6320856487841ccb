"""Build an objective's tensors from completions, and split a batch without changing its gradient."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from keyturn.core.lazy import torch
from keyturn.core.streams import Streams
from keyturn.objectives.contract import RolloutBatch
from keyturn.rollouts.completions import Completions, Stop, pad_ragged


def padded(completions: Completions, values: NDArray) -> NDArray:
    """One value per token as ``[row, token]``, right-padded with zeros.

    Args:
        completions: whose tokens they are.
        values: ``[token]``, aligned with ``completions.tokens``.
    """
    return pad_ragged(values, completions.offsets[:-1], completions.lengths)


def rollout_batch(
    completions: Completions,
    rewards: NDArray[np.float32],
    *,
    max_new_tokens: int,
    own: NDArray[np.bool_] | None = None,
    roles: NDArray[np.uint8] | None = None,
    device: torch.device | str = "cpu",
) -> RolloutBatch:
    """The tensors that an objective sees; rows of one problem are one group.

    Args:
        completions: what was drawn.
        rewards: one per row, no NaN, float32 ``[row]``.
        max_new_tokens: the length limit of the rollout.
        own: False on tokens that the policy did not choose (a tool's output), bool ``[token]``; None: all.
        roles: a role per token, uint8 ``[token]``, or None.
        device: where the policy is trained.
    """
    chosen = np.ones(len(completions.tokens), dtype=bool) if own is None else own

    def tokens(values: NDArray) -> torch.Tensor:
        return torch.from_numpy(padded(completions, values)).to(device)

    def rows(values: NDArray) -> torch.Tensor:
        return torch.from_numpy(values).to(device)

    return RolloutBatch(
        tokens=tokens(completions.tokens.astype(np.int64)),
        mask=tokens(chosen),
        rewards=rows(rewards),
        group=rows(completions.problem.astype(np.int64)),
        truncated=rows(completions.stop == Stop.LENGTH),
        sampled_logprobs=tokens(completions.logprobs),
        entropies=tokens(completions.entropies),
        max_new_tokens=max_new_tokens,
        roles=None if roles is None else tokens(roles.astype(np.int64)),
    )


def minibatches(batch: RolloutBatch, epochs: int, parts: int, streams: Streams) -> Iterator[NDArray[np.int64]]:
    """Rows of each update: whole groups, shuffled anew every epoch, dealt into ``parts`` of nearly equal size.

    One epoch of one part is the batch as it is.
    """
    group = batch.group.cpu().numpy()
    if epochs == 1 and parts == 1:
        yield np.arange(len(group))
        return
    names = np.unique(group)
    for epoch in range(epochs):
        order = streams.generator("minibatch", epoch).permutation(names)
        for part in np.array_split(order, parts):
            yield np.flatnonzero(np.isin(group, part))


def microbatches(completions: Completions, rows: NDArray[np.int64], tokens: int) -> Iterator[NDArray[np.int64]]:
    """Rows of each backward pass: whole groups of similar length, as draws of a prompt share its forward pass.

    Args:
        completions: the rows of the batch.
        rows: which of them to split.
        tokens: maximum tokens of a pass, with a prompt counted once and padding included; a longer row gets
            its own pass.
    """
    prompts, lengths = np.diff(completions.prompts.offsets), completions.lengths
    names, first = np.unique(completions.problem[rows], return_index=True)
    groups = [rows[completions.problem[rows] == name] for name in names[np.argsort(first, kind="stable")]]
    groups.sort(key=lambda group: -int(lengths[group].max()))
    held: list[NDArray[np.int64]] = []
    longest = read = 0
    for group in groups:
        prompt, own = int(prompts[completions.problem[group[0]]]), int(lengths[group].max())
        count = sum(map(len, held))
        if held and read + prompt + (count + len(group)) * max(longest, own) > tokens:
            yield np.concatenate(held)
            held, longest, read, count = [], 0, 0, 0
        if prompt + len(group) * own <= tokens:
            held.append(group)
            longest, read = max(longest, own), read + prompt
            continue
        size = max(1, (tokens - prompt) // max(own, 1))
        ordered = group[np.argsort(-lengths[group], kind="stable")]
        yield from (ordered[start : start + size] for start in range(0, len(group), size))
    if held:
        yield np.concatenate(held)


def narrowed(batch: RolloutBatch, rows: NDArray[np.int64], width: int) -> RolloutBatch:
    """Some rows, cut to ``width`` tokens (no token of theirs lies beyond it)."""
    chosen = batch.rows(torch.from_numpy(rows).to(batch.group.device))
    cut = {
        name: value[:, :width]
        for name, value in vars(chosen).items()
        if isinstance(value, torch.Tensor) and value.dim() == 2
    }
    return RolloutBatch(**{**vars(chosen), **cut})
