"""The definitions in a module's source and the names that each refers to, read from the text without importing.

A definition is a function, a class without its methods, a method, or an assigned name;
:mod:`keyturn.core.canonical` says what counts of its text. Statements of a module that neither define nor
import (a registration, a loop) are kept together as its *loose* statements.
Known bias: code that is reached only by a computed name (``getattr`` with a variable) is not seen.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from keyturn.core.canonical import Writer
from keyturn.core.errors import UsageError
from keyturn.core.scopes import DEFINES, Scope, Surroundings, bound_by, import_targets, is_idle

FILES_NAME, UNCOUNTED_NAME = "__code_files__", "__uncounted__"
"""Names to which a module may assign a tuple of strings. ``__code_files__``: files (patterns relative to the
module's folder) that are code and count for everything that reaches the module. ``__uncounted__``: definitions
on which no result depends, such as storage or progress. Neither they nor definitions reached only by them
count."""


class Definition(NamedTuple):
    """One definition.

    Args:
        text: hash of its canonical text.
        refs: dotted names that it refers to; ``~name`` is an attribute of a method's own object and ``~`` that
            object as a whole.
    """

    text: str
    refs: tuple[str, ...]


class ModuleSource:
    """The definitions of one file.

    Args:
        source: the text.
        name: dotted name of the module.
        package: whether it is the ``__init__`` of a package, so that its relative imports begin with itself.

    Attributes:
        imports: name -> dotted name of the thing that it stands for.
        stars: modules from which everything is imported.
        members: class -> names of its methods, in order.
        definitions: name (``credit``, ``Lab``, ``Lab.draw``) -> its definitions, one or more.
        loose: the loose statements, or None.
        files: patterns of ``__code_files__``.
        uncounted: names of ``__uncounted__``.

    Raises:
        SyntaxError: it is not Python.
    """

    def __init__(self, source: bytes | str, name: str, *, package: bool = False) -> None:
        self.source, self.name = source, name
        module = _Module(name, package)
        for statement in ast.parse(source).body:
            module.add(statement)
        self.imports: Mapping[str, str] = module.imports
        self.stars: Sequence[str] = module.stars
        self.members = {
            key: tuple(dict.fromkeys(one.name for one in made.body if isinstance(one, DEFINES)))
            for key, several in module.bound.items()
            for made in several
            if isinstance(made, ast.ClassDef)
        }
        names = [
            *module.bound,
            *(f"{owner}.{one}" for owner, several in self.members.items() for one in several),
        ]
        # All are written now: keeping the tree costs the garbage collector more than writing unneeded
        # definitions.
        self.definitions = {one: tuple(module.defined(one)) for one in names}
        self.loose = module.written(module.loose) if module.loose else None
        self.files = module.listed(FILES_NAME)
        self.uncounted = frozenset(module.listed(UNCOUNTED_NAME))
        self._lines = [
            (_first_line(one), one.end_lineno or 0, key)
            for key, several in module.bound.items()
            for one in several
        ]

    def at(self, line: int) -> list[str]:
        """Top-level definitions that contain a line."""
        return [name for first, last, name in self._lines if first <= line <= last]


@dataclass
class _Module(Surroundings):
    """A module that is being read."""

    loose: list[ast.stmt] = field(default_factory=list)

    def add(self, statement: ast.stmt) -> None:
        """Add a top-level statement of the module."""
        if isinstance(statement, ast.Import | ast.ImportFrom):
            self._import(statement)
        elif isinstance(statement, ast.If) and _is_type_checking(statement.test):
            for one in statement.body:
                if isinstance(one, ast.Import | ast.ImportFrom):
                    self._import(one)
            for one in statement.orelse:
                self.add(one)
        elif isinstance(statement, DEFINES):
            self.bound.setdefault(statement.name, []).append(statement)
        elif not is_idle(statement):
            self._bind(statement)

    def _bind(self, statement: ast.stmt) -> None:
        found = bound_by([statement])
        for alias, target in self._targets(found.imports):
            self.imports.setdefault(alias, target)
        for name in found.names:
            self.bound.setdefault(name, []).append(statement)
        if not (isinstance(statement, ast.Assign | ast.AnnAssign) and _names_only(statement)):
            self.loose.append(statement)

    def _import(self, statement: ast.Import | ast.ImportFrom) -> None:
        for alias, target in self._targets([statement]):
            if alias == "*":
                self.stars.append(target.removesuffix(".*"))
            else:
                self.imports[alias] = target

    def _targets(self, statements: Iterable[ast.Import | ast.ImportFrom]) -> Iterator[tuple[str, str]]:
        for statement in statements:
            yield from import_targets(statement, self.name, self.package)

    def defined(self, name: str) -> Iterator[Definition]:
        """Write the definitions of a name."""
        owner, _, member = name.rpartition(".")
        for statement in self.bound[owner or name]:
            if not owner:
                yield self.written([statement])
            elif isinstance(statement, ast.ClassDef):
                for one in statement.body:
                    if isinstance(one, DEFINES) and one.name == member:
                        yield self.written([one], owner=statement)

    def written(self, statements: Sequence[ast.stmt], owner: ast.ClassDef | None = None) -> Definition:
        """Write statements of the module, or a member of one of its classes."""
        writer = Writer(self)
        scope = None
        if owner is not None:
            scope = Scope("class", bound_by(owner.body).names, None)
        for statement in statements:
            if isinstance(statement, ast.ClassDef) and owner is None:
                writer.header(statement)
            else:
                writer.write(statement, scope)
        refs = sorted(one for one in writer.refs if one.partition(".")[0] not in sys.stdlib_module_names)
        return Definition(digest("".join(writer.out)), tuple(refs))

    def listed(self, name: str) -> tuple[str, ...]:
        """The strings of a constant that is a tuple of strings; empty if there is no such constant.

        Raises:
            UsageError: it is not a tuple of strings.
        """
        found = [getattr(one, "value", None) for one in self.bound.get(name, [])]
        parts = [one for value in found for one in (value.elts if isinstance(value, ast.Tuple) else [value])]
        texts = [one.value if isinstance(one, ast.Constant) else None for one in parts]
        if not all(isinstance(one, str) for one in texts):
            raise UsageError(f"{self.name}.{name} is not a tuple of strings", fix=f'{name} = ("...",)')
        return tuple(map(str, texts))


def digest(text: str) -> str:
    """The short hash of a definition's text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def _first_line(statement: ast.stmt) -> int:
    decorators = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(one.lineno for one in decorators)])


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _names_only(statement: ast.Assign | ast.AnnAssign) -> bool:
    """Whether an assignment binds names and changes nothing else."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    kinds = ast.Name | ast.Tuple | ast.List | ast.Starred | ast.expr_context
    return all(isinstance(one, kinds) for target in targets for one in ast.walk(target))
