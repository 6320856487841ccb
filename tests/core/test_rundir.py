"""Run directories: nothing half written, one owner, and what lies there is read or refused by name."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keyturn.core.errors import BusyError, StorageError
from keyturn.core.rundir import (
    append_jsonl,
    cut,
    free_bytes,
    identity,
    is_done,
    mark_done,
    owned,
    read_json,
    read_jsonl,
    sweep,
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


def test_a_torn_last_line_is_left_out_and_cut_before_the_next(tmp_path):
    path = tmp_path / "m.jsonl"
    append_jsonl(path, {"step": 0})
    with path.open("ab") as stream:
        stream.write(b'{"step": 1, "los')
    assert read_jsonl(path) == [{"step": 0}]
    append_jsonl(path, {"step": 1})
    assert read_jsonl(path) == [{"step": 0}, {"step": 1}]


def test_a_file_of_one_torn_line_is_empty(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"st')
    assert read_jsonl(path) == []
    append_jsonl(path, {"step": 0})
    assert read_jsonl(path) == [{"step": 0}]


def test_garbage_within_lines_is_named_by_its_number(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"a": 1}\n\xff\xfe\n{"a": 2}\n')
    with pytest.raises(StorageError, match="line 2"):
        read_jsonl(path)


def test_a_line_with_a_line_separator_in_it_stays_one_line(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_bytes('{"a": "x\u2028y\x85z"}\n'.encode())
    assert read_jsonl(path) == [{"a": "x\u2028y\x85z"}]


def test_cut_goes_back_to_a_checkpoint_and_never_forward(tmp_path):
    path = tmp_path / "m.jsonl"
    append_jsonl(path, {"step": 0})
    size = path.stat().st_size
    append_jsonl(path, {"step": 1})
    cut(path, size)
    assert read_jsonl(path) == [{"step": 0}]
    with pytest.raises(StorageError, match="were written"):
        cut(path, size + 1)
    cut(tmp_path / "absent", 0)


def test_the_second_owner_is_refused_and_told_who_holds_it(tmp_path):
    with owned(tmp_path):
        with pytest.raises(BusyError, match=f"process {os.getpid()} on"), owned(tmp_path):
            pass
        assert json.loads((tmp_path / "LOCK").read_text())["pid"] == os.getpid()
    with owned(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_error_inside_frees_the_directory(tmp_path):
    with pytest.raises(RuntimeError, match="x"), owned(tmp_path):
        raise RuntimeError("x")
    with owned(tmp_path):
        pass


_HOLD = """
import sys, time
from pathlib import Path
from keyturn.core.rundir import owned
with owned(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_live_process_is_refused_and_a_killed_one_is_not(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BusyError, match=f"process {holder.pid} "), owned(tmp_path):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert (tmp_path / "LOCK").exists()
        with owned(tmp_path):
            pass
    finally:
        holder.kill()
        holder.communicate()


@pytest.mark.parametrize("left", ["", "{", '{"pid": "x"}', '{"pid": 1, "host": "elsewhere"}'])
def test_whatever_a_dead_process_left_in_its_lock_is_taken_over(tmp_path, left):
    (tmp_path / "LOCK").write_text(left)
    with owned(tmp_path):
        assert json.loads((tmp_path / "LOCK").read_text())["pid"] == os.getpid()


def test_what_crashes_left_half_made_is_swept(tmp_path):
    (tmp_path / "sub" / ".x.json.77.part").mkdir(parents=True)
    (tmp_path / "sub" / ".x.json.77.part" / "file").touch()
    (tmp_path / ".m.jsonl.77.part").touch()
    (tmp_path / "sub" / "kept.part").touch()
    (tmp_path / "sub" / ".kept").touch()
    sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == [".kept", "kept.part", "sub"]
    sweep(tmp_path / "absent")


def test_done_is_said_last(tmp_path):
    assert not is_done(tmp_path)
    mark_done(tmp_path)
    assert is_done(tmp_path)


def test_identity_depends_on_fields_and_not_on_their_order():
    assert identity({"a": 1, "b": [2]}) == identity({"b": [2], "a": 1})
    assert identity({"a": 1}) != identity({"a": 2})
    assert identity({"path": Path("x")}) == identity({"path": "x"})


def test_free_bytes_of_a_folder_that_is_yet_to_be_made(tmp_path):
    assert free_bytes(tmp_path / "a" / "b") > 0
