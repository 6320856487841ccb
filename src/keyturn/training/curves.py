"""The metrics of every RL step: flat columns, each with its denominator in :data:`COLUMNS`.

A column that has nothing to average (no token of that role, no graded row) is left out of the line, never
written as 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from keyturn.core.problem import Problem
from keyturn.core.roles import EXECUTION, PLANNING, Role
from keyturn.rollouts.completions import Completions, Stop
from keyturn.rollouts.grades import Grades

COLUMNS: dict[str, tuple[str, str]] = {
    "step": ("steps finished before this one", ""),
    "updates": ("optimiser updates of this rollout step, skipped ones included", ""),
    "lr": ("learning rate of the step", ""),
    "reward": ("mean reward", "graded rows"),
    "outcome": ("right answers", "graded rows"),
    "verified": ("right answers with a valid trace", "rows with a verdict"),
    "outcome/<cell>": ("right answers", "graded rows of the cell"),
    "verified/<cell>": ("right answers with a valid trace", "rows of the cell with a verdict"),
    "ungraded": ("rows without a reward, left out of their group", "rows"),
    "groups/right": ("groups whose rewards are all the batch's highest", "groups with a reward"),
    "groups/wrong": ("groups of one reward that is not the highest", "groups with a reward"),
    "groups/mixed": ("groups with more than one reward: those that teach", "groups with a reward"),
    "rounds": ("rounds of drawing, where dynamic sampling is on", ""),
    "groups/kept": ("groups that dynamic sampling keeps", ""),
    "factor/<term>": ("factor on the weight of a term that the objective's schedule sets", ""),
    "rows/used": ("rows that enter the backward", "rows with a reward"),
    "entropy/all": ("nats at temperature 1 at sampling time", "tokens"),
    "entropy/<role>": ("nats at temperature 1 at sampling time", "tokens of the role"),
    "probability/<role>": ("probability of the drawn token", "tokens of the role"),
    "error/<role>": ("tokens that the verifier found wrong", "tokens of the role that it judged"),
    "floor/<role>": ("known entropy floor: log of the number of valid choices, nats", "tokens that have one"),
    "share/strategy <s>": ("completions of this strategy", "rows"),
    "share/format <f>": ("completions of this format", "rows"),
    "length": ("tokens of a completion", "rows"),
    "truncated": ("completions cut at the limit", "rows"),
    "tokens": ("tokens sampled since the start of the run", ""),
    "kl/base": ("KL(policy || base), k3 on the drawn tokens, before the update, nats per token", "tokens"),
    "gap/mean": ("|sampler's - trainer's log-probability| before the first update", "tokens used"),
    "gap/max": ("the largest such difference", "tokens used"),
    "loss": ("the objective's loss, mean over the step's updates", "updates"),
    "loss/<term>": ("one term of it, before its weight", "as the objective says"),
    "grad_norm": ("global norm before clipping, mean over the step's updates", "updates"),
    "grad_norm/<term>": ("norm of one term's weighted gradient, first update of a step that is looked at", ""),
    "clipped": ("updates whose gradient was clipped", "updates"),
    "skipped": ("updates skipped as not finite", ""),
    "idle": ("updates without a row that teaches: nothing moved", ""),
    "validation": ("success on validation problems after the step, where a hook measures it", "problems"),
    "plateau": ("steps after which a hook found validation to stagnate, from then on", ""),
    "saturated": ("steps after which a hook found a metric to stay at its level, from then on", ""),
    "reset": ("1 where a hook reset the reference, the optimiser or both after the step", ""),
}
"""Column -> (what it is, its denominator). ``<...>`` stands for a name."""


def rollout_columns(
    problems: Sequence[Problem],
    completions: Completions,
    grades: Grades,
    rewards: NDArray[np.float32],
    keys: Sequence[str] = (),
) -> dict[str, float]:
    """Everything that the rollout itself tells.

    Args:
        problems: those of ``completions.prompts``, in order.
        completions: what was drawn.
        grades: what the grader said.
        rewards: NaN where ungraded, float32 ``[row]``.
        keys: of ``Problem.cell`` that tell cells apart, see :func:`cell_keys`; none gives no cell's columns.
    """
    row = {
        "reward": _mean(rewards),
        "outcome": _mean(grades.outcome),
        "verified": _mean(grades.verified),
        "ungraded": float(np.isnan(rewards).mean()),
        "length": _mean(completions.lengths),
        "truncated": float((completions.stop == Stop.LENGTH).mean()),
        "entropy/all": _mean(completions.entropies),
    }
    row |= _cells(problems, completions, grades, keys)
    row |= _groups(completions.problem, rewards)
    row |= _roles(completions, grades)
    for column in ("strategy", "format"):
        if column in grades.columns:
            row |= _shares(column, grades.columns[column])
    return _defined(row)


def cell_keys(problems: Sequence[Problem]) -> tuple[str, ...]:
    """The keys of ``Problem.cell`` with more than one value over all problems, sorted."""
    values: dict[str, set[str | int]] = {}
    for problem in problems:
        for key, value in problem.cell.items():
            values.setdefault(key, set()).add(value)
    return tuple(sorted(key for key, seen in values.items() if len(seen) > 1))


def _cells(
    problems: Sequence[Problem], completions: Completions, grades: Grades, keys: Sequence[str]
) -> dict[str, float]:
    """Pass rates of each cell, named ``depth 3``, ``context C2, depth 3``... as in the audit's tables."""
    own = [", ".join(f"{key} {p.cell[key]}" for key in keys if key in p.cell) for p in problems]
    names = np.array(own, dtype=object)[completions.problem]
    out: dict[str, float] = {}
    for name in sorted(set(names) - {""}):
        inside = names == name
        out[f"outcome/{name}"] = _mean(grades.outcome[inside])
        out[f"verified/{name}"] = _mean(grades.verified[inside])
    return out


def _groups(problem: NDArray[np.int32], rewards: NDArray[np.float32]) -> dict[str, float]:
    graded = np.isfinite(rewards)
    if not graded.any():
        return {}
    names, place = np.unique(problem[graded], return_inverse=True)
    high = np.full(len(names), -np.inf)
    low = np.full(len(names), np.inf)
    np.maximum.at(high, place, rewards[graded])
    np.minimum.at(low, place, rewards[graded])
    silent, best = high == low, high == rewards[graded].max()
    # Where every reward of the batch is the same, nothing tells right from wrong but the sign.
    if silent.all() and (high == high[0]).all():
        best = high > 0
    return {
        "groups/right": float((silent & best).mean()),
        "groups/wrong": float((silent & ~best).mean()),
        "groups/mixed": float((~silent).mean()),
    }


def _roles(completions: Completions, grades: Grades) -> dict[str, float]:
    if grades.roles is None:
        return {}
    present = [Role(role) for role in np.unique(grades.roles)]
    wanted: list[tuple[str, Iterable[Role]]] = [(r.name.lower(), (r,)) for r in present if r != Role.UNKNOWN]
    wanted += [("planning", PLANNING), ("execution", EXECUTION)]
    out: dict[str, float] = {}
    for name, members in wanted:
        inside = np.isin(grades.roles, list(members))
        out[f"entropy/{name}"] = _mean(completions.entropies[inside])
        out[f"probability/{name}"] = _mean(np.exp(completions.logprobs[inside]))
        if "error" in grades.token_columns:
            out[f"error/{name}"] = _mean(grades.token_columns["error"][inside])
        if "floor" in grades.token_columns:
            out[f"floor/{name}"] = _mean(grades.token_columns["floor"][inside])
    return out


def _shares(column: str, values: NDArray) -> dict[str, float]:
    names, counts = np.unique(values.astype(str), return_counts=True)
    return {
        f"share/{column} {name}": float(count / len(values))
        for name, count in zip(names, counts, strict=True)
        if name
    }


def _mean(values: NDArray) -> float:
    """Mean of what is known; NaN where nothing is."""
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else float("nan")


def _defined(row: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if np.isfinite(value)}
