"""One sampler for every causal LM.

A prompt is read once and its cache branched into the rows of its draws. Caches are allocated once. Rows that
have ended are dropped (never below :data:`FLOOR` rows, since very small batches change the last bits of the
arithmetic). Log-probability and entropy are recorded as tokens are chosen, so there is no second pass. Nothing
waits for the device between tokens. Where a model has no key-value cache, or has state outside it, whole rows
are read again for every token: slow, but correct. The tiny model uses the native engine where it can
(``native``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from keyturn.core.errors import NumericsError
from keyturn.policies.hooks import Processor, SoFar
from keyturn.policies.native.fits import chosen as engine_for
from keyturn.policies.runners import Cached, Decoded, Rows, Uncached, cache_is_whole
from keyturn.policies.sampling import Choice, Sampling, choose
from keyturn.policies.stop_texts import StopTexts

FLOOR = 64
"""Rows below which a batch is never compacted."""

_WORTH = 0.8
"""Compact once the live rows are this share of the batch: the copy costs about one decoding step."""

_LOOK_EVERY = {"cpu": 1}
"""Tokens between checks for rows that have ended; a check makes an accelerator wait."""

_LOOK_EVERY_ELSEWHERE = 16


def decode(
    model: PreTrainedModel,
    rows: Rows,
    sampling: Sampling,
    *,
    ends: Sequence[int],
    processors: Sequence[Processor] = (),
    stops: StopTexts | None = None,
    compact: bool = True,
    reader: Callable[[PreTrainedModel, Rows], Cached | Uncached] | None = None,
) -> Decoded:
    """Decode one batch. The caller holds ``torch.no_grad`` and evaluation mode (``hooks.evaluating``).

    Args:
        model: any Hugging Face causal LM.
        rows: prompts, random numbers and limits.
        sampling: temperature and truncation.
        ends: end-of-sequence ids; none means that every row runs to its limit.
        processors: shape the logits in this order, before temperature.
        stops: texts that end a row. The native engine continues after them, and the caller cuts the rows there.
        compact: drop rows that have ended.
        reader: how the rows are read; by default with the model's cache where it holds the whole state.

    Raises:
        NumericsError: the model gave logits that are not numbers.
    """
    native = engine_for(model, sampling=sampling, processors=processors, texts=rows).engine
    if native is not None and reader is None:
        return native.decode(model, rows, sampling, ends)  # type: ignore[arg-type]
    device = model.device
    runner = (reader or (Cached if cache_is_whole(model) else Uncached))(model, rows)
    uniforms = torch.from_numpy(rows.uniforms).to(device)
    record = _Record(len(rows.prompt), rows.uniforms.shape[1], device)
    closing = torch.tensor(sorted(set(ends)), dtype=torch.long, device=device)
    halted = np.full(len(rows.prompt), rows.uniforms.shape[1] + 1, dtype=np.int64)
    limits = torch.from_numpy(rows.limits).to(device)
    alive = torch.arange(len(rows.prompt), device=device)
    done = limits <= 0
    look_every = _LOOK_EVERY.get(device.type, _LOOK_EVERY_ELSEWHERE)
    shortest, steps = int(rows.limits.min()), int(rows.limits.max())
    columns = uniforms.T.contiguous()
    for step in range(steps):
        chosen = _choose(processors, runner, rows, alive, columns[step], sampling)
        record.add(chosen)
        done |= torch.isin(chosen.token, closing) if len(closing) != 1 else chosen.token == closing
        if stops is not None:
            _halt(stops, runner, chosen.token, done, alive, halted)
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
    return record.cut(rows.limits, sorted(set(ends)), halted)


def _kept(done: Tensor, floor: int) -> Tensor:
    """The live rows, and as many ended ones as it takes to keep ``floor`` rows, in order."""
    order = torch.argsort(done.to(torch.int8), stable=True)
    live = len(done) - int(done.sum())
    return order[: max(live, floor)].sort().values


def _halt(
    stops: StopTexts,
    runner: Cached | Uncached,
    token: Tensor,
    done: Tensor,
    alive: Tensor,
    halted: NDArray[np.int64],
) -> None:
    """Mark rows as done whose token completes a stop text, and record their length."""
    going = np.flatnonzero(~done.cpu().numpy())
    drawn = torch.cat([runner.tokens()[:, runner.width :], token[:, None]], dim=1).cpu().numpy()
    found = stops.completed(going.tolist(), drawn)
    if found:
        done[found] = True
        halted[alive[found].cpu().numpy()] = drawn.shape[1]


def _choose(
    processors: Sequence[Processor],
    runner: Cached | Uncached,
    rows: Rows,
    alive: Tensor,
    numbers: Tensor,
    sampling: Sampling,
) -> Choice:
    """The next token of every row; without processors no more logits are held than the runner gives at once."""
    if not processors:
        parts = [choose(logits, numbers[span], sampling) for span, logits in runner.pieces()]
        return parts[0] if len(parts) == 1 else Choice(*(torch.cat(part) for part in zip(*parts, strict=True)))
    logits = runner.logits()
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return choose(logits, numbers, sampling, _shape(processors, runner, rows, alive, logits))


def _shape(
    processors: Sequence[Processor], runner: Cached | Uncached, rows: Rows, alive: Tensor, logits: Tensor
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


class _Record:
    """The chosen tokens and their record, gathered on the device and written to their rows when the batch
    changes."""

    def __init__(self, rows: int, steps: int, device: torch.device) -> None:
        self._tokens = torch.zeros((rows, steps), dtype=torch.long, device=device)
        self._logprobs = torch.full((rows, steps), torch.nan, device=device)
        self._entropies = torch.full((rows, steps), torch.nan, device=device)
        self._pending: list[Choice] = []
        self._written = 0

    def add(self, chosen: Choice) -> None:
        self._pending.append(chosen)

    def flush(self, alive: Tensor) -> None:
        """Write the pending tokens to the rows ``alive``."""
        if not self._pending:
            return
        span = slice(self._written, self._written + len(self._pending))
        for table, parts in zip(
            (self._tokens, self._logprobs, self._entropies), zip(*self._pending, strict=True), strict=True
        ):
            table[alive, span] = torch.stack(parts, dim=1).to(table.dtype)
        self._written += len(self._pending)
        self._pending = []

    def cut(self, limits: NDArray[np.int64], ends: Sequence[int], halted: NDArray[np.int64]) -> Decoded:
        """Everything as numpy, cut at the first end of sequence, at the length ``halted`` or at the limit."""
        tokens = self._tokens.cpu().numpy()
        logprobs, entropies = self._logprobs.cpu().numpy(), self._entropies.cpu().numpy()
        stop = np.isin(tokens, ends)
        first = np.where(stop.any(1), stop.argmax(1) + 1, tokens.shape[1] + 1)
        first = np.minimum(first, halted)
        lengths = np.minimum(first, limits)
        inside = np.arange(tokens.shape[1]) < lengths[:, None]
        if not (np.isfinite(logprobs) & np.isfinite(entropies))[inside].all():
            raise NumericsError(
                "the model gave logits that are not numbers", fix="check its weights, or load it in float32"
            )
        return Decoded(
            tokens=tokens.astype(np.int32),
            logprobs=logprobs,
            entropies=entropies,
            lengths=lengths,
            ended=first <= limits,
        )
