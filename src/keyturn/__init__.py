"""keyturn: does post-training create reasoning, or only deploy what the base model already has?

The front door: :func:`audit` says what post-training changed, :func:`train` post-trains a policy,
:func:`elicit` lets one answer under a method that changes no weight, :func:`frontier` says what the same gain
costs without training, :func:`load` opens one, and :func:`judge` gives a verdict from counts alone. Importing
this package is quick and imports no torch: what a name needs is imported when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keyturn.front.offered import Columns, KeyturnError, audit, elicit, frontier, judge, load, train

__version__ = "0.1.0"
__all__ = ["Columns", "KeyturnError", "audit", "elicit", "frontier", "judge", "load", "train"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Here and not at the top: the verbs' listings and error messages need none of it.
    value = getattr(importlib.import_module("keyturn.front.offered"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
