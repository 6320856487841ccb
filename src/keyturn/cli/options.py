"""The words of a command line: which are switches, which positional, and which settings a verb takes."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, get_args, get_type_hints

import tyro

from keyturn.core.errors import UsageError

Method = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="METHOD")]
Model = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]

_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def switches(function: Callable[..., Any]) -> frozenset[str]:
    """Names of a verb's options that take no value; nested options have dotted names.

    Args:
        function: function that the verb calls. Its annotations may rename an argument
            (``tyro.conf.arg(name=...)``); the name ``""`` gives the argument's fields to the verb.
    """
    found: set[str] = set()
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        given = [extra.name for extra in get_args(hints[name])[1:] if getattr(extra, "name", None) is not None]
        found |= _switches(given[0] if given else name, _plain(hints[name]), parameter.default)
    return frozenset(found)


def settled(words: Sequence[str], known: Iterable[str]) -> list[str]:
    """The words, with ``--json=False`` written as ``--no-json`` and ``--json=true`` as ``--json``.

    Args:
        words: words of the command line.
        known: switches of the verb, see :func:`switches`.

    Raises:
        UsageError: a switch has a value that is neither yes nor no.
    """
    names = set(known)
    out = []
    for word in words:
        option = re.fullmatch(r"--([\w.-]+)=(.*)", word, re.DOTALL)
        name = option[1].replace("_", "-") if option else ""
        if option is None or name not in names:
            out.append(word)
            continue
        said = option[2].strip().lower()
        if said not in (*_YES, *_NO):
            raise UsageError(f"--{name} is a switch, not {option[2]!r}", fix=f"--{name} or --{negated(name)}")
        out.append(f"--{name}" if said in _YES else f"--{negated(name)}")
    return out


def negated(name: str) -> str:
    """The option that switches another one off: ``rl.no-store-rollouts`` for ``rl.store-rollouts``."""
    *path, last = name.split(".")
    return ".".join([*path, f"no-{last}"])


def after(words: Sequence[str], option: str, default: str) -> str:
    """The value of an option, read before the command line is parsed because it decides which settings
    exist."""
    for index, word in enumerate(words):
        if word == option and index + 1 < len(words):
            return words[index + 1]
        if word.startswith(f"{option}="):
            return word.split("=", 1)[1]
    return default


def positional(words: Sequence[str], known: Iterable[str]) -> list[str]:
    """The words that are neither options nor their values.

    Args:
        words: words of the command line.
        known: options without a value; the prefix ``--no-`` switches them off.
    """
    alone = {*known, "help", "h"}
    found, skip = [], False
    for word in words:
        if word.startswith("-"):
            name = word.lstrip("-").replace("no-", "")
            skip = "=" not in word and name not in alone
        elif skip:
            skip = False
        else:
            found.append(word)
    return found


def typed(function: Callable[..., None], **nested: Any) -> Callable[..., None]:
    """The function with the types and defaults of its nested settings.

    Args:
        function: function that a verb calls.
        nested: argument -> its default record of settings; None removes the argument. Annotations of the
            argument, such as an empty name, stay.
    """

    @functools.wraps(function)
    def with_settings(*args: Any, **kwargs: Any) -> None:
        return function(*args, **kwargs)

    hints = dict(inspect.get_annotations(function, eval_str=True))
    parameters = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in nested and nested[name] is None:
            hints.pop(name)
            continue
        if name in nested:
            extras = getattr(hints[name], "__metadata__", ())
            own = type(nested[name])
            hints[name] = Annotated[(own, *extras)] if extras else own
            parameter = parameter.replace(default=nested[name])
        parameters.append(parameter.replace(annotation=hints[name]))
    with_settings.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_settings.__annotations__ = hints
    return with_settings


def unescaped(texts: Sequence[str]) -> tuple[str, ...]:
    r"""Texts with ``\\n`` and ``\\t`` read as a line break and a tab, which are hard to type in a shell."""
    return tuple(text.replace("\\n", "\n").replace("\\t", "\t") for text in texts)


def flat_settings(settings: Any, path: str = "") -> dict[str, str]:
    """Values of settings as text, by the dotted name of their option."""
    if settings is None or not is_dataclass(settings):
        return {}
    found: dict[str, str] = {}
    for field in fields(settings):
        value, name = getattr(settings, field.name), f"{path}{field.name}".replace("_", "-")
        found |= flat_settings(value, f"{name}.") if is_dataclass(value) else {name: _word(value)}
    return found


def _word(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _switches(name: str, kind: Any, default: Any) -> set[str]:
    if kind is bool:
        return {name.replace("_", "-")}
    inner = type(default) if is_dataclass(default) and not isinstance(default, type) else kind
    if not (isinstance(inner, type) and is_dataclass(inner)):
        return set()
    hints = get_type_hints(inner, include_extras=True)
    return {
        found
        for field in fields(inner)
        for found in _switches(
            f"{name}.{field.name}".removeprefix("."),
            _plain(hints[field.name]),
            getattr(default, field.name, None),
        )
    }


def _plain(hint: Any) -> Any:
    """A type without its annotations."""
    return get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
