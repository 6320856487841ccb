"""Rules of the house that no linter checks: sizes, names, quick imports, one place for each thing."""

import ast
import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest

SRC = pathlib.Path(__file__).parent.parent / "src" / "keyturn"
FILES = sorted(SRC.rglob("*.py"))


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(SRC)) for p in FILES])
def test_a_file_is_small_and_opens_with_its_idea(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    assert path.stem not in {"utils", "common", "helpers", "misc", "util"}
    assert ast.get_docstring(tree(path)), "the file does not say what it is"
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert (node.end_lineno or 0) - node.lineno < 80, node.name


METHOD_ROOMS = ("objectives", "measures", "rewards")
NOT_METHODS = {"__init__", "by_name", "contract", "verdict"}


@pytest.mark.parametrize("room", METHOD_ROOMS)
def test_a_method_file_names_its_source(room):
    for path in (SRC / room).glob("*.py"):
        if path.stem not in NOT_METHODS:
            said = ast.get_docstring(tree(path)) or ""
            assert "Source:" in said or "Ours" in said, f"{path.name} names no source"


def test_importing_keyturn_and_asking_for_help_is_quick_and_torch_free():
    code = (
        "import sys, keyturn, keyturn.cli.main as m; m.main(['--help']); "
        "heavy = {'torch', 'transformers', 'sklearn', 'pyarrow'} & set(sys.modules); sys.exit(bool(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_the_torch_free_rooms_stay_torch_free():
    names = ["core.rundir", "core.streams", "rollouts.completions", "rollouts.grades", "rollouts.store"]
    names += ["problems.files", "problems.world.worlds", "problems.world.grader"]
    code = ";".join(f"import keyturn.{n}" for n in names) + ";import sys; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


DECODING = (
    "batching cache checked compare head kernels masks prefix recomputable recompute runners sampler scorer"
    " steered_readers tiny"
)
ENGINES = "contract prime_rl rows slime trl trl_record verl"
EAGER = {
    "auditing/credit_trace.py",
    *(f"policies/{name}.py" for name in DECODING.split()),
    *(f"engines/{name}.py" for name in ENGINES.split()),
}
"""Modules that no listing, usage error or audit of sample files passes through."""


def imports_at_the_top(path):
    for node in tree(path).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(SRC)) for p in FILES])
def test_torch_is_imported_when_something_runs(path):
    """``from keyturn.core.lazy import torch``, but where a class or a decorator needs torch to be made."""
    heavy = {name for name in imports_at_the_top(path) if name.split(".")[0] in ("torch", "transformers")}
    heavy |= {name for name in imports_at_the_top(path) if name == "safetensors.torch"}
    name = path.relative_to(SRC).as_posix()
    assert not heavy or name in EAGER or name.startswith("policies/native/"), heavy


def test_the_size_rule_would_catch_a_long_function(tmp_path):
    long = tmp_path / "long.py"
    long.write_text('"""Idea."""\ndef f():\n' + "    x = 1\n" * 90)
    with pytest.raises(AssertionError):
        test_a_file_is_small_and_opens_with_its_idea(long)


def prose(path):
    """Docstrings, the strings under fields and constants, and comments."""
    for node in ast.walk(tree(path)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node.value.value
    yield from re.findall(r"#.*", path.read_text(encoding="utf-8"))


TESTS = [path for path in sorted(pathlib.Path(__file__).parent.rglob("*.py")) if "packaging" not in path.parts]
"""All but those that follow the pages of docs, whose programs import what the pages have them write."""
IMPORTS = re.compile(r"^\s*from (keyturn[\w.]*) import ([\w, ]+?)$", re.M)


def test_a_program_in_a_string_imports_what_there_is():
    """Tests hand programs to other processes; no linter reads these, and slow ones fail long after a move."""
    missing = []
    for path in TESTS:
        strings = (node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant))
        for room, names in IMPORTS.findall("\n".join(text for text in strings if isinstance(text, str))):
            found = importlib.util.find_spec(room) and importlib.import_module(room)
            for name in (name.split(" as ")[0] for name in names.split(", ")):
                inside = hasattr(found, "__path__") and importlib.util.find_spec(f"{room}.{name}")
                if not hasattr(found, name) and not inside:
                    missing.append(f"{path.name}: {room}.{name}")
    assert not missing


LACKED = re.compile(r"\b[\w/-]+\.md\b|\bdesign section\b|\bresearch note\b")
"""What a docstring may only say of a document that ships with the sources."""


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(SRC)) for p in FILES])
def test_no_sentence_points_to_a_document_that_a_stranger_lacks(path):
    root = SRC.parent.parent
    found = {name for text in prose(path) for name in LACKED.findall(text)}
    assert not {name for name in found if not (root / name).exists() and not (root / "docs" / name).exists()}
