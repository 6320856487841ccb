"""The contract of a claim: a falsifiable statement, and the study that can refute it.

A claim is data and one function. The function runs the study and returns numbers. Only
:mod:`keyturn.atlas.verdict` decides whether they support the claim, by the threshold that was fixed here
before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from keyturn.atlas.relation_types import RelationType
from keyturn.core.code_version import CodeVersion, code_version
from keyturn.core.identity import identity
from keyturn.core.measurement import Estimate, Json, json_number
from keyturn.experiments.contract import Study, Subject


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A condition without which a run says nothing about the claim.

    Args:
        name: key of the study's numbers.
        says: the condition in words.
        minimum: the lower end of the number's interval must be greater; at a minimum of 0, no effect fails.
        maximum: the upper end of the number's interval must be smaller.
    """

    name: str
    says: str
    minimum: float = -math.inf
    maximum: float = math.inf

    def holds(self, number: Estimate) -> bool:
        """Whether the whole interval lies within the bounds; False for a number that is undefined or has no
        interval."""
        return number.low > self.minimum and number.high < self.maximum

    @property
    def bounds(self) -> str:
        """The bounds as text, such as ``> 0``."""
        ends = (("> ", self.minimum), ("< ", self.maximum))
        return " and ".join(f"{sign}{end:g}" for sign, end in ends if math.isfinite(end))


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """When an effect counts.

    Args:
        estimand: key of the number that decides.
        says: the number in words, with its unit.
        direction: +1 if the claim predicts a large number, -1 if a small one.
        smallest: the smallest effect of interest, on the estimand's scale, in the predicted direction.
        why: the reason for it.
    """

    estimand: str
    says: str
    direction: Literal[1, -1]
    smallest: float
    why: str


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A falsifiable statement from the literature and the study that tests it.

    Args:
        id: stable name, never used for another claim.
        version: raised whenever threshold, gates, controls or study change; evidence belongs to its version.
        question: the question that it helps to answer.
        statement: the claim, in our words.
        source: authors, year, identifier.
        threshold: the number that decides and its limit, fixed before any run.
        gates: conditions; if one is not met, the run is not applicable.
        controls: negative controls that the same run carries; a failed one makes the record invalid.
        study: ``(lab, subject) -> outcome``.
        study_says: the study in words, with its cost.
        minutes: rough minutes of the study's short profile on one core; 0 where nobody has measured it.
        default: the subject if the user names none.
        refuted_if: the result that would refute it, in words.
        relations: id of another claim -> (relation, why).
        methods: methods, experiments, objectives and rewards (keys of their dictionaries) that it is about.
        not_shown: the limits of the study, whatever its result.
    """

    id: str
    version: int
    question: str
    statement: str
    source: str
    threshold: Threshold
    gates: tuple[Gate, ...] = ()
    controls: tuple[Gate, ...] = ()
    study: Study
    study_says: str
    minutes: float = 0.0
    default: Subject = field(default_factory=Subject)
    refuted_if: str
    relations: Mapping[str, tuple[RelationType, str]] = field(default_factory=dict)
    methods: tuple[str, ...] = ()
    not_shown: str = ""

    @property
    def hash(self) -> str:
        """Identity of the protocol: the default subject and everything that decides.

        Prose, source and relations are not part of it, so evidence stays valid when a word is corrected.
        """
        protocol = {
            "id": self.id,
            "version": self.version,
            "threshold": _deciding(self.threshold),
            "gates": [_deciding(gate) for gate in self.gates],
            "controls": [_deciding(gate) for gate in self.controls],
            "default": vars(self.default),
        }
        return identity(protocol)

    @property
    def code(self) -> CodeVersion:
        """The version of all code behind the study, for information only: a record from other code still
        counts."""
        return code_version(self.study)

    def to_json(self) -> dict[str, Json]:
        """The claim as JSON, without its function."""
        return {
            "id": self.id,
            "version": self.version,
            "question": self.question,
            "statement": self.statement,
            "source": self.source,
            "threshold": _flat(self.threshold),
            "gates": [_flat(g) for g in self.gates],
            "controls": [_flat(g) for g in self.controls],
            "study": self.study_says,
            "minutes": self.minutes,
            "refuted_if": self.refuted_if,
            "relations": {k: list(v) for k, v in self.relations.items()},
        }


def _deciding(record: Gate | Threshold) -> dict[str, Json]:
    """A gate or a threshold without its texts."""
    return {name: value for name, value in _flat(record).items() if name not in ("says", "why")}


def _flat(record: Any) -> dict[str, Json]:
    return {k: json_number(v) if isinstance(v, float) else v for k, v in vars(record).items()}
