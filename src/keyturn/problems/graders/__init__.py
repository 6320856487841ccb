"""Graders of texts by name. Each gives a strict outcome, a lenient outcome and the extracted answer."""

from __future__ import annotations

from keyturn.problems.contract import Grader
from keyturn.problems.graders.boxed import MATH
from keyturn.problems.graders.choice import CHOICE
from keyturn.problems.graders.exact import EXACT
from keyturn.problems.graders.gsm8k import GSM8K
from keyturn.problems.graders.numeric import NUMERIC

GRADERS: dict[str, Grader] = {
    "exact": EXACT,
    "choice": CHOICE,
    "numeric": NUMERIC,
    "gsm8k": GSM8K,
    "math": MATH,
}
