"""Training of vectors in a frozen model: what is added to its hidden states so that it writes as another one
does.

Formula, for the hidden state ``h`` at the place before a token::

    grid      h + b              b: mean -log softmax(0.7 logits) of every token of whole texts
              h + b + v_c        v_c: the same of the tokens of sentences of kind c, with b as it is
    network   h + a_c(h) v_c     a_c(h) = softplus(w_c . gelu(W h + r) + r_c), trained with all v_c at once at
                                 places where the likeliest token of the model is not the written one, by the
                                 divergence from the writer's K likeliest tokens there

Vectors begin at random with length 1, in units of the root mean square of a coordinate of the model's states
there: the published numbers are absolute, and in a model with large states they move nothing. Texts of the last
tenth of the problems are held out: the weights that are best there are kept. Gradients are taken of vectors and
network alone, so the model's weights have none.

Known bias: in training all places of a sentence are changed in one reading, at use one place at a time.
Source: Venhoff et al. 2025 (2510.07364) and the code of its two versions; numbers are theirs but for the size
of the held-out part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from keyturn.core.lazy import torch
from keyturn.core.progress import progress
from keyturn.policies.hooks import evaluating, hooked
from keyturn.policies.local import LocalPolicy
from keyturn.policies.sites import Site, residual
from keyturn.rollouts.completions import Completions

COLDNESS = 0.7
"""Logits are multiplied by this in the first version."""
LIKELIEST = 50
"""Tokens of the writer that count in the second version."""
CHECKED = 32
"""Most held-out items of a check."""
PATIENCE = 2
"""Checks without an improvement after which training stops; the first version checks every 5 of 50 steps."""
CHECK_EVERY = 5
LEAST_GAIN = 1e-3
NETWORK_RATE, NETWORK_DECAY, CLIP = 1e-3, 0.01, 1.0
MOST_PLACES = 64
"""Places of a text, in the second version."""

Shift = Callable[[Any, Any], Any]
"""``(hidden [place, dim], kind [place]) -> what is added``."""
Loss = Callable[[Any, Any], Any]
"""``(logits [place, vocab], number of the token among all texts [place]) -> nats [place]``."""


class Item(NamedTuple):
    """Tokens of one text that are learnt together."""

    row: int
    places: NDArray[np.int64]
    """Counted from the first token of the text."""
    kinds: NDArray[np.int64]


def losses(
    policy: LocalPolicy, site: Site, texts: Completions, items: Sequence[Item], shift: Shift, loss: Loss
) -> Any:
    """Mean loss of each item under a shift, ``[item]``; gradients flow to what the shift is made of."""
    device = policy.model.device
    prompts = [texts.prompts.row(int(texts.problem[one.row])) for one in items]
    whole = [
        np.concatenate([prompt, texts.row(one.row)[: int(one.places.max())]])
        for prompt, one in zip(prompts, items, strict=True)
    ]
    table = np.zeros((len(items), max(len(one) for one in whole)), dtype=np.int64)
    for index, one in enumerate(whole):
        table[index, : len(one)] = one
    owner = np.concatenate([np.full(len(one.places), index) for index, one in enumerate(items)])
    # The token at place t is drawn from the state before it.
    pairs = zip(prompts, items, strict=True)
    before = np.concatenate([len(prompt) - 1 + one.places for prompt, one in pairs])
    number = np.concatenate([int(texts.offsets[one.row]) + one.places for one in items])
    rows, at, which, kinds = (
        torch.from_numpy(one.astype(np.int64)).to(device)
        for one in (owner, before, number, np.concatenate([one.kinds for one in items]))
    )

    def change(hidden: Any) -> Any:
        wide = residual(hidden)
        here = wide[rows, at]
        return wide.index_put((rows, at), here + shift(here, kinds).to(wide.dtype)).to(hidden.dtype)

    from keyturn.policies.cache import without_cache

    model = policy.model
    hook = site.hook(model, "vector training", change)
    with evaluating(model), hooked(model, (*policy.hooks, hook)), torch.enable_grad():
        logits = model(input_ids=torch.from_numpy(table).to(device), **without_cache(model)).logits
        found = loss(residual(logits[rows, at]), which)
    sums = torch.zeros(len(items), dtype=found.dtype, device=device).index_add(0, rows, found)
    return sums / torch.bincount(rows, minlength=len(items))


def written_loss(texts: Completions, device: Any) -> Loss:
    """``-log softmax(0.7 logits)`` of the written token."""
    tokens = torch.from_numpy(texts.tokens.astype(np.int64)).to(device)

    def loss(logits: Any, number: Any) -> Any:
        laws = (COLDNESS * logits).log_softmax(-1)
        return -laws.gather(1, tokens[number, None])[:, 0]

    return loss


class Laws(NamedTuple):
    """The likeliest tokens of a writer at every token of texts, and their shares, ``[token, K]`` each."""

    tokens: Any
    shares: Any


def divergence_loss(laws: Laws) -> Loss:
    """``sum t (log t - log p)`` over the writer's likeliest tokens, ``t`` brought to sum 1 over them."""

    def loss(logits: Any, number: Any) -> Any:
        at = number.cpu()
        shares = laws.shares[at].to(logits)
        own = logits.log_softmax(-1).gather(1, laws.tokens[at].to(logits.device))
        return (torch.special.xlogy(shares, shares) - shares * own).sum(-1)

    return loss


def read(policy: LocalPolicy, texts: Completions, keep: Callable[[Any], Any], width: int) -> Any:
    """Something of the law at every token of texts, ``[token, width]``.

    Args:
        policy: reads them.
        texts: what is read.
        keep: ``logits [place, vocab] -> [place, width]``.
        width: of what is kept.
    """
    from keyturn.policies.cache import without_cache
    from keyturn.policies.steered_readers import batches

    out = torch.zeros((len(texts.tokens), width), dtype=torch.float64)
    with evaluating(policy.model), hooked(policy.model, policy.hooks):
        for rows, tokens, places in batches(texts, policy.model.device):
            logits = policy.model(input_ids=tokens, **without_cache(policy.model)).logits
            for index, row in enumerate(rows):
                start, size = int(places.prompt[index, 0]) - 1, int(texts.lengths[row])
                span = slice(int(texts.offsets[row]), int(texts.offsets[row + 1]))
                out[span] = keep(residual(logits[index, start : start + size])).double().cpu()
    return out


def laws_of(writer: LocalPolicy, texts: Completions, vocabulary: int) -> Laws:
    """The writer's likeliest tokens at every token of its texts, within a vocabulary."""
    many = min(LIKELIEST, vocabulary)

    def keep(logits: Any) -> Any:
        values, tokens = logits[:, :vocabulary].topk(many, dim=-1)
        return torch.cat([tokens.double(), values.double().softmax(-1)], dim=-1)

    found = read(writer, texts, keep, 2 * many)
    return Laws(found[:, :many].long(), found[:, many:])


def likeliest(policy: LocalPolicy, texts: Completions) -> NDArray[np.int64]:
    """The model's own likeliest token in place of every token of texts, ``[token]``."""
    found = read(policy, texts, lambda logits: logits.argmax(-1, keepdim=True), 1)
    return found[:, 0].long().numpy()


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast.

    Args:
        steps: optimiser steps at most.
        rate: step size of Adam for vectors.
        batch: items of a step.
        check: steps between checks.
        patience: checks without an improvement after which it ends.
        cosine: whether the step size falls to 0.
        clip: largest norm of a gradient; 0: any.
    """

    steps: int
    rate: float
    batch: int
    check: int = CHECK_EVERY
    patience: int = PATIENCE
    cosine: bool = True
    clip: float = 0.0


def fit(
    weights: Sequence[Any],
    measure: Callable[[Sequence[Item]], Any],
    learnt: Sequence[Item],
    checked: Sequence[Item],
    how: Schedule,
    generator: np.random.Generator,
) -> float:
    """Train vectors, the first one of ``weights`` at the schedule's rate, the others as a network.

    Args:
        weights: leaves that are trained in place.
        measure: mean loss of items under them.
        learnt: items.
        checked: held-out items; of too few items it is those that are learnt.
        how: schedule.
        generator: order of items.

    Returns:
        The loss on held-out items that the kept weights have.
    """
    shown = list(checked or learnt)[:CHECKED]
    groups = [{"params": [weights[0]], "lr": how.rate, "weight_decay": 0.0}]
    if len(weights) > 1:
        groups.append({"params": list(weights[1:]), "lr": NETWORK_RATE, "weight_decay": NETWORK_DECAY})
    optimiser = torch.optim.AdamW(groups)
    rates = [group["lr"] for group in groups]
    best, kept, waited = math.inf, [one.detach().clone() for one in weights], 0
    for step, batch in enumerate(_batches(learnt, how, generator)):
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            share = (1 + math.cos(math.pi * step / how.steps)) / 2 if how.cosine else 1.0
            group["lr"] = rate * share
        found = torch.autograd.grad(measure(batch).mean(), list(weights))
        for one, gradient in zip(weights, found, strict=True):
            one.grad = gradient
        if how.clip:
            torch.nn.utils.clip_grad_norm_(weights, how.clip)
        optimiser.step()
        if (step + 1) % how.check and step + 1 < how.steps:
            continue
        with torch.no_grad():
            now = float(measure(shown).mean())
        better = now < best - LEAST_GAIN
        waited = 0 if better else waited + 1
        if now < best:
            best, kept = now, [one.detach().clone() for one in weights]
        if waited >= how.patience:
            break
    with torch.no_grad():
        for one, own in zip(weights, kept, strict=True):
            one.copy_(own)
    return best


def _batches(items: Sequence[Item], how: Schedule, generator: np.random.Generator) -> Iterator[list[Item]]:
    done, order = 0, list[int]()
    with progress("vector training", how.steps) as advance:
        while done < how.steps:
            if not order:
                order = generator.permutation(len(items)).tolist()
            yield [items[index] for index in order[: how.batch]]
            order, done = order[how.batch :], done + 1
            advance(1)
