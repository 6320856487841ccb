"""Whatever a file holds, it is read or refused in one line with a fix."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.core.errors import KeyturnError
from keyturn.rollouts.readers import Columns, pair, read_samples, write_samples
from keyturn.rollouts.readers.columns import KNOWN

CASES = Path(__file__).parent / "cases"
NAMES = sorted({name for known in KNOWN.values() for name in known if "." not in name})
NAMES += ["traces", "task", "error", "metrics", "filter", "model", "rank", "messages", "eval", "samples"]
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3), st.integers(), st.floats(),
    st.sampled_from(["", "a", "C", "I", "P", "1", "0.0", "length", "{", "[{'role'", "\ud800", "[]"]),
    st.just('[{"role": "assistant", "content": "x"}]'),
)  # fmt: skip
INNER = ["role", "content", "value", "text", "x.y", "0", *NAMES[:12]]
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(INNER), inner, max_size=3),
    max_leaves=6,
)
ROWS = st.lists(
    st.none()
    | st.fixed_dictionaries(
        {},
        optional={
            "id": st.sampled_from([0, 1, 1.0, "a", "\ud800"]),
            "completion": st.sampled_from(["a", "b", None, ["a", "b"]]) | VALUES,
            "reward": st.sampled_from([0, 1, "C", None, [0, 1]]) | VALUES,
            **dict.fromkeys(NAMES[::3], VALUES),
        },
    ),
    min_size=1,
    max_size=6,
)


def refusal(work, *arguments):
    """The error that the user would see; None where there is none, and any other error fails the test."""
    try:
        work(*arguments)
    except KeyturnError as error:
        return error
    return None


def read_and_write(folder, path, columns):
    samples = read_samples(path, columns)
    assert len(set(zip(samples.problem, samples.draw.tolist(), strict=True))) == len(samples)
    samples.completions()
    for kind in ("jsonl", "parquet"):
        write_samples(folder / f"out.{kind}", samples)
    pair(samples, samples)


@given(rows=ROWS, purpose=st.sampled_from(["", *KNOWN]), name=st.sampled_from(["id", "reward", *NAMES[:6]]))
@settings(deadline=None)
def test_any_records(tmp_path_factory, rows, purpose, name):
    folder = tmp_path_factory.mktemp("any")
    path = folder / "f.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    error = refusal(read_and_write, folder, path, Columns(**({purpose: name} if purpose else {})))
    assert error is None or (error.fix and "\n" not in error.what)


@pytest.mark.parametrize(
    "name", ["inspect_16.eval", "decimal.parquet", "plain.jsonl.gz", "utf16.jsonl", "plain.csv"]
)
@given(damage=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4), kept=st.floats(0, 1))
@settings(deadline=None)
def test_any_damage(tmp_path_factory, name, damage, kept):
    data = bytearray((CASES / name).read_bytes())
    for place, byte in damage:
        data[int(place * (len(data) - 1))] = byte
    path = tmp_path_factory.mktemp("torn") / name
    path.write_bytes(bytes(data[: int(kept * len(data)) + 1]) if kept < 0.5 else bytes(data))
    error = refusal(read_samples, path)
    assert error is None or error.fix
