"""Numbers that papers report, beside our own and never among them: no verdict and no state reads them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyturn.atlas.contract import Claim
from keyturn.atlas.evidence import canonical, digest_of, wrong
from keyturn.atlas.store import adding_to, shipped
from keyturn.core.errors import InputError, UsageError, unknown
from keyturn.core.jsonl import append_jsonl, lines_of
from keyturn.core.measurement import Estimate, Json, from_json_number, json_number
from keyturn.core.rundir import check_schema

REPORTED_SCHEMA = 1
_AGAIN = "delete the line and report the number again"
_SOURCE = re.compile(r"arxiv:\d{4}\.\d{4,5}(v\d+)?|doi:10\.\d{4,9}/\S+|https?://\S+", re.IGNORECASE)
_FIELDS = {"schema", "claim", "number", "value", "low", "high", "n", "source", "locator"}


@dataclass(frozen=True, kw_only=True)
class Reported:
    """One published number.

    Args:
        claim: id of the claim that it bears on.
        number: which of the claim's numbers it is to be held against.
        estimate: as the paper gives it, on the scale of the claim's number; NaN ends without an interval.
        n: how many problems, runs or models the paper counts; 0 where it does not say.
        source: ``arxiv:2504.13837``, ``doi:...`` or an address.
        locator: where in it: ``table 3``.
    """

    claim: str
    number: str
    estimate: Estimate
    n: int
    source: str
    locator: str

    def to_json(self) -> dict[str, Json]:
        """One flat line."""
        ends = {end: json_number(getattr(self.estimate, end)) for end in ("value", "low", "high")}
        return {
            "schema": REPORTED_SCHEMA,
            "claim": self.claim,
            "number": self.number,
            **ends,
            "n": self.n,
            "source": self.source,
            "locator": self.locator,
        }


def numbers_of(claim: Claim) -> tuple[str, ...]:
    """The names of a claim's numbers: what decides, gates and controls, and what else its records hold."""
    own = [claim.threshold.estimand, *(gate.name for gate in (*claim.gates, *claim.controls))]
    return tuple(dict.fromkeys([*own, *(name for one in shipped(claim.id) for name in one.numbers)]))


def report(claim: Claim, told: Reported, folder: Path) -> Path:
    """Write a published number down; the same one twice is one.

    Raises:
        UsageError: the claim has no such number, or the number or its source cannot be.
    """
    if told.number not in numbers_of(claim):
        raise unknown(f"number of {claim.id}", told.number, numbers_of(claim))
    said = "" if math.isfinite(told.estimate.value) else "no finite value"
    said = said or wrong(told.estimate)
    if said:
        raise UsageError(f"{told.number} {said}", fix="--value, and --low and --high around it or neither")
    if told.n < 0:
        raise UsageError(f"--n is {told.n}", fix="leave it out where the paper does not say")
    if not _SOURCE.fullmatch(told.source):
        raise UsageError(f"{told.source!r:.80} is no source", fix="arxiv:2504.13837, doi:10.... or an address")
    path = folder / "evidence" / "reported" / f"{claim.id}.jsonl"
    with adding_to(path):
        if told not in reported(claim.id, folder):
            text = canonical(told.to_json())
            append_jsonl(path, {"digest": digest_of(text), **told.to_json()}, flush=True)
    return path


def reported(claim: str, folder: Path) -> tuple[Reported, ...]:
    """The published numbers of a claim that were written down here.

    Raises:
        InputError: a line was edited or says what cannot be.
        NewerError: a newer keyturn wrote one.
    """
    path = folder / "evidence" / "reported" / f"{claim}.jsonl"
    return tuple(_parsed(row, f"{path}, line {number}") for number, _, row in lines_of(path))


def _parsed(row: dict[str, Any], where: str) -> Reported:
    digest = row.pop("digest", None)
    check_schema(row, where, _AGAIN, newest=REPORTED_SCHEMA)
    if row.keys() != _FIELDS or digest != digest_of(canonical(row)):
        raise InputError(f"{where}: the line was edited after it was written", fix=_AGAIN)
    return _typed(row, where)


def _typed(row: Mapping[str, Any], where: str) -> Reported:
    texts = {name: row[name] for name in ("claim", "number", "source", "locator")}
    ends: list[Json] = [row[end] for end in ("value", "low", "high")]
    plain = all(end is None or type(end) in (int, float) for end in ends)
    if not all(type(text) is str for text in texts.values()) or type(row["n"]) is not int or not plain:
        raise InputError(f"{where}: a field is of another kind", fix=_AGAIN)
    value, low, high = (from_json_number(end) for end in ends)
    estimate = Estimate(value, low, high)
    if math.isnan(estimate.value) or wrong(estimate):
        raise InputError(f"{where}: the number cannot be", fix=_AGAIN)
    return Reported(**texts, estimate=estimate, n=row["n"])
