"""The kind of object that one side of an audit is: a name, a loaded model, a policy, or samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias

from keyturn.core.errors import UsageError
from keyturn.policies.connect import is_server
from keyturn.rollouts.readers import Samples
from keyturn.rollouts.readers.memory import is_table
from keyturn.rollouts.readers.records import split_selector

Kind: TypeAlias = Literal["samples", "policy"]
Source: TypeAlias = Literal["name", "server", "model", "policy"]

SIDES = ("base", "tuned")

_ENDINGS = frozenset(
    [".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".eval", ".gz", ".zst", ".bz2", ".xz"]
)
"""Endings by which a name is taken for a file, even if no such file exists."""

TAKEN = (
    "a name (an embedded base, a folder, owner/name on the Hub, http://host:port/v1#model, a file of samples), "
    "(model, tokenizer), a policy, a data frame, a list of records, or counts {problem: (right, drawn)}"
)


def kind_of(value: Any, side: str) -> Kind:
    """Whether one side of an audit is a policy or samples.

    Args:
        value: what was given.
        side: ``base`` or ``tuned``, for the message.

    Raises:
        UsageError: the value is neither.
    """
    if isinstance(value, Samples):
        return "samples"
    if isinstance(value, str | Path):
        return "samples" if _is_file(value) else "policy"
    if is_policy(value) or model_of(value) is not None:
        return "policy"
    if not is_table(value):
        raise UsageError(f"{side} is of type {type(value).__name__}", fix=TAKEN)
    return "samples"


def source_of(value: Any) -> Source:
    """How a policy is given: as a name to load, a server's address, a loaded model, or a policy object."""
    if is_policy(value):
        return "policy"
    if model_of(value) is not None:
        return "model"
    return "server" if is_server(str(value)) else "name"


def is_policy(value: Any) -> bool:
    """Whether a value is one of our policies, or behaves like one."""
    # The class is checked, not the object: an object's fingerprint is a hash of all its weights.
    return hasattr(type(value), "draw") and hasattr(type(value), "fingerprint")


def _is_file(name: str | Path) -> bool:
    if is_server(str(name)):
        return False
    path, _ = split_selector(name)
    return path.is_file() or (not path.exists() and path.suffix.lower() in _ENDINGS)


def model_of(value: Any) -> tuple[Any, Any] | None:
    """Model and tokenizer of a pair, of a pipeline or of a model alone (whose tokenizer is None)."""
    if isinstance(value, tuple | list):
        return (value[0], value[1]) if len(value) == 2 and hasattr(value[0], "generate") else None
    if hasattr(value, "generate") and hasattr(value, "config"):
        return value, None
    if hasattr(value, "model") and hasattr(value, "tokenizer") and hasattr(value.model, "generate"):
        return value.model, value.tokenizer
    return None
