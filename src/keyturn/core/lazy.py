"""torch and transformers, imported on first use.

They take seconds to import, and a listing, a usage error or an audit of sample files needs neither. Modules
that such a command imports write ``from keyturn.core.lazy import torch`` and use ``torch.something`` inside
functions only; types come from the real module under ``TYPE_CHECKING``. A module that needs a class or a
decorator of torch at import (``nn.Module``, ``autograd.Function``) imports torch itself, and the function that
needs this module imports it. ``tests/test_house.py`` lists the modules that may do so.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any


class Later(ModuleType):
    """A stand-in for a module, which is imported on the first access to an attribute.

    Args:
        name: the module's absolute name.
    """

    def __getattr__(self, attribute: str) -> Any:
        # Tools that inspect modules (pickle, doctest, pytest) ask all of them for names such as __wrapped__.
        if attribute.startswith("__") and attribute != "__version__":
            raise AttributeError(attribute)
        if self.__name__ in sys.modules:
            return getattr(sys.modules[self.__name__], attribute)
        # Imported here, because most commands do not need rich.
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
