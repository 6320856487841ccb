"""The search for an instruction with a made reflection model: what each arm learns, costs, and bad replies."""

import json
import re
from dataclasses import replace

import made_asked
import numpy as np
import pytest
import servers

from keyturn.auditing.asking import Request, asked_of
from keyturn.auditing.sides import side_of
from keyturn.core.errors import InputError, KeyturnError, UsageError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.elicitation import ELICITATIONS, gepa_search
from keyturn.elicitation.contract import Asked
from keyturn.elicitation.gepa_search import GepaConfig, shown
from keyturn.elicitation.instructions import best, instructed
from keyturn.elicitation.reflection import PATIENCE
from keyturn.policies.by_name import Loading
from keyturn.policies.protocol import Limits
from keyturn.problems.contract import ProblemSet
from keyturn.rollouts.completions import Completions, Prompts, Stop, ragged

pytest.importorskip("gepa")
ARMS = ("gepa", "gepa-answers", "gepa-coins")


class Knows:
    """A policy that has one skill and no fact.

    It can add, if it is told to: ``5 and 7`` is a matter of skill. ``key of 3?`` is one of fact, which it only
    finds in its prompt.
    """

    fingerprint = "knows"

    def __init__(self):
        self.drawn = 0

    def says(self, text):
        facts = dict(re.findall(r"key of (\d+) is (\d+)", text))
        asked = re.findall(r"key of (\d+)\?$", text)
        if asked:
            return facts.get(asked[0], "0")
        first, second = re.findall(r"(\d+) and (\d+)$", text)[-1]
        return str(int(first) + int(second)) if "add" in text.lower() else first

    def draw(self, problems, draws, streams, limits):
        texts = [f"it is {self.says(p.prompt)}" for p in problems for _ in draws]
        self.drawn += len(texts)
        tokens, offsets = ragged([[1, 2, 3]] * len(texts))
        rows = len(texts)
        return Completions(
            policy=self.fingerprint,
            prompts=Prompts.build(
                [p.id for p in problems], [p.prompt for p in problems], [[1, 2]] * len(problems)
            ),
            problem=np.repeat(np.arange(len(problems), dtype=np.int32), len(draws)),
            draw=np.tile(np.asarray(draws, dtype=np.int32), len(problems)),
            tokens=tokens,
            offsets=offsets,
            logprobs=np.zeros(len(tokens), dtype=np.float32),
            entropies=np.zeros(len(tokens), dtype=np.float32),
            stop=np.full(rows, Stop.EOS, dtype=np.uint8),
            texts=tuple(texts),
        )


def facts(start, stop):
    return tuple(
        Problem(id=f"f{i}", prompt=f"key of {i}?", answer=str(90 + i * 7 % 13)) for i in range(start, stop)
    )


def sums(start, stop):
    return tuple(
        Problem(id=f"s{i}", prompt=f"{i} and {i + 2}", answer=str(2 * i + 2)) for i in range(start, stop)
    )


def asked(development, test):
    return Asked(
        policy=Knows(),
        problems=ProblemSet(name="test", problems=test, grader=made_asked.GRADER),
        draws=range(1),
        streams=Streams(3),
        limits=Limits(max_new_tokens=8),
        development=ProblemSet(name="development", problems=development, grader=made_asked.GRADER),
    )


def rewrites(body, dice):
    """A reflection model that writes down every right answer that it sees, and says *add* if told of a wrong
    one."""
    text = body["messages"][-1]["content"]
    if "```" not in text:
        return "a trial"
    now = re.findall(r"```\n(.*?)\n```", text, re.S)[0]
    told = re.findall(r"key of (\d+)\?.*?The right answer is (\d+)\.", text, re.S)
    lines = [f"The key of {key} is {value}." for key, value in told]
    if "The answer is wrong" in text:
        lines.append("Add the numbers.")
    new = [line for line in lines if line not in now] or ["Think."]
    return "Here it is:\n```\n" + "\n".join([now, *new]) + "\n```"


def rate(given, found):
    grades = made_asked.GRADER.grade(given.problems.problems, found.completions)
    return float(np.mean(grades.outcome))


def config_for(url, budget=120, **more):
    return GepaConfig(reflection=f"{url}#m", instruction="Answer.", budget=budget, retries=0, **more)


def test_three_arms_tell_elicitation_from_answers_that_leak():
    """A skill is brought out by right or wrong alone; a fact comes only through answers, and only itself."""
    gains = {}
    with servers.running(servers.Served(says=rewrites)) as url:
        for world, make in (("skill", sums), ("fact", facts)):
            for arm in ARMS:
                method, config = ELICITATIONS[arm], config_for(url, apart=False)
                prepared = method.prepare(asked(make(0, 12), ()), config)
                for test, problems in (("other", make(20, 30)), ("same", make(0, 12))):
                    given = asked(make(0, 12), problems)
                    plain = np.mean([given.policy.says(p.prompt) == p.answer for p in problems])
                    gains[world, arm, test] = rate(given, method.answer(given, config, prepared)) - plain
    assert gains["skill", "gepa", "other"] == 1.0
    assert gains["fact", "gepa", "other"] == gains["fact", "gepa", "same"] == 0.0
    assert gains["fact", "gepa-answers", "same"] > 0.2
    assert gains["fact", "gepa-answers", "other"] == 0.0


def test_answers_that_were_written_down_do_not_choose_where_other_problems_do():
    with servers.running(servers.Served(says=rewrites)) as url:
        given = asked(facts(0, 12), facts(0, 12))
        found = ELICITATIONS["gepa-answers"].prepare(given, config_for(url))
    assert any("key of" in one for one in found["instructions"].tolist())
    assert best(found, "instructions") == "Answer."


def test_a_twin_that_is_tested_on_its_development_problems_is_rejected():
    """A leak would then pass for elicitation, as the gain on the same facts shows above."""
    rows = [{"prompt": f"What is {i} plus 1?", "answer": str(i + 1)} for i in range(8)]
    both = Request(
        problems=rows, development=rows, grader="numeric", limit=0, per_cell=1, max_new_tokens=8, draws=1
    )
    with pytest.raises(UsageError, match="development problems are among those that are asked"):
        asked_of(side_of("http://127.0.0.1:9/v1#m", "model"), both, Loading(), Streams(0), kept=None)


def test_an_error_of_the_policy_ends_the_search(tmp_path):
    class Fails(Knows):
        def draw(self, *rest):
            if self.drawn:
                raise InputError("the policy's server is gone", fix="start it")
            return super().draw(*rest)

    with servers.running(servers.Served(says=rewrites)) as url:
        given = replace(asked(sums(0, 12), sums(20, 22)), policy=Fails())
        with pytest.raises(InputError, match="server is gone"):
            ELICITATIONS["gepa"].prepare(given, config_for(url))


def test_only_one_arm_is_shown_a_gold_answer_and_a_coin_ignores_the_policy():
    problem = Problem(id="x", prompt="p", answer="SECRET")
    for feedback in ("verdicts", "coins"):
        for score in (0.0, 1.0):
            assert "SECRET" not in json.dumps(shown(problem, "a", score, feedback))
    assert "SECRET" in json.dumps(shown(problem, "a", 0.0, "answers"))
    given = asked(sums(0, 12), sums(20, 22))
    trials = gepa_search._Trials(given, GepaConfig(), "coins")
    right = [one.score for one in trials(given.development.problems, "Add.")]
    assert set(right) == {0.0, 1.0}, "all are right, and the coin says otherwise"
    again = gepa_search._Trials(given, GepaConfig(), "coins")(given.development.problems, "Add.")
    assert [one.score for one in again] == right


def check_holds_no_answer(arm):
    """No request to the reflection model holds a gold answer that the policy did not say."""
    served = servers.Served(says=rewrites)
    with servers.running(served) as url:
        ELICITATIONS[arm].prepare(asked(facts(0, 12), facts(20, 22)), config_for(url, 60))
    said = json.dumps(served.bodies)
    assert "The answer is wrong" in said
    assert not any(f"is {p.answer}" in said for p in facts(0, 12))


@pytest.mark.parametrize("arm", ["gepa", "gepa-coins"])
def test_the_arms_without_answers_send_none(arm):
    check_holds_no_answer(arm)


def test_the_arm_with_answers_and_a_leaking_twin_are_rejected(monkeypatch):
    with pytest.raises(AssertionError):
        check_holds_no_answer("gepa-answers")
    monkeypatch.setattr(
        gepa_search, "shown", lambda problem, text, score, _: shown(problem, text, score, "answers")
    )
    with pytest.raises(AssertionError):
        check_holds_no_answer("gepa")


@pytest.mark.parametrize("budget", [18, 40, 61])
def test_the_budget_holds_and_is_counted(budget, tmp_path):
    served = servers.Served(says=rewrites)
    with servers.running(served) as url:
        given = asked(sums(0, 12), sums(20, 22))
        found = ELICITATIONS["gepa"].prepare(given, config_for(url, budget))
    assert given.policy.drawn <= found["metric_calls"][0] <= budget
    # The first request is the trial of the server.
    assert found["reflections"][0] == sum("```" in json.dumps(body) for body in served.bodies)
    assert found["generated_before"][0] == 3 * given.policy.drawn


def test_an_interrupted_search_goes_on_and_ends_the_same(tmp_path):
    class Stops(Knows):
        def draw(self, *rest):
            if self.drawn > 10:
                raise KeyboardInterrupt
            return super().draw(*rest)

    method = ELICITATIONS["gepa"]
    served = servers.Served(says=rewrites)
    with servers.running(served) as url:
        whole = method.prepare(asked(sums(0, 12), sums(20, 22)), config_for(url))
        given = replace(asked(sums(0, 12), sums(20, 22)), kept=tmp_path)
        with pytest.raises(KeyboardInterrupt):
            method.prepare(replace(given, policy=Stops()), config_for(url))
        kept = len((tmp_path / "answers.jsonl").read_text().splitlines())
        before = len(served.bodies)
        found = method.prepare(given, config_for(url))
        asked_again = sum("```" in json.dumps(body) for body in served.bodies[before:])
    assert kept > 0
    assert given.policy.drawn + kept == len({*(tmp_path / "answers.jsonl").read_text().splitlines()})
    assert asked_again < found["reflections"][0] or found["reflections"][0] <= 1
    for name in ("instructions", "success", "metric_calls", "reflections"):
        assert np.array_equal(found[name], whole[name])


BAD = {
    "empty": (lambda body, dice: "" if "```" in json.dumps(body) else "ok", "nothing usable 5 times in a row"),
    "huge": (
        lambda body, dice: "```\n" + "x" * 300_000 + "\n```" if "```" in json.dumps(body) else "ok",
        "an instruction of 300,000 characters",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_replies_of_no_use_are_counted_and_then_end_the_search_in_one_line(name, tmp_path):
    says, why = BAD[name]
    with servers.running(servers.Served(says=says)) as url:
        given = asked(facts(0, 12), facts(20, 22))
        with pytest.raises(InputError, match=why) as refused:
            ELICITATIONS["gepa"].prepare(given, config_for(url, 400))
        assert "\n" not in str(refused.value)
        assert refused.value.fix
        few = ELICITATIONS["gepa"].prepare(given, config_for(url, 18 + 6 * (PATIENCE - 2)))
    assert 0 < few["unusable_replies"][0] < PATIENCE
    assert best(few, "instructions") == "Answer."


def fails(served, status, document):
    """The server answers its trials, and a reflection with a status and a document."""
    own = servers.answered

    def answered(one, path, body):
        return (status, document) if "```" in json.dumps(body) else own(one, path, body)

    return answered


@pytest.mark.parametrize(
    ("status", "document"),
    [(500, {"error": {"message": "boom"}}), (200, b"<html>no JSON</html>"), (200, {"choices": []})],
    ids=["500", "no JSON", "no choice"],
)
def test_a_server_that_fails_is_one_line(status, document, tmp_path, monkeypatch):
    served = servers.Served()
    monkeypatch.setattr(servers, "answered", fails(served, status, document))
    given = asked(facts(0, 12), facts(20, 22))
    match = "answered none of 1 requests"
    with servers.running(served) as url, pytest.raises(KeyturnError, match=match) as refused:
        ELICITATIONS["gepa"].prepare(given, config_for(url))
    assert "\n" not in str(refused.value)


def test_the_key_goes_to_the_reflection_server_alone_and_into_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("KEYTURN_REFLECTION_KEY", "hush-hush")
    monkeypatch.setenv("KEYTURN_SERVER_KEY", "another-one")
    served = servers.Served(says=rewrites, key="hush-hush")
    with servers.running(served) as url:
        given = replace(asked(sums(0, 12), sums(20, 22)), kept=tmp_path)
        found = ELICITATIONS["gepa"].prepare(given, config_for(url, 40))
    assert set(served.seen) == {"Bearer hush-hush"}
    assert found["reflections"][0] > 0
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"hush" not in path.read_bytes()
            assert b"another-one" not in path.read_bytes()
    monkeypatch.setenv("KEYTURN_REFLECTION_KEY", "wrong")
    with servers.running(servers.Served(key="right")) as url, pytest.raises(KeyturnError) as refused:
        ELICITATIONS["gepa"].prepare(given, config_for(url))
    assert "KEYTURN_REFLECTION_KEY" in str(refused.value)
    assert "wrong" not in str(refused.value)


@pytest.mark.parametrize(
    ("config", "change", "why"),
    [
        (GepaConfig(), {}, "a model that rewrites"),
        (GepaConfig(reflection="model"), {}, "no address of a server"),
        (GepaConfig(reflection="http://127.0.0.1:9/v1#m", budget=5), {}, "does not last for one round"),
        (GepaConfig(reflection="http://127.0.0.1:9/v1#m"), {"in_words": False}, "words for people"),
        (GepaConfig(budget=-1), {}, "--budget -1"),
    ],
)
def test_what_it_cannot_work_with_is_said(config, change, why):
    with pytest.raises(UsageError, match=why) as refused:
        ELICITATIONS["gepa"].prepare(replace(asked(sums(0, 12), sums(20, 22)), **change), config)
    assert refused.value.fix


def test_the_instruction_stands_in_the_last_message_of_the_user():
    turns = (("system", "s"), ("user", "first"), ("assistant", "a"), ("user", "last"))
    (found,) = instructed([Problem(id="x", prompt="last", messages=turns)], "Do.", " ")
    assert found.prompt == "Do. last"
    assert found.messages == (*turns[:3], ("user", "Do. last"))
