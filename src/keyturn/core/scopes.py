"""The names that a piece of Python binds, and the scopes in which they are found."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
"""Statements that define a name."""

_NAMES_MATTER = frozenset({"locals", "vars", "dir", "eval", "exec"})
_LEAVES = frozenset({ast.Load, ast.Store, ast.Del, ast.Constant, ast.Pass, ast.Lambda})
"""Nodes that bind no name, nor does anything in them."""
_NAMED = (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass
class Surroundings:
    """What a writer must know about the module to which a piece of code belongs.

    Args:
        name: dotted name of the module.
        package: whether it is the ``__init__`` of a package, so that its relative imports begin with itself.
        imports: name -> dotted name of the thing that it stands for.
        stars: modules from which everything is imported.
        bound: name -> the statements that bind it.
    """

    name: str
    package: bool
    imports: dict[str, str] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    bound: dict[str, list[ast.stmt]] = field(default_factory=dict)


def import_targets(
    statement: ast.Import | ast.ImportFrom, module: str, package: bool
) -> Iterator[tuple[str, str]]:
    """Names that an import binds and the things that they stand for; ``*`` stands for ``module.*``."""
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            # Without ``as``, ``import a.b`` binds ``a``.
            first = alias.name.partition(".")[0]
            yield (alias.asname, alias.name) if alias.asname else (first, first)
        return
    base = statement.module or ""
    if statement.level:
        up = statement.level - (1 if package else 0)
        parts = module.split(".")
        base = ".".join([*parts[: len(parts) - up], *([base] if base else [])])
    for alias in statement.names:
        yield alias.asname or alias.name, f"{base}.{alias.name}"


def is_idle(statement: ast.stmt) -> bool:
    """Whether a statement has no effect: a standalone string or number, ``pass``, a bare annotation."""
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


@dataclass
class Bound:
    """The names that a block binds."""

    names: set[str] = field(default_factory=set)
    imports: list[ast.Import | ast.ImportFrom] = field(default_factory=list)
    elsewhere: set[str] = field(default_factory=set)
    """Declared ``global``."""
    names_matter: bool = False


def bound_by(block: Iterable[ast.AST]) -> Bound:
    """The names that a block binds in its own scope."""
    out, outer = Bound(), set[str]()
    stack: list[ast.AST] = list(block)
    while stack:
        node = stack.pop()
        kind = type(node)
        if kind in _LEAVES:
            continue
        if kind is ast.Name:
            if type(node.ctx) is not ast.Load:  # type: ignore[attr-defined]
                out.names.add(node.id)  # type: ignore[attr-defined]
            continue
        if isinstance(node, DEFINES):
            out.names.add(node.name)
            stack += node.decorator_list
            continue
        if isinstance(node, _COMPREHENSIONS):
            inner = (one for one in ast.walk(node) if isinstance(one, ast.NamedExpr))
            out.names |= {one.target.id for one in inner}
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            out.imports.append(node)
            continue
        if isinstance(node, ast.Global):
            out.elsewhere |= set(node.names)
        elif isinstance(node, ast.Nonlocal):
            outer |= set(node.names)
        elif isinstance(node, _NAMED) and node.name:
            out.names.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            out.names.add(node.rest)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            out.names_matter |= node.func.id in _NAMES_MATTER
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, ast.AST):
                stack.append(value)
            elif isinstance(value, list):
                stack += [one for one in value if isinstance(one, ast.AST)]
    out.names -= out.elsewhere | outer
    return out


class Scope:
    """Names of one function, comprehension or class body."""

    def __init__(self, kind: str, names: Iterable[str], outer: Scope | None, *, names_matter: bool = False):
        self.kind, self.names, self.outer = kind, set(names), outer
        self.names_matter = names_matter
        self.imports: dict[str, str] = {}
        self.elsewhere: set[str] = set()
        self.own = ""
        """The name of a method's own object, such as ``self``."""
        self.depth: int = 0 if outer is None else outer.depth + 1
        self._numbers: dict[str, int] = {}

    def token(self, name: str) -> str:
        """The canonical form of a local name, numbered by first occurrence."""
        if self.names_matter:
            return name
        return f"%{self.depth}.{self._numbers.setdefault(name, len(self._numbers))}"
