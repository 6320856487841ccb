"""Two files of samples, no model: the verdict, its honesty about few draws, and every kind of wrong file."""

import json

import numpy as np
import pytest

from keyturn.cli.main import main
from keyturn.core.streams import Streams


def written(path, rates, draws, seed):
    generator = Streams(seed).generator("samples")
    with path.open("w") as out:
        for problem, rate in enumerate(rates):
            for _ in range(draws):
                row = {"problem_id": f"p{problem}", "prompt": f"q{problem}", "completion": "x"}
                out.write(json.dumps({**row, "is_correct": bool(generator.random() < rate)}) + "\n")
    return path


def run(capsys, *words):
    code = main(["audit", *map(str, words)])
    return code, capsys.readouterr()


@pytest.fixture
def files(tmp_path):
    base = np.r_[np.full(30, 0.2), np.zeros(30)]
    created = np.r_[np.full(30, 0.2), np.full(30, 0.6)]
    deployed = np.r_[np.full(30, 0.8), np.zeros(30)]
    return {
        "base": written(tmp_path / "base.jsonl", base, 256, 0),
        "created": written(tmp_path / "created.jsonl", created, 64, 1),
        "deployed": written(tmp_path / "deployed.jsonl", deployed, 64, 2),
        "same": written(tmp_path / "same.jsonl", base, 64, 3),
        "one": written(tmp_path / "one.jsonl", base, 1, 4),
    }


@pytest.mark.parametrize(
    ("tuned", "label"), [("created", "created"), ("deployed", "deployed"), ("same", "no change")]
)
def test_planted_truth_in_files_is_found(files, tmp_path, capsys, tuned, label):
    code, out = run(capsys, "--samples", files["base"], files[tuned], "--out", tmp_path / "run", "--json")
    assert code == 0, out.err
    (found,) = json.loads(out.out)["audits"]
    assert found["verdict"]["label"] == label
    assert found["k"] == 64
    assert "report.html" in json.loads(out.out)["report"]


def test_one_draw_a_problem_is_undecided_and_says_why(files, tmp_path, capsys):
    code, out = run(capsys, "--samples", files["one"], files["created"], "--out", tmp_path / "run", "--json")
    verdict = json.loads(out.out)["audits"][0]["verdict"]
    assert (code, verdict["label"]) == (0, "undecided")
    assert "draw" in verdict["why"]


def test_problems_that_were_drawn_too_seldom_are_named_and_leaving_them_out_mends_it(files, tmp_path, capsys):
    lines = files["base"].read_text().splitlines(keepends=True)
    often = [line for line in lines if int(json.loads(line)["problem_id"][1:]) % 2]
    seldom = [line for place, line in enumerate(lines) if line not in often and place % 256 == 0]
    uneven = tmp_path / "uneven.jsonl"
    found = {}
    for name, given in (("uneven", often + seldom), ("left out", often)):
        uneven.write_text("".join(given))
        code, out = run(capsys, "--samples", uneven, files["created"], "--out", tmp_path / name, "--json")
        assert code == 0, out.err
        (found[name],) = json.loads(out.out)["audits"]
    assert (found["uneven"]["k"], found["left out"]["k"]) == (1, 64)
    told = [one["text"] for one in found["uneven"]["cautions"] if one["kind"] == "few draws"]
    assert "30 of 60 problems have at most 1 base draw, the others at least 256" in told[0]
    assert "from 64 to 1 ('p0', 'p2', 'p4', 'p6', 'p8', …)" in told[0]
    assert "leave them out" in told[0]
    assert not [one for one in found["left out"]["cautions"] if one["kind"] == "few draws"]


def test_the_terminal_gets_a_sentence_and_a_table_that_pastes(files, tmp_path, capsys):
    code, out = run(capsys, "--samples", files["base"], files["created"], "--out", tmp_path / "run")
    assert code == 0
    assert "created at K = 64" in out.out
    assert "| ---" in out.out


@pytest.mark.parametrize(
    ("words", "said", "exit_code"),
    [
        (["--samples", "nowhere.jsonl", "nowhere.jsonl"], "nowhere.jsonl", 2),
        (["--samples", "{base}"], "", 2),
        (["a", "--k", "8"], "one" and "given", 2),
        (["--kk", "8"], "kk", 2),
        (["--k", "0"], "k must be", 2),
        (["a", "b", "--samples", "{base}", "{base}"], "exclude", 2),
        (["--worlds", "graff"], "graph", 2),
        (["/nonexistent/model", "/nonexistent/model"], "nonexistent", 2),
        (["--samples", "{base}", "{base}", "--columns.success", "nope"], "nope", 2),
        (["--samples", "{base}", "{base}", "--grader", "gms8k"], "gsm8k", 2),
    ],
)
def test_wrong_input_is_one_line_that_names_the_fix(files, tmp_path, capsys, words, said, exit_code):
    filled = [word.format(base=files["base"]) for word in words]
    code, out = run(capsys, *filled, "--out", tmp_path / "run")
    assert code == exit_code, out.err
    assert said in out.err
    assert "Traceback" not in out.err
    assert not (tmp_path / "run" / "report.html").exists()


def test_files_without_a_common_problem_are_refused(files, tmp_path, capsys):
    other = tmp_path / "other.jsonl"
    other.write_text(files["base"].read_text().replace('"p', '"z').replace('"q', '"y'))
    code, out = run(capsys, "--samples", files["base"], other, "--out", tmp_path / "run")
    assert code == 1
    assert "no problem in common" in out.err or "common" in out.err


def test_hostile_completions_stay_text(files, tmp_path, capsys):
    rows = [json.loads(line) for line in files["base"].read_text().splitlines()]
    for row in rows:
        row["prompt"] = "</script><img src=x onerror=alert(1)>\x1b]0;owned\x07\u202e" + row["prompt"]
    hostile = tmp_path / "hostile.jsonl"
    hostile.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out = run(capsys, "--samples", hostile, files["created"], "--out", tmp_path / "run")
    assert code == 0
    assert "\x1b]0" not in out.out + out.err
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<img src=x" not in page
    assert "\u202e" not in page


def test_the_budget_that_was_asked_for_is_the_budget_of_every_measure(files, tmp_path, capsys):
    words = ("--samples", files["base"], files["created"], "--k", 16, "--out", tmp_path / "run", "--json")
    code, out = run(capsys, *words)
    assert code == 0, out.err
    (found,) = json.loads(out.out)["audits"]
    assert found["k"] == 16
    assert {m["k"] for m in found["measurements"] if m["name"] == "deployed_created"} == {16}
