"""`keyturn experiment`: listed, shown, run, resumed; what is no experiment is told what it is."""

import json
import re

import pytest

from keyturn.auditing.model_places import place_of
from keyturn.experiments import EXPERIMENTS


def test_experiments_are_listed_and_shown_whole(call):
    _, out, _ = call("experiment", "ls")
    assert [line.split()[0] for line in out.splitlines() if line.startswith("  ")] == sorted(EXPERIMENTS)
    listed = json.loads(call("experiment", "ls", "--json")[1])["experiments"]
    for row in listed:
        code, out, err = call("experiment", "show", row["name"])
        assert (code, err) == (0, "")
        assert " ".join(row["source"].split()) in " ".join(out.split())
        shown = json.loads(call("experiment", "show", row["name"], "--json")[1])["experiment"]
        assert shown["claims"], "a claim rests on every experiment"
        known = call("experiment", "run", row["name"], "--help")[1]
        assert [option for option in shown["settings"] if option not in known] == []


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_no_method_and_the_command_is_named(call, name):
    code, out, err = call("train", name, "graph", "--dry-run")
    assert (code, out) == (2, "")
    assert re.fullmatch(rf"keyturn: {name} is an experiment.*\n    fix: keyturn experiment run {name}\n", err)
    assert name not in {row["name"] for row in json.loads(call("train", "ls", "--json")[1])["methods"]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fromats",), "did you mean formats?"),
        (("sft",), "keyturn train sft MODEL"),
        (("grpo",), "keyturn train grpo MODEL"),
        (("edge", "graph"), "takes no model"),
        ((), "no experiment named"),
        (("edge", "--profile", "long"), "unknown profile 'long'"),
        (("formats", "--frequency", "1.5"), "a frequency between 0 and 1"),
        (("tom", "--widths", "12"), "a multiple of 8"),
    ],
)
def test_what_cannot_be_run_is_answered_in_a_line(call, tmp_path, words, said):
    code, out, err = call("experiment", "run", *words, *(("--out", tmp_path / "run") if words else ()))
    assert (code, out) == (2, "")
    assert said in err
    assert not (tmp_path / "run" / "experiment.json").exists()


@pytest.mark.slow
def test_an_experiment_runs_resumes_and_keeps_its_settings(call, tmp_path):
    words = ("experiment", "run", "new-domain", "--dry-run", "--out", tmp_path / "run")
    code, out, err = call(*words)
    assert code == 0, err
    place = tmp_path / "run" / "dry-run"
    assert f"policy: {place / 'model'}" in out
    assert f"audit it: keyturn audit {place / 'model-base'} {place / 'model'}" in err
    assert place_of(str(place)) == str(place / "model")
    assert "holds a run already" in call(*words)[2]
    document = json.loads(call(*words, "--resume", "--json")[1])
    assert document["models"]["policy"] == str((place / "model").resolve())
    assert document["rows"]
    code, _, err = call(*words, "--resume", "--seed", 1)
    assert (code, "run of other" in err) == (2, True), err
    code, _, err = call("train", "grpo", "chain", "--out", place)
    assert (code, "holds a run already" in err) == (2, True), err
