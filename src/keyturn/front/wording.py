"""Rewords messages for Python: ``problems=FILE`` where the command line says ``--problems FILE``."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

from keyturn.core.errors import KeyturnError

P = ParamSpec("P")
R = TypeVar("R")

_OPTION = re.compile(r"--([a-z][a-z-]*)(?:\.([a-z][a-z_-]*))?(?: ([\w.,#/-]*[\w#]))?")
_NO_VALUES = frozenset("and beside does for goes has if in is means of or out to with would".split())  # noqa: SIM905
"""Words that can follow an option as part of the sentence, not as the option's value."""
_CLASSES = {"columns": "Columns", "server": "ServerOptions"}
"""Options that have fields, and the Python class that holds them."""


def in_python(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function so that its errors name its own arguments instead of command line options."""
    defaults = {name: one.default for name, one in inspect.signature(function).parameters.items()}

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except KeyturnError as error:
            error.what, error.fix = (reworded(text, defaults) for text in (error.what, error.fix))
            error.args = (error.what, *error.args[1:])
            raise

    return called


def reworded(text: str, defaults: Mapping[str, object]) -> str:
    """A message worded for Python.

    Args:
        text: what the command line would say.
        defaults: the arguments of the function and their defaults. Options of other programs are left as they
            are.
    """

    def argument(found: re.Match[str]) -> str:
        name, field, value = found[1].replace("-", "_"), found[2], found[3] or ""
        if name not in defaults:
            return found[0]
        rest = ""
        if value in _NO_VALUES or isinstance(defaults[name], bool):
            value, rest = "", f" {value}" if value else ""
        given = value if not value or value.isupper() else repr(value)
        if field is not None:
            held = field.replace("-", "_")
            return f"{name}={_CLASSES.get(name, 'dict')}({held}={given or '...'}){rest}"
        if isinstance(defaults[name], bool) and rest != " would":
            return f"{name}=True{rest}"
        return (f"{name}={given}" if given else name) + rest

    return _OPTION.sub(argument, text)
