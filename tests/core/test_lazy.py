"""Modules that are imported when something of them is asked for."""

import io
import pickle
import sys

import pytest
from rich.console import Console

from keyturn.core import progress
from keyturn.core.lazy import Later, torch


@pytest.fixture
def late(tmp_path, monkeypatch):
    """A stand-in for a module that keeps what the terminal showed when it was imported."""
    shown = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda stderr: Console(file=shown, force_terminal=True))
    monkeypatch.setitem(sys.modules, "terminal_of_the_test", type("T", (), {"shown": shown}))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "late_module.py").write_text(
        "import terminal_of_the_test\nSEEN = terminal_of_the_test.shown.getvalue()\n__version__ = '3'\n"
    )
    yield Later("late_module")
    sys.modules.pop("late_module", None)


def test_it_is_imported_when_something_is_asked_for_and_a_terminal_is_told_before(late):
    assert "late_module" not in sys.modules
    assert "loading late_module" in late.SEEN
    assert "late_module" in sys.modules
    assert late.__version__ == "3"


def test_what_inspects_modules_does_not_import_it(late):
    assert not hasattr(late, "__wrapped__")
    assert "late_module" not in sys.modules


def test_what_it_lacks_is_said_as_by_the_module_itself(late):
    with pytest.raises(AttributeError, match=r"late_module.*nothing"):
        _ = late.nothing


def test_it_stands_for_the_very_module():
    import torch as real

    assert torch.Tensor is real.Tensor
    assert pickle.loads(pickle.dumps(torch.float32)) is real.float32
