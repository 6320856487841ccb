"""The source files of modules and their definitions, found without importing anything.

Our modules are those of keyturn and of its user: files outside of the installed libraries. Each text is read
once, and at the first request those of all loaded modules are read. So an edit during a run does not change the
version that the run records. A module that was reloaded is read again.
"""

from __future__ import annotations

import contextlib
import gc
import site
import sys
import sysconfig
from collections.abc import Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from keyturn.core.definitions import ModuleSource
from keyturn.core.live_source import is_live, live_source

_INSTALLED = {"site-packages", "dist-packages"}
_HOME = Path(__file__).parents[1]


class Sources:
    """Modules by name.

    Args:
        roots: top-level package -> its folder, for a copy that is not the installed one.
    """

    def __init__(self, roots: Mapping[str, Path] | None = None) -> None:
        self._roots = {"keyturn": _HOME, **(roots or {})}
        self._real = roots is None
        self._libraries = _libraries()
        self._files: dict[str, Path | None] = {}
        self._tops: dict[str, Path | None] = {}
        self._texts: dict[str, bytes] = {}
        self._specs: dict[str, Any] = {}
        self._modules: dict[str, ModuleSource | None] = {}
        self._pinned = False
        self.unread: dict[str, frozenset[str]] = {}
        """Module without a file -> its names that cannot be read."""

    def fresh(self) -> bool:
        """Read modules that were loaded or reloaded since; False if that changed anything."""
        if not self._real:
            return True
        changed = False
        for name in list(self.unread):
            before, now = self._modules[name], self._typed(name)
            if before is None or now is None or before.source != now.source:
                self._modules[name], changed = now, True
        for name, module in list(sys.modules.items()):
            known = self._specs.get(name)
            spec = getattr(module, "__spec__", None)
            if spec is None or spec is known or (known is None and self._pinned):
                continue
            if known is not None:
                for found in (self._files, self._texts, self._modules):
                    found.pop(name, None)
                changed = True
            if self.file(name) is not None:
                self.text(name)
                self._specs[name] = spec
        self._pinned = True
        return not changed

    def ours(self, name: str) -> bool:
        """Whether a module belongs to keyturn or to its user."""
        return self.file(name) is not None or (self._real and is_live(name))

    def file(self, name: str) -> Path | None:
        """The file of one of our modules; None if the module is not ours or does not exist."""
        if name not in self._files:
            self._files[name] = self._find(name)
        return self._files[name]

    def text(self, name: str) -> bytes:
        """The source of one of our modules, as it was at the first request."""
        if name not in self._texts:
            path = self.file(name)
            assert path is not None, f"{name} is none of ours"
            self._texts[name] = path.read_bytes()
            module = sys.modules.get(name)
            if module is not None and self._real:
                self._specs[name] = getattr(module, "__spec__", None)
        return self._texts[name]

    def module(self, name: str) -> ModuleSource | None:
        """The definitions of one of our modules; None if it is not ours, or not readable Python."""
        if name not in self._modules:
            path = self.file(name)
            self._modules[name] = self._typed(name) if path is None else self._read(name, path)
        return self._modules[name]

    def _typed(self, name: str) -> ModuleSource | None:
        """The present definitions of a module without a file."""
        if not (self._real and is_live(name)):
            return None
        found, self.unread[name] = live_source(name)
        return found

    def _read(self, name: str, path: Path) -> ModuleSource | None:
        collects = gc.isenabled()
        gc.disable()  # a tree has a hundred thousand objects, all of which are freed after reading
        try:
            return ModuleSource(self.text(name), name, package=path.name == "__init__.py")
        except (SyntaxError, ValueError):
            return None
        finally:
            if collects:
                gc.enable()

    def _find(self, name: str) -> Path | None:
        top, _, rest = name.partition(".")
        if top not in self._roots:
            loaded = None if top in sys.stdlib_module_names else self._loaded(name)
            if loaded is not None or name == "__main__":
                return loaded
        place = self._place(top)
        if place is None:
            return None
        if place.is_file():
            return None if rest else place
        path = place.joinpath(*rest.split(".")) if rest else place
        for found in (path.with_name(path.name + ".py"), path / "__init__.py"):
            if found.is_file() and (rest or found.name == "__init__.py"):
                return found
        return None

    def _loaded(self, name: str) -> Path | None:
        """The file of a loaded module that belongs to the user."""
        path = getattr(sys.modules.get(name), "__file__", None)
        return Path(path) if path and path.endswith(".py") and self._own(Path(path)) else None

    def _place(self, top: str) -> Path | None:
        """The folder or file of one of our top-level packages or modules."""
        if top in self._roots:
            return self._roots[top]
        if top not in self._tops:
            self._tops[top] = None
            if top not in sys.stdlib_module_names and top != "__main__":
                with contextlib.suppress(ImportError, ValueError, AttributeError):
                    spec = PathFinder.find_spec(top)
                    self._tops[top] = next(filter(self._own, _places(spec)), None)
        return self._tops[top]

    def known(self, top: str) -> bool:
        """Whether a top-level name is one of our modules or a folder of them, with ``__init__`` or without."""
        return self.ours(top) or self._place(top) is not None

    def _own(self, path: Path) -> bool:
        if _INSTALLED & set(path.parts):
            return False  # most are, and resolving a path is slow
        path = path.resolve()
        return (
            not _INSTALLED & set(path.parts)
            and not any(path.is_relative_to(folder) for folder in self._libraries)
            and path.exists()
        )


def _places(spec: ModuleSpec | None) -> list[Path]:
    """The file of a module, or the folders of a package."""
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(one) for one in spec.submodule_search_locations]
    return [Path(spec.origin)] if spec.origin and spec.origin.endswith(".py") else []


def _libraries() -> tuple[Path, ...]:
    """Folders of the standard library and of installed packages."""
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    with contextlib.suppress(AttributeError):  # some embedded interpreters have no such function
        paths |= {*site.getsitepackages(), site.getusersitepackages()}
    return tuple(Path(path).resolve() for path in paths if path)
