"""A plan: arms x seeds, each arm at its best learning rate on validation; the result is a table of runs.

Every arm gets the same grid of rates. The first seed chooses the rate by mean success on *validation* problems,
or by a score that the study states (its method's reward). The other seeds run at that rate, and numbers are
measured on *test* problems. Every run is a cached stage, so an interrupted plan can be resumed, and two plans
share the runs that they have in common.

A contrast is the difference of two arms, paired by seed (same problems, same random streams), with Student's t
interval over the seeds, ``mean +- t(n - 1) sd / sqrt(n)``, and the smallest effect that n seeds detect with
power .8, ``(t_.975 + t_.8) sd / sqrt(n)``.
Denominator: seeds. Degenerate: one seed, or seeds of one value, have no spread, and an interval of width 0
would claim certainty. The interval of a share of draws or problems is then the one over the test problems
(:func:`~keyturn.core.statistics.proportions.jeffreys` and its difference; ``basis`` says so); any other number
has none, and decides nothing unless its study declares it exact.
Known bias: seeds share the base and the test problems, so the interval covers another seed on this base, not
another base. With three seeds any result is only a lead.
Source: none; ours. Paired designs: Box, Hunter and Hunter 2005, chapter 3.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
from scipy import stats

from keyturn.core.errors import UsageError
from keyturn.core.measurement import Estimate, Json, json_number
from keyturn.core.progress import progress
from keyturn.core.statistics.proportions import difference_of_shares, jeffreys
from keyturn.lab.noted import about
from keyturn.lab.session import Model, Session
from keyturn.lab.tables import accuracy
from keyturn.lab.task import Task

FINDING_SEEDS = 8
"""With at least this many seeds, an interval that excludes 0 is called a finding; with fewer, a lead."""

Train: TypeAlias = Callable[[Session, float], Model]
"""``(session, learning rate) -> the arm's trained policy``; the session carries the replicate's seed."""

Evaluate: TypeAlias = Callable[[Session, Model], Mapping[str, float]]
"""``(session, model) -> numbers of a finished policy``, on test problems."""

Score: TypeAlias = Callable[[Session, Model], float]
"""``(session, model) -> the score that chooses the rate``, on validation problems; larger is better."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Arm:
    """One way to train, or not to.

    Args:
        name: the arm's name in tables.
        train: its training.
        says: a description, if the name is not enough.
        tuned: False for an arm without a learning rate (the base itself), which runs once per seed.
        task: a task with another base or other problems than the plan's; None: the plan's task.
    """

    name: str
    train: Train
    says: str = ""
    tuned: bool = True
    task: Task | None = None


@dataclass(frozen=True, kw_only=True)
class PlanSizes:
    """The size of a plan.

    Args:
        seeds: replicates.
        lrs: the grid of learning rates, the same for every arm.
        draws: draws per validation problem for the choice of the rate.
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
        validation: the score that chooses the rate: mean success on validation problems, or the plan's own.
        numbers: of the finished policy on test problems; empty if this rate was not chosen.
        problems: test problems, in all (under ``""``) and by cell (under ``"depth 3"``).
    """

    arm: str
    lr: float
    seed: int
    chosen: bool
    validation: float
    numbers: Mapping[str, float]
    problems: Mapping[str, int] = field(default_factory=dict)

    def behind(self, number: str) -> int:
        """How many test problems stand behind a number; 0 where that is not known."""
        cell = number.removeprefix("success ")
        return self.problems.get(cell, self.problems.get("", 0))

    def to_json(self) -> dict[str, Json]:
        """One flat line."""
        lr, score = json_number(self.lr), json_number(round(self.validation, 5))
        own: dict[str, Json] = {"arm": self.arm, "lr": lr, "seed": self.seed, "chosen": self.chosen}
        own["validation"] = score
        return own | {name: json_number(round(float(value), 5)) for name, value in self.numbers.items()}


class ShareDone(Exception):
    """This process has done its share of a plan; the parent process reads the results of all shares."""


def run_plan(
    session: Session,
    arms: Sequence[Arm],
    sizes: PlanSizes,
    evaluate: Evaluate,
    *,
    name: str = "plan",
    score: Score | None = None,
) -> tuple[ArmRun, ...]:
    """Run every arm: choose its learning rate on validation, replicate it over seeds, evaluate its policies.

    Args:
        session: base and problems; if its lab has a share, only that share of the runs is made.
        arms: with distinct names.
        sizes: seeds and rates.
        evaluate: measures a finished policy.
        name: shown in the progress line.
        score: chooses the rate; by default mean success on validation problems.

    Raises:
        ShareDone: this process was given a share and has done it.
    """
    if len({arm.name for arm in arms}) < len(arms):
        raise UsageError("two arms have the same name", fix="give them different names")
    score = score or _success(sizes.draws)
    if session.lab.share is not None:
        _do_share(session, arms, sizes, evaluate, score)
        raise ShareDone
    runs: list[ArmRun] = []
    with progress(name, len(arms) * (sizes.seeds + len(sizes.lrs) - 1)) as advance:
        for arm in arms:
            for one in _arm(session.on(arm.task or session.task), arm, sizes, evaluate, score):
                runs.append(one)
                advance(1)
    return tuple(runs)


def _do_share(session: Session, arms: Sequence[Arm], sizes: PlanSizes, test: Evaluate, score: Score) -> None:
    """Make a worker's share of the runs: of all rates first, then of all seeds at the rates chosen.

    A seed needs the scores of all rates of its arm. Those that are being made are waited for; those that nobody
    has begun are made here, so that no worker waits for one that does not run.
    """
    number, of = session.lab.share or (0, 1)
    rates = [(arm, rate) for arm in arms for rate in (sizes.lrs if arm.tuned else (math.nan,))]
    seeds = [(arm, seed) for arm in arms for seed in range(sizes.seeds)]
    for arm, rate in rates[number::of]:
        own = session.on(arm.task or session.task)
        score(own, arm.train(own, rate))
    for arm, seed in seeds[number::of]:
        own = session.on(arm.task or session.task)
        tried, _, best = _chosen(own, arm, sizes, score)
        model = tried[best] if not seed else arm.train(own.replicate(seed), best)
        score(own, model)
        test(own, model)


def _chosen(
    session: Session, arm: Arm, sizes: PlanSizes, score: Score
) -> tuple[dict[float, Model], dict[float, float], float]:
    """The policies of all rates with the first seed, their scores, and the best rate."""
    rates = sizes.lrs if arm.tuned else (math.nan,)
    tried = {rate: arm.train(session, rate) for rate in rates}
    scores = {rate: score(session, model) for rate, model in tried.items()}
    return tried, scores, max(rates, key=lambda rate: scores[rate]) if arm.tuned else rates[0]


def _arm(session: Session, arm: Arm, sizes: PlanSizes, evaluate: Evaluate, score: Score) -> Iterator[ArmRun]:
    tried, scores, best = _chosen(session, arm, sizes, score)
    for rate in scores:
        if arm.tuned and rate != best:
            yield ArmRun(arm=arm.name, lr=rate, seed=0, chosen=False, validation=scores[rate], numbers={})
    for seed in range(sizes.seeds):
        model = tried[best] if not seed else arm.train(session.replicate(seed), best)
        with about(arm.name, seed):
            numbers = dict(evaluate(session, model))
        yield ArmRun(
            arm=arm.name,
            lr=best,
            seed=seed,
            chosen=True,
            validation=score(session, model),
            numbers=numbers,
            problems=_counts(session.task),
        )


def _counts(task: Task) -> dict[str, int]:
    """Test problems, in all and by cell."""
    problems = task.test.problems
    cells = [f"{key} {value}" for problem in problems for key, value in problem.cell.items()]
    return {"": len(problems), **Counter(cells)}


def _success(draws: int) -> Score:
    def score(session: Session, model: Model) -> float:
        given = session.answers(model, session.task.validation, draws, name="validation")
        return accuracy(given, session.streams.child("validation")).value

    return score


def values(runs: Sequence[ArmRun], arm: str, number: str) -> np.ndarray:
    """A number of an arm's chosen runs, by seed, float64 ``[seed]``."""
    own = sorted((one for one in runs if one.arm == arm and one.chosen), key=lambda one: one.seed)
    if not own:
        raise UsageError(f"the plan ran no arm {arm!r}", fix="name one of the plan's arms")
    return np.array([one.numbers.get(number, math.nan) for one in own])


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """The difference between two arms over seeds.

    Args:
        name: says which arm is subtracted from which.
        value: mean over seeds.
        low: lower end of the 95 % interval, NaN with one seed.
        high: upper end.
        seeds: replicates.
        smallest: the smallest effect that this number of seeds detects with power .8.
        level: True for the level of one arm instead of a difference; that it excludes 0 then means nothing.
        basis: ``problems`` where seeds show no spread and the interval is the one over test problems.
    """

    name: str
    value: float
    low: float
    high: float
    seeds: int
    smallest: float
    level: bool = False
    basis: Literal["", "problems"] = ""

    @property
    def estimate(self) -> Estimate:
        """Value and interval in the form that claims use."""
        return Estimate(self.value, self.low, self.high)

    @property
    def reading(self) -> str:
        """The label of a difference: ``finding``, ``lead`` or ``no difference seen``; a level has no label."""
        if self.level:
            return ""
        if not (self.low > 0 or self.high < 0):
            return "no difference seen"
        return "finding" if self.seeds >= FINDING_SEEDS else "lead"

    def to_json(self) -> dict[str, Json]:
        """One flat line."""
        numbers = {name: json_number(getattr(self, name)) for name in ("value", "low", "high", "smallest")}
        basis: dict[str, Json] = {"basis": self.basis} if self.basis else {}
        return {"name": self.name, **numbers, "seeds": self.seeds, "reading": self.reading, **basis}


def contrast(runs: Sequence[ArmRun], arm: str, control: str, number: str) -> Contrast:
    """A number of one arm minus that of another, paired by seed."""
    one, other = values(runs, arm, number), values(runs, control, number)
    found = over_seeds(f"{number}: {arm} - {control}", one - other, _range_of_difference(number))
    known = np.isfinite(one - other)
    if found.low < found.high or not known.any() or not is_rate(number):
        return found
    n = min(run.behind(number) for run in runs if run.arm in (arm, control) and run.chosen)
    return _over_problems(found, difference_of_shares(float(one[known].mean()), float(other[known].mean()), n))


def against_best(
    runs: Sequence[ArmRun],
    arm: str,
    rivals: Mapping[str, tuple[str, str]] | Sequence[str],
    number: str,
    *,
    smaller_is_better: bool = False,
) -> Contrast:
    """A number of one arm against its best rival, paired by seed; positive if the arm is better.

    Args:
        runs: every run.
        arm: the arm to compare.
        rivals: arms, or a mapping rival's name -> (arm, number) for rivals that are not arms themselves.
        number: name of a number of a run.
        smaller_is_better: True if the number is a cost.

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
    own = replace(over_seeds(f"{number}: {arm}", found[:1] if idle else found, within), level=True)
    if own.low < own.high or not own.seeds or not is_rate(number):
        return own
    n = min(run.behind(number) for run in runs if run.arm == arm and run.chosen)
    return _over_problems(own, jeffreys(own.value, n))


def _over_problems(found: Contrast, ends: tuple[float, float]) -> Contrast:
    """The same value with its interval over problems, and the effect that they detect with power .8."""
    low, high = ends
    if math.isnan(low):
        return found
    error = (high - low) / (2 * float(stats.norm.ppf(0.975)))
    smallest = float(stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * error
    return replace(found, low=low, high=high, smallest=smallest, basis="problems")


RATES = (
    "success",
    "greedy success",
    "pass",
    "right",
    "short_right",
    "think_right",
    "regret",
    "score",
    "share of the habit",
    "trace F1",
    "verified",
    "strategy ",
    "format ",
    "accuracy",
    "exact",
    "visible",
    "tolerant",
)
"""Name prefixes of numbers that are shares of draws or problems."""


def is_rate(number: str) -> bool:
    """Whether a number of a run is a share between 0 and 1; a change of a share (``accuracy gained``) is
    not."""
    return number.startswith(RATES) and "gained" not in number and "half" not in number


def _range_of_difference(number: str) -> tuple[float, float] | None:
    return (-1.0, 1.0) if is_rate(number) else None


def over_seeds(name: str, found: np.ndarray, within: tuple[float, float] | None = None) -> Contrast:
    """Mean, Student's t interval and smallest detectable effect of one value per seed; NaN is left out.

    Args:
        name: of the contrast.
        found: one value per seed, ``[seed]``.
        within: range of the quantity; the interval is limited to it.
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
