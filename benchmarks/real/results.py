"""Every number of the study, computed from its sample files alone: no model, no run folder, some seconds.

``python benchmarks/real/results.py FOLDER`` prints them all, ``... FOLDER verdict|one-example|random-reward``
one of the three that decide. FOLDER is ``samples`` of a run folder or ``docs/results/real``, whose files are of
the committed run.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import samples
from arms import ARMS
from numpy.typing import NDArray
from ways import WAYS

import keyturn
from keyturn.core.measurement import Estimate, Json
from keyturn.core.statistics.bootstrap import bootstrap_mean
from keyturn.core.streams import Streams
from keyturn.measures.contract import Tables
from keyturn.measures.paired import Paired
from keyturn.measures.routing_execution import RoutingExecutionConfig, measure_routing_execution
from keyturn.measures.verdict import Verdict
from keyturn.rollouts.grades import Answers

K = 16
"""Budget of the verdict."""
FORMS = ("no ####", "####")
"""How an answer ends for the grader: without the marker it is never right."""

SHOWN = ("outcome", "length", "truncated", "entropy/all", "groups/mixed")
"""What is shown of a training step."""

Rates = NDArray[np.float64]


def lenient(given: Answers) -> Answers:
    """The same draws, where the last number is the answer."""
    return replace(given, outcome=np.asarray(given.columns["lenient"], dtype=np.float32))


def formed(given: Answers) -> NDArray[np.bool_]:
    """Whether each draw gives an answer in the form, right or wrong, ``[row]``."""
    return np.array([bool(answer) for answer in given.answer])


def share_formed(given: Answers) -> Rates:
    """Share of the draws in the form, ``[problem]``."""
    return given.rates(formed(given).astype(np.float32))


def mean(values: Rates, *, low: float = 0.0) -> Estimate:
    """Mean over problems with its interval; a difference has ``low`` -1."""
    return bootstrap_mean(values, Streams(0).generator("over problems"), bounds=(low, 1.0))


def told(found: Estimate, problems: int | None = None) -> dict[str, Json]:
    """An estimate as it stands in the file."""
    rounded = {name: round(float(getattr(found, name)), 4) for name in ("value", "low", "high")}
    known: dict[str, Json] = {name: None if np.isnan(value) else value for name, value in rounded.items()}
    return known if problems is None else {**known, "problems": problems}


def first_three(given: Answers) -> Rates:
    """Share of the draws that answer with the sum of the first three numbers, ``[problem]``."""
    wanted = [str(sum(map(int, re.findall(r"\d+", problem.id)[:3]))) for problem in given.problems]
    said = [answer == wanted[index] for answer, index in zip(given.answer, given.problem, strict=True)]
    return given.rates(np.array(said, dtype=np.float32))


def by_kind(base: Answers, tuned: Answers) -> dict[str, Json]:
    """Success by kind of problem, strictly and leniently read, and the gain over the base."""
    kinds = np.array([samples.kind_of(dict(problem.cell)) for problem in base.problems])
    found: dict[str, Any] = {}
    for kind in dict.fromkeys(kinds.tolist()):
        where = kinds == kind
        rates = {"strict": tuned.rates(), "lenient": lenient(tuned).rates(), "in the form": share_formed(tuned)}
        found[kind] = {
            "problems": int(where.sum()),
            **{name: told(mean(values[where])) for name, values in rates.items()},
            "gain": told(mean(tuned.rates()[where] - base.rates()[where], low=-1.0)),
        }
        if kind in ("sums of four", "sums of five"):
            found[kind]["the first three only"] = told(mean(first_three(tuned)[where]))
    return found


def arms(folder: Path, group: str = "test") -> list[Json]:
    """Success of every arm on test problems, in the order of the study."""
    known = samples.drawn(folder, group)
    rows: list[Json] = []
    for arm in ARMS:
        if arm.name not in known:
            continue
        base, tuned = samples.paired(folder, group, "base", arm.name)
        row: dict[str, Json] = {"arm": arm.name, "learns from": arm.says, "kinds": by_kind(base, tuned)}
        history = folder / f"{group}-history-{arm.name}.jsonl"
        if history.exists():
            steps = [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]
            row["history"] = [{name: round(step[name], 4) for name in SHOWN if name in step} for step in steps]
        rows.append(row)
    return rows


def ways(folder: Path) -> list[Json]:
    """Success of base and tuned policy on sums of three under every way of asking."""
    rows: list[Json] = []
    for way in WAYS:
        for policy in samples.drawn(folder, f"way-{way.name}-of"):
            given = samples.paired(folder, f"way-{way.name}-of", policy, policy)[0]
            row: dict[str, Json] = {"way": way.name, "sees": way.says, "policy": policy}
            row |= {"strict": told(mean(given.rates())), "lenient": told(mean(lenient(given).rates()))}
            rows.append(
                {**row, "in the form": told(mean(share_formed(given))), "problems": len(given.problems)}
            )
    return rows


def judged(base: Answers, tuned: Answers) -> Verdict:
    """The verdict at K on two tables."""
    return keyturn.judge(base, tuned, k=K)


def in_words(found: Verdict) -> dict[str, Json]:
    """A verdict as it stands in the file."""
    parts = ("gain", "deployed", "created", "undecided", "base", "tuned")
    return {
        "label": found.label,
        "why": found.why,
        "problems": int(found.problems),
        "k": found.k,
        "masses": {name: told(found.masses[name]) for name in parts},
        "shares": {name: told(one) for name, one in found.shares.items()},
        "cautions": [caution.text for caution in found.cautions],
        "needed": found.needed,
    }


def three(given: Answers) -> Answers:
    """The draws of sums of three numbers."""
    return given.of_problems(np.flatnonzero([problem.cell["depth"] == 3 for problem in given.problems]))


def split(base: Answers, tuned: Answers) -> dict[str, Json]:
    """The gain in two parts: writing the form more often, and being right in it more often."""

    def named(given: Answers) -> Answers:
        names = np.array(FORMS, dtype=object)[formed(given).astype(int)]
        return replace(given, columns={**given.columns, "format": names})

    pair = Paired(base=named(base), tuned=named(tuned))
    tables = Tables(streams=Streams(0).child("format"), paired=pair)
    parts = measure_routing_execution(tables, RoutingExecutionConfig(over=("format",)))
    found: dict[str, Json] = {}
    for one in parts:
        if "part" in one.parameters:
            found[f"{one.name} {one.parameters['part']}"] = told(Estimate(one.value, one.low, one.high))
    return found


def only_formed(base: Answers, tuned: Answers) -> tuple[Answers, Answers]:
    """The draws in the form alone, of problems where both policies have some."""
    base, tuned = base.select(formed(base)), tuned.select(formed(tuned))
    both = np.flatnonzero((base.counts()[0] > 0) & (tuned.counts()[0] > 0))
    return base.of_problems(both), tuned.of_problems(both)


def pair(folder: Path, tuned_name: str = "RL-0") -> dict[str, Json]:
    """The verdict of the pair: as the grader reads, leniently, and with the form taken out."""
    base, tuned = samples.paired(folder, "pair", "base", tuned_name)
    first, second = three(base), three(tuned)
    inside = only_formed(first, second)
    kept = len(inside[0].problems)
    cells = {}
    for kind in dict.fromkeys(samples.kind_of(dict(problem.cell)) for problem in base.problems):
        index = np.flatnonzero([samples.kind_of(dict(p.cell)) == kind for p in base.problems])
        cells[kind] = in_words(judged(base.of_problems(index), tuned.of_problems(index)))
    reached = {"base": first.counts()[1] > 0, "tuned": second.counts()[1] > 0}
    return {
        "tuned": tuned_name,
        "draws": {"base": int(base.counts()[0].max()), "tuned": int(tuned.counts()[0].max())},
        "all sums": in_words(judged(base, tuned)),
        "by kind": cells,
        "sums of three": {
            "right at least once": {name: int(some.sum()) for name, some in reached.items()},
            "strict": in_words(judged(first, second)),
            "lenient": in_words(judged(lenient(first), lenient(second))),
            "in the form": {**in_words(judged(*inside)), "problems with such draws": kept},
            "share of draws in the form": {
                "base": told(mean(share_formed(first))),
                "tuned": told(mean(share_formed(second))),
            },
            "format": split(first, second),
        },
    }


def said(estimate: Any) -> str:
    """``.42 [.30, .55]``."""
    if estimate["value"] is None:
        return "undefined"
    ends = "" if estimate["low"] is None else f" [{estimate['low']:.2f}, {estimate['high']:.2f}]"
    return f"{estimate['value']:.2f}{ends}"


def verdict_line(folder: Path) -> str:
    """The first of the three numbers: the verdict on sums of three, and how much of the gain is form."""
    found: Any = pair(folder)["sums of three"]
    strict, shares = found["strict"], found["strict"]["shares"]
    form = found["format"].get("routing_execution_share routing", {"value": None})
    return (
        f"{strict['label']} at K = {strict['k']}: gain {said(strict['masses']['gain'])}"
        f" on {strict['problems']} sums of three; deployed {said(shares['deployed'])},"
        f" created {said(shares['created'])},"
        f" undecided {said(shares['undecided'])}; share of the gain that is format {said(form)}"
    )


def gain_line(folder: Path, arm: str) -> str:
    """The gain of an arm on sums of three, beside that of RL on the right answer."""
    parts = []
    for name in (arm, "RL-0"):
        base, tuned = samples.paired(folder, "test", "base", name)
        found: Any = by_kind(base, tuned)["sums of three"]
        parts.append(f"{name} {said(found['gain'])} (success {said(found['strict'])})")
    return f"gain over the base on {found['problems']} sums of three: {', '.join(parts)}"


NUMBERS: dict[str, Callable[[Path], str]] = {
    "verdict": verdict_line,
    "one-example": lambda folder: gain_line(folder, "one-example"),
    "random-reward": lambda folder: gain_line(folder, "random-reward"),
}
"""The three numbers that decide, each by one command."""


def everything(folder: Path) -> dict[str, Json]:
    """All numbers of a folder of sample files; parts that were not drawn are left out."""
    found: dict[str, Json] = {"arms": arms(folder), "ways": ways(folder)}
    if samples.drawn(folder, "pair"):
        found["pair"] = pair(folder)
    if samples.drawn(folder, "second"):
        found["second"] = arms(folder, "second")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("number", nargs="?", choices=list(NUMBERS))
    given = parser.parse_args()
    if given.number:
        print(NUMBERS[given.number](given.folder))
    else:
        print(json.dumps(everything(given.folder), indent=1))


if __name__ == "__main__":
    main()
