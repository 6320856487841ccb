"""The kinds of faults behind the cases, on further layouts: every row says what is right, or what is asked."""

import csv
import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from keyturn.core.errors import InputError
from keyturn.rollouts.readers import Columns, pair, read_samples

DRAWS = [(i, d, (i + d) % 3 == 0) for i in range(6) for d in range(4)]
RIGHT = sum(ok for _, _, ok in DRAWS)


def ask(i):
    return f"What is {i} plus {i + 1}?"


def plain(**more):
    """Six problems with four draws each."""
    return [
        {"id": i, "completion": f"c{d}", "reward": int(ok), **{k: v(i, d, ok) for k, v in more.items()}}
        for i, d, ok in DRAWS
    ]


def lines(tmp_path, rows, name="f.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def shape(samples):
    """Rows, problems, right, ungraded."""
    return len(samples), len(set(samples.problem)), int(np.nansum(samples.success)), samples.ungraded


READ = {
    "ids that begin anew for every subject, without prompts": (
        [{"subject": s, "id": i, "response": f"{s}{i}{d}", "correct": d < 2}
         for s in ("x", "y") for i in range(3) for d in range(4)],
        {}, (24, 6, 12, 0)),
    "a row index that no tool calls an id": (
        [{"index": n, "question": ask(i), "output": f"{n}", "correct": ok}
         for n, (i, d, ok) in enumerate(DRAWS)],
        {}, (24, 6, RIGHT, 0)),
    "prompts with other examples in every draw, the id named": (
        plain(prompt=lambda i, d, ok: f"{d} {ask(i)}"), {"problem": "id"}, (24, 6, RIGHT, 0)),
    "the draws of a server, one dictionary each": (
        [{"question": ask(i), "answer": "3", "outputs": [{"index": k, "text": f"t{k}"} for k in range(4)]}
         for i in range(6)],
        {}, (24, 6, 0, 24)),
    "choices of a chat server beside scores": (
        [{"id": i, "choices": [{"index": k, "message": {"role": "assistant", "content": f"m{k}"}}
                               for k in range(2)], "scores": [1, 0]} for i in range(6)],
        {}, (12, 6, 6, 0)),
    "draws with a score of their own": (
        [{"problem": ask(i), "samples": [{"output": f"o{k}", "score": k % 2} for k in range(4)]}
         for i in range(6)],
        {}, (24, 6, 12, 0)),
    "draws with scores beside them, one of them null": (
        [{"problem": ask(i), "samples": [{"output": "o"}, None], "scores": [1, 0]} for i in range(6)],
        {}, (12, 6, 6, 6)),
    "names in capitals and humps": (
        [{"Problem ID": i, "Question": ask(i), "Model Output": f"c{d}", "isCorrect": ok} for i, d, ok in DRAWS],
        {}, (24, 6, RIGHT, 0)),
    "an error of the program that the model wrote is a wrong answer": (
        plain(error=lambda i, d, ok: None if ok else "AssertionError"), {}, (24, 6, RIGHT, 0)),
    "an error of the server is no answer": (
        [{**row, "completion": "", "reward": 0, "error": "timeout"} if n % 4 == 3 else row
         for n, row in enumerate(plain())],
        {}, (24, 6, sum(ok for _, d, ok in DRAWS if d < 3), 6)),
    "one mean over several texts": (
        [{"id": i, "responses": ["a", "b", "c"], "reward": 0.33} for i in range(6)], {}, (18, 6, 0, 18)),
    "more texts than verdicts": (
        [{"id": i, "responses": ["a", "b", "c"], "rewards": [1, 0]} for i in range(6)], {}, (18, 6, 0, 18)),
    "shares of right draws": ([{"id": i, "pass@1": 0.25, "n": 64} for i in range(6)], {}, (384, 6, 96, 0)),
    "shares written with four digits": (
        [{"id": i, "accuracy": 0.3333, "num_samples": 3} for i in range(6)], {}, (18, 6, 6, 0)),
    "a job that was resumed and wrote its records again": (
        plain(sample_idx=lambda i, d, ok: d) * 2, {}, (24, 6, RIGHT, 0)),
    "rewards on a scale beside a verdict": (
        [{**row, "reward": 10.0 * row["reward"], "correct": row["reward"]} for row in plain()],
        {}, (24, 6, RIGHT, 0)),
    "verdicts that agree": (plain(is_correct=lambda i, d, ok: ok), {}, (24, 6, RIGHT, 0)),
    "messages in Python's notation": (
        [{**row, "completion": str([{"role": "assistant", "content": row["completion"]}])} for row in plain()],
        {}, (24, 6, RIGHT, 0)),
    "samples without a score in a log": (
        [{"id": i, "completion": f"c{d}", "scores": {} if d == 0 else {"m": {"value": "C"}}}
         for i, d, _ in DRAWS],
        {}, (24, 6, 18, 6)),
    "a scorer whose name has a dot": (
        [{"id": i, "completion": f"c{d}", "scores": {"my.scorer": {"value": "CI"[ok]}}} for i, d, ok in DRAWS],
        {}, (24, 6, 24 - RIGHT, 0)),
    "a null record among others": ([*plain(), None], {}, (24, 6, RIGHT, 0)),
    "a data set's solution that is all there is": (
        [{"question": ask(i), "solution": "ref", "is_correct": ok} for i, d, ok in DRAWS],
        {}, (24, 6, RIGHT, 0)),
    "two columns that number draws together": (
        plain(rank=lambda i, d, ok: d // 2, k=lambda i, d, ok: d % 2), {"draw": "rank,k"}, (24, 6, RIGHT, 0)),
    "an id of two columns": (
        [{"set": s, "nr": i, "completion": f"{d}", "reward": 1}
         for s in "ab" for i in range(2) for d in range(3)],
        {"problem": "set,nr"}, (12, 4, 12, 0)),
}  # fmt: skip


@pytest.mark.parametrize("kind", READ)
def test_read(tmp_path, kind):
    rows, options, expected = READ[kind]
    samples = read_samples(lines(tmp_path, rows), Columns(**options))
    assert shape(samples) == expected
    assert not any("ref" in text for text in samples.texts)


ASKED = {
    # rows, what is said, and options, or a selection, that are advised and work
    "examples that change with every draw": (
        plain(prompt=lambda i, d, ok: f"{d} {ask(i)}"), "6 of 6 values of 'id' have several prompts",
        "--columns.problem id", {"problem": "id"}),
    "the prompt and the completion in one text": (
        plain(text=lambda i, d, ok: f"{ask(i)} c{d}"), "completion or text could hold",
        "--columns.completion completion", {"completion": "completion"}),
    "the data set's output beside the model's": (
        [{"id": i, "output": "ref", "generation": f"g{d}", "correct": ok} for i, d, ok in DRAWS],
        "output or generation", "--columns.completion generation", {"completion": "generation"}),
    "two judges": (plain(correct=lambda i, d, ok: d == 0), r"correct \(6 of 24 right\), reward",
                   "--columns.success correct", {"success": "correct"}),
    "two models": ([{**row, "model": m} for m in "ab" for row in plain()], "'model': a, b", "#a", "#b"),
    "two temperatures": ([{**row, "temperature": t} for t in (0.0, 1.0) for row in plain()],
                         "'temperature': 0, 1", "#0", "#temperature=1"),
    "two metrics, one a record": ([{**row, "metric": m} for m in ("em", "f1") for row in plain()],
                                  "'metric': em, f1", "#em", "#f1"),
    "two models and two filters": (
        [{**row, "model": m, "filter": f} for m in "ab" for f in "xy" for row in plain()],
        "'model': a, b", "#a", "#a,y"),
    "unknown parts that count draws": (
        plain(part=lambda i, d, ok: d // 2, attempt=lambda i, d, ok: d % 2),
        "draw 0 of problem '0' occurs twice; 24 of 24 records share their draw with another and differ in part",
        "--columns.draw part,attempt", {"draw": "part,attempt"}),
    "half of the prompts under two ids": (
        [{"id": 2 * i + d % 2 * (i < 3), "prompt": ask(i), "completion": f"c{d}", "reward": 1}
         for i, d, _ in DRAWS],
        "3 of 6 prompts have several values of 'id'", "--columns.problem prompt", {"problem": "prompt"}),
    "one draw graded twice": (
        [{"id": i, "completion": f"c{d}", "reward": (ok + w) % 2} for w in (0, 1) for i, d, ok in DRAWS],
        "every record occurs 2 times", "--columns.draw none", {"draw": "none"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", ASKED)
def test_asked(tmp_path, kind):
    rows, what, fix, follow = ASKED[kind]
    path = lines(tmp_path, rows)
    with pytest.raises(InputError, match=what) as caught:
        read_samples(path)
    assert fix in caught.value.fix
    selected, options = (follow, {}) if isinstance(follow, str) else ("", follow)
    assert len(read_samples(f"{path}{selected}", Columns(**options))) in (24, 48)


def test_a_table_in_every_container(tmp_path):
    rows = [{"id": i, "completion": f"c;{d}\n,", "reward": int(ok)} for i, d, ok in DRAWS]
    expected = read_samples(lines(tmp_path, rows))
    table = pa.Table.from_pylist(rows)
    for delimiter in ",;\t|":
        with (tmp_path / f"{ord(delimiter)}").open("w", newline="") as out:
            writer = csv.DictWriter(out, ["", *rows[0]], delimiter=delimiter)
            writer.writeheader()
            writer.writerows({"": n, **row, "id": float(row["id"])} for n, row in enumerate(rows))
    columns = {name: {str(n): row[name] for n, row in enumerate(rows)} for name in rows[0]}
    (tmp_path / "columns").write_text(json.dumps(columns))
    (tmp_path / "nested").write_text(json.dumps([rows[:10], rows[10:]]))
    (tmp_path / "by_name").write_text(json.dumps({"run": "x", "results": rows}))
    (tmp_path / "pretty").write_text("\n".join(json.dumps(row, indent=2) for row in rows))
    text = "".join(json.dumps(row) + "\r\n" for row in rows)
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"):
        (tmp_path / encoding).write_bytes(text.encode(encoding))
    (tmp_path / "twice").write_bytes(gzip.compress(gzip.compress(text.encode())))
    feather.write_feather(table, tmp_path / "feather")
    pq.write_table(table.cast(pa.schema([("id", pa.float32()), *list(table.schema)[1:]])), tmp_path / "parquet")
    with pa.OSFile(str(tmp_path / "stream"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    read = [path for path in tmp_path.iterdir() if path.name != "f.jsonl"]
    assert len(read) == 17
    for path in read:
        found = read_samples(path)
        assert (found.problem, found.texts) == (expected.problem, expected.texts), path.name
        np.testing.assert_array_equal(found.success, expected.success)


def test_what_stands_in_a_conversation(tmp_path):
    def said(*messages):
        row = {"id": 1, "completion": list(messages), "reward": 1}
        return read_samples(lines(tmp_path, [row, {**row, "completion": "x"}]))

    def speak(role, content, **more):
        return {"role": role, "content": content, **more}

    tool, one, two = speak("tool", "9"), speak("assistant", "one"), speak("assistant", "two")
    for messages, text, final in (
        ([one, tool, two], "one\ntwo", "two"),
        ([speak("user", "q"), one, speak("user", "sure?"), two], "one\ntwo", "two"),
        ([{"from": "gpt", "value": "one"}, {"from": "tool", "value": "9"}], "one", "one"),
        (
            [speak("assistant", [{"type": "reasoning", "reasoning": "r"}, {"type": "text", "text": "t"}])],
            "t",
            "t",
        ),
        ([speak("assistant", ["a", "b"])], "a\nb", "a\nb"),
        # Who ends with the call of a tool has not answered, and what came before is no answer.
        ([one, speak("assistant", None, tool_calls=[{}]), tool], "one", ""),
        ([speak("assistant", "")], "", ""),
    ):
        samples = said(*messages)
        assert (samples.texts[0], samples.final[0], bool(samples.answered[0])) == (text, final, True), messages
    for nothing in ([], [tool], [speak("assistant", None)]):
        samples = said(*nothing)
        assert not samples.answered[0]
        assert samples.ungraded == 1


def test_cut_by_any_name(tmp_path):
    for more in (
        {"finish_reason": "LENGTH"},
        {"stop_reason": "max_tokens"},
        {"finishReason": "FinishReason.MAX_TOKENS"},
        {"is_truncated": True},
        {"truncated": 1.0},
        {"finish_reasons": ["length"]},
    ):
        samples = read_samples(lines(tmp_path, [{**row, **more} for row in plain()]))
        assert samples.truncated.all(), more
        assert samples.cuts_known
    choices = [{"text": "a", "finish_reason": r} for r in ("length", "stop")]
    rows = [{"id": i, "choices": choices, "scores": [1, 0]} for i in range(3)]
    assert read_samples(lines(tmp_path, rows)).truncated.tolist() == [True, False] * 3
    assert not read_samples(lines(tmp_path, plain())).cuts_known


def test_ids_that_mean_other_problems_in_the_other_file(tmp_path):
    base = plain(prompt=lambda i, d, ok: ask(i))
    other = [{**row, "id": 5 - row["id"]} for row in base]
    files = lines(tmp_path, base, "a"), lines(tmp_path, other, "b")
    both = pair(*map(read_samples, files))
    assert [p.prompt for p in both.problems] == [ask(i) for i in range(6)]
    assert both.base.counts()[1].tolist() == both.tuned.counts()[1].tolist()
    assert "ids mean different problems" in both.notes[0]
    templates = [{**row, "prompt": f"<user>{row['prompt']}"} for row in base]
    both = pair(read_samples(files[0]), read_samples(lines(tmp_path, templates, "c")))
    assert "same id and different prompts" in both.notes[0]
    without = [{**row, "id": None} for row in base]
    both = pair(read_samples(files[0]), read_samples(lines(tmp_path, without, "d")))
    assert len(both.problems) == 6
    assert "no id in common" in both.notes[0]
    twice = [{**row, "id": 5 - row["id"], "prompt": ask(min(row["id"], 4))} for row in base]
    with pytest.raises(InputError, match="ids mean different problems") as caught:
        pair(
            read_samples(files[0], Columns(problem="id")),
            read_samples(lines(tmp_path, twice, "e"), Columns(problem="id")),
        )
    assert "--columns.problem prompt" in caught.value.fix
    option = Columns(problem="prompt")
    assert len(pair(read_samples(files[0], option), read_samples(tmp_path / "e", option)).problems) == 5


def test_gold_answers_of_two_files(tmp_path):
    def files(ours, theirs, prompts):
        for name, gold in (("a", ours), ("b", theirs)):
            more = {"prompt": lambda i, d, ok: ask(i)} if prompts else {}
            yield read_samples(lines(tmp_path, plain(gold=lambda i, d, ok, gold=gold: gold(i), **more), name))

    assert len(pair(*files(lambda i: i, lambda i: f" {i}.0", False)).problems) == 6
    assert len(pair(*files(lambda i: ["a", "b"], lambda i: ["b", "a"], False)).problems) == 6
    with pytest.raises(InputError, match="6 of 6 problems have different gold answers"):
        pair(*files(lambda i: i, lambda i: i + 1, False))
    assert any(
        "6 problems have different gold" in n for n in pair(*files(lambda i: i, lambda i: i + 1, True)).notes
    )
