"""A model folder on disk: whether it is whole and safe to read, and how one is written.

Weights are safetensors; a pickle is refused unless asked for by name, because reading one runs what is
in it. Every header is read before a model is built, so that a damaged file is one sentence and not a
traceback. Folders that keyturn wrote carry ``manifest.json`` with the sha256 of every file, and are
checked against it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from keyturn.core.errors import InputError, StorageError, UsageError
from keyturn.core.rundir import file_hash, read_json, storage, write_json

MANIFEST = "manifest.json"
WORLD = "world.json"
CARD = "card.json"

_ONE = "model.safetensors"
_MANY = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt")


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where the weights of a folder are.

    Args:
        files: the weight files, in name order.
        pickled: they are pickles (asked for by name).
    """

    files: tuple[Path, ...]
    pickled: bool = False


def check_folder(folder: Path, *, allow_pickle: bool = False) -> Weights:
    """Check that a folder holds a causal LM's config, tokenizer and readable weights.

    Raises:
        InputError: something is missing, damaged, changed since it was written, or a pickle.
    """
    if (folder / "adapter_config.json").exists() and not (folder / "config.json").exists():
        raise InputError(
            f"{folder} holds an adapter, not a model", fix="merge it into its base (PEFT's merge_and_unload)"
        )
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} has no config.json", fix="name a Hugging Face model folder")
    if not any((folder / name).exists() for name in _TOKENIZERS):
        raise InputError(f"{folder} has no tokenizer", fix="save the tokenizer into the same folder")
    weights = find_weights(folder, allow_pickle=allow_pickle)
    if not weights.pickled:
        for path in weights.files:
            check_header(path)
    check_manifest(folder)
    return weights


def find_weights(folder: Path, *, allow_pickle: bool = False) -> Weights:
    """The weight files of a folder, all of them there."""
    if (folder / _MANY).is_file():
        return Weights(files=_shards(folder))
    if (folder / _ONE).is_file():
        return Weights(files=(folder / _ONE,))
    pickles = sorted(path for pattern in _PICKLES for path in folder.glob(pattern))
    if not pickles:
        raise InputError(f"{folder} has no weights", fix=f"it must hold {_ONE}, or shards with {_MANY}")
    if not allow_pickle:
        raise InputError(
            f"{folder} holds pickled weights only ({pickles[0].name}); reading a pickle can run code",
            fix="convert it to safetensors, or pass --allow-pickle (allow_pickle=True) if you trust its maker",
        )
    return Weights(files=tuple(pickles), pickled=True)


def check_header(path: Path) -> None:
    """Read a safetensors header; nothing of the tensors is loaded."""
    try:
        with safe_open(path, framework="pt") as stored:
            empty = not stored.keys()
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path} is damaged: {_first_line(error)}", fix="download or copy the file again"
        ) from error
    if empty:
        raise InputError(f"{path} holds no tensors", fix="download or copy the file again")


def check_manifest(folder: Path) -> None:
    """Compare every file with the hash that was written last; folders without a manifest pass."""
    if not (folder / MANIFEST).is_file():
        return
    files = read_json(folder / MANIFEST).get("files")
    if not isinstance(files, dict):
        raise InputError(f"{folder / MANIFEST} names no files", fix="save the model again")
    for name, digest in files.items():
        path = folder / name
        if not path.is_file() or file_hash(path) != digest:
            raise InputError(
                f"{path} is not the file that was saved", fix="copy the folder again, or delete manifest.json"
            )


def save_folder(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    documents: Mapping[str, Mapping[str, Any]],
    *,
    overwrite: bool = False,
) -> dict[str, str]:
    """Write a model folder whole or not at all: aside, hashed, renamed.

    Args:
        folder: where it will stand.
        model, tokenizer: what is saved (safetensors and JSON).
        documents: further JSON documents by file name.
        overwrite: replace an existing model folder.

    Returns:
        sha256 of every file by name.

    Raises:
        UsageError: something else is there already.
    """
    if folder.exists() and not overwrite:
        raise UsageError(f"{folder} exists already", fix="choose another folder, or say overwrite")
    if folder.exists() and any(folder.iterdir()) and not (folder / "config.json").exists():
        raise UsageError(f"{folder} is not a model folder and is not replaced", fix="choose another folder")
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        with storage(folder):
            aside.mkdir(parents=True)
            _save_weights(aside, model, tokenizer)
            for name, document in documents.items():
                write_json(aside / name, document)
            for path in aside.iterdir():
                path.chmod(0o644)  # the writer of safetensors leaves its file to its owner alone
            hashes = {path.name: file_hash(path) for path in sorted(aside.iterdir())}
            write_json(aside / MANIFEST, {"files": hashes})
            _swap(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return hashes


@contextlib.contextmanager
def quiet_bars() -> Iterator[None]:
    """Without the bars that transformers draws for every file."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _save_weights(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    try:
        with quiet_bars():
            model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except SafetensorError as error:
        # The writer wraps the operating system's refusal in its own type.
        raise StorageError(
            f"cannot write weights: {_first_line(error)}", fix="free space, then resume"
        ) from error


def _swap(aside: Path, folder: Path) -> None:
    # Directories cannot be replaced in one step everywhere: the old one stays whole under another name
    # until the new one stands.
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        folder.rename(old)
    aside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _shards(folder: Path) -> tuple[Path, ...]:
    where = read_json(folder / _MANY).get("weight_map")
    if not isinstance(where, dict) or not where:
        raise InputError(f"{folder / _MANY} maps no weights", fix="download or copy the file again")
    names = sorted({str(name) for name in where.values()})
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise InputError(f"{folder / _MANY} points outside its folder: {outside[0]}", fix="do not trust it")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{folder} lacks {len(missing)} of {len(names)} weight files, first {missing[0]}",
            fix="download or copy them again",
        )
    return tuple(folder / name for name in names)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
