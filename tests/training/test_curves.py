"""The columns of a step, by hand; what is undefined is absent, never 0."""

import io
import math

import numpy as np
import pytest

from keyturn.core.problem import Problem
from keyturn.core.roles import Role
from keyturn.rollouts.completions import Completions, Prompts
from keyturn.rollouts.grades import Grades
from keyturn.training.curves import COLUMNS, cell_keys, rollout_columns
from keyturn.training.progress import live, sparkline

NAN = float("nan")
PROBLEMS = tuple(
    Problem(id=name, prompt="?", cell={"domain": "chain", "depth": depth})
    for name, depth in (("a", 2), ("b", 2), ("c", 3))
)


def completions(problem, stop=None):
    rows = len(problem)
    lengths = np.arange(1, rows + 1)
    total = int(lengths.sum())
    return Completions(
        policy="p",
        prompts=Prompts.build([p.id for p in PROBLEMS], ["?"] * 3, [[1]] * 3),
        problem=np.array(problem, np.int32),
        draw=np.zeros(rows, np.int32),
        tokens=np.arange(total, dtype=np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        logprobs=np.log(np.linspace(0.1, 1.0, total)).astype(np.float32),
        entropies=np.linspace(0, 1, total).astype(np.float32),
        stop=np.array(stop or [0] * rows, np.uint8),
        texts=("",) * rows,
    )


def grades(outcome, verified=None, **more):
    values = np.array(outcome, np.float32)
    judged = np.full(len(values), NAN, np.float32) if verified is None else np.array(verified, np.float32)
    return Grades(outcome=values, verified=judged, answer=("",) * len(values), **more)


def test_rates_by_hand():
    drawn = completions([0, 0, 1, 1, 2, 2], stop=[0, 0, 1, 0, 0, 1])
    found = grades([1, 0, 1, 1, 0, NAN], [1, 0, 0, 1, 0, NAN])
    row = rollout_columns(PROBLEMS, drawn, found, found.outcome, cell_keys(PROBLEMS))
    assert row["reward"] == pytest.approx(3 / 5)
    assert row["outcome"] == pytest.approx(3 / 5)
    assert row["verified"] == pytest.approx(2 / 5)
    assert row["ungraded"] == pytest.approx(1 / 6)
    assert row["outcome/depth 2"] == pytest.approx(3 / 4)
    assert row["verified/depth 2"] == pytest.approx(2 / 4)
    assert row["outcome/depth 3"] == 0
    assert row["truncated"] == pytest.approx(2 / 6)
    assert row["length"] == pytest.approx(3.5)
    # Problem a is mixed, b all right, c has one graded row, which is wrong.
    assert row["groups/mixed"] == pytest.approx(1 / 3)
    assert row["groups/right"] == pytest.approx(1 / 3)
    assert row["groups/wrong"] == pytest.approx(1 / 3)


def test_what_is_undefined_is_absent():
    drawn = completions([0, 1])
    row = rollout_columns(PROBLEMS, drawn, grades([NAN, NAN]), np.full(2, NAN, np.float32))
    assert row["ungraded"] == 1.0
    assert not {"reward", "outcome", "verified", "groups/mixed"} & row.keys()
    assert all(math.isfinite(value) for value in row.values())


@pytest.mark.parametrize(
    ("value", "which"), [(1.0, "groups/right"), (0.0, "groups/wrong"), (-1.0, "groups/wrong")]
)
def test_a_batch_of_one_reward_says_right_or_wrong_by_its_sign(value, which):
    rewards = np.full(4, value, np.float32)
    row = rollout_columns(PROBLEMS, completions([0, 0, 1, 1]), grades(rewards), rewards)
    assert row[which] == 1.0
    assert row["groups/mixed"] == 0.0


def test_roles_have_curves_of_their_own():
    drawn = completions([0, 1])  # three tokens
    roles = np.array([Role.PLAN, Role.ARITHMETIC, Role.SYNTAX], np.uint8)
    found = grades(
        [1, 0],
        roles=roles,
        token_columns={
            "error": np.array([True, False, False]),
            "floor": np.array([math.log(2), NAN, NAN], np.float32),
        },
    )
    row = rollout_columns(PROBLEMS, drawn, found, found.outcome)
    assert row["entropy/plan"] == pytest.approx(0.0)
    assert row["entropy/arithmetic"] == pytest.approx(0.5)
    assert row["entropy/planning"] == row["entropy/plan"]
    assert row["entropy/execution"] == row["entropy/arithmetic"]
    assert row["probability/syntax"] == pytest.approx(1.0)
    assert row["error/plan"] == 1.0
    assert row["error/execution"] == 0.0
    assert row["floor/plan"] == pytest.approx(math.log(2))
    assert "floor/arithmetic" not in row


def test_shares_of_strategies_and_formats():
    columns = {
        "strategy": np.array(["FWD", "FWD", "BWD", ""], dtype=object),
        "format": np.array(["F1"] * 4, dtype=object),
    }
    found = grades([1, 0, 1, 0], columns=columns)
    row = rollout_columns(PROBLEMS, completions([0, 0, 1, 1]), found, found.outcome)
    assert row["share/strategy FWD"] == 0.5
    assert row["share/strategy BWD"] == 0.25
    assert row["share/format F1"] == 1.0


def test_only_what_varies_names_a_cell():
    assert cell_keys(PROBLEMS) == ("depth",)
    assert cell_keys(PROBLEMS[:2]) == ()


def pattern(column):
    """A column's entry in the glossary."""
    head, _, tail = column.partition("/")
    if column in COLUMNS:
        return column
    if head in ("outcome", "verified"):
        return f"{head}/<cell>"
    if head == "share":
        return f"share/{tail.split()[0]} <{tail[0]}>"
    return f"{head}/<term>" if head == "loss" else f"{head}/<role>"


def test_every_column_is_in_the_glossary(tmp_path):
    from probes import config, probe, starts_with_a, train

    run = train(tmp_path, probe(starts_with_a), config(steps=2, kl_every=1))
    drawn = completions([0, 1])
    found = grades(
        [1, 0], [1, 0], roles=np.array([4, 8, 1], np.uint8), columns={"strategy": np.array(["A", "B"])}
    )
    keys = rollout_columns(PROBLEMS, drawn, found, found.outcome, ("depth",)).keys() | run.history[0].keys()
    missing = {key for key in keys if pattern(key) not in COLUMNS}
    assert missing == set()


def test_a_sparkline_goes_from_low_to_high():
    assert sparkline([]) == ""
    assert sparkline([0.5, 0.5]) == "▁▁"
    assert sparkline([0, 1]) == "▁█"
    long = sparkline(list(range(1000)), width=10)
    assert len(long) == 10
    assert long == "".join(sorted(long))
    assert (long[0], long[-1]) == ("▁", "█")


def test_progress_is_said_on_stderr_only_and_in_plain_lines_where_nobody_watches(capsys, monkeypatch):
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr("keyturn.core.progress.time.monotonic", lambda: next(clock))
    with live("rl", 3, earlier=[{"reward": 0.0}]) as show:
        show({"reward": 0.5, "verified": 0.25, "entropy/all": 1.5})
        show({"reward": 1.0, "verified": 0.5})
    said = capsys.readouterr()
    assert said.out == ""
    assert "rl: 3/3" in said.err
    assert "reward 0.50 (from 0.50)" in said.err
    assert "verified 0.50" in said.err
    assert "\x1b" not in said.err


def test_the_live_bar_is_drawn_on_a_terminal(monkeypatch):
    from rich.console import Console

    shown = io.StringIO()
    monkeypatch.setattr(
        "keyturn.core.progress.Console",
        lambda **_: Console(file=shown, force_terminal=True, width=160, color_system=None),
    )
    monkeypatch.setattr("keyturn.core.progress._QUIET_S", -1.0)
    with live("rl", 2) as show:
        show({"reward": 0.25})
        show({"reward": 0.75})
    assert "reward 0.50" in shown.getvalue()
    assert "▁█" in shown.getvalue()
