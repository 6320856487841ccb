"""Evidence: the record that one run of a claim's study leaves. Records are appended, never edited.

A record is identified by its declared run: claim, protocol, base, the user's models and problems, seed and
profile (:attr:`Evidence.run_key`). Its time, folder and machine are no part of its identity, so a repeated run
counts once: equal numbers add nothing new, and other numbers become one record of their mean that keeps the
spread (:func:`merged`). The version of the code is no part of the identity either: a protocol's version says
that the numbers of two runs may be compared, so the same seed on later code is the same run again.

:mod:`keyturn.atlas.store` stores records on disk.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Literal, TypeAlias

import keyturn
from keyturn.atlas.contract import Claim
from keyturn.core.errors import NumericsError
from keyturn.core.identity import identity
from keyturn.core.measurement import Estimate, Json, json_number
from keyturn.core.rundir import read_json
from keyturn.experiments.contract import Outcome, Subject
from keyturn.policies.model_folder import WORLD

RECORD_SCHEMA = 2
"""Version of a record. Records of schema 1 were named by their clock and folder; they are read as of today."""

Kind: TypeAlias = Literal["shipped", "mine", "imported", "reported"]
Basis: TypeAlias = Literal["exact", "problems"]

UNDEFINED = Estimate(math.nan)
MADE = "made by the study"
"""Name of the base of a study that makes its bases itself."""


@dataclass(frozen=True, kw_only=True, order=True)
class Origin:
    """Where a record comes from.

    Args:
        kind: ``shipped`` with keyturn, ``mine`` (made in this home), ``imported``, or ``reported`` (a published
            number, which never enters a verdict).
        whom: from whom it was imported, or the source of what was reported.
    """

    kind: Kind
    whom: str = ""

    def to_json(self) -> dict[str, Json]:
        """Flat."""
        return {"kind": self.kind, "whom": self.whom}


MINE = Origin(kind="mine")
SHIPPED = Origin(kind="shipped")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One record.

    Args:
        claim, version, claim_hash: which claim, and the hash of its protocol when the run was made.
        base: fingerprint of the base; records of one base form one cluster.
        base_name: the base's name, for people.
        base_made: the study made the base itself, so that the declared run names none.
        tuned, problems: fingerprints of a tuned model and of problems that were brought; empty where the study
            makes them.
        seed: root of the run's streams.
        profile: ``short`` or ``long``.
        numbers: estimands, gates and controls.
        basis: number -> what it rests on where that is not the usual (seeds, or what the study drew again):
            ``exact`` for a number that is computed and not estimated, ``problems`` for an interval over
            problems, since seeds showed no spread.
        n: problems behind the estimand.
        run: the run directory, relative to the home, or its name.
        environment: versions and device; of a base that was brought, its world, where it has one.
        made: UTC time, for people; verdicts do not read it.
        code: version of all code behind the study; "" where it was not noted.
        origin: where the record comes from; no part of what is written.
        parts: the records that a repeated run left, of which this one is the mean; empty for a run made once.
    """

    claim: str
    version: int
    claim_hash: str
    base: str
    base_name: str
    seed: int
    numbers: Mapping[str, Estimate]
    n: int
    run: str
    environment: Mapping[str, str]
    made: str
    base_made: bool = False
    tuned: str = ""
    problems: str = ""
    profile: str = "short"
    basis: Mapping[str, Basis] = field(default_factory=dict)
    code: str = ""
    origin: Origin = MINE
    parts: tuple[Evidence, ...] = ()

    @property
    def run_key(self) -> tuple[str, str, str, str, str, int, str]:
        """The declared run; equal keys are repetitions of one run."""
        base = "" if self.base_made else self.base
        return self.claim, self.claim_hash, base, self.tuned, self.problems, self.seed, self.profile

    @cached_property
    def id(self) -> str:
        """Hash of the declared run, 16 hexadecimal digits."""
        names = ("claim", "claim_hash", "base", "tuned", "problems", "seed", "profile")
        return identity(dict(zip(names, self.run_key, strict=True)), length=16)

    def is_of(self, base: str) -> bool:
        """Whether the run's base is the one of that name, or another one of the world of that name."""
        return base in (self.base_name, self.environment.get("world"))

    @property
    def digest(self) -> str:
        """Hash of all content: a record that was edited by accident no longer carries it."""
        return digest_of(canonical(self.content()))

    @property
    def repeats(self) -> int:
        """How many times the run was made with numbers of its own."""
        return max(len(self.parts), 1)

    def deciding(self, name: str) -> Estimate:
        """A number as far as it can decide something.

        An interval without width says that a few seeds agreed, not that nothing could be otherwise: such a
        number, and one without an interval, keeps its value and has no interval, unless it is declared exact.
        """
        number = self.numbers.get(name, UNDEFINED)
        if self.basis.get(name) == "exact":
            return Estimate(number.value, number.value, number.value)
        return number if number.low < number.high else Estimate(number.value)

    def reproduction(self, name: str) -> tuple[float, float] | None:
        """Smallest and largest value of a number over repetitions of this run; None for a run made once."""
        found = [one.numbers[name].value for one in self.parts if name in one.numbers]
        found = [value for value in found if not math.isnan(value)]
        return (min(found), max(found)) if len(found) > 1 else None

    def content(self) -> dict[str, Json]:
        """What is written, and what the digest is the hash of."""
        return {
            "schema": RECORD_SCHEMA,
            **{name: getattr(self, name) for name in TEXTS},
            "version": self.version,
            "base_made": self.base_made,
            "seed": self.seed,
            "n": self.n,
            "numbers": {name: self._cell(name) for name in self.numbers},
            "environment": dict(self.environment),
        }

    def to_json(self) -> dict[str, Json]:
        """The content with id, origin and, of a run that was repeated, the spread of every number."""
        spread = {name: self.reproduction(name) for name in self.numbers}
        own: dict[str, Json] = {"id": self.id, "origin": self.origin.to_json(), **self.content()}
        if self.parts:
            own["reproduction"] = {
                "repeats": self.repeats,
                "origins": [origin.to_json() for origin in sorted({one.origin for one in self.parts})],
                "spread": {name: list(ends) for name, ends in spread.items() if ends},
            }
        return own

    def _cell(self, name: str) -> dict[str, Json]:
        number = self.numbers[name]
        ends: dict[str, Json] = {end: json_number(getattr(number, end)) for end in ("value", "low", "high")}
        return ends | ({"basis": self.basis[name]} if name in self.basis else {})


TEXTS = (
    "claim",
    "claim_hash",
    "base",
    "base_name",
    "tuned",
    "problems",
    "profile",
    "run",
    "made",
    "code",
)
"""Fields of a record that are text."""


def canonical(content: Mapping[str, Json]) -> str:
    """The one text of a record: what is hashed, and what is written after the digest."""
    return json.dumps(content, sort_keys=True, allow_nan=False)


def digest_of(text: str) -> str:
    """Hash of a record's text, 32 hexadecimal digits."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _world(base: str) -> dict[str, str]:
    """The world of a base that lies in a folder, by name; nothing where it has none."""
    path = Path(base) / WORLD
    return {"world": str(read_json(path)["name"])} if base and path.is_file() else {}


def record(claim: Claim, subject: Subject, outcome: Outcome, *, home: Path | None = None) -> Evidence:
    """The record of one outcome.

    Args:
        claim: whose study was run.
        subject: what it was run on.
        outcome: what it found.
        home: the run directory is named relative to it.

    Raises:
        NumericsError: an interval of the study cannot be; nothing is recorded.
    """
    for name, number in outcome.numbers.items():
        said = wrong(number)
        if said:
            raise NumericsError(
                f"the study of {claim.id} gave {name} {said}; nothing was recorded",
                fix="this is a bug of the study: report it with the command",
            )
    made_there = not (subject.base or claim.default.base)
    return Evidence(
        claim=claim.id,
        version=claim.version,
        claim_hash=claim.hash,
        base=outcome.base,
        base_name=MADE if made_there else outcome.base_name,
        base_made=made_there,
        seed=subject.seed,
        profile=subject.profile,
        numbers=outcome.numbers,
        basis={
            name: "exact" if name in outcome.exact else "problems"
            for name in outcome.numbers
            if name in outcome.exact | outcome.over_problems
        },
        tuned=outcome.tuned,
        problems=outcome.given_problems,
        n=outcome.n,
        run=run_name(outcome.run, home),
        environment={
            "keyturn": keyturn.__version__,
            "python": platform.python_version(),
            "torch": metadata.version("torch"),
            "machine": platform.machine(),
            **_world(subject.base),
        },
        made=datetime.now(UTC).isoformat(timespec="microseconds"),
        code=claim.code.hash,
    )


def run_name(run: str, home: Path | None) -> str:
    """A run directory without private parts of its path: relative to the home, or its last part."""
    path = Path(run)
    if home is not None:
        absolute, root = path.absolute(), home.absolute()
        if absolute.is_relative_to(root):
            return absolute.relative_to(root).as_posix()
    return path.name


def wrong(number: Estimate) -> str:
    """The fault of a number and its interval, in words; undefined ones are valid."""
    if number.low <= number.value <= number.high and number.high - number.low < math.inf:
        return ""
    shown = f"{number.value:g} [{number.low:g}, {number.high:g}]"
    if any(math.isinf(end) for end in (number.value, number.low, number.high)):
        return f"as {shown}, which is not finite"
    if math.isnan(number.low) != math.isnan(number.high):
        return f"as {shown}, half an interval"
    if math.isnan(number.value) and not math.isnan(number.low):
        return f"as {shown}, an interval of no value"
    if number.low > number.high:
        return f"as {shown}, which is upside down"
    # A percentile interval of a skewed estimate may pass its value by, but not from afar.
    width = number.high - number.low + 1e-9
    if number.value < number.low - width or number.value > number.high + width:
        return f"as {shown}, far from its interval"
    return ""


def merged(records: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """Records of which each counts once: repetitions of one declared run are put together.

    Equal numbers are one record, the earliest. Other numbers are one record of their mean, whose ``parts`` are
    the records that differ. The order of the input decides nothing but the order of the output.
    """
    runs: dict[tuple[str, str, str, str, str, int, str], list[Evidence]] = {}
    for one in records:
        runs.setdefault(one.run_key, []).append(one)
    return tuple(group[0] if len(group) == 1 else _mean(group) for group in runs.values())


def _mean(group: list[Evidence]) -> Evidence:
    """One record of several repetitions of a run."""
    parts: dict[str, Evidence] = {}
    for one in sorted((part for whole in group for part in whole.parts or (whole,)), key=_age):
        numbers = sorted((name, x.value, x.low, x.high) for name, x in one.numbers.items())
        parts.setdefault(repr((one.n, numbers)), one)
    first, *others = parts.values()
    if not others:
        return first
    every = tuple(parts.values())
    names = [name for name in first.numbers if all(name in one.numbers for one in others)]
    return replace(
        first,
        numbers={name: _average([one.numbers[name] for one in every]) for name in names},
        basis={name: first.basis[name] for name in names if all(name in one.basis for one in every)},
        n=min(one.n for one in every),
        parts=every,
    )


def _age(one: Evidence) -> tuple[str, str]:
    return one.made, one.digest


def _average(found: list[Estimate]) -> Estimate:
    """The mean of values and of ends; undefined where one is."""
    value, low, high = (
        math.fsum(getattr(x, end) for x in found) / len(found) for end in ("value", "low", "high")
    )
    return Estimate(value, low, high)
