"""What Python passes to the library: its structs, pointers to the model's parameters, and aligned memory."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from keyturn.policies.batching import Texts
from keyturn.policies.native.build import Library

_P = ctypes.c_void_p
_I = ctypes.c_int64
_F = ctypes.c_float


class TextsStruct(ctypes.Structure):
    """``Texts`` of read.h."""

    _fields_ = [
        ("pieces", _I),
        *((name, _P) for name in ("prompt_of", "first", "order", "prompts", "prompt_at", "tokens", "row_at")),
        *((name, _P) for name in ("cosine", "sine")),
        *((name, _F) for name in ("eps", "temperature")),
        *((name, _P) for name in ("logprobs", "entropies", "ranks", "tape", "tape_at", "prefixes")),
        *((name, _P) for name in ("drawn_row", "drawn_prompt")),
        *((name, _P) for name in ("by_logprob", "by_entropy", "wanted", "gradients")),
        ("buckets", _I),
        ("next", ctypes.c_longlong),
    ]


class DrawsStruct(ctypes.Structure):
    """``Draws`` of decode.h."""

    _fields_ = [
        *((name, _I) for name in ("rows", "width")),
        *((name, _P) for name in ("prompt", "prompt_tokens", "prefixes", "uniforms", "limits", "is_end")),
        *((name, _P) for name in ("cosine", "sine")),
        *((name, _F) for name in ("eps", "temperature")),
        *((name, _P) for name in ("tokens", "logprobs", "entropies", "lengths", "ended", "tape")),
        ("next", ctypes.c_longlong),
    ]


_SIZES = (
    *("weights_bytes", "turned_bytes", "gradients_bytes", "prefix_bytes", "texts_bytes", "draws_bytes"),
    *("tape_floats", "tape_tile", "vector_width", "heads_width", "values_width", "token_floats"),
)


class Sizes:
    """The sizes that a library reports.

    Args:
        library: the loaded library.
    """

    def __init__(self, library: Library) -> None:
        for name in _SIZES:
            getattr(library.code, name).restype = ctypes.c_int64
        self.weights_bytes, self.turned_bytes, self.gradients_bytes, self.prefix_bytes, *sizes = (
            int(getattr(library.code, name)()) for name in _SIZES
        )
        structs = sizes[:2]
        self.tape_floats, self.tape_tile, self.vector, *sizes = sizes[2:]
        self.heads_width, self.values_width, self.token_floats = sizes
        if structs != [ctypes.sizeof(TextsStruct), ctypes.sizeof(DrawsStruct)]:
            raise RuntimeError("the structs of layout.py differ from those of the library")


def aligned(count: int, kind: Any = np.float32) -> NDArray[Any]:
    """Uninitialised memory that starts at a cache line."""
    size = count * np.dtype(kind).itemsize
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(kind)


def rope_theta(config: Any) -> float:
    """The base of the rotary embedding's frequencies; a Llama's config keeps it in a dictionary."""
    kept = getattr(config, "rope_parameters", None)
    return float(kept["rope_theta"] if kept else config.rope_theta)


def parameters_of(model: Any) -> list[Tensor | None]:
    """The model's parameters in the order of ``Parameters`` in weights.h; None where there is none.

    The tiny model has the names of a Llama, and its short convolution besides.
    """
    found: list[Tensor | None] = [model.model.embed_tokens.weight, model.model.norm.weight]
    for block in model.model.layers:
        attention, inner = block.self_attn, block.mlp
        found += [block.input_layernorm.weight, block.post_attention_layernorm.weight]
        canon = getattr(block, "canon", None)
        found.append(None if canon is None else canon.weight)
        found += [getattr(attention, f"{name}_proj").weight for name in "qkvo"]
        found += [getattr(inner, f"{name}_proj").weight for name in ("gate", "up", "down")]
        found.append(inner.down_proj.bias)
    return found


def pointers(tensors: Sequence[Tensor | None]) -> Any:
    """A C array with the addresses of tensors; the caller must keep the tensors alive."""
    return (_P * len(tensors))(*(None if one is None else one.data_ptr() for one in tensors))


class Pieces:
    """Rows divided into pieces of one prompt and some of its rows each; see read.h.

    Args:
        texts: prompts and rows.
        most: the largest number of tokens of a piece, its prompt included; a longer row is a piece of its own.
        tile: a piece's number of tokens is rounded up to a multiple of this.
    """

    def __init__(self, texts: Texts, most: int, tile: int) -> None:
        lengths = texts.lengths
        rows = np.flatnonzero(lengths)
        rows = rows[np.argsort(texts.prompt[rows], kind="stable")]
        prompts = texts.prompt_lengths
        own = np.maximum(lengths[rows] - 1, 0)
        first, prompt_of, tokens = [], [], []
        held, now = 0, -1
        for place, (owner, count) in enumerate(zip(texts.prompt[rows].tolist(), own.tolist(), strict=True)):
            if owner != now or held + count > most:
                now, held = owner, int(prompts[owner])
                first.append(place)
                prompt_of.append(owner)
                tokens.append(held)
            held += count
            tokens[-1] = held
        self.count = len(first)
        self.order = rows.astype(np.int64)
        self.first = np.array([*first, len(rows)], dtype=np.int64)
        self.prompt_of = np.array(prompt_of, dtype=np.int64)
        whole = (np.array(tokens, dtype=np.int64) + tile - 1) // tile * tile
        self.tape_at = np.concatenate([[0], np.cumsum(whole)]).astype(np.int64)


class Held:
    """Memory that returns to its pool when nothing refers to it any more."""

    def __init__(self, pool: Pool, array: NDArray[np.float32]) -> None:
        self._pool, self.array = pool, array

    def __del__(self) -> None:
        self._pool.give(self.array)


class Pool:
    """One block of memory that is reused, since fresh pages cost as much as filling them."""

    def __init__(self) -> None:
        self._free: NDArray[np.float32] | None = None
        self._lock = threading.Lock()

    def take(self, count: int) -> Held:
        """A block of at least ``count`` floats; its content is undefined."""
        with self._lock:
            found, self._free = self._free, None
        return Held(self, aligned(count) if found is None or len(found) < count else found)

    def give(self, array: NDArray[np.float32]) -> None:
        """Keep a block for the next call; of two blocks the larger one is kept."""
        with self._lock:
            if self._free is None or len(self._free) < len(array):
                self._free = array


def run(function: Any, threads: int, work: Any, *arguments: Any) -> None:
    """Call a function of the library from several threads, which share the work until none is left.

    Raises:
        MemoryError: the library could not allocate memory.
    """
    work.next = 0
    if threads <= 1:
        failed = [function(*arguments)]
    else:
        failed = _together(lambda: function(*arguments), threads)
    if any(failed):
        raise MemoryError("no memory for the native engine")


def _together(call: Callable[[], int], threads: int) -> list[int]:
    found: list[int] = []
    others = [threading.Thread(target=lambda: found.append(call())) for _ in range(threads - 1)]
    for thread in others:
        thread.start()
    found.append(call())
    for thread in others:
        thread.join()
    return found


def addresses(struct: ctypes.Structure, **arrays: NDArray[Any] | None) -> None:
    """Set fields of a struct to the addresses of contiguous arrays; the caller must keep the arrays alive."""
    for name, array in arrays.items():
        setattr(struct, name, None if array is None else array.ctypes.data)


def flat(tensor: Tensor) -> NDArray[np.float32]:
    """A gradient as contiguous float32."""
    return tensor.detach().to(torch.float32).contiguous().numpy()
