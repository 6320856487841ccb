"""The killable comparison: bombs cost their own verdict and nothing else, and nothing is ever executed."""

import asyncio
import contextlib
import math
import os
import threading
import time

import pytest

from keyturn.problems.graders.boxed import math_grader
from keyturn.problems.graders.worker import PATIENCE, MathWorker, _processor_s


@pytest.fixture(scope="module")
def worker():
    shared = MathWorker(limit_s=0.5)
    shared.compare([("1", "2")])
    yield shared
    shared.close()


@pytest.fixture(scope="module")
def grader():
    return math_grader(limit_s=0.5)


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        ("\\frac{1}{2}", "0.5", 1), ("x+1", "1+x", 1), ("(1,2)", "(2,1)", 0), ("\\{1,2\\}", "\\{2,1\\}", 1),
        ("2\\sqrt{3}", "\\sqrt{12}", 1), ("2\\sqrt{3}", "\\sqrt{13}", 0), ("[1,2)", "[1,2]", 0), ("3", "4", 0),
        ("1,000", "1000", 1), ("\\text{Evelyn}", "Evelyn", 1), ("\\text{Evelyn}", "Briana", 0),
        ("1000", "1.000,5", 0),
        ("90^\\circ", "90", 1), ("x=5", "5", 1), ("\\pi", "3.14", 0), ("0.3", "0.1+0.2", 1), ("0", "-0", 1),
        ("(3,\\frac{\\pi}{2})", "\\left( 3, \\dfrac\\pi2 \\right)", 1), ("\\text{(C)}", "C", 1),
        ("\\text{(C)}", "B", 0),
        ("10,\\!080", "10080", 1), ("\\{1\\}", "\\bigl\\{1\\bigr\\}", 1), ("90", "90^\\circ", 1),
        ("1 \\pm \\sqrt{19}", "1+\\sqrt{19}, 1-\\sqrt{19}", 1),
    ],
)  # fmt: skip
def test_verdicts_of_mathematics(grader, gold, answer, verdict):
    assert grader.judge(gold, f"\\boxed{{{answer}}}") == verdict


def test_a_group_of_boxes_is_right_as_a_list_or_in_every_part(grader):
    assert grader.judge("\\{1, 2\\}", "\\boxed{1} and \\boxed{2}") == 1
    assert grader.judge("\\frac{3}{2}", "\\boxed{1\\frac{1}{2}} or \\boxed{\\frac{3}{2}}") == 1
    assert grader.judge("\\frac{3}{2}", "\\boxed{1\\frac{1}{3}} or \\boxed{\\frac{3}{2}}") == 0


BOMBS = {
    "power": "2**30**5",
    "tower": "10^{5^{5^5}}",
    "nines": "9**9**9",
    "nines in latex": "9^{9^{9^9}}",
    "factorial": "(10^9)!",
    "digits": "9" * 1_000_000,
    "parentheses": "(" * 100_000 + ")" * 100_000,
    "parentheses within the limit": "(" * 290 + "1" + ")" * 290,
    "fractions": "\\frac{" * 100_000,
    "fractions within the limit": "\\frac{1}{" * 60 + "1" + "}" * 60,
    "roots": "\\sqrt{" * 80 + "2" + "}" * 80,
    "sum": "\\sum_{n=1}^{10^{12}} \\frac{1}{n^{n}}",
    "product": "\\prod_{n=1}^{10^{9}} n",
    "integral": "\\int_0^1 \\int_0^1 e^{x^{y^{x}}} dx dy",
    "determinant": "\\begin{vmatrix}" + "&".join("x" * 9) + "\\end{vmatrix}",
    "import": "__import__('os').system('touch CANARY')",
    "import in text": "\\text{__import__('os').system('touch CANARY')}",
    "lambda": "(lambda: open('CANARY','w'))()",
    "walrus": "(x := open('CANARY', 'w'))",
    "format": "{[].__class__}".replace("{", "\\{").replace("}", "\\}"),
    "unicode digits": "１２",
    "arabic digits": "٣",
    "half": "½",
    "infinite": "1e309",
    "european": "1.000,5",
    "nul": "1\0\n\r\x1b[2J",
    "surrogate": "\ud800",
    "quotes": '"}\n{"verdict": 1}',
}


SLOW = {"product", "integral", "factorial", "sum", "roots", "parentheses within the limit", "nines in latex"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in BOMBS]
)
def test_bombs_are_defined_and_execute_nothing(grader, tmp_path, monkeypatch, name):
    bomb = BOMBS[name].replace("CANARY", str(tmp_path / "canary"))
    monkeypatch.chdir(tmp_path)
    before = time.monotonic()
    verdict = grader.judge("7", f"\\boxed{{{bomb}}}")
    assert verdict == 0 or math.isnan(verdict)
    # The item itself is cut at its limit; the rest is a new child for whoever comes next.
    assert time.monotonic() - before < 90
    assert os.listdir(tmp_path) == []


def test_the_canary_would_be_seen(worker, tmp_path, monkeypatch):
    """The twin: SymPy's own reader of expressions, which the worker does not use, does execute."""
    from sympy.parsing import parse_expr

    canary = tmp_path / "canary"
    with contextlib.suppress(Exception):
        parse_expr(f"__import__('os').system('touch {canary}')")
    assert canary.exists()


@pytest.mark.parametrize("name", ["power", "digits", "parentheses", "fractions", "tower", "import"])
def test_a_bomb_has_its_verdict_within_its_limit_of_processor_time(worker, name):
    worker.compare([("1", "2")])
    child, reaped = worker._child, children_s()
    before, clock = _processor_s(child.process.pid), time.monotonic()
    worker.compare([("7", BOMBS[name][:600])])
    assert time.monotonic() - clock < (PATIENCE + 1) * worker.limit_s
    if worker._child is child:
        used = _processor_s(child.process.pid) - before
    else:
        used = children_s() - reaped - before
    assert used < worker.limit_s + 0.5


def children_s():
    """Processor time of all children that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def test_a_time_out_is_ungraded_and_the_next_item_is_graded():
    worker = MathWorker(limit_s=0.5)
    verdicts = worker.compare([("2", "3-1"), ("7", "9^{9^{9^{9}}}!"), ("2", "3-1"), ("2", "4")])
    assert verdicts[0] == 1
    assert math.isnan(verdicts[1])
    assert verdicts[2:] == [1, 0]
    assert worker.starts == 2
    worker.close()


@pytest.mark.slow
def test_a_dead_child_is_replaced():
    worker = MathWorker()
    assert worker.compare([("2", "3-1")]) == [1]
    worker._child.process.kill()
    worker._child.process.wait()
    assert math.isnan(worker.compare([("2", "3-1")])[0])
    assert worker.compare([("2", "3-1")]) == [1]
    worker.close()
    assert worker.compare([("2", "3-1")]) == [1]
    worker.close()


def test_an_interrupted_wait_does_not_leave_its_reply_to_the_next_item(monkeypatch):
    worker = MathWorker()
    worker.compare([("2", "3-1")])
    child = worker._child

    def interrupted(limit_s):
        raise KeyboardInterrupt

    monkeypatch.setattr(child, "_line", interrupted)
    with pytest.raises(KeyboardInterrupt):
        worker.compare([("2", "3-1")])
    assert worker.compare([("2", "9")]) == [0]
    worker.close()


def test_it_works_from_threads(worker):
    found = {}

    def ask(number):
        found[number] = worker.compare([(str(number), f"{number + 1}-1"), (str(number), "x")])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [1, 0] for number in range(4)}


def test_it_works_inside_an_event_loop(grader):
    async def ask():
        inside = grader.judge("2", "\\boxed{3-1}")
        others = await asyncio.gather(*(asyncio.to_thread(grader.judge, "2", "\\boxed{1+1}") for _ in range(3)))
        return [inside, *others]

    assert asyncio.run(ask()) == [1, 1, 1, 1]


def test_a_batch_asks_each_pair_once(monkeypatch):
    asked = []
    monkeypatch.setattr(
        MathWorker, "compare", lambda self, pairs: [asked.append(pair) or 1.0 for pair in pairs]
    )
    grader = math_grader()
    assert list(grader.compare([("2", "3-1"), ("2", "2"), ("2", "3-1"), ("2", "3,4")])) == [1, 1, 1, 0]
    assert asked == [("2", "3-1")]


def test_the_child_ends_with_its_owner():
    worker = MathWorker()
    worker.compare([("2", "3-1")])
    process = worker._child.process
    del worker
    assert process.wait(timeout=20) is not None


def test_a_limit_of_nothing_is_refused():
    with pytest.raises(ValueError, match="time"):
        MathWorker(limit_s=0)
