"""Teacher-forced looks at both models: token tables, and what the base would give of its own accord.

The tables are made on a few completions a problem of each policy; the certified lower bound on all
distinct verified completions that the tuned model gave.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from keyturn.measures.contract import TokenShift
from keyturn.measures.reachability import certified_bound
from keyturn.policies.local import LocalPolicy
from keyturn.rollouts.completions import Completions, Stop
from keyturn.rollouts.grades import Grades
from keyturn.training.lab import Lab, Stage

_COLUMNS = (
    "base_logprobs",
    "tuned_logprobs",
    "base_entropies",
    "tuned_entropies",
    "base_ranks",
    "tuned_ranks",
    "kl",
    "kl_reverse",
    "flip",
)


def shift_table(
    lab: Lab,
    base: LocalPolicy,
    tuned: LocalPolicy,
    drawn_by: str,
    completions: Completions,
    grades: Grades,
    draws: int,
    parents: Sequence[Stage],
) -> TokenShift:
    """Both models on the first ``draws`` completions of every problem that one of them drew."""
    rows = completions.draw < draws
    some = completions.select(rows)
    fields = {"base": base.fingerprint, "tuned": tuned.fingerprint, "draws": draws, "by": drawn_by}

    def compute() -> dict[str, NDArray]:
        from keyturn.policies.compare import compare

        pair = compare(base, tuned, some)
        return {name: getattr(pair, name) for name in _COLUMNS}

    _, arrays = lab.arrays("compare", fields, compute, parents=parents, label="look inside")
    return TokenShift(drawn_by=drawn_by, completions=some, grades=grades.select(completions, rows), **arrays)


def certified(
    lab: Lab,
    base: LocalPolicy,
    completions: Completions,
    grades: Grades,
    parents: Sequence[Stage],
) -> NDArray[np.float64]:
    """The base's probability of the distinct verified completions that the tuned model gave.

    Args:
        lab: the run directory.
        base: scores; the bound holds for sampling from it at temperature 1, untruncated.
        completions, grades: of the tuned policy.
        parents: the stages they come from.

    Returns:
        A lower bound of the base's success probability, float64 ``[problem]``.
    """
    success = grades.verified if np.isfinite(grades.verified).any() else grades.outcome
    rows = np.flatnonzero((success == 1) & (completions.stop == Stop.EOS))
    distinct = _distinct(completions, rows)
    some = completions.select(distinct)

    def compute() -> dict[str, NDArray]:
        logprobs = base.score(some).logprobs if len(some) else np.zeros(0, dtype=np.float32)
        return {"logprobs": logprobs}

    fields = {"base": base.fingerprint, "rows": len(distinct)}
    _, arrays = lab.arrays("certify", fields, compute, parents=parents, label="look inside")
    return certified_bound(some, arrays["logprobs"], np.ones(len(some), dtype=bool))


def _distinct(completions: Completions, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    seen: set[tuple[int, bytes]] = set()
    kept: list[int] = []
    for row in rows:
        key = (int(completions.problem[row]), completions.row(int(row)).tobytes())
        if key not in seen:
            seen.add(key)
            kept.append(int(row))
    return np.array(kept, dtype=np.int64)
