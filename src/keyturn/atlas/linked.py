"""Claims, verdicts and records as JSON-LD, in the vocabulary of schema.org, for search engines and collections.

A verdict is a ``ClaimReview`` whose rating is a word and never a score: "contradicted" is no 2 of 5, and an
interval is no opinion. A claim without a verdict has no review. A record is a ``Dataset`` of its numbers.

Source: https://schema.org/ClaimReview, https://schema.org/Dataset (schema.org 29).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from keyturn.atlas.contract import Claim
from keyturn.atlas.evidence import Evidence
from keyturn.atlas.known import Known
from keyturn.atlas.verdict import ClaimVerdict, verdict

CONTEXT = "https://schema.org"
_REVIEWED = ("supported", "contradicted", "undecided")
_AUTHOR = {"@type": "SoftwareApplication", "name": "keyturn", "applicationCategory": "ScienceApplication"}


def linked_claim(claim: Claim, said: ClaimVerdict, records: Sequence[Evidence]) -> dict[str, Any]:
    """A claim, with its verdict as a review where it has one.

    Args:
        claim: the claim.
        said: its verdict.
        records: those that the verdict counts.
    """
    text = {
        "@type": "Claim",
        "@id": f"#claim-{claim.id}",
        "name": claim.id,
        "text": claim.statement,
        "appearance": {"@type": "ScholarlyArticle", "name": claim.source, "citation": claim.source},
    }
    if said.state not in _REVIEWED:
        return {"@context": CONTEXT, "@graph": [text]}
    review = {
        "@type": "ClaimReview",
        "@id": f"#review-{claim.id}",
        "name": claim.question,
        "claimReviewed": claim.statement,
        "itemReviewed": {"@id": text["@id"]},
        "author": _AUTHOR,
        "reviewRating": {"@type": "Rating", "alternateName": _word(said), "ratingExplanation": said.why},
        **({"datePublished": max(one.made for one in records)[:10]} if records else {}),
        "isBasedOn": [{"@id": f"#record-{one.id}"} for one in records],
    }
    return {"@context": CONTEXT, "@graph": [text, review, *(_dataset(one) for one in records)]}


def linked_record(one: Evidence) -> dict[str, Any]:
    """A record as a data set of its numbers."""
    return {"@context": CONTEXT, **_dataset(one)}


def _word(said: ClaimVerdict) -> str:
    return f"{said.state}, preliminary" if said.preliminary else said.state


def _dataset(one: Evidence) -> dict[str, Any]:
    return {
        "@type": "Dataset",
        "@id": f"#record-{one.id}",
        "identifier": one.id,
        "name": f"Record of {one.claim}: base {one.base_name}, seed {one.seed}",
        "description": f"Numbers of a run of the study of {one.claim} with 95 % intervals, {one.n} problems",
        **({"dateCreated": one.made} if one.made else {}),
        "variableMeasured": [_value(name, one) for name in one.numbers],
    }


def _value(name: str, one: Evidence) -> dict[str, Any]:
    number = one.numbers[name]
    ends = {"value": number.value, "minValue": number.low, "maxValue": number.high}
    return {
        "@type": "PropertyValue",
        "name": name,
        **{key: end for key, end in ends.items() if math.isfinite(end)},
    }


def linked_claims(claims: Mapping[str, Claim], known: Known) -> dict[str, Any]:
    """All claims with their verdicts and records, as one graph."""
    return {"@context": CONTEXT, "@graph": list(_every(claims, known))}


def _every(claims: Mapping[str, Claim], known: Known) -> Iterator[dict[str, Any]]:
    for name, claim in claims.items():
        records = [one for one in known.of(name) if one.claim_hash == claim.hash]
        yield from linked_claim(claim, verdict(claim, records), records)["@graph"]


def script_text(document: Mapping[str, Any]) -> str:
    """A document as it may stand in a ``script`` element: no text in it can end the element."""
    text = json.dumps(document, ensure_ascii=False, sort_keys=True, allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
