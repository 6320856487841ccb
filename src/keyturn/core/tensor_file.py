"""Tensors to one safetensors file, from where they lie in memory to the disk, whole or not at all.

The bytes are the library's own; they are never put together in memory first, which took three times the
tensors. The file is written into a folder beside its target, flushed and renamed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError

from keyturn.core.lazy import safetensors_torch, torch
from keyturn.core.rundir import beside, remove, storage_errors

_SYSTEM = re.compile(r"\(os error (\d+)\)")
"""How the library words a refusal of the operating system, which it raises as an error of its own."""


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file completely or not at all; a link of that name is replaced.

    Tensors of an accelerator are copied to this machine's memory, all others are written from where they are.

    Args:
        path: the file.
        tensors: by name.
        metadata: text for the file's header.

    Raises:
        StorageError: disk full, or not allowed; what was there before is as it was.
    """
    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = beside(path)
        aside.mkdir()
        try:
            # The library writes a file of a random name first, which a crash would leave: here it is swept.
            file = aside / path.name
            _save(file, plain, metadata)
            file.chmod(0o644)
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
            file.replace(path)
        finally:
            remove(aside)


def _save(file: Path, tensors: dict[str, torch.Tensor], metadata: Mapping[str, str] | None) -> None:
    try:
        safetensors_torch.save_file(tensors, file, metadata=None if metadata is None else dict(metadata))
    except SafetensorError as error:
        if said := _SYSTEM.search(str(error)):
            number = int(said[1])
            raise OSError(number, os.strerror(number)) from error
        raise
