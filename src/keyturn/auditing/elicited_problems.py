"""Problems that the base's draws do not reach and an elicitation solves, with neither teacher nor answers.

A budget of K draws is the tokens of K plain draws, whoever spends them: a way whose answer takes t times the
tokens of a plain draw must succeed more often than once in K / t answers, so spending more is not eliciting.
For every problem that plain draws do not surely reach::

    choose    of the ways, the one whose first half of answers makes that surest
    confirm   on its second half: P(p > threshold) >= .95, the rule by which plain draws make one reachable

so the number of ways that are tried adds no chances. K further plain draws stand beside them: what these reach
is shown by a replicate of the base and counts for no way.

A way counts only if it uses no gold answer (not of other problems either), no worked solution and no teacher.
A way whose answers to a problem are all the same has no second half to be confirmed on, and is left out.
Source: ours (docs/verdict.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from keyturn.auditing.frontier_ways import Chosen, chosen_ways
from keyturn.core.errors import BusyError, KeyturnError, StorageError, UsageError
from keyturn.core.measurement import Json
from keyturn.core.numbers import number
from keyturn.core.problem import Problem
from keyturn.core.progress import step
from keyturn.core.statistics.proportions import probability_below
from keyturn.elicitation import ELICITATIONS
from keyturn.elicitation.contract import Asked, ElicitationMethod
from keyturn.elicitation.stage import Elicited, elicit
from keyturn.lab.lab import Lab
from keyturn.measures.chance import reach_threshold
from keyturn.measures.classes import CERTAINTY, classify
from keyturn.measures.contract import Tables
from keyturn.measures.draws import draws_of
from keyturn.measures.estimates import lowered_budget
from keyturn.measures.frontier import NULL, PLAIN, TUNED, Frontier, Point, Way, frontier_of
from keyturn.measures.verdict import REACHABLE
from keyturn.policies.protocol import Limits, Policy
from keyturn.problems.contract import ProblemSet, answers
from keyturn.rollouts.grades import Answers

__uncounted__ = ("elicited_problems", "counting_ways")
"""Nothing of a study that audits depends on these: no study asks for elicitation, and its stages name their
own code (:mod:`keyturn.core.definitions`)."""

LEAST = 8
"""Answers in each half, at least."""
EVERYWHERE = 8
"""Answers to every other problem, for what a way gains over all of them."""
PROBED = 4
"""Problems that a way answers once to find what an answer costs."""


@dataclass(frozen=True, kw_only=True)
class WayFound:
    """What one way brought.

    Args:
        times: tokens of an answer, in plain draws.
        threshold: success that a problem needs under it, where luck does not ask for more.
        answers: answers to each problem that plain draws do not reach.
        problems: problems that it was chosen for and confirmed on.
    """

    times: float
    threshold: float
    answers: int
    problems: int


@dataclass(frozen=True, kw_only=True, eq=False)
class ElicitedProblems:
    """What elicitation solves beyond plain draws.

    Args:
        reached: problems that count as deployed by elicitation, bool ``[problem]``.
        open: problems that plain draws do not surely reach.
        replicate: of these, how many further plain draws reach; they count for no way.
        k: the budget.
        ways: way -> what it brought.
        frontier: success of every way over all problems, beside base and tuned policy.
        left_out: way -> why it does not count.
    """

    reached: NDArray[np.bool_]
    open: int
    replicate: int
    k: int
    ways: Mapping[str, WayFound]
    frontier: Frontier | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def best(self) -> Point | None:
        """The way that surely gains most over the base, or None."""
        points = () if self.frontier is None else self.frontier.points
        better = [one for one in points if one.kind == "elicitation" and one.call == "better"]
        return max(better, key=lambda one: one.gain.value, default=None)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was found, for people."""
        by = ", ".join(f"{name} {one.problems}" for name, one in self.ways.items() if one.problems)
        by = f" ({by})" if by else ""
        first = (
            f"Of {self.open} problems that the base's draws do not surely reach, {int(self.reached.sum())} are "
            f"solved by an elicitation without teacher or answers{by}; each was chosen on one half of its "
            f"answers and confirmed on the other, at the tokens of K = {self.k} plain draws."
        )
        second = f"{self.k} further draws of the base reach {self.replicate}, which count for no elicitation."
        return (first, second, self.line)

    @property
    def line(self) -> str:
        """How much of the gain comes without a change of weights."""
        best = self.best
        if self.frontier is None or math.isnan(self.frontier.tuned_gain.value):
            return "How much of the gain comes without changing a weight was not measured."
        if best is None or math.isnan(best.share.value):
            why = "no way is surely better than the base" if best is None else "the gain is not surely above 0"
            return f"Of this gain, no share is surely recovered without changing a weight: {why}."
        share = best.share
        value, low, high = (number(100 * one, digits=0) for one in (share.value, share.low, share.high))
        plain = self.frontier.point(PLAIN)
        spent, usual = (number(one.costs["generated"], digits=0) for one in (best, plain))
        return (
            f"Of this gain, {value} % [{low}, {high}] is recovered without changing a weight, by {best.name}, "
            f"at {spent} tokens an answer (plain: {usual}); it is the best of {len(self.ways)} ways on these "
            "problems, which flatters it."
        )

    def to_json(self) -> dict[str, Json]:
        """Everything as one document."""
        return {
            "sentences": list(self.sentences),
            "k": self.k,
            "problems_not_reached": self.open,
            "problems_elicited": int(self.reached.sum()),
            "problems_of_replicate": self.replicate,
            "ways": {
                name: {
                    "times": one.times,
                    "threshold": one.threshold,
                    "answers": one.answers,
                    "problems": one.problems,
                }
                for name, one in self.ways.items()
            },
            "points": [] if self.frontier is None else [one.to_json() for one in self.frontier.points],
            "left_out": dict(self.left_out),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class _Answered:
    """Answers of one way: to the open problems and to all."""

    times: float
    k: float
    open: Answers
    everywhere: NDArray[np.float64]
    tokens: NDArray[np.float64]


def elicited_problems(
    lab: Lab,
    policy: Policy,
    problems: ProblemSet,
    tables: Tables,
    names: Sequence[str | ElicitationMethod],
    *,
    k: int,
    limits: Limits,
    in_words: bool,
) -> ElicitedProblems:
    """Try elicitation on the problems that plain draws do not surely reach.

    Args:
        lab: the run directory.
        policy: the base.
        problems: the problems of the audit.
        tables: its draws, and what is known of luck.
        names: the ways.
        k: budget K of the audit.
        limits: length and batch limits.
        in_words: prompts are text for people.

    Raises:
        UsageError: a name is unknown, or is that of a training method.
    """
    ways = counting_ways(names)
    counts = tables.paired.counts()
    budget = lowered_budget(counts.base, k)
    nothing = np.zeros(len(problems.problems), dtype=bool)
    if not budget.decidable:
        why = f"the base has {budget.draws} draws a problem, too few to say what it reaches"
        return ElicitedProblems(
            reached=nothing, open=0, replicate=0, k=budget.shown, ways={}, left_out={w.name: why for w in ways}
        )
    luck = np.full(len(nothing), np.nan) if counts.chance is None else counts.chance
    classes = classify(counts.base.c, counts.base.n, [budget.k], chance=luck, bound=counts.bound)[:, 0]
    not_reached = np.flatnonzero((classes != REACHABLE) & counts.graded)
    if not len(not_reached):
        why = "plain draws reach every problem, so there is nothing left to elicit"
        return ElicitedProblems(
            reached=nothing, open=0, replicate=0, k=budget.k, ways={}, left_out={w.name: why for w in ways}
        )
    asked = Asked(
        policy=policy,
        problems=problems,
        draws=range(budget.k),
        streams=lab.streams.child("elicited"),
        limits=limits,
        in_words=in_words,
    )
    found: dict[str, _Answered] = {}
    left_out: dict[str, str] = {}
    plain = Chosen(name=PLAIN, elicitation=ELICITATIONS[PLAIN])
    for place, way in enumerate((plain, *ways)):
        step("elicitation", place, 1 + len(ways), way.name, None)
        try:
            found[way.name] = _answered(lab, asked, way, not_reached, budget.k, found.get(PLAIN))
        except (BusyError, StorageError):
            raise
        except KeyturnError as why:
            if way is plain:
                raise
            left_out[way.name] = str(why)
    return _concluded(found, left_out, tables, not_reached, luck, budget.k)


def counting_ways(names: Sequence[str | ElicitationMethod]) -> tuple[Chosen, ...]:
    """The ways of an audit, which change no weight.

    Raises:
        UsageError: there is no such method, or it trains.
    """
    ways = chosen_ways(names)
    for way in ways:
        if way.elicitation is None:
            raise UsageError(f"{way.name} changes weights", fix="elicitation methods: keyturn elicit ls")
    return ways


def _answered(
    lab: Lab, asked: Asked, way: Chosen, not_reached: NDArray[np.int64], k: int, plain: _Answered | None
) -> _Answered:
    """Answers of a way: many to the problems that are not reached, few to the others."""
    method, problems = way.elicitation, asked.problems.problems
    assert method is not None, "seen to before"
    if method.examples is not None and method.examples(asked, way.config):
        raise UsageError("it uses gold answers of other problems", fix="keyturn frontier, which counts them")
    if method.weights is not None and method.weights(asked, way.config):
        raise UsageError("it answers with other weights", fix="keyturn frontier, which counts them")
    times, budget = 1.0, float(k)
    if plain is not None:
        few = elicit(lab, method, way.config, replace(asked.of(_few(problems)), draws=range(1)))
        _see_that_it_counts(few)
        usual = float(np.nanmean(plain.tokens))
        times = max(float(np.mean(few.elicitation.costs.generated)) / max(usual, 1e-9), 1.0)
        if math.isnan(times):
            raise UsageError("the server does not say what an answer costs", fix="a model folder")
        budget = k / times
        if budget < 2:
            raise UsageError(f"one answer takes {times:.0f} of K = {k} draws", fix="a larger --k")
    many = k if plain is None else 2 * max(LEAST, math.ceil(budget / 2))
    rates = np.full(len(problems), np.nan)
    tokens = np.full(len(problems), np.nan)
    parts = ((not_reached, many), (np.setdiff1d(np.arange(len(problems)), not_reached), min(EVERYWHERE, many)))
    tables = []
    for index, draws in parts:
        part = tuple(problems[i] for i in index)
        if not part:
            continue
        given = replace(asked.of(part), draws=range(draws))
        done = elicit(lab, method, way.config, given)
        _see_that_it_counts(done)
        completions = done.elicitation.completions
        grader = asked.problems.grader
        _, grades = lab.grade(grader, part, completions, done.stage, name="grade")
        table = answers(way.name, part, completions, grades)
        if plain is not None and index is not_reached and _always_the_same(done, draws):
            what = "its answers to a problem are all the same, so none can confirm another"
            raise UsageError(what, fix="a temperature above 0, e.g. cot-decoding:temperature=1")
        rates[index] = table.rates()
        tokens[index] = done.elicitation.costs.generated.reshape(len(part), draws).mean(axis=1)
        tables.append(table)
    return _Answered(times=times, k=budget, open=tables[0], everywhere=rates, tokens=tokens)


def _few(problems: Sequence[Problem]) -> list[Problem]:
    return list(problems[:: max(1, len(problems) // PROBED)][:PROBED])


def _see_that_it_counts(done: Elicited) -> None:
    costs = done.elicitation.costs
    if (costs.checks > 0).any():
        raise UsageError("it asks the grader, which tells it the answers", fix="self-consistency")
    if (costs.teacher_bits > 0).any():
        raise UsageError("a teacher tells it what to say", fix="keyturn frontier, which counts the bits")


def _always_the_same(done: Elicited, draws: int) -> bool:
    """Whether the answers to every problem are copies of one text."""
    texts = done.elicitation.completions.texts
    return draws > 1 and all(
        len(set(texts[start : start + draws])) == 1 for start in range(0, len(texts), draws)
    )


def _concluded(
    found: Mapping[str, _Answered],
    left_out: Mapping[str, str],
    tables: Tables,
    not_reached: NDArray[np.int64],
    luck: NDArray[np.float64],
    k: int,
) -> ElicitedProblems:
    """Choose on one half, confirm on the other, and leave out what a replicate of the base shows."""
    size = len(luck)
    reached, shown = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    n, c = found[PLAIN].open.counts()
    shown[not_reached] = classify(c, n, [k], chance=luck[not_reached])[:, 0] == REACHABLE
    ways = {name: one for name, one in found.items() if name != PLAIN}
    chosen_for = np.full(len(not_reached), -1)
    surest = np.zeros(len(not_reached))
    confirmed = np.zeros((len(ways), len(not_reached)), dtype=bool)
    for place, one in enumerate(ways.values()):
        half = (int(one.open.draw.max()) + 1) // 2
        first, second = (one.open.select(rows) for rows in (one.open.draw < half, one.open.draw >= half))
        n, c = first.counts()
        here = luck[not_reached]
        sure = np.where(c > 0, 1 - probability_below(c, n, reach_threshold(here, np.array(one.k))), 0.0)
        chosen_for = np.where(sure > surest, place, chosen_for)
        surest = np.maximum(sure, surest)
        n, c = second.counts()
        above = 1 - probability_below(c, n, reach_threshold(here, np.array(one.k)))
        confirmed[place] = (above >= CERTAINTY) & (c > 0)
    told = {}
    for place, (name, one) in enumerate(ways.items()):
        mine = (chosen_for == place) & confirmed[place] & ~shown[not_reached]
        reached[not_reached[mine]] = True
        told[name] = WayFound(
            times=one.times,
            threshold=1 / one.k,
            answers=int(one.open.draw.max()) + 1,
            problems=int(mine.sum()),
        )
    return ElicitedProblems(
        reached=reached,
        open=len(not_reached),
        replicate=int(shown.sum()),
        k=k,
        ways=told,
        frontier=_over_all(ways, found[PLAIN], tables),
        left_out=dict(left_out),
    )


def _over_all(ways: Mapping[str, _Answered], plain: _Answered, tables: Tables) -> Frontier:
    """Success of every way over all problems, beside the base's draws, its replicate and the tuned policy."""
    size = len(plain.everywhere)

    def costs(tokens: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {"generated": tokens, "weights": np.zeros(size)}

    base, tuned = (draws_of(one).rate for one in (tables.paired.base, tables.paired.tuned))
    rows = [
        Way(name=PLAIN, kind="base", success=base, costs=costs(plain.tokens)),
        Way(name=NULL, kind="null", success=plain.everywhere, costs=costs(plain.tokens)),
        Way(name=TUNED, kind="tuned", success=tuned, costs={}),
    ]
    for name, one in ways.items():
        rows.append(Way(name=name, kind="elicitation", success=one.everywhere, costs=costs(one.tokens)))
    return frontier_of(rows, PLAIN, tables.streams.child("elicited"))
