"""Graders of texts: what counts as an answer, and that nothing else does."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.problem import Problem
from keyturn.problems.graders import GRADERS
from keyturn.problems.graders.boxed import any_answer
from keyturn.problems.graders.boxes import boxes, last_box
from keyturn.problems.graders.numbers import last_number, quantity
from keyturn.rollouts.completions import Completions, Prompts, Stop


def completions_of(texts, problem=None, stop=None):
    """Completions without tokens, one row a text."""
    rows = len(texts)
    problem = np.zeros(rows, np.int32) if problem is None else np.array(problem, np.int32)
    size = int(problem.max(initial=0)) + 1
    return Completions(
        policy="p",
        prompts=Prompts.build([f"q{i}" for i in range(size)], [""] * size, [[]] * size),
        problem=problem,
        draw=np.arange(rows, dtype=np.int32),
        tokens=np.zeros(0, np.int32),
        offsets=np.zeros(rows + 1, np.int64),
        logprobs=np.zeros(0, np.float32),
        entropies=np.zeros(0, np.float32),
        stop=np.full(rows, Stop.EOS, np.uint8) if stop is None else np.array(stop, np.uint8),
        texts=tuple(texts),
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", 18), ("18.", 18), ("-18", -18), ("−18", -18), ("+5", 5), ("-0", 0), (".5", Fraction(1, 2)),
        ("1,000", 1000), ("1,000,000", 10**6), ("1,000.50", Fraction(2001, 2)), ("1e3", 1000),
        ("1e309", 10**309),
        ("½", Fraction(1, 2)), ("1½", Fraction(3, 2)), ("3/4", Fraction(3, 4)), ("1 1/2", Fraction(3, 2)),
        ("１２", 12), ("50%", 50), ("50 %", 50), ("50\\%", 50), ("$18", 18), ("\\$18", 18), ("-$5", -5),
        ("$-5", -5),
        ("$18$", 18), ("**18**", 18), ("\\frac{3}{4}", Fraction(3, 4)), ("\\dfrac34", Fraction(3, 4)),
        ("18 eggs", 18), ("18 duck eggs per day", 18), ("3 km/h", 3), ("5 m²", 5), ("45°", 45), ("$18.00", 18),
        ("18 \\text{ dollars}", 18), ("5,000 dollars.", 5000), ("100 m", 100),
    ],
)  # fmt: skip
def test_quantities(text, value):
    assert quantity(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "3x", "3 pi", "1.000,5", "1,5", "1,000,00", "10 000", "1/0", "1 1/0", "1e99999", "0.1+0.2",
        "2**3",
        "2^3", "5 or 6", "5-6", "5 to 6", "5, 6", "5;6", "5 million", "5k", "5M", "2 dozen", "--5", "5:30",
        "12.5.3",
        "٣", "²", "0x10", "1_000", "(18)", "18 = x", "1. Compute", "18 hours 30", "nan", "inf", "9" * 200,
        "__import__('os')", "lambda: 3", "(x := 3)", "f'{3}'", "<3>", "18\n19",
    ],
)  # fmt: skip
def test_what_is_no_quantity(text):
    assert quantity(text) is None


@given(st.fractions(max_denominator=10**6))
def test_every_fraction_is_read_back(value):
    assert quantity(str(value)) == value
    assert quantity(f"{value} eggs") == value


@given(st.integers(-(10**15), 10**15))
def test_thousands_are_read_back(value):
    assert quantity(f"{value:,}") == value


@given(st.text(max_size=60))
def test_any_text_has_a_defined_value(text):
    assert quantity(text) is None or isinstance(quantity(text), Fraction)
    number = last_number(text)
    assert number is None or number in text


@pytest.mark.parametrize(
    ("text", "number"),
    [("so 16-3=13 eggs", "13"), ("costs $1,234.50 now", "$1,234.50"), ("it is -5", "-5"), ("x=(-5)", "-5"),
     ("no", None), ("3.14.", "3.14"), ("or 1/2", "1/2"), ("16-3", "3"), ("9" * 500, None)],
)  # fmt: skip
def test_last_number(text, number):
    assert last_number(text) == number


@pytest.mark.parametrize(
    ("grader", "gold", "text", "outcome"),
    [
        ("exact", "the cat", " the\n cat ", 1), ("exact", "the cat", "The cat", 0),
        ("exact", "cafe\u0301", "café", 1),
        ("exact", "18", "18.", 0), ("exact", "18", "It is 18", 0),
        ("numeric", "18", "work\nAnswer: 18 eggs", 1), ("numeric", "18", "18.0", 1),
        ("numeric", "18", "= 18", 1),
        ("numeric", "1000", "so the answer is $1,000.", 1), ("numeric", "0.5", "1/2", 1),
        ("numeric", "18", "A: 18", 1),
        ("numeric", "18", "I get 18 in the end", 0), ("numeric", "18", "17 18", 0),
        ("numeric", "18", "17, 18", 0),
        ("numeric", "18", "**The final answer is: 18**", 1), ("numeric", "50", "50%", 1),
        ("numeric", "0.5", "50%", 0),
        ("gsm8k", "18", "16-3-4=9\n#### 18", 1), ("gsm8k", "x\n#### 1,000", "#### 1000.0", 1),
        ("gsm8k", "18", "so\nA: 18", 1), ("gsm8k", "18", "Q: A: 18", 0), ("gsm8k", "18", "it is 18", 0),
        ("gsm8k", "18", "#### 18\n\nQuestion: next\n#### 42", 1),
        ("gsm8k", "42", "#### 18\n\nQuestion: n\n#### 42", 0),
        ("gsm8k", "18", "#### Step 1: add\n#### Step 2: more\n#### 18", 1),
        ("gsm8k", "1", "#### 1. Add\n#### 18", 0),
        ("gsm8k", "18", "#### 18 duck eggs", 1), ("gsm8k", "18", "<<2*9=18>>18", 0),
        ("gsm8k", "-3", "#### -3", 1),
    ],
)  # fmt: skip
def test_verdicts(grader, gold, text, outcome):
    assert GRADERS[grader].judge(gold, text) == outcome


@pytest.mark.parametrize("name", ["numeric", "gsm8k", "math"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "the answer is correct",
        "#### ",
        "#### correct",
        "\\boxed{}",
        "\\boxed{ }",
        "\\boxed",
        "\\boxed{7",
        "#### 1, 2, 3, 4, 5, 6, 7, 8, 9",
        "#### 5 or 6 or 7",
        "\n".join(f"#### {n}" for n in range(1, 10)),
        "\n".join(f"#### {n}" for n in (7, *range(1, 10))),
        "\\boxed{1, 2, 3, 4, 5, 6, 7, 8, 9}",
        "\\boxed{7 \\text{ or } 8}",
        "\\boxed{7}, \\boxed{8}",
        "$\\boxed{8}$ or $\\boxed{7}$",
        "".join(f"\\boxed{{{n}}}" for n in range(1, 8)),
        "\\boxed{7, 7, 7}",
        "7\n" * 500 + "or 8",
        "\\boxed{7} no, \\boxed{}",
        "\\boxed{x}",
        "What is 3 + 4? Put your answer into \\boxed{}, or behind ####.",
    ],
)
def test_hacks_are_never_rewarded(name, text):
    assert GRADERS[name].judge("7", text) == 0


def test_a_copy_of_the_prompt_is_not_an_answer():
    prompt = "Q: 1+1?\nA: 2\n#### 7\n\\boxed{7}\nQ: What is 3 + 4?"
    problem = Problem(id="q0", prompt=prompt, answer="7")
    texts = [
        prompt,
        f"  {prompt}\n{prompt}",
        f"{prompt}\n#### 7\n\\boxed{{7}}",
        f"{prompt}\n#### 8\n\\boxed{{8}}",
    ]
    for name in ("gsm8k", "math"):
        grades = GRADERS[name].grade((problem,), completions_of(texts))
        assert grades.outcome.tolist() == [0, 0, 1, 0]


def test_without_the_removal_a_copy_would_be_rewarded():
    """The twin: extraction alone falls for the copied prompt."""
    assert GRADERS["gsm8k"].judge("7", "Q: 1+1?\nA: 7\nQ: What is 3 + 4?") == 1


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("\\boxed{1} then \\boxed{2}", "2"), ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\boxed{10}}", "10"),
        ("\\boxed{5", None), ("\\boxed{5} and \\boxed{6", None), ("\\fbox{3}", "3"), ("\\boxed 4", "4"),
        ("none", None),
        ("\\boxed{\\{1,2\\}}", "\\{1,2\\}"), ("} \\boxed{3}", "3"), ("{ \\boxed{3}", "3"),
        ("\\boxed{a}\\boxed{a}", "a"),
        ("\\boxed{1}, \\boxed{2}", "\\boxed{1}, \\boxed{2}"),
        ("$\\boxed{1}$ \\text{ or } $\\boxed{2}$.", "\\boxed{1}, \\boxed{2}"),
        ("\\boxed{1}\n\nTherefore \\boxed{2}", "2"),
    ],
)  # fmt: skip
def test_the_last_group_of_boxes_wins(text, answer):
    assert last_box(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("\\boxed{4} \\boxed{", "4"), ("The answer is $\\frac12$.", "\\frac12"), ("the answer is: 12.", "12"),
        ("so $x$ and $y+1$", "y+1"), ("3 then 4", "4"), ("nothing", None), ("final answer: **7**", "7"),
    ],
)  # fmt: skip
def test_lenient_extraction(text, answer):
    assert any_answer(text) == answer


@given(
    st.lists(st.sampled_from(["\\boxed{", "}", "{", "1", ",", " ", "\\", "and", "$", "\\fbox"]), max_size=60)
)
def test_boxes_of_any_text(pieces):
    text = "".join(pieces)
    for start, end, content in boxes(text):
        assert 0 <= start < end <= len(text)
        assert content is None or content in text[start:end]
    answer = last_box(text)
    assert answer is None or answer.strip()


def test_strict_and_lenient_stand_side_by_side():
    problem = Problem(id="q0", prompt="p", answer="18")
    grades = GRADERS["gsm8k"].grade((problem,), completions_of(["#### 18", "It is 18.", "17", ""]))
    assert grades.outcome.tolist() == [1, 0, 0, 0]
    assert grades.columns["lenient"].tolist() == [1, 1, 0, 0]
    assert grades.columns["lenient_answer"].tolist() == ["18", "18", "17", ""]
    assert grades.answer == ("18", "", "", "")
    assert np.isnan(grades.verified).all()
    assert grades.outcome.dtype == np.float32


@pytest.mark.parametrize("name", sorted(GRADERS))
def test_without_a_gold_answer_or_a_reply_nothing_is_graded(name):
    problems = (
        Problem(id="q0", prompt="p"),
        Problem(id="q1", prompt="p", answer="A" if name == "choice" else "18"),
    )
    done = completions_of(["#### 18", "#### 18", ""], problem=[0, 1, 1], stop=[Stop.EOS, Stop.ERROR, Stop.EOS])
    outcome = GRADERS[name].grade(problems, done).outcome
    assert np.isnan(outcome[:2]).all()
    assert outcome[2] == 0


@pytest.mark.parametrize("name", sorted(GRADERS))
def test_no_rows_are_no_grades(name):
    grades = GRADERS[name].grade((Problem(id="q0", prompt="p", answer="1"),), completions_of([]))
    assert len(grades.outcome) == len(grades.answer) == 0


def test_a_gold_answer_that_is_no_number_is_ungraded():
    assert math.isnan(GRADERS["gsm8k"].judge("a dozen", "#### 12"))
    assert math.isnan(GRADERS["numeric"].judge("1.000,5", "1000.5"))


GOLDS = {
    "exact": ["18", "two birds", "x = 3.", "3,000"],
    "numeric": ["18", "-3", "1,000", "2.5", "3/4", "#### 18"],
    "gsm8k": ["18", "-3", "1,000", "2.5", "He sells 9.\n#### 18"],
    "math": ["18", r"\frac{3}{4}", r"\left(3, \frac{\pi}{2}\right)", "x^2 + 1", r"2\sqrt{13}"],
}


@pytest.mark.parametrize(("name", "gold"), [(name, gold) for name in GOLDS for gold in GOLDS[name]])
def test_a_gold_answer_written_in_the_grader_s_own_form_is_right_strictly(name, gold):
    assert {one for one in GRADERS if GRADERS[one].form} == set(GOLDS)
    grader = GRADERS[name]
    written = grader.form.format(answer=grader.gold(gold), work="First 7 are taken, then 2 more.")
    assert grader.judge(gold, written) == 1
    assert grader.judge(gold, grader.form.format(answer="41", work="Then 2 more.")) == 0


def test_a_form_without_the_mark_that_the_grader_asks_for_is_rejected():
    assert GRADERS["gsm8k"].judge("18", "{work}\n{answer}".format(answer="18", work="So 9 and 9.")) == 0
    assert GRADERS["math"].judge("18", "{work} ${answer}$".format(answer="18", work="So 9 and 9.")) == 0
