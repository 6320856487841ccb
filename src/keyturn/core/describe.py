"""Values as plain data for an identity: equal values give equal data in every process, different ones do not.

A description never contains a ``repr``, an address or a path. A value that is not plain data is refused with
the name of the argument. A function made inside another one may hold values that its text does not show, so it
is allowed only in an object whose ``config`` says what it was made from (a reward, an objective).

- Numbers of different types differ: 1 is neither 1.0 nor True. A list equals a tuple of the same items, and a
  set a frozenset.
- Of a dataclass, fields are left out that are made from others (``init=False``), that do not count in
  comparisons (``compare=False``) or that are :data:`PROSE`.
- An object with a ``fingerprint`` (a policy) is described by it, one with a ``name`` and a ``config`` (a hook,
a
  grader) by these, and one without any state by its class.
- Our own modules are not named, because the version of the code includes them: moving a class changes only the
  code. A thing from a library is named with its module and the library's version.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import json
import math
import sys
import types
from collections.abc import Mapping, Set
from pathlib import PurePath
from typing import Any, NoReturn

import numpy as np

from keyturn.core import code_version
from keyturn.core.errors import UsageError
from keyturn.core.measurement import Json

PROSE: Mapping[str, bool] = types.MappingProxyType({"prose": True})
"""``field(metadata=PROSE)``: words for people, on which no result depends."""

__uncounted__ = ("describe",)
"""What a result is called changes no result; another way to describe settings makes other names anyway."""

_TAG = "~"
"""First letter of our own names in a description; a user's name that begins with it is escaped."""
_DEEPEST = 40
_GIVEN = "given"
"""Attribute of an object that carries a function; it says what the function was made from."""


def describe(value: object, where: str = "value") -> Json:
    """A value as plain data.

    Args:
        value: any value; the module's docstring says which are allowed.
        where: its name, for the message.

    Raises:
        UsageError: it cannot be described; the message names the part and says what to give instead.
    """
    return _describe(value, where, 0)


def _describe(value: Any, where: str, depth: int, *, config: str | None = None) -> Json:
    if depth > _DEEPEST:
        _refuse(where, "it holds itself, or is nested too deeply", "flat settings")
    if isinstance(value, enum.Enum):
        return {f"{_TAG}enum": f"{_named(type(value))}.{value.name}"}
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and type(value) is int:
        return value
    if isinstance(value, float):
        return _float(float(value))
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes | bytearray):
        return {f"{_TAG}bytes": hashlib.sha256(value).hexdigest()}
    if isinstance(value, np.ndarray | np.generic):
        return _array(value, where)
    if isinstance(value, range):
        return {f"{_TAG}range": [value.start, value.stop, value.step]}
    if isinstance(value, Mapping):
        return _mapping(value, where, depth)
    if isinstance(value, Set):
        items = [_describe(one, f"{where}{{}}", depth + 1) for one in value]
        return {f"{_TAG}set": sorted(items, key=lambda one: json.dumps(one, sort_keys=True))}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [_describe(one, f"{where}[{index}]", depth + 1) for index, one in enumerate(value)]
    if isinstance(value, type):
        if "<" in value.__qualname__:
            _refuse(where, "a class made inside a function cannot be named", "a class at the top of a module")
        return {f"{_TAG}class": _named(value)}
    if callable(value) and not dataclasses.is_dataclass(value):
        found = _function(value, where, depth, config)
        if found is not None:
            return found
    return _object(value, where, depth)


def _float(value: float) -> Json:
    return value if math.isfinite(value) else {f"{_TAG}float": str(value)}


def _array(value: np.ndarray | np.generic, where: str) -> Json:
    if value.dtype.hasobject:
        _refuse(where, "an array of Python objects has no bytes of its own", "a list, or an array of numbers")
    plain = np.ascontiguousarray(value)
    kind = str(np.lib.format.dtype_to_descr(plain.dtype))
    out: dict[str, Json] = {f"{_TAG}array": kind, "shape": list(np.shape(value))}
    return out | {"sha256": hashlib.sha256(plain.tobytes()).hexdigest()}


def _mapping(value: Mapping[Any, Any], where: str, depth: int) -> Json:
    out: dict[str, Json] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            _refuse(where, f"it has the key {key!r}, and keys are text", "text as keys")
        name = f"{_TAG}{key}" if key.startswith(_TAG) else str(key)
        out[name] = _describe(item, f"{where}.{key}", depth + 1)
    return out


def _function(value: Any, where: str, depth: int, config: str | None) -> Json:
    """A function by its name (its code is counted separately); None for a callable object."""
    if isinstance(value, functools.partial):
        parts = {"function": value.func, "arguments": value.args, "keywords": value.keywords}
        described = {
            name: _describe(part, f"{where}.{name}", depth + 1, config=config) for name, part in parts.items()
        }
        return {f"{_TAG}partial": described}
    if isinstance(value, types.MethodType):
        owner = _describe(value.__self__, f"{where}.__self__", depth + 1)
        return {f"{_TAG}method": value.__func__.__name__, "of": owner}
    inner = getattr(value, "__wrapped__", value)
    if isinstance(inner, types.FunctionType):
        if "<" not in inner.__qualname__ or config == _GIVEN:
            return {f"{_TAG}function": _named(inner)}
        what = "a lambda" if inner.__name__ == "<lambda>" else "a function made inside another one"
        _refuse(
            where,
            f"{what} cannot be named: it may hold values that its text does not show",
            f"give {config} the settings it was made from, or define it at the top of a module"
            if config
            else "define it at the top of a module, or make it a frozen dataclass with __call__",
        )
    if isinstance(value, types.BuiltinFunctionType | np.ufunc):
        owner = getattr(value, "__self__", None)
        if owner is None or isinstance(owner, types.ModuleType):
            module = getattr(value, "__module__", None) or "numpy"
            return {f"{_TAG}function": f"{module}.{value.__name__}"}
        _refuse(where, f"a method of {type(owner).__name__} cannot be named", "a function of your own")
    return None


def _object(value: Any, where: str, depth: int) -> Json:
    kind = type(value)
    out: dict[str, Json] = {_TAG: _named(kind)}
    fingerprint = getattr(value, "fingerprint", None)
    if isinstance(fingerprint, str):
        return out | {"fingerprint": fingerprint}
    if isinstance(value, tuple):  # with names
        named = {name: getattr(value, name) for name in getattr(value, "_fields", ())}
        return out | {name: _describe(one, f"{where}.{name}", depth + 1) for name, one in named.items()}
    if dataclasses.is_dataclass(value):
        config = None
        if hasattr(value, "config"):
            config = f"{where}.config" if getattr(value, "config", None) is None else _GIVEN
        counted = [f for f in dataclasses.fields(value) if f.init and f.compare and not f.metadata.get("prose")]
        for one in counted:
            item = getattr(value, one.name)
            out[one.name] = _describe(item, f"{where}.{one.name}", depth + 1, config=config)
        return out
    if isinstance(getattr(value, "name", None), str) and getattr(value, "config", None) is not None:
        return out | {"name": value.name, "config": _describe(value.config, f"{where}.config", depth + 1)}
    if isinstance(value, PurePath):
        _refuse(where, "a path says where something lies, not what it is", "a hash of the file's content")
    if isinstance(value, types.ModuleType):
        _refuse(where, "a module is no setting", "the function or the value that is meant")
    if _stateless(value):
        return out
    _refuse(
        where,
        f"a {kind.__qualname__} is no plain data",
        "numbers, text, lists or a frozen dataclass of these; or give its class a name and a config",
    )


def _stateless(value: object) -> bool:
    """Whether an object has no state: its class is written in Python, and no attribute is set."""
    kinds = type(value).__mro__[:-1]
    # A class written in C may have state that no attribute shows (a date has).
    python = all(
        "__dict__" in vars(one) or vars(one).get("__slots__") == () or one.__base__ is not object
        for one in kinds
    )
    slots = any(vars(one).get("__slots__") for one in kinds)
    return python and not slots and getattr(value, "__dict__", None) == {}


def _named(value: Any) -> str:
    """The full name of a class or a function."""
    top = value.__module__.partition(".")[0]
    if code_version.REACH.sources.ours(value.__module__):
        return value.__qualname__
    version = getattr(sys.modules.get(top), "__version__", "")
    return f"{value.__module__}.{value.__qualname__}{f' {version}' if version else ''}"


def _refuse(where: str, why: str, instead: str) -> NoReturn:
    raise UsageError(f"{where}: {why}", fix=instead)
