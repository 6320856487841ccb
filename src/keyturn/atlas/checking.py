"""What can be checked of a bundle: that its numbers follow from its rows, and its rows from its draws.

That a record carries its hash says only that nobody changed it by accident. A number that follows from the rows
behind it is one step further; one whose rows follow from draws that were graded again here is two, and a step
short of running the study again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keyturn.atlas import CLAIMS
from keyturn.atlas.bundle import Bundle
from keyturn.atlas.evidence import Evidence
from keyturn.atlas.regrading import regraded
from keyturn.core.errors import UsageError
from keyturn.core.measurement import Estimate
from keyturn.core.progress import progress
from keyturn.experiments.plan import ArmRun, contrast, level

CLOSE = 5e-5
"""Rows are rounded to five digits, and an interval of three seeds magnifies what is lost."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was found of one record.

    Args:
        evidence: the record.
        protocol: whether its claim is known here under the same protocol.
        followed: numbers that follow from the rows in the bundle.
        wrong: what does not, one sentence each.
        left: numbers that the rows in the bundle cannot show.
        draws: how many draws were graded again here.
        regraded: numbers that follow from these draws: by the rows that the draws give, or directly.
        ungraded: why draws could not be graded again, one sentence each.
    """

    evidence: Evidence
    protocol: bool
    followed: tuple[str, ...]
    wrong: tuple[str, ...]
    left: tuple[str, ...]
    draws: int = 0
    regraded: tuple[str, ...] = ()
    ungraded: tuple[str, ...] = ()


def check(bundle: Bundle) -> tuple[Checked, ...]:
    """Check every record of a bundle, in order of claims; draws in it are graded again.

    Raises:
        InputError: draws are not what they must be.
    """
    ordered = sorted(bundle.records, key=lambda one: (one.claim, one.digest))
    found = []
    with progress("records checked", len(ordered)) as advance:
        for one in ordered:
            found.append(_checked(one, bundle.behind.get(one.digest, {}), bundle.draws.get(one.digest, {})))
            advance(1)
    return tuple(found)


def _checked(one: Evidence, behind: Mapping[str, Any], draws: Mapping[str, bytes]) -> Checked:
    claim = CLAIMS.get(one.claim)
    by_rows = {made.key: made for made in _from_rows(behind) if made.key in one.numbers}
    followed = [name for name, made in by_rows.items() if _same(one, name, made.estimate)]
    again = regraded(one, behind, draws)
    by_draws = [name for name in followed if by_rows[name].needs <= again.runs]
    numbers = [name for name in one.numbers if name in by_draws or name in again.numbers]
    return Checked(
        evidence=one,
        protocol=claim is not None and claim.hash == one.claim_hash,
        followed=tuple(followed),
        wrong=(
            *again.wrong,
            *(
                f"{name} is {_shown(one.numbers[name])} in the record and {_shown(made.estimate)} by its rows"
                for name, made in by_rows.items()
                if name not in followed
            ),
        ),
        left=tuple(name for name in one.numbers if name not in by_rows and name not in numbers),
        draws=again.draws,
        regraded=tuple(numbers),
        ungraded=again.left,
    )


def _same(one: Evidence, name: str, made: Estimate) -> bool:
    """Whether a number follows from the rows: its value, and its interval where seeds made it."""
    number = one.numbers[name]
    ends = [(number.value, made.value)]
    if name not in one.basis and not math.isnan(made.low):
        ends += [(number.low, made.low), (number.high, made.high)]
    return all(math.isclose(was, now, abs_tol=CLOSE, rel_tol=1e-3) for was, now in ends)


def _shown(number: Estimate) -> str:
    return f"{number.value:.4g} [{number.low:.4g}, {number.high:.4g}]"


@dataclass(frozen=True, kw_only=True)
class _Made:
    """A number of a record by its rows.

    Args:
        key: its name.
        estimate: the number.
        needs: ``(arm, seed, number)`` of the rows that it is made of.
    """

    key: str
    estimate: Estimate
    needs: frozenset[tuple[str, str, str]]


def _from_rows(behind: Mapping[str, Any]) -> Iterator[_Made]:
    """Every number that is a level of an arm or a difference of two, by the rows."""
    runs = list(_runs(behind.get("rows", ())))
    for line in behind.get("contrasts", ()):
        key, name = line.get("key"), line.get("name")
        if not isinstance(key, str) or not isinstance(name, str) or ": " not in name:
            continue
        number, arms = name.split(": ", 1)
        named = {run.arm for run in runs if run.numbers.get(number) is not None}
        try:
            if arms in named:
                found, used = level(runs, arms, number), (arms,)
            else:
                used = next((arm, other) for arm in named for other in named if arms == f"{arm} - {other}")
                found = contrast(runs, *used, number)
        except (StopIteration, UsageError):
            continue
        if math.isfinite(found.value):
            needs = frozenset((run.arm, str(run.seed), number) for run in runs if run.arm in used)
            yield _Made(key=key, estimate=found.estimate, needs=needs)


def _runs(rows: Sequence[Mapping[str, Any]]) -> Iterator[ArmRun]:
    """The chosen runs among rows; a row that is none is left out."""
    own = ("arm", "lr", "seed", "chosen", "validation")
    for row in rows:
        if row.get("chosen") is not True or type(row.get("arm")) is not str or type(row.get("seed")) is not int:
            continue
        lr = row.get("lr")
        yield ArmRun(
            arm=row["arm"],
            lr=float(lr) if isinstance(lr, int | float) else math.nan,
            seed=row["seed"],
            chosen=True,
            validation=math.nan,
            numbers={
                name: float(value)
                for name, value in row.items()
                if name not in own and type(value) in (int, float)
            },
        )
