"""The studies that claims share: an embedded audit, read as the numbers that a claim needs."""

from __future__ import annotations

import math

import numpy as np

from keyturn.auditing.opening import audit_subject
from keyturn.core.measurement import Estimate
from keyturn.core.statistics.bootstrap import bootstrap_mean
from keyturn.experiments.contract import Outcome, Subject
from keyturn.lab.lab import Lab
from keyturn.measures.cells import of_problems
from keyturn.measures.deployed_created import judge
from keyturn.measures.draws import draws_of, halves
from keyturn.measures.verdict import Verdict
from keyturn.rollouts.grades import Answers

BEYOND = 5
"""CHAIN is judged from this depth on: RL asks for depths 2 and 3, the base's chance at 5 is 7^-4."""


def audited(lab: Lab, subject: Subject) -> Outcome:
    """Train (or take) the tuned policy, audit the pair, and read gain, shares and pass@K off it."""
    result, base = audit_subject(lab, subject.base, subject.tuned, subject.problems)
    tables = result.tables
    if tables.base is None or tables.tuned is None:
        raise ValueError("the audit kept no draws")
    return Outcome(
        numbers=_numbers(tables.base, tables.tuned, result.verdict, tables.streams.generator("claim")),
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
    deep, single = np.flatnonzero(depth >= BEYOND), np.flatnonzero(depth == 1)
    base_deep, tuned_deep = of_problems(tables.base, deep), of_problems(tables.tuned, deep)
    verdict = judge(
        base_deep,
        tuned_deep,
        streams=tables.streams.child("beyond"),
        k=result.verdict.k,
        bound=None if tables.bound is None else tables.bound[deep],
        exact=None if tables.exact is None else tables.exact[deep],
        guess=None if tables.guess is None else tables.guess[deep],
        chance=None if tables.chance is None else tables.chance[deep],
        floor=None if tables.floor is None else tables.floor[deep],
    )
    floor = 7.0 ** -(depth[deep] - 1)
    ratio = math.nan if tables.exact is None else float(np.mean(tables.exact[deep]) / np.mean(floor))
    numbers = _numbers(base_deep, tuned_deep, verdict, tables.streams.generator("claim"))
    atoms = draws_of(of_problems(tables.base, single)).rate
    numbers["atoms"] = bootstrap_mean(atoms, tables.streams.generator("atoms"))
    numbers["base at floor"] = Estimate(ratio)
    return Outcome(numbers=numbers, base=base, base_name=result.base, run=result.run, n=verdict.problems)


def _numbers(
    base: Answers, tuned: Answers, verdict: Verdict, generator: np.random.Generator
) -> dict[str, Estimate]:
    nothing = Estimate(math.nan)
    before, after = (draws_of(one).pass_at_k(verdict.k)[0] for one in (base, tuned))
    rates, solved = zip(*(_half(base, rows) for rows in halves(base, generator)), strict=True)
    return {
        "gain": verdict.masses.get("gain", nothing),
        "deployed share": verdict.shares.get("deployed", nothing),
        "created share": verdict.shares.get("created", nothing),
        "pass@K tuned - base": bootstrap_mean(after - before, generator),
        "base pass@K": bootstrap_mean(before, generator),
        "replicate gain": bootstrap_mean(rates[0] - rates[1], generator),
        "replicate pass@K": bootstrap_mean(solved[0] - solved[1], generator),
    }


def _half(base: Answers, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Success rate and 'solved at all' of one random half of every problem's draws."""
    half = base.select(rows)
    n, c = half.counts()
    return half.rates(), np.where(n > 0, c > 0, math.nan)
