"""Worked examples in front of problems: what a plain prompt and a chat are given, and what is refused."""

import pytest

from keyturn.core.errors import UsageError
from keyturn.core.problem import Problem
from keyturn.problems.contract import ProblemSet
from keyturn.problems.examples import gone_on_with, with_examples
from keyturn.problems.files import problem_set
from keyturn.problems.graders import GRADERS

SHOWN = problem_set(
    [{"question": "1+1?", "answer": "1+1=2. #### 2"}, {"question": "2+3?", "answer": "2+3=5. #### 5"}],
    name="shown",
).problems
ASKED = ProblemSet(
    name="asked",
    problems=(
        Problem(id="a", prompt="4+4?", answer="8"),
        Problem(id="b", prompt="5+1?", answer="6", messages=(("system", "Add."), ("user", "5+1?"))),
    ),
    grader=GRADERS["gsm8k"],
)


def test_a_plain_prompt_shows_every_example_and_ends_where_the_answer_begins():
    found = with_examples(ASKED, SHOWN)
    assert [p.id for p in found.problems] == ["a", "b"]
    assert found.problems[0].prompt == (
        "Question: 1+1?\nAnswer: 1+1=2. #### 2\n\nQuestion: 2+3?\nAnswer: 2+3=5. #### 5\n\n"
        "Question: 4+4?\nAnswer:"
    )
    assert found.problems[0].answer == "8"


def test_a_chat_shows_every_example_as_turns_behind_what_the_system_says():
    turns = with_examples(ASKED, SHOWN[:1]).problems[1].turns
    assert turns == (("system", "Add."), ("user", "1+1?"), ("assistant", "1+1=2. #### 2"), ("user", "5+1?"))


def test_an_answer_to_learn_from_begins_with_a_space_where_the_prompt_ends_in_a_colon():
    asked = with_examples(ASKED, SHOWN).problems[0]
    assert gone_on_with(asked, "8", chat=False) == " 8"
    assert gone_on_with(asked, "8", chat=True) == "8"
    assert gone_on_with(asked, " 8", chat=False) == " 8"
    assert gone_on_with(ASKED.problems[0], "8", chat=False) == "8"


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ([], "no worked examples"),
        ([Problem(id="x", prompt="1+2?")], r"worked example 1 \(1\+2\?\) has no answer"),
        ([Problem(id="x", prompt="4+4?", answer="8", facts={"solution": "#### 8"})], "one of the problems"),
        ([Problem(id="x", prompt="1+2?", answer="3", facts={"solution": "#### 4"})], "not right by the grader"),
        ([Problem(id="x", prompt="1+2?", answer="3")], "not right by the grader gsm8k"),
    ],
)
def test_examples_that_would_mislead_are_refused(shown, said):
    with pytest.raises(UsageError, match=said):
        with_examples(ASKED, shown)
