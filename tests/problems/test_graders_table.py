"""Pairs of gold answer and completion whose verdict people agree on; dress that may never change one."""

import json
import math
import re
from pathlib import Path

import pytest

from keyturn.problems.graders import GRADERS
from keyturn.problems.graders.boxed import math_grader
from keyturn.problems.graders.dress import bare
from keyturn.problems.graders.latex import interval, normal

PAIRS = [
    json.loads(line)
    for line in Path(__file__).with_name("grader_pairs.jsonl").read_text(encoding="utf-8").splitlines()
]


@pytest.fixture(scope="module")
def grader():
    """The math grader with time for a busy machine."""
    return math_grader(limit_s=2.0)


def boxed(answer):
    return f"So $\\boxed{{{answer}}}$."


def test_every_pair_has_its_verdict(grader):
    decided = [pair for pair in PAIRS if pair["right"] is not None]
    assert (len(PAIRS), len(decided)) == (211, 183)
    wrong = [
        (pair["grader"], pair["gold"], pair["text"])
        for pair in decided
        if (grader if pair["grader"] == "math" else GRADERS[pair["grader"]]).judge(pair["gold"], pair["text"])
        != pair["right"]
    ]
    assert wrong == []


GOLDS = [
    "9", "-3", "2.5", "58,500", r"\frac{14}{3}", r"-\frac{3}{4}", r"2\sqrt{13}", "p - q", "x^2 + 1", r"\pi",
    "2^{10}",
    r"\left( 3, \frac{\pi}{2} \right)", "(6,31,-1)", "[-2,7]", "(0,9) \\cup (9,36)", "1,-2", r"3, 5, 7",
    r"\text{Evelyn}",
    r"\text{(C)}", "52_8", r"10,\!080", r"11,\! 111,\! 111,\! 100", r"90^\circ", r"\$18.90", r"15\mbox{ cm}^2",
    "6 - 5i",
    r"\begin{pmatrix} -1 & 0 \\ 0 & -1 \end{pmatrix}", r"\{1, 2\}", r"x \le 3", "y = 2x + 3",
    r"\frac{1}{2^{80}}",
]  # fmt: skip
DRESS = {
    "thin space behind": lambda g: g + r"\,",
    "thin spaces": lambda g: rf"\,{g}\,",
    "thick space": lambda g: rf"\;{g}",
    "medium space": lambda g: rf"\:{g}\:",
    "control space": lambda g: rf"\ {g}\ ",
    "tie": lambda g: f"~{g}~",
    "spaces as ties": lambda g: g.replace(" ", "~"),
    "quad": lambda g: rf"{g}\quad",
    "hspace": lambda g: rf"\hspace{{2mm}}{g}",
    "displaystyle": lambda g: rf"\displaystyle {g}",
    "large": lambda g: rf"\large {g}",
    "mathbf": lambda g: rf"\mathbf{{{g}}}",
    "boldsymbol": lambda g: rf"\boldsymbol{{{g}}}",
    "bm": lambda g: rf"\bm{{{g}}}",
    "underline": lambda g: rf"\underline{{{g}}}",
    "color": lambda g: rf"\color{{red}}{g}",
    "color with braces": lambda g: rf"\color{{blue}}{{{g}}}",
    "textcolor": lambda g: rf"\textcolor{{red}}{{{g}}}",
    "braces": lambda g: f"{{{g}}}",
    "stars": lambda g: f"**{g}**",
    "dollars": lambda g: f"${g}$",
    "round delimiters": lambda g: rf"\({g}\)",
    "full stop": lambda g: g + ".",
    "thin space and full stop": lambda g: g + r"\,.",
    "comma": lambda g: g + ",",
    "equals": lambda g: f"= {g}",
    "phantom": lambda g: rf"\phantom{{0}}{g}",
    "check mark": lambda g: rf"{g} \checkmark",
    "zero-width space": lambda g: g + "\u200b",
    "no-break spaces": lambda g: f"\u00a0{g}\u202f",
    "full-width digits": lambda g: re.sub(r"(?<![\\a-z])\d", lambda m: chr(ord(m[0]) + 0xFEE0), g),
    "box in the box": lambda g: rf"\boxed{{{g}}}",
}  # fmt: skip
UNITS = [
    r"\text{ cm}", r"\,\text{cm}", r"\;\text{cm}", r"~\text{cm}", r"\ \text{cm}", r"\text{ cm}^2",
    r"\,\mathrm{m/s}",
    r"\,\mathrm{m\,s^{-1}}", r"^\circ", r"^{\circ}", "°", r"\degree", r"\ (\text{hours})",
    r"\text{ square units}",
]  # fmt: skip


@pytest.mark.parametrize("name", DRESS)
def test_dress_never_changes_a_verdict(grader, name):
    wrong = [gold for gold in GOLDS if grader.judge(gold, boxed(DRESS[name](gold))) != 1]
    assert wrong == []


def test_a_unit_behind_a_number_never_changes_a_verdict(grader):
    numbers = ["9", "-3", "2.5", "58,500", r"\frac{14}{3}", r"2\sqrt{13}", "x = 9"]
    pairs = [(gold, gold + unit) for gold in numbers for unit in UNITS]
    assert [pair for pair in pairs if grader.judge(pair[0], boxed(pair[1])) != 1] == []


def test_a_changed_digit_or_sign_is_wrong_in_any_dress(grader):
    """The twin of the sweep: what stays right there must not be all that is said."""
    for gold in GOLDS:
        changed = []
        for digit in list(re.finditer(r"\d", gold))[:3]:
            other = str((int(digit.group()) + 1) % 10) if digit.group() != "9" else "2"
            changed.append(gold[: digit.start()] + other + gold[digit.end() :])
        changed += [gold.replace("-", "", 1)] if "-" in gold and "p" not in gold else []
        for name in ("thin spaces", "mathbf", "full stop", "color", "stars"):
            assert [one for one in changed if grader.judge(gold, boxed(DRESS[name](one))) == 1] == []


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("7", r"7,\;7"), ("7", r"7\;7"), ("77", r"7\;7"), ("77", "7 7"), ("12", r"1\,2"), ("7700", r"77\,00"),
        ("77", r"7,\,7"),
        ("7", r"7\quad 8"), ("12", "12!"), ("52_8", "52_9"), ("52_8", "52"), ("52", "52_8"), ("37_8", "31"),
        ("864 \\mbox{ inches}^2", "864 \\mbox{ inches}^3"), ("5", r"5\text{ million}"), ("5", r"5\text{i}"),
        ("5", r"5\mathrm{e}"),
        ("2", r"2\text{ or }3"), ("[1,3]", "1<x<3"), ("(1,3)", r"1\le x<3"), (r"(3,\infty)", "x<3"),
        (r"(3,\infty)", r"x\ge 3"),
        (r"\frac{1}{3}", "0.333334"), (r"\frac{1}{3}", "0.33333334"), (r"\sqrt{2}", "1.41421357"), ("0.3",
        "0.30000001"),
        (r"\frac{1}{65536}", "0.000015"), (r"(10^{-7}, 1)", r"(10^{-8}, 1)"), (r"\{10^{-9}\}", r"\{10^{-10}\}"),
        (r"\frac{x}{10^{20}}", r"\frac{x}{10^{21}}"), (r"0.\overline{3}", r"0.\overline{4}"),
        (r"0.1\overline{6}", r"0.\overline{16}"),
        ("2.5", r"2\frac{1}{3}"), ("12", r"\text{21}"), ("5", r"\text{5 or 3}"), ("5", r"5 \text{ or 3}"), ("5",
        r"5 \text{ not 3}"),
        (r"\frac59", r"\text{\frac593}"), (r"-\frac38", r"\text{--\frac38}"), ("5", "5 or 3"), ("5", "5 and 3"),
        (r"\text{Tuesday}", r"\text{Tuesday or Monday}"), ("5", r"5 \lor 3"), ("5", r"5\text{3}"),
        ("25", "5²2"), ("5^2", "52"),
        (r"\frac34", r"\frac34 \to 3"), (r"\frac34", r"0.\frac34"),
        (r"\frac34", r"\frac34 \text{ million}"), ("7", r"7\text{ hundred}"), ("7", r"7\text{k}"), ("7",
        r"7\text{ dozen}"),
        ("-7", "-7_3"), ("x+1", "x+1_3"), ("(1,2)", r"(1,2) \text{ (or 3)}"), ("7", r"7\text{ (or 3)}"),
        (r"\text{even}", r"\textbf{odd}"), ("1,000", "1"), ("(100,200)", "(100200)"), (r"3\text{ m}^2",
        r"3\text{ m}^3"),
        (r"\begin{pmatrix} 10^{-9} \\ 1 \end{pmatrix}", r"\begin{pmatrix} 10^{-8} \\ 1 \end{pmatrix}"),
    ],
)  # fmt: skip
def test_what_stays_wrong(grader, gold, answer):
    assert grader.judge(gold, boxed(answer)) == 0


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("9500", r"9\,500"), ("9500", r"9~500"), ("1234567", r"1\,234\,567"), ("9500", "9 500"), ("3.141592",
        r"3.141\,592"),
        (r"(1000, 2000)", r"(1\,000,\,2\,000)"), (r"x \in [-2,7]", r"-2 \le x \le 7"), ("[-2,7]",
        r"7 \geq x \geq -2"),
        (r"(-\infty,3]", r"x \leqslant 3"), ("5000000", r"5 \text{ million}"), (r"\frac{1}{6}",
        r"0.1\overline{6}"),
        (r"\frac{7}{12}", "0.58\\overline{3}"), ("2\\sqrt{2}", "2√2"), ("2\\pi", "2π"), ("x^2", "x²"),
        (r"\frac{7}{4}", r"1\,\frac{3}{4}"),
        (r"\frac{7}{4}", "1 3/4"), ("12_{10}", "12"), ("52_8", r"52_{8}"), ("52_8", r"52_{\text{eight}}"),
        (r"\frac{1}{3}", "0.333333"), (r"\sqrt{2}", "1.41421356"), ("0.3", "0.30000000000000004"),
        (r"\frac{1}{65536}", "0.0000152587890625"),
        ("12", r"\text{Answer: }12"), ("12", r"\text{12 units}"), ("12", r"\text{x = 12}"), ("700",
        r"7 \text{ hundred}"), ("84", r"7\text{ dozen eggs}"),
        ("7000", r"\$7\text{k}"), ("750000", r"\frac34 \text{ million}"), ("12", r"12\text{ km/h}"),
        (r"\text{salt and pepper}", r"\textbf{Salt and pepper}"),
        ("1,2", r"1\text{ and }2"), (r"\text{B}", r"\textbf{(B)}"),
        (r"\frac{3}{4}", r"\mathbf{\frac34}"),
        ("5", r"5\,."), ("1.6\\times 10^{-19}", "1.6e-19"), (r"864 \mbox{ inches}^2", "864"), ("15",
        r"15\text{ cm}^{2}"),
    ],
)  # fmt: skip
def test_what_is_right_in_another_form(grader, gold, answer):
    assert grader.judge(gold, boxed(answer)) == 1


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (r"\,9\,", "9"), (r"7,\;7", "7, 7"), (r"9\,500", "9500"), (r"\mathbf{\text{Evelyn}}", r"\text{Evelyn}"),
        ("１２", "12"),
        (r"x^\mathbf{12}", "x^{12}"), (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}",
        r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
        (r"\textcolor[rgb]{1,0,0}{7}", "7"), (r"\mathbf{7", r"\mathbf{7"), ("5!", "5!"), ("", ""), ("**", "**"),
        ("$", "$"), ("{}", "{}"),
        ("**7** and **8**", "**7** and **8**"), ("$7$ or $8$", "$7$ or $8$"), ("{1}{2}", "{1}{2}"),
    ],
)  # fmt: skip
def test_the_normaliser(text, same):
    assert bare(text) == same
    assert bare(same) == same


@pytest.mark.parametrize("gold", GOLDS)
def test_a_normal_form_is_its_own(gold):
    assert normal(normal(gold)) == normal(gold)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("x<3", r"(-\infty,3)"), (r"3\le x", r"[3,\infty)"), ("1<x\\le 2", "(1,2]"), ("2>x>1", "(1,2)"),
        ("1<x>2", None), ("x<y", None),
        ("x=3", None), ("<3", None), (r"x<-1 \text{ or } x>2", r"(-\infty,-1) \cup (2,\infty)"),
        ("a<b<c<d", None),
    ],
)  # fmt: skip
def test_inequalities_as_intervals(text, same):
    assert interval(text) == same


@pytest.mark.parametrize(
    "bomb", [r"\mathbf{" * 20_000, "{" * 20_000, "**" * 20_000, r"\,1" * 20_000, "1,000" * 20_000, "√" * 20_000]
)
def test_bombs_against_the_normaliser_cost_nothing(grader, bomb):
    """A dress of any depth: a verdict, and no more time than a look at 600 characters."""
    assert grader.judge("7", boxed(bomb)) == 0
    assert not math.isnan(GRADERS["numeric"].judge("7", bomb))
    assert not math.isnan(GRADERS["gsm8k"].judge("7", f"#### {bomb}"))
