"""Studies shared by several claims: run an embedded audit and read off the numbers that a claim needs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from keyturn.auditing.audit_settings import asked_fingerprint
from keyturn.auditing.embedded import EMBEDDED
from keyturn.auditing.opening import audit_subject
from keyturn.auditing.result import AuditResult
from keyturn.core.measurement import Estimate
from keyturn.core.statistics.bootstrap import bootstrap_mean
from keyturn.core.streams import Streams
from keyturn.experiments.contract import Outcome, Subject
from keyturn.lab.lab import Lab
from keyturn.measures.deployed_created import judge
from keyturn.measures.draws import halves
from keyturn.measures.paired import Paired
from keyturn.measures.verdict import Verdict
from keyturn.rollouts.grades import Answers

BEYOND = 5
"""CHAIN is judged from this depth on. RL trains on depths 2 and 3; the base's chance of solving depth 5 is
7^-4."""


def audited(lab: Lab, subject: Subject) -> Outcome:
    """Train (or take) the tuned policy, audit the pair, and read off gain, shares and pass@K."""
    result, base = audit_subject(lab, subject.base, subject.tuned, subject.problems)
    found = outcome_of_audit(result, brought=bool(subject.tuned))
    return replace(found, base=base, base_name=_called(subject, result.base))


def outcome_of_audit(result: AuditResult, *, brought: bool) -> Outcome:
    """What an audit says of the claims about RL: gain, shares, pass@K, and the base against itself.

    Args:
        result: an audit of two models or of two files.
        brought: the tuned policy was brought, so that it and the problems tell one declared run from another.
    """
    said = {who: result.settings.get(who, {}) for who in ("base", "tuned", "both")}
    paired = result.tables.paired
    return Outcome(
        numbers=_numbers(paired, result.verdict, result.tables.streams.generator("claim")),
        base=said["base"].get("fingerprint", ""),
        base_name=result.base,
        run=result.run,
        n=result.verdict.problems,
        tuned=said["tuned"].get("fingerprint", "") if brought else "",
        given_problems=asked_fingerprint(paired.problems) if brought else "",
    )


def audited_beyond_training(lab: Lab, subject: Subject) -> Outcome:
    """The same, judged only at depths that RL never trained on."""
    result, base = audit_subject(lab, subject.base, subject.tuned, subject.problems)
    paired, streams = result.tables.paired, result.tables.streams
    depth = np.array([int(p.cell.get("depth", 0)) for p in paired.problems])
    deep = paired.at(np.flatnonzero(depth >= BEYOND))
    verdict = judge(deep.counts(), streams=streams.child("beyond"), k=result.verdict.k)
    floor = 7.0 ** -(depth[depth >= BEYOND] - 1)
    ratio = math.nan if deep.exact is None else float(np.mean(deep.exact) / np.mean(floor))
    numbers = _numbers(deep, verdict, streams.generator("claim"))
    single = paired.at(np.flatnonzero(depth == 1))
    # Where the base's success is known exactly its draws would add noise, and hide that none is certain.
    atoms = single.counts().base.rate if single.exact is None else single.exact
    numbers["atoms"] = bootstrap_mean(atoms, streams.generator("atoms"), bounds=(0.0, 1.0))
    numbers["base at floor"] = Estimate(ratio)
    return Outcome(
        numbers=numbers,
        base=base,
        base_name=_called(subject, result.base),
        run=result.run,
        n=verdict.problems,
        exact=frozenset({"base at floor"}),
    )


def numbers_by_draws(base: Answers, tuned: Answers, *, streams: Streams, k: int) -> dict[str, Estimate]:
    """What graded draws alone say of the claims about RL, where nothing else is known of the problems.

    Args:
        base, tuned: draws of the same problems.
        streams: of the audit's measures.
        k: its budget.
    """
    paired = Paired(base=base, tuned=tuned)
    return _numbers(paired, judge(paired.counts(), streams=streams, k=k), streams.generator("claim"))


def _called(subject: Subject, name: str) -> str:
    """A shipped base by its short name, as every other study calls it."""
    return subject.base if subject.base in EMBEDDED else name


def _numbers(paired: Paired, verdict: Verdict, generator: np.random.Generator) -> dict[str, Estimate]:
    nothing, base, counts = Estimate(math.nan), paired.base, paired.counts()
    before, after = (draws.pass_at_k(verdict.k)[0] for draws in (counts.base, counts.tuned))
    rates, solved = zip(*(_half(base, rows) for rows in halves(base, generator)), strict=True)
    return {
        "gain": verdict.masses.get("gain", nothing),
        "deployed share": verdict.shares.get("deployed", nothing),
        "created share": verdict.shares.get("created", nothing),
        "pass@K tuned - base": bootstrap_mean(after - before, generator, bounds=(-1.0, 1.0)),
        "base pass@K": bootstrap_mean(before, generator, bounds=(0.0, 1.0)),
        "replicate gain": bootstrap_mean(rates[0] - rates[1], generator, bounds=(-1.0, 1.0)),
        "replicate pass@K": bootstrap_mean(solved[0] - solved[1], generator, bounds=(-1.0, 1.0)),
    }


def _half(base: Answers, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Success rate and 'solved at all' of one random half of every problem's draws."""
    half = base.select(rows)
    n, c = half.counts()
    return half.rates(), np.where(n > 0, c > 0, math.nan)
