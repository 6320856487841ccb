"""From a name to a policy: a folder on disk or a repository of the Hub, checked before it is built.

A local folder takes precedence over a repository of the same name. No code that came with the weights runs by
default: pickles are refused unless explicitly allowed, and so is code in a repository, which must then be
pinned to a commit.
"""

from __future__ import annotations

import contextlib
import json
import logging
import pickle
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from tokenizers import Tokenizer

from keyturn.core.errors import InputError, KeyturnError, UsageError
from keyturn.core.lazy import torch, transformers
from keyturn.core.progress import waiting
from keyturn.core.rundir import read_json
from keyturn.core.weight_files import Weights
from keyturn.policies.local import LocalPolicy, Sampling
from keyturn.policies.model_folder import CARD, WORLD, check_folder, near_folders, quiet_bars, save_folder
from keyturn.problems.world.worlds import World, world_from_json, world_to_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = ("float32", "bfloat16", "float16", "auto")
"""Number types of loaded weights; ``auto``: as they are stored."""

_DEVICE = re.compile(r"auto|(cpu|cuda|mps|xpu)(:[0-9]+)?")
_PROBE = "What is 12 plus 3?\n\nIt's 15 (fifteen); na\u00efve \u4e00\u4e8c, x_1 = -2.50  done."
"""Words, digits, signs, breaks and accents, which tokenizers split by rules of their own."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NOT_CAUSAL = ("ForMaskedLM", "ForPreTraining", "ForSequenceClassification", "ForTokenClassification")
_log = logging.getLogger("keyturn")


def load_policy(
    path_or_id: str | Path,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    sampling: Sampling | None = None,
) -> LocalPolicy:
    """Load a causal LM with its tokenizer.

    Args:
        path_or_id: a model folder, or ``owner/name`` on the Hub.
        dtype: ``float32``, ``bfloat16``, ``float16`` or ``auto`` (as stored).
        device: ``cpu``, ``cuda``, ``cuda:1``..., or ``auto``.
        revision: revision of a Hub repository; a full commit where its code is to be run.
        trust_remote_code: run model code that came with the weights.
        allow_pickle: read ``pytorch_model.bin`` where there are no safetensors.
        sampling: how it is decoded; plain sampling at temperature 1 by default.

    Raises:
        UsageError: no such folder, device or type; code asked for without a pinned commit.
        InputError: the folder does not hold a complete causal LM that can be read safely.
    """
    if dtype not in DTYPES:
        raise UsageError(f"unknown dtype {dtype!r}", fix=f"one of {', '.join(DTYPES)}")
    _check_device(device)
    folder = find_folder(
        path_or_id, revision=revision, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle
    )
    weights = check_folder(folder, allow_pickle=allow_pickle)
    import keyturn.policies.tiny  # noqa: F401 (the Auto classes learn the architecture of our worlds)

    _check_config(folder, trust_remote_code=trust_remote_code)
    place = find_device(device)
    with quiet_bars(), waiting(f"loading {folder}"):
        model = _load_model(folder, weights, dtype, trust_remote_code=trust_remote_code)
        tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
    check_vocabulary(folder, model, tokenizer)
    # `to` is typed as a method of a wrapper class.
    model = model.to(place)  # pyright: ignore[reportArgumentType]
    return LocalPolicy(model.eval(), tokenizer, sampling=sampling or Sampling())


def world_of(folder: str | Path) -> World | None:
    """The controlled world that a model was made in; None for any other model."""
    path = Path(folder).expanduser() / WORLD
    if not path.is_file():
        return None
    document = {key: value for key, value in read_json(path).items() if key != "schema"}
    return world_from_json(document)


def save_policy(
    folder: str | Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    world: World | None = None,
    card: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
) -> dict[str, str]:
    """Write a model folder whole or not at all; returns the sha256 of every file by name."""
    documents: dict[str, Mapping[str, Any]] = {}
    if world is not None:
        documents[WORLD] = world_to_json(world)
    if card is not None:
        documents[CARD] = card
    return save_folder(Path(folder).expanduser(), model, tokenizer, documents, overwrite=overwrite)


def _check_device(name: str) -> None:
    """Refuse an invalid device name before anything slow happens."""
    if not _DEVICE.fullmatch(name):
        raise UsageError(f"unknown device {name!r}", fix="cpu, cuda, cuda:1 or auto")


def find_device(name: str) -> torch.device:
    """A device by name; ``auto`` is CUDA where there is one."""
    _check_device(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device {name!r}", fix="cpu, cuda, cuda:1 or auto") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("there is no CUDA device here", fix="leave the device at cpu")
    return device


def find_folder(
    path_or_id: str | Path,
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    endpoint: str | None = None,
) -> Path:
    """The folder of a model: a local one, or a Hub repository's files in the cache.

    Args:
        path_or_id, revision, trust_remote_code, allow_pickle: see :func:`load_policy`.
        endpoint: another Hub than the configured one.
    """
    text = str(path_or_id)
    path = Path(text).expanduser()
    looks_remote = isinstance(path_or_id, str) and is_repository(text)
    if path.is_dir():
        if looks_remote:
            _log.warning("%s is a folder here; the Hub is not asked", text)
        return path
    if path.exists():
        raise UsageError(f"{text} is a file, not a model folder", fix="name the folder that holds config.json")
    if not looks_remote:
        near = near_folders(path)
        fix = f"did you mean {' or '.join(near)}?" if near else "name a folder, or owner/name on the Hub"
        raise UsageError(f"no model folder {text}", fix=fix)
    if trust_remote_code and not (revision and _COMMIT.fullmatch(revision)):
        raise UsageError(
            f"code of {text} would run, but no commit is pinned",
            fix="pass --revision with the full 40-digit commit that you have read",
        )
    return _from_hub(text, revision, trust_remote_code, allow_pickle, endpoint)


def is_repository(name: str) -> bool:
    """Whether a name has the form of a Hub repository, ``owner/name``."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None and not name.startswith((".", "~", "/"))


def _from_hub(repo: str, revision: str | None, code: bool, pickles: bool, endpoint: str | None) -> Path:
    wanted = ["*.json", "model*.safetensors", "*.model", "*.txt", "*.jinja"]
    wanted += ["*.py"] * code + ["pytorch_model*.bin"] * pickles
    try:
        with _hub_bars():
            where = snapshot_download(
                repo, revision=revision, allow_patterns=wanted, ignore_patterns=["*/*"], endpoint=endpoint
            )
    except Exception as error:
        said = _hub_error(repo, revision, error)
        if said is None:
            raise
        if near := near_folders(Path(repo)):
            said.fix = f"did you mean {' or '.join(near)}? Else: {said.fix}"
        raise said from error
    return Path(where)


@contextlib.contextmanager
def _hub_bars() -> Iterator[None]:
    """Show the Hub's progress bars only on a terminal."""
    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _hub_error(repo: str, revision: str | None, error: Exception) -> KeyturnError | None:
    """The cause of a failed download in one sentence; None where neither the Hub nor the network caused it."""
    # Where nothing is cached, the Hub's own refusal arrives as the cause of "not in the cache".
    cause = error.__cause__
    if isinstance(error, LocalEntryNotFoundError) and isinstance(cause, HfHubHTTPError):
        error = cause
    if isinstance(error, HFValidationError):
        return UsageError(f"not a repository name: {repo}", fix="owner/name")
    if isinstance(error, GatedRepoError):
        return InputError(f"{repo} is gated", fix="accept its terms on the Hub and log in (hf auth login)")
    if isinstance(error, RevisionNotFoundError):
        return InputError(f"{repo} has no revision {revision}", fix="look up its commits on the Hub")
    if isinstance(error, RepositoryNotFoundError):
        return InputError(
            f"neither a folder nor a repository: {repo}", fix="check the name; log in if it is private"
        )
    if isinstance(error, LocalEntryNotFoundError):
        return InputError(
            f"{repo} is not in the cache and the Hub cannot be reached",
            fix="download it first, or name a folder",
        )
    if isinstance(error, HfHubHTTPError):
        status = getattr(getattr(error, "response", None), "status_code", 0)
        return InputError(f"the Hub answered {status or 'an error'} for {repo}", fix=_hub_fix(status))
    # Whatever carries the request (httpx, requests, urllib3) raises errors of its own.
    carrier = {kind.__module__.split(".")[0].rstrip("0123456789") for kind in type(error).__mro__}
    if carrier & {"httpx", "httpcore", "requests", "urllib"} or isinstance(error, OSError):
        fix = "run the same command again, which resumes the download; or try another network or proxy"
        return InputError(f"the download of {repo} broke off: {_first_line(error)}", fix=fix)
    if isinstance(error, ValueError):
        fix = "check HF_ENDPOINT and the proxy: another server answers instead"
        return InputError(f"the server at the Hub's address is not the Hub: {_first_line(error)}", fix=fix)
    return None


def _hub_fix(status: int) -> str:
    """The fix for a refusal of the Hub."""
    if status in (401, 403):
        return "log in with an account that may read it (hf auth login), or set HF_TOKEN"
    if status == 404:
        return "check the name and the revision"
    if status == 429:
        return "wait some minutes; who is logged in may ask more often (hf auth login)"
    return "try again later" if status >= 500 or not status else "check the name and the revision"


def _check_config(folder: Path, *, trust_remote_code: bool) -> None:
    try:
        document = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = str(document.get("model_type", ""))
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{folder / 'config.json'} is not a JSON object", fix="copy it again") from error
    if kind not in transformers.CONFIG_MAPPING:
        if "auto_map" in document and not trust_remote_code:
            raise InputError(
                f"{folder} wants to run its own code (model type {kind!r})",
                fix="read it, then pass --trust-remote-code (trust_remote_code=True) with a pinned --revision",
            )
        if "auto_map" not in document:
            raise InputError(f"unknown model type {kind!r} in {folder}", fix="upgrade transformers")
        return
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    names = [str(name) for name in document.get("architectures") or []]
    encoder = bool(names) and all(name.endswith(_NOT_CAUSAL) for name in names)
    if (encoder and not getattr(config, "is_decoder", False)) or config.is_encoder_decoder:
        raise InputError(
            f"{folder} is not a causal LM ({', '.join(names) or kind})", fix="name a decoder-only model"
        )
    if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING and not trust_remote_code:
        raise InputError(f"model type {kind!r} has no causal LM", fix="name a decoder-only model")


def _load_model(folder: Path, weights: Weights, dtype: str, *, trust_remote_code: bool) -> PreTrainedModel:
    try:
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            trust_remote_code=trust_remote_code,
            use_safetensors=not weights.pickled,
            local_files_only=True,
            output_loading_info=True,
        )
    except pickle.UnpicklingError as error:
        raise InputError(
            f"cannot load {folder}: its pickle holds more than tensors",
            fix="convert it to safetensors where it was made",
        ) from error
    except ImportError as error:
        raise InputError(
            f"cannot load {folder}: {_first_line(error)}",
            fix="install what it names, or take the checkpoint that it was quantised from",
        ) from error
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"cannot load {folder}: {_first_line(error)}", fix="check the folder's files"
        ) from error
    model, info = loaded
    missing = sorted(info["missing_keys"])
    if missing:
        raise InputError(
            f"{folder} lacks {len(missing)} weights of its architecture, first {missing[0]}",
            fix="it is incomplete or not a causal LM; copy it again",
        )
    return model


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The folder's tokenizer, which splits text as its ``tokenizer.json`` says.

    transformers may build another one from the model's type (a ``Qwen2Tokenizer`` for any Qwen2 model), with
    splitting rules of its own. A model would then read prompts in tokens that it never saw.

    Raises:
        InputError: it cannot be loaded.
    """
    called = {"trust_remote_code": trust_remote_code, "local_files_only": True}
    try:
        found = transformers.AutoTokenizer.from_pretrained(folder, **called)
        if not _splits_as_saved(folder, found):
            found = transformers.PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
            _log.warning("%s: its tokenizer.json is used, not the tokenizer of its model type", folder)
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, TypeError, AttributeError) as error:
        raise InputError(
            f"cannot load the tokenizer of {folder}: {_first_line(error)}", fix="check the folder's files"
        ) from error
    return found


def _splits_as_saved(folder: Path, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer gives the ids that ``tokenizer.json`` gives; True where there is none."""
    file = folder / "tokenizer.json"
    if not file.is_file() or not getattr(tokenizer, "is_fast", False):
        return True
    saved = Tokenizer.from_file(str(file))
    saved.no_truncation()
    saved.no_padding()
    called: Any = tokenizer
    words = [word for word, _ in zip(sorted(saved.get_vocab()), range(2000), strict=False)]
    probe = [_PROBE, " ".join(words[:: max(1, len(words) // 50)])]
    ours = [list(called(text, add_special_tokens=False)["input_ids"]) for text in probe]
    return ours == [saved.encode(text, add_special_tokens=False).ids for text in probe]


def check_vocabulary(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer with ids beyond the model's embedding.

    Raises:
        InputError: it has some.
    """
    embedding: Any = model.get_input_embeddings()
    rows = embedding.weight.shape[0]
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if highest >= rows:
        raise InputError(
            f"the tokenizer of {folder} gives ids up to {highest}, the model has {rows} embeddings",
            fix="model.resize_token_embeddings(len(tokenizer)), then save both",
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
