"""Real model outputs: our graders against the verdicts of the data's authors.

The disagreements were looked at one by one. There are none with the grader: all 4 x 1,319 verdicts agree.
What would disagree under plain comparison of text, and what has no answer at all, falls into the named
categories below.
"""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from keyturn.problems.files import grade_samples, read_problems
from keyturn.problems.graders import GRADERS
from keyturn.problems.graders.boxed import any_answer
from keyturn.rollouts.readers import Columns, pair, read_samples

DATA = Path(os.environ.get("KEYTURN_REAL_DATA", "absent"))
SOLUTIONS = DATA / "gsm8k_model_solutions.jsonl"
MATH500 = DATA / "math500_test.jsonl"
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")

# Model -> right by the authors, right answers written with other separators of thousands than the gold
# answer, completions without an ``A:`` line, and with one that is no quantity.
EXPECTED = {
    "6b_finetuning": (286, 2, 4, 1),
    "6b_verification": (515, 2, 1, 0),
    "175b_finetuning": (458, 1, 5, 1),
    "175b_verification": (742, 5, 1, 0),
}

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not SOLUTIONS.is_file(), reason="KEYTURN_REAL_DATA names no folder with the data"),
]


def marked(text):
    """The text of the last ``A:`` line, read independently of our grader; None where there is none."""
    found = re.findall(r"^A:(.*)$", text, re.MULTILINE)
    return found[-1].strip() if found else None


@pytest.mark.parametrize("model", MODELS)
def test_our_verdicts_are_the_authors_and_what_text_alone_would_miss_is_explained(model):
    samples = read_samples(f"{SOLUTIONS}#{model}")
    graded = grade_samples(samples, GRADERS["gsm8k"])
    right, separators, silent, no_quantity = EXPECTED[model]
    assert len(samples) == 1319
    assert samples.success.sum() == right
    # Calculator annotations such as <<2*9=18>> stand in nearly all of them and never disturb.
    assert sum("<<" in text for text in samples.texts) > 1200
    np.testing.assert_array_equal(graded.success, samples.success)
    np.testing.assert_array_equal(graded.columns["lenient"], samples.success)

    categories = {"separators of thousands": 0, "unexplained": 0}
    without = {"cut before an answer": 0, "not a quantity": 0}
    for text, gold, theirs, answer in zip(
        samples.texts, samples.gold, samples.success, graded.answer, strict=True
    ):
        written, wanted = marked(text), marked(gold)
        if (written == wanted) != bool(theirs):
            same = (written or "").replace(",", "") == (wanted or "").replace(",", "")
            categories["separators of thousands" if same and theirs else "unexplained"] += 1
        if not answer:
            without["cut before an answer" if written is None else "not a quantity"] += 1
            assert not theirs
    assert categories == {"separators of thousands": separators, "unexplained": 0}
    assert without == {"cut before an answer": silent, "not a quantity": no_quantity}


def test_a_grader_that_compares_text_would_disagree():
    """The twin: without the rules for numbers ten verdicts differ."""
    exact = GRADERS["exact"]
    differ = 0
    for model in MODELS:
        samples = read_samples(SOLUTIONS, Columns(select=model))
        for text, gold, theirs in zip(samples.texts, samples.gold, samples.success, strict=True):
            differ += exact.judge(marked(gold) or "", marked(text) or "") != theirs
    assert differ == 10


def test_the_models_are_paired_over_all_problems_with_one_draw_each():
    found = pair(read_samples(f"{SOLUTIONS}#6b_finetuning"), read_samples(f"{SOLUTIONS}#175b_verification"))
    assert len(found.problems) == 1319
    assert (found.dropped_base, found.dropped_tuned, found.ungraded_base, found.ungraded_tuned) == (0, 0, 0, 0)
    assert set(found.base.draw) == set(found.tuned.draw) == {0}
    assert found.notes == ()
    assert (found.base.outcome.sum(), found.tuned.outcome.sum()) == (286, 742)


def test_the_problem_file_is_the_same_problems():
    problems = read_problems(DATA / "gsm8k_test.jsonl")
    assert problems.grader is GRADERS["gsm8k"]
    assert len(problems.problems) == 1319
    assert all(GRADERS["gsm8k"].judge(p.answer, str(p.facts["solution"])) == 1 for p in problems.problems)
    samples = read_samples(f"{SOLUTIONS}#175b_verification")
    # The released solutions bring their own gold answers; the test file's give the same verdicts.
    np.testing.assert_array_equal(
        grade_samples(samples, GRADERS["gsm8k"], problems.problems).success, samples.success
    )


def test_gold_solutions_of_math_500_are_right():
    found = read_problems(MATH500)
    math = GRADERS["math"]
    assert found.grader is math
    assert len(found.problems) == 500
    assert set(found.problems[0].cell) == {"subject", "level"}
    wrong = [p.id for p in found.problems if math.judge(p.answer, str(p.facts["solution"])) != 1]
    assert wrong == []
    # One solution boxes its answer in two forms; a grader that took both for a list would fail it.
    forms = [p for p in found.problems if "boxed" in (math.strict(str(p.facts["solution"])) or "")]
    assert [p.answer for p in forms] == ["\\frac{639}{40}"]
    assert list(
        math.compare([(p.answer, any_answer(str(p.facts["solution"])) or "") for p in found.problems])
    ) == ([1.0] * 500)


@pytest.mark.slow
def test_answers_of_other_problems_are_wrong():
    answers = [json.loads(line)["answer"] for line in MATH500.read_text(encoding="utf-8").splitlines()]
    math = GRADERS["math"]
    shifted = [*answers[1:], answers[0]]
    verdicts = list(math.compare(list(zip(answers, shifted, strict=True))))
    right = {
        pair for pair, verdict in zip(zip(answers, shifted, strict=True), verdicts, strict=True) if verdict == 1
    }
    # Three neighbours have the same answer; every other verdict is "wrong", none is a time-out.
    assert right == {("5", "x=5"), ("7", "7"), ("3", "3")}
    assert not np.isnan(verdicts).any()


DRESS = {
    "thin space behind": lambda gold: gold + r"\,",
    "thick space before": lambda gold: r"\;" + gold,
    "ties": lambda gold: gold.replace(" ", "~"),
    "mathbf": lambda gold: rf"\mathbf{{{gold}}}",
    "boldsymbol": lambda gold: rf"\boldsymbol{{{gold}}}",
    "color": lambda gold: rf"\color{{red}}{gold}",
    "underline": lambda gold: rf"\underline{{{gold}}}",
    "large": lambda gold: rf"\large {gold}",
    "stars": lambda gold: f"**{gold}**",
    "full stop": lambda gold: gold + ".",
    "full-width digits": lambda gold: re.sub(r"(?<![\\a-z])\d", lambda one: chr(ord(one[0]) + 0xFEE0), gold),
    "thin space and centimetres": lambda gold: gold + r"\,\text{cm}" if re.fullmatch(r"-?\d+", gold) else gold,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DRESS)
def test_dress_changes_no_verdict_on_the_500_gold_answers(name):
    math = GRADERS["math"]
    golds = [json.loads(line)["answer"] for line in MATH500.read_text(encoding="utf-8").splitlines()]
    assert [gold for gold in golds if math.judge(gold, rf"So $\boxed{{{DRESS[name](gold)}}}$.") != 1] == []


@pytest.mark.slow
def test_a_changed_digit_or_sign_of_the_500_gold_answers_is_wrong():
    math = GRADERS["math"]
    golds = [json.loads(line)["answer"] for line in MATH500.read_text(encoding="utf-8").splitlines()]
    changed = [(gold, gold.replace("-", "", 1)) for gold in golds if "-" in gold]
    for gold in golds:
        for digit in list(re.finditer(r"\d", gold))[:4]:
            other = str((int(digit[0]) + 1) % 10).replace("0", "4" if digit[0] == "3" else "3")
            changed.append((gold, gold[: digit.start()] + other + gold[digit.end() :]))
    assert len(changed) == 1134
    assert [pair for pair in changed if math.judge(pair[0], rf"\boxed{{{pair[1]}}}") == 1] == []
