"""A study trains by a method, and not by the parts of one."""

import ast
import importlib
import inspect
import pathlib

import pytest

import keyturn.experiments

STUDIES = sorted(pathlib.Path(keyturn.experiments.__file__).parent.glob("*.py"))


def taken_from_methods(source):
    """What a file imports from the methods: (name, value)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keyturn.methods"):
            for alias in node.names:
                yield alias.name, getattr(importlib.import_module(node.module), alias.name)


def trains(value):
    """Whether it is a function whose result holds a model."""
    said = inspect.signature(value).return_annotation if inspect.isfunction(value) else ""
    return any(word in str(said) for word in ("Model", "Policies"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_no_study_imports_a_function_that_trains(path):
    found = [name for name, value in taken_from_methods(path.read_text("utf-8")) if trains(value)]
    assert not found, f"train by METHOD.train instead of {', '.join(found)}, or give the method a setting"


def test_a_function_that_trains_is_seen():
    source = "from keyturn.methods.rejection import METHOD, RejectionConfig, iterate, successes, train"
    assert [name for name, value in taken_from_methods(source) if trains(value)] == ["iterate", "train"]
