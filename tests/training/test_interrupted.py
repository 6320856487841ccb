"""Stopped in the middle of anything, a run goes on as if nothing had been; killed at any write, too."""

import os
import signal
import subprocess
import sys

import pytest
from ready_for_signals import CHILD_S
from test_resume import go, product

from keyturn.core import rundir
from keyturn.policies.local import LocalPolicy
from keyturn.training import collect as lesson
from keyturn.training import run


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    assert go(folder) is not None
    return product(folder)


def interrupting(original, at, when):
    """Call number ``at`` is interrupted before its own work or right after it."""
    calls = {"made": -1}

    def call(*args, **kwargs):
        calls["made"] += 1
        if calls["made"] == at and when == "before":
            raise KeyboardInterrupt
        found = original(*args, **kwargs)
        if calls["made"] == at:
            raise KeyboardInterrupt
        return found

    return call, calls


PHASES = {
    "rollout": (LocalPolicy, "draw"),
    "grading": (lesson, "rewards_of"),
    "update": (run, "update"),
    "metrics": (run, "append_jsonl"),
    "rollouts": (run, "write_grades"),
    "checkpoint": (run, "write_checkpoint"),
    "the model at the end": (run, "save_policy"),
    "any file": (rundir.os, "fsync"),
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", [0, 3])
@pytest.mark.parametrize("phase", PHASES)
def test_an_interrupt_in_any_phase_and_the_run_goes_on(tmp_path, monkeypatch, straight, phase, at, when):
    owner, name = PHASES[phase]
    if not hasattr(owner, name):
        pytest.fail(f"{owner} has no {name} any more: name the phase anew")
    call, calls = interrupting(getattr(owner, name), at, when)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, call)
        try:
            go(tmp_path)
        except KeyboardInterrupt:
            pass
        else:
            assert calls["made"] < at, "nothing was interrupted"
    assert go(tmp_path) is not None
    assert product(tmp_path) == straight
    assert not list(tmp_path.rglob("*.part"))


# A save is killed at each of its system calls, in a process forked for it. The older checkpoint must be found.
_SAVES = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import torch
torch.set_num_threads(1)
from test_checkpoint import same, snapshot
from keyturn.training.checkpoint import newest_checkpoint, write_checkpoint

def dying(at):
    calls = [0]
    for name in ("open", "write", "fsync", "replace", "mkdir", "rename", "close", "rmdir", "unlink"):
        def call(*args, _original=getattr(os, name), **kwargs):
            calls[0] += 1
            if calls[0] == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return _original(*args, **kwargs)
        setattr(os, name, call)

at, killed, found = 0, 0, set()
while True:
    at += 1
    folder = Path(sys.argv[1]) / str(at)
    write_checkpoint(folder, snapshot(1))
    child = os.fork()
    if child == 0:
        dying(at)
        write_checkpoint(folder, snapshot(2), keep=1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    newest = newest_checkpoint(folder)
    same(newest, snapshot(newest.step))
    found.add(newest.step)
    write_checkpoint(folder, snapshot(3), keep=1)
    assert [p.name for p in folder.iterdir()] == ["step-000003"], list(folder.iterdir())
    if status == 0:
        break
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    killed += 1
print(killed, sorted(found))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_save_killed_at_any_system_call_leaves_a_whole_checkpoint(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _SAVES, str(tmp_path), os.path.dirname(__file__)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    killed, found = done.stdout.split(maxsplit=1)
    assert int(killed) > 15
    assert found.strip() == "[1, 2]"


_CHILD = """
import sys
sys.path[:0] = sys.argv[3:]
from pathlib import Path
import torch
torch.set_num_threads(int(sys.argv[2]))
from keyturn.cli import stopping
import test_resume
stopping.watch()
print("ready", flush=True)
test_resume.go(Path(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("after", [0.0, 0.05, 0.2, 0.5])
def test_a_real_signal_at_any_moment_and_the_run_goes_on(tmp_path, straight, number, after):
    import time

    import torch

    words = [str(tmp_path), str(torch.get_num_threads()), *filter(None, sys.path)]
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout.readline() == b"ready\n"
    time.sleep(after)
    child.send_signal(number)
    child.communicate(timeout=CHILD_S)
    assert child.returncode != 0 or (tmp_path / "DONE").exists()
    assert go(tmp_path) is not None
    assert product(tmp_path) == straight
