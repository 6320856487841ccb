"""Activations kept while drawing, so that the gradient of the same draws need not compute them again.

An RL step draws completions and then differentiates their log-probabilities. As long as the weights have not
changed, the forward pass of that gradient was already done while drawing. Inside :func:`remembered`, every draw
keeps its activations, and the gradient starts from them. Weights are compared byte by byte and texts token by
token, so a match is never stale; texts without a match go through the forward pass as usual.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from keyturn.policies.batching import Texts
from keyturn.policies.native.layout import Held

if TYPE_CHECKING:
    from keyturn.policies.native.engine import Engine

MOST_BYTES = 2 << 30
"""Largest amount of memory for one step's activations. Draws beyond it go through the forward pass again. Pages
that no draw needs are reserved and never touched."""


class DrawnTape:
    """The activations of one decoded batch.

    Args:
        engine: the engine that decodes; it gives the layout and the memory.
        weights: the packed weights that the batch was drawn with.
        prompts: the distinct prompts, int32 ``[token]`` each.
        prompt: index of each row's prompt, int64 ``[row]``.
        width: the largest number of tokens that a row can have.
    """

    def __init__(
        self,
        engine: Engine,
        weights: NDArray[np.uint8],
        prompts: list[NDArray[np.int32]],
        prompt: NDArray[np.int64],
        width: int,
    ) -> None:
        self.weights, self._size = weights, engine.sizes.token_floats
        self._prompts = {tokens.tobytes(): place for place, tokens in enumerate(prompts)}
        self._prompt, self._width = prompt, width
        tile = engine.sizes.tape_tile
        whole = np.array([-(-len(tokens) // tile) * tile for tokens in prompts], dtype=np.int64)
        self.prompt_at = np.concatenate([[0], np.cumsum(whole)]).astype(np.int64)
        self.rows: Held = engine.draws.take(len(prompt) * width * self._size)
        self.prompts: Held = engine.prompts.take(int(self.prompt_at[-1]) * self._size)
        self._rows: dict[tuple[int, bytes], int] = {}

    def fill(self, tokens: NDArray[np.int32], lengths: NDArray[np.int64]) -> None:
        """Record what was drawn: ``tokens [row, token]``, of which a row has ``lengths [row]``."""
        for row, (owner, length) in enumerate(zip(self._prompt.tolist(), lengths.tolist(), strict=True)):
            self._rows[owner, tokens[row, :length].tobytes()] = row

    def prompt_address(self, tokens: NDArray[np.int32]) -> int | None:
        """Address of a prompt's activations; None if this batch did not contain the prompt."""
        place = self._prompts.get(tokens.tobytes())
        if place is None:
            return None
        return self.prompts.array.ctypes.data + 4 * self._size * int(self.prompt_at[place])

    def row_address(self, prompt: NDArray[np.int32], completion: NDArray[np.int32]) -> int | None:
        """Address of a row's activations; None if this batch did not draw the row."""
        row = self._rows.get((self._prompts.get(prompt.tobytes(), -1), completion.tobytes()))
        return None if row is None else self.rows.array.ctypes.data + 4 * self._size * self._width * row


class Recalled:
    """Addresses of the activations of some texts.

    Args:
        row: address for each row; 0 for a row without a token.
        prompt: address for each prompt.
        kept: the tapes that hold them, so that they are not freed.
    """

    def __init__(self, row: NDArray[np.uint64], prompt: NDArray[np.uint64], kept: list[DrawnTape]) -> None:
        self.row, self.prompt, self.prompts, self._kept = row, prompt, prompt, kept


class Memory:
    """The tapes of what one model drew.

    Args:
        model: the model whose draws are kept.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._tapes: list[DrawnTape] = []
        self._bytes = 0

    def new(
        self,
        engine: Engine,
        model: Any,
        weights: NDArray[np.uint8],
        prompts: list[NDArray[np.int32]],
        prompt: NDArray[np.int64],
        width: int,
    ) -> DrawnTape | None:
        """A tape for a batch that a model is about to decode; None for another model, and when memory is used
        up."""
        size = 4 * engine.sizes.token_floats * (len(prompt) * width + sum(map(len, prompts)))
        if model is not self._model or self._bytes + size > MOST_BYTES:
            return None
        self._bytes += size
        self._tapes.append(DrawnTape(engine, weights, prompts, prompt, width))
        return self._tapes[-1]

    def find(self, model: Any, weights: NDArray[np.uint8], texts: Texts) -> Recalled | None:
        """Addresses for all of these texts; None if the model, with its present weights, did not draw one of
        them."""
        if model is not self._model:
            return None
        same = [tape for tape in self._tapes if np.array_equal(tape.weights, weights)]
        prompt, row = np.zeros(len(texts.prompts), np.uint64), np.zeros(len(texts.lengths), np.uint64)
        for place, tokens in enumerate(texts.prompts):
            found = [at for tape in same if (at := tape.prompt_address(tokens)) is not None]
            if not found:
                return None
            prompt[place] = found[0]
        for place in np.flatnonzero(texts.lengths).tolist():
            asked = texts.prompts[texts.prompt[place]], texts.completion(place)
            found = [at for tape in same if (at := tape.row_address(*asked)) is not None]
            if not found:
                return None
            row[place] = found[0]
        return Recalled(row, prompt, same)


@contextlib.contextmanager
def remembered(engine: Engine, model: Any) -> Iterator[None]:
    """Keep the activations of what a model draws in this block, for the gradients that are computed in it."""
    before, engine.memory = engine.memory, Memory(model)
    try:
        yield
    finally:
        engine.memory = before
