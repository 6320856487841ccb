"""What a frontier is run on: a base, the problems that are judged, other ones for choices, maybe a tuned model.

The problems on which methods make their choices are never judged. Where a file is all there is, some of its
problems are held out for that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from keyturn.auditing.asking import HELD_OUT, SHOWN, Request, asked_of
from keyturn.auditing.embedded import EMBEDDED, MODELS, Embedded, session_for
from keyturn.auditing.opening import PER_CELL
from keyturn.auditing.sides import Side, problems_called, problems_in, refuse_one_model, side_of
from keyturn.core.errors import UsageError
from keyturn.core.problem import Problem
from keyturn.elicitation.contract import Asked, Exemplar
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.lab.task import Task, world_task
from keyturn.policies.by_name import Loading
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Limits, Policy
from keyturn.problems.contract import ProblemSet
from keyturn.training.config import RLConfig

HOLD_OUT = 0.25
"""Share of a file's problems that is held out for choices where no other problems are given."""
MOST_HELD_OUT = 48
"""Most problems that are held out."""
FEWEST = 8
"""With fewer problems to hold out none are: choices on them would be luck."""


@dataclass(frozen=True, kw_only=True)
class FrontierRequest:
    """What the user specified apart from the ways.

    Args:
        base, tuned: what :func:`~keyturn.auditing.sides.side_of` takes; the name of an embedded world is its
            base, and its tuned model is trained here.
        problems, development, train: what :func:`~keyturn.auditing.sides.problems_in` takes: judged problems,
            problems for choices, and problems that training methods learn from.
        grader, limit, per_cell, max_new_tokens: as for an audit.
        draws: answers per problem of every way.
    """

    base: Any
    tuned: Any = None
    problems: Any = None
    development: Any = None
    train: Any = None
    grader: str = "auto"
    limit: int = 0
    per_cell: int = PER_CELL
    max_new_tokens: int = 0
    draws: int = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """What all ways of a frontier share.

    Args:
        name: short name.
        base_name, tuned_name, problems_name: for people; ``tuned_name`` is empty without a tuned model.
        asked: base, judged problems, draws, development problems and worked solutions.
        choosing: problems on which the best prompt is chosen; none of them is shown or judged. None: there are
            none.
        tuned: the reference model, where it was given.
        trains: how it is made, where it is trained here.
        session: what training methods are run on, or None.
        rl: sizes of RL for objectives.
        notes: what a reader must know, one sentence each.
    """

    name: str
    base_name: str
    tuned_name: str
    problems_name: str
    asked: Asked
    choosing: ProblemSet | None
    tuned: Policy | None = None
    trains: Embedded | None = None
    session: Session | None = None
    rl: RLConfig | None = None
    notes: tuple[str, ...] = ()


def setting_of(lab: Lab, request: FrontierRequest, loading: Loading, *, training: bool) -> Setting:
    """Open the policies and read the problems.

    Args:
        lab: the run directory.
        request: what the user specified.
        loading: how models are loaded and asked.
        training: whether training methods were asked for.

    Raises:
        UsageError: something is missing, or the two models are one.
    """
    if isinstance(request.base, str) and request.base in EMBEDDED and request.problems is None:
        return _embedded(lab, request, loading)
    side = side_of(request.base, "base")
    judged, development, notes = _split(request, side)
    asking = Request(
        problems=judged,
        development=development,
        grader="auto" if judged is not None else request.grader,
        limit=0 if judged is not None else request.limit,
        per_cell=request.per_cell,
        max_new_tokens=request.max_new_tokens,
        draws=request.draws,
    )
    asked = asked_of(side, asking, loading, lab.streams, kept=lab.root / "servers")
    asked, choosing = _apart(asked, world=side.world is not None and judged is None)
    name = asked.problems.name
    setting = Setting(
        name=name,
        base_name=side.name,
        tuned_name="",
        problems_name=f"test problems of the world {name}"
        if judged is None
        else problems_called(request.problems, asked.problems),
        asked=asked,
        choosing=choosing,
        rl=RLConfig(),
        notes=(*notes, *asked.problems.notes),
    )
    if training:
        setting = replace(setting, session=Session(lab, _task(side, asked, request)))
    return _with_tuned(setting, request, loading, lab)


def _with_tuned(setting: Setting, request: FrontierRequest, loading: Loading, lab: Lab) -> Setting:
    if request.tuned is None:
        return setting
    other = side_of(request.tuned, "tuned")
    tuned = other.open(loading, lab.root / "servers")
    refuse_one_model(setting.asked.policy, tuned)
    # Methods that look at a teacher look at the reference model.
    asked = replace(setting.asked, teacher=tuned)
    return replace(setting, asked=asked, tuned=tuned, tuned_name=other.name)


def _embedded(lab: Lab, request: FrontierRequest, loading: Loading) -> Setting:
    """An embedded base on the cells of its audit; its tuned model is the one that the audit trains."""
    if request.development is not None or request.train is not None:
        raise UsageError("an embedded world brings its own problems", fix="leave --development and --train out")
    if request.grader != "auto" or request.limit:
        raise UsageError("a world brings its own problems and grader", fix="leave --grader and --limit out")
    one = EMBEDDED[request.base]
    session = session_for(lab, one, MODELS / one.name, request.per_cell)
    task = session.task
    per_cell: dict[tuple, int] = {}
    held: list[Problem] = []
    for problem in task.validation.problems:
        cell = tuple(sorted(problem.cell.items()))
        per_cell[cell] = per_cell.get(cell, 0) + 1
        if per_cell[cell] <= HELD_OUT:
            held.append(problem)
    development = replace(task.validation, problems=tuple(held))
    shown = task.train.problems[:: max(1, len(task.train.problems) // SHOWN)][:SHOWN]
    told = [(p, task.expert(p, lab.streams.child("expert", p.id)) if task.expert else None) for p in shown]
    asked = Asked(
        policy=task.base,
        problems=task.test,
        draws=range(request.draws),
        streams=lab.streams,
        limits=Limits(max_new_tokens=request.max_new_tokens or task.max_new_tokens),
        development=development,
        exemplars=tuple(Exemplar(problem=p, solution=text) for p, text in told if text),
        in_words=False,
    )
    setting = Setting(
        name=one.name,
        base_name=f"keyturn's shipped base {one.name!r}",
        tuned_name="",
        problems_name=f"{len(task.test.problems)} test problems of {task.test.name}",
        asked=asked,
        choosing=development,
        session=session,
        rl=one.rl,
    )
    if request.tuned is not None:
        return _with_tuned(setting, request, loading, lab)
    said = f"the same after {one.rl.steps} steps of {one.objective} with {one.reward} reward"
    return replace(setting, trains=one, tuned_name=said)


def _split(
    request: FrontierRequest, side: Side
) -> tuple[ProblemSet | None, ProblemSet | None, tuple[str, ...]]:
    """Judged problems, problems for choices, and what is said of them; None for those of a world."""
    development = None if request.development is None else problems_in(request.development, request.grader)
    if request.problems is None:
        return None, development, ()
    found = problems_in(request.problems, request.grader)
    if development is not None:
        kept = found.problems[: request.limit or None]
        return replace(found, problems=kept), development, ()
    rest = found.problems[request.limit :] if request.limit else ()
    if len(rest) >= FEWEST:
        judged, held = found.problems[: request.limit], rest[:MOST_HELD_OUT]
    else:
        judged, held = hold_out(found.problems[: request.limit or None])
    if not held:
        few = f"{len(found.problems)} problems are too few to hold some out: methods that choose are left out"
        return replace(found, problems=tuple(judged)), None, (few,)
    said = f"{len(held)} problems of the file serve for choices and are not judged; {len(judged)} are judged"
    one = replace(found, name=f"{found.name} held out", problems=tuple(held))
    return replace(found, problems=tuple(judged)), one, (said,)


def hold_out(problems: Sequence[Problem]) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Problems to judge and problems for choices, told apart by a hash of their ids; none of the latter where
    they would be fewer than :data:`FEWEST`."""
    order = sorted(problems, key=lambda one: hashlib.sha256(one.id.encode()).digest())
    count = min(int(len(order) * HOLD_OUT), MOST_HELD_OUT)
    if count < FEWEST:
        return tuple(problems), ()
    held = {one.id for one in order[:count]}
    return tuple(p for p in problems if p.id not in held), tuple(p for p in problems if p.id in held)


def _apart(asked: Asked, *, world: bool) -> tuple[Asked, ProblemSet | None]:
    """Where worked solutions stand among the development problems, every second problem is kept from being
    shown, and the best prompt is chosen on these."""
    development = asked.development
    if development is None or world or not asked.exemplars:
        return asked, development
    kept = development.problems[1::2]
    away = {one.id for one in kept}
    shown = tuple(one for one in asked.exemplars if one.problem.id not in away)
    return replace(asked, exemplars=shown), replace(development, problems=kept) if kept else None


def _task(side: Side, asked: Asked, request: FrontierRequest) -> Task:
    """What training methods are run on.

    Raises:
        UsageError: the base is no model folder or Hub id, or a file of problems has none to learn from.
    """
    policy, world = asked.policy, side.world
    if not isinstance(policy, LocalPolicy) or not side.place:
        raise UsageError("training methods need a base by its name", fix="a model folder or a Hub id as BASE")
    device = str(policy.model.device)
    if request.problems is None and world is not None:
        task = world_task(policy, side.place, world, asked.streams, device=device)
        return replace(task, max_new_tokens=asked.limits.max_new_tokens)
    if request.train is None:
        what = "training methods need problems to learn from, and the judged ones are not for that"
        raise UsageError(what, fix="--train FILE")
    learnt = problems_in(request.train, "auto")
    judged = {one.id for one in asked.problems.problems}
    both = [one.id for one in learnt.problems if one.id in judged]
    if both:
        what = f"{len(both)} problems of --train are among those that are judged, e.g. {both[0]}"
        raise UsageError(what, fix="other problems for --train")
    solved = any("solution" in one.facts for one in learnt.problems)
    return Task(
        base=policy,
        folder=side.place,
        train=learnt,
        validation=asked.development or learnt,
        test=asked.problems,
        max_new_tokens=asked.limits.max_new_tokens,
        expert=_solution if solved else None,
        device=device,
    )


def _solution(problem: Problem, streams: Any) -> str | None:
    found = problem.facts.get("solution")
    return str(found) if found else None
