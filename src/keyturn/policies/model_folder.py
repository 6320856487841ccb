"""A model folder on disk: the checks that it is complete and safe to read, and the writing of one.

Weights are safetensors; a pickle is refused unless explicitly allowed, because reading one runs the code in it.
Every header is read before a model is built, so that a damaged file gives one sentence and not a traceback.
Folders that keyturn wrote carry ``manifest.json`` with the sha256 of every file, and are checked against it.
"""

from __future__ import annotations

import contextlib
import difflib
import glob
import itertools
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from keyturn.core.errors import InputError, StorageError, UsageError
from keyturn.core.lazy import transformers
from keyturn.core.rundir import beside, file_hash, read_json, remove, storage_errors, write_json
from keyturn.core.weight_files import ADAPTER, Weights, find_weights, tensor_files, trainer_shards

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MANIFEST = "manifest.json"
WORLD = "world.json"
CARD = "card.json"

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt")
"""Files of which one at least makes a tokenizer."""


def check_folder(folder: Path, *, allow_pickle: bool = False) -> Weights:
    """Check that a folder holds a causal LM's config, tokenizer and readable weights.

    Raises:
        InputError: something is missing, damaged, changed since it was written, or a pickle.
    """
    if (folder / ADAPTER).is_file():
        find_weights(folder, allow_pickle=allow_pickle)  # says which adapter it is, config or not
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} has no config.json", fix=_where_the_model_is(folder))
    if not any((folder / name).exists() for name in TOKENIZERS):
        raise InputError(f"{folder} has no tokenizer", fix="save the tokenizer into the same folder")
    weights = find_weights(folder, allow_pickle=allow_pickle)
    if not weights.pickled:
        tensor_files(weights.files)
    check_manifest(folder)
    return weights


def _where_the_model_is(folder: Path) -> str:
    """The fix for a folder without a config, which depends on its files."""
    if any(folder.glob("*.gguf")):
        found = sorted(folder.glob("*.gguf"))[0]
        return f"keyturn model import {found} OUT, and name OUT"
    if merge := trainer_shards(folder):
        return merge
    inside = sorted(folder.glob("*/config.json"), key=lambda path: natural(path.parent.name))
    if inside:
        return f"name the model inside: {inside[-1].parent}"
    if holds_weights(folder):
        # accelerate's save_state and save_model write the weights alone.
        return "copy config.json and the tokenizer's files of the model that was trained into it"
    return "name a Hugging Face model folder"


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts ``checkpoint-9`` before ``checkpoint-12``."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def check_manifest(folder: Path) -> None:
    """Compare every file with its hash in the manifest; folders without a manifest pass."""
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
    """Write a model folder whole or not at all: in a temporary place, hashed, then renamed.

    Args:
        folder: the folder to create.
        model, tokenizer: saved as safetensors and JSON.
        documents: further JSON documents by file name.
        overwrite: replace an existing model folder.

    Returns:
        sha256 of every file by name.

    Raises:
        UsageError: the folder exists and is something else.
    """
    if folder.exists() and not overwrite:
        raise UsageError(f"{folder} exists already", fix="choose another folder, or say overwrite")
    if folder.exists() and any(folder.iterdir()) and not (folder / "config.json").exists():
        raise UsageError(f"{folder} is not a model folder and is not replaced", fix="choose another folder")
    aside = beside(folder)
    try:
        with storage_errors(folder):
            aside.mkdir(parents=True)
            _save_weights(aside, model, tokenizer)
            for name, document in documents.items():
                write_json(aside / name, document)
            for path in aside.iterdir():
                path.chmod(0o644)  # the writer of safetensors leaves its file to its owner alone
            hashes = file_hashes(aside)
            write_json(aside / MANIFEST, {"files": hashes})
            _swap(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return hashes


def same_folder(folder: Path, place: Path) -> Path:
    """Put a model folder in a second place too: hard links where the file system has them, else copies.

    Args:
        folder: a complete model folder.
        place: the second place; what is there is replaced, whole or not at all.

    Returns:
        ``place``.
    """
    if place.is_dir() and _same(folder, place):
        return place
    aside = beside(place)
    try:
        with storage_errors(place):
            aside.mkdir(parents=True)
            for path in sorted(folder.iterdir()):
                try:
                    os.link(path, aside / path.name)
                except OSError:
                    shutil.copy2(path, aside / path.name)
            _swap(aside, place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return place


def _same(one: Path, other: Path) -> bool:
    names = sorted(path.name for path in one.iterdir())
    if names != sorted(path.name for path in other.iterdir()):
        return False
    pairs = [(one / name, other / name) for name in names]
    return all(os.path.samefile(*pair) or file_hash(pair[0]) == file_hash(pair[1]) for pair in pairs)


def file_hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file of a folder by name."""
    return {path.name: file_hash(path) for path in sorted(folder.iterdir()) if path.is_file()}


def holds_weights(folder: Path) -> bool:
    """Whether weights of any kind lie in a folder itself."""
    return any(any(folder.glob(pattern)) for pattern in ("*.safetensors", "*.bin"))


def near_folders(path: Path, most: int = 3) -> list[str]:
    """Model folders, and runs that hold one, whose paths resemble a path that does not exist.

    Args:
        path: as the user wrote it.
        most: most paths that are named.
    """
    found = [Path(path.anchor) if path.is_absolute() else Path()]
    for part in path.parts[1:] if path.is_absolute() else path.parts:
        steps: list[Path] = []
        for place in found:
            if (place / part).exists():
                steps.append(place / part)
                continue
            with contextlib.suppress(OSError):
                names = [entry.name for entry in itertools.islice(os.scandir(place), 1000) if entry.is_dir()]
                steps += [place / near for near in difflib.get_close_matches(part, names, n=most)]
        found = steps[:most]
    holding = (place for place in found if any((place / at / "config.json").is_file() for at in ("", "model")))
    return [str(place) for place in holding]


@contextlib.contextmanager
def quiet_bars() -> Iterator[None]:
    """Hide the progress bars that transformers draws for every file."""
    transformers_logging = transformers.utils.logging
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
            f"cannot write weights: {_first_line(error)}",
            fix="free space or raise the limit (ulimit -f), then resume",
        ) from error


def _swap(aside: Path, folder: Path) -> None:
    # Directories cannot be replaced in one step everywhere: the old one stays whole under another name
    # until the new one stands.
    old = beside(folder, "old")
    if folder.is_symlink() or folder.exists():
        folder.rename(old)
    aside.rename(folder)
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*.old"):
        remove(left)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
