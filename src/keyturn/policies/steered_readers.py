"""Readers of rows under interventions: with the cache, without one, and whole rows for scoring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from keyturn.policies.cache import BufferLayer, decoding_cache, without_cache
from keyturn.policies.runners import Cached, Rows, Uncached
from keyturn.policies.sites import Places
from keyturn.rollouts.completions import Completions

if TYPE_CHECKING:
    from keyturn.policies.steered import Control

SCORED_TOKENS = 8192
"""Most padded tokens of one forward pass of scoring."""


def forgets(model: PreTrainedModel) -> bool:
    """Whether a model's cache can forget its last token: plain attention layers, no short convolution."""
    layers = decoding_cache(model.config, 0).layers
    return all(isinstance(layer, BufferLayer) for layer in layers) and not getattr(model.config, "canon", False)


def own_prompts(rows: Rows) -> Rows:
    """The same rows, each with its own copy of its prompt."""
    return replace(
        rows,
        prompts=[rows.prompts[index] for index in rows.prompt.tolist()],
        prompt=np.arange(len(rows.prompt), dtype=np.int64),
    )


class SteeredCached(Cached):
    """Reading with a cache."""

    def __init__(self, control: Control, rows: Rows) -> None:
        self._control = control
        device = control.model.device
        shared = len(rows.prompts) < len(rows.prompt)
        first = [int(np.flatnonzero(rows.prompt == index)[0]) for index in range(len(rows.prompts))]
        problem, draw = torch.from_numpy(rows.problem).to(device), torch.from_numpy(rows.draw).to(device)
        lengths = torch.tensor([len(one) for one in rows.prompts], device=device)
        # While prompts are read, rows are prompts.
        self._problem, self._draw, self._prompt = problem[first], draw[first], lengths
        if shared:
            self._draw = torch.full_like(self._draw, -1)
        super().__init__(control.model, rows)
        self._problem, self._draw = problem, draw
        self._prompt = lengths[torch.from_numpy(rows.prompt).to(device)]

    def _forward(self, tokens: Tensor, seen: Tensor | None, positions: Tensor) -> None:
        real = torch.ones_like(tokens, dtype=torch.bool)
        if seen is not None:
            real = seen[:, -tokens.shape[1] :].bool()
        places = Places(
            position=positions,
            prompt=self._prompt[:, None],
            token=tokens,
            real=real,
            problem=self._problem[:, None],
            draw=self._draw[:, None],
        )
        drawing = torch.zeros_like(real)
        drawing[:, -1] = True
        control = self._control
        try:
            if not control.twice(places, drawing):
                control.set(places)
                super()._forward(tokens, seen, positions)
                return
            control.set(places, drawing=drawing)
            kept, whole = self._cache, tokens.shape[1] > 1
            if whole:
                self._cache = decoding_cache(self.model.config, tokens.shape[1])
            super()._forward(tokens, seen, positions)
            out = self._out
            if whole:
                self._cache = kept
            else:
                for layer in self._cache.layers:
                    assert isinstance(layer, BufferLayer), "asked of forgets()"
                    layer.forget_last()
            control.set(places)
            super()._forward(tokens, seen, positions)
            self._out = out
        finally:
            control.clear()

    def keep(self, kept: Tensor) -> None:
        """Drop the other rows."""
        super().keep(kept)
        self._problem, self._draw, self._prompt = self._problem[kept], self._draw[kept], self._prompt[kept]


class SteeredUncached(Uncached):
    """Reads whole rows again for every token."""

    def __init__(self, control: Control, rows: Rows) -> None:
        super().__init__(control.model, rows)
        self._control = control
        device = control.model.device
        self._problem = torch.from_numpy(rows.problem).to(device)
        self._draw = torch.from_numpy(rows.draw).to(device)
        self._prompt = torch.tensor([len(rows.prompts[index]) for index in rows.prompt.tolist()], device=device)

    def logits(self) -> Tensor:
        """Of the next token, ``[row, vocab]``."""
        filled = self.width + self._step
        size = min(filled, self._longest)
        index = torch.arange(size, device=self._tokens.device)
        moved = self._tokens[:, :filled].gather(1, (index + self._offsets[:, None]).clamp_max(filled - 1))
        ends = (filled - 1 - self._offsets).clamp_max(self._longest - 1)
        places = Places(
            position=index[None].expand(moved.shape),
            prompt=self._prompt[:, None],
            token=moved,
            real=index <= ends[:, None],
            problem=self._problem[:, None],
            draw=self._draw[:, None],
        )
        try:
            self._control.set(places, drawing=index == ends[:, None])
            out = self.model(input_ids=moved, **without_cache(self.model))
        finally:
            self._control.clear()
        return out.logits[torch.arange(len(ends), device=ends.device), ends]

    def keep(self, kept: Tensor) -> None:
        """Drop the other rows."""
        super().keep(kept)
        self._problem, self._draw, self._prompt = self._problem[kept], self._draw[kept], self._prompt[kept]


class TryingCached(Cached):
    """Holds the last token of every row back, so that it can be read several times before it is kept."""

    def __init__(self, model: PreTrainedModel, rows: Rows) -> None:
        ends = [int(rows.prompts[index][-1]) for index in rows.prompt.tolist()]
        self._held = torch.tensor(ends, device=model.device)
        room = np.zeros((len(rows.prompt), rows.uniforms.shape[1] + 1))
        super().__init__(model, replace(rows, prompts=[one[:-1] for one in rows.prompts], uniforms=room))

    def feed(self, token: Tensor) -> None:
        """Keep the token that was held back, and hold this one."""
        super().feed(self._held)
        self._held = token

    def tried(self) -> Tensor:
        """Logits after the held token, ``[row, vocab]``; the cache forgets it."""
        super().feed(self._held)
        self._step -= 1
        for layer in self._cache.layers:
            assert isinstance(layer, BufferLayer), "asked of forgets()"
            layer.forget_last()
        return self.logits()

    def last(self, hidden: Tensor) -> Tensor:
        """Index of the held token among the hidden states of a reading, ``[row]``."""
        return torch.full((len(hidden),), hidden.shape[1] - 1, device=hidden.device)

    def keep(self, kept: Tensor) -> None:
        """Drop the other rows."""
        super().keep(kept)
        self._held = self._held[kept]


class TryingUncached(Uncached):
    """The same without a cache: whole rows are read for every trial."""

    def tried(self) -> Tensor:
        """Logits after the last token, ``[row, vocab]``."""
        return self.logits()

    def last(self, hidden: Tensor) -> Tensor:
        """Index of the last token of every row, which is padded on the right, ``[row]``."""
        ends = self.width + self._step - 1 - self._offsets
        return ends.clamp_max(hidden.shape[1] - 1).to(hidden.device)


def scored(
    model: PreTrainedModel,
    control: Control,
    completions: Completions,
    *,
    advance: Callable[[int], None] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    """Log-probabilities, entropies and ranks of completions, whole rows padded on the right."""
    logprobs = np.full(len(completions.tokens), np.nan, dtype=np.float32)
    entropies, ranks = logprobs.copy(), np.zeros(len(completions.tokens), dtype=np.int32)
    for rows, tokens, places in batches(completions, model.device):
        try:
            control.set(places)
            found = model(input_ids=tokens, **without_cache(model)).logits
        finally:
            control.clear()
        for index, row in enumerate(rows):
            start, size = int(places.prompt[index, 0]), int(completions.lengths[row])
            laws = found[index, start - 1 : start - 1 + size]
            laws = (laws if laws.dtype == torch.float64 else laws.float()).log_softmax(-1)
            own = laws.gather(1, tokens[index, start : start + size, None])
            span = slice(int(completions.offsets[row]), int(completions.offsets[row + 1]))
            logprobs[span] = own[:, 0].cpu().numpy()
            entropies[span] = torch.special.entr(laws.exp()).sum(-1).cpu().numpy()
            ranks[span] = (laws > own).sum(-1).cpu().numpy()
        if advance is not None:
            advance(len(rows))
    return logprobs, entropies, ranks


def divergences(model: PreTrainedModel, control: Control, completions: Completions) -> NDArray[np.float64]:
    """``KL(steered || plain)`` in nats at every token of completions, whole rows padded on the right."""
    found = np.zeros(len(completions.tokens))
    for rows, tokens, places in batches(completions, model.device):
        control.clear()
        plain = model(input_ids=tokens, **without_cache(model)).logits
        try:
            control.set(places)
            steered = model(input_ids=tokens, **without_cache(model)).logits
        finally:
            control.clear()
        for index, row in enumerate(rows):
            start, size = int(places.prompt[index, 0]), int(completions.lengths[row])
            span = slice(start - 1, start - 1 + size)
            laws, own = (one[index, span].double().log_softmax(-1) for one in (steered, plain))
            at = slice(int(completions.offsets[row]), int(completions.offsets[row + 1]))
            found[at] = (laws.exp() * (laws - own)).nan_to_num(nan=0.0).sum(-1).cpu().numpy()
    return found


def batches(completions: Completions, device: torch.device):  # type: ignore[no-untyped-def]
    """Batches of rows with prompt and completion, padded on the right: row numbers, tokens and places."""
    prompts = np.diff(completions.prompts.offsets)[completions.problem]
    lengths = prompts + completions.lengths
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * lengths[order[stop]] <= SCORED_TOKENS:
            stop += 1
        rows = order[start:stop].tolist()
        start = stop
        width = int(lengths[rows].max())
        table = np.zeros((len(rows), width), dtype=np.int64)
        for index, row in enumerate(rows):
            whole = np.concatenate(
                [completions.prompts.row(int(completions.problem[row])), completions.row(row)]
            )
            table[index, : len(whole)] = whole
        tokens = torch.from_numpy(table).to(device)
        position = torch.arange(width, device=device)[None].expand(tokens.shape)
        yield (
            rows,
            tokens,
            Places(
                position=position,
                prompt=torch.from_numpy(prompts[rows].astype(np.int64)).to(device)[:, None],
                token=tokens,
                real=position < torch.from_numpy(lengths[rows].astype(np.int64)).to(device)[:, None],
                problem=torch.from_numpy(completions.problem[rows].astype(np.int64)).to(device)[:, None],
                draw=torch.from_numpy(completions.draw[rows].astype(np.int64)).to(device)[:, None],
            ),
        )
