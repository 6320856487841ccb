"""Files that unpack to far more than they are."""

import bz2
import gzip
import json
import lzma
import zipfile

import pyarrow as pa
import pytest

from keyturn.core.errors import InputError
from keyturn.rollouts.readers import raw, read_samples

ROW = {"problem_id": "a", "completion": "x" * 4000, "reward": 1}
PACKED = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
}


def packed(path, kind, rows):
    if kind == "eval":
        sample = {
            "id": 1,
            "epoch": 1,
            "input": "q",
            "output": {"completion": "x" * 4000},
            "scores": {"s": {"value": "C"}},
        }
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("header.json", json.dumps({"status": "success", "eval": {"model": "m"}}))
            for number in range(rows):
                archive.writestr(f"samples/{number}_epoch_1.json", json.dumps({**sample, "id": number}))
        return path
    lines = "".join(json.dumps({**ROW, "problem_id": f"p{number}"}) + "\n" for number in range(rows))
    path.write_bytes(PACKED[kind](lines.encode()))
    return path


@pytest.mark.parametrize("kind", [*PACKED, "eval"])
def test_what_unpacks_to_more_than_the_limit_is_refused(tmp_path, monkeypatch, kind):
    path = packed(tmp_path / (f"bomb.{kind}" if kind == "eval" else f"bomb.jsonl.{kind}"), kind, 300)
    assert len(read_samples(path)) == 300
    monkeypatch.setattr(raw, "LARGEST", 1_000_000)
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match="unpacks to more than"):
        read_samples(path)


def test_names_in_an_archive_that_climb_are_written_nowhere(tmp_path):
    folder = tmp_path / "in" / "here"
    folder.mkdir(parents=True)
    path = packed(folder / "log.eval", "eval", 3)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../climbed.json", "{}")
        archive.writestr("/climbed.json", "{}")
    before = sorted(tmp_path.rglob("*"))
    assert len(read_samples(path)) == 3
    assert sorted(tmp_path.rglob("*")) == before
