"""A table is read in the thread that asks: a thread of Arrow's pools may abort the process when Python ends."""

import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from keyturn.rollouts.readers.records import read_records

COUNTED = """
import os, sys, pathlib
from keyturn.rollouts.readers.records import read_records
def pool():
    names = (f"/proc/self/task/{task}/comm" for task in os.listdir("/proc/self/task"))
    return sum(not open(name).read().startswith("jemalloc") for name in names)
before = pool()
rows = sum(len(read_records(pathlib.Path(name)).rows) for name in sys.argv[1:] if name != "threads")
if "threads" in sys.argv:
    import pyarrow.parquet
    pyarrow.parquet.read_table(sys.argv[1])
print(rows, pool() - before)
"""


@pytest.fixture
def files(tmp_path):
    table = pa.table({"id": list(range(500)), "text": ["1 + 1 = 2"] * 500})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=50)
    with pa.ipc.new_file(tmp_path / "b.arrow", table.schema) as sink:
        sink.write_table(table, max_chunksize=50)
    with pa.ipc.new_stream(tmp_path / "c.arrow", table.schema) as sink:
        sink.write_table(table, max_chunksize=50)
    return [tmp_path / name for name in ("a.parquet", "b.arrow", "c.arrow")]


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_a_table_is_read_without_a_thread_of_arrow(files):
    def counted(*more):
        words = [sys.executable, "-c", COUNTED, *map(str, files), *more]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()

    assert counted() == ["1500", "0"]
    rows, threads = counted("threads")
    assert rows == "1500", "the count of threads sees none, so it shows nothing"
    assert int(threads) > 0, "the count of threads sees none, so it shows nothing"


def test_what_is_read_is_what_was_written(files):
    for path in files:
        assert read_records(path).rows[7] == {"id": 7, "text": "1 + 1 = 2"}
