"""Run directories: nothing half written, one owner, and what lies there is read or refused by name."""

import errno
import json
import os
import signal
import subprocess
import sys

import pytest

from keyturn.core.errors import BusyError, StorageError
from keyturn.core.jsonl import append_jsonl, cut, read_jsonl
from keyturn.core.rundir import (
    beside,
    free_bytes,
    is_done,
    mark_done,
    read_json,
    remove_leftovers,
    run_lock,
    write_bytes,
    write_json,
)


def test_documents_come_back_with_their_schema(tmp_path):
    path = tmp_path / "a b ü" / "x.json"
    write_json(path, {"k": [1, None, "ß"]})
    assert read_json(path) == {"schema": 1, "k": [1, None, "ß"]}


def test_a_newer_document_is_refused(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"schema": 99}')
    with pytest.raises(StorageError, match="newer keyturn"):
        read_json(path)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00", '{"a": 1'])
def test_a_damaged_document_is_named(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(StorageError, match=r"x\.json"):
        read_json(path)


def test_not_a_number_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "x"
    write_bytes(path, b"old")

    def full(handle):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="disk full"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_the_second_owner_is_refused_and_told_who_holds_it(tmp_path):
    with run_lock(tmp_path):
        with pytest.raises(BusyError, match=f"process {os.getpid()} on"), run_lock(tmp_path):
            pass
        assert json.loads((tmp_path / "LOCK").read_text())["pid"] == os.getpid()
    with run_lock(tmp_path):
        pass
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]


def test_an_error_inside_frees_the_directory(tmp_path):
    with pytest.raises(RuntimeError, match="x"), run_lock(tmp_path):
        raise RuntimeError("x")
    with run_lock(tmp_path):
        pass


_HOLD = """
import sys, time
from pathlib import Path
from keyturn.core.rundir import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_live_process_is_refused_and_a_killed_one_is_not(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BusyError, match=f"process {holder.pid} "), run_lock(tmp_path):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert (tmp_path / "LOCK").exists()
        with run_lock(tmp_path):
            pass
    finally:
        holder.kill()
        holder.communicate()


@pytest.mark.parametrize("left", ["", "{", '{"pid": "x"}', '{"pid": 1, "host": "elsewhere"}'])
def test_whatever_a_dead_process_left_in_its_lock_is_taken_over(tmp_path, left):
    (tmp_path / "LOCK").write_text(left)
    with run_lock(tmp_path):
        assert json.loads((tmp_path / "LOCK").read_text())["pid"] == os.getpid()


def test_what_crashes_left_half_made_is_swept(tmp_path):
    (tmp_path / "sub" / ".x.json.77.part").mkdir(parents=True)
    (tmp_path / "sub" / ".x.json.77.part" / "file").touch()
    (tmp_path / ".m.jsonl.77.part").touch()
    (tmp_path / "sub" / "kept.part").touch()
    (tmp_path / "sub" / ".kept").touch()
    remove_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == [".kept", "kept.part", "sub"]
    remove_leftovers(tmp_path / "absent")


def test_done_is_said_last(tmp_path):
    assert not is_done(tmp_path)
    mark_done(tmp_path)
    assert is_done(tmp_path)


def test_free_bytes_of_a_folder_that_is_yet_to_be_made(tmp_path):
    assert free_bytes(tmp_path / "a" / "b") > 0


@pytest.mark.parametrize("schema", ["1", None, True, -1, 1.5, [], {}])
def test_a_schema_that_is_no_version_is_damage_and_not_a_traceback(tmp_path, schema):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"schema": schema}))
    with pytest.raises(StorageError, match="not a version number"):
        read_json(path)


def test_a_lone_surrogate_is_kept(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"name": "a\ud800ü"})
    assert read_json(path)["name"] == "a\ud800ü"
    assert path.read_bytes().decode()


def links(folder):
    """A link to a file elsewhere, and what must still be in that file afterwards."""
    outside = folder / "outside"
    outside.write_bytes(b"mine\n")
    run = folder / "run"
    run.mkdir()
    return run, outside


def test_nothing_is_written_through_a_link(tmp_path):
    run, outside = links(tmp_path)
    for name in ("report.html", "m.jsonl", "LOCK", ".lock"):
        (run / name).symlink_to(outside)
    write_bytes(run / "report.html", b"new")
    assert (run / "report.html").read_bytes() == b"new"
    with pytest.raises(StorageError, match="link"):
        append_jsonl(run / "m.jsonl", {})
    with pytest.raises(StorageError, match="link"):
        cut(run / "m.jsonl", 1)
    with pytest.raises(StorageError, match="link"), run_lock(run):
        pass
    (run / ".lock").unlink()
    with run_lock(run):
        assert not (run / "LOCK").is_symlink()
    assert outside.read_bytes() == b"mine\n"


def test_sweeping_removes_a_link_and_not_what_it_points_to(tmp_path):
    run, outside = links(tmp_path)
    (run / ".x.1.part").symlink_to(outside)
    (run / ".y.1.part").symlink_to(tmp_path)
    (run / ".z.1.part").symlink_to(run / ".z.1.part")
    remove_leftovers(run)
    assert list(run.iterdir()) == []
    assert outside.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_refused_and_nobody_waits_for_it(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(StorageError, match="pipe"):
        read_json(pipe)
    with pytest.raises(StorageError, match="pipe"):
        read_jsonl(pipe)
    with pytest.raises(StorageError, match="pipe"):
        append_jsonl(pipe, {})


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, "x" * 250 + ".json", "CON", "a b", "dot."])
def test_names_as_long_as_the_file_system_takes_work(tmp_path, name):
    write_bytes(tmp_path / name, b"1")
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_directory_of_the_name_is_said(tmp_path):
    (tmp_path / "x" / "y").mkdir(parents=True)
    with pytest.raises(StorageError, match="is a directory"):
        write_bytes(tmp_path / "x", b"1")
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


_WRITE = """
import os, signal, sys
from pathlib import Path
from keyturn.core import rundir
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
rundir.write_bytes(Path(sys.argv[1]), b"x" * 100000)
"""


def test_what_a_killed_writer_left_goes_when_the_next_process_writes_there(tmp_path):
    path = tmp_path / "audit.json"
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", _WRITE, str(path)], check=False).returncode == -9
        assert len(list(tmp_path.iterdir())) == 1
    subprocess.run([sys.executable, "-c", _WRITE.replace("os.fsync =", "idle ="), str(path)], check=True)
    assert [p.name for p in tmp_path.iterdir()] == ["audit.json"]


def test_what_a_live_process_is_writing_stays(tmp_path):
    theirs = tmp_path / beside(tmp_path / "x.json").name.replace(f"-{os.getpid()}.", f"-{os.getppid()}.")
    elsewhere = tmp_path / ".x.json.ffffff-1.part"
    theirs.touch()
    elsewhere.touch()
    done = subprocess.run(
        [sys.executable, "-c", _WRITE.replace("os.fsync =", "idle ="), str(tmp_path / "x.json")], check=False
    )
    assert done.returncode == 0
    assert {p.name for p in tmp_path.iterdir()} == {theirs.name, elsewhere.name, "x.json"}


def test_going_on_after_a_crash_is_said_once(tmp_path, caplog):
    (tmp_path / "LOCK").write_text('{"pid": 4242, "host": "here"}')
    for _ in range(2):
        with run_lock(tmp_path):
            pass
    assert [r.getMessage() for r in caplog.records if "4242" in r.getMessage()] != []
    assert len(caplog.records) == 1


def test_a_folder_that_was_moved_is_still_the_same_run(tmp_path):
    with run_lock(tmp_path / "a"):
        write_json(tmp_path / "a" / "x.json", {})
        mark_done(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    with run_lock(tmp_path / "b"):
        assert is_done(tmp_path / "b")
        assert read_json(tmp_path / "b" / "x.json") == {"schema": 1}
