"""How large a model is and how fast it could be at best, from its files alone: no model is opened."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import try_to_load_from_cache
from safetensors import safe_open

from keyturn.core.errors import KeyturnError
from keyturn.core.rundir import read_json
from keyturn.core.weight_files import find_weights, tensor_files

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number as ``--dtype`` names it."""

_SIDE = 1024
"""Rows and columns of the matrices whose product is timed."""
_MEASURE_S = 0.3


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """The sizes of a causal LM that decide what it costs.

    Args:
        parameters: how many numbers its weights hold.
        stored_bytes: of a number, on average, as stored.
        layers, key_values: layers, and numbers that one token leaves in the cache of one layer.
        vocabulary: tokens that it knows.
        hidden, inner: channels of the residual stream, and inside of a feed-forward block.
        queries: query heads that share one key head.
    """

    parameters: int
    stored_bytes: float
    layers: int
    key_values: int
    vocabulary: int
    hidden: int
    inner: int
    queries: int

    def number_bytes(self, dtype: str) -> float:
        """Bytes of one number of its weights once loaded."""
        return BYTES.get(dtype, self.stored_bytes)

    def cache_bytes(self, dtype: str) -> float:
        """Bytes that one token leaves in the caches of all layers."""
        return self.layers * self.key_values * self.number_bytes(dtype)


def folder_of(name: str) -> Path | None:
    """The folder of a model on this machine: itself, or what the Hub's cache holds of it."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if name.count("/") != 1:
        return None
    found = try_to_load_from_cache(name, "config.json")
    return Path(found).parent if isinstance(found, str) else None


def size_of(folder: Path) -> ModelSize | None:
    """Sizes of a model by its folder; None where its files do not say them."""
    try:
        config = read_json(folder / "config.json")
        shapes = _shapes(folder)
    except KeyturnError:
        return None
    inner = config.get("text_config")
    said: Mapping[str, Any] = inner if isinstance(inner, dict) else config
    layers = _first(said, "num_hidden_layers", "n_layer")
    heads = _first(said, "num_attention_heads", "n_head")
    width = _first(said, "hidden_size", "n_embd")
    vocabulary = _first(said, "vocab_size") or _first(config, "vocab_size")
    if not (layers and heads and width and vocabulary and shapes[0]):
        return None
    of_head = _first(said, "head_dim") or width // heads
    kept = _first(said, "num_key_value_heads") or heads
    return ModelSize(
        parameters=shapes[0],
        stored_bytes=shapes[1] / shapes[0],
        layers=layers,
        key_values=2 * kept * of_head,
        vocabulary=vocabulary,
        hidden=width,
        inner=_first(said, "intermediate_size", "n_inner") or 4 * width,
        queries=max(heads // kept, 1),
    )


def arithmetic_rate() -> float:
    """Multiply-adds a second that a product of float32 matrices reaches in this process."""
    left = np.full((_SIDE, _SIDE), 0.5, dtype=np.float32)
    _ = left @ left
    products, started = 0, time.perf_counter()
    while time.perf_counter() - started < _MEASURE_S:
        _ = left @ left
        products += 1
    return products * _SIDE**3 / (time.perf_counter() - started)


def tokens_per_second_at_best(size: ModelSize, rate: float) -> float:
    """Tokens a second that no implementation exceeds here: one multiply-add per parameter and token."""
    return rate / size.parameters


def _first(config: Mapping[str, Any], *names: str) -> int:
    return next((int(config[name]) for name in names if isinstance(config.get(name), int)), 0)


def _shapes(folder: Path) -> tuple[int, int]:
    """Numbers and bytes in the weight files; only headers are read. Zeros for pickles, whose reading runs
    code."""
    weights = find_weights(folder, allow_pickle=True)
    if weights.pickled:
        return 0, 0
    where, numbers = tensor_files(weights.files), 0
    for path in weights.files:
        with safe_open(path, framework="np") as stored:
            numbers += sum(
                math.prod(stored.get_slice(name).get_shape()) for name in where if where[name] == path
            )
    return numbers, sum(path.stat().st_size for path in weights.files)
