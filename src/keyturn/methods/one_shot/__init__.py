"""One-example RLVR: RL on a single problem, repeated until it fills the batch.

A warm-up run on the whole pool gives each problem's accuracy history; the problem of highest variance (or
another, as ``select`` says) is repeated ``rl.prompts`` times under ids of its own and trained on with

    loss = policy + kl_weight * k3(policy || base) - entropy_weight * entropy

until well after its accuracy saturates. Policies kept during the run are compared on validation problems; the
gain after saturation compares the first saturated one with the best later one on test problems.
Denominator: tokens of the update; in the table, test problems.
Degenerate: saturated groups have credit 0. What still trains the policy then is residual failures, entropy and
KL; the fraction of groups with a learning signal after saturation is in the table.
Known bias: a large part of the paper's headline gain is form (MATH-500: 36.0 base, 65.6 with a reward for form
alone, 73.6 one example). So every number should be read beside the arms ``format`` and ``full``.
Source: Wang et al. 2025 (2504.20571), sections 2 and 3. Departures: the best checkpoint is chosen on
validation, not on the test sets; sampling is at temperature 1 (the paper: 0.6), because our loop learns from
the samples under the distribution they were drawn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from keyturn.core.measurement import Estimate, Json
from keyturn.core.problem import Problem
from keyturn.core.statistics.paired import paired_difference
from keyturn.lab.session import Model, Session
from keyturn.lab.tables import accuracy, row
from keyturn.lab.task import Task, subset
from keyturn.methods.contract import Method, Policies, Rows
from keyturn.methods.one_shot.saturation import LEVEL, StopAfterSaturation, best_later, saturation_step
from keyturn.methods.one_shot.selection import RANKED, Selection, chosen, copies_of, history_of
from keyturn.methods.sft_then_rl import LARGE_RL, TINY_RL, shortened
from keyturn.methods.snapshots import KeepAt, kept_policies
from keyturn.objectives.by_name import objective_named
from keyturn.rewards.by_name import reward_named
from keyturn.rollouts.grades import Answers
from keyturn.training.config import RLConfig, UpdateConfig
from keyturn.training.loop import Hook
from keyturn.training.record import ROLLOUTS


@dataclass(frozen=True, kw_only=True)
class OneShotConfig:
    """Settings of one-example RLVR."""

    select: Selection = "top"
    """Which problem: ``top``, ``median`` or ``bottom`` of the variance ranking, ``unsolvable``, ``random``; or
    ``full`` and ``format``: the whole pool, the latter rewarded for form alone."""
    examples: int = 1
    """How many problems (2504.20571 has pairs, 4 and 16 too)."""
    pool: int = 64
    """Number of training problems in the pool, from the first on; 0 takes all (2504.20571: 1,209)."""
    warmup: RLConfig = field(default_factory=lambda: replace(TINY_RL, steps=32))
    """The run on the pool that gives the ranking; its rollouts are stored."""
    rl: RLConfig = field(default_factory=lambda: replace(TINY_RL, steps=80))
    """The run on the chosen problem; ``prompts`` is how often it is repeated."""
    objective: str = "grpo"
    """How rewards become credit and loss; it must have the three settings below."""
    aggregation: str = "token-mean"
    """How tokens are aggregated (2504.20571 runs verl, whose mean is over tokens)."""
    kl_weight: float = 0.001
    """Weight of the penalty towards the base, per nat (2504.20571)."""
    entropy_weight: float = 0.001
    """Weight of the entropy bonus, per nat (2504.20571)."""
    reward: str = "outcome"
    """How verdicts become rewards."""
    form: str = "format"
    """The reward of the arm ``format``."""
    level: float = LEVEL
    """Training accuracy that counts as saturated."""
    window: int = 5
    """Consecutive steps at that level."""
    times: float = 0.0
    """Stop at this multiple of the saturation step, at the latest at ``rl.steps``; 0: only at ``rl.steps``."""
    keep_every: int = 10
    """Steps between the policies that are kept and compared on validation."""
    product: Literal["validation", "end"] = "validation"
    """The product: from saturation on, the best kept policy by validation; or the final policy."""
    draws: int = 8
    """Draws per validation or test problem."""


def pool_of(task: Task, config: OneShotConfig) -> tuple[Problem, ...]:
    """The problems that are ranked."""
    return task.train.problems[: config.pool or None]


def history(session: Session, config: OneShotConfig) -> np.ndarray:
    """Accuracy of each problem of the pool, each time it was asked in the warm-up, ``[problem, epoch]``.

    There is one warm-up for all replicates.
    """
    pool = pool_of(session.task, config)
    warm = session.replicate(0).rl(
        session.base,
        objective=objective_named(config.objective),
        reward=reward_named(config.reward),
        config=replace(_fitting(session.task, config.warmup, len(pool)), store_rollouts=True),
        problems=subset(session.task.train, pool, "pool"),
        label="warm-up",
    )
    return history_of(warm.path.parent / ROLLOUTS, pool)


def selected(session: Session, config: OneShotConfig) -> tuple[Problem, ...]:
    """The selected training problems, before they are repeated."""
    past = history(session, config) if config.select in RANKED else None
    streams = session.streams.child("select", session.seed)
    return chosen(config.select, pool_of(session.task, config), past, streams, examples=config.examples)


def train(session: Session, config: OneShotConfig) -> Policies:
    """Select, repeat, run RL; ``end`` is the policy at the end of the run."""
    found = selected(session, config)
    whole = config.select in ("full", "format")
    settings = _fitting(session.task, config.rl, len(found) if whole else config.rl.prompts)
    asked = found if whole else copies_of(found, settings.prompts)
    pool = len(pool_of(session.task, config))
    end = session.rl(
        session.base,
        objective=objective_named(
            config.objective,
            aggregation=config.aggregation,
            kl_weight=config.kl_weight,
            entropy_weight=config.entropy_weight,
        ),
        reward=reward_named(config.form if config.select == "format" else config.reward),
        config=settings,
        problems=subset(session.task.train, asked, f"{config.select} of {pool}"),
        hooks=lambda: _hooks(config),
        label=f"RL on {config.select}",
    )
    if config.product == "end":
        return {"policy": end}
    return {"policy": after_saturation(session, end, config).best, "end": end}


def _hooks(config: OneShotConfig) -> Sequence[Hook]:
    steps = tuple(range(config.keep_every, config.rl.steps, config.keep_every))
    hooks: list[Hook] = [KeepAt(steps=steps)]
    if config.times:
        hooks.append(StopAfterSaturation(level=config.level, window=config.window, times=config.times))
    return hooks


def _fitting(task: Task, config: RLConfig, problems: int) -> RLConfig:
    return replace(
        config,
        prompts=min(config.prompts, problems),
        max_new_tokens=min(config.max_new_tokens, task.max_new_tokens),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class AfterSaturation:
    """The effect of a run after its training accuracy had saturated.

    Args:
        best: the best kept policy on validation from saturation on (of all policies if it never saturated).
        saturated: step of saturation, None if there was none.
        rows: the statistic's lines of the table.
    """

    best: Model
    saturated: int | None
    rows: Rows


def after_saturation(session: Session, end: Model, config: OneShotConfig, *, draws: int = 0) -> AfterSaturation:
    """Compare the policies that a run kept after saturation.

    Args:
        session: its validation problems choose and its test problems compare.
        end: the policy at the end of the run.
        config: of the run.
        draws: per problem; by default the config's.
    """
    draws = draws or config.draws
    curve = [one.get("outcome", np.nan) for one in end.history]
    policies = {**kept_policies(session.task, end), len(curve): end}
    saturated = saturation_step(curve, level=config.level, window=config.window)
    valid = {
        step: accuracy(_answers(session, model, draws, test=False), session.streams.child("valid", step)).value
        for step, model in policies.items()
    }
    choice = best_later(valid, saturated or 0)
    if choice is None:
        none = row("gain after saturation", Estimate(np.nan), problems=0)
        return AfterSaturation(best=end, saturated=saturated, rows=(none,))
    best = policies[choice.best]
    if saturated is None:
        none = row("gain after saturation", Estimate(np.nan), problems=0, note="never saturated")
        return AfterSaturation(best=best, saturated=None, rows=(none,))
    rates = [
        _answers(session, policies[step], draws, test=True).rates() for step in (choice.saturated, choice.best)
    ]
    gain = paired_difference(rates[0], rates[1], session.streams.generator("post-saturation"))
    after = [one.get("groups/mixed", np.nan) for one in end.history[saturated:]]
    rows = (
        row("saturated at step", Estimate(saturated)),
        row("best later step, by validation", Estimate(choice.best), compared_with=choice.saturated),
        row("gain after saturation", gain, problems=len(session.task.test.problems), draws=draws),
        row("groups that teach after saturation", Estimate(float(np.nanmean(after)))),
    )
    return AfterSaturation(best=best, saturated=saturated, rows=rows)


def _answers(session: Session, model: Model, draws: int, *, test: bool) -> Answers:
    asked = session.task.test if test else session.task.validation
    return session.answers(model, asked, draws, name=f"draw {asked.name}")


def table(session: Session, config: OneShotConfig, policies: Policies) -> Rows:
    """The training problems, the gain after saturation, and success on the training and test problems."""
    end = policies.get("end", policies["policy"])
    trained_on = selected(session, config)
    told: dict[str, Json] = {
        "name": "trained on",
        "value": len(trained_on),
        "select": config.select,
        "problems": ", ".join(problem.id for problem in trained_on[:4]),
    }
    after = after_saturation(session, end, config)
    asked = subset(session.task.train, trained_on, "asked")
    own = session.scores({"base, asked": session.base, "end, asked": end}, config.draws, problems=asked)
    models = {"base": session.base, "end": end, "chosen on validation": after.best}
    return (told, *after.rows, *own, *session.scores(models, config.draws))


def brief(config: OneShotConfig) -> OneShotConfig:
    """The same settings with two steps of each run on a pool of four."""
    warm = replace(shortened(config.warmup), update=UpdateConfig())
    small = replace(shortened(config.rl), prompts=4, draws=8, update=UpdateConfig())
    return replace(config, pool=4, warmup=warm, rl=small, keep_every=1, times=0.0, draws=1)


METHOD = Method(
    name="one-shot",
    summary="RL on a single problem, the one whose accuracy varied most in a warm-up, long after it is solved",
    source="Wang et al. 2025, arXiv 2504.20571",
    cost="demo: 32 + 80 steps of 128 draws; study: to 5 x saturation, 600 steps; real: 500 + 2,000 steps",
    profiles={
        "demo": OneShotConfig(),
        "study": OneShotConfig(
            pool=128,
            warmup=replace(TINY_RL, steps=96),
            rl=replace(TINY_RL, steps=600),
            times=5.0,
            keep_every=10,
            draws=32,
        ),
        "real": OneShotConfig(
            pool=0,
            warmup=replace(LARGE_RL, steps=500, prompts=128),
            rl=replace(
                LARGE_RL,
                steps=2000,
                prompts=128,
                max_new_tokens=3072,
                weight_decay=0.01,
                update=UpdateConfig(minibatches=8),
            ),
            keep_every=100,
            times=5.0,
            draws=4,
        ),
    },
    brief=brief,
    train=train,
    table=table,
)
