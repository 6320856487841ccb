"""Sample files with copies, through the command line: counted once or refused, and always said."""

import json
from pathlib import Path

import numpy as np
import pytest

from keyturn.cli.main import main
from keyturn.core.streams import Streams

CASES = Path(__file__).parent / "copies_cases"
PROBLEMS = 40


def audit(capsys, base, tuned, out, *more):
    code = main(["audit", "--samples", str(base), str(tuned), "--out", str(out), "--json", *more])
    printed = capsys.readouterr()
    return code, json.loads(printed.out)["audits"][0] if code == 0 else printed.err


def said(found):
    return " ".join(caution["text"] for caution in found["cautions"] if caution["kind"] == "copies")


def written(path, plan, rate, seed):
    """Problems with eight wrong texts and one right one; ``plan`` makes rows of draws."""
    rng = Streams(seed).generator("files")
    with path.open("w") as out:
        for number in range(PROBLEMS):
            own = rng.beta(2 * rate, 2 * (1 - rate))

            def draw(n, own=own):
                return [0 if rng.random() < own else int(rng.integers(1, 9)) for _ in range(n)]

            for text in plan(draw):
                row = {
                    "problem_id": number,
                    "prompt": f"What is {number}?",
                    "completion": f"It is {number + text}.",
                }
                out.write(json.dumps({**row, "reward": int(text == 0)}) + "\n")
    return path


@pytest.fixture
def honest(tmp_path):
    return written(tmp_path / "honest.jsonl", lambda draw: draw(64), 0.2, 0)


def test_greedy_copies_are_one_draw_and_the_verdict_is_open(tmp_path, capsys):
    base, tuned = (CASES / f"greedy_copies_{name}.jsonl" for name in ("base", "tuned"))
    code, found = audit(capsys, base, tuned, tmp_path / "run")
    assert code == 0
    assert (found["verdict"]["label"], found["k"]) == ("undecided", 1)
    assert "draw" in found["verdict"]["why"]
    for name in ("base", "tuned"):
        assert f"greedy_copies_{name}.jsonl: all draws of each of 8 problems have the same text" in said(found)
    assert "--draws-independent" in said(found)


def test_who_knows_that_draws_are_independent_may_say_so(tmp_path, capsys):
    base, tuned = (CASES / f"greedy_copies_{name}.jsonl" for name in ("base", "tuned"))
    code, found = audit(capsys, base, tuned, tmp_path / "run", "--draws-independent")
    assert code == 0
    assert found["k"] > 1
    assert "every draw counts all the same" in said(found)


PLANS = {
    "one seed in four workers": (lambda draw: draw(16) * 4, "one seed in several workers"),
    "in turn": (lambda draw: [text for text in draw(32) for _ in (0, 1)], "2 times in a row"),
    "run again into the same file": (lambda draw: draw(32) * 2, "run again into the same file"),
}


@pytest.mark.parametrize("plan", PLANS)
def test_copies_count_once_and_k_falls_with_them(honest, tmp_path, capsys, plan):
    copied = written(tmp_path / "copied.jsonl", PLANS[plan][0], 0.8, 1)
    once = {"one seed in four workers": 16}.get(plan, 32)
    clean = tmp_path / "clean.jsonl"
    rows = np.array(copied.read_text().splitlines()).reshape(PROBLEMS, 64)
    kept = rows[:, ::2] if plan == "in turn" else rows[:, :once]
    clean.write_text("\n".join(kept.ravel()) + "\n")
    code, found = audit(capsys, honest, copied, tmp_path / "copied")
    assert code == 0
    assert PLANS[plan][1] in said(found)
    assert f"{PROBLEMS * (64 - once)} of {PROBLEMS * 64} draws" in said(found)
    _, truth = audit(capsys, honest, clean, tmp_path / "clean")
    assert found["verdict"] == truth["verdict"]
    assert "copies" not in said(truth)


def test_honest_files_lose_nothing_and_nothing_is_said(honest, tmp_path, capsys):
    tuned = written(tmp_path / "tuned.jsonl", lambda draw: draw(64), 0.8, 1)
    _, found = audit(capsys, honest, tuned, tmp_path / "run")
    assert "same text" not in said(found)
    assert "copies" not in said(found)


@pytest.mark.parametrize("way", ["the path", "a copy", "in another order"])
def test_one_file_given_twice_is_refused(honest, tmp_path, capsys, way):
    lines = honest.read_text().splitlines()
    other = tmp_path / "other.jsonl"
    other.write_text("\n".join(lines if way == "a copy" else sorted(lines)) + "\n")
    code, error = audit(capsys, honest, honest if way == "the path" else other, tmp_path / "run")
    assert code == (2 if way == "the path" else 1)
    assert "tuned" in error
    assert "fix" in error
    assert len(error.strip().splitlines()) == 2


def test_a_column_that_holds_no_completions_is_no_sign_of_copies(tmp_path, capsys):
    # A placeholder in every row says nothing of what was drawn: only verdicts are there.
    files = []
    for number, rate in enumerate((0.2, 0.8)):
        rng = Streams(number).generator("placeholder")
        path = tmp_path / f"{number}.jsonl"
        rows = [
            {"problem_id": i, "completion": "x", "reward": int(rng.random() < rate)}
            for i in range(30)
            for _ in range(64)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        files.append(path)
    _, found = audit(capsys, *files, tmp_path / "run")
    assert found["k"] > 1
    assert "same text" not in said(found)


def test_one_letter_for_every_problem_is_one_draw_of_each(tmp_path, capsys):
    # Greedy decoding, or a base that always says A: its 64 equal answers are no 64 draws.
    rng = Streams(0).generator("letters")
    files = []
    for name in ("base", "tuned"):
        path = tmp_path / f"{name}.jsonl"
        rows = [
            {"problem_id": i, "completion": said, "gold": "ABCD"[i % 4]}
            for i in range(24)
            for _ in range(64)
            for said in ["A" if name == "base" or rng.random() < 0.1 else "ABCD"[i % 4]]
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        files.append(path)
    code, found = audit(capsys, *files, tmp_path / "run")
    assert code == 0
    assert (found["verdict"]["label"], found["k"]) == ("undecided", 1)
    assert "base.jsonl: all draws of each of 24 problems have the same text" in said(found)


def test_equal_texts_with_different_verdicts_ask_for_the_column(tmp_path, capsys):
    files = []
    for number, rate in enumerate((0.2, 0.8)):
        rng = Streams(number).generator("reference")
        path = tmp_path / f"{number}.jsonl"
        rows = [
            {"problem_id": i, "completion": f"the reference of {i}", "reward": int(rng.random() < rate)}
            for i in range(30)
            for _ in range(16)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        files.append(path)
    code, error = audit(capsys, *files, tmp_path / "run")
    assert code == 1
    assert "--columns.completion" in error
    code, found = audit(capsys, *files, tmp_path / "run", "--columns.draw", "none")
    assert code == 0
    assert "--columns.completion" in said(found)


def test_failed_rows_are_no_copies_of_each_other(honest, tmp_path, capsys):
    # Half of each problem's draws failed and hold nothing: that they are equal says nothing.
    tuned = written(tmp_path / "tuned.jsonl", lambda draw: draw(64), 0.8, 1)
    lines = [json.loads(line) for line in tuned.read_text().splitlines()]
    for number, row in enumerate(lines):
        if number % 2:
            row |= {"completion": None, "reward": None}
    tuned.write_text("".join(json.dumps(row) + "\n" for row in lines))
    code, found = audit(capsys, honest, tuned, tmp_path / "run")
    assert code == 0
    assert said(found) == ""


def test_one_file_under_other_ids_is_known_by_its_prompts(tmp_path, capsys):
    base = written(tmp_path / "base.jsonl", lambda draw: draw(16), 0.3, 2)
    rows = [json.loads(line) for line in base.read_text().splitlines()]
    for path, ids in ((base, "a"), (tmp_path / "other.jsonl", "b")):
        with path.open("w") as out:
            for row in rows:
                number = row["problem_id"]
                out.write(
                    json.dumps({**row, "prompt": f"What is {number}?", "problem_id": f"{ids}{number}"}) + "\n"
                )
    code, error = audit(capsys, base, tmp_path / "other.jsonl", tmp_path / "run")
    assert code == 1
    assert "the same completions" in error
