"""Elicitation of a policy behind a server: what needs no hooks answers; what is lacking is said in a line."""

import json
import re

import behind_servers
import pytest
import servers

import keyturn
from keyturn.elicitation import ELICITATIONS

SMALL = {
    "self-consistency": {"samples": 3},
    "confident-vote": {"samples": 4},
    "best-of-n": {"samples": 2},
    "revision": {},
    "zero-shot": {},
    "no-thinking": {},
    "budget-more": {},
    "few-shot": {"shots": 2},
    "low-temperature": {},
    "answer-prompt": {},
}


def says(body, dice):
    """The sum, now and then a wrong one."""
    text = body.get("prompt") or body["messages"][-1]["content"]
    found = re.findall(r"What is (\d+) plus (\d+)", text)
    first, second = map(int, found[-1]) if found else (1, 1)
    return f"The answer is {first + second + (dice.random() < 0.3)}."


def rows(start, count):
    return [
        {
            "prompt": f"What is {i} plus {3 * i}?",
            "answer": str(4 * i),
            "solution": f"{i} and {3 * i} is {4 * i}",
        }
        for i in range(start, start + count)
    ]


def elicited(url, name, tmp_path, **more):
    return keyturn.elicit(
        name,
        f"{url}#m",
        rows(5, 3),
        settings=SMALL[name] or None,
        draws=2,
        development=rows(20, 4),
        grader="numeric",
        max_new_tokens=16,
        out=tmp_path / name,
        **more,
    )


@pytest.mark.parametrize("name", SMALL)
def test_what_needs_no_model_answers_behind_a_server(name, tmp_path):
    assert "model" not in ELICITATIONS[name].needs
    with servers.running(servers.Served(says=says)) as url:
        found = elicited(url, name, tmp_path, template="plain")
    assert len(found.completions) == 6
    assert found.cost()["weights_changed"] == 0
    if name == "self-consistency":
        assert found.success.value > 0.6


def test_the_page_says_of_every_such_method_where_it_answers():
    said = behind_servers.table()
    assert list(said) == behind_servers.without_hooks()
    assert all(set(one) == {"transformers serve", "llama.cpp"} for one in said.values())


def test_a_method_that_looks_into_the_model_says_so(tmp_path):
    with servers.running(servers.Served(says=says)) as url, pytest.raises(keyturn.KeyturnError) as refused:
        keyturn.elicit("cot-decoding", f"{url}#m", rows(5, 3), grader="numeric", out=tmp_path / "r")
    assert "a model folder or a Hub id" in str(refused.value)


def test_a_server_without_log_probabilities_cannot_rank_by_them(tmp_path):
    with servers.running(servers.Served(says=says, logprobs=False)) as url:
        with pytest.raises(keyturn.KeyturnError, match="no log-probabilities to choose by"):
            elicited(url, "best-of-n", tmp_path, template="plain")
        found = keyturn.frontier(
            f"{url}#m",
            problems=rows(5, 3),
            methods=["best-of-n:samples=2", "self-consistency:samples=3", "power"],
            draws=4,
            grader="numeric",
            max_new_tokens=16,
            template="plain",
            out=tmp_path / "f",
        )
    assert set(found.frontier.names) == {"plain", "plain again", "self-consistency:samples=3"}
    assert "log-probabilities" in found.left_out["best-of-n:samples=2"]
    assert "the model in this process" in found.left_out["power"]
    assert json.dumps(found.to_json(), allow_nan=False)


def test_an_answer_cannot_be_begun_behind_a_chat_template(tmp_path):
    with servers.running(servers.Served(says=says)) as url, pytest.raises(keyturn.KeyturnError) as refused:
        elicited(url, "zero-shot", tmp_path, template="chat")
    assert "cannot be begun" in str(refused.value)
