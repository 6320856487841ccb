"""From a PEFT adapter and its base to an ordinary model folder: merged by ``peft``, and checked apart from it.

Every tensor of a LoRA adapter is merged a second time here, in float64 from the files, as ``W + scale * B A``;
what no adapter touches must be the base's, to the bit. For every kind of adapter the folder that was written is
read again, and its log-probabilities are held against the base with the adapter on. A head that is tied to the
embedding is found out in this way: merged into one it would change the other.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError, KeyturnError, UsageError
from keyturn.core.extras import need
from keyturn.core.lazy import safetensors_torch, torch
from keyturn.core.progress import waiting
from keyturn.core.rundir import file_hash, read_json
from keyturn.core.weight_files import ADAPTER, is_adapter, tensor_files
from keyturn.policies.loading import check_vocabulary, load_policy, load_tokenizer
from keyturn.policies.local import LocalPolicy
from keyturn.policies.model_folder import TOKENIZERS, save_folder

SOURCE = "import.json"
WEIGHTS = "adapter_model.safetensors"
ROUNDING = 1e-5
"""Largest difference of a merged number, relative to the largest of its tensor."""
APART = 1e-3
"""Largest difference in nats between log-probabilities before and after merging; rounding moves some 1e-5."""
_OF_TOKENS = frozenset({"PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT", "MULTITASK_PROMPT_TUNING"})
"""Kinds that add tokens or states and no weights."""
_OF_SEVERAL = frozenset({"XLORA", "POLY", "MIXED"})
"""Kinds that read further adapters from places that their config names."""
_INNER = "base_model.model."
_PAIRS = {"lora_A.weight": "lora_B.weight", "lora_embedding_A": "lora_embedding_B"}
"""What LoRA stores of a module: the second factor beside the first."""
_TEXTS, _LENGTH = 4, 24


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What a merge made.

    Args:
        folder: the model folder.
        kind: of the adapter, as PEFT calls it.
        base: the model that it was merged into.
        parameters: numbers in the model's weights; tied ones count once.
        compared: tensors that were merged a second time, or compared with the base's; 0 where the formula of
            this kind is not known here.
        largest: the largest difference among them.
        apart: the largest difference in nats between log-probabilities of probes with the adapter on and of the
            folder that was written.
        moved: the same between base and adapter: what the adapter does.
        notes: what a reader should know, one sentence each.
    """

    folder: Path
    kind: str
    base: str
    parameters: int
    compared: int
    largest: float
    apart: float
    moved: float
    notes: tuple[str, ...] = ()


def import_adapter(source: str, out: Path, *, base: str = "") -> Merged:
    """Merge an adapter into its base and write the result as a model folder.

    Args:
        source: a folder with ``adapter_config.json`` and ``adapter_model.safetensors``.
        out: the new folder; it must not exist.
        base: the model that was trained; by default the one that the adapter names.

    Raises:
        UsageError: ``out`` is there already.
        MissingExtraError: ``peft`` is missing.
        InputError: the adapter is damaged, cannot be merged or does not fit the base, or the merged model is
            not the base with the adapter on.
    """
    if out.exists():
        raise UsageError(f"{out} exists already", fix="choose another folder")
    peft = need("peft", "merging an adapter")
    folder = Path(source).expanduser()
    config = _config(folder)
    stored = _stored(folder)
    kind, named = str(config["peft_type"]), str(config.get("base_model_name_or_path") or "")
    read = _base(folder, base or named, given=bool(base))
    tokenizer = _tokenizer(folder, read)
    model: Any = read.model
    before = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    probes = _probes(model)
    plain = _logprobs(model, probes)
    with _quiet(), waiting(f"merging {folder.name}"):
        adapted = _adapted(peft, model, folder, config, stored)
        expected = _logprobs(adapted, probes)
        merged = _merged(adapted, folder, kind)
    compared, largest = _compare(folder, config, stored, before, merged)
    parameters = sum(tensor.numel() for tensor in merged.parameters())
    said = {"adapter": source, "sha256": file_hash(folder / WEIGHTS), "kind": kind, "base": base or named}
    save_folder(out, merged, tokenizer, {SOURCE: {**said, "compared": compared}})
    apart = float(np.abs(_logprobs(load_policy(out).model, probes) - expected).max())
    if not apart <= APART:
        shutil.rmtree(out)
        what = (
            f"{folder} merged into {base or named} is not the base with the adapter on: {apart:.2g} nats apart"
        )
        fix = "serve it unmerged (vllm serve BASE --enable-lora) and audit it by its address"
        tied = " (its head is tied to the embedding, and the adapter changes one of them)"
        raise InputError(what + (tied if model.config.tie_word_embeddings else ""), fix=fix)
    moved = float(np.abs(expected - plain).max())
    return Merged(
        folder=out,
        kind=kind,
        base=base or named,
        parameters=parameters,
        compared=compared,
        largest=largest,
        apart=apart,
        moved=moved,
        notes=_notes(named, base, compared, moved),
    )


def _notes(named: str, base: str, compared: int, moved: float) -> tuple[str, ...]:
    notes = []
    if base and named and Path(base).expanduser().resolve() != Path(named).expanduser().resolve():
        notes.append(f"the adapter says that it was trained on {named}; it was merged into {base}")
    if not compared:
        notes.append("its formula is not known here: log-probabilities alone were compared")
    if moved == 0:
        notes.append("the adapter changes nothing: its base gives the same log-probabilities")
    return tuple(notes)


def _config(folder: Path) -> Mapping[str, Any]:
    """The adapter's config, if it is of a kind that can be merged."""
    try:
        config = read_json(folder / ADAPTER)
    except KeyturnError as error:
        raise InputError(error.what, fix="download or copy the adapter again") from error
    kind = config.get("peft_type")
    if not isinstance(kind, str):
        raise InputError(
            f"{folder / ADAPTER} does not say of which kind it is (peft_type)", fix="save it again"
        )
    if kind in _OF_TOKENS:
        what = f"{folder} holds an adapter of the kind {kind}, which adds no weights to its base"
        raise InputError(what, fix="train one that does (LoRA and its relatives)")
    if kind in _OF_SEVERAL or config.get("megatron_config"):
        what = f"{folder} holds an adapter that reads further places or code ({kind})"
        raise InputError(what, fix="merge its parts by the library that made it")
    return config


def _stored(folder: Path) -> Mapping[str, NDArray[Any]]:
    """The adapter's tensors, by name, as they are stored."""
    path = folder / WEIGHTS
    if not path.is_file():
        pickled = sorted(folder.glob("adapter_model.bin"))
        if pickled:
            what = f"{folder} holds a pickled adapter only ({pickled[0].name}); reading a pickle can run code"
            raise InputError(what, fix="save it as safetensors (PEFT's save_pretrained does)")
        raise InputError(f"{folder} has no {WEIGHTS}", fix="copy it as well")
    tensor_files([path])
    try:
        found = {name: tensor.float().numpy() for name, tensor in safetensors_torch.load_file(path).items()}
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise InputError(f"{path} is damaged: {_line(error)}", fix="copy the adapter again") from error
    strange = sorted(name for name, tensor in found.items() if not np.isfinite(tensor).all())
    if strange:
        raise InputError(f"{path}: {strange[0]} holds numbers that are none", fix="train it again")
    return found


def _base(folder: Path, name: str, *, given: bool) -> LocalPolicy:
    if not name:
        raise InputError(f"{folder} does not name its base", fix="name it: --base MODEL")
    if is_adapter(name):
        what = f"the base {name} of {folder} is an adapter itself"
        raise InputError(what, fix=f"keyturn model import {name} BASE, then --base BASE")
    try:
        return load_policy(name)
    except KeyturnError as error:
        if given:
            raise
        what = f"the base that {folder} names cannot be read: {error.what}"
        raise InputError(what, fix="name it: --base MODEL") from error


def _tokenizer(folder: Path, base: LocalPolicy) -> Any:
    """The tokenizer that was saved with the adapter, else the base's."""
    if not any((folder / name).is_file() for name in TOKENIZERS):
        return base.tokenizer
    found = load_tokenizer(folder)
    check_vocabulary(folder, base.model, found)
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without PEFT's warnings: what they are about (tied heads, missing tensors) is checked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _adapted(
    peft: Any, model: Any, folder: Path, config: Mapping[str, Any], stored: Mapping[str, NDArray[Any]]
) -> Any:
    """The base with the adapter on.

    Raises:
        InputError: the adapter does not fit the base, or a tensor of one is not in the other.
    """
    fix = "name the model that it was trained on: --base MODEL"
    kind = config["peft_type"]
    try:
        adapted = peft.PeftModel.from_pretrained(model, str(folder)).eval()
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError) as error:
        what = f"the adapter {folder} ({kind}) does not fit its base: {_line(error)}"
        raise InputError(what, fix=fix) from error
    loaded = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
    lacking = sorted(set(loaded) - set(stored))
    if lacking:
        raise InputError(
            f"{folder / WEIGHTS} lacks {len(lacking)} tensors, first {lacking[0]}", fix="copy it again"
        )
    everything = {**adapted.state_dict(), **loaded}
    for name, tensor in stored.items():
        found = everything.get(name)
        if found is None and kind == "LORA":
            raise InputError(f"the base of {folder} has no place for {name}", fix=fix)
        if found is not None and not np.array_equal(found.detach().float().numpy(), tensor):
            raise InputError(f"{name} of {folder} was not read as it is stored", fix="upgrade peft")
    return adapted


def _merged(adapted: Any, folder: Path, kind: str) -> Any:
    try:
        return adapted.merge_and_unload(safe_merge=True).eval()
    except (NotImplementedError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        what = f"peft cannot merge the adapter {folder} ({kind}): {_line(error)}"
        raise InputError(what, fix="serve it unmerged, and audit it by its address") from error


def _compare(
    folder: Path,
    config: Mapping[str, Any],
    stored: Mapping[str, NDArray[Any]],
    before: Mapping[str, torch.Tensor],
    merged: Any,
) -> tuple[int, float]:
    """Merge a LoRA adapter a second time and compare every tensor; (0, nan) for other kinds.

    Raises:
        InputError: a merged tensor is another one.
    """
    expected = _expected(config, stored, before, merged)
    if expected is None:
        return 0, float("nan")
    largest = 0.0
    for name, tensor in merged.named_parameters():
        now = tensor.detach().float().numpy()
        wanted = expected.get(name)
        if wanted is None:
            distance, allowed = _apart(now, before[name].float().numpy()), 0.0
        else:
            distance, allowed = _apart(now, wanted), ROUNDING * max(1.0, float(np.abs(wanted).max(initial=0.0)))
        if not distance <= allowed:
            what = f"{name} is merged otherwise than {folder} says (by up to {distance:.2g})"
            raise InputError(what, fix="upgrade peft; until then serve the adapter unmerged")
        largest = max(largest, distance)
    return len(before), largest


def _apart(one: NDArray[Any], other: NDArray[Any]) -> float:
    if one.shape != other.shape:
        return float("inf")
    return float(np.abs(one - other).max(initial=0.0))


def _expected(
    config: Mapping[str, Any],
    stored: Mapping[str, NDArray[Any]],
    before: Mapping[str, torch.Tensor],
    merged: Any,
) -> dict[str, NDArray[np.float64]] | None:
    """The tensors that a LoRA adapter changes, as its files say; None where they hold more than LoRA."""
    if config["peft_type"] != "LORA" or config.get("use_dora"):
        return None
    left, found = dict(stored), {}
    for first, second in _PAIRS.items():
        for name in [one for one in stored if one.endswith(f".{first}")]:
            module = name.removeprefix(_INNER).removesuffix(f".{first}")
            weight, other = f"{module}.weight", name.removesuffix(first) + second
            if weight not in before or other not in stored:
                return None
            a, b = (left.pop(one).astype(np.float64) for one in (name, other))
            if a.ndim != 2 or b.ndim != 2:
                return None
            update = _scale(config, module, len(a)) * (b @ a)
            if "embedding" in first or type(merged.get_submodule(module)).__name__ == "Conv1D":
                update = update.T
            found[weight] = before[weight].double().numpy() + update
    for name, tensor in left.items():  # biases, and modules that were trained and saved whole
        plain = name.removeprefix(_INNER)
        if plain not in before:
            return None
        found[plain] = tensor.astype(np.float64)
    return found


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    alpha = float(config.get("lora_alpha", 8))
    for pattern, value in dict(config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = float(value)
            break
    return alpha / (rank**0.5 if config.get("use_rslora") else rank)


def _probes(model: Any) -> torch.Tensor:
    """Random tokens, ``[text, token]``."""
    words = model.get_input_embeddings().weight.shape[0]
    return torch.randint(words, (_TEXTS, _LENGTH), generator=torch.Generator().manual_seed(0))


def _logprobs(model: Any, probes: torch.Tensor) -> NDArray[np.float64]:
    """Log-probabilities of every next token, ``[text, token, word]``."""
    with torch.no_grad():
        return model(input_ids=probes).logits.double().log_softmax(-1).numpy()


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    # torch says the kind of error first and the tensor in the next line.
    said = " ".join(lines[:2]) if lines else type(error).__name__
    return said[:300]
