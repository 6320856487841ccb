"""The causal ladder of a direction: how much more than reading a behaviour it can do, rung by rung.

With ``r(d)`` the rate of the behaviour when the direction ``v`` is added at dose ``d``::

    1 decodes       h.v tells draws with the behaviour from those without, within problems, on problems that v
                    was not made from: above the range of shuffled labels
    2 moves         r(d) - r(-d) > 0 at the largest dose that keeps texts fluent, and no step of the dose turns
                    it back; fluent: at most FLUENT nats a token more under the plain model than plain texts
    3 specific      more than by each of the random directions and of the other features, at equal norm
    4 necessary     projecting v out takes away half of the behaviour or more, and more than projecting out
                    random directions of the same second moment
    5 interchange   the part along v from a run with the behaviour, patched place by place into runs of the same
                    problem without it, gives these the behaviour, more than with those random directions
    6 accuracy      more right answers at dose d than plainly, beyond the range of the controls of rung 3

A rung holds only if all below it hold. Denominator: problems; of rungs 1 and 5 those with draws of both kinds.
Degenerate: a rung without such problems, or without a fluent dose, was not measured, and says so.
Known bias: in rungs 1 and 5 states are read over the tokens that were written, also those of a direction that
was made at a prompt's last token. A patch cannot change the first written token. The largest fluent dose is
chosen without a look at rates. Where the behaviour is being right, rung 6 looks at the answers of rung 3 again.
Source: rungs after Geiger et al. 2021 (2106.02997, interchange) and Belrose et al. 2023 (2306.03819, erasure);
the order, areas within problems and projections of equal second moment: ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError
from keyturn.core.measurement import Estimate, Json, Measurement, Null
from keyturn.core.problem import Problem
from keyturn.elicitation.contract import Asked
from keyturn.elicitation.ladder_climb import Behaviour, Climb, Direction, Run
from keyturn.elicitation.ladder_controls import (
    Patched,
    alike,
    areas_within,
    axes_apart,
    parts_of_donors,
    shuffled_areas,
)
from keyturn.lab.lab import Lab
from keyturn.policies.interventions import Intervention
from keyturn.policies.steered import SteeredPolicy

State: TypeAlias = Literal["holds", "does not hold", "not measured", "not claimed"]
"""Not claimed: it passes, and a rung below it does not."""

DOSES = (0.5, 1.0, 2.0)
"""Tried to both sides, in units of the direction's own dose."""
RANDOMS, OTHERS, PROJECTIONS = 20, 5, 5
FLUENT = 0.5
"""Nats a token by which steered texts may be less likely under the plain model than plain ones."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One rung.

    Args:
        name: see the module.
        found: the number with its interval over problems and its null; None: it was not measured.
        passes: whether the rung alone is passed.
        why: what decided, or why nothing was measured.
    """

    name: str
    found: Measurement | None
    passes: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The rungs of a direction, the lowest first."""

    rungs: tuple[Rung, ...]

    @property
    def highest(self) -> int:
        """How many rungs hold: that of the highest claim that may be made; 0 is none."""
        failed = [number for number, one in enumerate(self.rungs) if not one.passes]
        return failed[0] if failed else len(self.rungs)

    @property
    def states(self) -> tuple[State, ...]:
        """What is said of each rung."""

        def state(number: int, rung: Rung) -> State:
            if rung.found is None:
                return "not measured"
            if not rung.passes:
                return "does not hold"
            return "holds" if number < self.highest else "not claimed"

        return tuple(state(number, one) for number, one in enumerate(self.rungs))

    def to_json(self) -> dict[str, Json]:
        """The record: the highest rung that holds, and each rung with its number."""
        rungs: list[Json] = [
            {
                "rung": number,
                "name": one.name,
                "state": state,
                "why": one.why,
                "measured": None if one.found is None else one.found.to_json(),
            }
            for number, (one, state) in enumerate(zip(self.rungs, self.states, strict=True), start=1)
        ]
        return {"highest": self.highest, "rungs": rungs}


def climb(lab: Lab, asked: Asked, direction: Direction, behaviour: Behaviour) -> Ladder:
    """Climb every rung; what is drawn is kept in the run directory.

    Args:
        lab: the run directory.
        asked: the policy, and problems that the direction was not made from.
        direction: what is tried.
        behaviour: what it is said to be about.

    Raises:
        InputError: the direction was made from problems that are asked, on which any probe would read well.
    """
    known = [one.id for one in asked.problems.problems if one.prompt in direction.made_from]
    if known:
        what = f"{len(known)} of the problems that are asked made the direction ({known[0]} is one)"
        raise InputError(what, fix="other problems: a probe reads well those that it was fitted on")
    on = Climb(lab=lab, asked=asked, direction=direction, behaviour=behaviour)
    on.known["plain"] = on.run()
    on.known["tokens"] = on.states("none")
    tokens = on.known["tokens"][0]
    dice = lab.streams.generator("ladder", "projections")
    on.known["alike"] = alike(tokens, direction.vector, PROJECTIONS, dice)
    rungs = (decodes, moves, specific, necessary, interchange, accuracy)
    return Ladder(rungs=tuple(one(on) for one in rungs))


def _measured(
    name: str, unit: str, found: Estimate, n: int, null: Null, **parameters: float | int
) -> Measurement:
    return Measurement(
        name=name,
        value=found.value,
        low=found.low,
        high=found.high,
        n=n,
        unit=unit,
        null=null,
        parameters=parameters,
    )


def _range(kind: str, values: NDArray[np.float64]) -> Null:
    low, high = np.quantile(values, [0.025, 0.975]).tolist()
    return Null(kind=kind, value=round(float(values.mean()), 12) + 0.0, low=low, high=high)


def decodes(on: Climb) -> Rung:
    """Rung 1."""
    plain: Run = on.known["plain"]
    states, row, _ = on.states("mean")
    score, shown, problem = states @ on.direction.vector, plain.shown[row], plain.drawn.problem[row]
    count = len(plain.drawn.prompts)
    areas = areas_within(score, shown, problem, count)
    n = int(np.isfinite(areas).sum())
    if n < 2:
        return Rung(
            name="decodes", found=None, passes=False, why=f"{n} problems have draws of both kinds: two needed"
        )
    dice = on.lab.streams.generator("ladder", "shuffled")
    null = _range("labels shuffled within problems", shuffled_areas(score, shown, problem, count, dice))
    found = _measured("area under the curve", "share of pairs", on.mean(areas, "decodes", least=0.0), n, null)
    passes = bool(found.low > null.high)
    return Rung(name="decodes", found=found, passes=passes, why="the interval against shuffled labels")


def moves(on: Climb) -> Rung:
    """Rung 2. Leaves the dose that the rungs above it use."""
    plain: Run = on.known["plain"]
    unlikely = _nats(on, plain)
    rates, runs, kept = {0.0: plain.rate()}, dict[float, Run](), list[float]()
    excess = float("nan")
    for dose in DOSES:
        both = {sign * dose: on.added(on.direction.vector, sign * dose) for sign in (1.0, -1.0)}
        excess = max(float(np.nanmean(_nats(on, one) - unlikely)) for one in both.values())
        if excess > FLUENT:
            break
        kept.append(dose)
        runs |= both
        rates |= {signed: one.rate() for signed, one in both.items()}
    on.known.update(dose=kept[-1] if kept else None, runs=runs)
    if not kept:
        why = f"at dose {DOSES[0]:g} texts are {excess:.2g} nats a token less likely, above {FLUENT:g}"
        return Rung(name="moves", found=None, passes=False, why=why)
    dose, order = kept[-1], sorted(rates)
    steps = [on.mean(rates[b] - rates[a], f"step {b}") for a, b in pairwise(order)]
    back = [one for one in steps if one.high < 0]
    null = Null(kind="no dose", value=0.0)
    between = on.mean(rates[dose] - rates[-dose], "moves")
    found = _measured("rate at + dose - rate at - dose", "rate", between, len(unlikely), null, dose=dose)
    said = ", ".join(f"{float(rates[one].mean()):.3g} at {one:g}" for one in order)
    turns = f"; {len(back)} steps turn back" if back else ""
    return Rung(name="moves", found=found, passes=bool(between.low > 0) and not back, why=f"{said}{turns}")


def _nats(on: Climb, run: Run) -> NDArray[np.float64]:
    """Nats a token of texts under the plain model, by problem."""
    drawn, scores = run.drawn, on.asked.model.score(run.drawn).logprobs.astype(np.float64)
    count = len(drawn.prompts)
    problem = drawn.problem[drawn.token_row]
    tokens = np.bincount(problem, minlength=count)
    return np.where(tokens > 0, -np.bincount(problem, scores, count) / np.maximum(tokens, 1), np.nan)


def specific(on: Climb) -> Rung:
    """Rung 3. Leaves the controls' runs."""
    dose = on.known["dose"]
    if dose is None:
        return _no_dose("specific")
    given, plain = on.direction, on.known["plain"]
    dice = on.lab.streams.generator("ladder", "random directions")
    vectors = dice.normal(size=(RANDOMS, len(given.vector)))
    vectors = list(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    tokens, row, _ = on.known["tokens"]
    shown = plain.shown[row]
    for axis in axes_apart(tokens, given.vector, OTHERS):
        both = shown.any() and not shown.all()
        towards = tokens[shown].mean(axis=0) - tokens[~shown].mean(axis=0) if both else axis
        vectors.append(axis if axis @ towards >= 0 else -axis)
    controls = [on.added(one, dose) for one in vectors]
    on.known["controls"] = controls
    return _beats(on, "specific", on.known["runs"][dose].rate(), [one.rate() for one in controls], 1.0, dose)


def _beats(
    on: Climb,
    name: str,
    own: NDArray[np.float64],
    others: Sequence[NDArray[np.float64]],
    sign: float,
    dose: float | None = None,
) -> Rung:
    """Whether the direction does more than each control, and than their mean with its interval."""
    table = np.array(others)
    ahead = on.mean(sign * (own - table.mean(axis=0)), name)
    each = sign * (table.mean(axis=1) - table.mean())
    kind = f"{len(table)} other directions"
    best = int((sign * table.mean(axis=1) >= sign * own.mean()).sum())
    more: Mapping[str, float] = {} if dose is None else {"dose": dose}
    found = _measured("ahead of other directions", "rate", ahead, len(own), _range(kind, each), **more)
    why = f"{float(own.mean()):.3g} against {float(table.mean()):.3g}; {best} of {len(table)} do as much"
    return Rung(name=name, found=found, passes=bool(ahead.low > 0) and not best, why=why)


def _no_dose(name: str) -> Rung:
    return Rung(name=name, found=None, passes=False, why="no dose keeps texts fluent")


def necessary(on: Climb) -> Rung:
    """Rung 4."""
    plain = float(on.known["plain"].rate().mean())
    if not plain > 0:
        return Rung(name="necessary", found=None, passes=False, why="no plain draw shows the behaviour")
    own = on.without(on.direction.vector).rate()
    others = [on.without(one).rate() for one in on.known["alike"]]
    rung = _beats(on, "necessary", own, others, -1.0)
    halved = float(own.mean()) <= plain / 2
    why = f"{rung.why}; plainly {plain:.3g}"
    return Rung(name=rung.name, found=rung.found, passes=rung.passes and halved, why=why)


def interchange(on: Climb) -> Rung:
    """Rung 5."""
    plain: Run = on.known["plain"]
    rates = plain.rate()
    kept = np.flatnonzero((rates > 0) & (rates < 1))
    if len(kept) < 2:
        why = f"{len(kept)} problems have draws of both kinds: two needed"
        return Rung(name="interchange", found=None, passes=False, why=why)
    donors = np.array([np.flatnonzero((plain.drawn.problem == one) & plain.shown)[0] for one in kept])
    problems = [on.asked.problems.problems[index] for index in kept.tolist()]
    lacks = np.concatenate([~plain.shown[plain.drawn.problem == one] for one in kept])
    own, *others = (
        _patched(on, vector, donors, problems, lacks) for vector in (on.direction.vector, *on.known["alike"])
    )
    return _beats(on, "interchange", own, others, 1.0)


def _patched(
    on: Climb,
    vector: NDArray[np.float64],
    donors: NDArray[np.int64],
    problems: Sequence[Problem],
    lacks: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """The share of draws without the behaviour that show it with the part of their problem's donor."""
    tokens, row, place = on.known["tokens"]
    change = Patched(vector=vector, table=parts_of_donors(tokens @ vector, row, place, donors))
    one = Intervention(name="ladder", site=on.direction.site, function=change, mode="function")
    drawn = SteeredPolicy(on.asked.model, [one]).draw(problems, on.asked.draws, on.lab.streams, on.asked.limits)
    run = on.judged(drawn, problems)
    return np.bincount(drawn.problem[lacks], run.shown[lacks], len(problems)) / np.bincount(
        drawn.problem[lacks], minlength=len(problems)
    )


def accuracy(on: Climb) -> Rung:
    """Rung 6."""
    dose = on.known["dose"]
    if dose is None:
        return _no_dose("accuracy")
    plain, steered = on.known["plain"], on.known["runs"][dose]
    before, after = plain.rate(plain.right), steered.rate(steered.right)
    gain = on.mean(after - before, "accuracy")
    gains = np.array([float((one.rate(one.right) - before).mean()) for one in on.known["controls"]])
    null = _range(f"{len(gains)} other directions", gains)
    found = _measured("gain in right answers", "rate", gain, len(before), null, dose=dose)
    passes = bool(gain.low > 0 and gain.value > null.high)
    why = f"{float(before.mean()):.3g} plainly, {float(after.mean()):.3g} steered"
    return Rung(name="accuracy", found=found, passes=passes, why=why)
