"""What can be checked of a bundle: that its numbers follow from its rows.

That a record carries its hash says only that nobody changed it by accident. A number that follows from the rows
behind it is one step further, and a step short of running the study again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keyturn.atlas import CLAIMS
from keyturn.atlas.bundle import Bundle
from keyturn.atlas.evidence import Evidence
from keyturn.core.errors import UsageError
from keyturn.core.measurement import Estimate
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
    """

    evidence: Evidence
    protocol: bool
    followed: tuple[str, ...]
    wrong: tuple[str, ...]
    left: tuple[str, ...]


def check(bundle: Bundle) -> tuple[Checked, ...]:
    """Check every record of a bundle, in order of claims."""
    return tuple(
        _checked(one, bundle.behind.get(one.digest, {}))
        for one in sorted(bundle.records, key=lambda one: (one.claim, one.digest))
    )


def _checked(one: Evidence, behind: Mapping[str, Any]) -> Checked:
    claim = CLAIMS.get(one.claim)
    found = {name: number for name, number in _from_rows(behind) if name in one.numbers}
    followed = [name for name, number in found.items() if _same(one, name, number)]
    return Checked(
        evidence=one,
        protocol=claim is not None and claim.hash == one.claim_hash,
        followed=tuple(followed),
        wrong=tuple(
            f"{name} is {_shown(one.numbers[name])} in the record and {_shown(number)} by its rows"
            for name, number in found.items()
            if name not in followed
        ),
        left=tuple(name for name in one.numbers if name not in found),
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


def _from_rows(behind: Mapping[str, Any]) -> Iterator[tuple[str, Estimate]]:
    """Name and number, by the rows, of every number that is a level of an arm or a difference of two."""
    runs = list(_runs(behind.get("rows", ())))
    for line in behind.get("contrasts", ()):
        key, name = line.get("key"), line.get("name")
        if not isinstance(key, str) or not isinstance(name, str) or ": " not in name:
            continue
        number, arms = name.split(": ", 1)
        named = {run.arm for run in runs if run.numbers.get(number) is not None}
        try:
            if arms in named:
                found = level(runs, arms, number)
            else:
                pair = next((arm, other) for arm in named for other in named if arms == f"{arm} - {other}")
                found = contrast(runs, *pair, number)
        except (StopIteration, UsageError):
            continue
        if math.isfinite(found.value):
            yield key, found.estimate


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
