"""From a GGUF file to an ordinary model folder: loaded by transformers, compared tensor by tensor, saved.

transformers keeps a quantisation config in what it loads from GGUF, and what it saves asks for GGUF again. So
the state is put into a fresh model of the same config, strictly. Every tensor is compared with two
dequantisations that know nothing of each other, and no tensor of the file may be left over. The tokenizer must
hold the file's vocabulary and give text back as it was.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import pre_tokenizers

from keyturn.core.errors import InputError, UsageError
from keyturn.core.extras import need
from keyturn.core.lazy import torch, transformers
from keyturn.core.progress import progress, waiting
from keyturn.core.rundir import file_hash
from keyturn.policies.gguf.reading import GgufFile, read_gguf
from keyturn.policies.gguf.sources import gguf_of
from keyturn.policies.model_folder import quiet_bars, save_folder

SOURCE = "import.json"
"""What a folder was imported from: file, hash, types of the tensors, licence."""

PROBES = (
    "What is 12 + 345?\n\nIt's 357 (three hundred and fifty-seven).",
    " leading, trailing ",
    "3+4=7. 7+2=9. #### 9\n\nQuestion:",
    "tabs\tand   spaces\n  indented\n",
    "na\u00efve caf\u00e9 \u4e00\u4e8c x_1 = -2.50",
)
"""Digits, spaces, line breaks and accents, which a tokenizer must give back as they were."""

_SPLIT_DIGITS = frozenset({"smollm", "refact", "command-r", "starcoder", "codeshell", "minerva-7b"})
"""Pre-tokenizers of llama.cpp that set every digit apart and then split as GPT-2 does."""
_PERMUTED = frozenset({"llama"})
"""Architectures whose queries and keys llama.cpp stores in another order of rows (for its rotary embedding)."""
_GAINS_FROM_ONE = frozenset({"gemma", "gemma2", "gemma3"})
"""Architectures whose norm weights llama.cpp stores with 1 added."""
_NOT_WEIGHTS = frozenset({"rope_freqs.weight"})


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import made.

    Args:
        folder: the model folder.
        architecture: as the file calls it.
        parameters: numbers in its weights; tied ones count once.
        compared: tensors that were compared with an independent dequantisation.
        largest: the largest difference that was found among them.
        kinds: how many tensors the file stores in which type.
        notes: what was mended or left open, one sentence each.
    """

    folder: Path
    architecture: str
    parameters: int
    compared: int
    largest: float
    kinds: Mapping[str, int]
    notes: tuple[str, ...] = ()


def import_gguf(source: str, out: Path) -> Imported:
    """Make a model folder from a GGUF file or from an installed package that carries one.

    Args:
        source: a ``.gguf`` file, or the name of a package.
        out: the new folder; it must not exist.

    Raises:
        UsageError: no such source, or ``out`` is there already.
        MissingExtraError: ``gguf`` or ``accelerate`` is missing.
        InputError: the file is damaged, of an architecture that cannot be read or checked, or what was loaded
            is not what it holds.
    """
    if out.exists():
        raise UsageError(f"{out} exists already", fix="choose another folder")
    need("accelerate", "loading a GGUF file with transformers")
    with gguf_of(source, out.absolute().parent) as path:
        file = read_gguf(path)
        with quiet_bars(), _bars_on_terminals(), waiting(f"reading {path.name}"):
            model, tokenizer = _loaded(file)
        notes = _mend_tokenizer(file, tokenizer)
        _check_tokenizer(file, tokenizer)
        compared, largest = compare(file, model)
        said = {
            "source": source,
            "file": path.name,
            "sha256": file_hash(path),
            "architecture": file.architecture,
            "name": str(file.fields.get("general.name", "")),
            "licence": str(file.fields.get("general.license", "")),
            "tensors": file.kinds,
            "compared": compared,
        }
        save_folder(out, model, tokenizer, {SOURCE: said})
    return Imported(
        folder=out,
        architecture=file.architecture,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        compared=compared,
        largest=largest,
        kinds=file.kinds,
        notes=notes,
    )


@contextlib.contextmanager
def _bars_on_terminals() -> Iterator[None]:
    """The bar that transformers draws while it dequantises, on a terminal only."""
    if sys.stderr.isatty():
        yield
        return
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def _loaded(file: GgufFile) -> tuple[Any, Any]:
    """A fresh model that holds the file's weights in float32, and the tokenizer."""
    folder, name = str(file.path.absolute().parent), file.path.name
    try:
        read: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=name, dtype=torch.float32, local_files_only=True
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name, local_files_only=True)
        plain = {key: value for key, value in read.config.to_dict().items() if key != "quantization_config"}
        model = transformers.AutoModelForCausalLM.from_config(type(read.config).from_dict(plain))
        model.load_state_dict(read.state_dict(), strict=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, IndexError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(
            f"transformers cannot load {name} (architecture {file.architecture!r}): {said}",
            fix="upgrade transformers, or serve the file (llama.cpp) and audit it by its address",
        ) from error
    model.generation_config = read.generation_config
    return model.eval(), tokenizer


def compare(file: GgufFile, model: Any) -> tuple[int, float]:
    """Compare every tensor of a model with the file's, dequantised by the ``gguf`` package.

    Returns:
        How many tensors were compared, and the largest difference.

    Raises:
        InputError: one differs, has no counterpart, or a tensor of the file was left out.
    """
    gguf = need("gguf", "checking a GGUF file")
    known = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    if file.architecture not in known:
        raise InputError(f"unknown architecture {file.architecture!r}", fix="upgrade the package gguf")
    names = gguf.get_tensor_name_map(known[file.architecture], int(model.config.num_hidden_layers))
    state = dict(model.named_parameters())
    left, largest = set(file.tensors) - _NOT_WEIGHTS, 0.0
    with progress(f"check {file.path.name}", len(state)) as advance:
        for name, tensor in state.items():
            theirs = names.get_name(name, try_suffixes=(".weight", ".bias"))
            if theirs is None or theirs not in file.tensors:
                raise InputError(f"{file.path.name} has no tensor for {name}", fix="convert it again")
            ours = _as_stored(file, theirs, tensor.detach().numpy(), model.config)
            largest = max(largest, _distance(file, theirs, ours))
            left.discard(theirs)
            advance(1)
    # A head that is tied to the embedding may be stored beside it.
    if left == {"output.weight"} and model.config.tie_word_embeddings:
        raise InputError(f"{file.path.name} has a head of its own that was not read", fix="convert it again")
    if left:
        what = f"{len(left)} tensors of {file.path.name} were not read, first {sorted(left)[0]}"
        raise InputError(what, fix="upgrade transformers, or serve the file (llama.cpp)")
    return len(state), largest


def _as_stored(file: GgufFile, name: str, ours: NDArray[np.float32], config: Any) -> NDArray[np.float32]:
    """A tensor of the model as llama.cpp stores it."""
    if file.architecture in _PERMUTED and name.endswith(("attn_q.weight", "attn_k.weight")):
        heads = config.num_attention_heads
        if name.endswith("attn_k.weight"):
            heads = getattr(config, "num_key_value_heads", None) or heads
        split = ours.reshape(heads, 2, ours.shape[0] // heads // 2, *ours.shape[1:])
        return split.swapaxes(1, 2).reshape(ours.shape)
    if file.architecture in _GAINS_FROM_ONE and name.endswith("norm.weight"):
        return ours + np.float32(1)
    return ours


def _distance(file: GgufFile, name: str, ours: NDArray[np.float32]) -> float:
    theirs = file.values(name)
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise InputError(f"{file.path.name}: {name} holds numbers that are none", fix="convert it again")
    if theirs.shape != ours.shape:
        raise InputError(f"{file.path.name}: {name} has the shape {theirs.shape}", fix="convert it again")
    second = file.second_opinion(name)
    distance = max(
        float(np.abs(ours - other).max(initial=0.0)) for other in (theirs, second) if other is not None
    )
    if distance > 1e-5 * max(1.0, float(np.abs(theirs).max(initial=0.0))):
        raise InputError(
            f"{file.path.name}: {name} is loaded otherwise than it is stored (by up to {distance:.2g})",
            fix="upgrade transformers and gguf; until they agree, serve the file (llama.cpp)",
        )
    return distance


def _mend_tokenizer(file: GgufFile, tokenizer: Any) -> tuple[str, ...]:
    """Splitting rules that transformers does not take over from a GGUF file."""
    rule = str(file.fields.get("tokenizer.ggml.pre", "default"))
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if rule not in _SPLIT_DIGITS or backend is None or "Digits" in str(backend.pre_tokenizer):
        return ()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), backend.pre_tokenizer]
    )
    return (f"digits are set apart before text is split, as the file's rule {rule!r} wants it",)


def _check_tokenizer(file: GgufFile, tokenizer: Any) -> None:
    """The file's vocabulary under the file's ids, special tokens as one id each, and text given back whole."""
    words = [str(word) for word in file.fields.get("tokenizer.ggml.tokens", ())]
    if not words:
        raise InputError(f"{file.path.name} has no tokenizer", fix="take a file with its vocabulary")
    vocabulary = tokenizer.get_vocab()
    # SentencePiece writes spaces as lower blocks; some files spell runs of spaces as they are.
    moved = [
        word
        for place, word in enumerate(words)
        if place not in (vocabulary.get(word), vocabulary.get(word.replace(" ", "\u2581")))
    ]
    if moved and len(set(words)) == len(words):
        what = f"{len(moved)} tokens of {file.path.name} have other ids in the tokenizer, first {moved[0]!r}"
        raise InputError(what, fix="upgrade transformers")
    for role in ("bos", "eos"):
        stated, found = (
            file.fields.get(f"tokenizer.ggml.{role}_token_id"),
            getattr(tokenizer, f"{role}_token_id"),
        )
        if stated is not None and found is not None and int(stated) != found:
            what = f"{file.path.name} says its {role} token is {int(stated)}, the tokenizer {found}"
            raise InputError(what, fix="upgrade transformers")
    for token in tokenizer.all_special_tokens:
        ids = tokenizer(token, add_special_tokens=False)["input_ids"]
        if list(ids) != [vocabulary[token]]:
            raise InputError(f"the tokenizer splits its special token {token!r}", fix="upgrade transformers")
    unknown = tokenizer.unk_token_id
    for text in PROBES:
        ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        if unknown not in ids and tokenizer.decode(ids, clean_up_tokenization_spaces=False) != text:
            said = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
            raise InputError(f"the tokenizer gives {text!r} back as {said!r}", fix="upgrade transformers")
