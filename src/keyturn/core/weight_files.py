"""The weight files of a model folder, decided once for loading, checking and comparing.

A folder can be ambiguous: it may hold a whole model and an adapter, or one file of weights and the index of an
older set of shards. Which one is read then depends on the reader (transformers applies an adapter only if PEFT
is installed, and prefers one file to an index), so such a folder is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from keyturn.core.errors import InputError, StorageError
from keyturn.core.rundir import read_json

ONE = "model.safetensors"
MANY = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
_PICKLES = ("pytorch_model.bin", "pytorch_model-*.bin")


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where the weights of a folder are.

    Args:
        files: the weight files, in name order.
        pickled: whether they are pickles, which the user allowed.
    """

    files: tuple[Path, ...]
    pickled: bool = False


def find_weights(folder: Path, *, allow_pickle: bool = False) -> Weights:
    """The weight files of a folder, none of which is missing.

    Raises:
        InputError: there are none, some are missing, all are pickles, or there are two sets of weights.
    """
    if not folder.is_dir():
        raise InputError(f"no model folder at {folder}", fix=f"give the folder that holds {ONE}")
    one, many = (folder / ONE).is_file(), (folder / MANY).is_file()
    pickles = sorted(path for pattern in _PICKLES for path in folder.glob(pattern))
    if (folder / ADAPTER).is_file():
        raise _adapter(folder, whole=one or many or bool(pickles))
    if many:
        files = _shards(folder, beside_one=one)
        return Weights(files=files)
    if one:
        return Weights(files=(folder / ONE,))
    if not pickles:
        raise _no_weights(folder)
    if not allow_pickle:
        raise InputError(
            f"{folder} holds pickled weights only ({pickles[0].name}); reading a pickle can run code",
            fix="convert it to safetensors, or pass --allow-pickle (allow_pickle=True) if you trust its maker",
        )
    return Weights(files=tuple(pickles), pickled=True)


def is_adapter(place: str | Path) -> bool:
    """Whether a path is a folder with a PEFT adapter."""
    return (Path(place).expanduser() / ADAPTER).is_file()


def tensor_files(files: Iterable[Path]) -> dict[str, Path]:
    """The file of each tensor; only headers are read.

    Raises:
        InputError: a file is damaged or has no tensors, or two files hold the same tensor.
    """
    found: dict[str, Path] = {}
    for path in files:
        for name in _names(path):
            if name in found:
                raise InputError(
                    f"{name} is in {path.name} and in {found[name].name} of {path.parent}",
                    fix="delete the older of the two files, or download the model again",
                )
            found[name] = path
    return found


def _names(path: Path) -> list[str]:
    try:
        with safe_open(path, framework="np") as stored:
            names = list(stored.keys())
    except (SafetensorError, OSError, ValueError) as error:
        what = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise InputError(f"{path} is damaged: {what}", fix="download or copy the file again") from error
    if not names:
        raise InputError(f"{path} holds no tensors", fix="download or copy the file again")
    return names


def _adapter(folder: Path, *, whole: bool) -> InputError:
    if not whole:
        return InputError(
            f"{folder} holds an adapter, not a model",
            fix=f"merge it into its base (keyturn model import {folder} OUT), and name OUT",
        )
    return InputError(
        f"{folder} holds both a whole model and an adapter, and only one of them can be meant",
        fix="move adapter_config.json and adapter_model.* out of the folder for the whole model, or "
        f"merge the adapter into its base (keyturn model import {folder} OUT --base BASE) for the other",
    )


def trainer_shards(folder: Path) -> str:
    """How to make a model of a trainer's shards that lie in a folder, or just around it; empty without any."""
    places = [folder, folder.parent, *folder.glob("actor")]  # verl: global_step_9/actor/huggingface
    for place in places:
        if any(place.glob("model_world_size_*_rank_*.pt")):
            return (
                "merge the shards of the trainer first (python -m verl.model_merger merge --backend fsdp "
                f"--local_dir {place} --target_dir OUT), and name OUT"
            )
    if (folder / "zero_to_fp32.py").is_file():
        return f"merge DeepSpeed's shards first (python {folder / 'zero_to_fp32.py'} {folder} OUT)"
    if any(folder.glob("*.distcp")) or any(folder.glob("pytorch_model_fsdp_*/*.distcp")):
        return f"merge FSDP's shards first (accelerate merge-weights {folder} OUT)"
    return ""


def _no_weights(folder: Path) -> InputError:
    if merge := trainer_shards(folder):
        return InputError(f"{folder} has a model's config and no weights", fix=merge)
    loose = sorted(folder.glob("model-*-of-*.safetensors"))
    if loose:
        return InputError(f"{folder} has {len(loose)} shards and no {MANY}", fix="copy the index as well")
    gguf = sorted(folder.glob("*.gguf"))
    if gguf:
        return InputError(
            f"{folder} holds GGUF weights only ({gguf[0].name})",
            fix="name the folder they were converted from, or serve them (llama.cpp)",
        )
    return InputError(f"{folder} has no weights", fix=f"it must hold {ONE}, or shards with {MANY}")


def _shards(folder: Path, *, beside_one: bool) -> tuple[Path, ...]:
    try:
        where = read_json(folder / MANY).get("weight_map")
    except StorageError as error:
        fix = f"delete it: {ONE} stands beside it" if beside_one else "download or copy the file again"
        raise InputError(f"{folder / MANY} is not an index of shards", fix=fix) from error
    if not isinstance(where, dict) or not where:
        raise InputError(f"{folder / MANY} maps no weights", fix="download or copy the file again")
    names = sorted({str(name) for name in where.values()})
    if beside_one and names != [ONE]:
        raise InputError(
            f"{folder} holds two sets of weights: {ONE}, and the shards of {MANY}",
            fix=f"delete the older of the two ({MANY} with its shards, or {ONE})",
        )
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise InputError(
            f"{folder / MANY} points outside its folder: {outside[0]}",
            fix="do not load a model from this source",
        )
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{folder} lacks {len(missing)} of {len(names)} weight files, first {missing[0]}",
            fix="download or copy them again",
        )
    return tuple(folder / name for name in names)
