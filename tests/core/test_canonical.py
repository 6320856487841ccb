"""What counts of a definition's text, and what it refers to."""

import pytest

from keyturn.core.definitions import ModuleSource


def text(source, name="f", module="user.own"):
    return [one.text for one in ModuleSource(source, module).definitions[name]]


def refs(source, name="f", module="user.own"):
    return {ref for one in ModuleSource(source, module).definitions[name] for ref in one.refs}


BASE = '''
def f(rewards, scale=1.0):
    """Doc."""
    mean = sum(rewards) / len(rewards)
    out = [(x - mean) / scale for x in rewards]
    return out
'''

SAME = {
    "a local variable": BASE.replace("mean", "centre"),
    "the variable of a comprehension": BASE.replace("(x -", "(value -").replace("for x", "for value"),
    "the docstring": BASE.replace("Doc.", "Another."),
    "no docstring": BASE.replace('    """Doc."""\n', ""),
    "a comment": BASE.replace("return out", "return out  # as it is"),
    "layout": BASE.replace(
        "[(x - mean) / scale for x in rewards]", "[\n  (x - mean)\n  / scale for x in rewards\n ]"
    ),
    "annotations": BASE.replace("(rewards, scale=1.0)", "(rewards: list[float], scale: float = 1.0) -> list"),
    "an annotated variable": BASE.replace("mean = sum", "mean: float = sum"),
    "a declared variable": BASE.replace("    mean =", "    later: int\n    mean ="),
    "pass": BASE.replace("    return out", "    pass\n    return out"),
    "a string that stands alone": BASE.replace("    return out", "    'said'\n    return out"),
}

OTHER = {
    "a sign": BASE.replace("x - mean", "mean - x"),
    "a number": BASE.replace("scale=1.0", "scale=2.0"),
    "an int for a float": BASE.replace("scale=1.0", "scale=1"),
    "a parameter, which callers may name": BASE.replace("rewards", "given"),
    "another local name in another place": BASE.replace("return out", "return mean"),
    "a global name": BASE.replace("sum(", "max("),
    "an attribute": BASE.replace("len(rewards)", "rewards.size"),
    "a decorator": BASE.replace("def f", "@cache\ndef f"),
    "the order of statements": BASE.replace(
        "    return out", "    out = out[::-1]\n    out.sort()\n    return out"
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_what_changes_no_result_is_not_counted(name):
    assert SAME[name] != BASE
    assert text(SAME[name]) == text(BASE)


@pytest.mark.parametrize("name", OTHER)
def test_what_may_change_a_result_is_counted(name):
    assert text(OTHER[name]) != text(BASE)


def test_two_local_names_that_change_places_are_noticed():
    one = "def f(a, b):\n    x = a\n    y = b\n    return x - y\n"
    assert text(one) == text(one.replace("x", "p").replace("y", "q"))
    assert text(one) != text(one.replace("return x - y", "return y - x"))


def test_parameters_that_change_places_are_noticed_in_functions_inside_too():
    one = "def f():\n    def g(a, b):\n        return a - b\n    return g(a=1, b=2)\n"
    assert text(one) != text(one.replace("g(a, b)", "g(b, a)").replace("a - b", "b - a"))
    lamb = "def f():\n    g = lambda a, b: a - b\n    return g(a=1, b=2)\n"
    assert text(lamb) != text(lamb.replace("lambda a, b: a - b", "lambda b, a: b - a"))


def test_names_that_no_caller_can_say_are_not_counted():
    one = "def f(a, /, *rest, **more):\n    return a, rest, more\n"
    assert text(one) == text(one.replace("rest", "others").replace("more", "named").replace("a,", "b,"))


def test_a_function_that_asks_for_its_names_keeps_them():
    one = "def f():\n    mean = 1\n    return locals()\n"
    assert text(one) != text(one.replace("mean", "centre"))
    shown = 'def f():\n    mean = 1\n    return f"{mean=}"\n'
    assert text(shown) != text(shown.replace("mean", "centre"))


def test_the_scopes_of_python_are_kept_apart():
    shadow = "def f(x):\n    y = [x for x in x]\n    return x, y\n"
    assert text(shadow) == text(shadow.replace("[x for x in x]", "[z for z in x]"))
    inner = "def f():\n    n = 0\n    def g():\n        nonlocal n\n        n += 1\n    g()\n    return n\n"
    assert text(inner) != text(inner.replace("        nonlocal n\n", ""))
    assert text(inner) == text(
        inner.replace("n += 1", "m += 1")
        .replace("nonlocal n", "nonlocal m")
        .replace("n = 0", "m = 0")
        .replace("return n", "return m")
    )
    outside = "def f():\n    global n\n    n = 1\n"
    assert text(outside) != text(outside.replace("    global n\n", ""))
    caught = "def f():\n    try:\n        g()\n    except KeyError as e:\n        return e\n"
    assert text(caught) == text(caught.replace("as e", "as error").replace("return e", "return error"))
    matched = (
        "def f(x):\n    match x:\n        case [a, *b]: return a, b\n        case {'k': v, **r}: return v, r\n"
    )
    assert text(matched) == text(
        matched.replace("a, *b", "c, *d")
        .replace("return a, b", "return c, d")
        .replace("v, **r", "w, **s")
        .replace("return v, r", "return w, s")
    )


def test_the_words_of_a_refusal_are_not_counted_and_its_kind_is():
    one = "def f(x):\n    if x < 0:\n        raise ValueError(f'{x} is below')\n    return 'a'\n"
    assert text(one) == text(one.replace("is below", "is less than nothing"))
    assert text(one) != text(one.replace("ValueError", "KeyError"))
    assert text(one) != text(one.replace("'a'", "'b'"))


def test_an_imported_name_is_what_it_stands_for():
    one = "from numpy import mean\ndef f(x):\n    return mean(x)\n"
    assert text(one) != text(one.replace("numpy", "statistics"))
    assert text(one) == text(one.replace("import mean", "import mean as m").replace("mean(x)", "m(x)"))
    within = "def f(x):\n    from numpy import mean\n    return mean(x)\n"
    assert text(within) != text(within.replace("numpy", "statistics"))
    assert "numpy.mean" in refs(within)


def test_references_are_found_wherever_they_stand():
    source = (
        "from __future__ import annotations\nimport user.rules as rules\nfrom . import near\n"
        "from .far import thing\n"
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from user.types import Batch\n"
        "LIMIT = 3\n"
        "def f(batch: Batch, other: 'Quoted') -> thing:\n    from user.lazy import g\n"
        "    return rules.one.two(g(near.x, LIMIT)), __import__('os')\n"
        "class Quoted: ...\n"
    )
    found = refs(source, module="user.own")
    assert found >= {"user.types.Batch", "user.own.Quoted", "user.far.thing", "user.lazy.g"}
    assert found >= {"user.rules.one.two", "user.near.x", "user.own.LIMIT"}
    assert refs("def f():\n    return run('user.worker')\n") == {"user.worker"}
    package = ModuleSource("from .inner import g\ndef f():\n    return g()\n", "user.own", package=True)
    assert package.definitions["f"][0].refs == ("user.own.inner.g",)


CLASS = '''
class Config(Base):
    """Doc."""
    rate: float = 1e-3
    """Said under the field."""
    kept: int

    def scaled(self, by):
        """Doc."""
        return self.rate * by + self.other()

    @staticmethod
    def plain(x):
        return x
'''


def test_a_class_is_its_fields_and_each_of_its_methods():
    module = ModuleSource(CLASS, "user.own")
    assert module.members["Config"] == ("scaled", "plain")
    assert set(module.definitions) == {"Config", "Config.scaled", "Config.plain"}
    assert set(module.definitions["Config.scaled"][0].refs) == {"~rate", "~other"}
    assert text(CLASS, "Config") == text(CLASS.replace("Said under", "Written under"), "Config")
    assert text(CLASS, "Config") != text(CLASS.replace("1e-3", "1e-2"), "Config")
    assert text(CLASS, "Config") != text(CLASS.replace("kept: int", "kept: str"), "Config")
    assert text(CLASS, "Config") != text(CLASS.replace("(Base)", ""), "Config")
    assert text(CLASS, "Config") == text(CLASS.replace("return x", "return -x"), "Config")
    assert text(CLASS, "Config.plain") != text(CLASS.replace("return x", "return -x"), "Config.plain")
    whole = "class A:\n    def f(self):\n        return use(self)\n"
    assert "~" in refs(whole, "A.f")


def test_statements_that_neither_define_nor_import_are_loose():
    module = ModuleSource(
        "import a\nX = 1\nX += 1\nregister(X)\nfor y in range(3):\n    use(y)\n'words'\n", "user.own"
    )
    assert module.loose is not None
    assert {"X", "y"} <= set(module.definitions)
    assert ModuleSource("import a\nX = 1\n'words'\n", "user.own").loose is None
    listed = ModuleSource("__code_files__ = ('native/*.c',)\n", "user.own")
    assert listed.files == ("native/*.c",)
