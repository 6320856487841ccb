"""Checkpoints: everything that the next step depends on, whole or not at all, never a pickle.

A checkpoint is a folder ``step-000120`` with one safetensors file per group of tensors, ``facts.json`` and,
written last, ``manifest.json`` with the sha256 of each. It is made beside its name and renamed once, so a
crash between any two writes leaves the older ones as they were. Tensors go to disk from where they lie. What
does not match its hashes is skipped and named, never repaired.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from keyturn.core.errors import NewerError, StorageError
from keyturn.core.lazy import safetensors_torch, torch
from keyturn.core.measurement import Json
from keyturn.core.rundir import (
    beside,
    file_hash,
    free_bytes,
    read_json,
    remove_leftovers,
    storage_errors,
    write_json,
)
from keyturn.core.tensor_file import write_tensors

MANIFEST = "manifest.json"
FACTS = "facts.json"
_NAME = re.compile(r"step-(\d{6,})")
_log = logging.getLogger("keyturn")


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """What a checkpoint holds.

    Args:
        step: steps finished.
        tensors: group (``weights``, ``optimiser``...) -> name -> tensor.
        facts: everything else, JSON-able.
    """

    step: int
    tensors: Mapping[str, Mapping[str, torch.Tensor]]
    facts: Mapping[str, Any]


def write_checkpoint(folder: Path, snapshot: Snapshot, *, keep: int = 2) -> Path:
    """Write a checkpoint, then remove all but the newest ``keep``.

    Args:
        folder: where the checkpoints of the run lie.
        snapshot: what to write.
        keep: how many stay, at least 1; the one just written always does.

    Raises:
        StorageError: no room (asked before anything is written), disk full, or not allowed. Older checkpoints
            are as they were.
    """
    remove_leftovers(folder)
    needed = sum(t.nbytes for group in snapshot.tensors.values() for t in group.values()) + (1 << 16)
    free = free_bytes(folder)
    if free < needed:
        raise StorageError(
            f"a checkpoint needs {needed:,} bytes in {folder}, {free:,} are free",
            fix="free some space, then resume",
        )
    final = folder / f"step-{snapshot.step:06d}"
    aside = beside(final)
    try:
        with storage_errors(aside):
            aside.mkdir(parents=True)
        for group, tensors in snapshot.tensors.items():
            write_tensors(aside / f"{group}.safetensors", tensors)
        write_json(aside / FACTS, {"step": snapshot.step, **snapshot.facts})
        hashes = {path.name: file_hash(path) for path in sorted(aside.iterdir())}
        write_json(aside / MANIFEST, {"sha256": hashes})
        with storage_errors(final):
            if final.exists():
                shutil.rmtree(final)
            aside.replace(final)
            _flush(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    for old in _found(folder)[max(keep, 1) :]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def newest_checkpoint(folder: Path, *, usable: Callable[[Snapshot], str] | None = None) -> Snapshot | None:
    """The newest checkpoint that is whole; damaged ones are skipped and named in a warning.

    Args:
        folder: where the checkpoints of the run lie.
        usable: says what else keeps one from being gone on from; empty: nothing.

    Raises:
        StorageError: a checkpoint was written by a newer keyturn.
    """
    for path in _found(folder):
        try:
            found = read_checkpoint(path)
            why = usable(found) if usable else ""
        except DamagedCheckpoint as damage:
            why = damage.what
        else:
            if not why:
                return found
        _log.warning("skipped checkpoint %s: %s", path.name, why)
    return None


class DamagedCheckpoint(StorageError):
    """A checkpoint whose files do not match their hashes."""


def read_checkpoint(path: Path) -> Snapshot:
    """Read one checkpoint and check every byte of it; its tensors may lie in its files until they are used.

    Raises:
        DamagedCheckpoint: a file is missing, cut, changed or not what it says.
        StorageError: written by a newer keyturn.
    """
    manifest = _document(path / MANIFEST, path)
    hashes = manifest.get("sha256")
    if not isinstance(hashes, dict) or FACTS not in hashes:
        raise _damaged(path, MANIFEST)
    tensors: dict[str, dict[str, torch.Tensor]] = {}
    for name, digest in hashes.items():
        file = path / Path(str(name)).name
        if not file.is_file() or file_hash(file) != digest:
            raise _damaged(path, str(name))
        if file.suffix == ".safetensors":
            try:
                tensors[file.stem] = safetensors_torch.load_file(file)
            except SafetensorError as error:
                raise _damaged(path, str(name)) from error
    facts: dict[str, Json] = _document(path / FACTS, path)
    step = facts.pop("step", None)
    facts.pop("schema", None)
    if not isinstance(step, int):
        raise StorageError(f"{path} does not say its step", fix="delete this checkpoint")
    return Snapshot(step=step, tensors=tensors, facts=facts)


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters (tied ones once) and persistent buffers by name."""
    kept = dict(model.state_dict(keep_vars=True))
    named = {name: p.detach() for name, p in model.named_parameters()}
    return named | {name: b for name, b in model.named_buffers() if name in kept}


def load_weights(model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Put weights back in place.

    Raises:
        StorageError: names or shapes are not those of the model.
    """
    own = weights_of(model)
    wrong = own.keys() ^ weights.keys() or {n for n in own if own[n].shape != weights[n].shape}
    if wrong:
        raise StorageError(
            f"the checkpoint belongs to another model: {', '.join(sorted(wrong)[:3])}",
            fix="resume with the base model that the run began with",
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(weights[name])


def optimiser_tensors(
    optimiser: torch.optim.Optimizer, parameters: Mapping[str, torch.nn.Parameter]
) -> dict[str, torch.Tensor]:
    """Moments and step counts by ``kind/parameter``; empty before the first step."""
    return {
        f"{kind}/{name}": value.detach()
        for name, parameter in parameters.items()
        for kind, value in optimiser.state.get(parameter, {}).items()
    }


def load_optimiser(
    optimiser: torch.optim.Optimizer,
    parameters: Mapping[str, torch.nn.Parameter],
    tensors: Mapping[str, torch.Tensor],
) -> None:
    """Put moments and step counts back.

    Raises:
        StorageError: they do not cover the parameters.
    """
    state: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        kind, name = key.split("/", 1)
        state.setdefault(name, {})[kind] = tensor
    kinds = {frozenset(kept) for kept in state.values()}
    if state and (state.keys() != parameters.keys() or len(kinds) != 1):
        raise StorageError(
            "the optimiser state in the checkpoint does not fit the model", fix="delete the checkpoint"
        )
    optimiser.state.clear()
    # Only a fused or capturable optimiser keeps its step count where the parameter is.
    beside = bool(optimiser.defaults.get("fused") or optimiser.defaults.get("capturable"))
    for name, kept in state.items():
        parameter = parameters[name]
        optimiser.state[parameter] = {
            kind: value.to("cpu" if kind == "step" and not beside else parameter.device, copy=True)
            for kind, value in kept.items()
        }


def _document(file: Path, path: Path) -> dict[str, Json]:
    """A JSON document of a checkpoint; unreadable is damage, a newer schema is not."""
    if not file.is_file():
        raise _damaged(path, file.name)
    try:
        return read_json(file)
    except NewerError:
        raise
    except StorageError as error:
        raise _damaged(path, file.name) from error


def _damaged(path: Path, name: str) -> DamagedCheckpoint:
    return DamagedCheckpoint(f"{path / name} is missing or damaged", fix="delete this checkpoint")


def _found(folder: Path) -> list[Path]:
    """Finished checkpoint folders, newest first."""
    if not folder.is_dir():
        return []
    named = [(int(m[1]), p) for p in folder.iterdir() if (m := _NAME.fullmatch(p.name)) and p.is_dir()]
    return [path for _, path in sorted(named, reverse=True)]


def _flush(folder: Path) -> None:
    """Make the rename itself survive a power cut, where the system lets a folder be flushed."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
