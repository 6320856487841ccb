"""What a report says of the set-up: taken from what was drawn and asked, never left out in silence."""

import json
from dataclasses import replace

import numpy as np
import pytest
from made_models import byte_tokenizer, gpt2

from keyturn.auditing.audit_settings import asked_fingerprint, described, draws_of, settings_of_policies
from keyturn.cli.main import main
from keyturn.core.problem import Problem
from keyturn.policies.client import ServerConfig, ServerPolicy
from keyturn.policies.local import LocalPolicy
from keyturn.policies.sampling import Sampling
from keyturn.problems.contract import ProblemSet
from keyturn.problems.graders import GRADERS
from keyturn.rollouts.grades import Answers

PROBLEMS = (Problem(id="a", prompt="1 + 1 ?", answer="2"), Problem(id="b", prompt="1 + 2 ?", answer="3"))


def drawn(counts):
    problem = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    right = np.ones(len(problem), dtype=np.float32)
    return Answers(
        policy="p", problems=PROBLEMS[: len(counts)], problem=problem, outcome=right, verified=right,
        draw=np.array([d for n in counts for d in range(n)], dtype=np.int32), answer=("2",) * len(problem),
        length=np.ones(len(problem), dtype=np.int32), truncated=np.zeros(len(problem), dtype=bool),
    )  # fmt: skip


@pytest.fixture(scope="module")
def policy():
    tokenizer = byte_tokenizer()
    return LocalPolicy(gpt2(len(tokenizer)), tokenizer)


def test_of_a_model_decoding_prompt_and_stops_are_said(policy):
    plain = described(policy)
    assert plain["temperature"] == "1"
    assert plain["prompt"] == "plain text"
    assert "<|end|>" in plain["stops at"]
    assert plain["precision"] == "float32 on cpu"
    assert plain["fingerprint"] == policy.fingerprint
    assert "top-p" not in plain
    other = described(policy.having(sampling=Sampling(temperature=0.6, top_p=0.95, top_k=20)))
    assert (other["temperature"], other["top-p"], other["top-k"]) == ("0.6", "0.95", "20")
    assert other["fingerprint"] != plain["fingerprint"]
    assert described(policy.having(sampling=Sampling(temperature=0)))["temperature"] == "0 (greedy)"


def test_a_chat_template_is_said():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    assert described(LocalPolicy(gpt2(len(tokenizer)), tokenizer, chat=True))["prompt"].startswith(
        "chat template "
    )


def test_of_a_server_its_address_and_model_are_said():
    config = ServerConfig(url="http://127.0.0.1:8000/v1", model="tiny", route="chat", temperature=0.7)
    said = described(ServerPolicy(config, key="secret"))
    assert (said["server"], said["served as"], said["temperature"]) == (config.url, "tiny", "0.7")
    assert "secret" not in str(said)


def test_draws_are_what_was_drawn():
    assert draws_of(drawn([4, 4])) == "4 per problem"
    assert draws_of(drawn([2, 6])) == "2 to 6 per problem"
    assert draws_of(drawn([])) == "none"


def test_another_prompt_or_gold_answer_is_another_list():
    same, changed = asked_fingerprint(PROBLEMS), (replace(PROBLEMS[0], answer="3"), PROBLEMS[1])
    assert asked_fingerprint(tuple(PROBLEMS)) == same
    assert asked_fingerprint(changed) != same
    assert asked_fingerprint(PROBLEMS[::-1]) != same


def test_an_audit_of_models_says_grader_seed_and_limit(policy):
    asked = ProblemSet(name="sums", problems=PROBLEMS, grader=GRADERS["numeric"])
    said = settings_of_policies((policy, policy), (drawn([8, 8]), drawn([2, 2])), asked, tokens=64, seed=7)
    assert said["both"]["grader"] == GRADERS["numeric"].name
    assert said["both"]["seed"] == "7"
    assert said["both"]["length limit"] == "64 tokens"
    assert (said["base"]["draws"], said["tuned"]["draws"]) == ("8 per problem", "2 per problem")


def test_an_audit_of_files_names_their_bytes_and_their_judge(tmp_path, capsys):
    paths = [tmp_path / "base.jsonl", tmp_path / "tuned.jsonl"]
    rng = np.random.default_rng(0)
    for path in paths:
        with path.open("w") as out:
            for i, d in np.ndindex(4, 6):
                row = {"id": f"p{i}", "prompt": f"{i}?", "completion": f"{d} {rng.random()}"}
                out.write(json.dumps({**row, "correct": bool(rng.random() < 0.5)}) + "\n")
    assert main(["audit", "--samples", *map(str, paths), "--out", str(tmp_path / "run"), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["audits"]
    said = found["settings"]
    assert said["base"]["grader"] == "the file's own verdicts"
    assert said["base"]["fingerprint"] != said["tuned"]["fingerprint"]
    assert said["both"]["temperature"].startswith("not known")
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert said["tuned"]["fingerprint"] in page
    assert "the file&#39;s own verdicts" in page
