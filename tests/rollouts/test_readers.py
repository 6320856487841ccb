"""Sample files of common tools become one table, or a clear error."""

import gzip
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.errors import InputError, KeyturnError, UsageError
from keyturn.rollouts.readers import Columns, pair, read_samples, write_samples


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


PLAIN = [
    {"prompt": "1+1?", "completion": "2", "reward": 1},
    {"prompt": "1+1?", "completion": "3", "reward": 0},
    {"prompt": "2+2?", "completion": "", "reward": None},
]


def test_a_plain_file(tmp_path):
    samples = read_samples(jsonl(tmp_path / "base.jsonl", PLAIN))
    assert samples.policy == "base"
    assert samples.texts == ("2", "3", "")
    assert samples.draw.tolist() == [0, 1, 0]
    np.testing.assert_array_equal(samples.success, [1, 0, np.nan])
    assert samples.problem[0] == samples.problem[1] != samples.problem[2]
    assert samples.ungraded == 1
    assert samples.words.tolist() == [1, 1, 0]
    assert len(samples) == 3


def test_the_same_prompt_is_the_same_problem_in_every_format(tmp_path):
    expected = read_samples(jsonl(tmp_path / "a.jsonl", PLAIN))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    (tmp_path / "c.json").write_text(json.dumps(PLAIN))
    pq.write_table(pa.Table.from_pylist(PLAIN), tmp_path / "d.parquet")
    (tmp_path / "e.jsonl").write_bytes(
        b"\xef\xbb\xbf" + (tmp_path / "a.jsonl").read_bytes().replace(b"\n", b"\r\n")
    )
    for name in ("b.jsonl.gz", "c.json", "d.parquet", "e.jsonl"):
        read = read_samples(tmp_path / name)
        assert (read.problem, read.texts, read.prompts) == (expected.problem, expected.texts, expected.prompts)
        np.testing.assert_array_equal(read.success, expected.success)


def test_lm_eval_log_samples(tmp_path):
    def row(number, kind, text, right):
        return {
            "doc_id": number, "doc": {"question": f"q{number}", "answer": "worked\n#### 4", "solution": "x"},
            "target": "worked\n#### 4", "arguments": {"gen_args_0": {"arg_0": f"Q: q{number}\nA:",
            "arg_1": {}}},
            "resps": [[text]], "filtered_resps": ["4"], "filter": kind, "metrics": ["exact_match"],
            "exact_match": right, "doc_hash": "h", "prompt_hash": "p", "target_hash": "t",
        }  # fmt: skip

    rows = [
        row(n, kind, f"text {n}", float(n)) for n in (0, 1) for kind in ("strict-match", "flexible-extract")
    ]
    path = jsonl(tmp_path / "samples_gsm8k.jsonl", rows)
    with pytest.raises(InputError, match="strict-match, flexible-extract") as caught:
        read_samples(path)
    assert "#strict-match" in caught.value.fix
    samples = read_samples(f"{path}#flexible-extract")
    assert samples.problem == ("0", "1")
    assert samples.texts == ("text 0", "text 1")
    assert samples.prompts == ("Q: q0\nA:", "Q: q1\nA:")
    assert samples.success.tolist() == [0, 1]
    assert samples.gold == ("worked\n#### 4",) * 2


def test_lm_eval_with_the_older_arguments_and_several_draws_a_document(tmp_path):
    row = {"doc_id": 7, "arguments": [["the prompt", {"until": ["\n"]}]], "resps": [["a", "b",
    "c"]], "target": "a",
           "exact_match": 1.0, "filter": "none"}  # fmt: skip
    samples = read_samples(jsonl(tmp_path / "s.jsonl", [row]))
    assert samples.prompts[0] == "the prompt"
    assert samples.texts == ("a", "b", "c")
    assert samples.draw.tolist() == [0, 1, 2]
    assert np.isnan(samples.success).all()  # one verdict over three texts says nothing of any of them
    assert "3 texts share a verdict" in samples.notes[0]


def test_inspect_log(tmp_path):
    def sample(number, epoch, value):
        return {
            "id": number, "epoch": epoch, "input": [{"role": "user", "content": f"q{number}"}], "target": "4",
            "messages": [], "metadata": {"solution": "s"}, "scores": {"match": {"value": value, "answer": "4"}},
            "output": {"model": "m", "choices": [{"message": {"role": "assistant", "content": [
                {"type": "reasoning", "reasoning": "r"}, {"type": "text",
                "text": "so 4"}]}, "stop_reason": "stop"}]},
        }  # fmt: skip

    log = {"version": 2, "status": "success", "eval": {}, "samples": [sample(1, 1, "C"), sample(1, 2, "I")]}
    path = tmp_path / "log.json"
    path.write_text(json.dumps(log))
    samples = read_samples(path)
    assert samples.texts == ("so 4", "so 4")
    assert samples.prompts == ("q1", "q1")
    assert samples.success.tolist() == [1, 0]
    assert samples.draw.tolist() == [1, 2]
    assert samples.answer == ("4", "4")
    assert samples.gold == ("4", "4")
    log["samples"][0]["scores"]["other"] = {"value": 1}
    path.write_text(json.dumps(log))
    with pytest.raises(InputError, match=r"any of scores.match.value \(1 of 2 right\), scores.other.value"):
        read_samples(path)
    assert read_samples(path, Columns(success="scores.match.value")).success.tolist() == [1, 0]


def test_trl_completions(tmp_path):
    rows = [
        {"step": step, "prompt": [{"role": "user", "content": "q"}], "advantage": 0.0,
         "completion": [{"role": "assistant", "content": f"c{step}"}], "accuracy_reward": 2.0 * (step == 20)}
        for step in (10, 20)
    ]  # fmt: skip
    path = tmp_path / "completions_00010.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(InputError, match="several values of 'step': 10, 20"):
        read_samples(path)
    with pytest.raises(InputError, match="neither verdicts nor gold") as caught:
        read_samples(f"{path}#20")
    assert "accuracy_reward" in caught.value.fix
    with pytest.raises(InputError, match="reward 2 is neither 0 nor 1") as caught:
        read_samples(f"{path}#20", Columns(success="accuracy_reward"))
    assert "success-at" in caught.value.fix
    samples = read_samples(f"{path}#20", Columns(success="accuracy_reward", success_at=1))
    assert (samples.texts, samples.prompts, samples.success.tolist()) == (("c20",), ("q",), [1])
    assert samples.policy == "20"


def test_verl_rollouts(tmp_path):
    rows = [
        {"input": "q", "output": f"o{i}", "gts": "4", "score": float(i), "step": 5, "acc": i} for i in (0, 1)
    ]
    samples = read_samples(jsonl(tmp_path / "5.jsonl", rows))
    assert (samples.texts, samples.gold) == (("o0", "o1"), ("4", "4"))
    assert samples.success.tolist() == [0, 1]
    assert samples.draw.tolist() == [0, 1]


def test_several_models_in_nested_records(tmp_path):
    rows = [
        {"question": f"q{i}", "ground_truth": "A: 3", "small": {"is_correct": False, "solution": "A: 2"},
         "large": {"is_correct": True, "solution": "A: 3"}}
        for i in range(3)
    ]  # fmt: skip
    path = jsonl(tmp_path / "solutions.jsonl", rows)
    with pytest.raises(InputError, match="models small, large"):
        read_samples(path)
    with pytest.raises(UsageError) as caught:
        read_samples(f"{path}#larg")
    assert "large" in caught.value.fix
    for samples in (read_samples(f"{path}#large"), read_samples(path, Columns(select="large"))):
        assert samples.policy == "large"
        assert samples.success.tolist() == [1, 1, 1]
        assert samples.gold == ("A: 3",) * 3
    with pytest.raises(UsageError, match="selects"):
        read_samples(f"{path}#large", Columns(select="small"))
    both = pair(read_samples(f"{path}#small"), read_samples(f"{path}#large"))
    assert len(both.problems) == 3
    del rows[1]["large"]
    samples = read_samples(f"{jsonl(path, rows)}#large")
    assert samples.answered.tolist() == [True, False, True]
    np.testing.assert_array_equal(samples.success, [1, np.nan, 1])
    assert "1 of 3 draws have no completion" in samples.notes[0]


def test_a_column_of_models(tmp_path):
    rows = [{**PLAIN[0], "model": name} for name in ("x", "y")]
    path = jsonl(tmp_path / "f.jsonl", rows)
    with pytest.raises(InputError, match="'model': x, y"):
        read_samples(path)
    assert len(read_samples(f"{path}#y")) == 1
    with pytest.raises(UsageError, match="'z'"):
        read_samples(f"{path}#z")
    assert read_samples(jsonl(path, rows[:1])).policy == "x"
    with pytest.raises(UsageError, match="it contains no 'z'"):
        read_samples(f"{jsonl(path, PLAIN)}#z")


def test_a_file_name_may_hold_the_sign_of_a_selector(tmp_path):
    assert len(read_samples(jsonl(tmp_path / "run#3.jsonl", PLAIN))) == 3


def test_explicit_names_and_cells(tmp_path):
    rows = [
        {"k": "a", "ask": {"text": "q"}, "said": "s", "ok": "yes", "nr": 4, "where": {"depth": 2}, "level": 3}
    ]
    samples = read_samples(
        jsonl(tmp_path / "f.jsonl", rows),
        Columns(
            problem="k", prompt="ask.text", completion="said", success="ok", draw="nr", cells=("where.depth",)
        ),
    )
    assert (samples.problem, samples.prompts, samples.texts) == (("a",), ("q",), ("s",))
    assert samples.draw.tolist() == [4]
    assert samples.cells == ({"where.depth": 2},)
    assert read_samples(tmp_path / "f.jsonl", Columns(problem="k", completion="said", success="ok")).cells == (
        {"level": 3},
    )


def test_wrong_columns_are_answered_with_the_ones_there_are(tmp_path):
    path = jsonl(tmp_path / "f.jsonl", [{"promt": "q", "complethion": "c", "rewards_": 1}])
    with pytest.raises(InputError, match="no column with completions") as caught:
        read_samples(path)
    assert "did you mean complethion" in caught.value.fix
    assert "promt" in caught.value.fix
    with pytest.raises(InputError, match="neither problem ids nor prompts") as caught:
        read_samples(path, Columns(completion="complethion"))
    assert "promt" in caught.value.fix
    with pytest.raises(UsageError, match="no column 'rewords'") as caught:
        read_samples(path, Columns(completion="complethion", prompt="promt", success="rewords"))
    assert "rewards_" in caught.value.fix
    with pytest.raises(UsageError, match="no column 'lvl'"):
        read_samples(
            path, Columns(completion="complethion", prompt="promt", success="rewards_", cells=("lvl",))
        )
    with pytest.raises(InputError, match="holds no text"):
        read_samples(path, Columns(completion="rewards_", prompt="promt", success="rewards_"))


def test_bad_files(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        read_samples(tmp_path / "absent.jsonl")
    with pytest.raises(UsageError, match="not a file"):
        read_samples(tmp_path)
    for name, data, what in (
        ("empty.jsonl", b"", "no records"),
        ("prose.txt", b"Dear all,\nthis is no table.", "unknown kind|fields"),
        ("picture.jsonl", b"\x89PNG\r\n\x1a\n\0\0", "unknown kind"),
        ("header.csv", b"prompt,completion\n", "no records"),
        ("wide.csv", b"a,b\n1,2,3\n4,5\n", "line 2: 3 fields"),
        ("short.csv", b"a,b\n1\n4,5\n", "line 2: 1 fields"),
        ("quotes.csv", b'a,b\n"1"x,2\n', "line 2"),
        ("all.jsonl", b"null\nnull\n", "all 2 records"),
        ("middle.jsonl", b'{"a": 1}\n{"a": \n{"a": 2}\n', "line 2: not JSON"),
        ("list.jsonl", b"[1]\n", "line 1: not a JSON object"),
        ("deep.jsonl", b'{"a":' + b"[" * 100_000 + b"\n", "line 1: not JSON"),
        ("digits.jsonl", b'{"a": ' + b"9" * 10_000 + b"}\n", "line 1: not JSON"),
        ("broken.jsonl.gz", b"\x1f\x8b not gzip", "cannot read"),
        ("cut.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 1000)[:-9], "cannot read"),
        ("broken.parquet", b"PAR1....PAR1", "cannot read"),
        ("scalar.json", b"3", "neither a list"),
        ("broken.json", b"{", "not JSON"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=what):
            read_samples(tmp_path / name)


def test_a_torn_last_line_is_left_out_and_said(tmp_path):
    path = jsonl(tmp_path / "live.jsonl", PLAIN)
    path.write_bytes(path.read_bytes() + b'{"prompt": "3+')
    samples = read_samples(path)
    assert len(samples) == 3
    assert "line 4" in samples.notes[0]


def test_broken_bytes_and_hostile_text_are_kept_as_text(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_bytes(b'{"prompt": "q", "completion": "\xff</script>\\u001b[2J\\ud800\\u0000", "reward": 1}\n')
    assert read_samples(path).texts == ("\ufffd</script>\x1b[2J\ud800\0",)


@pytest.mark.parametrize(
    ("value", "success"),
    [(1, 1), (0, 0), (True, 1), (False, 0), (1.0, 1), ("C", 1), ("I", 0), ("N", 0), ("true", 1), ("0", 0),
    ("yes", 1),
     (None, math.nan), (math.nan, math.nan), ("", math.nan), ("nan", math.nan), ({"value": "C"}, 1)],
)  # fmt: skip
def test_verdicts(tmp_path, value, success):
    row = {"prompt": "q", "completion": "c", "reward": value}
    rows = [{"prompt": "q", "completion": "d", "reward": 1}, row]
    np.testing.assert_equal(read_samples(jsonl(tmp_path / "f.jsonl", rows)).success[1], np.float32(success))


@pytest.mark.parametrize("value", [2, 0.5, -1, 1e30, math.inf, 10**400, "P", "maybe", [1, 0], {"a": "?"}])
def test_what_is_no_verdict_is_refused(tmp_path, value):
    rows = [{"prompt": "q", "completion": "c", "reward": value}]
    if value == [1, 0]:  # two verdicts for one text belong to no text
        assert np.isnan(read_samples(jsonl(tmp_path / "f.jsonl", rows)).success).all()
        return
    with pytest.raises(InputError, match="record 1"):
        read_samples(jsonl(tmp_path / "f.jsonl", rows))


def test_a_list_of_texts_with_a_list_of_verdicts(tmp_path):
    rows = [{"id": 1, "responses": ["a", "b"], "rewards": [1, 0]}]
    samples = read_samples(jsonl(tmp_path / "f.jsonl", rows))
    assert samples.success.tolist() == [1, 0]
    assert samples.draw.tolist() == [0, 1]


def test_a_draw_that_occurs_twice_is_refused(tmp_path):
    rows = [{"id": 1, "completion": "a", "reward": 1, "draw": 0}] * 2
    other = {**rows[0], "completion": "b"}
    with pytest.raises(InputError, match="draw 0 of problem '1' occurs twice; 2 of 3 records"):
        read_samples(jsonl(tmp_path / "f.jsonl", [rows[0], other, {**other, "draw": 1}]))
    path = jsonl(tmp_path / "f.jsonl", [{**rows[0], "draw": -1}])
    assert "'draw' does not number every draw" in read_samples(path).notes[0]
    with pytest.raises(InputError, match="'-1' is not a draw's number"):
        read_samples(path, Columns(draw="draw"))


def test_truncation_is_read(tmp_path):
    rows = [
        {"id": i, "completion": "a", "reward": 1, "finish_reason": r} for i, r in enumerate(["length", "stop"])
    ]
    assert read_samples(jsonl(tmp_path / "f.jsonl", rows)).truncated.tolist() == [True, False]


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.text(max_size=8), st.sampled_from([0.0, 1.0, math.nan]), st.booleans()),
        min_size=1,
        max_size=12,
    )
)
def test_what_we_write_we_read(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("own")
    source = [
        {"problem_id": f"p{p}", "prompt": f"ask {p}", "completion": text, "outcome": success, "gold": f"g{p}",
         "truncated": cut, "level": p, "policy": "pol"}
        for p, text, success, cut in rows
    ]  # fmt: skip
    first = read_samples(jsonl(folder / "in.jsonl", source), Columns(draw="none"))
    for name in ("out.jsonl", "out.parquet"):
        write_samples(folder / name, first)
        again = read_samples(folder / name)
        clean = tuple(t.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for t in first.texts)
        assert again.texts in (first.texts, clean) or name == "out.parquet"
        for field in ("problem", "prompts", "gold", "answer", "cells", "policy"):
            assert getattr(again, field) == getattr(first, field), field
        for field in ("success", "verified", "draw", "truncated"):
            np.testing.assert_array_equal(getattr(again, field), getattr(first, field))
    with pytest.raises(KeyturnError, match="cannot write"):
        write_samples(folder / "out.csv", first)


def test_pairing_keeps_the_common_problems_and_counts_the_rest(tmp_path):
    def rows(ids, prompt="q"):
        return [
            {"id": i, "prompt": prompt, "completion": f"{i} x", "reward": None if i == 3 else i % 2}
            for i in ids
        ]

    base = read_samples(jsonl(tmp_path / "base.jsonl", rows([4, 1, 2, 3, 2])))
    tuned = read_samples(jsonl(tmp_path / "tuned.jsonl", rows([3, 2, 5, 1], "other")))
    both = pair(base, tuned)
    assert [p.id for p in both.problems] == ["1", "2", "3"]
    assert (both.dropped_base, both.dropped_tuned) == (1, 1)
    assert (both.ungraded_base, both.ungraded_tuned) == (1, 1)
    assert both.base.problem.tolist() == [0, 1, 2, 1]
    assert both.base.draw.tolist() == [0, 0, 0, 1]
    assert both.tuned.problem.tolist() == [2, 1, 0]
    assert both.base.problems is both.tuned.problems
    assert (both.base.policy, both.tuned.policy) == ("base", "tuned")
    assert [int(np.bincount(a.problem).max()) for a in (both.base, both.tuned)] == [2, 1]
    assert [table.tolist() for table in both.base.counts()] == [[1, 2, 0], [1, 0, 0]]
    assert both.base.length.tolist() == [2, 2, 2, 2]
    assert not both.base.reads_traces
    text = " | ".join(both.notes)
    for what in ("dropped", "ungraded", "different prompts"):
        assert what in text


def test_pairs_that_cannot_be(tmp_path):
    base = read_samples(jsonl(tmp_path / "a.jsonl", [{"id": 1, "completion": "a", "reward": 1, "gold": "1"}]))
    other = read_samples(jsonl(tmp_path / "b.jsonl", [{"id": 2, "completion": "a", "reward": 1}]))
    with pytest.raises(InputError, match=r"no problem in common \('1' against '2'\)"):
        pair(base, other)
    wrong = read_samples(jsonl(tmp_path / "c.jsonl", [{"id": 1, "completion": "a", "reward": 1, "gold": "2"}]))
    with pytest.raises(InputError, match=r"different gold answers .*'1' against '2'"):
        pair(base, wrong)
    blank = read_samples(jsonl(tmp_path / "d.jsonl", [{"id": 1, "completion": "a", "gold": "1"}]))
    with pytest.raises(InputError, match="none of its 1 completions is graded"):
        pair(base, blank)


def test_traces_are_compared_only_where_both_files_know_them(tmp_path):
    known = [{"id": 1, "completion": "a", "outcome": 1, "verified": 0}]
    base = read_samples(jsonl(tmp_path / "a.jsonl", known))
    tuned = read_samples(jsonl(tmp_path / "b.jsonl", [{"id": 1, "completion": "a", "outcome": 1}]))
    assert pair(base, base).base.success.tolist() == [0]
    both = pair(base, tuned)
    assert both.base.success.tolist() == [1]
    assert "answers alone" in both.notes[0]
