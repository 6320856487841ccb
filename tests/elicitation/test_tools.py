"""Cognitive tools and abstractions: what each call reads, what it costs, what its controls change."""

from dataclasses import replace

import made_asked
import numpy as np
import pytest

from keyturn.core.errors import UsageError
from keyturn.elicitation import ELICITATIONS, tools
from keyturn.elicitation.abstractions import AbstractionConfig, hint_of
from keyturn.elicitation.choosing import majority
from keyturn.policies.local import LocalPolicy

WORDS = {"understand": "w31", "recall": "w32", "examine": "w33", "backtrack": "w34", "ask": "w35"}
HINTS = {"request": "w31", "lead": "w32", "hint_tokens": 3}


@pytest.fixture
def seen(monkeypatch):
    """What the policy is asked, in order: prompts and what it answered."""
    calls, own = [], LocalPolicy.draw

    def spied(self, problems, draws, streams, limits, **more):
        drawn = own(self, problems, draws, streams, limits, **more)
        calls.append(([one.prompt.split() for one in problems], drawn.texts, limits.max_new_tokens))
        return drawn

    monkeypatch.setattr(LocalPolicy, "draw", spied)
    return calls


def asked_one():
    return made_asked.made(lengths=(4,), draws=range(1), tokens=6)


def run(name, asked, **settings):
    method = ELICITATIONS[name]
    config = replace(method.config, **settings)
    prepared = method.prepare(asked, config) if method.prepare is not None else {}
    return method.answer(asked, config, prepared), prepared


def sandboxed(calls, question):
    """Whether each call read exactly what it should."""
    [(u, [said_u], _), (r, [said_r], _), (a, [first], _), (e, [said_e], _), (b, [said_b], _), (last, _, _)] = (
        calls
    )
    u_, r_, first_, e_, b_ = (text.split() for text in (said_u, said_r, first, said_e, said_b))
    return (
        u == [[*question, "w31"]]
        and r == [[*question, "w32"]]
        and a == [[*question, *u_, *r_, "w35"]]
        and e == [[*question, *first_, "w33"]]
        and b == [[*question, *first_, *e_, "w34"]]
        and last == [[*question, *u_, *r_, *first_, *e_, *b_, "w35"]]
    )


def test_every_tool_reads_what_it_should_and_nothing_else(seen):
    asked = asked_one()
    found, _ = run("tools", asked, **WORDS, tool_tokens=3)
    question = asked.problems.problems[0].prompt.split()
    assert sandboxed(seen, question)
    assert [room for *_, room in seen] == [3, 3, 6, 3, 3, 6]
    assert found.completions.texts == seen[-1][1]
    assert found.costs.read[0] == sum(len(prompt) for prompts, _, _ in seen for prompt in prompts)


def test_an_inlined_tool_reads_everything_before_it_and_is_no_sandbox(seen):
    """The broken twin of the sandbox is its control: the test of the sandbox rejects it."""
    asked = asked_one()
    run("tools-inlined", asked, **WORDS, tool_tokens=3)
    question = asked.problems.problems[0].prompt.split()
    assert not sandboxed(seen, question)
    [(_, [said_u], _), (r, [said_r], _), (a, [first], _), *_] = seen
    assert r == [[*question, "w31", *said_u.split(), "w32"]]
    assert a == [[*question, "w31", *said_u.split(), "w32", *said_r.split(), "w35"]]
    assert seen[-1][0][0][: len(a[0]) - 1 + len(first.split())] == [*a[0][:-1], *first.split()]


def test_neutral_text_is_as_long_as_what_the_tool_said(seen):
    asked = asked_one()
    run("tools-neutral", asked, **WORDS, tool_tokens=3, filler="w30")
    [(_, [said_u], _), (_, [said_r], _), (a, _, _), *_] = seen
    middle = a[0][4:-1]
    assert set(middle) == {"w30"}
    ended = sum(len(text.split()) < 3 for text in (said_u, said_r))  # an end of sequence is a token too
    assert len(middle) == len(said_u.split()) + len(said_r.split()) + ended


def test_the_budget_of_calls_cuts_tools_from_the_end(seen):
    asked = asked_one()
    for calls, count in ((0, 1), (1, 2), (2, 3), (3, 5), (4, 6)):
        seen.clear()
        run("tools", asked, **WORDS, calls=calls, tool_tokens=2)
        assert len(seen) == count
    assert tools.called(tools.ToolsConfig(recall="", backtrack="", calls=3)) == ("understand", "examine")
    with pytest.raises(UsageError):
        run("tools", asked, calls=-1)


def test_a_tool_that_solves_the_problem_is_counted(monkeypatch):
    """The answer of a made-up text is its last word."""
    asked = asked_one()
    found, _ = run("tools", asked, **WORDS, tool_tokens=6)
    answers = asked.answers(found.completions)
    seen = []
    own = tools.aside
    monkeypatch.setattr(tools, "aside", lambda *a: seen.append(own(*a)) or seen[-1])
    run("tools", asked, **WORDS, tool_tokens=6)
    calls = [seen[index] for index in (0, 1, 3, 4)]
    assert found.facts["leaks"][0] == sum(one.texts[0].split()[-1:] == [answers[0]] for one in calls)


def test_the_vote_has_at_least_the_tokens_of_the_tools():
    asked = made_asked.made(draws=range(2), tokens=6)
    found, prepared = run("tools-vote", asked, **WORDS, tool_tokens=3)
    size = int(prepared["samples"][0])
    assert size > 1
    many = asked.many(size)
    drawn = asked.policy.draw(asked.problems.problems, many.draws, asked.streams, asked.limits)
    answers = asked.answers(drawn)
    for row, text in enumerate(found.completions.texts):
        place, _ = majority(answers[row * size : (row + 1) * size])
        assert text == drawn.texts[row * size + place]
    assert [tools.samples_of(*pair) for pair in ((30, 10), (31, 10), (5, 10), (0, 0))] == [3, 4, 1, 1]


def test_draws_are_split_among_hints_and_a_hint_is_paid_for_once(seen):
    asked = made_asked.made(lengths=(4, 5), draws=range(6), tokens=5)
    found, _ = run("abstraction", asked, **HINTS, abstractions=2, solutions=2)
    assert [hint_of(draw, AbstractionConfig(abstractions=2, solutions=2)) for draw in range(6)] == [
        0,
        0,
        1,
        1,
        0,
        0,
    ]
    [(asks, hints, _), (solve, texts, _)] = seen
    questions = [one.prompt.split() for one in asked.problems.problems]
    assert asks == [[*questions[0], "w31"]] * 2 + [[*questions[1], "w31"]] * 2
    rows = [(problem, hint) for problem in (0, 1) for hint in (0, 0, 1, 1, 0, 0)]
    assert solve == [[*questions[p], "w32", *hints[2 * p + h].split()] for p, h in rows]
    assert found.completions.texts == texts
    assert found.costs.read.sum() == pytest.approx(sum(map(len, asks)) + sum(map(len, solve)))
    answers = asked.answers(found.completions)
    told = [hints[2 * p + h].split()[-1:] == [answer] for (p, h), answer in zip(rows, answers, strict=True)]
    assert found.facts["leaks"].tolist() == told


def test_controls_take_the_hint_or_the_question_away(seen):
    asked = made_asked.made(lengths=(4,), draws=range(2), tokens=5)
    run("abstraction-alone", asked, **HINTS, abstractions=1, solutions=2)
    assert seen[1][0] == [["w32", *seen[0][1][0].split()]] * 2, "the question is not there"
    seen.clear()
    run("abstraction-mismatched", asked, **HINTS, abstractions=1, solutions=2)
    others = [[*one.prompt.split(), "w31"] for one in asked.development.problems]
    assert seen[0][0][0] in others
    assert seen[1][0][0][:4] == asked.problems.problems[0].prompt.split()
    with pytest.raises(UsageError, match="--solutions"):
        run("abstraction", asked, solutions=0)
    assert np.isfinite(run("abstraction", asked, request="")[0].costs.generated).all()
