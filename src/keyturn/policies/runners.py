"""Two ways to read rows while they grow: with the model's cache, or the whole row again for every token.

The cache is used where it holds the model's whole state. Recurrent and hybrid architectures may keep state
outside it (in the module itself, in a cache of their own kind), or compute a step differently from a whole
reading. Rows that are branched, padded or dropped would then continue from another row's state. Each model's
cache is tested once on a few tokens, not judged by the model's name.
"""

from __future__ import annotations

import inspect
import logging
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from keyturn.policies.batching import pad_left
from keyturn.policies.cache import decoding_cache, select_rows, without_cache
from keyturn.policies.context import context_length
from keyturn.policies.head import Head, split_head
from keyturn.policies.hooks import evaluating
from keyturn.policies.prefix import share_prompts
from keyturn.policies.trial import attempt, some_tokens

_log = logging.getLogger("keyturn")

_WHOLE: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()

NARROW = (torch.float16, torch.bfloat16)

_TOLERANCE = 1e-4
"""Largest mean distance in nats between a cached and a plain reading that rounding in float32 explains."""

_TOLERANCE_NARROW = 0.06
"""The same limit for 16-bit numbers, where batches of other shapes differ by hundredths of a nat."""

WHOLE_LOGITS = 1 << 24
"""Most logits of a step that are held at once (64 MiB in float32); above, some rows go through the head."""

_TRIED_STEPS = 12
"""Tokens that the trial feeds: more than the width of short convolutions."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """The rows to decode in one batch.

    Args:
        prompts: distinct prompts, token ids each.
        prompt: index of the prompt that each row answers, ``[row]``.
        uniforms: float64 ``[row, max_new_tokens]``, each row from its own stream.
        limits: most tokens of each row, ``[row]``.
        problem: index of the problem, for processors, ``[row]``.
        draw: number of the draw, for processors, ``[row]``.
    """

    prompts: Sequence[NDArray[np.int32]]
    prompt: NDArray[np.int64]
    uniforms: NDArray[np.float64]
    limits: NDArray[np.int64]
    problem: NDArray[np.int64]
    draw: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """The decoded rows, padded on the right: ``[row, max_new_tokens]``, valid up to ``lengths``."""

    tokens: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    entropies: NDArray[np.float32]
    lengths: NDArray[np.int64]
    ended: NDArray[np.bool_]
    """Whether the row gave an end-of-sequence token or a stop text (else it was cut at its limit)."""


class Cached:
    """Decoding with a key-value cache: each prompt read once, each token read once."""

    def __init__(self, model: PreTrainedModel, rows: Rows) -> None:
        self.model = model
        tokens, lengths = pad_left(rows.prompts)
        tokens, lengths = tokens.to(model.device), lengths.to(model.device)
        self.width = tokens.shape[1]
        self._step = 0
        room = self.width + rows.uniforms.shape[1]
        self._last = (context_length(model) or room) - 1
        known = inspect.signature(model.forward).parameters
        self._positioned = "position_ids" in known
        self._keep = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        self._head = _large_head(model, len(rows.prompt)) if type(self) is Cached else None
        padded = bool((lengths != self.width).any())
        place = torch.arange(self.width, device=model.device)
        seen = (place >= self.width - lengths[:, None]).long()
        self._cache = decoding_cache(model.config, room)
        self._forward(tokens, seen if padded else None, (seen.cumsum(-1) - 1).clamp_min(0))
        branch = torch.from_numpy(rows.prompt).to(model.device)
        shared = getattr(model, "shares_prompts", False) and share_prompts(
            self._cache, branch, seen if padded else None, rows.uniforms.shape[1]
        )
        if not shared:
            select_rows(self._cache, branch)
        self._out = self._out[branch]
        self._lengths = lengths[branch]
        self._tokens = torch.zeros((len(branch), room), dtype=torch.long, device=model.device)
        self._tokens[:, : self.width] = tokens[branch]
        self._seen = None
        if padded and not shared:
            self._seen = torch.ones((len(branch), room), dtype=torch.long, device=model.device)
            self._seen[:, : self.width] = seen[branch]

    def _forward(self, tokens: Tensor, seen: Tensor | None, positions: Tensor) -> None:
        extra = {"position_ids": positions} if self._positioned else {}
        given = {"input_ids": tokens, "attention_mask": seen, "past_key_values": self._cache, "use_cache": True}
        if self._head is not None:
            self._out = self.model.base_model(**given, **extra).last_hidden_state[:, -1]
            return
        self._out = self.model(**given, **self._keep, **extra).logits[:, -1]

    def logits(self) -> Tensor:
        """Of the next token, ``[row, vocab]``."""
        return self._out if self._head is None else nn.functional.linear(self._out, *self._head)

    def pieces(self) -> Iterator[tuple[slice, Tensor]]:
        """Rows and their logits, some rows at a time where all of them would be too many to hold."""
        if self._head is None:
            yield slice(None), self._out
            return
        size = max(1, WHOLE_LOGITS // self._head.weight.shape[0])
        for start in range(0, len(self._out), size):
            span = slice(start, start + size)
            yield span, nn.functional.linear(self._out[span], *self._head)

    def tokens(self) -> Tensor:
        """Prompt and what was fed since, ``[row, past]``."""
        return self._tokens[:, : self.width + self._step]

    def feed(self, token: Tensor) -> None:
        """Read one token a row."""
        self._tokens[:, self.width + self._step] = token
        positions = (self._lengths + self._step).clamp_max(self._last)[:, None]
        self._step += 1
        seen = None if self._seen is None else self._seen[:, : self.width + self._step]
        self._forward(token[:, None], seen, positions)

    def keep(self, kept: Tensor) -> None:
        """Drop the other rows."""
        select_rows(self._cache, kept)
        self._tokens, self._lengths = self._tokens[kept], self._lengths[kept]
        self._seen = None if self._seen is None else self._seen[kept]


class Uncached:
    """Decoding without a cache: whole rows, padded on the right, are read again for every token."""

    def __init__(self, model: PreTrainedModel, rows: Rows) -> None:
        self.model = model
        tokens, lengths = pad_left(rows.prompts)
        branch = torch.from_numpy(rows.prompt)
        self.width = tokens.shape[1]
        self._step = 0
        room = self.width + rows.uniforms.shape[1]
        self._tokens = torch.zeros((len(branch), room), dtype=torch.long)
        self._tokens[:, : self.width] = tokens[branch]
        self._tokens = self._tokens.to(model.device)
        self._offsets = (self.width - lengths[branch]).to(model.device)
        self._longest = context_length(model) or room

    def pieces(self) -> Iterator[tuple[slice, Tensor]]:
        """All rows and their logits."""
        yield slice(None), self.logits()

    def logits(self) -> Tensor:
        """Of the next token, ``[row, vocab]``."""
        filled = self.width + self._step
        # Rows that have ended may be longer than the context: their results are discarded.
        place = torch.arange(min(filled, self._longest), device=self._tokens.device) + self._offsets[:, None]
        moved = self._tokens[:, :filled].gather(1, place.clamp_max(filled - 1))
        ends = (filled - 1 - self._offsets).clamp_max(self._longest - 1)
        out = self.model(input_ids=moved, **without_cache(self.model))
        return out.logits[torch.arange(len(ends), device=ends.device), ends]

    def tokens(self) -> Tensor:
        """Prompt and what was fed since, ``[row, past]``."""
        return self._tokens[:, : self.width + self._step]

    def feed(self, token: Tensor) -> None:
        """Append one token a row."""
        self._tokens[:, self.width + self._step] = token
        self._step += 1

    def keep(self, kept: Tensor) -> None:
        """Drop the other rows."""
        self._tokens, self._offsets = self._tokens[kept], self._offsets[kept]


def _large_head(model: PreTrainedModel, rows: int) -> Head | None:
    """The head, where the logits of so many rows are too many to hold and it can be applied by itself."""
    embedded: Any = model.get_input_embeddings()
    return split_head(model) if rows * embedded.weight.shape[0] > WHOLE_LOGITS else None


def takes_cache(model: PreTrainedModel) -> bool:
    """Whether the model's forward takes ``past_key_values``."""
    return "past_key_values" in inspect.signature(model.forward).parameters


def cache_is_whole(model: PreTrainedModel) -> bool:
    """Whether rows may be branched, padded and dropped in the model's cache; tested once per model."""
    if not takes_cache(model):
        return False
    if model not in _WHOLE:
        _WHOLE[model] = _tried(model)
        if not _WHOLE[model]:
            _log.warning(
                "%s keeps state outside its cache: every token is drawn from a whole forward, which is slow",
                type(model).__name__,
            )
    return _WHOLE[model]


def tolerance(dtype: torch.dtype) -> float:
    """Largest mean distance in nats per token at which two readings of the same tokens count as equal."""
    return _TOLERANCE_NARROW if dtype in NARROW else _TOLERANCE


def _tried(model: PreTrainedModel) -> bool:
    """Whether a trial equals a plain forward pass: two prompts of different length, three rows, one dropped."""
    context = context_length(model)
    long = min(7, context - 2) if context else 7
    if long < 2:
        return True  # no room for a second token: nothing is ever read from the cache
    steps = min(_TRIED_STEPS, context - long - 1) if context else _TRIED_STEPS
    some = some_tokens(model, long + steps)
    prompts = [some[0, : long // 2].astype(np.int32), some[1, :long].astype(np.int32)]
    which = np.array([0, 1, 1])
    rows = Rows(
        prompts=prompts,
        prompt=which,
        uniforms=np.zeros((3, steps + 1)),
        limits=np.full(3, steps + 1),
        problem=which,
        draw=np.array([0, 0, 1]),
    )
    fed = some[:, long : long + steps]
    with evaluating(model):
        stepped = attempt(lambda: _stepped(Cached(model, rows), fed))
        if stepped is None:
            return False
        worst = 0.0
        for row, seen in stepped.items():
            whole = np.concatenate([prompts[which[row]], fed[row]])
            tokens = torch.from_numpy(whole[None].astype(np.int64)).to(model.device)
            plain = model(input_ids=tokens, **without_cache(model)).logits[0].float().log_softmax(-1)
            plain = plain[len(prompts[which[row]]) - 1 :][: len(seen)]
            distance = (plain.exp() * (plain - seen.to(plain.device)).abs()).sum(-1)
            worst = max(worst, float(distance.mean()))
    return worst <= tolerance(model.dtype)


def _stepped(runner: Cached, fed: NDArray[np.int64]) -> dict[int, Tensor]:
    """Log-probabilities before every token of each row, ``[token, vocab]``; row 1 is dropped half way."""
    alive, kept = [0, 1, 2], [0, 2]
    found: dict[int, list[Tensor]] = {row: [] for row in alive}
    for step in range(fed.shape[1] + 1):
        logits = runner.logits().float().log_softmax(-1)
        for place, row in enumerate(alive):
            found[row].append(logits[place])
        if step == fed.shape[1]:
            break
        if step == fed.shape[1] // 2:
            runner.keep(torch.tensor(kept, device=logits.device))
            alive = kept
        runner.feed(torch.from_numpy(fed[alive, step].copy()).to(logits.device))
    return {row: torch.stack(several) for row, several in found.items()}
