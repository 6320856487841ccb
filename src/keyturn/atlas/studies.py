"""The studies that claims share: an embedded audit, read as the numbers that a claim needs."""

from __future__ import annotations

import math

import numpy as np

from keyturn.atlas.contract import Outcome, Subject
from keyturn.core.measurement import Estimate
from keyturn.core.statistics.bootstrap import mean_interval
from keyturn.core.statistics.passk import pass_at_k
from keyturn.measures.deployed_created import judge
from keyturn.measures.verdict import Verdict
from keyturn.rollouts.grades import Answers
from keyturn.studies.embedded import audit_subject
from keyturn.studies.lab import Lab
from keyturn.studies.result import AuditResult

BEYOND = 5
"""CHAIN is judged from this depth on: RL asks for depths 2 and 3, the base's chance at 5 is 7^-4."""


def audited(lab: Lab, subject: Subject) -> Outcome:
    """Train (or take) the tuned policy, audit the pair, and read gain, shares and pass@K off it."""
    result, base = audit_subject(lab, subject.base, subject.tuned, subject.problems)
    return Outcome(
        numbers=_numbers(result, result.verdict),
        base=base,
        base_name=result.base,
        run=result.run,
        n=result.verdict.problems,
    )


def audited_beyond_training(lab: Lab, subject: Subject) -> Outcome:
    """The same, judged only at depths that RL never asked for."""
    result, base = audit_subject(lab, subject.base, subject.tuned, subject.problems)
    tables = result.tables
    if tables.base is None or tables.tuned is None:
        raise ValueError("the audit kept no draws")
    depth = np.array([int(p.cell.get("depth", 0)) for p in tables.base.problems])
    deep, single = depth >= BEYOND, depth == 1
    verdict = judge(
        tables.base.only(deep),
        tables.tuned.only(deep),
        streams=tables.streams.child("beyond"),
        k=result.verdict.k,
        bound=None if tables.bound is None else tables.bound[deep],
        exact=None if tables.exact is None else tables.exact[deep],
        guess=None if tables.guess is None else tables.guess[deep],
    )
    floor = 7.0 ** -(depth[deep] - 1)
    ratio = math.nan if tables.exact is None else float(np.mean(tables.exact[deep]) / np.mean(floor))
    numbers = _numbers(result, verdict)
    numbers["atoms"] = _rate(tables.base.only(single), tables.streams.generator("atoms"))
    numbers["base at floor"] = Estimate(ratio)
    return Outcome(numbers=numbers, base=base, base_name=result.base, run=result.run, n=verdict.problems)


def _numbers(result: AuditResult, verdict: Verdict) -> dict[str, Estimate]:
    base, tuned = result.tables.base, result.tables.tuned
    if base is None or tuned is None:
        raise ValueError("the audit kept no draws")
    nothing = Estimate(math.nan)
    generator = result.tables.streams.generator("claim")
    n, c = base.counts()
    m, d = tuned.counts()
    k = min(result.verdict.k, int(n.min()), int(m.min())) if len(n) else 0
    # Problems that needed no second stage have fewer draws; their pass@K is 1 to the last digit anyway.
    k_base = np.minimum(result.verdict.k, n)
    solved = np.array([pass_at_k(int(a), int(b), int(q)) for a, b, q in zip(n, c, k_base, strict=True)])
    after = np.array([pass_at_k(int(a), int(b), int(min(result.verdict.k, a))) for a, b in zip(m, d, strict=True)])
    halves = _halves(base, generator)
    return {
        "gain": verdict.masses.get("gain", nothing),
        "deployed share": verdict.shares.get("deployed", nothing),
        "created share": verdict.shares.get("created", nothing),
        "pass@K tuned - base": mean_interval(after - solved, generator) if k else nothing,
        "base pass@K": mean_interval(solved, generator) if k else nothing,
        "replicate gain": mean_interval(halves[0] - halves[1], generator),
        "replicate pass@K": mean_interval(halves[2] - halves[3], generator),
    }


def _halves(base: Answers, generator: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Success rate and 'solved at all' of two random halves of every problem's draws."""
    first, second = np.zeros((2, 2, len(base.problems)))
    for problem in range(len(base.problems)):
        drawn = generator.permutation(base.success[(base.problem == problem) & np.isfinite(base.success)])
        middle = len(drawn) // 2
        for row, part in ((first, drawn[:middle]), (second, drawn[middle : 2 * middle])):
            row[:, problem] = (part.mean(), part.any()) if len(part) else math.nan
    return first[0], second[0], first[1], second[1]


def _rate(answers: Answers, generator: np.random.Generator) -> Estimate:
    n, c = answers.counts()
    return mean_interval(c[n > 0] / n[n > 0], generator)
