"""The closed list of relations between notes and between claims, each with its polarity.

Polarity is what an answer and a map read: a relation speaks *for* its target, *against* it, *limits* where it
holds, or only says how the collection is built (*structure*).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

RelationType: TypeAlias = Literal[
    "extends",
    "deepens",
    "instance-of",
    "evidence-for",
    "mechanism-of",
    "explains",
    "tension",
    "contradicts-in-part",
    "qualifies",
    "reconciles",
    "part-of",
    "measured-by",
    "cites",
    "supersedes",
]
Polarity: TypeAlias = Literal["for", "against", "limits", "structure"]

POLARITY: Mapping[str, Polarity] = MappingProxyType(
    {
        "extends": "for",
        "deepens": "for",
        "instance-of": "for",
        "evidence-for": "for",
        "mechanism-of": "for",
        "explains": "for",
        "tension": "against",
        "contradicts-in-part": "against",
        "qualifies": "limits",
        "reconciles": "limits",
        "part-of": "structure",
        "measured-by": "structure",
        "cites": "structure",
        "supersedes": "structure",
    }
)
"""Type -> polarity."""

MEANING: Mapping[str, str] = MappingProxyType(
    {
        "extends": "carries it to another case",
        "deepens": "splits it into finer parts",
        "instance-of": "is a concrete case of it",
        "evidence-for": "raises its credit",
        "mechanism-of": "says by what it works",
        "explains": "says why it holds or what it consists of",
        "tension": "cannot hold with it in the same conditions",
        "contradicts-in-part": "denies one of its facts",
        "qualifies": "limits where it holds",
        "reconciles": "names the condition under which each side holds",
        "part-of": "is gathered in it",
        "measured-by": "needs that method to be judged",
        "cites": "names it without a stated relation",
        "supersedes": "replaces it",
    }
)
"""Type -> what the source does to the target."""

INVERSE: Mapping[str, str] = MappingProxyType(
    {
        "extends": "is extended by",
        "deepens": "is deepened by",
        "instance-of": "has as an instance",
        "evidence-for": "is supported by",
        "mechanism-of": "works by",
        "explains": "is explained by",
        "tension": "is in tension with",
        "contradicts-in-part": "is contradicted in part by",
        "qualifies": "is qualified by",
        "reconciles": "is reconciled by",
        "part-of": "gathers",
        "measured-by": "measures",
        "cites": "is cited by",
        "supersedes": "is superseded by",
    }
)
"""Type -> how the relation reads from its target."""

WHY_LENGTH = 160
"""Most characters of a relation's reason."""
