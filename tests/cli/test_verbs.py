"""Verbs that work on a shipped base: training, resuming, following a token."""

import json

import pytest

from keyturn.cli.main import main
from keyturn.cli.options import positional
from keyturn.cli.train import every_switch

TINY = [
    "--rl.steps",
    "2",
    "--rl.prompts",
    "4",
    "--rl.draws",
    "4",
    "--rl.max-new-tokens",
    "15",
    "--per-cell",
    "8",
]


def ran(capsys, *words):
    code = main([str(word) for word in words])
    return code, capsys.readouterr()


def test_training_writes_a_model_that_loads_and_says_where(tmp_path, capsys):
    out = tmp_path / "run"
    code, said = ran(capsys, "train", "rloo", "chain", "--out", out, "--json", *TINY)
    assert code == 0, said.err
    document = json.loads(said.out)
    assert document["last"]["step"] == 1
    assert (out / "DONE").exists()
    assert document["models"]["policy"].endswith("model")

    code, said = ran(capsys, "train", "rloo", "chain", "--out", out, *TINY)
    assert code == 2
    assert "--resume" in said.err
    code, said = ran(capsys, "train", "rloo", "chain", "--out", out, "--resume", "--json", *TINY)
    assert (code, json.loads(said.out)["last"]) == (0, document["last"])
    code, said = ran(capsys, "train", "grpo", "chain", "--out", out, "--resume", *TINY)
    assert code == 2
    assert "objective" in said.err


def test_a_recipe_is_trained_found_again_and_held_to_its_settings(tmp_path, capsys):
    words = ["train", "sft", "chain", "--dry-run", "--per-cell", 4, "--out", tmp_path / "run"]
    code, said = ran(capsys, *words, "--json")
    assert code == 0, said.err
    document = json.loads(said.out)
    assert document["rows"]
    assert ran(capsys, *words)[0] == 2
    code, again = ran(capsys, *words, "--resume", "--json")
    assert (code, json.loads(again.out)) == (0, document)
    code, said = ran(capsys, *words, "--resume", "--draws", 3, "--seed", 1)
    assert (code, "seed: 0 then, 1 now" in said.err) == (2, True)
    code, said = ran(capsys, *words[:5], 8, *words[6:], "--resume")
    assert (code, "problems" in said.err) == (2, True), "other problems are another run"
    code, said = ran(capsys, "train", "rloo", "chain", "--dry-run", "--out", tmp_path / "run")
    assert (code, "holds a run" in said.err) == (2, True), "an objective does not write into a recipe's run"


def test_a_dry_run_and_a_wrong_setting_leave_the_directory_free(tmp_path, capsys):
    out = tmp_path / "run"
    assert ran(capsys, "train", "rloo", "chain", "--dry-run", "--out", out, "--per-cell", 8)[0] == 0
    code, said = ran(capsys, "train", "sft", "chain", "--fit.lr", "nan", "--out", out)
    assert (code, "not a number" in said.err) == (2, True)
    assert not (out / "train.json").exists()
    assert ran(capsys, "train", "rloo", "chain", "--out", out, *TINY)[0] == 0


def test_an_answer_may_be_as_long_as_is_said(tmp_path, capsys):
    def limit(name, *words):
        out = tmp_path / name
        assert ran(capsys, "train", "rloo", *words, "--dry-run", "--per-cell", 8, "--out", out)[0] == 0
        return json.loads((out / "dry-run" / "config.json").read_text())["fields"]["max_new_tokens"]

    usual = limit("usual", "chain")
    assert limit("short", "chain", "--max-new-tokens", 5) == 5
    assert limit("told", "chain", "--rl.max-new-tokens", 7) == 7
    assert limit("turned", "--seed", 1, "chain") == usual, "options may stand before the model"


def test_options_before_the_method_and_their_values_are_no_names():
    words = ["--seed", "1", "--json", "grpo", "--out=x", "--rl.no-store-rollouts", "graph", "--rl.lr", "1e-3"]
    assert positional(words, every_switch()) == ["grpo", "graph"]


def test_methods_are_listed_with_what_they_cost(capsys):
    code, said = ran(capsys, "train", "ls", "--json")
    rows = json.loads(said.out)["methods"]
    assert code == 0
    assert {row["kind"] for row in rows} == {"method", "objective", "reward"}
    assert all(row[key] for row in rows for key in ("name", "kind", "summary", "source", "cost"))
    trained = [row["name"] for row in rows if row["kind"] != "reward"]
    assert len(trained) == len(set(trained)), "one name, one method"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train"], "no method"),
        (["train", "chain"], "keyturn train grpo chain"),
        (["train", "grpo"], "no model"),
        (["train", "gpro", "chain"], "grpo"),
        (["train", "grpo", "chain", "--reward", "outcom"], "outcome"),
        (["train", "grpo", "chain", "--profile", "dem"], "demo"),
        (["train", "grpo", "nowhere/at-all/x"], "nowhere"),
        (["train", "grpo", "chain", "--rl.stepz", "3"], "stepz"),
        (["train", "sft", "chain", "--fit.stepz", "3"], "stepz"),
        (["train", "grpo", "chain", "--rl.prompts", "100000", "--per-cell", "4"], "problems per step"),
        (["train", "grpo", "chain", "--max-new-tokens", "-3"], "max_new_tokens"),
        (["train", "grpo", "chain", "--test", "more.jsonl"], "--test"),
        (["train", "grpo", "chain", "--grader", "math"], "--grader"),
        (["train", "sft", "chain", "--roles", "grams.json"], "roles"),
        (["claim", "run", "rl-amplifies-one-format", "--base", "graph"], "--base"),
        (["claim", "run", "rl-amplifies-one-format", "--tuned", "x"], "--tuned"),
        (["trace", "--world", "chian"], "chain"),
        (["world", "show", "grahp"], "graph"),
    ],
)
def test_wrong_words_are_refused_with_the_near_ones(tmp_path, capsys, words, said):
    extra = ["--out", str(tmp_path / "x")] if words[0] == "train" else []
    code, found = ran(capsys, *words, *extra)
    assert code == 2
    assert said in found.err
    assert "Traceback" not in found.err


def test_a_reward_without_anything_to_read_is_said(tmp_path, capsys):
    words = ["train", "rloo", "chain", "--reward", "label", "--dry-run", "--per-cell", 8, "--out", tmp_path]
    code, said = ran(capsys, *words)
    assert (code, "undefined for every draw" in said.err) == (0, True)


def test_prompts_in_words_that_the_model_does_not_know_are_refused(tmp_path, capsys):
    path = tmp_path / "problems.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": f"what is {i} and one", "answer": i}) + "\n" for i in range(20))
    )
    code, said = ran(capsys, "train", "rloo", "chain", "--problems", path, "--out", tmp_path / "x")
    assert code != 0
    assert "unknown to this model's tokenizer" in said.err


def test_a_token_is_followed_to_its_gradient(capsys):
    code, said = ran(capsys, "trace", "--json")
    assert code == 0
    stops = json.loads(said.out)["stops"]
    assert len(stops) == 6
    last = stops[-1]["numbers"]
    assert last["ratio"] == pytest.approx(1.0, abs=1e-4)
    credit = stops[4]["numbers"]["credit of the token"]
    assert credit > 0
    # One update at ratio one: the gradient is minus the credit over the tokens of its row and the rows.
    assert last["d loss / d log-probability"] < 0
