"""Optional packages, imported where they are used and named when they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from keyturn.core.errors import MissingExtraError

_EXTRA_OF = {
    "math_verify": "math",
    "datasets": "data",
    "pandas": "pandas",
    "peft": "peft",
    "trl": "trl",
}


def need(package: str, why: str) -> ModuleType:
    """Import an optional package, or say which extra brings it.

    Args:
        package: the import name.
        why: what wants it, for the error's sentence.

    Raises:
        MissingExtraError: the package is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.split(".")[0]:
            raise
        extra = _EXTRA_OF.get(package.split(".")[0])
        fix = f"pip install 'keyturn[{extra}]'" if extra else f"pip install {package}"
        raise MissingExtraError(f"{why} needs the package {package}", fix=fix) from error
