"""`keyturn elicit`: answers under a method, their costs, a sample file that the audit reads."""

import json
import shlex
import signal
import subprocess
import sys
from dataclasses import fields, is_dataclass

import pytest

import keyturn
from keyturn.cli.elicit import Common
from keyturn.cli.elicit_ls import methods
from keyturn.elicitation import ELICITATIONS, ladder

FEW = ("--per-cell", 2, "--draws", 4)


def test_every_method_is_listed_and_shown_whole(call):
    code, out, _ = call("elicit", "ls", "--json")
    rows = json.loads(out)["methods"]
    assert code == 0
    assert [row["name"] for row in rows] == list(ELICITATIONS)
    assert all(row[key] for row in rows for key in ("name", "summary", "source", "cost"))
    assert all(row["control"] for row in rows if row["name"] != "plain")
    _, out, _ = call("elicit", "ls")
    listed = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    assert sorted(listed) == sorted(ELICITATIONS)
    for row in methods():
        code, out, err = call("elicit", "show", row["name"])
        assert (code, err) == (0, "")
        assert " ".join(row["source"].split()) in " ".join(out.split())


@pytest.mark.parametrize("name", ELICITATIONS)
def test_no_setting_of_a_method_has_the_name_of_an_option_that_all_have(name):
    config = ELICITATIONS[name].config
    own = {one.name for one in fields(config)} if is_dataclass(config) else set()
    assert not own & {one.name for one in fields(Common)}


def test_the_command_to_try_names_a_base_of_the_game_and_what_the_method_needs(call):
    for name, given in (
        ("plain", "graph"),
        ("nim-search-unsure", "runs/pretrain/nim-demo-0/model"),
        ("hybrid-vectors", "graph --teacher TUNED"),
        ("gepa", "MODEL --problems FILE --development FILE --reflection URL#MODEL"),
    ):
        shown = json.loads(call("elicit", "show", name, "--json")[1])["method"]
        assert shown["try"].startswith(f"keyturn elicit {name} {given} --per-cell")


def test_what_show_says_can_be_set_can_be_set(call):
    for name in ("self-consistency", "few-shot-corrupted"):
        shown = json.loads(call("elicit", "show", name, "--json")[1])["method"]
        known = call("elicit", name, "--help")[1]
        assert [option for option in shown["settings"] if option not in known] == []


def test_answers_become_a_sample_file_that_the_audit_reads(call, tmp_path):
    code, out, err = call("elicit", "plain", "graph", *FEW, "--out", tmp_path / "plain")
    assert code == 0, err
    assert "weights changed: 0" in out
    assert "right answers, whatever their traces are: " in out
    code, out, err = call(
        "elicit", "best-of-n-verifier", "graph", *FEW, "--samples", 4, "--out", tmp_path / "best", "--json"
    )
    assert code == 0, err
    found = json.loads(out)
    assert found["cost"]["checks"] == 4
    assert found["right"] >= found["success"]["value"], "a verified answer is right"
    assert found["cost"]["weights_changed"] == 0
    files = (tmp_path / "plain" / "samples.jsonl", found["samples"])
    code, out, err = call("audit", "--samples", *files, "--k", 4, "--json")
    assert code == 0, err
    assert json.loads(out)["audits"][0]["verdict"]


def test_the_same_command_finds_its_folder_and_names_its_control(call, tmp_path):
    words = ("elicit", "low-temperature", "chain", "--per-cell", 2, "--draws", 2)
    code, _, err = call(*words)
    assert code == 0, err
    [line] = [line for line in err.splitlines() if line.startswith("its control: keyturn ")]
    assert shlex.split(line.removeprefix("its control: keyturn ")) == [
        "elicit",
        "plain",
        "chain",
        "--draws",
        "2",
        "--per-cell",
        "2",
    ]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/elicit-*/stages/*/DONE")}
    assert before
    assert call(*words)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/elicit-*/stages/*/DONE")} == before
    [folder] = tmp_path.glob("runs/elicit-low-temperature-*")
    code, _, err = call("elicit", "plain", "chain", "--per-cell", 2, "--out", folder)
    assert (code, "other settings" in err) == (2, True)
    code, _, err = call("train", "rloo", "chain", "--out", folder)
    assert (code, "holds a run already" in err) == (2, True)


@pytest.mark.slow
def test_a_vectors_causal_ladder_is_a_record(call, tmp_path, monkeypatch):
    for name, value in {"RANDOMS": 1, "OTHERS": 1, "PROJECTIONS": 1, "DOSES": (1.0,)}.items():
        monkeypatch.setattr(ladder, name, value)
    words = ("elicit", "steering-mean", "graph", "--ladder", "right", "--out", tmp_path / "run")
    words += ("--per-cell", 1, "--draws", 2, "--trials", 4)
    code, out, err = call(*words)
    assert code == 0, err
    assert "its control: keyturn elicit steering-random graph --draws 2 --per-cell 1 --ladder right" in err
    found = json.loads((tmp_path / "run" / "ladder.json").read_text())
    said = [line for line in out.splitlines() if line[0].isdigit()]
    assert [int(line[0]) for line in said] == [one["rung"] for one in found["rungs"]] == [1, 2, 3, 4, 5, 6]
    assert all(one["state"] in line for one, line in zip(found["rungs"], said, strict=True))
    held = [one["state"] == "holds" for one in found["rungs"]]
    assert held == sorted(held, reverse=True)
    assert found["highest"] == sum(held)
    assert f"highest rung that holds: {sum(held)}" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("elicit", "no method named"),
        ("elicit plian graph", "did you mean plain?"),
        ("elicit graph", "the method comes first"),
        ("elicit plain", "no model named"),
        ("elicit plain graph --draws 0", "--draws is 0"),
        ("elicit plain graph --grader math", "leave --grader and --limit out"),
        ("elicit self-consistency graph --samples 0", "--samples is 0"),
        ("elicit few-shot graph --shots -1", "--shots is -1"),
        ("elicit plain graph --port 99", "--port would do nothing without --serve"),
        ("elicit plain graph --serve --draws 3", "--draws would do nothing"),
        ("elicit best-of-n-verifier graph --serve", "it asks the grader"),
        ("elicit steering-mean graph --serve --ladder right", "two things to do"),
        ("elicit plain graph --ladder right", "adds no vector at named tokens"),
        ("elicit steering-mean graph --ladder right --dose 0", "--dose is 0"),
        ("elicit steering-mean graph --ladder right --vector v.safetensors", "which problems it was made from"),
        ("elicit plain graph --vector v.safetensors", "prepares nothing"),
        ("elicit steering-mean graph --vector v.safetensors", "no file v.safetensors"),
        ("elicit show plian", "did you mean plain?"),
        ("elicit plain graph --development d.jsonl --problems d.jsonl", "among those that are asked"),
    ],
)
def test_bad_input_is_one_line_with_a_fix(call, tmp_path, words, said):
    (tmp_path / "d.jsonl").write_text('{"prompt": "BOS CH f 3 ?", "answer": "2"}\n')
    code, out, err = call(*words.split())
    assert (code, out) == (2, "")
    assert said in err
    assert "fix: " in err
    assert "Traceback" not in err


def test_the_front_door_elicits(tmp_path):
    found = keyturn.elicit(
        "self-consistency", "chain", per_cell=2, draws=2, settings={"samples": 3}, out=tmp_path / "run"
    )
    assert found.samples.exists()
    assert len(found.to_frame()) == len(found.completions)
    assert "self-consistency" in repr(found)
    assert found.cost()["weights_changed"] == 0
    with pytest.raises(keyturn.KeyturnError, match="settings") as refused:
        keyturn.elicit("plain", "chain", settings={"samples": 3})
    assert "--" not in str(refused.value)


@pytest.mark.slow
def test_a_teacher_is_named_where_a_method_has_one(call, tmp_path):
    words = ("hybrid-disagree", "graph", "--per-cell", 1, "--draws", 1, "--max-new-tokens", 6)
    code, _, err = call("elicit", *words)
    assert code != 0
    assert "--teacher MODEL" in err
    code, out, err = call("elicit", *words, "--teacher", "graph", "--json", "--out", tmp_path / "one")
    assert code == 0, err
    found = json.loads(out)
    assert found["facts"]["taken"] == found["cost"]["teacher_bits"] == 0, "a model agrees with itself"
    code, _, err = call("elicit", "plain", *words[1:], "--teacher", "graph")
    assert code != 0
    assert "plain has no teacher" in err


@pytest.mark.slow
def test_an_elicited_policy_is_served_until_ctrl_c(tmp_path):
    words = ["elicit", "self-consistency", "chain", "--samples", "3", "--serve", "--port", "0", "--json"]
    command = [sys.executable, "-m", "keyturn.cli.main", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, text=True
    ) as run:
        url = json.loads(run.stdout.readline())["url"]
        [problem] = keyturn.elicit("plain", "chain", per_cell=1, draws=1, out=tmp_path / "p").answers.problems[
            :1
        ]
        asked = [{"prompt": problem.prompt, "answer": problem.answer}]
        found = keyturn.elicit("plain", url, asked, draws=2, max_new_tokens=24, out=tmp_path / "served")
        assert len(found.completions) == 2
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "Traceback" not in said
