"""What a module's source defines, and what each definition refers to: read from the text, never imported.

A definition is a function, a class without its methods, a method, or an assigned name; what is counted of its
text is said in :mod:`keyturn.core.canonical`. Statements of a module that neither define nor import (a
registration, a loop) are kept together as its *loose* statements.
Known bias: what is reached by a computed name only (``getattr`` with a variable) is not seen.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from keyturn.core.canonical import Writer
from keyturn.core.scopes import DEFINES, Scope, Surroundings, bound_by, import_targets, is_idle

FILES_NAME = "CODE_FILES"
"""A module that gives this name a tuple of strings says which files (patterns relative to its own folder) are
code: they count for whatever reaches the module."""


class Definition(NamedTuple):
    """One definition.

    Args:
        text: hash of what is counted of it.
        refs: dotted names that it refers to; ``~name`` is an attribute of the object whose method it is and
            ``~`` that object as a whole.
        first, last: lines.
    """

    text: str
    refs: tuple[str, ...]
    first: int
    last: int


@dataclass(frozen=True)
class ModuleSource:
    """What one file defines.

    Args:
        name: of the module, dotted.
        imports: name -> what it stands for, dotted.
        stars: modules of which everything is imported.
        definitions: name (``credit``, ``Lab``, ``Lab.draw``) -> its definitions, one or more.
        members: class -> names of its methods, in order.
        loose: the loose statements, or None.
        files: patterns of ``CODE_FILES``.
    """

    name: str
    imports: Mapping[str, str]
    stars: tuple[str, ...]
    definitions: Mapping[str, tuple[Definition, ...]]
    members: Mapping[str, tuple[str, ...]]
    loose: Definition | None
    files: tuple[str, ...]


def analyse(source: bytes | str, name: str, *, package: bool = False) -> ModuleSource:
    """Read a module.

    Args:
        source: its text.
        name: of the module, dotted.
        package: it is the ``__init__`` of one, so that its relative imports begin with itself.

    Raises:
        SyntaxError: it is not Python.
    """
    module = _Module(name, package)
    for statement in ast.parse(source).body:
        module.add(statement)
    return module.done()


@dataclass
class _Module(Surroundings):
    """A module while it is read."""

    loose: list[ast.stmt] = field(default_factory=list)

    def add(self, statement: ast.stmt) -> None:
        """Take a statement of the module's own level."""
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

    def done(self) -> ModuleSource:
        """Write every definition."""
        definitions: dict[str, tuple[Definition, ...]] = {}
        members: dict[str, tuple[str, ...]] = {}
        for name, statements in self.bound.items():
            definitions[name] = tuple(self._written([one]) for one in statements)
            for one in statements:
                if isinstance(one, ast.ClassDef):
                    members[name] = tuple(dict.fromkeys(m.name for m in one.body if isinstance(m, DEFINES)))
                    for member in members[name]:
                        parts = [m for m in one.body if isinstance(m, DEFINES) and m.name == member]
                        definitions[f"{name}.{member}"] = tuple(self._written([m], owner=one) for m in parts)
        return ModuleSource(
            name=self.name,
            imports=self.imports,
            stars=tuple(self.stars),
            definitions=definitions,
            members=members,
            loose=self._written(self.loose) if self.loose else None,
            files=self._files(),
        )

    def _written(self, statements: Sequence[ast.stmt], owner: ast.ClassDef | None = None) -> Definition:
        writer = Writer(self)
        scope = None
        if owner is not None:
            scope = Scope("class", bound_by(owner.body).names, None)
        for statement in statements:
            if isinstance(statement, ast.ClassDef) and owner is None:
                writer.header(statement)
            else:
                writer.write(statement, scope)
        last = max((one.end_lineno or one.lineno for one in statements), default=0)
        first = min((_first_line(one) for one in statements), default=0)
        refs = sorted(one for one in writer.refs if one.partition(".")[0] not in sys.stdlib_module_names)
        return Definition(digest("".join(writer.out)), tuple(refs), first, last)

    def _files(self) -> tuple[str, ...]:
        found = [one for one in self.bound.get(FILES_NAME, []) if isinstance(one, ast.Assign | ast.AnnAssign)]
        listed = [ast.literal_eval(one.value) for one in found if one.value is not None]
        return tuple(str(pattern) for patterns in listed for pattern in patterns)


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
