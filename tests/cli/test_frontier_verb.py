"""`keyturn frontier`: every way on one chart, found again, and what it refuses."""

import json

import pytest

import keyturn
from keyturn.measures.frontier import NULL, PLAIN, TUNED

FEW = ("--per-cell", 2, "--draws", 2)


@pytest.mark.slow
def test_ways_are_measured_found_again_and_added_to(call, tmp_path):
    words = ("frontier", "chain", *FEW, "--tuned", "graph", "--out", tmp_path / "run")
    ways = (
        "self-consistency:samples=3",
        "best-of-n-verifier",
        "tip",
        "zero-shot",
        "power-smc:alpha=1,particles=1",
    )
    code, out, err = call(*words, "--methods", *ways, "--json")
    assert code == 0, err
    [one] = json.loads(out)["frontiers"]
    points = {point["name"]: point for point in one["points"]}
    assert {PLAIN, NULL, TUNED, "self-consistency:samples=3", "best-of-n-verifier"} == set(points)
    assert points["best-of-n-verifier"]["call"] == "told the answers"
    tokens = {name: point["costs"]["generated"] for name, point in points.items()}
    assert 2.5 * tokens[PLAIN] < tokens["self-consistency:samples=3"] < 3.5 * tokens[PLAIN]
    assert "is one token of this tokenizer" in one["left_out"]["tip"]
    assert "not among this model's words" in one["left_out"]["zero-shot"]
    assert "very answers of plain" in one["left_out"]["power-smc:alpha=1,particles=1"]
    assert points[TUNED]["costs"]["weights"] > 0
    assert points[TUNED]["costs"]["examples"] is None, "nobody said what the tuned model was trained on"
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("run/stages/*/DONE")}
    code, out, err = call(*words, "--methods", *ways, "low-temperature")
    assert code == 0, err
    assert "low-temperature" in out
    assert {path: path.stat().st_mtime_ns for path in done} == done, "what is done is read"
    code, _, err = call("elicit", "plain", "chain", "--out", tmp_path / "run")
    assert (code, "holds a run of a frontier" in err) == (2, True)
    code, _, err = call(*words[:-1], tmp_path / "run", "--seed", 1)
    assert (code, "other settings" in err) == (2, True)


@pytest.mark.slow
def test_a_plan_asks_a_few_problems_and_trains_nothing(call, tmp_path):
    words = (
        "frontier",
        "chain",
        *FEW,
        "--methods",
        "self-consistency",
        "tip",
        "sft",
        "--out",
        tmp_path / "run",
    )
    code, out, err = call(*words, "--plan", "--json")
    assert code == 0, err
    plan = {one["name"]: one for one in json.loads(out)["plans"]["chain"]}
    assert list(plan) == ["plain", "tuned", "self-consistency", "tip", "sft"]
    assert plan["self-consistency"]["generated"] > 10 * plan["plain"]["generated"]
    assert "--words" in plan["tip"]["left_out"]
    assert "200 steps" in plan["sft"]["cost"]
    assert not list(tmp_path.glob("run/stages/rl-*"))
    assert not list(tmp_path.glob("run/stages/sft-*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("frontier chain --draws 0", "--draws is 0"),
        ("frontier chain --methods plian", "unknown method 'plian'"),
        ("frontier chain --train t.jsonl --methods self-consistency", "no training method was chosen"),
        ("frontier chain --limit 3 --methods self-consistency", "leave --grader and --limit out"),
        ("frontier --tuned graph", "--tuned would do nothing without a base"),
        ("frontier --worlds chian", "did you mean chain?"),
        ("frontier no-such-model --methods self-consistency", "no-such-model"),
    ],
)
def test_bad_input_is_one_line_with_a_fix(call, words, said):
    code, out, err = call(*words.split())
    assert (code, out) == (2, "")
    assert said in err
    assert "fix: " in err
    assert "Traceback" not in err


def test_the_front_door_speaks_python():
    with pytest.raises(keyturn.KeyturnError) as refused:
        keyturn.frontier("chain", methods=["plain"])
    assert "methods" in str(refused.value)
    assert "--" not in str(refused.value)
