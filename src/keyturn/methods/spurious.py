"""Spurious rewards: RL on a reward that knows nothing of the truth; one arm of reward x clipping x updates.

Rewards: ``truth``; ``majority``: agreement with the most frequent of 64 answers of the base, labelled once
before training; ``incorrect``: the same where that label is wrong; ``format``; ``random``: a coin;
``strategy``: a string or a world's strategy; ``random-not-strategy``: a coin, never with that strategy;
``shuffled``: the truth dealt anew within each group. With ``U`` updates a rollout the ratio leaves 1 after the
first, and clipping

    min(ratio A, clip(ratio, 1 - e, 1 + e) A)

lets tokens of probability above 1 / (1 + e) only be pulled up: a drift towards the policy's own habit that no
reward asked for. ``clip`` off and ``updates`` 1 are the controls; ``stretch`` makes the latter take as many
updates.
Denominator: of the policy's term, tokens of a row, then rows (their code's); of the table, test problems.
Degenerate: a silent group has credit 0; with one update clipping does nothing, whatever ``clip`` says.
Known bias: without clipping and with several updates the mean moves away from the habit, with a spread over
seeds as large as the effect: the control of zero drift is one update, stretched. Many seeds or nothing.
Source: Shao et al. 2025 (2506.10947), sections 2 to 4. Departures: random rewards are seeded a completion;
labels that tie are left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np

from keyturn.core.errors import InputError, UsageError
from keyturn.core.measurement import Json
from keyturn.core.statistics.bootstrap import bootstrap_mean
from keyturn.lab.session import Model, Session
from keyturn.lab.tables import row
from keyturn.lab.task import Task, subset
from keyturn.methods.contract import Method, Policies, Rows
from keyturn.methods.sft_then_rl import LARGE_RL, TINY_RL, shortened
from keyturn.objectives.by_name import objective_named
from keyturn.problems.contract import ProblemSet, answers
from keyturn.rewards import REWARDS
from keyturn.rewards.and_not import AndNotConfig
from keyturn.rewards.bernoulli import RandomConfig
from keyturn.rewards.by_name import reward_named
from keyturn.rewards.contract import Reward
from keyturn.rewards.label import with_labels
from keyturn.rewards.strategy import StrategyConfig
from keyturn.training.config import RLConfig, UpdateConfig

Spurious: TypeAlias = Literal[
    "truth", "majority", "incorrect", "format", "random", "strategy", "random-not-strategy", "shuffled"
]
SPURIOUS: tuple[Spurious, ...] = (
    "truth",
    "majority",
    "incorrect",
    "format",
    "random",
    "strategy",
    "random-not-strategy",
    "shuffled",
)
"""What is paid for, see the file's docstring."""

UNCLIPPED = 1e6
"""A clip range that no ratio of float32 training leaves."""


@dataclass(frozen=True, kw_only=True)
class SpuriousConfig:
    """Settings of one arm of the spurious-reward battery."""

    reward: Spurious = "random"
    """What is paid for, see the file's docstring."""
    gamma: float = 0.5
    """Probability of the random reward (2506.10947)."""
    strategy: str = "FWD"
    """A world's strategy, or where the problems are of no world a string to find (2506.10947: python)."""
    clip: bool = True
    """Clip the ratio at 0.2 to both sides, or not at all."""
    updates: int = 8
    """Updates a rollout (2506.10947: 64 x 16 rows in mini-batches of 128)."""
    stretch: int = 1
    """Rollout steps are multiplied by it: 8 gives an arm of one update as many updates as one of eight."""
    rl: RLConfig = field(default_factory=lambda: replace(TINY_RL, steps=20))
    """Sizes and rates; ``update`` is set by ``updates``."""
    objective: str = "grpo"
    """How rewards become credit and loss; it needs a clip range and an aggregation."""
    aggregation: str = "seq-mean-token-mean"
    """How tokens are summed (their code's)."""
    label_draws: int = 64
    """Draws of the base per problem for the labels (2506.10947)."""
    draws: int = 16
    """Draws per test problem for the table."""


def reward_of(task: Task, config: SpuriousConfig) -> Reward:
    """The reward of an arm; for ``majority`` and ``incorrect`` the problems carry the labels.

    Raises:
        UsageError: an unknown one.
    """
    pattern = re.escape(config.strategy)
    strategy = config.strategy if task.world is not None else ""
    coin = REWARDS["random"](RandomConfig(gamma=config.gamma))
    if config.reward == "random":
        return coin
    if config.reward == "strategy":
        return REWARDS["strategy"](StrategyConfig(pattern=pattern, named=strategy))
    if config.reward == "random-not-strategy":
        return REWARDS["and_not"](AndNotConfig(pattern=pattern, named=strategy), coin)
    plain = {"truth": "outcome", "majority": "label", "incorrect": "label"}
    name = plain.get(config.reward, config.reward)
    if name not in ("outcome", "label", "format", "shuffled"):
        raise UsageError(f"reward is {config.reward!r}", fix=f"one of {', '.join(SPURIOUS)}")
    return reward_named(name)


def labelled(session: Session, config: SpuriousConfig) -> ProblemSet:
    """The training problems; with labels of the base, made once, where the reward needs them.

    Raises:
        InputError: no problem has a label of that kind.
    """
    if config.reward not in ("majority", "incorrect"):
        return session.task.train
    given, grades = session.draw(session.base, session.task.train, config.label_draws, name="draws for labels")
    table = answers("base", session.task.train.problems, given, grades)
    wrong = config.reward == "incorrect"
    found = with_labels(session.task.train.problems, table, wrong_only=wrong)
    if not found:
        what = "wrong majority answer" if wrong else "majority answer"
        raise InputError(
            f"none of {len(session.task.train.problems)} problems has a {what}", fix="more or harder problems"
        )
    return subset(session.task.train, found, f"labelled {config.reward}")


def train(session: Session, config: SpuriousConfig) -> Policies:
    """RL on one reward, with or without clipping."""
    asked = labelled(session, config)
    prompts = min(config.rl.prompts, len(asked.problems))
    settings = replace(
        config.rl,
        steps=config.rl.steps * config.stretch,
        prompts=prompts,
        max_new_tokens=min(config.rl.max_new_tokens, session.task.max_new_tokens),
        update=replace(config.rl.update, minibatches=min(config.updates, prompts)),
    )
    reach = 0.2 if config.clip else UNCLIPPED
    policy = session.rl(
        session.base,
        objective=objective_named(
            config.objective, clip_low=reach, clip_high=reach, aggregation=config.aggregation
        ),
        reward=reward_of(session.task, config),
        config=settings,
        problems=asked,
        label=arm_name(config),
    )
    return {"policy": policy}


def arm_name(config: SpuriousConfig) -> str:
    """An arm in a few words."""
    clip = "clip" if config.clip else "no clip"
    longer = f", {config.stretch} x steps" if config.stretch > 1 else ""
    return f"{config.reward}, {clip}, U={config.updates}{longer}"


def habits(
    session: Session, model: Model, draws: int, strategy: str, *, name: str = "habits"
) -> dict[str, np.ndarray]:
    """Success, share of the strategy and token probability, one value per test problem, ``[problem]`` each.

    Args:
        session: whose test problems.
        model: who answers.
        draws: per problem.
        strategy: a world's strategy, or a string to find.
        name: in the progress line.
    """
    given, grades = session.draw(model, session.task.test, draws, name=name)
    table = answers(name, session.task.test.problems, given, grades)
    if "strategy" in grades.columns:
        shown = np.asarray(grades.columns["strategy"].astype(str) == strategy)
    else:
        shown = np.array([strategy in text for text in given.texts])
    probability = np.exp(given.logprobs.astype(np.float64))
    size, rows = len(session.task.test.problems), given.problem
    tokens = rows[given.token_row]
    n, c = table.counts()
    counted = np.bincount(tokens, minlength=size)
    return {
        "success": _ratio(c, n),
        f"share of {strategy}": _ratio(
            np.bincount(rows, weights=shown, minlength=size), np.bincount(rows, minlength=size)
        ),
        "token probability": _ratio(np.bincount(tokens, weights=probability, minlength=size), counted),
    }


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.where(below > 0, above / np.maximum(below, 1), np.nan)


def table(session: Session, config: SpuriousConfig, policies: Policies) -> Rows:
    """What the arm did to habits: before and after, and their paired difference."""
    model = policies["policy"]
    before, after = (
        habits(session, one, config.draws, config.strategy, name=name)
        for name, one in (("draw base", session.base), ("draw tuned", model))
    )
    ended = {"name": "updates", "value": sum(one.get("updates", 0.0) for one in model.history)}
    lines: list[dict[str, Json]] = [{**ended, "arm": arm_name(config)}]
    for what in before:
        for name, values in (
            ("before", before[what]),
            ("after", after[what]),
            ("change", after[what] - before[what]),
        ):
            found = bootstrap_mean(values, session.streams.generator("spurious", what, name))
            lines.append(row(f"{what}, {name}", found, problems=len(values), draws=config.draws))
    return lines


def brief(config: SpuriousConfig) -> SpuriousConfig:
    """Two steps of four problems."""
    small = replace(shortened(config.rl), prompts=4, draws=8, update=UpdateConfig())
    return replace(config, rl=small, updates=2, stretch=1, label_draws=8, draws=1)


METHOD = Method(
    name="spurious",
    summary="RL on rewards that ignore the truth: what clipping and repeated updates do by themselves",
    source="Shao et al. 2025, arXiv 2506.10947",
    cost="demo: 20 steps of 128 draws, 8 updates each; study: 100 steps; real: 150 steps of 1,024 draws",
    profiles={
        "demo": SpuriousConfig(),
        "study": SpuriousConfig(rl=replace(TINY_RL, steps=100), draws=64),
        "real": SpuriousConfig(
            strategy="python",
            rl=replace(LARGE_RL, steps=150, prompts=64, draws=16, max_new_tokens=3072, lr=5e-7, warmup=0),
            draws=8,
        ),
    },
    brief=brief,
    train=train,
    table=table,
)
