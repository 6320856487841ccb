"""The source of interactively typed code: the module of a notebook or an interpreter, which has no file.

It is assembled from the functions and classes that exist now, the imports, and the names whose values are JSON.
A name that cannot be written in this way is kept, and everything that reaches it is refused.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
import textwrap
import types

from keyturn.core.definitions import ModuleSource


def is_live(name: str) -> bool:
    """Whether a module is loaded, has no file, and is not part of Python."""
    module = sys.modules.get(name)
    own = (
        module is not None
        and not getattr(module, "__file__", None)
        and getattr(module, "__path__", None) is None
    )
    return own and name not in sys.stdlib_module_names and name not in sys.builtin_module_names


def live_source(name: str) -> tuple[ModuleSource, frozenset[str]]:
    """The present definitions of a module without a file, and its names that cannot be read."""
    lines, unread = list[str](), set[str]()
    for key, value in list(vars(sys.modules[name]).items()):
        if not key.isidentifier() or (key.startswith("__") and key.endswith("__")):
            continue
        text = _written(name, key, value)
        lines.append(f"{key} = None" if text is None else text)
        if text is None:
            unread.add(key)
    return ModuleSource("\n".join(lines), name), frozenset(unread)


def _written(module: str, key: str, value: object) -> str | None:
    if isinstance(value, types.ModuleType):
        return f"import {value.__name__} as {key}"
    if isinstance(value, types.FunctionType | type):
        if value.__module__ != module:
            first = value.__qualname__.partition(".")[0]
            return f"from {value.__module__} import {first} as {key}" if first.isidentifier() else None
        return _source(value)
    try:
        return f"{key} = {json.dumps(value, sort_keys=True)!r}"
    except (TypeError, ValueError, RecursionError):
        return None


def _source(value: types.FunctionType | type) -> str | None:
    try:
        text = textwrap.dedent(inspect.getsource(value))
        ast.parse(text)
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    return text
