"""Teacher-forced scores of given completions, with or without gradient, for any causal LM.

Rows are read in batches of similar length, padded on the right, where no token sees the padding. Where
rows share a prompt, it is read once and its cache branched into its rows, gradients included: ``P + G R``
tokens instead of ``G (P + R)`` for ``G`` completions of length ``R`` on a prompt of length ``P``. This is
exact: every token attends to the same keys as in the plain forward pass.
"""

from __future__ import annotations

import contextlib
import inspect
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from keyturn.policies.batching import Texts, buckets, pad_left
from keyturn.policies.cache import BufferLayer, branched, decoding_cache, without_cache
from keyturn.policies.context import context_length
from keyturn.policies.head import Head, TokenScores, from_hidden, from_logits, split_head
from keyturn.policies.hooks import evaluating
from keyturn.policies.native.engine import Engine
from keyturn.policies.native.fits import chosen as engine_for
from keyturn.policies.recompute import learning_cache, recomputing
from keyturn.policies.runners import takes_cache, tolerance
from keyturn.policies.trial import attempt, two_prompts

_BRANCHES: weakref.WeakKeyDictionary[nn.Module, bool | None] = weakref.WeakKeyDictionary()

_BATCH_TOKENS = 1 << 14
"""Most tokens read at once where no gradient is kept."""

_BATCH_LOGITS = 1 << 24
"""Most logits held at once where the model must compute them itself."""


def policy_tokens(
    model: PreTrainedModel,
    texts: Texts,
    *,
    temperature: float = 1.0,
    share: bool | None = None,
    recompute: bool = False,
) -> TokenScores:
    """Log-probabilities and entropies of completions, with gradient.

    The caller decides the size of one call (activations are kept for the backward pass) and whether the model
    is in training mode.

    Args:
        model: any Hugging Face causal LM.
        texts: prompts and completions; a completion may be empty.
        temperature: temperature of the log-probabilities (no truncation); entropies are at temperature 1.
        share: whether to read shared prompts once; None: where it pays and the model allows it, or with the
            native engine where that fits.
        recompute: keep only the inputs of the decoder layers and run them again in the backward pass; for
            models whose layers ``recomputable.can_recompute`` found fit for it.

    Returns:
        ``logprobs`` and ``entropies``, float32 ``[row, longest completion]``, zero after the end of a row.
    """
    native = _native(model, texts, share) if temperature > 0 else None
    if native is not None:
        return native.policy_tokens(model, texts, temperature)  # type: ignore[arg-type]
    shape = (len(texts.lengths), int(texts.lengths.max(initial=0)))
    head = split_head(model)
    with recomputing(model) if recompute else contextlib.nullcontext():
        parts = list(_read(model, head, texts, share=share, recompute=recompute))
    if not parts:
        empty = torch.zeros(shape, device=model.device)
        return TokenScores(empty, empty)
    row, column = (np.concatenate(index) for index in zip(*((p.row, p.column) for p in parts), strict=True))
    scores = _score(torch.cat([part.out for part in parts]), head, texts, row, column, temperature=temperature)
    place = torch.from_numpy(row * shape[1] + column).to(model.device)
    logprobs, entropies = (
        flat.new_zeros(shape[0] * shape[1]).index_copy(0, place, flat).view(shape) for flat in scores[:2]
    )
    return TokenScores(logprobs, entropies)


def score_rows(
    model: PreTrainedModel,
    texts: Texts,
    *,
    share: bool | None = None,
    advance: Callable[[int], None] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    """Log-probabilities, entropies and ranks at temperature 1, flat over all rows; no gradient.

    The caller holds evaluation mode (``hooks.evaluating``).

    Args:
        model: any Hugging Face causal LM.
        texts: as in :func:`policy_tokens`.
        share: as in :func:`policy_tokens`.
        advance: called with the number of rows that were just finished.
    """
    native = _native(model, texts, share)
    if native is not None:
        found = native.score(model, texts)  # type: ignore[arg-type]
        if advance is not None:
            advance(int((texts.lengths > 0).sum()))
        return found
    logprobs, entropies = (np.empty(len(texts.tokens), dtype=np.float32) for _ in range(2))
    ranks = np.empty(len(texts.tokens), dtype=np.int32)
    head = split_head(model)
    budget = _BATCH_TOKENS if head is not None else min(_BATCH_TOKENS, _BATCH_LOGITS // _vocabulary(model))
    with torch.no_grad():
        for part in _read(model, head, texts, share=share, budget=max(budget, 1)):
            scores = _score(part.out, head, texts, part.row, part.column, ranks=True)
            place = texts.offsets[part.row] + part.column
            logprobs[place] = scores.logprobs.cpu().numpy()
            entropies[place] = scores.entropies.cpu().numpy()
            ranks[place] = scores.ranks.cpu().numpy()  # type: ignore[union-attr]
            if advance is not None:
                advance(int((part.column + 1 == texts.lengths[part.row]).sum()))
    return logprobs, entropies, ranks


def _native(model: PreTrainedModel, texts: Texts, share: bool | None) -> Engine | None:
    """The native engine, where it fits and the caller did not choose a way of torch's."""
    return engine_for(model, texts=texts).engine if share is None else None


def _score(
    out: Tensor, head: Head | None, texts: Texts, row: NDArray[np.int64], column: NDArray[np.int64], **how: Any
) -> TokenScores:
    """Scores of the tokens ``column`` of ``row`` from the hidden states or logits that predict them."""
    targets = torch.from_numpy(texts.tokens[texts.offsets[row] + column].astype(np.int64)).to(out.device)
    return from_logits(out, targets, **how) if head is None else from_hidden(out, head, targets, **how)


class _Part(NamedTuple):
    """Hidden states or logits that predict the tokens ``column`` of the rows ``row``, ``[token, dim or
    vocab]``."""

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    out: Tensor


def _read(
    model: PreTrainedModel,
    head: Head | None,
    texts: Texts,
    *,
    share: bool | None = None,
    budget: int = 0,
    recompute: bool = False,
) -> Iterator[_Part]:
    """Read all rows, batch by batch; ``budget`` bounds the tokens of a batch (0: no bound)."""
    run = _Runner(model, head, recompute=recompute)
    shared = run.can_branch() and (texts.sharing_pays() if share is None else share)
    yield from (_read_shared if shared else _read_apart)(run, texts, budget)


def _read_apart(run: _Runner, texts: Texts, budget: int) -> Iterator[_Part]:
    """Each row whole, prompt and completion, padded on the right."""
    rows = np.flatnonzero(texts.lengths)
    starts = texts.prompt_lengths[texts.prompt]
    for chosen in buckets((starts + texts.lengths)[rows] - 1, budget=budget):
        batch = rows[chosen]
        out = run(texts.whole(batch))
        local, column = _places(texts.lengths[batch])
        yield _Part(batch[local], column, out[local, starts[batch[local]] - 1 + column])


def _read_shared(run: _Runner, texts: Texts, budget: int) -> Iterator[_Part]:
    """Each prompt once, then the completions on branches of its cache."""
    rows = np.flatnonzero(texts.lengths)
    used = np.unique(texts.prompt[rows])
    for chosen in buckets(texts.prompt_lengths[used], budget=budget):
        batch = used[chosen]
        tokens, lengths = pad_left([texts.prompts[index] for index in batch])
        prompts = _Prompts(run, tokens, lengths)
        slot = np.full(len(texts.prompts), -1)
        slot[batch] = np.arange(len(batch))
        mine = rows[slot[texts.prompt[rows]] >= 0]
        branch = slot[texts.prompt[mine]]
        yield _Part(mine, np.zeros(len(mine), dtype=np.int64), prompts.last[torch.from_numpy(branch)])
        longer = np.flatnonzero(texts.lengths[mine] > 1)
        remaining = texts.lengths[mine[longer]] - 1
        for part in buckets(remaining, budget=budget):
            now = longer[part]
            out = prompts.go_on(branch[now], texts.fed(mine[now]))
            local, column = _places(texts.lengths[mine[now]] - 1)
            yield _Part(mine[now][local], column + 1, out[local, column])


def _places(lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of every token of a padded table."""
    row = np.repeat(np.arange(len(lengths)), lengths)
    return row, np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)


class _Runner:
    """The part of a model that is run: its body where the head splits off, else the whole."""

    def __init__(self, model: PreTrainedModel, head: Head | None, *, recompute: bool = False) -> None:
        self.model = model
        self._recompute = recompute
        self._call: Any = model if head is None else model.base_model
        self._field = "logits" if head is None else "last_hidden_state"
        self._known = inspect.signature(model.forward).parameters

    def __call__(self, tokens: Tensor, **kwargs: Any) -> Tensor:
        """Hidden states or logits, ``[row, token, dim or vocab]``."""
        kwargs = kwargs or without_cache(self._call)
        return getattr(self._call(input_ids=tokens.to(self.model.device), **kwargs), self._field)

    def can_branch(self) -> bool:
        """Whether prompts can be read once: a cache of plain attention layers, and no checkpointing."""
        checkpointing = any(getattr(part, "gradient_checkpointing", False) for part in self.model.modules())
        if not takes_cache(self.model) or (checkpointing and self.model.training):
            return False
        layers = decoding_cache(self.model.config, 0).layers
        plain = bool(layers) and all(isinstance(layer, BufferLayer) for layer in layers)
        return plain and branches_are_whole(self.model)

    def cache(self) -> Cache:
        """An empty cache for prompts that branch."""
        return learning_cache(self.model.config) if self._recompute else decoding_cache(self.model.config, 0)

    def positioned(self, positions: Tensor) -> dict[str, Tensor]:
        """Positions as an argument, where the model accepts them."""
        context = context_length(self.model)
        positions = positions if context is None else positions.clamp_max(context - 1)
        return {"position_ids": positions} if "position_ids" in self._known else {}


class _Prompts:
    """Prompts that were read once, and the branches that continue from them."""

    def __init__(self, run: _Runner, tokens: Tensor, lengths: Tensor) -> None:
        device = run.model.device
        self._run, self._width = run, tokens.shape[1]
        self._lengths = lengths.to(device)
        seen = torch.arange(self._width, device=device) >= self._width - self._lengths[:, None]
        self._seen = None if bool((lengths == self._width).all()) else seen.long()
        self._cache = run.cache()
        positions = run.positioned((seen.long().cumsum(-1) - 1).clamp_min(0))
        out = run(tokens, attention_mask=self._seen, past_key_values=self._cache, use_cache=True, **positions)
        self.last = out[:, -1]
        """Hidden states or logits that predict the first token after each prompt, ``[prompt, dim or
        vocab]``."""

    def go_on(self, branch: NDArray[np.int64], tokens: Tensor) -> Tensor:
        """Read completions on the prompts ``branch``: ``[row, token, dim or vocab]``."""
        rows = torch.from_numpy(branch).to(self._lengths.device)
        cache = branched(self._cache, rows, self._width + tokens.shape[1])
        seen = None
        if self._seen is not None:
            seen = torch.nn.functional.pad(self._seen[rows], (0, tokens.shape[1]), value=1)
        positions = self._lengths[rows][:, None] + torch.arange(tokens.shape[1], device=rows.device)
        return self._run(
            tokens,
            attention_mask=seen,
            past_key_values=cache,
            use_cache=True,
            **self._run.positioned(positions),
        )


def branches_are_whole(model: PreTrainedModel) -> bool:
    """Whether completions may continue from branches of a prompt's cache; tested once per model."""
    if model not in _BRANCHES:
        _BRANCHES[model] = None  # the trial itself reads in both ways
        _BRANCHES[model] = _tried(model)
    return _BRANCHES[model] is not False


def _tried(model: PreTrainedModel) -> bool:
    """Whether shared and separate prompts agree in a trial (two prompts of different length, three
    completions)."""
    texts = two_prompts(model)
    with evaluating(model):
        shared = attempt(lambda: score_rows(model, texts, share=True))
        if shared is None:
            return False
        apart = score_rows(model, texts, share=False)
    distance = max(float(np.abs(one - two).mean()) for one, two in zip(shared[:2], apart[:2], strict=True))
    return distance <= tolerance(model.dtype)


def _vocabulary(model: PreTrainedModel) -> int:
    return int(model.config.get_text_config(decoder=True).vocab_size)
