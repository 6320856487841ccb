"""JSON lines: every line whole, whatever the disk does in the middle of one."""

import json
import os
import subprocess
import sys

import pytest

from keyturn.core.errors import StorageError
from keyturn.core.jsonl import append_jsonl, cut, read_jsonl


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


def test_a_last_line_that_only_lacks_its_end_is_kept(tmp_path):
    """Editors leave the last newline out; what stands there is whole."""
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"step": 0}\n{"step": 1}')
    assert read_jsonl(path) == [{"step": 0}, {"step": 1}]
    append_jsonl(path, {"step": 2})
    assert read_jsonl(path) == [{"step": 0}, {"step": 1}, {"step": 2}]


def test_a_torn_line_is_told_unless_somebody_is_writing_it(tmp_path, caplog):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"step": 0}\n{"st')
    assert read_jsonl(path, growing=True) == [{"step": 0}]
    assert caplog.records == []
    assert read_jsonl(path) == [{"step": 0}]
    assert "m.jsonl" in caplog.text


@pytest.mark.parametrize("line", [b"[1]", b"3", b"null", b'"x"', b"NaN", b"\x00", b"{" * 10**5])
def test_a_line_that_is_no_object_is_named_within_and_torn_at_the_end(tmp_path, line):
    path = tmp_path / "m.jsonl"
    path.write_bytes(line + b'\n{"a": 1}\n')
    with pytest.raises(StorageError, match="line 1"):
        read_jsonl(path)
    path.write_bytes(b'{"a": 1}\n' + line)
    assert read_jsonl(path) == [{"a": 1}]
    append_jsonl(path, {"a": 2})
    assert read_jsonl(path) == [{"a": 1}, {"a": 2}]


def test_a_torn_line_longer_than_what_is_read_at_once_is_found(tmp_path):
    path = tmp_path / "m.jsonl"
    append_jsonl(path, {"a": "x" * 200_000})
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:-2])
    append_jsonl(path, {"a": 2})
    assert [len(str(row["a"])) for row in read_jsonl(path)] == [200_000, 1]


# A limit on the size of files makes the kernel take part of a write at any byte, without any rights.
_LIMITED = """
import json, resource, signal, sys
from pathlib import Path
from keyturn.core.errors import StorageError
from keyturn.core.jsonl import append_jsonl, read_jsonl
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder, refused = Path(sys.argv[1]), 0
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
rows = [{"step": i, "text": "y" * i} for i in range(3)]
lines = [json.dumps(row).encode() + b"\\n" for row in rows]
size = sum(map(len, lines))
for limit in range(1, size + 1):
    path = folder / f"{limit}.jsonl"
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    kept = []
    for row in rows:
        try:
            append_jsonl(path, row)
            kept.append(row)
        except StorageError as error:
            assert "limit on the size" in error.what, error
            refused += 1
            break
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"".join(lines[: len(kept)]), (limit, path.read_bytes())
    for row in rows[len(kept) :]:
        append_jsonl(path, row)
    assert path.read_bytes() == b"".join(lines), limit
    path.unlink()
print(refused, size)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on the size of files there")
def test_a_write_cut_at_any_byte_leaves_whole_lines_and_the_rest_follows(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    refused, size = map(int, done.stdout.split())
    assert refused == size - 1


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a file system of so many pages; where that may not be done, the test says so."""
    mounted = []

    def mount(pages):
        folder = tmp_path / f"disk{pages}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={4 * pages}k", "small", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("no mount here")
        if done.returncode:
            if getattr(os, "geteuid", lambda: 1)() == 0 and os.environ.get("CI"):
                pytest.fail(f"root in CI must be able to mount a tmpfs: {done.stderr}")
            pytest.skip(f"no tmpfs can be mounted: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def filled(folder):
    """Take all the room that is left."""
    with (folder / "filler").open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(b"0" * 4096)
        except OSError:
            pass


@pytest.mark.parametrize("pages", range(2, 9))
def test_a_full_disk_of_every_size_leaves_whole_lines_and_takes_the_rest_later(small_disk, pages):
    folder = small_disk(pages)
    for width in (1, 90, 700, 4080, 4096, 9000):
        path = folder / "m.jsonl"
        expected, full = [], None
        for step in range(pages * 4096 // width + 2):
            row = {"step": step, "text": "z" * width}
            try:
                append_jsonl(path, row)
            except StorageError as error:
                full = error
                break
            expected.append(row)
        assert full is not None
        assert "disk full" in full.what
        raw = path.read_bytes() if path.exists() else b""
        assert raw == b"".join(json.dumps(row).encode() + b"\n" for row in expected)
        # A second refusal adds nothing either; room again, and the same row follows.
        with pytest.raises(StorageError, match="disk full"):
            append_jsonl(path, row)
        assert (path.read_bytes() if path.exists() else b"") == raw
        path.write_bytes(raw[: raw.find(b"\n") + 1])
        assert read_jsonl(path) == expected[:1]
        if len(raw) > 4096 + width:
            append_jsonl(path, row)
            assert read_jsonl(path) == [*expected[:1], row]
        path.unlink()


def test_a_full_disk_leaves_the_evidence_that_was_there(small_disk):
    from keyturn.atlas.evidence import record
    from keyturn.atlas.store import append, mine
    from keyturn.core.measurement import Estimate
    from keyturn.experiments.contract import Outcome, Subject

    folder = small_disk(6)
    from keyturn.atlas import CLAIMS

    claim = CLAIMS["rl-narrows"]

    def made(seed, run="r"):
        numbers = {"x": Estimate(0.5, 0.4, 0.6)}
        outcome = Outcome(numbers=numbers, base="b", base_name="b", run=run, n=9)
        return record(claim, Subject(seed=seed), outcome)

    first = made(0)
    path = append(first, folder)
    filled(folder)
    large = made(1, run="r" * 5000)
    before = path.read_bytes()
    with pytest.raises(StorageError, match="disk full"):
        append(large, folder)
    assert path.read_bytes() == before
    assert mine(claim.id, folder) == (first,)
    (folder / "filler").unlink()
    append(large, folder)
    assert mine(claim.id, folder) == (first, large)


_ADD = """
import sys
from pathlib import Path
from keyturn.atlas import CLAIMS
from keyturn.experiments.contract import Outcome, Subject
from keyturn.atlas.evidence import record
from keyturn.atlas.store import append
from keyturn.core.measurement import Estimate
for i in range(int(sys.argv[2]), int(sys.argv[2]) + 40):
    outcome = Outcome(numbers={"x": Estimate(.5)}, base="b", base_name="b", run="r" * 3000, n=i)
    append(record(CLAIMS["rl-narrows"], Subject(seed=i), outcome), Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_processes_that_add_evidence_at_once_lose_none(tmp_path):
    from keyturn.atlas.store import mine

    started = [subprocess.Popen([sys.executable, "-c", _ADD, str(tmp_path), str(1000 * i)]) for i in range(4)]
    assert [process.wait() for process in started] == [0, 0, 0, 0]
    assert len(mine("rl-narrows", tmp_path)) == 160
