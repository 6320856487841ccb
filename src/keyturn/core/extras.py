"""Optional packages: imported where they are used, with an error that names the one that is missing."""

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
    "gepa": "gepa",
    "gguf": "gguf",
    "accelerate": "gguf",
}


def need(package: str, why: str) -> ModuleType:
    """Import an optional package, or raise an error that names the extra to install.

    Args:
        package: the import name.
        why: what needs it, as the subject of the error's sentence.

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
