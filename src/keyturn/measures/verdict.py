"""The verdict of an audit: the record that `deployed_created` makes and that every surface shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Estimate, Json

Label: TypeAlias = Literal[
    "nothing measured",
    "no change",
    "worse",
    "narrowed",
    "undecided",
    "mixed",
    "created",
    "deployed",
    "deployed (elicited)",
]
CoverageLabel: TypeAlias = Literal["expanded", "kept", "narrowed", "crossing", "undecided"]
Range: TypeAlias = tuple[int, int]
"""Smallest and largest budget k of a stretch, both included."""

REACHABLE, UNREACHABLE, UNDECIDED, AT_CHANCE = 1, 0, -1, 2


@dataclass(frozen=True, kw_only=True)
class Caution:
    """A reason to distrust a verdict; it is shown beside it.

    Args:
        kind: a short name, e.g. ``"truncated"``, ``"floor"``, ``"few problems"``, ``"copies"``.
        text: one sentence with its numbers.
    """

    kind: str
    text: str

    def to_json(self) -> dict[str, Json]:
        """``{kind, text}``."""
        return {"kind": self.kind, "text": self.text}


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Where the tuned policy's pass@k is surely above or below the base's, over all k that the draws allow.

    Args:
        label: ``expanded`` (surely above at large k, below nowhere), ``narrowed`` (surely below at the
            largest k or somewhere, above nowhere beyond it), ``crossing`` (above at some k and below at a
            larger one), ``kept`` (every large k within the margin and surely apart nowhere), ``undecided``
            else.
        above, below: ranges of k where the simultaneous band lies above or below 0; elsewhere it is unknown.
        k_max: largest k compared, 0 where nothing was.
        first_loss: confidence set of the smallest k at which the base is ahead, ``(low, high)``; ``high`` is
            ``None`` where no loss is sure up to ``k_max``; ``None`` where the tuned policy is surely ahead at
            every k.
        largest: largest difference where it is sure, 0 where it is nowhere.
        sentence: all of this in words.
    """

    label: CoverageLabel
    above: tuple[Range, ...] = ()
    below: tuple[Range, ...] = ()
    k_max: int = 0
    first_loss: tuple[int, int | None] | None = None
    largest: float = 0.0
    sentence: str = ""

    def to_json(self) -> dict[str, Json]:
        """All fields."""
        return {
            "label": self.label,
            "above": [list(one) for one in self.above],
            "below": [list(one) for one in self.below],
            "k_max": self.k_max,
            "first_loss": None if self.first_loss is None else list(self.first_loss),
            "largest": self.largest,
            "sentence": self.sentence,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdict:
    """What post-training changed on one list of problems (one cell, or pooled).

    Args:
        label: the verdict.
        coverage: where pass@k of the tuned policy is surely above, unknown or surely below the base's.
        why: one sentence with the deciding numbers.
        k: the budget K: what the base does within K draws, it could already do.
        n_base: base draws that stand behind it (largest number per problem).
        problems: how many problems were judged.
        masses: ``deployed``, ``created``, ``undecided`` and, where chance is known, ``at_chance`` (they sum to
            ``gain``), ``gain``, ``gross_gain``, ``gross_loss``, ``base`` and ``tuned`` (mean success); with
            elicitation also ``elicited``, the part of ``deployed`` that only elicitation reaches.
        shares: ``deployed``, ``created``, ``undecided`` (and ``at_chance``) of the gain; undefined unless its
            interval lies above 0.
            ``routing`` and ``execution`` are filled in by the audit from `routing_execution`; with elicitation
            also ``created_before_elicitation``.
        classes: REACHABLE / UNREACHABLE / UNDECIDED / AT_CHANCE per problem, by most of the cuts of the base's
            draws, int8 ``[problem]``. Masses weigh each problem by all cuts, so they are close to the sums over
            these classes, not equal.
        base_p, tuned_q: estimated success per problem, float64 ``[problem]``; NaN for a problem that lacks a
            graded draw of either policy, which is not judged.
        curve: the created share against the budget: rows of (k, share, low, high); NaN share where undefined.
        flips_at: smallest k of the curve whose label differs from the one at K; NaN where none does.
        unit: ``"verified"`` or ``"answer"``: what counted as success.
        notes: what a reader must know beside the label, one sentence each.
        cautions: reasons to distrust it.
        needed: how many more draws or problems would decide an ``undecided``; empty where it is decided.
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
    cautions: tuple[Caution, ...] = ()
    needed: str = ""

    def __repr__(self) -> str:
        return f"Verdict({self.label} at K = {self.k}: {self.why})"

    def to_json(self) -> dict[str, Json]:
        """Label, coverage, the deciding sentence, masses, shares, notes, cautions and what is needed."""
        return {
            "label": self.label,
            "coverage": self.coverage.to_json(),
            "why": self.why,
            "unit": self.unit,
            "problems": self.problems,
            "masses": {k: v.to_json() for k, v in self.masses.items()},
            "shares": {k: v.to_json() for k, v in self.shares.items()},
            "notes": list(self.notes),
            "cautions": [caution.to_json() for caution in self.cautions],
            "needed": self.needed,
        }
