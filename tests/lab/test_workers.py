"""Workers end with their parent, their errors arrive as they were, and Ctrl-C is one line."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import worker_jobs
from ready_for_signals import CHILD_S, HAS_PROC, wait_until_ready

from keyturn.core.errors import BusyError, KeyturnError
from keyturn.lab.workers import Job, Processes

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")]


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
        return not HAS_PROC or Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def until(condition, seconds=CHILD_S):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come to that")


def test_all_jobs_are_done(tmp_path):
    jobs = {name: Job(function=worker_jobs.touch, arguments=(str(tmp_path / name),)) for name in "abc"}
    finished = []
    found = Processes(2).run(jobs, folders=dict.fromkeys(jobs, tmp_path), done=finished.append)
    assert found == {name: str(tmp_path / name) for name in "abc"}
    assert sorted(finished) == ["a", "b", "c"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c"]


def test_what_is_larger_than_a_pipe_comes_back_whole():
    [found] = Processes(1).run({"l": Job(function=worker_jobs.large, arguments=(3_000_000,))}).values()
    assert len(found) == 3_000_000


def test_an_error_of_a_worker_arrives_with_its_own_fix_and_ends_the_others(tmp_path):
    jobs = {
        "waits": Job(function=worker_jobs.wait, arguments=(str(tmp_path), "w")),
        "b": Job(function=worker_jobs.busy, arguments=(str(tmp_path),)),
    }
    started = time.monotonic()
    with pytest.raises(BusyError, match="in use by process 1") as caught:
        Processes(2).run(jobs, folders=dict.fromkeys(jobs, tmp_path))
    assert caught.value.fix == "wait for it"
    assert time.monotonic() - started < CHILD_S, "the one that waits would wait for ten minutes"
    assert not any(alive(int(p.suffix[1:])) for p in tmp_path.glob("w.*"))


def test_a_worker_that_was_killed_is_told_by_the_signal(tmp_path):
    with pytest.raises(KeyturnError, match="the worker for k was stopped by SIGKILL") as caught:
        Processes(1).run({"k": Job(function=worker_jobs.killed)})
    assert "run again" in caught.value.fix


def test_a_bug_of_a_worker_is_called_one(tmp_path, capfd):
    with pytest.raises(KeyturnError, match="the worker for z failed with a bug"):
        Processes(1).run({"z": Job(function=worker_jobs.bug)})
    assert "ZeroDivisionError" in capfd.readouterr().err


_PARENT = """
import sys
sys.path.insert(0, sys.argv[2])
import worker_jobs
from keyturn.lab.workers import Job, Processes
if __name__ == "__main__":
    folder = sys.argv[1]
    Processes(2).run({n: Job(function=worker_jobs.wait, arguments=(folder, n)) for n in "ab"})
"""


def parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    folder = tmp_path / "jobs"
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder), str(Path(__file__).parent)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until(lambda: len(list(folder.iterdir())) == 2)
    return process, [int(p.suffix[1:]) for p in folder.iterdir()]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent_however_it_ends(tmp_path, number):
    process, workers = parent(tmp_path)
    assert all(map(alive, workers))
    process.send_signal(number)
    process.communicate(timeout=CHILD_S)
    until(lambda: not any(map(alive, workers)))


# The command line itself, with two workers that train: what a person sees who stops it.


def audit(folder, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "keyturn", "audit", "--out", str(folder), "--per-cell", "4", "--k", "4", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def in_session(session):
    """Processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def training(folder):
    return until(lambda: list(folder.glob("*/stages/rl-*/run/metrics.jsonl")))


@pytest.mark.skipif(not HAS_PROC, reason="reads /proc")
@pytest.mark.parametrize("after", [0.0, 1.5, 4.0, "training"])
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_in_a_terminal_is_one_message_and_no_traceback(tmp_path, after, times):
    """A terminal sends the signal to every process of the group."""
    process = audit(tmp_path / "run")
    if after == "training":
        training(tmp_path / "run")
    else:
        wait_until_ready(process)
        time.sleep(after)
    for _ in range(times):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.05)
    _, said = process.communicate(timeout=CHILD_S)
    # The interpreter gives its handlers back at its very end, where the second one ends it; a shell says 130.
    assert process.returncode in (130, -signal.SIGINT), said
    assert "Traceback" not in said
    assert "Error" not in said
    assert said.count("keyturn:") in range(1, times + 1)
    until(lambda: not in_session(process.pid))


@pytest.mark.skipif(not HAS_PROC, reason="reads /proc")
def test_after_kill_9_nobody_trains_on_and_the_same_command_goes_on(tmp_path):
    process = audit(tmp_path / "run")
    training(tmp_path / "run")
    process.kill()
    process.communicate()
    until(lambda: not in_session(process.pid))
    kept = {p: p.stat().st_size for p in training(tmp_path / "run")}
    again = audit(tmp_path / "run")
    until(lambda: all(p.stat().st_size > size for p, size in kept.items()) or again.poll() is not None)
    assert again.poll() is None
    # Twin: a second one meanwhile is refused with who holds it, and is not told to use fewer workers.
    second = audit(tmp_path / "run")
    _, said = second.communicate(timeout=CHILD_S)
    assert second.returncode == 1
    assert "is in use by process" in said
    assert "fix: wait for it" in said
    assert "--workers 1" not in said
    os.killpg(again.pid, signal.SIGTERM)
    _, said = again.communicate(timeout=CHILD_S)
    assert again.returncode == 143
    assert "ended by signal 15" in said
    assert "keyturn audit --out" in said
    # Workers notice that their parent ended a moment after it did.
    until(lambda: not in_session(again.pid))
