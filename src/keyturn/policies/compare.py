"""Exact distance of two policies on the same given completions, token by token.

With logits ``l`` (base) and ``m`` (tuned) over the vocabulary, ``p = softmax(l)``, ``q = softmax(m)``::

    KL(q || p) = sum_v q_v (m_v - l_v) - logsumexp(m) + logsumexp(l)        per token, in nats
    KL(p || q) = sum_v p_v (l_v - m_v) - logsumexp(l) + logsumexp(m)

Each policy also gives its log-probability of the given token, its entropy, and the given token's rank.
All sums run over pieces of the vocabulary with an online maximum, so that no [token, vocab] tensor exists
beyond a piece. They are in float64, because the results are differences of two large sums.
Denominator: none; one number per token. Degenerate: equal logits give exactly 0 both ways; a negative result
of rounding is set to 0. Known bias: none beyond the models' own arithmetic.
Source: definition of the Kullback-Leibler divergence; online maximum after Milakov and Gimelshein 2018
(arXiv:1805.02867).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from keyturn.core.errors import InputError
from keyturn.policies.cache import without_cache
from keyturn.policies.head import Head, split_head
from keyturn.policies.hooks import evaluating, hooked
from keyturn.policies.local import LocalPolicy
from keyturn.policies.vocabularies import check_vocabularies, check_words
from keyturn.rollouts.completions import Completions, Prompts, gather_ragged

_BATCH_TOKENS = 1 << 13
"""Tokens of prompts and completions that are read at once."""

_PIECE_ELEMENTS = 1 << 21
"""Logits of one piece of the vocabulary (16 MiB in float64, a few such at once)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Base and tuned on the same tokens, aligned with ``Completions.tokens``.

    Args:
        base_logprobs, tuned_logprobs: log-probability of the given token at temperature 1, float32 ``[token]``.
        base_entropies, tuned_entropies: nats, float32 ``[token]``.
        base_ranks, tuned_ranks: number of tokens that are more likely, int32 ``[token]``.
        kl: KL(tuned || base), nats, float32 ``[token]``.
        kl_reverse: KL(base || tuned), nats, float32 ``[token]``.
        flip: whether the two most likely tokens differ, bool ``[token]``.
    """

    base_logprobs: NDArray[np.float32]
    tuned_logprobs: NDArray[np.float32]
    base_entropies: NDArray[np.float32]
    tuned_entropies: NDArray[np.float32]
    base_ranks: NDArray[np.int32]
    tuned_ranks: NDArray[np.int32]
    kl: NDArray[np.float32]
    kl_reverse: NDArray[np.float32]
    flip: NDArray[np.bool_]


def compare(
    base: LocalPolicy,
    tuned: LocalPolicy,
    completions: Completions,
    *,
    prompts: tuple[Prompts, Prompts] | None = None,
    batch_tokens: int = _BATCH_TOKENS,
    advance: Callable[[int], None] | None = None,
) -> Comparison:
    """Score the same completions with two policies, each under its own hooks and after its own prompts.

    Args:
        base, tuned: policies that share one vocabulary.
        completions: from any policy; prompts and completions are read as token ids.
        prompts: the base's and the tuned policy's prompts, for the completions' problems in their order; None
            takes the completions' own for both.
        batch_tokens: tokens read at once.
        advance: called with the number of rows that were just read.

    Raises:
        InputError: the vocabularies differ, or a row does not fit into a policy's context.
    """
    check_vocabularies(base, tuned, completions)
    if prompts is None:
        check_words(base, tuned, completions.prompts.tokens)
    mine, theirs = (replace(completions, prompts=own) for own in prompts or (completions.prompts,) * 2)
    base.check_fits(mine)
    tuned.check_fits(theirs)
    out: dict[str, NDArray[Any]] = {
        name: np.zeros(len(completions.tokens), dtype=kind)
        for name, kind in zip(PairScores._fields, _KINDS, strict=True)
    }
    for rows in _batches((mine, theirs), batch_tokens):
        place, _ = gather_ragged(completions.offsets, rows)
        left = _look(base, *_padded(mine, rows))
        right = _look(tuned, *_padded(theirs, rows))
        targets = torch.from_numpy(completions.tokens[place].astype(np.int64))
        scores = pair_scores(left, right, targets)
        for name, column in zip(PairScores._fields, scores, strict=True):
            out[name][place] = column.cpu().numpy()
        if advance is not None:
            advance(len(rows))
    return Comparison(**out)


class PairScores(NamedTuple):
    """Columns of :class:`Comparison` for some tokens, ``[token]`` each."""

    base_logprobs: Tensor
    tuned_logprobs: Tensor
    base_entropies: Tensor
    tuned_entropies: Tensor
    base_ranks: Tensor
    tuned_ranks: Tensor
    kl: Tensor
    kl_reverse: Tensor
    flip: Tensor


_KINDS = (*[np.float32] * 4, *[np.int32] * 2, *[np.float32] * 2, np.bool_)


class LogitSource(NamedTuple):
    """The source of a model's logits for some tokens: hidden states and head, or the logits themselves."""

    states: Tensor
    """``[token, dim]`` with a head, else ``[token, vocab]``."""
    head: Head | None

    @property
    def vocabulary(self) -> int:
        """Number of logits."""
        return self.states.shape[1] if self.head is None else self.head.weight.shape[0]

    def piece(self, span: slice) -> Tensor:
        """Logits of a piece of the vocabulary, float64."""
        if self.head is None:
            return self.states[:, span].double()
        weight, bias = self.head
        return F.linear(self.states, weight[span], None if bias is None else bias[span]).double()


class _Sums:
    """Running sums of one policy: ``mass = sum e^(l - top)``, ``own = sum e^(l - top) l``, ``other`` with m."""

    def __init__(self, tokens: int, device: torch.device) -> None:
        self.top = torch.full((tokens,), -torch.inf, dtype=torch.float64, device=device)
        self.mass, self.own, self.other, self.target = (torch.zeros_like(self.top) for _ in range(4))
        self.best = torch.zeros(tokens, dtype=torch.int64, device=device)

    def add(self, logits: Tensor, others: Tensor, start: int, targets: Tensor) -> None:
        """One piece of the vocabulary, beginning at id ``start``."""
        peak, where = logits.max(-1)
        self.best = torch.where(peak > self.top, where + start, self.best)
        top = torch.maximum(self.top, peak)
        shrink = (self.top - top).exp()
        shares = (logits - top[:, None]).exp()
        self.mass = self.mass * shrink + shares.sum(-1)
        self.own = self.own * shrink + _weighted(shares, logits)
        self.other = self.other * shrink + _weighted(shares, others)
        self.top = top
        inside = (targets >= start) & (targets < start + logits.shape[1])
        column = (targets - start).clamp(0, logits.shape[1] - 1)
        self.target = torch.where(inside, logits.gather(1, column[:, None])[:, 0], self.target)

    @property
    def log_mass(self) -> Tensor:
        """``logsumexp`` over the vocabulary."""
        return self.top + self.mass.log()


def _weighted(shares: Tensor, values: Tensor) -> Tensor:
    """``sum_v share_v value_v``, where a share of 0 times minus infinity counts as 0."""
    return torch.where(shares > 0, shares * values, 0.0).sum(-1)


@torch.no_grad()
def pair_scores(
    base: LogitSource, tuned: LogitSource, targets: Tensor, *, piece_elements: int = _PIECE_ELEMENTS
) -> PairScores:
    """All columns for some tokens.

    Args:
        base, tuned: the sources of the logits.
        targets: the given tokens, int64 ``[token]``.
        piece_elements: number of logits in one piece.
    """
    tokens, vocabulary = len(targets), base.vocabulary
    targets = targets.to(base.states.device)
    left, right = (_Sums(tokens, base.states.device) for _ in range(2))
    width = max(1, min(vocabulary, piece_elements // max(tokens, 1)))
    spans = [slice(start, min(start + width, vocabulary)) for start in range(0, vocabulary, width)]
    for span in spans:
        ours, theirs = base.piece(span), tuned.piece(span).to(base.states.device)
        left.add(ours, theirs, span.start, targets)
        right.add(theirs, ours, span.start, targets)
    ranks = [torch.zeros_like(targets) for _ in range(2)]
    for span in spans:
        # The target's logit comes from a piece of its own shape, or rounding could rank it behind itself.
        for look, sums, rank in zip((base, tuned), (left, right), ranks, strict=True):
            rank += (look.piece(span).to(targets.device) > sums.target[:, None]).sum(-1)
    gap = right.log_mass - left.log_mass
    return PairScores(
        left.target - left.log_mass,
        right.target - right.log_mass,
        left.log_mass - left.own / left.mass,
        right.log_mass - right.own / right.mass,
        ranks[0],
        ranks[1],
        ((right.own - right.other) / right.mass - gap).clamp_min(0),
        ((left.own - left.other) / left.mass + gap).clamp_min(0),
        left.best != right.best,
    )


def _look(policy: LocalPolicy, tokens: Tensor, predicts: Tensor) -> LogitSource:
    model = policy.model
    with evaluating(model), hooked(model, policy.hooks):
        head = split_head(model)
        call: Any = model if head is None else model.base_model
        # Padding stands on the right, where causality hides it.
        out = call(input_ids=tokens.to(model.device), **without_cache(call))
        states = out.logits if head is None else out.last_hidden_state
        return LogitSource(states[predicts.to(model.device)], head)


def _batches(read: Sequence[Completions], batch_tokens: int) -> Iterator[NDArray[np.int64]]:
    """Batches of rows of similar length, each row with a token, at most ``batch_tokens`` padded tokens each."""
    lengths = np.max([np.diff(c.prompts.offsets)[c.problem] + c.lengths for c in read], axis=0)
    rows = np.flatnonzero(read[0].lengths > 0)
    rows = rows[np.argsort(lengths[rows], kind="stable")]
    start = 0
    for stop in range(1, len(rows) + 1):
        if stop == len(rows) or int(lengths[rows[stop]]) * (stop - start + 1) > batch_tokens:
            yield rows[start:stop]
            start = stop


def _padded(completions: Completions, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Tokens ``[row, token]``, and a mask of the positions that predict a completion's token."""
    prompts = [completions.prompts.row(int(completions.problem[row])) for row in rows]
    lengths = completions.lengths[rows]
    width = max(len(prompt) + int(length) for prompt, length in zip(prompts, lengths, strict=True))
    tokens = np.zeros((len(rows), width), dtype=np.int64)
    predicts = np.zeros((len(rows), width), dtype=bool)
    for index, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
        if not len(prompt):
            raise InputError("a completion without a prompt has no first distribution", fix="give a prompt")
        whole = np.concatenate([prompt, completions.row(int(row))])
        tokens[index, : len(whole)] = whole
        predicts[index, len(prompt) - 1 : len(whole) - 1] = True
    return torch.from_numpy(tokens), torch.from_numpy(predicts)
