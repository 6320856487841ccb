"""The verdict of an audit: the record that `deployed_created` fills and every surface shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Estimate, Json

Label: TypeAlias = Literal[
    "no change", "narrowed", "undecided", "mixed", "created", "deployed", "deployed (elicited)"
]
Coverage: TypeAlias = Literal["expanded", "kept", "narrowed", "undecided"]

REACHABLE, UNREACHABLE, UNDECIDED = 1, 0, -1


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdict:
    """What post-training changed on one list of problems (one cell, or pooled).

    Args:
        label: the verdict.
        coverage: what happened to the set of problems solved within K draws.
        why: one sentence with the deciding numbers.
        k: the budget K: what the base does within K draws, it could already do.
        n_base: base draws that stand behind it (largest number per problem).
        problems: how many problems were judged.
        masses: ``deployed``, ``created``, ``undecided`` (they sum to ``gain``), ``gain``, ``gross_gain``,
            ``gross_loss``, ``base`` and ``tuned`` (mean success); with elicitation also ``elicited``, the part
            of ``deployed`` that only elicitation reaches.
        shares: ``deployed``, ``created``, ``undecided`` of the gain; undefined unless its interval excludes 0.
            ``routing`` and ``execution`` are filled in by the audit from `routing_execution`; with elicitation
            also ``created_before_elicitation``.
        classes: REACHABLE / UNREACHABLE / UNDECIDED per problem, by most of the cuts of the base's draws, int8
            ``[problem]``. Masses weigh each problem by all cuts, so they are close to the sums over these
            classes, not equal.
        base_p, tuned_q: estimated success per problem, float64 ``[problem]``; NaN for a problem that lacks a
            graded draw of either policy, which is not judged.
        curve: the created share against the budget: rows of (k, share, low, high); NaN share where undefined.
        flips_at: smallest k of the curve whose label differs from the one at K; NaN where none does.
        unit: ``"verified"`` or ``"answer"``: what counted as success.
    """

    label: Label
    coverage: Coverage
    why: str
    k: int
    n_base: int
    problems: int
    masses: Mapping[str, Estimate]
    shares: Mapping[str, Estimate]
    classes: NDArray[np.int8]
    base_p: NDArray[np.float64]
    tuned_q: NDArray[np.float64]
    curve: tuple[tuple[float, float, float, float], ...] = ()
    flips_at: float = float("nan")
    unit: str = "verified"
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Json]:
        """``label, coverage, why, masses, shares`` and the unit."""
        return {
            "label": self.label,
            "coverage": self.coverage,
            "why": self.why,
            "unit": self.unit,
            "problems": self.problems,
            "masses": {k: v.to_json() for k, v in self.masses.items()},
            "shares": {k: v.to_json() for k, v in self.shares.items()},
            "notes": list(self.notes),
        }
