"""A canonical text of Python code that keeps only what can change a result.

- Not counted: comments, layout, docstrings and other standalone strings, ``pass``, annotations of functions and
  of variables, the names of local variables, and string literals inside a ``raise`` statement (error messages
  are reworded often and change no number).
- Counted: everything else. Annotations and defaults in the body of a class stay (they make the fields of a
  dataclass), as do names of parameters: a caller may pass any of them by keyword, so a renamed parameter is
  another interface. A function that calls ``locals``, ``vars``, ``dir``, ``eval`` or ``exec`` keeps its names.

An imported name is written as the thing that it stands for, so importing another function under the same name
is a change. The names that the text refers to are collected too, also those in annotations: a method that is
called on an argument is found through the argument's type.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence

from keyturn.core.scopes import DEFINES, Scope, Surroundings, bound_by, import_targets, is_idle

_NOT_WRITTEN = frozenset({"ctx", "type_comment", "kind", "type_params"})
_DOTTED = re.compile(r"\w+(?:\.\w+)+")


class Writer:
    """Writes nodes; the module's docstring says what is left out."""

    def __init__(self, module: Surroundings) -> None:
        self.out: list[str] = []
        self.refs: set[str] = set()
        self._module = module
        self._top = module.name.partition(".")[0] + "."
        self._in_raise = 0
        self._in_annotation = False

    def write(self, node: object, scope: Scope | None) -> None:
        """Write a node in a scope; None is the module's scope."""
        if not isinstance(node, ast.AST):
            self.out.append(repr(node))
            return
        own = getattr(self, f"_{type(node).__name__}", None)
        if own is not None:
            own(node, scope)
            return
        self.out.append(f"{type(node).__name__}(")
        for name in node._fields:
            value = getattr(node, name, None)
            if name in _NOT_WRITTEN or value is None or value == []:
                continue
            self.out.append(f"{name}=")
            for one in value if isinstance(value, list) else (value,):
                self._item(one, scope)
        self.out.append(")")

    def _item(self, one: object, scope: Scope | None) -> None:
        """Write one of several nodes; nothing is written for a statement without effect."""
        before = len(self.out)
        if not (isinstance(one, ast.stmt) and is_idle(one)):
            self.write(one, scope)
        if len(self.out) > before:
            self.out.append(",")

    def _block(self, statements: Iterable[ast.stmt], scope: Scope | None) -> None:
        for statement in statements:
            self._item(statement, scope)

    def header(self, node: ast.ClassDef, scope: Scope | None = None, *, whole: bool = False) -> None:
        """Write a class without its methods, or with them if ``whole``."""
        self.out.append(f"class {node.name}[")
        for one in (*node.decorator_list, *node.bases, *node.keywords):
            self.write(one, scope)
            self.out.append(",")
        self.out.append("]")
        inner = Scope("class", bound_by(node.body).names, scope)
        self._block((one for one in node.body if whole or not isinstance(one, DEFINES)), inner)

    def _ClassDef(self, node: ast.ClassDef, scope: Scope | None) -> None:
        self.header(node, scope, whole=True)

    def _FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope | None) -> None:
        self.out.append(f"{type(node).__name__} {node.name}[")
        for one in node.decorator_list:
            self.write(one, scope)
            self.out.append(",")
        self.out.append("]")
        inner = self._signature(node.args, node.body, scope)
        static = any(isinstance(one, ast.Name) and one.id == "staticmethod" for one in node.decorator_list)
        first = [*node.args.posonlyargs, *node.args.args][:1]
        if scope is not None and scope.kind == "class" and first and not static:
            inner.own = first[0].arg
        self._annotation(node.returns, scope)
        self._block(node.body, inner)

    _AsyncFunctionDef = _FunctionDef

    def _Lambda(self, node: ast.Lambda, scope: Scope | None) -> None:
        self.out.append("lambda ")
        inner = self._signature(node.args, [node.body], scope)
        self.write(node.body, inner)

    def _signature(self, args: ast.arguments, body: Sequence[ast.AST], scope: Scope | None) -> Scope:
        """Write the parameters and return the scope of the body."""
        found = bound_by(body)
        named = [*args.args, *args.kwonlyargs]
        every = [*args.posonlyargs, *named, *(a for a in (args.vararg, args.kwarg) if a is not None)]
        names = found.names | {one.arg for one in every}
        inner = Scope("function", names, scope, names_matter=found.names_matter)
        inner.elsewhere = found.elsewhere
        for statement in found.imports:
            inner.imports |= dict(import_targets(statement, self._module.name, self._module.package))
        self.out.append("(")
        for one in args.posonlyargs:
            self.out.append(f"{inner.token(one.arg)},")
        self.out.append("/" if args.posonlyargs else "")
        for one in args.args:
            self.out.append(f"{one.arg}:{inner.token(one.arg)},")
        self.out.append(f"*{inner.token(args.vararg.arg)}" if args.vararg else "*")
        for one in args.kwonlyargs:
            self.out.append(f"{one.arg}:{inner.token(one.arg)},")
        self.out.append(f"**{inner.token(args.kwarg.arg)}" if args.kwarg else "")
        for default in (*args.defaults, "|", *args.kw_defaults):
            self.write(default, scope)
            self.out.append(",")
        self.out.append(")")
        for one in every:
            self._annotation(one.annotation, scope)
        return inner

    def _comprehension(self, node: ast.AST, scope: Scope | None) -> None:
        generators: list[ast.comprehension] = node.generators  # type: ignore[attr-defined]
        names = {
            one.id
            for part in generators
            for one in ast.walk(part.target)
            if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
        }
        inner = Scope("comprehension", names, scope)
        self.out.append(f"{type(node).__name__}(")
        for number, part in enumerate(generators):
            # The first iterable is evaluated outside of the comprehension's scope.
            self.write(part.iter, scope if number == 0 else inner)
            self.out.append(" async for " if part.is_async else " for ")
            self.write(part.target, inner)
            for test in part.ifs:
                self.out.append(" if ")
                self.write(test, inner)
        for name in ("key", "value", "elt"):
            if hasattr(node, name):
                self.out.append(f" {name}=")
                self.write(getattr(node, name), inner)
        self.out.append(")")

    _ListComp = _SetComp = _DictComp = _GeneratorExp = _comprehension

    def _Name(self, node: ast.Name, scope: Scope | None) -> None:
        self.out.append(self._resolved(node.id, scope, ""))

    def _resolved(self, name: str, scope: Scope | None, attributes: str) -> str:
        """The canonical form of a name; records what it refers to, with its attributes (``.a.b``)."""
        here = scope
        while here is not None:
            if name in here.elsewhere:
                break
            if name in here.names and (here is scope or here.kind != "class"):
                if here.own == name:
                    self.refs.add(f"~{attributes[1:].partition('.')[0]}")
                if here.kind == "class":
                    break  # before its assignment there, the name is the module's
                return "" if self._in_annotation else here.token(name)
            if name in here.imports:
                self.refs.add(here.imports[name] + attributes)
                return here.imports[name]
            here = here.outer
        module = self._module
        if name in module.bound or (module.stars and name not in module.imports):
            self.refs.add(f"{module.name}.{name}{attributes}")
            return name
        if name in module.imports:
            self.refs.add(module.imports[name] + attributes)
            return module.imports[name]
        return name

    def _Attribute(self, node: ast.Attribute, scope: Scope | None) -> None:
        attributes, base = f".{node.attr}", node.value
        while isinstance(base, ast.Attribute):
            attributes, base = f".{base.attr}{attributes}", base.value
        if isinstance(base, ast.Name):
            self.out.append(self._resolved(base.id, scope, attributes))
        else:
            self.write(base, scope)
        self.out.append(attributes)

    def _Constant(self, node: ast.Constant, scope: Scope | None) -> None:
        if not isinstance(node.value, str):
            self.out.append(f"{type(node.value).__name__} {node.value!r}")
            return
        if self._in_raise:
            self.out.append("str")
            return
        self.out.append(f"str {node.value!r}")
        if node.value.startswith(self._top) and _DOTTED.fullmatch(node.value):
            self.refs.add(node.value)  # a module that is imported, or run, by name

    def _JoinedStr(self, node: ast.JoinedStr, scope: Scope | None) -> None:
        self.out.append("f(")
        for one in node.values:
            if not (self._in_raise and isinstance(one, ast.Constant)):
                self.write(one, scope)
                self.out.append(",")
        self.out.append(")")

    def _Raise(self, node: ast.Raise, scope: Scope | None) -> None:
        self._in_raise += 1
        self.out.append("raise(")
        for one in (node.exc, node.cause):
            self.write(one, scope)
            self.out.append(",")
        self.out.append(")")
        self._in_raise -= 1

    def _AnnAssign(self, node: ast.AnnAssign, scope: Scope | None) -> None:
        self._annotation(node.annotation, scope)
        if scope is not None and scope.kind == "class":
            self.out.append("field ")
            self.write(node.annotation, scope)
        elif node.value is None:
            return
        self.out.append("Assign(targets=")
        self.write(node.target, scope)
        self.out.append(",value=")
        self.write(node.value, scope)
        self.out.append(",)")

    def _annotation(self, node: ast.expr | None, scope: Scope | None) -> None:
        """Record what an annotation refers to, and write nothing."""
        if node is None:
            return
        before, self.out = self.out, []
        outer, self._in_annotation = self._in_annotation, True  # its names are not numbered
        self.write(node, scope)
        for one in ast.walk(node):
            if isinstance(one, ast.Constant) and isinstance(one.value, str):
                try:
                    self.write(ast.parse(one.value, mode="eval").body, scope)
                except (SyntaxError, ValueError):
                    continue  # the shape of an array, in words
        self.out, self._in_annotation = before, outer

    def _Import(self, node: ast.Import | ast.ImportFrom, scope: Scope | None) -> None:
        found = dict(import_targets(node, self._module.name, self._module.package))
        self.out.append(f"import {sorted(found.values())}")
        # A name that is also bound in another way is written as a variable, so its possible meaning is recorded
        # here.
        names = self._module.bound if scope is None else scope.names
        self.refs |= {target for alias, target in found.items() if alias in names}

    _ImportFrom = _Import

    def _Global(self, node: ast.Global | ast.Nonlocal, scope: Scope | None) -> None:
        """Write nothing: the forms of the names contain this already."""

    _Nonlocal = _Global

    def _ExceptHandler(self, node: ast.ExceptHandler, scope: Scope | None) -> None:
        self.out.append("except(")
        self.write(node.type, scope)
        self.out.append(f" as {self._resolved(node.name, scope, '')}:" if node.name else ":")
        self._block(node.body, scope)
        self.out.append(")")

    def _MatchAs(self, node: ast.MatchAs, scope: Scope | None) -> None:
        self.out.append("as(")
        self.write(node.pattern, scope)
        self.out.append(f" {self._resolved(node.name, scope, '')})" if node.name else ")")

    def _MatchStar(self, node: ast.MatchStar, scope: Scope | None) -> None:
        self.out.append(f"*{self._resolved(node.name, scope, '')}" if node.name else "*_")

    def _MatchMapping(self, node: ast.MatchMapping, scope: Scope | None) -> None:
        self.out.append("{")
        for one in (*node.keys, "|", *node.patterns):
            self.write(one, scope)
            self.out.append(",")
        self.out.append(f"**{self._resolved(node.rest, scope, '')}}}" if node.rest else "}")
