"""Log-probability, entropy and rank of given tokens from hidden states, without a [token, vocab] tensor.

With logits ``l = h W^T + b`` and a temperature ``T``::

    logprob = l_y / T - logsumexp(l / T)
    entropy = logsumexp(l) - sum_v p_v l_v          (of the model's own distribution, T = 1)

The sums run over pieces of the vocabulary with an online maximum. The backward pass computes each piece again:
``d logprob / d l = (1_y - p^T) / T`` and ``d entropy / d l = -p (l - sum_v p_v l_v)``, so both are
differentiable. Small vocabularies use the plain formulas on whole logits, which are equal and faster.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel

from keyturn.policies.cache import without_cache
from keyturn.policies.hooks import evaluating

DENSE_ELEMENTS = 1 << 24
"""Most logits that are held at once as a whole tensor (64 MiB in float32)."""

_PIECE_ELEMENTS = 1 << 23


class Head(NamedTuple):
    """The last linear map of a model."""

    weight: Float[Tensor, "vocab dim"]
    bias: Float[Tensor, " vocab"] | None


class TokenScores(NamedTuple):
    """A model's scores of given tokens."""

    logprobs: Tensor
    entropies: Tensor
    ranks: Tensor | None = None


_SEPARABLE: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()


def split_head(model: PreTrainedModel) -> Head | None:
    """The head, where the model's logits are exactly ``body @ weight.T + bias``.

    The result is None for scaled or soft-capped logits and for adapters or hooks on the head; the caller must
    then use the model's own logits. The equality is tested once per model on a few tokens, not guessed.
    """
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear or model.base_model is model:
        return None
    if head._forward_hooks or head._forward_pre_hooks or model._forward_hooks or model._forward_pre_hooks:
        return None
    if model not in _SEPARABLE:
        _SEPARABLE[model] = _matches(model, head)
    return Head(head.weight, head.bias) if _SEPARABLE[model] else None


def _matches(model: PreTrainedModel, head: nn.Linear) -> bool:
    ids = torch.arange(min(4, head.weight.shape[0]), device=model.device)[None]
    with evaluating(model):
        hidden: Any = model.base_model(input_ids=ids, **without_cache(model.base_model))
        if getattr(hidden, "last_hidden_state", None) is None:
            return False
        ours = head(hidden.last_hidden_state).float()
        theirs = model(input_ids=ids, **without_cache(model)).logits.float()
    narrow = head.weight.dtype in (torch.float16, torch.bfloat16)
    return ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=2e-2 if narrow else 1e-4, atol=1e-4)


def from_hidden(
    hidden: Float[Tensor, "token dim"],
    head: Head,
    targets: Int[Tensor, " token"],
    *,
    temperature: float = 1.0,
    ranks: bool = False,
    dense_elements: int = DENSE_ELEMENTS,
) -> TokenScores:
    """Scores of ``targets`` from the hidden states that predict them; differentiable except ranks.

    Args:
        hidden: last hidden states, normalised.
        head: the linear map to logits.
        targets: the tokens to score.
        temperature: temperature of the log-probabilities; entropies are at 1.
        ranks: also count the tokens that are more likely.
        dense_elements: most logits that are held at once as a whole tensor.
    """
    vocabulary = head.weight.shape[0]
    if len(targets) * vocabulary <= dense_elements:
        return from_logits(F.linear(hidden, *head), targets, temperature=temperature, ranks=ranks)
    piece = max(1, min(vocabulary, _PIECE_ELEMENTS // max(len(targets), 1)))
    logprobs, entropies = _LinearScores.apply(hidden, head.weight, head.bias, targets, temperature, piece)  # type: ignore[misc]
    return TokenScores(logprobs, entropies, _ranks(hidden, head, targets, piece) if ranks else None)


def from_logits(
    logits: Float[Tensor, "token vocab"],
    targets: Int[Tensor, " token"],
    *,
    temperature: float = 1.0,
    ranks: bool = False,
) -> TokenScores:
    """The plain formulas on whole logits."""
    logits = logits.float() if logits.dtype != torch.float64 else logits
    own = logits.log_softmax(-1)
    # A logit of minus infinity has probability 0 and must add 0, not 0 * -inf.
    entropies = -(own.exp() * own.clamp_min(torch.finfo(own.dtype).min)).sum(-1)
    drawn = own if temperature == 1.0 else (logits / temperature).log_softmax(-1)
    picked = drawn.gather(1, targets[:, None])[:, 0]
    if not ranks:
        return TokenScores(picked, entropies)
    return TokenScores(picked, entropies, (logits > logits.gather(1, targets[:, None])).sum(-1))


def _piece(hidden: Tensor, weight: Tensor, bias: Tensor | None, span: slice) -> Tensor:
    logits = F.linear(hidden, weight[span], None if bias is None else bias[span])
    return logits if logits.dtype == torch.float64 else logits.float()


def _spans(vocabulary: int, piece: int) -> list[slice]:
    return [slice(start, min(start + piece, vocabulary)) for start in range(0, vocabulary, piece)]


class _LinearScores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
        piece: int,
    ) -> tuple[Tensor, Tensor]:
        kind = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        top = torch.full(targets.shape, -torch.inf, dtype=kind, device=hidden.device)
        mass, moment, tempered, target = (torch.zeros_like(top) for _ in range(4))
        for span in _spans(weight.shape[0], piece):
            logits = _piece(hidden, weight, bias, span)
            higher = torch.maximum(top, logits.amax(-1))
            shrink = (top - higher).exp()
            shares = (logits - higher[:, None]).exp()
            mass = mass * shrink + shares.sum(-1)
            moment = moment * shrink + (shares * logits).sum(-1)
            if temperature != 1.0:
                shares = ((logits - higher[:, None]) / temperature).exp()
                tempered = tempered * ((top - higher) / temperature).exp() + shares.sum(-1)
            inside = (targets >= span.start) & (targets < span.stop)
            own = logits.gather(1, (targets - span.start).clamp(0, logits.shape[1] - 1)[:, None])[:, 0]
            target = torch.where(inside, own, target)
            top = higher
        log_mass, mean = top + mass.log(), moment / mass
        log_tempered = log_mass if temperature == 1.0 else top / temperature + tempered.log()
        ctx.save_for_backward(hidden, weight, bias, targets, log_mass, mean, log_tempered)
        ctx.temperature, ctx.piece = temperature, piece
        return target / temperature - log_tempered, log_mass - mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, log_mass, mean, log_tempered = ctx.saved_tensors
        by_logprob, by_entropy = (grad[:, None] for grad in grads)
        scale = 1.0 / ctx.temperature
        to_hidden = torch.zeros_like(hidden)
        to_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        to_bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        for span in _spans(weight.shape[0], ctx.piece):
            logits = _piece(hidden, weight, bias, span)
            own = (logits - log_mass[:, None]).exp()
            drawn = own if ctx.temperature == 1.0 else (logits * scale - log_tempered[:, None]).exp()
            pull = drawn * (-scale * by_logprob) - own * (logits - mean[:, None]) * by_entropy
            inside = (targets >= span.start) & (targets < span.stop)
            column = (targets - span.start).clamp(0, logits.shape[1] - 1)[:, None]
            pull.scatter_add_(1, column, torch.where(inside[:, None], scale * by_logprob, 0.0))
            pull = pull.to(hidden.dtype)
            to_hidden += pull @ weight[span]
            if to_weight is not None:
                to_weight[span] = pull.T @ hidden
            if to_bias is not None:
                to_bias[span] = pull.sum(0)
        return to_hidden, to_weight, to_bias, None, None, None


def _ranks(hidden: Tensor, head: Head, targets: Tensor, piece: int) -> Tensor:
    """Number of tokens that are more likely than the target; the target itself never counts."""
    with torch.no_grad():
        own = (hidden * head.weight[targets]).sum(-1)
        own = own if head.bias is None else own + head.bias[targets]
        above = torch.zeros_like(targets)
        for span in _spans(head.weight.shape[0], piece):
            logits = _piece(hidden, *head, span)
            inside = (targets >= span.start) & (targets < span.stop)
            column = (targets - span.start).clamp(0, logits.shape[1] - 1)[:, None]
            higher = logits > own[:, None]
            above += higher.sum(-1) - (higher.gather(1, column)[:, 0] & inside).long()
        return above
