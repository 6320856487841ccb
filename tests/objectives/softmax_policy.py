"""A policy of free logits over few tokens, small enough that every group of draws can be enumerated."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

from keyturn.objectives.contract import Objective, PolicyTokens, RolloutBatch, judged, total

EOS = 0
VOCAB = 3
LENGTH = 2


def sequences() -> list[tuple[int, ...]]:
    """All completions: up to LENGTH tokens, ended by EOS or by the limit."""
    out: list[tuple[int, ...]] = []

    def grow(prefix: tuple[int, ...]) -> None:
        if len(prefix) == LENGTH or (prefix and prefix[-1] == EOS):
            out.append(prefix)
            return
        for token in range(VOCAB):
            grow((*prefix, token))

    grow(())
    return out


CONTEXTS = [prefix for n in range(LENGTH) for prefix in itertools.product(range(1, VOCAB), repeat=n)]
"""Every prefix after which a token is drawn."""


def logits(seed: int = 3) -> Tensor:
    """Free logits [context, vocab], float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.empty(len(CONTEXTS), VOCAB, dtype=torch.float64).normal_(generator=generator)


def padded(rows: list[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
    """Tokens and mask, [row, LENGTH]."""
    tokens = torch.zeros(len(rows), LENGTH, dtype=torch.long)
    mask = torch.zeros(len(rows), LENGTH, dtype=torch.bool)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = True
    return tokens, mask


def logprobs(theta: Tensor, rows: list[tuple[int, ...]]) -> Tensor:
    """Log-probability of each token, [row, LENGTH], 0 on padding."""
    tokens, mask = padded(rows)
    return torch.where(mask, torch.log_softmax(theta, -1)[contexts(rows), tokens], 0.0)


def entropies(theta: Tensor, rows: list[tuple[int, ...]]) -> Tensor:
    """Entropy of the distribution that each token was drawn from, [row, LENGTH], 0 on padding."""
    table = torch.log_softmax(theta, -1)
    return torch.where(padded(rows)[1], -(table.exp() * table).sum(-1)[contexts(rows)], 0.0)


def contexts(rows: list[tuple[int, ...]]) -> Tensor:
    """Which of CONTEXTS each token was drawn in, [row, LENGTH], 0 on padding."""
    out = torch.zeros(len(rows), LENGTH, dtype=torch.long)
    for i, row in enumerate(rows):
        for t in range(len(row)):
            out[i, t] = CONTEXTS.index(row[:t])
    return out


def batch_of(
    rows: list[tuple[int, ...]], rewards: Tensor, group: Tensor, theta: Tensor, reference: Tensor | None = None
) -> RolloutBatch:
    """A rollout batch drawn from theta itself."""
    tokens, mask = padded(rows)
    return RolloutBatch(
        tokens=tokens,
        mask=mask,
        rewards=rewards,
        group=group,
        truncated=torch.tensor([row[-1] != EOS for row in rows]),
        sampled_logprobs=logprobs(theta, rows).detach(),
        entropies=entropies(theta, rows).detach(),
        max_new_tokens=LENGTH,
        reference_logprobs=None if reference is None else logprobs(reference, rows),
    )


def expected_gradient(
    objective: Objective, theta: Tensor, reward: Callable[[tuple[int, ...]], float], size: int, **fields: Tensor
) -> Tensor:
    """Minus the expected gradient of the loss over every group of ``size`` draws, exactly.

    A group's loss is taken as the training loop takes it; gradients are linear, so one backward serves all.
    """
    support = sequences()
    chance = logprobs(theta, support).sum(1).exp()
    value = torch.tensor([reward(s) for s in support], dtype=torch.float64)
    every = batch_of(support, value, torch.zeros(len(support), dtype=torch.long), theta, **fields)
    leaf = theta.clone().requires_grad_()
    policy = PolicyTokens(logprobs(leaf, support), entropies(leaf, support))
    expected = (0 * leaf).sum()
    # Groups that differ only in their order are one multiset (order is a test of its own).
    for index in itertools.combinations_with_replacement(range(len(support)), size):
        orders = math.factorial(size) // math.prod(math.factorial(n) for n in Counter(index).values())
        rows = torch.tensor(index)
        batch = judged(objective, every.rows(rows))
        terms = objective.loss(PolicyTokens(policy.logprobs[rows], policy.entropies[rows]), batch)
        loss = total(terms, {t.name: t.denominator for t in terms})
        expected = expected + orders * chance[rows].prod() * loss
    return -torch.autograd.grad(expected, leaf)[0]


def per_sequence_gradients(theta: Tensor) -> Tensor:
    """Gradient of the probability of every sequence, [sequence, context, vocab]."""
    support = sequences()
    theta = theta.clone().requires_grad_()
    chance = logprobs(theta, support).sum(1).exp()
    return torch.stack([torch.autograd.grad(p, theta, retain_graph=True)[0] for p in chance])
