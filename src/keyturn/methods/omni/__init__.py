"""Omni-Thinker: RL on several tasks, one after another in an order chosen by transfer, or together.

Tasks are worlds that share a vocabulary (CHAIN and PAR, structured; CREATE, open-ended, rewarded by rarity),
taught to the base together before RL, or the cells of the given problems. Each is first trained alone, which
gives the backward transfer matrix ``B`` on *validation* problems. ``transfer`` then takes the order with the
least loss, ``reverse`` its reverse, ``joint`` mixes all tasks in every step, ``round-robin`` switches the task
every few steps, and ``average`` averages the weights of the policies trained alone. All have equal steps.
Formula: score of a task = mean reward of its own kind (outcome; CREATE: rarity); ``B_ij`` = score on ``j`` of
the policy trained on ``i`` minus that of the start; orders as in
:mod:`keyturn.methods.omni.many_tasks`. Entropy = mean nats per sampled token. Entropy-matched: the final policy
sampled at the temperature at which its samples have the start's entropy, which removes losses that are only due
to temperature.
Denominator: problems of a task, then tasks: every task has equal weight.
Degenerate: a single task has no order and is refused; stages of zero steps leave the start unchanged.
Known bias: the optimiser restarts with every stage, and ``joint`` has only one stage; rarity grows with the
draws per prompt, which are equal for all arms here.
Source: Omni-Thinker 2025 (2507.14783): tasks in stages, order by backward transfer, joint and merged
baselines. Departures: a reconstruction (the paper was not read whole); orders are chosen on validation, not on
test; no judge model: the open-ended task is scored by counting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError, unknown
from keyturn.core.measurement import Json, json_number
from keyturn.lab.fit_rows import demonstrations, supervised
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task, subset, world_task
from keyturn.methods.contract import Method, Policies, Rows
from keyturn.methods.omni.many_tasks import (
    averaged,
    dealt_together,
    matched_temperature,
    order_by_transfer,
    predicted,
)
from keyturn.methods.sft import TINY
from keyturn.objectives.grpo import grpo
from keyturn.policies.local import Sampling
from keyturn.policies.optimise import FitConfig
from keyturn.problems.contract import ProblemSet
from keyturn.problems.world.worlds import world_named
from keyturn.rewards.contract import Graded, Reward, composed
from keyturn.rewards.outcome import outcome
from keyturn.rewards.rarity import rarity
from keyturn.training.config import RLConfig

RUN = RLConfig(steps=20, prompts=8, draws=8, max_new_tokens=64, batch_rows=64, lr=1e-3, kl_every=0)
SCHEDULES = ("transfer", "reverse", "joint", "round-robin", "average", "none")
Schedule = Literal["transfer", "reverse", "joint", "round-robin", "average", "none"]


@dataclass(frozen=True, kw_only=True)
class OmniConfig:
    """Settings of training on several tasks."""

    worlds: tuple[str, ...] = ("chain", "par", "create")
    """Tasks, as names of worlds; empty: each cell of the task's own training problems is one."""
    schedule: Schedule = "transfer"
    """How the tasks are combined; ``none``: only the fit before RL."""
    demonstrations: int = 120
    """Worked solutions of each task in the fit before RL; 0: no fit, for a base that knows the tasks."""
    fit: FitConfig = field(default_factory=lambda: replace(TINY, steps=300))
    """The fit before RL, on all tasks together."""
    rl: RLConfig = RUN
    """RL on one task (one stage); joint RL has this number of steps for every task."""
    turns: int = 4
    """Turns of each task in the round-robin."""
    temperatures: tuple[float, ...] = (0.5, 0.8, 1.0, 1.3, 1.7)
    """Temperatures at which entropy is measured to match it."""
    draws: int = 8
    """Draws per problem."""
    cell_problems: int = 40
    """Training problems per cell of a world."""
    held_out: int = 12
    """Validation and test problems per cell of a world, each."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Course:
    """The result of a schedule.

    Args:
        model: the final policy.
        stages: the intermediate policies in order, keyed by the task learnt last.
        order: of the tasks, empty if the schedule has none.
        transfer: ``B``, float64 ``[task, task]``.
        expected: predicted final score of every task, NaN if the schedule has no order.
    """

    model: Model
    stages: tuple[tuple[str, Model], ...]
    order: tuple[int, ...]
    transfer: NDArray[np.float64]
    expected: NDArray[np.float64]


def hybrid() -> Reward:
    """Rarity for open-ended problems (CREATE), the outcome for all others."""
    plain, rare = outcome(), rarity()

    def reward(graded: Graded) -> NDArray[np.float32]:
        own = plain.reward(graded)
        is_open = np.array([problem.cell.get("domain") == "create" for problem in graded.asked()], dtype=bool)
        return np.where(is_open, rare.reward(graded), own).astype(np.float32) if is_open.any() else own

    return Reward(
        name="outcome or rarity",
        summary="rarity for open-ended problems, the outcome for all others",
        source="Ours, for the judge of Omni-Thinker (2507.14783)",
        reward=reward,
        config=composed(None, plain, rare),
    )


def tasks_of(session: Session, config: OmniConfig) -> dict[str, Task]:
    """The tasks by name: worlds that share a vocabulary, or cells of the given problems.

    Raises:
        UsageError: fewer than two tasks.
    """
    found: dict[str, Task] = {}
    for name in config.worlds:
        world = world_named(name)
        cells = world.cells("rl")
        found[name] = world_task(
            session.task.base,
            session.task.folder,
            world,
            session.streams,
            train=cells,
            test=cells,
            per_cell=config.cell_problems,
            held_out=config.held_out,
            device=session.task.device,
        )
    if not config.worlds:
        for cell in dict.fromkeys(_cell(problem.cell) for problem in session.task.train.problems):
            parts = (session.task.train, session.task.validation, session.task.test)
            own = [[p for p in part.problems if _cell(p.cell) == cell] for part in parts]
            if all(own):
                train, validation, test = (
                    subset(part, few, cell) for part, few in zip(parts, own, strict=True)
                )
                found[cell] = replace(session.task, train=train, validation=validation, test=test)
    if len(found) < 2:
        raise UsageError(
            "ordering tasks needs more than one", fix="two worlds or more, or problems of several cells"
        )
    return found


def _cell(cell: Mapping[str, str | int]) -> str:
    return " ".join(f"{key} {value}" for key, value in cell.items())


def joined(task: Task, tasks: Mapping[str, Task]) -> Task:
    """All tasks as one."""
    return replace(
        task,
        train=dealt_together("train", [one.train for one in tasks.values()]),
        validation=dealt_together("validation", [one.validation for one in tasks.values()]),
        test=dealt_together("test", [one.test for one in tasks.values()]),
        max_new_tokens=max(one.max_new_tokens for one in tasks.values()),
    )


def started(session: Session, tasks: Mapping[str, Task], config: OmniConfig) -> Model:
    """The base after a fit to worked solutions of all tasks together."""
    if not config.demonstrations:
        return session.base
    rows = []
    for name, one in tasks.items():
        asked = one.train.problems[:: max(1, len(one.train.problems) // config.demonstrations)]
        streams = session.streams.child("expert", name)
        rows += supervised(session.task.base, demonstrations(one, asked[: config.demonstrations], streams))
    return session.replicate(0).fit(session.base, rows, config.fit, label="all tasks shown")


def learnt(session: Session, start: Model, config: OmniConfig, steps: int, label: str) -> Model:
    """RL on the training problems of a task."""
    settings = replace(config.rl, steps=steps, max_new_tokens=session.task.max_new_tokens)
    return session.rl(
        start,
        objective=grpo(),
        reward=hybrid(),
        config=settings,
        label=f"RL {label}",
    )


def score(session: Session, model: Model, asked: ProblemSet, draws: int, temperature: float = 1.0) -> float:
    """Mean reward of a policy on problems of a task."""
    sampling = None if temperature == 1.0 else Sampling(temperature=temperature)
    found, grades = session.draw(model, asked, draws, name="score", sampling=sampling)
    graded = Graded(
        problems=asked.problems, completions=found, grades=grades, streams=session.streams.child("score")
    )
    return float(np.nanmean(hybrid().reward(graded)))


def scored(
    lab: Lab,
    tasks: Mapping[str, Task],
    model: Model,
    config: OmniConfig,
    *,
    test: bool,
    temperature: float = 1.0,
) -> NDArray[np.float64]:
    """Score on every task, float64 ``[task]``."""
    return np.array(
        [
            score(Session(lab, one), model, one.test if test else one.validation, config.draws, temperature)
            for one in tasks.values()
        ]
    )


def entropy(lab: Lab, tasks: Mapping[str, Task], model: Model, config: OmniConfig) -> NDArray[np.float64]:
    """Mean nats per sampled token on the test problems of every task, float64 ``[task]``."""
    return np.array(
        [
            float(Session(lab, one).draw(model, one.test, config.draws, name="score")[0].entropies.mean())
            for one in tasks.values()
        ]
    )


def matched(
    lab: Lab, tasks: Mapping[str, Task], model: Model, config: OmniConfig, target: float
) -> tuple[float, NDArray[np.float64]]:
    """The temperature at which a policy's samples have ``target`` nats per token, and its scores there.

    The entropy of samples at a temperature is minus the mean log-probability of their tokens.
    """
    nats = []
    for temperature in config.temperatures:
        sampling = None if temperature == 1.0 else Sampling(temperature=temperature)
        each = [
            -float(
                Session(lab, one)
                .draw(model, one.validation, config.draws, name="heat", sampling=sampling)[0]
                .logprobs.mean()
            )
            for one in tasks.values()
        ]
        nats.append(float(np.mean(each)))
    found = round(matched_temperature(config.temperatures, nats, target), 3)
    return found, scored(lab, tasks, model, config, test=True, temperature=found)


def train(session: Session, config: OmniConfig) -> Policies:
    """Fit all tasks, then run RL on them by the schedule; ``start`` is the policy before RL."""
    tasks = tasks_of(session, config)
    start = started(session, tasks, config)
    return {"policy": by_schedule(session, tasks, start, config).model, "start": start}


def by_schedule(session: Session, tasks: Mapping[str, Task], start: Model, config: OmniConfig) -> Course:
    """Train on all tasks by the config's schedule."""
    names, steps = list(tasks), config.rl.steps
    unordered = (np.full((len(names),) * 2, np.nan), np.full(len(names), np.nan))
    if config.schedule not in SCHEDULES:
        raise unknown("schedule", config.schedule, SCHEDULES)
    if config.schedule == "none":
        return Course(model=start, stages=(), order=(), transfer=unordered[0], expected=unordered[1])
    if config.schedule == "joint":
        one = learnt(
            session.on(joined(session.task, tasks)),
            start,
            config,
            steps * len(names),
            "joint",
        )
        return Course(
            model=one, stages=(("joint", one),), order=(), transfer=unordered[0], expected=unordered[1]
        )
    if config.schedule == "round-robin":
        turns = [name for _ in range(config.turns) for name in names]
        lengths = [steps * (at + 1) // config.turns - steps * at // config.turns for at in range(config.turns)]
        passed = _in_turn(session, tasks, start, config, turns, [n for n in lengths for _ in names])
        return Course(
            model=passed[-1][1], stages=passed, order=(), transfer=unordered[0], expected=unordered[1]
        )
    alone = [learnt(session.on(tasks[name]), start, config, steps, name) for name in names]
    if config.schedule == "average":
        one = averaged(session, alone)
        return Course(
            model=one, stages=(("average", one),), order=(), transfer=unordered[0], expected=unordered[1]
        )
    before = scored(session.lab, tasks, start, config, test=False)
    after = np.array([scored(session.lab, tasks, model, config, test=False) for model in alone])
    transfer = after - before
    order = order_by_transfer(transfer)
    order = order if config.schedule == "transfer" else order[::-1]
    passed = _in_turn(session, tasks, start, config, [names[i] for i in order], [steps] * len(order))
    return Course(
        model=passed[-1][1],
        stages=passed,
        order=order,
        transfer=transfer,
        expected=predicted(order, np.diag(after), transfer),
    )


def _in_turn(
    session: Session,
    tasks: Mapping[str, Task],
    start: Model,
    config: OmniConfig,
    names: Sequence[str],
    steps: Sequence[int],
) -> tuple[tuple[str, Model], ...]:
    now, passed = start, []
    for name, count in zip(names, steps, strict=True):
        if count:
            now = learnt(session.on(tasks[name]), now, config, count, name)
        passed.append((name, now))
    return tuple(passed)


def table(session: Session, config: OmniConfig, policies: Policies) -> Rows:
    """Transfer, scores and entropy after each stage, and scores at the start's entropy."""
    tasks, start = tasks_of(session, config), policies["start"]
    names = list(tasks)
    made = by_schedule(session, tasks, start, config)
    lines: list[Mapping[str, Json]] = []
    for source, effects in zip(names, made.transfer, strict=True):
        for target, effect in zip(names, effects, strict=True):
            if np.isfinite(effect):
                lines.append({"name": f"transfer from {source} to {target}", "value": json_number(effect)})
    for at, (name, model) in enumerate((("start", start), *made.stages)):
        heat = entropy(session.lab, tasks, model, config)
        own = scored(session.lab, tasks, model, config, test=True)
        for target, nats, value in zip(names, heat, own, strict=True):
            label = f"stage {at}, {name}: {target}"
            lines.append({"name": label, "value": json_number(value), "nats": json_number(nats)})
    target = float(entropy(session.lab, tasks, start, config).mean())
    temperature, same = matched(session.lab, tasks, made.model, config, target)
    for name, value, expected in zip(names, same, made.expected, strict=True):
        lines.append(
            {
                "name": f"at the start's entropy: {name}",
                "value": json_number(value),
                "temperature": temperature,
                "predicted at temperature 1": json_number(expected),
            }
        )
    return lines


def brief(config: OmniConfig) -> OmniConfig:
    """The same settings with two steps of everything, on the first two worlds."""
    return replace(
        config,
        worlds=config.worlds[:2],
        demonstrations=2,
        fit=replace(config.fit, steps=2, batch_rows=2, bucket_batches=1, warmup=0),
        rl=replace(config.rl, steps=2, prompts=2, draws=2),
        temperatures=(0.8, 1.0),
        turns=1,
        draws=1,
        cell_problems=2,
        held_out=1,
    )


METHOD = Method(
    name="omni",
    summary="learn several tasks in the order that transfer suggests, in reverse, together, or averaged",
    source="Omni-Thinker 2025, arXiv 2507.14783",
    cost="demo: 300 supervised steps, 5 stages of 20 RL steps; study: 2,000 and 5 x 200; real: cells as tasks",
    domain="chain",
    needs=frozenset({"world"}),
    profiles={
        "demo": OmniConfig(),
        "study": OmniConfig(
            demonstrations=2000,
            fit=replace(TINY, steps=2000),
            rl=replace(RUN, steps=200),
            draws=32,
            cell_problems=400,
            held_out=48,
        ),
        "real": OmniConfig(worlds=(), demonstrations=0, rl=replace(RUN, steps=200, lr=1e-6), draws=16),
    },
    brief=brief,
    train=train,
    table=table,
)
