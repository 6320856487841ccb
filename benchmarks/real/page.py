"""docs/results/real.md, written from docs/results/real.json.

``python benchmarks/real/page.py RUN`` first takes over results and sample files of a run folder of the study;
without RUN the page is written again.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results import said

HERE = Path(__file__).parents[2] / "docs" / "results"
PAGE = """\
# A real pretrained model

Written by `python benchmarks/real/page.py` from `real.json`, which `make real` computes. Every number can be
computed again from the draws in [real/](real), without a model: `python benchmarks/real/results.py
docs/results/real`. How to read it: [real.md](../real.md).

{model}: {steps} steps of RLOO, {prompts} problems x {draws} draws a step, learning rate {lr:g}, gsm8k grader,
plain prompts with four worked examples, answers end at a blank line or at `Question:`. Intervals are over
problems (95 %). Seeds of one base are shown apart: they are not independent bases.

## Success by arm

Each test problem was answered {test_draws} times. No arm learnt from four or five numbers or word problems.

{arms}

The last column: draws that answer a sum of four with the sum of its first three numbers.

## In training

Reward by step.

{history}

## The pair

{pair}

{kinds}

## What is form

{forms}

{ways}

{second}"""


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def arms_table(rows: Sequence[Any]) -> str:
    """Success of every arm by kind of problem."""
    kinds = list(rows[0]["kinds"])
    head = ["arm", "learns from"]
    for kind in kinds:
        head.append(f"{kind} ({rows[0]['kinds'][kind]['problems']})")
    first = kinds[0]
    head += [f"gain on {first}", f"in the form, {first}"]
    longer = [kind for kind in kinds if "the first three only" in rows[0]["kinds"][kind]]
    head += [f"first three only, {kind}" for kind in longer[:1]]
    lines = []
    for row in rows:
        found = row["kinds"]
        gain = "" if row["arm"] == "base" else said(found[first]["gain"])
        cells = [said(found[kind]["strict"]) for kind in kinds]
        form = [gain, f"{found[first]['in the form']['value']:.2f}"]
        dropped = [f"{found[kind]['the first three only']['value']:.2f}" for kind in longer[:1]]
        lines.append([row["arm"], row["learns from"], *cells, *form, *dropped])
    return table(head, lines)


def history_table(rows: Sequence[Any]) -> str:
    """Success of the draws of each training step."""
    trained = [row for row in rows if "history" in row]
    steps = max((len(row["history"]) for row in trained), default=0)
    head = ["arm", *(f"step {number + 1}" for number in range(steps)), "entropy, first to last (nats a token)"]
    lines = []
    for row in trained:
        entropy = [step["entropy/all"] for step in row["history"] if "entropy/all" in step]
        ends = f"{entropy[0]:.2f} to {entropy[-1]:.2f}" if entropy else ""
        lines.append([row["arm"], *(f"{step['outcome']:.2f}" for step in row["history"]), ends])
    return table(head, lines)


def verdict_row(name: str, found: Any) -> list[str]:
    """One verdict as a line."""
    shares = [said(found["shares"][part]) for part in ("deployed", "created", "undecided")]
    masses = [said(found["masses"][part]) for part in ("base", "tuned", "gain")]
    return [name, str(found["problems"]), str(found["k"]), *masses, *shares, found["label"]]


HEAD = ("problems", "K", "base", "after RL", "gain", "deployed", "created", "undecided", "verdict")


def pair_tables(found: Any) -> dict[str, str]:
    """The tables of the pair."""
    readings = found["sums of three"]
    rows = [
        verdict_row("strict: the number behind `####`", readings["strict"]),
        verdict_row("lenient: the last number", readings["lenient"]),
        verdict_row("only draws in the form", readings["in the form"]),
    ]
    first = f"{found['draws']['base']} base draws and {found['draws']['tuned']} of {found['tuned']} for every"
    first += " problem. Sums of three, read in three ways (fewer draws in the form lower K):\n\n"
    kinds = [verdict_row(kind, one) for kind, one in found["by kind"].items()]
    kinds.append(verdict_row("all", found["all sums"]))
    form = readings["format"]
    share = readings["share of draws in the form"]
    parts = [
        [name, said(form[f"routing_execution {part}"]), said(form[f"routing_execution_share {part}"])]
        for name, part in (
            ("writing the form more often (format)", "routing"),
            ("being right more often in the form (execution)", "execution"),
        )
    ]
    once = readings["right at least once"]
    of = readings["strict"]["problems"]
    reach = (
        f"Right at least once: {once['base']} of {of} by {found['draws']['base']} base draws, {once['tuned']}"
    )
    reach += f" of {of} by {found['draws']['tuned']} draws after RL."
    wrote = f"In the form: {said(share['base'])} of the base's draws, {said(share['tuned'])} after RL.\n\n"
    return {
        "pair": first + table(["sums of three", *HEAD], rows),
        "kinds": f"{reach}\n\n" + table(["kind", *HEAD], kinds),
        "forms": wrote + table(["part of the gain on sums of three", "size", "share"], parts),
    }


def ways_table(rows: Sequence[Any]) -> str:
    """Success under every way of asking, before and after."""
    head = ["what the policy sees", "policy", "strict", "lenient", "in the form"]
    known = {row["way"]: number for number, row in enumerate(rows)}
    lines = [
        [row["sees"], row["policy"], said(row["strict"]), said(row["lenient"]), said(row["in the form"])]
        for row in sorted(rows, key=lambda row: (known[row["way"]], row["policy"] != "base"))
    ]
    return f"Sums of three ({rows[0]['problems']} problems), asked in other ways:\n\n" + table(head, lines)


def page(found: Any) -> str:
    """The page; parts that were not run are said to be missing."""
    missing = "Not run."
    tables = {"pair": missing, "kinds": "", "forms": missing}
    if "pair" in found:
        tables = pair_tables(found["pair"])
    second = ""
    if found.get("second"):
        second = f"## {found['second model']} as a base\n\n{arms_table(found['second'])}\n\n"
        second += f"{history_table(found['second'])}\n"
    rl = found["rl"]
    text = PAGE.format(
        model=found["model"],
        steps=rl["steps"],
        prompts=rl["prompts"],
        draws=rl["draws"],
        lr=rl["lr"],
        test_draws=found["draws"],
        arms=arms_table(found["arms"]),
        history=history_table(found["arms"]),
        ways=ways_table(found["ways"]) if found["ways"] else "",
        second=second,
        **tables,
    )
    return text.rstrip() + "\n"


def take_over(run: Path) -> None:
    """Results and sample files of a run folder, in the place of those that are there."""
    shutil.rmtree(HERE / "real", ignore_errors=True)
    shutil.copytree(run / "samples", HERE / "real")
    shutil.copy(run / "results.json", HERE / "real.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, help="a run folder of the study")
    given = parser.parse_args()
    if given.run is not None:
        take_over(given.run)
    found = json.loads((HERE / "real.json").read_text(encoding="utf-8"))
    (HERE / "real.md").write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
