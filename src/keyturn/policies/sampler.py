"""One sampler for every causal LM.

A prompt is read once and its cache branched into the rows of its draws; caches are allocated once; rows
that have ended are dropped (never below :data:`FLOOR` rows, since very small batches change the last bits
of the arithmetic); log-probability and entropy are recorded as tokens are chosen, so there is no second
pass; nothing waits for the device between tokens. A model without a key-value cache is read anew for
every token: slow, and right.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from keyturn.core.errors import InputError, NumericsError
from keyturn.policies.batching import pad_left
from keyturn.policies.cache import decoding_cache, select_rows
from keyturn.policies.hooks import Processor, SoFar
from keyturn.policies.prefix import share_prompts
from keyturn.policies.sampling import Choice, Sampling, choose

FLOOR = 64
"""Rows below which a batch is never compacted."""

_WORTH = 0.8
"""Compact once the live rows are this share of the batch: the copy costs about one decoding step."""

_LOOK_EVERY = {"cpu": 1}
"""Tokens between looks at which rows have ended; a look makes an accelerator wait."""

_LOOK_EVERY_ELSEWHERE = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """What to decode in one batch.

    Args:
        prompts: distinct prompts, token ids each.
        prompt: which of them a row answers, ``[row]``.
        uniforms: float64 ``[row, max_new_tokens]``, each row from its own stream.
        limits: tokens each row may have, ``[row]``.
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
class Drawn:
    """What was decoded, padded on the right: ``[row, max_new_tokens]``, valid up to ``lengths``."""

    tokens: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    entropies: NDArray[np.float32]
    lengths: NDArray[np.int64]
    ended: NDArray[np.bool_]
    """Whether the row gave an end-of-sequence token (else it was cut at its limit)."""


def decode(
    model: PreTrainedModel,
    rows: Rows,
    sampling: Sampling,
    *,
    ends: Sequence[int],
    processors: Sequence[Processor] = (),
    compact: bool = True,
) -> Drawn:
    """Decode one batch. The caller holds ``torch.no_grad`` and evaluation mode (``hooks.evaluating``).

    Args:
        model: any Hugging Face causal LM.
        rows: prompts, random numbers and limits.
        sampling: temperature and truncation.
        ends: end-of-sequence ids; none means that every row runs to its limit.
        processors: shape the logits in this order, before temperature.
        compact: drop rows that have ended.

    Raises:
        NumericsError: the model gave logits that are not numbers.
    """
    device = model.device
    runner = (_Cached if takes_cache(model) else _Uncached)(model, rows)
    uniforms = torch.from_numpy(rows.uniforms).to(device)
    record = _Record(len(rows.prompt), rows.uniforms.shape[1], device)
    stops = torch.tensor(sorted(set(ends)), dtype=torch.long, device=device)
    limits = torch.from_numpy(rows.limits).to(device)
    alive = torch.arange(len(rows.prompt), device=device)
    done = limits <= 0
    look_every = _LOOK_EVERY.get(device.type, _LOOK_EVERY_ELSEWHERE)
    shortest, steps = int(rows.limits.min()), int(rows.limits.max())
    columns = uniforms.T.contiguous()
    for step in range(steps):
        logits = runner.logits()
        logits = logits if logits.dtype == torch.float64 else logits.float()
        shaped = _shape(processors, runner, rows, alive, logits) if processors else None
        chosen = choose(logits, columns[step], sampling, shaped)
        record.add(chosen)
        done |= torch.isin(chosen.token, stops) if len(stops) != 1 else chosen.token == stops
        if step + 1 >= shortest:
            done |= limits <= step + 1
        if step + 1 == steps:
            break
        if (step + 1) % look_every == 0:
            live = len(done) - int(done.sum())
            if live == 0:
                break
            if compact and len(done) > FLOOR and max(live, FLOOR) <= _WORTH * len(done):
                kept = _kept(done, FLOOR)
                record.flush(alive)
                alive, done, limits, columns = alive[kept], done[kept], limits[kept], columns[:, kept]
                chosen = Choice(*(part[kept] for part in chosen))
                runner.keep(kept)
        runner.feed(chosen.token)
    record.flush(alive)
    return record.cut(rows.limits, sorted(set(ends)))


def takes_cache(model: PreTrainedModel) -> bool:
    """Whether the model's forward takes ``past_key_values``."""
    return "past_key_values" in inspect.signature(model.forward).parameters


def context_length(model: PreTrainedModel) -> int | None:
    """Tokens that prompt and completion may have together; None where the model does not say."""
    config = model.config.get_text_config(decoder=True)
    for name in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def check_causal(model: PreTrainedModel) -> None:
    """Refuse what cannot continue a text.

    Raises:
        InputError: an encoder-decoder.
    """
    if getattr(model.config, "is_encoder_decoder", False):
        raise InputError(f"{type(model).__name__} is an encoder-decoder", fix="give a causal language model")


def _kept(done: Tensor, floor: int) -> Tensor:
    """The live rows, and as many ended ones as it takes to keep ``floor`` rows, in order."""
    order = torch.argsort(done.to(torch.int8), stable=True)
    live = len(done) - int(done.sum())
    return order[: max(live, floor)].sort().values


def _shape(
    processors: Sequence[Processor], runner: _Cached | _Uncached, rows: Rows, alive: Tensor, logits: Tensor
) -> Tensor:
    index = alive.cpu().numpy()
    so_far = SoFar(
        tokens=runner.tokens(),
        start=runner.width,
        problem=torch.from_numpy(rows.problem[index]).to(logits.device),
        draw=torch.from_numpy(rows.draw[index]).to(logits.device),
    )
    for processor in processors:
        logits = processor(so_far, logits)
    return logits


class _Cached:
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
        self._logits = self._logits[branch]
        self._lengths = lengths[branch]
        self._tokens = torch.zeros((len(branch), room), dtype=torch.long, device=model.device)
        self._tokens[:, : self.width] = tokens[branch]
        self._seen = None
        if padded and not shared:
            self._seen = torch.ones((len(branch), room), dtype=torch.long, device=model.device)
            self._seen[:, : self.width] = seen[branch]

    def _forward(self, tokens: Tensor, seen: Tensor | None, positions: Tensor) -> None:
        extra = {"position_ids": positions} if self._positioned else {}
        out = self.model(
            input_ids=tokens,
            attention_mask=seen,
            past_key_values=self._cache,
            use_cache=True,
            **self._keep,
            **extra,
        )
        self._logits = out.logits[:, -1]

    def logits(self) -> Tensor:
        """Of the next token, ``[row, vocab]``."""
        return self._logits

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


class _Uncached:
    """Decoding without a cache: everything is read anew for every token, padded on the right."""

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

    def logits(self) -> Tensor:
        """Of the next token, ``[row, vocab]``."""
        filled = self.width + self._step
        # Rows that have ended may be longer than the context: what they give is not kept.
        place = torch.arange(min(filled, self._longest), device=self._tokens.device) + self._offsets[:, None]
        moved = self._tokens[:, :filled].gather(1, place.clamp_max(filled - 1))
        ends = (filled - 1 - self._offsets).clamp_max(self._longest - 1)
        return self.model(input_ids=moved).logits[torch.arange(len(ends), device=ends.device), ends]

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


class _Record:
    """What was chosen, gathered on the device and written to its rows when the batch changes."""

    def __init__(self, rows: int, steps: int, device: torch.device) -> None:
        self._tokens = torch.zeros((rows, steps), dtype=torch.long, device=device)
        self._logprobs = torch.full((rows, steps), torch.nan, device=device)
        self._entropies = torch.full((rows, steps), torch.nan, device=device)
        self._pending: list[Choice] = []
        self._written = 0

    def add(self, chosen: Choice) -> None:
        self._pending.append(chosen)

    def flush(self, alive: Tensor) -> None:
        """Write what is pending to the rows ``alive``."""
        if not self._pending:
            return
        span = slice(self._written, self._written + len(self._pending))
        for table, parts in zip(
            (self._tokens, self._logprobs, self._entropies), zip(*self._pending, strict=True), strict=True
        ):
            table[alive, span] = torch.stack(parts, dim=1).to(table.dtype)
        self._written += len(self._pending)
        self._pending = []

    def cut(self, limits: NDArray[np.int64], ends: Sequence[int]) -> Drawn:
        """Everything as numpy, cut at the first end of sequence or at the limit."""
        tokens = self._tokens.cpu().numpy()
        logprobs, entropies = self._logprobs.cpu().numpy(), self._entropies.cpu().numpy()
        stop = np.isin(tokens, ends)
        first = np.where(stop.any(1), stop.argmax(1) + 1, tokens.shape[1] + 1)
        lengths = np.minimum(first, limits)
        inside = np.arange(tokens.shape[1]) < lengths[:, None]
        if not (np.isfinite(logprobs) & np.isfinite(entropies))[inside].all():
            raise NumericsError(
                "the model gave logits that are not numbers", fix="check its weights, or load it in float32"
            )
        return Drawn(
            tokens=tokens.astype(np.int32),
            logprobs=logprobs,
            entropies=entropies,
            lengths=lengths,
            ended=first <= limits,
        )
