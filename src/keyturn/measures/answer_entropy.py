"""How many different answers a policy gives to one problem: the entropy of its distinct final answers.

For each problem i, ``H_i = -sum_a f_a log f_a`` in nats over its answers a with frequencies f, corrected for
answers that few draws leave unseen (Chao-Shen by default, Miller-Madow on request). Both policies are counted
on the *same number* of draws: the first ``min(n_base, n_tuned)`` draws of each problem. Where draws were made
in two stages only the first stage is used, because the second was chosen by success. The measurements are the
mean over problems, and the paired change.

Denominator: the problems where both policies have a draw. "No answer found" counts as one more answer.
Degenerate: no extracted answer in either policy gives NaN with n = 0; a problem with one draw has entropy 0.
Known bias: answers are compared as text, so two spellings of one answer count as two. Chao-Shen corrects for
unseen answers only: it is too low by about (m - 1) / 2n where all m answers were seen. Miller-Madow is too low
where most answers were not seen. The null is the same change between two random halves of the base's draws.

Source: Wu et al. 2025 (arXiv 2507.14843) for the quantity; estimators: ``core.statistics.entropies``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Measurement, Null, Parameter
from keyturn.core.statistics.bootstrap import RESAMPLES, bootstrap_mean
from keyturn.core.statistics.entropies import chao_shen_entropy, miller_madow_entropy, plug_in_entropy
from keyturn.core.statistics.paired import paired_difference
from keyturn.core.streams import Streams
from keyturn.measures.contract import Measure, Tables
from keyturn.measures.draws import first_stage, halves
from keyturn.rollouts.grades import Answers

REPLICATES = 40
"""Random halvings behind the null. Few, because each counts all answers of the base again."""

ESTIMATORS = {
    "chao-shen": chao_shen_entropy,
    "miller-madow": miller_madow_entropy,
    "plug-in": plug_in_entropy,
}
"""Name -> entropy of counts over the last axis."""


@dataclass(frozen=True, kw_only=True)
class AnswerEntropyConfig:
    """Options of the measure."""

    estimator: Literal["chao-shen", "miller-madow", "plug-in"] = "chao-shen"
    """Correction for unseen answers. Default: the least biased of the three on Zipf-like answers (tests)."""
    by: tuple[str, ...] = ()
    """Fields of a problem's cell; where given, each cell is measured too."""
    resamples: int = RESAMPLES
    """Bootstrap resamples over problems."""


def answer_codes(answers: Answers) -> NDArray[np.int64]:
    """A number for each distinct pair of problem and answer, ``[row]``."""
    places_of: dict[tuple[int, str], int] = {}
    pairs = zip(answers.problem.tolist(), answers.answer, strict=True)
    return np.array([places_of.setdefault(pair, len(places_of)) for pair in pairs], dtype=np.int64)


def entropy_by_problem(
    answers: Answers, codes: NDArray[np.int64], rows: NDArray[np.bool_], estimator: str
) -> NDArray[np.float64]:
    """Entropy in nats of the answers of each problem, ``[problem]``; NaN where no row is chosen.

    Args:
        answers: whose rows.
        codes: from :func:`answer_codes`.
        rows: which rows count, bool ``[row]``.
        estimator: a key of ``ESTIMATORS``.
    """
    problems = len(answers.problems)
    distinct, count = np.unique(codes[rows], return_counts=True)
    owner = np.zeros(int(codes.max(initial=-1)) + 1, dtype=np.int64)
    owner[codes] = answers.problem
    problem = owner[distinct]
    order = np.argsort(problem, kind="stable")
    problem, count = problem[order], count[order]
    sizes = np.bincount(problem, minlength=problems)
    rank = np.arange(len(problem)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    table = np.zeros((problems, max(int(sizes.max(initial=0)), 1)))
    table[problem, rank] = count
    return ESTIMATORS[estimator](table)


def first_rows(answers: Answers, limit: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The first ``limit`` rows of each problem in the order of their draws, bool ``[row]``."""
    order = np.lexsort((answers.draw, answers.problem))
    sizes = np.bincount(answers.problem, minlength=len(answers.problems))
    rank = np.empty(len(answers), dtype=np.int64)
    rank[order] = np.arange(len(answers)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return rank < limit[answers.problem]


def measure_answer_entropy(tables: Tables, config: AnswerEntropyConfig) -> tuple[Measurement, ...]:
    """Answer entropy of both policies at equal n, and its change, pooled and by cell."""
    base, tuned = first_stage(tables.paired.base), first_stage(tables.paired.tuned)
    streams = tables.streams.child("answer_entropy")
    problems = len(base.problems)
    if not any(base.answer) and not any(tuned.answer):
        return _nothing("no answers were extracted")
    sizes = [np.bincount(a.problem, minlength=problems) for a in (base, tuned)]
    limit = np.minimum(*sizes)
    base_codes = answer_codes(base)
    entropy = {
        "base": entropy_by_problem(base, base_codes, first_rows(base, limit), config.estimator),
        "tuned": entropy_by_problem(tuned, answer_codes(tuned), first_rows(tuned, limit), config.estimator),
    }
    nulls = _replicates(base, base_codes, config.estimator, streams)
    return tuple(
        found
        for where, index in tables.paired.places(config.by)
        for found in _measurements(
            {policy: values[index] for policy, values in entropy.items()},
            [part[index] for part in nulls],
            streams.child(str(where)),
            config,
            where,
        )
    )


def _nothing(note: str) -> tuple[Measurement, ...]:
    unknown = float("nan")
    return (Measurement(name="answer_entropy_change", value=unknown, n=0, unit="nats", note=note),)


def _replicates(
    base: Answers, codes: NDArray[np.int64], estimator: str, streams: Streams
) -> list[NDArray[np.float64]]:
    """Entropy differences between random halves of the base's draws, per problem."""
    found = []
    for replicate in range(REPLICATES):
        first, second = halves(base, streams.generator("halves", replicate))
        ends = [entropy_by_problem(base, codes, rows, estimator) for rows in (first, second)]
        found.append(ends[1] - ends[0])
    return found


def _measurements(
    entropy: dict[str, NDArray[np.float64]],
    replicates: list[NDArray[np.float64]],
    streams: Streams,
    config: AnswerEntropyConfig,
    where: dict[str, Parameter],
) -> list[Measurement]:
    parameters: dict[str, Parameter] = {"estimator": config.estimator, **where}
    found = []
    for policy, values in entropy.items():
        estimate = bootstrap_mean(values, streams.generator(policy), resamples=config.resamples)
        found.append(
            Measurement(
                name="answer_entropy",
                value=estimate.value,
                low=estimate.low,
                high=estimate.high,
                n=int(np.isfinite(values).sum()),
                unit="nats",
                parameters={"policy": policy, **parameters},
            )
        )
    means = [float(np.nanmean(part)) for part in replicates if np.isfinite(part).any()]
    null = Null(kind="replicate of the base")
    if means:
        low, high = np.quantile(means, [0.025, 0.975])
        null = Null(kind=null.kind, value=float(np.mean(means)), low=float(low), high=float(high))
    change = paired_difference(
        entropy["base"], entropy["tuned"], streams.generator("change"), resamples=config.resamples
    )
    changed = Measurement(
        name="answer_entropy_change",
        value=change.value,
        low=change.low,
        high=change.high,
        n=int((np.isfinite(entropy["base"]) & np.isfinite(entropy["tuned"])).sum()),
        unit="nats",
        null=null,
        parameters=parameters,
    )
    return [*found, changed]


READINGS = {
    "answer_entropy": "Entropy of the answers to one problem: how undecided the policy is between them.",
    "answer_entropy_change": "The tuned policy's entropy less the base's, on the same problems.",
}
"""Measurement -> how to read it."""

ANSWER_ENTROPY = Measure(
    name="answer_entropy",
    title="Answer entropy",
    summary="Entropy over the distinct final answers of a problem, at equal numbers of draws.",
    source="Wu et al. 2025, arXiv 2507.14843; Chao and Shen 2003; Miller 1955",
    unit="nats",
    null="two random halves of the base's draws",
    readings=READINGS,
    config=AnswerEntropyConfig,
    measure=measure_answer_entropy,
)
