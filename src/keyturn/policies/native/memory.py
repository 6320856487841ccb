"""What drawing leaves for the gradient of the very same draws under the very same weights.

An RL step draws, and then differentiates the log-probabilities of what it drew; while the weights have not
moved, the first half of that (reading the draws) has been done. Within :func:`remembered` every draw keeps its
traces, and a gradient of these draws begins from them. Weights are compared by their bytes and texts by their
tokens, so nothing that is found can be stale; whatever is not found is read as ever.
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
"""Traces of one step at their longest; draws beyond it are read again. Only what is drawn is ever touched."""


class DrawnTape:
    """The traces of one decoded batch.

    Args:
        engine: whose layout and pools.
        weights: packed, as they were drawn with.
        prompts: distinct prompts.
        prompt: of each row.
        width: tokens that a row has room for.
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
        """Note what was drawn, ``[row, token]`` and tokens of each row."""
        for row, (owner, length) in enumerate(zip(self._prompt.tolist(), lengths.tolist(), strict=True)):
            self._rows[owner, tokens[row, :length].tobytes()] = row

    def prompt_address(self, tokens: NDArray[np.int32]) -> int | None:
        """Where the trace of a prompt lies, if it was read here."""
        place = self._prompts.get(tokens.tobytes())
        if place is None:
            return None
        return self.prompts.array.ctypes.data + 4 * self._size * int(self.prompt_at[place])

    def row_address(self, prompt: NDArray[np.int32], completion: NDArray[np.int32]) -> int | None:
        """Where the traces of a row lie, if it was drawn here."""
        row = self._rows.get((self._prompts.get(prompt.tobytes(), -1), completion.tobytes()))
        return None if row is None else self.rows.array.ctypes.data + 4 * self._size * self._width * row


class Recalled:
    """Where the traces of some texts lie.

    Args:
        row: address of each row's, 0 where it has no token.
        prompt: address of each prompt's.
        kept: the tapes that they lie in.
    """

    def __init__(self, row: NDArray[np.uint64], prompt: NDArray[np.uint64], kept: list[DrawnTape]) -> None:
        self.row, self.prompt, self.prompts, self._kept = row, prompt, prompt, kept


class Memory:
    """Tapes of what one model drew.

    Args:
        model: whose draws are kept.
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
        """A tape for a batch that a model is about to decode; None for other models and beyond the limit."""
        size = 4 * engine.sizes.token_floats * (len(prompt) * width + sum(map(len, prompts)))
        if model is not self._model or self._bytes + size > MOST_BYTES:
            return None
        self._bytes += size
        self._tapes.append(DrawnTape(engine, weights, prompts, prompt, width))
        return self._tapes[-1]

    def find(self, model: Any, weights: NDArray[np.uint8], texts: Texts) -> Recalled | None:
        """Where all of these texts lie; None where one was not drawn by this model as it is now."""
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
    """Keep the traces of what a model draws in this block for gradients that are taken in it."""
    before, engine.memory = engine.memory, Memory(model)
    try:
        yield
    finally:
        engine.memory = before
