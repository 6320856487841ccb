"""A plan: arms x seeds, each arm with the learning rate that serves it best on validation; a table of runs.

Every arm gets the same grid of rates. The rate is chosen with the first seed, by mean success on *validation*
problems, or by the score that a study states (what its method is paid for); the other seeds run at that rate;
numbers are read on *test* problems. Every run is a cached stage, so a plan that was interrupted goes on, and
two plans share the runs that they have in common.

A contrast is the difference of two arms seed by seed (same problems, same random streams), with Student's t
over the seeds: ``mean +- t(n - 1) sd / sqrt(n)``, and the smallest effect that n seeds would have shown with
power .8: ``(t_.975 + t_.8) sd / sqrt(n)``.
Denominator: seeds. Degenerate: one seed has a value and no interval.
Known bias: seeds share base and test problems: the interval says what another seed would give on this base, not
what another base would. With three seeds it is a lead, whatever it says.
Source: none; ours. Paired designs: Box, Hunter and Hunter 2005, chapter 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from scipy import stats

from keyturn.core.errors import UsageError
from keyturn.core.measurement import Estimate, Json, json_number
from keyturn.core.progress import progress
from keyturn.lab.session import Model, Session
from keyturn.lab.tables import accuracy
from keyturn.lab.task import Task

FINDING_SEEDS = 8
"""From so many seeds on an interval that excludes 0 is called a finding; below it is a lead."""

Train: TypeAlias = Callable[[Session, float], Model]
"""``(session, learning rate) -> the policy that the arm makes``; the session has the replicate's seed."""

Evaluate: TypeAlias = Callable[[Session, Model], Mapping[str, float]]
"""``(session, model) -> numbers of a finished policy``, on test problems."""

Score: TypeAlias = Callable[[Session, Model], float]
"""``(session, model) -> what the rate is chosen by``, on validation problems; larger is better."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Arm:
    """One way to train, or not to.

    Args:
        name: in tables.
        train: what it does.
        says: in words, where the name does not.
        tuned: False for an arm without a learning rate (the base itself): it runs once a seed.
        task: another base or other problems than the plan's; None: the plan's.
    """

    name: str
    train: Train
    says: str = ""
    tuned: bool = True
    task: Task | None = None


@dataclass(frozen=True, kw_only=True)
class PlanSizes:
    """How much a plan runs.

    Args:
        seeds: replicates.
        lrs: the grid of learning rates, the same for every arm.
        draws: draws a validation problem for the choice of the rate.
    """

    seeds: int
    lrs: tuple[float, ...]
    draws: int = 4


@dataclass(frozen=True, kw_only=True)
class ArmRun:
    """One run of one arm: one seed at one learning rate.

    Args:
        arm: its name.
        lr: learning rate; NaN where there is none.
        seed: number of the replicate.
        chosen: the rate that validation chose.
        validation: what the rate is chosen by: mean success on validation problems, or the plan's own score.
        numbers: of the finished policy on test problems; empty where the rate was not chosen.
    """

    arm: str
    lr: float
    seed: int
    chosen: bool
    validation: float
    numbers: Mapping[str, float]

    def to_json(self) -> dict[str, Json]:
        """One flat line."""
        own: dict[str, Json] = {
            "arm": self.arm,
            "lr": json_number(self.lr),
            "seed": self.seed,
            "chosen": self.chosen,
            "validation": json_number(round(self.validation, 5)),
        }
        return own | {name: json_number(round(float(value), 5)) for name, value in self.numbers.items()}


class ShareDone(Exception):
    """This process has done its share of a plan; the one that shares it out reads the rest."""


def run_plan(
    session: Session,
    arms: Sequence[Arm],
    sizes: PlanSizes,
    evaluate: Evaluate,
    *,
    name: str = "plan",
    score: Score | None = None,
) -> tuple[ArmRun, ...]:
    """Run every arm: choose its learning rate on validation, replicate it, measure its policies.

    Args:
        session: base and problems; where its lab has a share, only that share of the arms is run.
        arms: with distinct names.
        sizes: seeds and rates.
        evaluate: what is measured of a finished policy.
        name: in the progress line.
        score: what rates are chosen by; mean success on validation problems by default.

    Raises:
        ShareDone: this process was given a share and has done it.
    """
    if len({arm.name for arm in arms}) < len(arms):
        raise UsageError("two arms of one name", fix="name them apart")
    runs: list[ArmRun] = []
    with progress(name, len(arms) * (sizes.seeds + len(sizes.lrs) - 1)) as advance:
        for index, arm in enumerate(arms):
            if session.lab.share is None or index % session.lab.share[1] == session.lab.share[0]:
                for one in _arm(
                    session.on(arm.task or session.task), arm, sizes, evaluate, score or _success(sizes.draws)
                ):
                    runs.append(one)
                    advance(1)
    if session.lab.share is not None:
        raise ShareDone
    return tuple(runs)


def _arm(session: Session, arm: Arm, sizes: PlanSizes, evaluate: Evaluate, score: Score) -> Iterator[ArmRun]:
    rates = sizes.lrs if arm.tuned else (math.nan,)
    tried = {rate: arm.train(session, rate) for rate in rates}
    scores = {rate: score(session, model) for rate, model in tried.items()}
    best = max(rates, key=lambda rate: scores[rate]) if arm.tuned else math.nan
    for rate in rates:
        if arm.tuned and rate != best:
            yield ArmRun(arm=arm.name, lr=rate, seed=0, chosen=False, validation=scores[rate], numbers={})
    for seed in range(sizes.seeds):
        model = next(iter(tried.values())) if not arm.tuned else tried[best]
        if seed:
            model = arm.train(session.replicate(seed), best)
        yield ArmRun(
            arm=arm.name,
            lr=best,
            seed=seed,
            chosen=True,
            validation=score(session, model),
            numbers=dict(evaluate(session, model)),
        )


def _success(draws: int) -> Score:
    def score(session: Session, model: Model) -> float:
        given = session.answers(model, session.task.validation, draws, name="validation")
        return accuracy(given, session.streams.child("validation")).value

    return score


def values(runs: Sequence[ArmRun], arm: str, number: str) -> np.ndarray:
    """A number of an arm's chosen runs, by seed, float64 ``[seed]``."""
    own = sorted((one for one in runs if one.arm == arm and one.chosen), key=lambda one: one.seed)
    if not own:
        raise UsageError(f"no run of an arm {arm!r}", fix="one of the plan's arms")
    return np.array([one.numbers.get(number, math.nan) for one in own])


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """The difference of two arms over seeds.

    Args:
        name: what is subtracted from what.
        value: mean over seeds.
        low: lower end of the 95 % interval, NaN with one seed.
        high: upper end.
        seeds: replicates.
        smallest: the effect that so many seeds would have shown with power .8.
        level: it is no difference but the level of one arm, which excludes 0 without saying anything.
    """

    name: str
    value: float
    low: float
    high: float
    seeds: int
    smallest: float
    level: bool = False

    @property
    def estimate(self) -> Estimate:
        """Value and interval, as claims take them."""
        return Estimate(self.value, self.low, self.high)

    @property
    def reading(self) -> str:
        """What a difference is called: ``finding``, ``lead``, ``no difference seen``; a level has no name."""
        if self.level:
            return ""
        if not (self.low > 0 or self.high < 0):
            return "no difference seen"
        return "finding" if self.seeds >= FINDING_SEEDS else "lead"

    def to_json(self) -> dict[str, Json]:
        """One flat line."""
        numbers = {name: json_number(getattr(self, name)) for name in ("value", "low", "high", "smallest")}
        return {"name": self.name, **numbers, "seeds": self.seeds, "reading": self.reading}


def contrast(runs: Sequence[ArmRun], arm: str, control: str, number: str) -> Contrast:
    """A number of one arm less that of another, seed by seed."""
    difference = values(runs, arm, number) - values(runs, control, number)
    return over_seeds(f"{number}: {arm} - {control}", difference, _range_of_difference(number))


def against_best(
    runs: Sequence[ArmRun],
    arm: str,
    rivals: Mapping[str, tuple[str, str]] | Sequence[str],
    number: str,
    *,
    smaller_is_better: bool = False,
) -> Contrast:
    """A number of one arm against the best of its rivals, seed by seed; positive where the arm is the better.

    Args:
        runs: every run.
        arm: whose number it is.
        rivals: arms; or what a rival is called -> (arm, number), where it is no arm of its own.
        number: of a run.
        smaller_is_better: the number is a cost.

    Known bias: the best of each seed is chosen after the fact, which favours the rivals.
    """
    named = rivals if isinstance(rivals, Mapping) else {rival: (rival, number) for rival in rivals}
    own, others = values(runs, arm, number), [values(runs, *rival) for rival in named.values()]
    if smaller_is_better:
        name, difference = f"least of {', '.join(named)} - {arm}", np.min(others, axis=0) - own
    else:
        name, difference = f"{arm} - the better of {' and '.join(named)}", own - np.max(others, axis=0)
    return over_seeds(f"{number}: {name}", difference, _range_of_difference(number))


def level(runs: Sequence[ArmRun], arm: str, number: str) -> Contrast:
    """A number of one arm over its seeds; an arm that trains nothing is one policy, whatever the seed."""
    found = values(runs, arm, number)
    idle = all(math.isnan(one.lr) for one in runs if one.arm == arm) and len(set(found.tolist())) == 1
    within = (0.0, 1.0) if is_rate(number) else None
    return replace(over_seeds(f"{number}: {arm}", found[:1] if idle else found, within), level=True)


RATES = (
    "success",
    "pass@",
    "right",
    "verified",
    "strategy ",
    "format ",
    "accuracy",
    "exact",
    "visible",
    "tolerant",
)
"""How the names of numbers begin that are shares of draws or problems."""


def is_rate(number: str) -> bool:
    """Whether a number of a run is a share, between 0 and 1; a change of one (``accuracy gained``) is none."""
    return number.startswith(RATES) and "gained" not in number and "half" not in number


def _range_of_difference(number: str) -> tuple[float, float] | None:
    return (-1.0, 1.0) if is_rate(number) else None


def over_seeds(name: str, found: np.ndarray, within: tuple[float, float] | None = None) -> Contrast:
    """Mean, Student's interval and smallest visible effect of one value a seed, ``[seed]``; NaN left out.

    Args:
        name: of the contrast.
        found: one value a seed, ``[seed]``.
        within: range of the quantity, which its interval does not leave.
    """
    known = found[np.isfinite(found)]
    n = len(known)
    if n == 0:
        return Contrast(name=name, value=math.nan, low=math.nan, high=math.nan, seeds=0, smallest=math.nan)
    mean = float(known.mean())
    if n == 1:
        return Contrast(name=name, value=mean, low=math.nan, high=math.nan, seeds=1, smallest=math.nan)
    error = float(known.std(ddof=1)) / math.sqrt(n)
    reach, power = float(stats.t.ppf(0.975, n - 1)), float(stats.t.ppf(0.8, n - 1))
    return Contrast(
        name=name,
        value=mean,
        low=max(mean - reach * error, -math.inf if within is None else within[0]),
        high=min(mean + reach * error, math.inf if within is None else within[1]),
        seeds=n,
        smallest=(reach + power) * error,
    )
