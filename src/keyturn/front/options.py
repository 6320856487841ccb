"""Which kinds of audit read which options. An option that would have no effect is refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from keyturn.auditing.side_kinds import source_of
from keyturn.core.errors import UsageError

WAYS = {
    "samples": "samples",
    "file": "models and problems of their own",
    "world": "models and the problems of their world",
    "embedded": "a base that is trained here",
}
"""The kinds of audit, as messages call them."""

_OF_MODELS = ("file", "world")
_READ_BY = {
    "problems": ("samples", "file"),
    "examples": ("file",),
    "grader": ("samples", "file"),
    "columns": ("samples",),
    "draws_independent": ("samples",),
    "elicit": (*_OF_MODELS, "embedded"),
    "n_base": (*_OF_MODELS, "embedded"),
    "limit": ("file",),
    "per_cell": ("world", "embedded"),
    "max_new_tokens": ("file",),
    "worlds": ("embedded",),
    "workers": ("embedded",),
    "executor": (*_OF_MODELS, "embedded"),
    **dict.fromkeys(("temperature", "top_p", "template", "stop", "device", "dtype", "revision"), _OF_MODELS),
    **dict.fromkeys(("trust_remote_code", "allow_pickle", "server"), _OF_MODELS),
}
"""Option -> the kinds of audit that read it. All kinds read the other options."""

_LOADED = ("device", "dtype", "revision", "trust_remote_code", "allow_pickle")
"""Options for loading a model by its name."""
_ASKED = ("temperature", "top_p", "template", "stop")
"""Options for asking a model. A policy that is given as an object is used as it is."""
_LEAST = {"limit": 0, "per_cell": 1, "workers": 0, "max_new_tokens": 0}


def refuse_idle(
    options: Mapping[str, Any], function: Callable[..., Any], way: str, policies: Sequence[Any] = ()
) -> None:
    """Refuse options that an audit does not read, and numbers below their minimum.

    Args:
        options: option -> value.
        function: the function whose defaults apply to options that were not set.
        way: one of :data:`WAYS`.
        policies: base and tuned, if they are policies.

    Raises:
        UsageError: for the first such option.
    """
    for name in idle(options, function, [name for name in options if way in _READ_BY.get(name, WAYS)]):
        others = " or ".join(WAYS[other] for other in _READ_BY[name])
        raise UsageError(
            f"{spelled(name)} would do nothing: this is an audit of {WAYS[way]}",
            fix=f"leave it out; it is for audits of {others}",
        )
    for unread, why in _unread(policies) if way in _OF_MODELS else ():
        for name in idle(options, function, [name for name in options if name not in unread]):
            raise UsageError(f"{spelled(name)} would do nothing: {why}", fix="leave it out")
    for name, least in _LEAST.items():
        if options.get(name, least) < least:
            raise UsageError(
                f"{spelled(name)} is {options[name]}", fix=f"a number of {least} or more, or leave it out"
            )


def _unread(policies: Sequence[Any]) -> list[tuple[tuple[str, ...], str]]:
    """Options that these policies do not read, and why they do not."""
    sources = [source_of(policy) for policy in policies]
    found: list[tuple[tuple[str, ...], str]] = []
    if "server" not in sources:
        found.append((("server",), "neither policy is behind a server"))
    if set(sources) == {"server"}:
        found.append((_LOADED, "both policies are behind servers"))
    elif "name" not in sources:
        found.append((_LOADED, "no model is loaded by its name"))
    if "policy" in sources:
        found.append((_ASKED, "a policy is asked as it is (for another way: (policy.model, policy.tokenizer))"))
    return found


def idle(values: Mapping[str, Any], function: Callable[..., Any], read: Iterable[str]) -> tuple[str, ...]:
    """Options that were set but are not read.

    Args:
        values: option -> value.
        function: the function whose defaults apply to options that were not set.
        read: options that are read.
    """
    known, used = inspect.signature(function).parameters, set(read)
    return tuple(n for n, value in values.items() if n not in used and not _equal(value, known[n].default))


def _equal(value: Any, default: Any) -> bool:
    """Whether an option has its default. A comparison without a truth value (a data frame) means no."""
    try:
        return bool(value == default)
    except (TypeError, ValueError):
        return False


def spelled(name: str) -> str:
    """An option as the command line writes it: ``per_cell`` becomes ``--per-cell``."""
    return f"--{name.replace('_', '-')}"
