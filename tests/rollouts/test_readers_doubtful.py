"""Files that could be read in two ways: the user is asked, or told; and what the message advises works."""

import json
import re
import unicodedata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from keyturn.core.errors import InputError
from keyturn.problems.files import grade_samples, read_problems
from keyturn.problems.graders import GRADERS
from keyturn.rollouts.readers import Columns, pair, read_samples


def rows(who="base", draws=3, **more):
    return [
        {"prompt": f"¿Qué es {i}?", "completion": f"{who} {i} {draw}", "reward": draw % 2, **more}
        for i in range(4)
        for draw in range(draws)
    ]


def written(path, listed, encoding="utf-8"):
    path.write_bytes("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in listed).encode(encoding))
    return path


@pytest.mark.parametrize("column", ["run_name", "Run Name", "experiment", "run_id"])
def test_two_runs_in_one_file_are_not_merged(tmp_path, column):
    path = written(tmp_path / "f.jsonl", rows("a", **{column: "first"}) + rows("b", **{column: "second"}))
    with pytest.raises(InputError, match="first, second") as told:
        read_samples(path)
    assert repr(column) in told.value.what
    chosen = read_samples(tmp_path / re.search(r"e\.g\. (\S+);", told.value.fix)[1])
    assert {text.split()[0] for text in chosen.texts} == {"a"}
    assert len(read_samples(path, Columns(select=f"{column}=second"))) == 12
    together = Columns(draw=re.search(r"--columns.draw (.+)$", told.value.fix)[1])
    assert len(read_samples(path, together)) == 24


def test_runs_whose_draws_are_numbered_are_told_apart_by_both(tmp_path):
    listed = [{**row, "draw": place % 3} for place, row in enumerate(rows("a") + rows("b"))]
    listed = [{**row, "run_name": row["completion"][0]} for row in listed]
    path = written(tmp_path / "f.jsonl", listed)
    with pytest.raises(InputError, match="run_name") as told:
        read_samples(path)
    assert told.value.fix.endswith("--columns.draw run_name,draw")
    assert len(read_samples(path, Columns(draw="run_name,draw"))) == 24


def test_a_run_a_record_is_the_record_s_number_and_one_run_is_no_question(tmp_path):
    numbered = [{**row, "run_id": f"{place:032x}"} for place, row in enumerate(rows())]
    assert len(read_samples(written(tmp_path / "numbered.jsonl", numbered))) == 12
    assert len(read_samples(written(tmp_path / "one.jsonl", rows(run_name="only")))) == 12


@pytest.mark.parametrize("layout", ["lines", "list", "one after the other", "torn"])
def test_a_key_that_stands_twice_with_two_values_is_refused(tmp_path, layout):
    lines = [json.dumps(row) for row in rows()]
    lines[5] = lines[5][:-1] + ', "reward": 0.25}'
    text = {
        "lines": "\n".join(lines) + "\n",
        "list": "[\n" + ",\n".join(lines) + "\n]",
        "one after the other": "\n".join(line.replace('", "', '",\n"') for line in lines),
        "torn": "\n".join(lines[:6]),  # the last line without its end is left out only where it is torn
    }[layout]
    path = tmp_path / "f.json"
    path.write_text(text)
    with pytest.raises(InputError, match="'reward' occurs twice") as told:
        read_samples(path)
    assert ("line 6" in told.value.what) == (layout in ("lines", "torn"))
    assert told.value.what.endswith("('0' and '0.25')")


def test_a_key_that_stands_twice_with_one_value_does_no_harm(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text('{"prompt": "q", "completion": "c", "reward": 1, "reward": 1, "loss": NaN, "loss": NaN}\n')
    assert read_samples(path).success.tolist() == [1.0]


@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow"])
def test_a_column_that_stands_twice_in_a_table_is_refused(tmp_path, kind):
    path = tmp_path / f"f.{kind}"
    names, values = (
        ["prompt", "completion", "reward", "reward"],
        [["q", "r"], ["c", "d"], ["1", "0"], ["0", "1"]],
    )
    table = pa.Table.from_arrays([pa.array(column) for column in values], names=names)
    if kind == "csv":
        path.write_text("prompt,completion,reward,reward\nq,c,1,0\nr,d,0,1\n")
    elif kind == "parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as out:
            out.write_table(table)
    with pytest.raises(InputError, match="'reward' occurs twice"):
        read_samples(path)


def test_problems_and_samples_are_the_same_however_accents_are_written(tmp_path):
    def form(name, listed):
        return [{key: unicodedata.normalize(name, str(v)) for key, v in row.items()} for row in listed]

    composed, apart = (read_samples(written(tmp_path / f, form(f, rows(f)))) for f in ("NFC", "NFD"))
    assert composed.problem == apart.problem
    assert apart.texts == tuple(row["completion"] for row in rows("NFD")), "texts stay as they were written"
    named = [{**row, "problem_id": f"pregunta é {row['prompt']}"} for row in rows("ids")]
    first, second = (read_samples(written(tmp_path / f"ids-{f}", form(f, named))) for f in ("NFC", "NFD"))
    found = pair(first, second)
    assert (len(found.problems), found.notes) == (4, ())
    asked = [{"prompt": row["prompt"], "answer": "é"} for row in rows(draws=1)]
    sets = [read_problems(written(tmp_path / f"asked-{f}.jsonl", form(f, asked))) for f in ("NFC", "NFD")]
    assert [p.id for p in sets[0].problems] == [p.id for p in sets[1].problems]
    both = read_problems(written(tmp_path / "both.jsonl", form("NFC", asked) + form("NFD", asked)))
    assert len(both.problems) == 4
    assert "4 problems occur more than once" in both.notes[0]
    judged = grade_samples(composed, GRADERS["exact"], sets[1].problems)
    assert judged.ungraded == 0


def test_gold_answers_that_differ_in_accents_alone_are_the_same(tmp_path):
    files = []
    for form in ("NFC", "NFD"):
        listed = [{**row, "problem_id": row["prompt"], "gold": "José"} for row in rows(form)]
        listed = [{**row, "gold": unicodedata.normalize(form, row["gold"])} for row in listed]
        files.append(read_samples(written(tmp_path / form, listed)))
    assert pair(*files).notes == ()


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "shift-jis"])
def test_a_file_in_another_encoding_is_refused_and_the_conversion_works(tmp_path, encoding):
    listed = rows("日本語") if encoding == "shift-jis" else rows("café")
    listed = [{**row, "prompt": row["prompt"].replace("¿", "").replace("é", "e")} for row in listed]
    path = written(tmp_path / "f.jsonl", listed, encoding)
    with pytest.raises(InputError, match="line 1: not UTF-8") as told:
        read_samples(path)
    assert "iconv -f WINDOWS-1252 -t UTF-8 f.jsonl" in told.value.fix
    assert str(len(listed)) in told.value.what or encoding == "shift-jis"
    path.write_bytes(path.read_bytes().decode(encoding).encode("utf-8"))
    assert read_samples(path).texts == tuple(row["completion"] for row in listed)
    assert not read_samples(path).notes


def test_letters_that_another_encoding_tells_apart_are_never_one(tmp_path):
    listed = [{"prompt": "q", "answer": "à"}, {"prompt": "r", "answer": "é"}]
    with pytest.raises(InputError, match="not UTF-8"):
        read_problems(written(tmp_path / "p.jsonl", listed, "latin-1"))


def test_a_few_broken_bytes_are_said_with_their_place(tmp_path):
    path = written(tmp_path / "f.jsonl", rows("日本"))
    data = path.read_bytes().split(b"\n")
    data[4] = data[4].replace("本".encode(), "本".encode()[:2])
    path.write_bytes(b"\n".join(data))
    (note,) = read_samples(path).notes
    assert note == "1 place is not UTF-8 and read as U+FFFD, the first in line 5"
    problems = tmp_path / "p.jsonl"
    problems.write_bytes(b'{"prompt": "caf\xe9", "answer": "1"}\n{"prompt": "b", "answer": "2"}\n')
    assert "U+FFFD, the first in line 1" in read_problems(problems).notes[0]


def test_a_replacement_character_that_stands_in_the_file_is_no_broken_byte(tmp_path):
    path = written(tmp_path / "f.jsonl", rows("\ufffd"))
    assert not read_samples(path).notes
    path.write_bytes(path.read_bytes() + b'{"prompt": "q", "completion": "\xff", "reward": 1}\n')
    assert read_samples(path).notes[0].startswith("1 place")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig", "utf-32"])
def test_marks_of_encodings_are_still_read(tmp_path, encoding):
    samples = read_samples(written(tmp_path / "f.jsonl", rows("é"), encoding))
    assert samples.texts[0] == "é 0 0"
    assert not samples.notes
