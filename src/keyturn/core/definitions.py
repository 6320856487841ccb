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
from keyturn.core.errors import UsageError
from keyturn.core.scopes import DEFINES, Scope, Surroundings, bound_by, import_targets, is_idle

FILES_NAME, UNCOUNTED_NAME = "__code_files__", "__uncounted__"
"""Names that a module may give a tuple of strings. ``__code_files__``: files (patterns relative to its own
folder) that are code and count for whatever reaches the module. ``__uncounted__``: definitions on which no
result depends (where one is kept, how it is shown meanwhile): neither they nor what they alone reach count."""


class Definition(NamedTuple):
    """One definition.

    Args:
        text: hash of what is counted of it.
        refs: dotted names that it refers to; ``~name`` is an attribute of the object whose method it is and
            ``~`` that object as a whole.
    """

    text: str
    refs: tuple[str, ...]


class ModuleSource:
    """What one file defines.

    Args:
        source: the text.
        name: of the module, dotted.
        package: it is the ``__init__`` of one, so that its relative imports begin with itself.

    Attributes:
        imports: name -> what it stands for, dotted.
        stars: modules of which everything is imported.
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
        # All are written now: a tree that is kept costs the collector more than writing what nobody asks for.
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
        """Definitions of the module's own level that a line stands in."""
        return [name for first, last, name in self._lines if first <= line <= last]


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
        """The strings of a constant that lists some; none where there is no such constant.

        Raises:
            UsageError: it is no tuple of strings.
        """
        found = [getattr(one, "value", None) for one in self.bound.get(name, [])]
        parts = [one for value in found for one in (value.elts if isinstance(value, ast.Tuple) else [value])]
        texts = [one.value if isinstance(one, ast.Constant) else None for one in parts]
        if not all(isinstance(one, str) for one in texts):
            raise UsageError(f"{self.name}.{name} is no tuple of strings", fix=f'{name} = ("...",)')
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
