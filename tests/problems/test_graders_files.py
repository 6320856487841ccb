"""Sample files whose answers are written otherwise than their grader is called, read by the default choice."""

from pathlib import Path

import numpy as np
import pytest

from keyturn.problems.files import choose_grader, grade_samples
from keyturn.problems.graders import GRADERS
from keyturn.rollouts.readers import read_samples

CASES = Path(__file__).with_name("cases")


def graded(name, grader=""):
    """The samples of a file, judged by a grader or by the one that fits their gold answers, and its name."""
    samples = read_samples(CASES / f"{name}.jsonl")
    judge = grader or choose_grader(samples.problems())
    return grade_samples(samples, GRADERS[judge]), judge


@pytest.mark.parametrize(("side", "right"), [("base", 25), ("tuned", 88)])
def test_integers_in_boxes_are_read_as_the_math_grader_reads_them(side, right):
    ours, name = graded(f"integer_gold_boxed_{side}")
    theirs, _ = graded(f"integer_gold_boxed_{side}", "math")
    assert name == "numeric"
    assert ours.success.sum() == right
    np.testing.assert_array_equal(ours.success, theirs.success)


@pytest.mark.parametrize(("side", "right"), [("base", 32), ("tuned", 84)])
def test_where_format_and_grader_do_not_meet_lenient_success_says_so(side, right):
    found, name = graded(f"gsm8k_chat_{side}")
    assert name == "gsm8k"
    assert found.success.sum() == 0
    assert found.columns["lenient"].sum() == right


@pytest.mark.parametrize(("side", "right"), [("base", 32), ("tuned", 87)])
def test_a_thin_space_and_a_unit_behind_the_answer_decide_nothing(side, right):
    found, name = graded(f"thin_space_unit_{side}")
    assert name == "math"
    assert found.success.sum() == right
