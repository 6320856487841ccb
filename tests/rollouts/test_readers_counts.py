"""Counts of right draws are a sample file; so are verdicts without completions."""

import bz2
import gzip
import json
import lzma
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from keyturn.cli.main import main
from keyturn.core.errors import InputError, UsageError
from keyturn.core.streams import Streams
from keyturn.measures.contract import Tables
from keyturn.measures.length import LengthConfig, measure_length
from keyturn.measures.paired import Paired
from keyturn.rollouts.readers import Columns, pair, read_samples

COUNTS = [{"id": "a", "c": 3, "n": 8}, {"id": "b", "c": 0, "n": 4}, {"id": "d", "c": 5, "n": 5}]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def table(rows):
    header = ",".join(rows[0])
    return (header + "\n" + "".join(",".join(map(str, row.values())) + "\n" for row in rows)).encode()


def parquet(rows):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


def zstd(data):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("press", [bytes, gzip.compress, bz2.compress, lzma.compress, zstd])
@pytest.mark.parametrize("write", [lines, table, parquet, lambda rows: json.dumps(rows).encode()])
def test_counts_in_every_format_and_compression(tmp_path, write, press):
    path = tmp_path / "whatever.it.is.called"
    path.write_bytes(press(write(COUNTS)))
    samples = read_samples(path)
    assert len(samples) == 17
    assert not samples.answered.any()
    for row in COUNTS:
        own = np.array(samples.problem) == row["id"]
        assert (own.sum(), samples.success[own].sum()) == (row["n"], row["c"])
        assert samples.draw[own].tolist() == list(range(row["n"]))
    assert "3 records of counts" in samples.notes[0]


def test_the_order_of_counted_verdicts_is_random_and_the_same_each_time(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_bytes(lines([{"id": i, "num_correct": 64, "num_samples": 128} for i in range(200)]))
    samples = read_samples(path)
    halves = samples.success.reshape(200, 2, 64).sum(2)
    # Hypergeometric: 32 with a standard deviation of 2.8 a problem, 0.2 for the mean.
    assert abs(halves[:, 0].mean() - 32) < 1
    assert 2 < halves[:, 0].std() < 4
    np.testing.assert_array_equal(read_samples(path).success, samples.success)


def test_many_counts_are_read_quickly(tmp_path):
    rows = [{"id": f"p{i}", "c": i % 129, "n": 128} for i in range(1060)]
    path = tmp_path / "c.csv"
    path.write_bytes(table(rows))
    started = time.process_time()
    both = pair(read_samples(path), read_samples(path))
    assert time.process_time() - started < 5
    n, c = both.base.counts()
    assert n.tolist() == [128] * 1060
    assert c.tolist() == [i % 129 for i in range(1060)]


def test_wrong_counts(tmp_path):
    path = tmp_path / "c.jsonl"
    asked = Columns(right="c", drawn="n")
    for row, what in (
        ({"id": 1, "c": 5, "n": 4}, "record 2: c 5, n 4"),
        ({"id": 1, "c": 0.5, "n": 4}, r"c 0\.5"),
        ({"id": 1, "c": -1, "n": 4}, "c -1"),
        ({"id": 1, "n": 4}, "c missing"),
        ({"id": 0, "c": 1, "n": 4}, "1 problems have several counts"),
        ({"id": 1, "c": 1, "n": 10**8}, "100000008 draws"),
    ):
        path.write_bytes(lines([{"id": 0, "c": 2, "n": 8}, row]))
        with pytest.raises(InputError, match=what):
            read_samples(path, asked)
    path.write_bytes(lines([{"id": 0, "hits": 2, "of": 8}]))
    with pytest.raises(UsageError, match="no column of counts for drawn") as caught:
        read_samples(path, Columns(right="hits"))
    assert "--columns.drawn NAME" in caught.value.fix
    with pytest.raises(UsageError, match="no column 'hit'"):
        read_samples(path, Columns(right="hit", drawn="of"))
    assert len(read_samples(path, Columns(right="hits", drawn="of"))) == 8


def test_a_verdict_beside_the_size_of_its_group_is_no_count(tmp_path):
    rows = [{"id": i, "correct": d % 2, "n": 4} for i in range(3) for d in range(4)]
    path = tmp_path / "v.jsonl"
    path.write_bytes(lines(rows))
    samples = read_samples(path)
    assert (len(samples), int(samples.success.sum())) == (12, 6)
    path.write_bytes(lines([{"id": i, "correct": i, "total": 4} for i in range(3)]))
    assert len(read_samples(path)) == 12


def test_verdicts_without_completions(tmp_path):
    path = tmp_path / "v.jsonl"
    path.write_bytes(lines([{"id": i, "scores": [1, 0, None, 1]} for i in range(3)]))
    samples = read_samples(path)
    assert (len(samples), int(np.nansum(samples.success)), samples.ungraded) == (12, 6, 3)
    assert "only verdicts" in samples.notes[-1]
    path.write_bytes(b"problem_id,is_correct\n1,True\n1,False\n2,\n")
    samples = read_samples(path)
    np.testing.assert_array_equal(samples.success, [1, 0, np.nan])
    assert samples.problem == ("1", "1", "2")


def test_what_counts_do_not_hold_is_left_out_of_an_audit(tmp_path, capsys):
    rng = np.random.default_rng(0)
    files = []
    for name, rate in (("base", 0.2), ("tuned", 0.6)):
        path = tmp_path / f"{name}.csv"
        path.write_bytes(table([{"id": i, "c": rng.binomial(64, rate), "n": 64} for i in range(40)]))
        files.append(str(path))
    assert main(["audit", "--samples", *files, "--out", str(tmp_path / "run"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["audits"][0]
    assert found["verdict"]["label"] == "deployed"
    assert "completions" in found["left_out"]["length"]
    known = [
        m for m in found["measurements"] if m["n"] > 0 and m["name"].startswith(("length", "trunc", "answer"))
    ]
    assert known == []


def test_a_file_that_does_not_say_what_was_cut_has_no_share_that_was(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"id": i, "completion": "a b" * d, "reward": d % 2} for i in range(9) for d in range(4)]
    rows.append({"id": 0, "completion": None, "reward": 0})
    path.write_bytes(lines(rows))
    both = pair(read_samples(path), read_samples(path))
    found = measure_length(
        Tables(streams=Streams(0), paired=Paired(base=both.base, tuned=both.tuned)), LengthConfig(resamples=99)
    )
    cut = [m for m in found if m.name.startswith("truncated")]
    assert all(np.isnan(m.value) and m.n == 0 and "do not say which" in m.note for m in cut)
    (length,) = (
        m for m in found if m.name == "length" and m.parameters == {"policy": "base", "outcome": "all"}
    )
    assert length.unit == "words"
    assert length.value == pytest.approx(np.mean([len(row["completion"].split()) for row in rows[:4]]))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": 3, "c": 70, "n": 64}, "record 4: c 70, n 64 are not counts"),
        ({"id": 3, "c": -1, "n": 64}, "record 4: c -1, n 64 are not counts"),
        ({"id": 0, "c": 5, "n": 64}, "1 problems have several counts"),
    ],
)
def test_what_is_wrong_with_counts_is_said_where_nobody_named_their_columns(tmp_path, row, message):
    path = tmp_path / "counts.jsonl"
    path.write_bytes(lines([*({"id": i, "c": 5, "n": 64} for i in range(3)), row]))
    with pytest.raises(InputError, match=message):
        read_samples(path)
