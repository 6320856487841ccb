"""What code a result reaches; every kind of change is made to a copy and looked for."""

import functools
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

import keyturn
from keyturn.core.code_version import CodeVersion, Reach, code_version
from keyturn.core.errors import UsageError
from keyturn.core.sources import Sources
from keyturn.core.streams import Streams
from keyturn.lab.elsewhere import SharedLab
from keyturn.lab.lab import Lab

SRC = Path(keyturn.__file__).parent
FILES = {
    "own/__init__.py": "",
    "own/rules.py": '''
        from own.parts import half, unused
        from own import table
        TABLE = {"a": half}

        def rule(x, batch: "Batch"):
            """Doc."""
            return half(x) + batch.size() + table.LIMIT

        def aside(x):
            return TABLE["a"](x)

        class Batch:
            def size(self):
                return inner()

        def inner():
            return 1
    ''',
    "own/parts.py": """
        def half(x):
            total = x / 2
            return total

        def unused(x):
            return x
    """,
    "own/table.py": """
        LIMIT = 3
        OTHER = 4
    """,
}


@pytest.fixture
def tree(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return tmp_path / "own"


def version(tree, name="own.rules.rule"):
    return code_version(name, reach=Reach(Sources({"own": tree})))


def edited(tree, file, before, after):
    path = tree / file
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_a_definition_reaches_what_it_refers_to_and_no_more(tree):
    parts = version(tree).parts
    assert set(parts) == {
        "own.rules.rule",
        "own.rules.Batch",
        "own.rules.Batch.size",
        "own.rules.inner",
        "own.parts.half",
        "own.table.LIMIT",
    }
    assert "own.rules.TABLE" in version(tree, "own.rules.aside").parts


@pytest.mark.parametrize(
    ("file", "before", "after", "changed"),
    [
        ("parts.py", "x / 2", "x / 3", ("own.parts.half",)),
        ("table.py", "LIMIT = 3", "LIMIT = 5", ("own.table.LIMIT",)),
        ("rules.py", "return 1", "return 2", ("own.rules.inner",)),
        (
            "rules.py",
            "import half, unused",
            "import unused as half",
            ("own.parts.half", "own.parts.unused", "own.rules.rule"),
        ),
        ("parts.py", "total", "share", ()),
        ("rules.py", "Doc.", "Words.", ()),
        ("table.py", "OTHER = 4", "OTHER = 5", ()),
        ("parts.py", "return x\n", "return -x\n", ()),
        ("rules.py", 'TABLE["a"](x)', 'TABLE["a"](-x)', ()),
    ],
)
def test_a_change_is_seen_where_it_is_reached_and_named(tree, file, before, after, changed):
    then = version(tree)
    edited(tree, file, before, after)
    assert then.changed(version(tree)) == changed
    assert (then.hash == version(tree).hash) == (not changed)


def test_loose_statements_of_modules_and_packages_count(tree):
    then = version(tree)
    edited(tree, "__init__.py", "", "print('begun')\n")
    assert then.changed(version(tree)) == ("own",)
    edited(tree, "parts.py", "def half", "half = None\nhalf.hook = 1\ndef half")
    assert "own.parts" in then.changed(version(tree))


def test_files_that_are_code_count(tree):
    (tree / "kernel.c").write_text("int a;")
    edited(tree, "parts.py", "def unused", "__code_files__ = ('*.c',)\n\ndef unused")
    then = version(tree)
    assert "own.parts.file kernel.c" in then.parts
    (tree / "kernel.c").write_text("int b;")
    assert then.changed(version(tree)) == ("own.parts.file kernel.c",)
    (tree / "kernel.c").unlink()
    with pytest.raises(UsageError, match=r"__code_files__, but there is no such file"):
        version(tree)


def test_what_a_module_declares_to_change_no_result_does_not_count(tree):
    edited(tree, "rules.py", "def inner():", "__uncounted__ = ('inner', 'Batch.size')\n\ndef inner():")
    then = version(tree)
    assert not {"own.rules.inner", "own.rules.Batch.size"} & set(then.parts)
    edited(tree, "rules.py", "return inner()", "return 1 + inner()")
    assert not then.changed(version(tree))


DECLARED = {f"keyturn.{name}" for name in ("core.describe", "core.identity", "core.progress", "lab.lab")}
DECLARED |= {"keyturn.training.progress", "keyturn.lab.elsewhere", "keyturn.auditing.elicited_problems"}


def test_only_what_keeps_and_shows_results_is_declared_so():
    """A definition that is declared so is never looked at again: few may, and each must exist."""
    sources = Sources()
    for path in sorted(SRC.rglob("*.py")):
        name = ".".join(("keyturn", *path.relative_to(SRC).with_suffix("").parts)).removesuffix(".__init__")
        module = sources.module(name)
        assert module.uncounted <= set(module.definitions), name
        assert bool(module.uncounted) == (name in DECLARED), name


def closed_over(held):
    return lambda: held


def test_an_object_that_is_not_counted_brings_nothing_with_it(tmp_path):
    """A lab with workers holds them and how they open policies: none of it decides a result."""
    shared = SharedLab(tmp_path, Streams(0))
    assert code_version(closed_over(shared)).hash == code_version(closed_over(None)).hash
    assert code_version(closed_over(Lab(tmp_path, Streams(0)))).hash != code_version(closed_over(None)).hash


def test_a_list_of_files_that_is_no_list_is_refused(tree):
    edited(tree, "parts.py", "def unused", "__code_files__ = [name for name in ()]\n\ndef unused")
    with pytest.raises(UsageError, match=r"own\.parts\.__code_files__ is not a tuple of strings"):
        version(tree)


def test_names_that_come_by_a_package_or_a_star_are_followed(tree):
    edited(tree, "__init__.py", "", "from own.parts import half as public\n")
    (tree / "stars.py").write_text("from own.table import *\ndef f():\n    return LIMIT\n")
    (tree / "user.py").write_text("import own\ndef f(x):\n    return own.public(x)\n")
    assert "own.parts.half" in version(tree, "own.user.f").parts
    assert "own.table.LIMIT" in version(tree, "own.stars.f").parts


def test_a_folder_of_modules_without_init_is_followed(tmp_path, monkeypatch):
    folder = tmp_path / "loose_folder"
    folder.mkdir()
    (folder / "parts.py").write_text("def half(x):\n    return x / 2\n")
    (tmp_path / "uses_a_folder.py").write_text(
        "from loose_folder.parts import half\ndef f(x):\n    return half(x)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = code_version("uses_a_folder.f", reach=Reach(Sources({})))
    assert set(found.parts) == {"uses_a_folder.f", "loose_folder.parts.half"}


def test_circles_end(tree):
    (tree / "a.py").write_text("from own.b import g\ndef f(n):\n    return g(n)\n")
    (tree / "b.py").write_text("import own.a\ndef g(n):\n    return own.a.f(n - 1)\n")
    assert set(version(tree, "own.a.f").parts) == {"own.a.f", "own.b.g"}


class Maker:
    """A class whose method makes a function."""

    def __init__(self, shift):
        self.shift = shift

    def made(self, inner):
        def work(x):
            return inner(self.moved(x))

        return work

    def moved(self, x):
        return x + self.shift

    def elsewhere(self):
        return other()


def other():
    return 0


def doubled(x):
    return 2 * x


def test_a_function_made_by_a_method_reaches_that_method_what_it_calls_and_what_it_closed_over():
    found = code_version(Maker(1).made(doubled)).parts
    names = {name.partition("test_code_version.")[2] for name in found}
    assert {"Maker", "Maker.made", "Maker.moved", "doubled"} <= names
    assert not {"Maker.elsewhere", "other"} & names


@dataclass(frozen=True)
class Held:
    rule: object


@pytest.mark.parametrize(
    "holding",
    [
        Held(doubled),
        functools.partial(max, key=doubled),
        [Held((doubled,))],
        {"a": doubled},
        functools.cache(doubled),
        lambda x: doubled(x),
        [doubled, *range(100)],
    ],
)
def test_whatever_holds_a_function_reaches_it(holding):
    assert any(name.endswith("test_code_version.doubled") for name in code_version(holding).parts)


def test_libraries_are_not_counted():
    import numpy

    assert code_version(numpy.mean, sorted, functools.wraps, 3, None).parts == {}


def test_versions_are_joined_and_cut():
    both = CodeVersion({"a.b": "1", "a.c": "2"}) | CodeVersion({"d": "3"})
    assert both.within(["a.b", "d"]).parts == {"a.b": "1", "d": "3"}
    assert both.hash != both.within(["a"]).hash


def test_no_torch_is_imported_and_no_module_that_is_reached():
    code = (
        "import sys\nfrom keyturn.core.code_version import code_version\n"
        "v = code_version('keyturn.training.rl.train_rl')\nassert len(v.parts) > 100\n"
        "sys.exit(bool({'torch', 'keyturn.training.rl', 'keyturn.objectives'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


SCRIPT = """
import importlib, pathlib, sys
sys.path.insert(0, sys.argv[1])
import mine
from keyturn.core.code_version import code_version
first = code_version(mine.f).hash
path = pathlib.Path(mine.__file__)
path.write_text(path.read_text().replace("+ 1", "+ 22"))
assert code_version(mine.f).hash == first, "what runs is still the old text"
importlib.reload(mine)
assert code_version(mine.f).hash != first
"""


def test_an_edit_counts_once_the_module_is_loaded_again(tmp_path):
    (tmp_path / "mine.py").write_text("def f(x):\n    return x + 1\n")
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def typed(session, text):
    """Run a cell as a notebook does."""
    import linecache

    name = f"<cell {len(linecache.cache)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    exec(compile(text, name, "exec"), vars(session))


@pytest.fixture
def session(monkeypatch):
    import types

    made = types.ModuleType("notebook_of_a_test")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def test_what_was_typed_in_a_notebook_is_read_as_it_is_now(session):
    typed(
        session,
        "import numpy as np\nSCALE = 2\ndef g(x):\n    return x * SCALE\ndef f(x):\n    return g(np.abs(x))\n",
    )
    first = code_version(session.f)
    assert {"notebook_of_a_test.f", "notebook_of_a_test.g", "notebook_of_a_test.SCALE"} == set(first.parts)
    assert code_version(session.f).hash == first.hash
    typed(session, "SCALE = 3\n")
    assert first.changed(code_version(session.f)) == ("notebook_of_a_test.SCALE",)
    typed(session, "table = object()\ndef h(x):\n    return table\n")
    with pytest.raises(UsageError, match="'table' cannot be read"):
        code_version(session.h)


def test_the_same_in_every_process():
    code = (
        "from keyturn.core.code_version import code_version as v; print(v('keyturn.objectives.grpo.grpo').hash)"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
