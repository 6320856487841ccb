"""A certified lower bound of the base's success probability: what it could have said itself.

    p_i  >=  sum over distinct verified completions y of problem i of  P_base(y | prompt_i)

Completions are distinct by their token sequence, the end-of-sequence token included. It does not matter which
policy gave ``y``: the events "the base says y" are disjoint, and all of them are successes. If every valid
completion is in the sum (CHAIN has one trace, GRAPH up to three operations can be enumerated), the bound is
the probability itself. Denominator: one problem. Degenerate: without a verified completion the bound is 0,
which is true of any probability. Known bias: the bound is below p by the mass of the successes that nobody
gave. It holds for sampling at temperature 1 from the whole distribution, because that is what the
log-probabilities describe. Completions that were cut, or that are longer than the base may speak, are left
out. Log-probabilities are stored in float32; each is first lowered by its own rounding error, so that storage
never lifts the sum above the truth.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from keyturn.core.errors import InputError
from keyturn.measures.contract import TokenShift
from keyturn.rollouts.completions import Completions, Stop
from keyturn.rollouts.grades import Grades

_STORAGE = float(np.finfo(np.float32).eps)


def certified_bound(
    completions: Completions,
    logprobs: NDArray[np.float32] | NDArray[np.float64],
    verified: NDArray,
    *,
    max_new_tokens: int | None = None,
) -> NDArray[np.float64]:
    """Certified lower bound of the success probability of the policy whose log-probabilities these are.

    Args:
        completions: given by anyone, each ending with its end-of-sequence token.
        logprobs: of each token under the base at temperature 1, ``[token]``.
        verified: which rows are successes (bool, or 1 / 0 / NaN), ``[row]``.
        max_new_tokens: what the base may say at most; longer completions are left out.

    Returns:
        float64 ``[problem]``, in the order of ``completions.prompts``.

    Raises:
        InputError: a log-probability above 0.
    """
    found = _distinct(completions, logprobs, verified, max_new_tokens)
    return _mass(found, len(completions.prompts))


def bound_of(shifts: Iterable[TokenShift], *, max_new_tokens: int | None = None) -> NDArray[np.float64] | None:
    """The same bound from any number of token tables over one list of problems.

    Args:
        shifts: tables with grades; those without are left out.
        max_new_tokens: what the base may say at most.

    Returns:
        float64 ``[problem]``, None where no table carries grades.
    """
    found: dict[tuple[int, bytes], float] = {}
    size = None
    for shift in shifts:
        if shift.grades is None:
            continue
        size = len(shift.completions.prompts)
        success = success_of(shift.grades)
        more = _distinct(shift.completions, shift.base_logprobs, success, max_new_tokens)
        found.update({key: min(logprob, found.get(key, np.inf)) for key, logprob in more.items()})
    return None if size is None else _mass(found, size)


def success_of(grades: Grades) -> NDArray[np.float32]:
    """Verified where traces were read, else the outcome; float32 ``[row]``."""
    return grades.verified if np.isfinite(grades.verified).any() else grades.outcome


def row_logprobs(completions: Completions, logprobs: NDArray) -> NDArray[np.float64]:
    """Log-probability of each whole completion, summed in float64; ``[row]``, 0 for an empty one."""
    weights = np.asarray(logprobs, dtype=np.float64)
    return np.bincount(completions.token_row, weights=weights, minlength=len(completions)).astype(np.float64)


def _distinct(
    completions: Completions, logprobs: NDArray, verified: NDArray, max_new_tokens: int | None
) -> dict[tuple[int, bytes], float]:
    """Log-probability of each distinct success, keyed by problem and token sequence."""
    lowered = np.asarray(logprobs, dtype=np.float64)
    if np.any(lowered > 1e-4):
        raise InputError(
            "a log-probability is above 0", fix="score the completions again, at temperature 1 and in float32"
        )
    if np.asarray(logprobs).dtype == np.float32:
        lowered = lowered - np.abs(lowered) * _STORAGE
    total = row_logprobs(completions, np.minimum(lowered, 0.0))
    usable = (np.asarray(verified) == 1) & (completions.stop == Stop.EOS) & (completions.lengths > 0)
    usable &= np.isfinite(total) | np.isneginf(total)
    if max_new_tokens is not None:
        usable &= completions.lengths <= max_new_tokens
    found: dict[tuple[int, bytes], float] = {}
    for row in np.flatnonzero(usable).tolist():
        key = (int(completions.problem[row]), completions.row(row).tobytes())
        # Two passes over the same tokens differ in the last bits: the lower one still bounds.
        found[key] = min(found.get(key, np.inf), float(total[row]))
    return found


def _mass(found: dict[tuple[int, bytes], float], size: int) -> NDArray[np.float64]:
    bound = np.zeros(size)
    terms: dict[int, list[float]] = {}
    for (problem, _), logprob in found.items():
        terms.setdefault(problem, []).append(logprob)
    for problem, logs in terms.items():
        bound[problem] = min(1.0, float(np.exp(logsumexp(logs))))
    return bound
