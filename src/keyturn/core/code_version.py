"""The version of the code behind a result: a hash of every definition of ours that it reaches.

The search begins at the top-level definition that contains an object (for a function made by another one, that
other one). It follows every name of ours that a definition refers to, also names in annotations and imports
inside functions. So a dictionary of all rewards is reached only if it is named, and a change elsewhere in the
same module changes nothing. :mod:`keyturn.core.canonical` says what counts of a definition. The version also
includes the loose statements of every module that is reached and of its packages, and the files that a module
names in ``__code_files__``.

The variables that a function is closed over are followed as well: functions, and the classes of objects. This
finds the code behind an argument whose type says little (a protocol). The *values* of these variables are not
part of the code; :func:`keyturn.core.describe.describe` covers them.

Definitions are hashed and not whole modules, because editing one objective would make all stages of all others
out of date. There are no version numbers to raise by hand, because forgetting to raise one is the fault that
this module prevents. Not counted: libraries (``environment.json`` of a run names their versions), and the few
definitions that are declared to affect no result (``__uncounted__``: the cache of stages, the progress line).
"""

from __future__ import annotations

import functools
import hashlib
import os
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from keyturn.core.definitions import Definition, ModuleSource, digest
from keyturn.core.errors import UsageError
from keyturn.core.sources import Sources

_FEW = 64
"""Length above which only the types of a container's items are followed."""

Node = tuple[str, str]
"""Module and definition: ``Lab`` is a class with its methods, ``Lab:`` without, ``""`` the loose statements."""


@dataclass(frozen=True)
class CodeVersion:
    """The code behind something.

    Args:
        parts: definition (``objectives.grpo.credit``; in other packages with the package's name) -> short hash.
    """

    parts: Mapping[str, str] = field(default_factory=dict)

    @functools.cached_property
    def hash(self) -> str:
        """One short hash of all parts."""
        mixed = hashlib.blake2b(digest_size=6)
        for name in sorted(self.parts):
            mixed.update(f"{name}={self.parts[name]};".encode())
        return mixed.hexdigest()

    def __or__(self, other: CodeVersion) -> CodeVersion:
        return CodeVersion({**self.parts, **other.parts})

    def within(self, prefixes: Iterable[str]) -> CodeVersion:
        """The parts that lie in some rooms or modules (``experiments``, ``methods.edge``)."""
        found = tuple(prefixes)
        inside = {
            name: text
            for name, text in self.parts.items()
            if any(name == one or name.startswith(f"{one}.") for one in found)
        }
        return CodeVersion(inside)

    def changed(self, now: CodeVersion) -> tuple[str, ...]:
        """Definitions that differ now, or that only one of the two versions reaches."""
        names = sorted(self.parts.keys() | now.parts.keys())
        return tuple(name for name in names if self.parts.get(name) != now.parts.get(name))


class Reach:
    """The definitions that a definition reaches, with a cache.

    Args:
        sources: the modules.
    """

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self._next: dict[Node, tuple[Node, ...]] = {}
        self._texts: dict[Node, str] = {}
        self._all: dict[Node, frozenset[Node]] = {}
        self._versions: dict[frozenset[Node], CodeVersion] = {}

    def version(self, roots: Iterable[Node]) -> CodeVersion:
        """The version of everything that some definitions reach."""
        key = frozenset(roots)
        if key not in self._versions:
            nodes = frozenset().union(*(self._from(root) for root in key))
            self._versions[key] = CodeVersion(
                {_label(node): self._texts[node] for node in nodes if self._texts[node]}
            )
        return self._versions[key]

    def _from(self, root: Node) -> frozenset[Node]:
        if root not in self._all:
            seen, stack = {root}, [root]
            while stack:
                for node in self._after(stack.pop()):
                    if node not in seen:
                        seen.add(node)
                        stack.append(node)
            self._all[root] = frozenset(seen)
        return self._all[root]

    def _after(self, node: Node) -> tuple[Node, ...]:
        """The definitions that a definition refers to."""
        if node not in self._next:
            found = self.sources.module(node[0])
            self._texts[node] = ""
            if found is None or node[1] in found.uncounted:
                self._next[node] = ()
            else:
                self._next[node] = tuple(dict.fromkeys(self._expand(found, node[1])))
        return self._next[node]

    def _expand(self, module: ModuleSource, name: str) -> Iterator[Node]:
        yield from self._around(module)
        if name.startswith("file "):
            path = self.sources.file(module.name)
            assert path is not None, "a module that is read has a file"
            data = (path.parent / name.removeprefix("file ")).read_bytes()
            self._texts[module.name, name] = hashlib.blake2b(data, digest_size=6).hexdigest()
            return
        if name in module.members:
            yield module.name, f"{name}:"
            yield from ((module.name, f"{name}.{member}") for member in module.members[name])
            return
        bare = name.removesuffix(":")
        if bare in self.sources.unread.get(module.name, ()):
            raise UsageError(
                f"the source of {bare!r} cannot be read, and it is not plain data",
                fix="put it into a file, or a config",
            )
        several = (module.loose,) if not name else module.definitions[bare]
        written = [one for one in several if one is not None]
        self._texts[module.name, name] = _together(written)
        owner = bare.rpartition(".")[0]
        if owner:
            yield module.name, f"{owner}:"
        for one in written:
            for ref in one.refs:
                yield from self._own(module, owner, ref[1:]) if ref.startswith("~") else self.resolve(ref)

    def _own(self, module: ModuleSource, owner: str, attribute: str) -> Iterator[Node]:
        """An attribute of a method's own object; base classes are reached from the class itself."""
        if not attribute:
            yield module.name, owner
        elif attribute in module.members.get(owner, ()):
            yield module.name, f"{owner}.{attribute}"

    def _around(self, module: ModuleSource) -> Iterator[Node]:
        """The parts of a module that count whatever is reached in it."""
        name = module.name
        while name:
            found = self.sources.module(name)
            if found is not None and found.loose is not None:
                yield name, ""
            name = name.rpartition(".")[0]
        path = self.sources.file(module.name)
        for pattern in module.files:
            assert path is not None, "a module that is read has a file"
            files = sorted(one for one in path.parent.glob(pattern) if one.is_file())
            if not files:
                raise UsageError(
                    f"{path} names {pattern!r} in __code_files__, but there is no such file",
                    fix="correct the name",
                )
            yield from ((module.name, f"file {os.path.relpath(one, path.parent)}") for one in files)

    def resolve(self, dotted: str) -> Iterator[Node]:
        """The definitions that a dotted name stands for."""
        yield from self._resolve(dotted, frozenset())

    def _resolve(self, dotted: str, asked: frozenset[str]) -> Iterator[Node]:
        if dotted in asked:
            return
        asked |= {dotted}
        parts = dotted.split(".")
        if not self.sources.known(parts[0]):
            return
        for cut in range(len(parts), 0, -1):
            module = self.sources.module(".".join(parts[:cut]))
            if module is not None:
                yield from self._named(module, parts[cut:], asked)
                package = self.sources.module(".".join(parts[: cut - 1])) if cut == len(parts) > 1 else None
                # A package may bind the name of one of its modules to something else.
                if package is not None and parts[-1] in package.definitions.keys() | package.imports.keys():
                    yield from self._named(package, parts[-1:], asked)
                return

    def _named(self, module: ModuleSource, rest: list[str], asked: frozenset[str]) -> Iterator[Node]:
        if not rest:
            yield from whole(module)
        elif rest[0] in module.definitions:
            yield module.name, rest[0]
        elif rest[0] in module.imports:
            yield from self._resolve(".".join([module.imports[rest[0]], *rest[1:]]), asked)
        else:
            for star in module.stars:
                yield from self._resolve(".".join([star, *rest]), asked)
            if "__getattr__" in module.definitions and not rest[0].startswith("__"):
                yield from whole(module)

    def holding(self, module: str, qualname: str, line: int = 0) -> Iterator[Node]:
        """The definition that contains an object, or the whole module if none does. Nothing if the module does
        not count the object.

        Args:
            module: the object's ``__module__``.
            qualname: the object's ``__qualname__``.
            line: the object's first line, for a lambda outside of any function.
        """
        found = self.sources.module(module)
        if found is None:
            return
        path = qualname.partition(".<locals>")[0].split(".")
        if path[0] in found.uncounted:
            return
        while path:
            name = ".".join(path)
            if name in found.definitions:
                yield module, name
                return
            path.pop()
        held = found.at(line)
        yield from ((module, name) for name in held) if held else whole(found)


def whole(module: ModuleSource) -> Iterator[Node]:
    """Every definition of a module."""
    yield from ((module.name, name) for name in module.definitions if "." not in name)
    yield module.name, ""


def _together(several: Iterable[Definition]) -> str:
    texts = [one.text for one in several]
    return texts[0] if len(texts) == 1 else digest("".join(texts)) if texts else ""


def _label(node: Node) -> str:
    module, name = node[0].removeprefix("keyturn."), node[1].removesuffix(":")
    return f"{module}.{name}" if name else module


REACH = Reach(Sources())
"""The definitions of the code that is running."""


def code_version(*objects: object, reach: Reach | None = None) -> CodeVersion:
    """The version of the code behind some objects.

    Args:
        objects: functions, classes, instances of classes, modules; or dotted names of such.
        reach: the definitions of another copy of the code.
    """
    global REACH
    if reach is None and not REACH.sources.fresh():
        REACH = Reach(REACH.sources)  # the cache may hold modules that were reloaded
    reach = reach or REACH
    named = [one for one in objects if isinstance(one, str)]
    roots = {node for name in named for node in reach.resolve(name)}
    return reach.version(roots | _Gatherer(reach).gather(one for one in objects if not isinstance(one, str)))


class _Gatherer:
    """Collects the definitions that contain objects and the variables that these are closed over."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._roots: set[Node] = set()
        self._seen: dict[int, object] = {}  # keeps the objects alive, so that no id is used twice
        self._held: dict[tuple[str, str, int], bool] = {}

    def gather(self, objects: Iterable[object]) -> set[Node]:
        stack = list(objects)
        while stack:
            item = stack.pop()
            if id(item) not in self._seen:
                self._seen[id(item)] = item
                stack += self._inside(item)
        return self._roots

    def _inside(self, item: Any) -> Iterable[object]:
        """Record the definition of an object, and return the object's parts."""
        if item is None or isinstance(item, str | bytes | int | float):
            return ()
        if isinstance(item, types.ModuleType):
            self._roots |= set(self._reach.resolve(item.__name__))
            return ()
        if isinstance(item, functools.partial):
            return (item.func, *item.args, *item.keywords.values())
        if isinstance(item, types.MethodType):
            return (item.__func__, item.__self__)
        if isinstance(item, dict):
            return _few(item.values())
        if isinstance(item, list | tuple | set | frozenset) and type(item).__module__ == "builtins":
            return _few(item)
        if isinstance(item, type):
            self._hold(item.__module__, item.__qualname__)
            return ()
        if not isinstance(item, types.FunctionType):
            item = getattr(item, "__wrapped__", item)  # functools.cache and the like
        if isinstance(item, types.FunctionType):
            self._hold(item.__module__, item.__qualname__, item.__code__.co_firstlineno)
            return _closed_over(item)
        ours = self._hold(type(item).__module__, type(item).__qualname__)
        return vars(item).values() if ours and hasattr(item, "__dict__") else ()

    def _hold(self, module: str, qualname: str, line: int = 0) -> bool:
        key = (module, qualname, line)
        if key not in self._held:
            found = set(self._reach.holding(module, qualname, line))
            self._roots |= found
            self._held[key] = bool(found)
        return self._held[key]


def _few(items: Iterable[object]) -> Iterable[object]:
    found = list(items)
    if len(found) <= _FEW:
        return found
    functions = [one for one in found if isinstance(one, types.FunctionType | functools.partial)]
    return [*functions, *{type(one): None for one in found}]


def _closed_over(function: types.FunctionType) -> Iterable[object]:
    owner = function.__qualname__.partition(".<locals>")[0].rpartition(".")[0]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found = cell.cell_contents
        except ValueError:
            continue  # not assigned yet
        # A method's text names what it reads of its own object; the rest of the class need not be reached.
        if not (name == "self" and type(found).__qualname__ == owner):
            yield found
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
