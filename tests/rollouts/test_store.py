"""The Parquet store: exact, torn-proof, and clear about what it refuses."""

import errno
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keyturn.core import rundir
from keyturn.core.errors import StorageError
from keyturn.rollouts import store
from keyturn.rollouts.completions import Completions, Prompts, Stop, ragged
from keyturn.rollouts.grades import Grades

HOSTILE = ("</script>\x1b[2J", "\0\u202e\ud83d\ude00", "=1+1\r\n", "", "漢字 e\u0301", "{{7*7}} ]]> \u2028")


def completions(problem=(0, 1, 1), lengths=(3, 0, 2), policy="p", ids=("a", "b"), texts=None):
    rows = [list(range(10, 10 + n)) for n in lengths]
    tokens, offsets = ragged(rows)
    return Completions(
        policy=policy,
        prompts=Prompts.build(ids, [f"ask {i}" for i in ids], [[1, 2], []]),
        problem=np.array(problem, np.int32),
        draw=np.arange(len(problem), dtype=np.int32),
        tokens=tokens,
        offsets=offsets,
        logprobs=np.linspace(-3, 0, len(tokens), dtype=np.float32),
        entropies=np.full(len(tokens), np.nan, np.float32),
        stop=np.arange(len(problem), dtype=np.uint8) % 4,
        texts=tuple(HOSTILE[: len(problem)] if texts is None else texts),
    )


def same(first: Completions, second: Completions):
    """Bit-equal in everything, dtypes included."""
    for name in ("problem", "draw", "tokens", "offsets", "logprobs", "entropies", "stop"):
        before, after = getattr(first, name), getattr(second, name)
        assert before.dtype == after.dtype, name
        assert before.tobytes() == after.tobytes(), name
    assert first.prompts.ids == second.prompts.ids
    assert first.prompts.texts == second.prompts.texts
    assert first.prompts.tokens.tobytes() == second.prompts.tokens.tobytes()
    assert first.prompts.offsets.tobytes() == second.prompts.offsets.tobytes()
    assert (first.policy, first.texts) == (second.policy, second.texts)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bits=hnp.arrays(np.uint32, st.integers(0, 30)),
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=4, max_size=4),
    cut=st.lists(st.integers(0, 30), min_size=3, max_size=3),
)
def test_a_round_trip_is_exact(tmp_path, bits, texts, cut):
    size = len(bits)
    offsets = np.array([0, *sorted(min(c, size) for c in cut), size], np.int64)
    original = Completions(
        policy=texts[0],
        prompts=Prompts.build(["a", "b"], texts[:2], [[], [7, 8]]),
        problem=np.array([1, 0, 1, 1], np.int32),
        draw=np.array([0, 5, 1, 2], np.int32),
        tokens=(bits & 0x7FFFFFFF).astype(np.int32),
        offsets=offsets,
        logprobs=bits.view(np.float32),  # any bits: signalling NaNs, subnormals, negative zero
        entropies=bits[::-1].copy().view(np.float32),
        stop=np.array([0, 1, 2, 3], np.uint8),
        texts=tuple(texts),
    )
    store.write_completions(tmp_path, 0, original)
    same(original, store.read_completions(tmp_path))


def test_lone_surrogates_are_replaced_and_flagged_and_whole_characters_are_not(tmp_path):
    original = completions(texts=("half \ud83d", "whole 😀", ""))
    path = store.write_completions(tmp_path, 0, original)
    assert store.read_completions(tmp_path).texts == ("half \ufffd", "whole 😀", "")
    assert pq.read_table(path).column("text_replaced").to_pylist() == [True, False, False]


def test_the_tables_can_be_read_without_keyturn(tmp_path):
    table = pq.read_table(store.write_completions(tmp_path, 3, completions()))
    assert table.column("problem_id").to_pylist() == ["a", "b", "b"]
    assert table.column("tokens").to_pylist() == [[10, 11, 12], [], [10, 11]]
    assert table.column("text").to_pylist() == [HOSTILE[0], "\0\u202e\ufffd\ufffd", HOSTILE[2]]


def test_no_rows_and_no_prompts(tmp_path):
    tokens, offsets = ragged([])
    empty = Completions(
        policy="p",
        prompts=Prompts.build([], [], []),
        problem=np.zeros(0, np.int32),
        draw=np.zeros(0, np.int32),
        tokens=tokens,
        offsets=offsets,
        logprobs=np.zeros(0, np.float32),
        entropies=np.zeros(0, np.float32),
        stop=np.zeros(0, np.uint8),
        texts=(),
    )
    store.write_completions(tmp_path, 0, empty)
    same(empty, store.read_completions(tmp_path))


def test_parts_are_joined_in_order_over_the_union_of_their_prompts(tmp_path):
    store.write_completions(tmp_path, 10, completions(ids=("b", "c")))
    store.write_completions(tmp_path, 2, completions(ids=("a", "b"), problem=(0, 1, 1)))
    with pytest.raises(StorageError, match="different prompts under the id 'b'"):
        store.read_completions(tmp_path)
    store.write_completions(tmp_path, 10, completions(ids=("c", "d"), problem=(1, 0, 0)))
    joined = store.read_completions(tmp_path)
    assert store.completion_parts(tmp_path) == (2, 10)
    assert joined.prompts.ids == ("a", "b", "c", "d")
    assert joined.problem.tolist() == [0, 1, 1, 3, 2, 2]
    assert joined.row(3).tolist() == [10, 11, 12]
    assert store.read_completions(tmp_path, [10]).prompts.ids == ("c", "d")


def test_parts_of_several_policies_are_not_joined(tmp_path):
    store.write_completions(tmp_path, 0, completions())
    store.write_completions(tmp_path, 1, completions(policy="other"))
    with pytest.raises(StorageError, match="2 policies"):
        store.read_completions(tmp_path)
    assert store.read_completions(tmp_path, [1]).policy == "other"


def test_a_part_is_replaced_and_other_files_are_left_alone(tmp_path):
    store.write_completions(tmp_path, 0, completions())
    store.write_completions(tmp_path, 0, completions(lengths=(1, 1, 1)))
    (tmp_path / ".completions-00001.parquet.123.part").write_bytes(b"torn")
    (tmp_path / "completions-notes.parquet").write_bytes(b"foreign")
    (tmp_path / "completions-00007.parquet").mkdir()
    assert store.read_completions(tmp_path).lengths.tolist() == [1, 1, 1]


@pytest.mark.parametrize("which", ["completions-00000.parquet", "completions-00000.prompts.parquet"])
@pytest.mark.parametrize("damage", ["empty", "cut", "missing", "foreign"])
def test_damage_is_named(tmp_path, which, damage):
    store.write_completions(tmp_path, 0, completions())
    path = tmp_path / which
    data = path.read_bytes()
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(data[:-1])
    elif damage == "missing":
        path.unlink()
    else:
        pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(StorageError) as caught:
        store.read_completions(tmp_path)
    assert "completions" in str(caught.value)
    assert caught.value.fix


def test_a_flipped_byte_of_the_data_is_never_read_as_something_else(tmp_path):
    original = completions(texts=HOSTILE[2:5])
    path = store.write_completions(tmp_path, 0, original)
    data = path.read_bytes()
    caught = 0
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for place in range(4, footer, 3):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        try:
            same(original, store.read_completions(tmp_path))
        except StorageError:
            caught += 1
    assert caught > footer / 3 / 2


def test_a_crash_between_side_and_main_is_noticed(tmp_path, monkeypatch):
    store.write_completions(tmp_path, 0, completions())
    real = rundir.write_bytes

    def dies_on_main(path, data):
        if "prompts" not in path.name:
            raise KeyboardInterrupt
        real(path, data)

    monkeypatch.setattr(store, "write_bytes", dies_on_main)
    with pytest.raises(KeyboardInterrupt):
        store.write_completions(tmp_path, 0, completions(ids=("x", "y")))
    with pytest.raises(StorageError, match="not the file"):
        store.read_completions(tmp_path)


def test_a_newer_schema_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "SCHEMA", store.SCHEMA + 1)
    store.write_completions(tmp_path, 0, completions())
    monkeypatch.undo()
    with pytest.raises(StorageError, match="newer keyturn"):
        store.read_completions(tmp_path)


def test_a_full_disk_says_so_and_leaves_nothing(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(rundir.os, "fsync", full)
    with pytest.raises(StorageError, match="disk full"):
        store.write_completions(tmp_path, 0, completions())
    assert list(tmp_path.iterdir()) == []


def test_nothing_there(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(StorageError, match="no completions"):
            store.read_completions(folder)
    with pytest.raises(ValueError, match="from 0"):
        store.write_completions(tmp_path, -1, completions())


def _objects(*values):
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def grades(rows=3, roles=True):
    return Grades(
        outcome=np.array([1, 0, np.nan], np.float32)[:rows],
        verified=np.full(rows, np.nan, np.float32),
        answer=HOSTILE[2 : 2 + rows],
        columns={
            "strategy": _objects("FWD", "", "漢")[:rows],
            "format": np.array(["F1", "F2", "F3"])[:rows],
            "plan_score": np.array([0.25, np.nan, -0.0], np.float32)[:rows],
            "first_error": np.array([-1, 5, 2**31 - 1], np.int32)[:rows],
            "first_error_role": np.array([0, 8, 14], np.uint8)[:rows],
            "flag": np.array([True, False, True])[:rows],
        },
        roles=np.array([1, 2, 3, 4, 5], np.uint8) if roles else None,
        token_columns={"floor": np.array([0.5, np.nan, 0, 1, 2], np.float32)} if roles else {},
    )


@pytest.mark.parametrize("roles", [True, False])
def test_grades_come_back_exactly(tmp_path, roles):
    original = grades(roles=roles)
    store.write_grades(tmp_path, 0, original)
    read = store.read_grades(tmp_path)
    assert read.answer == original.answer
    assert (read.roles is None) == (not roles)
    pairs = [(original.outcome, read.outcome), (original.verified, read.verified)]
    for before, after in ((original.columns, read.columns), (original.token_columns, read.token_columns)):
        assert list(before) == list(after)
        pairs += [(before[name], after[name]) for name in before]
    for before, after in pairs:
        assert before.dtype == after.dtype
        assert before.tolist() == after.tolist() or before.tobytes() == after.tobytes()


def test_parts_of_grades_are_joined_and_must_have_the_same_columns(tmp_path):
    store.write_grades(tmp_path, 0, grades())
    store.write_grades(tmp_path, 1, grades())
    read = store.read_grades(tmp_path)
    assert len(read.outcome) == len(read.answer) == 6
    assert read.roles is not None
    assert len(read.roles) == 10
    store.write_grades(tmp_path, 2, grades(roles=False))
    with pytest.raises(StorageError, match="different columns"):
        store.read_grades(tmp_path)


def test_columns_that_are_not_text_or_not_flat_are_refused(tmp_path):
    for column, what in ((_objects("a", None, 3), "not text"), (np.zeros((3, 2)), "axes")):
        odd = Grades(outcome=np.zeros(3), verified=np.zeros(3), answer=("",) * 3, columns={"odd": column})
        with pytest.raises(ValueError, match=what):
            store.write_grades(tmp_path, 0, odd)


def test_every_table_carries_its_schema_number(tmp_path):
    store.write_completions(tmp_path, 0, completions())
    store.write_grades(tmp_path, 0, grades())
    for path in tmp_path.iterdir():
        meta = json.loads(pq.read_schema(path).metadata[b"keyturn"])
        assert meta["schema"] == store.SCHEMA


def test_stop_reasons_survive(tmp_path):
    store.write_completions(tmp_path, 0, completions())
    assert store.read_completions(tmp_path).stop.tolist() == [Stop.EOS, Stop.LENGTH, Stop.ERROR]
