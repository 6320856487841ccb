"""The weights of two models, tensor by tensor: one pair in memory at a time, safetensors only.

Ours; the safetensors library reads the files, single or sharded as transformers writes them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from keyturn.core.errors import InputError
from keyturn.core.progress import progress
from keyturn.core.weight_files import find_weights, tensor_files

_EXACT = frozenset({"F32", "F64"})
_LIMITED = frozenset({"BF16", "F16"})
_BUFFERS = frozenset({"BOOL", "I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64"})


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightPair:
    """One tensor before and after.

    Args:
        name: as stored.
        base: float32, any shape.
        tuned: float32, the same shape.
        limited: at least one side exists only in bf16 or fp16, so that small updates may be missing.
        vocabulary: the rows stand for tokens of the vocabulary (an embedding or an output matrix).
    """

    name: str
    base: NDArray[np.float32]
    tuned: NDArray[np.float32]
    limited: bool
    vocabulary: bool


def weight_pairs(base: Path, tuned: Path) -> Iterator[WeightPair]:
    """The tensors of two model folders, in the order of their names; tied weights once.

    Args:
        base: folder with ``model.safetensors``, or with shards and their index.
        tuned: a folder with the same tensors.

    Raises:
        InputError: no safetensors there, a shard is missing or damaged, a tensor is missing on one side, shapes
            differ, weights are quantised, or a weight is not finite.
    """
    with contextlib.ExitStack() as stack:
        first, second = _Folder(base, stack), _Folder(tuned, stack)
        names = _common_names(first, second)
        # Minutes for a large model: what is done with a pair before the next one is asked for counts too.
        advance = stack.enter_context(progress("compare weights, tensors", len(names)))
        for name in names:
            pair = _pair(name, first, second)
            if pair is not None:
                yield pair
            advance(1)


class _Folder:
    """An open model folder: which file holds which tensor, and what its config says."""

    def __init__(self, path: Path, stack: contextlib.ExitStack) -> None:
        self.path = path
        self.config = _config(path)
        self._file_of: dict[str, Any] = {}
        files = (path,) if path.suffix == ".safetensors" else find_weights(path).files
        handles: dict[Path, Any] = {}
        for name, file in tensor_files(files).items():
            if file not in handles:
                # With "pt" the library also reads bf16; it imports torch itself, and only here.
                handles[file] = stack.enter_context(safe_open(file, framework="pt"))
            self._file_of[name] = handles[file]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._file_of)

    def dtype(self, name: str) -> str:
        return str(self._file_of[name].get_slice(name).get_dtype())

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._file_of[name].get_slice(name).get_shape())

    def raw(self, name: str) -> Any:
        return self._file_of[name].get_tensor(name)

    def read(self, name: str) -> NDArray[np.float32]:
        values = self.raw(name).float().numpy()
        if not np.isfinite(values).all():
            raise InputError(f"{self.path}: weight {name} is not finite", fix="audit an earlier checkpoint")
        return values

    def is_vocabulary(self, name: str) -> bool:
        """A matrix with one row per token of the vocabulary, as far as the config says."""
        shape = self.shape(name)
        return len(shape) == 2 and shape[0] == self.config.get("vocab_size")

    def tied_copies(self) -> frozenset[str]:
        """Vocabulary matrices that repeat the input embedding and are not declared untied."""
        if self.config.get("tie_word_embeddings") is False:
            return frozenset()
        matrices = sorted((n for n in self.names if self.is_vocabulary(n)), key=lambda n: (not _embeds(n), n))
        if len(matrices) < 2:
            return frozenset()
        kept = self.raw(matrices[0])
        return frozenset(n for n in matrices[1:] if bool((self.raw(n) == kept).all()))


def _embeds(name: str) -> bool:
    return any(part in name.lower() for part in ("embed", "wte"))


def _config(path: Path) -> Mapping[str, Any]:
    file = path / "config.json"
    if not file.exists():
        return {}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file} is not JSON: {error}", fix="fetch or save the model again") from error
    return {**config.get("text_config", {}), **config} if isinstance(config, dict) else {}


def _common_names(first: _Folder, second: _Folder) -> list[str]:
    """Names to compare: those of both folders, without copies of a tied matrix; anything else is an error."""
    copies, other_copies = first.tied_copies(), second.tied_copies()
    here, there = first.names, second.names
    missing = sorted((here - there - copies) | (there - here - other_copies))
    if missing:
        owner, lacking = (first, second) if missing[0] in here else (second, first)
        raise InputError(
            f"weight {missing[0]} is in {owner.path} and not in {lacking.path} ({len(missing)} such)",
            fix="compare two checkpoints of the same architecture (merge adapters first)",
        )
    return sorted((here & there) - (copies & other_copies))


def _pair(name: str, first: _Folder, second: _Folder) -> WeightPair | None:
    """One tensor of both folders; None for an integer buffer, which is not a weight."""
    if first.shape(name) != second.shape(name):
        raise InputError(
            f"weight {name}: shape {first.shape(name)} in {first.path}, {second.shape(name)} in {second.path}",
            fix="compare two checkpoints of one architecture and vocabulary",
        )
    kinds = {first.dtype(name), second.dtype(name)}
    if kinds <= _BUFFERS and bool((first.raw(name) == second.raw(name)).all()):
        return None
    if not kinds <= _EXACT | _LIMITED:
        raise InputError(
            f"weight {name} is stored as {' and '.join(sorted(kinds))}",
            fix="compare float checkpoints; quantised weights hide what training did",
        )
    return WeightPair(
        name=name,
        base=first.read(name),
        tuned=second.read(name),
        limited=not kinds <= _EXACT,
        vocabulary=first.is_vocabulary(name),
    )
