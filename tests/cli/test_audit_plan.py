"""``keyturn audit --plan``: what it prints, what it refuses, and that it draws nothing."""

import json
import shlex

import pytest

QUICK = ("--k", 16, "--tokens-per-second", 1000, "--tokens-per-draw", 100)


@pytest.mark.slow
def test_a_plan_without_models_is_printed_and_nothing_is_kept(call, tmp_path, monkeypatch):
    words = ("audit", "--plan", *map(str, QUICK), "--budget", "3000000")
    monkeypatch.setattr("sys.argv", ["keyturn", *words])
    code, out, err = call(*words)
    assert code == 0, err
    for said in ("Plan of an audit at K = 16", "if created", "sampled tokens", "1,000 tokens/s, as given"):
        assert said in out
    command = shlex.split(out.strip().splitlines()[-1])
    assert command[:8] == ["keyturn", "audit", "--k", "16", "BASE", "TUNED", "--problems", "FILE"]
    assert set(command[8::2]) == {"--n-base", "--limit"}
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.slow
def test_the_command_of_a_budget_is_the_one_given_with_its_design(call, tmp_path, monkeypatch):
    problems = tmp_path / "p.jsonl"
    problems.write_text(
        "".join(json.dumps({"prompt": f"{i} + 1 =", "answer": str(i + 1)}) + "\n" for i in range(99))
    )
    words = [
        "audit",
        "http://h:1/v1#a",
        "http://h:1/v1#b",
        "--problems",
        "p.jsonl",
        "--plan",
        "--budget=2000000",
    ]
    words += [str(word) for word in QUICK] + ["--limit", "90", "--seed", "3"]
    monkeypatch.setattr("sys.argv", ["keyturn", *words])
    code, out, err = call(*words)
    assert code == 0, err
    command = shlex.split(out.strip().splitlines()[-1])
    assert command[:5] == ["keyturn", "audit", "http://h:1/v1#a", "http://h:1/v1#b", "--problems"]
    assert command.count("--limit") == command.count("--n-base") == 1
    assert command[command.index("--seed") + 1] == "3"
    assert not {"--plan", "--tokens-per-second", "1000", "--budget=2000000"} & set(command)


@pytest.mark.slow
def test_a_plan_is_one_json_document(call):
    code, out, _ = call("audit", "--plan", *QUICK, "--json")
    made = json.loads(out)["plan"]
    assert code == 0
    assert made["k"] == 16
    assert made["least_problems"] in [row["problems"] for row in made["power"]]
    assert made["seconds"] == pytest.approx(made["cost"]["sampled_tokens"] / 1000)
    assert made["memory_bytes"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--budget", 1000), "--budget would do nothing without --plan"),
        (("--tokens-per-second", 9), "--tokens-per-second would do nothing without --plan"),
        (("--plan", "--samples", "a.jsonl", "b.jsonl"), "samples are drawn already"),
        (("--plan", "--problems", "p.jsonl"), "--problems without models"),
        (("--plan", "--per-cell", 3), "--per-cell would do nothing"),
        (("--plan", "--budget", -1), "negative"),
        (("--plan", "--k", 64, "--n-base", 100), "lower K to 33"),
        (("--plan", "--assumed-gain", 0.9), "cannot be all created"),
        (("--plan", "owner/name", "graph"), "--problems FILE"),
    ],
)
def test_a_plan_that_makes_no_sense_is_one_line(call, words, said):
    code, _, err = call("audit", *words)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
