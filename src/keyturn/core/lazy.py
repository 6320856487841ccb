"""torch and transformers, imported when something of them is first asked for.

They take seconds to import, and a listing, a usage error or an audit of sample files needs neither. Modules
that such a verb passes through write ``from keyturn.core.lazy import torch`` and use ``torch.something`` inside
functions only; types come from the real module under ``TYPE_CHECKING``. Where a class or a decorator of torch
is needed when a module is made (``nn.Module``, ``autograd.Function``), the module imports torch itself and is
imported by the function that needs it. ``tests/test_house.py`` says which modules may.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any


class Later(ModuleType):
    """A stand-in for a module: the first attribute asked for imports it.

    Args:
        name: the module's absolute name.
    """

    def __getattr__(self, attribute: str) -> Any:
        # What inspects modules (pickle, doctest, pytest) asks all of them for names such as __wrapped__.
        if attribute.startswith("__") and attribute != "__version__":
            raise AttributeError(attribute)
        if self.__name__ in sys.modules:
            return getattr(sys.modules[self.__name__], attribute)
        # Here and not at the top: rich is not needed to say that a word is unknown.
        from keyturn.core.progress import waiting

        with waiting(f"loading {self.__name__}"):
            return getattr(importlib.import_module(self.__name__), attribute)


if TYPE_CHECKING:
    import safetensors.torch as safetensors_torch
    import torch as torch
    import transformers as transformers
else:
    safetensors_torch = Later("safetensors.torch")
    torch = Later("torch")
    transformers = Later("transformers")
