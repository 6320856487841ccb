"""A GGUF file looked over before anything is built from it, and its tensors by the ``gguf`` package.

Counts and offsets are compared with the file's size first, so that a truncated or hostile file is one sentence.
The ``gguf`` package and transformers each have a dequantisation of their own. Which of them a version of
transformers loads with is its own affair, so what was loaded is compared with both.
Source: the GGUF specification of github.com/ggml-org/ggml.
"""

from __future__ import annotations

import importlib
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError
from keyturn.core.extras import need
from keyturn.core.lazy import torch

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MOST_ENTRIES = 1 << 20
"""Tensors or fields beyond which a header is not believed; the largest models have some ten thousand."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GgufFile:
    """What a GGUF file says of itself, and its tensors.

    Args:
        path: the file.
        fields: metadata by name.
        tensors: name -> tensor of the ``gguf`` package, still quantised.
    """

    path: Path
    fields: dict[str, Any]
    tensors: dict[str, Any]

    @property
    def architecture(self) -> str:
        """``llama``, ``gemma3``..."""
        return str(self.fields.get("general.architecture", ""))

    @property
    def kinds(self) -> dict[str, int]:
        """How many tensors are stored in which type."""
        found: dict[str, int] = {}
        for tensor in self.tensors.values():
            found[tensor.tensor_type.name] = found.get(tensor.tensor_type.name, 0) + 1
        return dict(sorted(found.items()))

    def second_opinion(self, name: str) -> NDArray[np.float32] | None:
        """The same by transformers' own arithmetic; None where that does not know the type."""
        tensor = self.tensors[name]
        try:
            dequant = importlib.import_module("transformers.integrations.gguf.dequant")
            raw = torch.from_numpy(np.array(tensor.data).view(np.uint8).reshape(-1))
            flat = dequant.dequantize(raw, int(tensor.tensor_type)).numpy()
        except (ImportError, AttributeError, ValueError, KeyError):
            return None
        return flat.reshape([int(size) for size in reversed(tensor.shape)])

    def values(self, name: str) -> NDArray[np.float32]:
        """One tensor in float32, as llama.cpp lays it out (rows first)."""
        tensor = self.tensors[name]
        quants = need("gguf.quants", "reading GGUF files")
        return np.asarray(quants.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)


def read_gguf(path: Path) -> GgufFile:
    """Look a GGUF file over.

    Raises:
        MissingExtraError: the package ``gguf`` is missing.
        InputError: it is none, of another version, truncated, or what it says of itself cannot be.
    """
    gguf = need("gguf", "importing a GGUF file")
    size = path.stat().st_size
    _check_header(path, size)
    damaged = InputError(f"{path.name} is truncated or damaged", fix="copy or download it again")
    try:
        reader = gguf.GGUFReader(path)
        tensors = {}
        for tensor in reader.tensors:
            if tensor.data_offset + tensor.n_bytes > size:
                raise damaged
            tensors[str(tensor.name)] = tensor
        fields = {str(name): field.contents() for name, field in reader.fields.items()}
    except InputError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError, struct.error) as error:
        raise damaged from error
    if not tensors:
        raise InputError(f"{path.name} holds no weights (a vocabulary alone?)", fix="take the model's own file")
    if not fields.get("general.architecture"):
        raise InputError(f"{path.name} does not say its architecture", fix="convert it again")
    return GgufFile(path=path, fields=fields, tensors=tensors)


def _check_header(path: Path, size: int) -> None:
    """Magic, version and counts."""
    with path.open("rb") as stream:
        head = stream.read(24)
    if head[:4] != _MAGIC:
        raise InputError(f"{path.name} is no GGUF file", fix="name a .gguf file, or a package that carries one")
    if len(head) < 24:
        raise InputError(f"{path.name} is truncated: it ends in its header", fix="copy or download it again")
    version, tensors, fields = struct.unpack("<IQQ", head[4:])
    if version not in _VERSIONS:
        if struct.unpack(">I", head[4:8])[0] in _VERSIONS:
            raise InputError(f"{path.name} is big-endian", fix="gguf-convert-endian FILE little")
        raise InputError(
            f"{path.name} is GGUF version {version}", fix="convert it again with a current llama.cpp"
        )
    # A field takes 13 bytes at least and a tensor 24.
    if max(tensors, fields) > _MOST_ENTRIES or 13 * fields + 24 * tensors > size:
        what = f"{path.name} says it holds {tensors} tensors and {fields} fields, which cannot be"
        raise InputError(what, fix="copy or download it again")
