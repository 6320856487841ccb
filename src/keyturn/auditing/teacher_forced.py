"""Teacher forcing through both models: token tables, and the base's probability of given completions.

The tables are made on a few completions per problem of each policy. The certified lower bound is computed
on all distinct verified completions of the tuned model. What cannot be computed (a different vocabulary,
different end tokens, a shorter context) is left out with its reason, and the audit continues.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError
from keyturn.core.problem import Problem
from keyturn.lab.lab import Lab, Stage
from keyturn.measures.contract import TokenShift
from keyturn.measures.reachability import certified_bound
from keyturn.policies.describe import stop_tokens
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Policy
from keyturn.policies.vllm_engine import VllmPolicy
from keyturn.policies.vocabularies import check_sizes, check_vocabularies
from keyturn.problems.contract import content_of
from keyturn.rollouts.completions import Completions, Stop
from keyturn.rollouts.grades import Grades

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
    problems: Sequence[Problem],
) -> TokenShift:
    """Both models, each behind its own prompt, on the first ``draws`` completions per problem of one policy.

    Raises:
        InputError: the vocabularies differ, or a policy's context is too short.
    """
    rows = completions.draw < draws
    some = completions.select(rows)
    check_vocabularies(base, tuned, some)
    prompts = base.prompts(problems), tuned.prompts(problems)
    fields = {
        "base": base,
        "tuned": tuned,
        "completions": some.fingerprint,
        "prompts": content_of([problem.asked for problem in problems]),
    }

    def compute() -> dict[str, NDArray]:
        from keyturn.policies.compare import compare

        pair = compare(base, tuned, some, prompts=prompts)
        return {name: getattr(pair, name) for name in _COLUMNS}

    _, arrays = lab.arrays("compare", fields, compute, parents=parents, label="look inside")
    return TokenShift(drawn_by=drawn_by, completions=some, grades=grades.select(completions, rows), **arrays)


def certified_lower_bound(
    lab: Lab,
    base: LocalPolicy,
    completions: Completions,
    grades: Grades,
    parents: Sequence[Stage],
    problems: Sequence[Problem],
) -> NDArray[np.float64]:
    """The base's total probability of the distinct verified completions of the tuned model.

    Args:
        lab: the run directory.
        base: the policy that scores them. The bound holds for untruncated sampling from it at temperature 1.
        completions, grades: those of the tuned policy.
        parents: the stages that they come from.
        problems: the problems of the completions, in the same order. The base gets its own prompt format.

    Returns:
        A lower bound on the base's success probability, float64 ``[problem]``.

    Raises:
        InputError: a prompt and its completion together exceed the base's context.
    """
    completions = replace(completions, prompts=base.prompts(problems))
    success = grades.verified if np.isfinite(grades.verified).any() else grades.outcome
    rows = np.flatnonzero((success == 1) & (completions.stop == Stop.EOS))
    distinct = _distinct(
        completions, np.array([r for r in rows.tolist() if _ends_for(base, completions, r)], dtype=np.int64)
    )
    some = completions.select(distinct)

    def compute() -> dict[str, NDArray]:
        logprobs = base.score(some).logprobs if len(some) else np.zeros(0, dtype=np.float32)
        return {"logprobs": logprobs}

    fields = {"base": base, "completions": some.fingerprint}
    _, arrays = lab.arrays("certify", fields, compute, parents=parents, label="look inside")
    return certified_bound(some, arrays["logprobs"], np.ones(len(some), dtype=bool))


def ends_alike(base: LocalPolicy, tuned: LocalPolicy, completions: Completions) -> bool:
    """Whether the base would have ended each of the tuned policy's answers at the same place.

    Where it would not, the probability of an answer is not the probability of giving that answer and stopping.
    """
    if set(base.ends) == set(tuned.ends):
        return True
    ended = np.flatnonzero((completions.stop == Stop.EOS) & (completions.lengths > 0))
    return all(_ends_for(base, completions, row) for row in ended.tolist())


def _ends_for(base: LocalPolicy, completions: Completions, row: int) -> bool:
    """Whether the base also ends there and not earlier. If a stop text ends answers, no end token is needed."""
    tokens = completions.row(row)
    stops = np.isin(tokens, base.ends)
    return not stops[:-1].any() and bool(stops[-1] or base.turn.texts)


def why_not_teacher_forced(base: Policy, tuned: Policy) -> dict[str, str]:
    """Teacher-forced passes that are impossible, as far as that is known before anything is drawn -> why."""
    if not (isinstance(base, LocalPolicy) and isinstance(tuned, LocalPolicy)):
        away = [n for n, p in (("base", base), ("tuned", tuned)) if not isinstance(p, LocalPolicy)]
        by = "answered by vLLM" if all(isinstance(p, VllmPolicy | LocalPolicy) for p in (base, tuned)) else ""
        where = f"{' and '.join(away)} {'are' if len(away) > 1 else 'is'} {by or 'behind a server'}"
        why = f"looks inside need both models in this process, and {where}"
        return {"shift": why, "bound": why, "weights": why}
    found: dict[str, str] = {}
    try:
        check_sizes(base, tuned)
    except InputError as error:
        found["shift"] = error.what
    if set(base.turn.texts) != set(tuned.turn.texts):
        why = f"answers end differently: base at {stop_tokens(base)}; tuned at {stop_tokens(tuned)}"
        found |= {"reachability": why, "bound": why}
    if not plain(base):
        # The base's own log-probabilities describe only untruncated draws at temperature 1.
        found["bound"] = "the base is not sampled plainly (temperature 1, whole distribution)"
    return found


def plain(policy: LocalPolicy) -> bool:
    """Whether a policy samples from its own distribution, at temperature 1 and without truncation."""
    return policy.sampling.plain and not policy.processors


def _distinct(completions: Completions, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    seen: set[tuple[int, bytes]] = set()
    kept: list[int] = []
    for row in rows:
        key = (int(completions.problem[row]), completions.row(int(row)).tobytes())
        if key not in seen:
            seen.add(key)
            kept.append(int(row))
    return np.array(kept, dtype=np.int64)
