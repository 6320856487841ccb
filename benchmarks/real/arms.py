"""The arms of the study: what is trained, on which problems, and with which sizes.

Every arm starts from the same base and is asked the same test problems in the same way. RL learns from the
right answer; what it must beat learns from a coin, from the form alone, from one problem, from worked
solutions, or from the base's own right answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import tasks

from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.lab.fit_rows import demonstrations, supervised
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task, subset
from keyturn.methods.one_shot.selection import copies_of
from keyturn.methods.rejection import RejectionConfig
from keyturn.methods.rejection import train as rejection
from keyturn.objectives.by_name import objective_named
from keyturn.policies.local import LocalPolicy
from keyturn.policies.optimise import FitConfig
from keyturn.problems.contract import ProblemSet
from keyturn.problems.examples import with_examples
from keyturn.problems.graders import GRADERS
from keyturn.rewards.by_name import reward_named
from keyturn.training.config import RLConfig, UpdateConfig

STOPS = ("Question:", "\n\n")
"""What ends an answer: the next example of a few-shot prompt, or the blank line before it."""
TOKENS = 48
"""Length limit: the longest worked solution (five numbers) has 48 tokens with the blank line behind it."""
DRAWS = 4
"""Draws per test problem of every policy, and of the base on training problems."""
ASKED = 64
"""Training problems that the base is asked before rejection fine-tuning and before one example is chosen."""
RL = RLConfig(
    steps=4,
    prompts=8,
    draws=8,
    max_new_tokens=28,
    batch_rows=64,
    lr=3e-5,
    kl_every=0,
    checkpoint_every=2,
    keep_checkpoints=1,
    update=UpdateConfig(micro_tokens=1024),
)
FIT = FitConfig(
    steps=12,
    batch_rows=8,
    micro_rows=4,
    lr=3e-5,
    warmup=2,
    betas=(0.9, 0.999),
    weight_decay=0.0,
    bucket_batches=1,
)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many test problems of each kind."""

    three: int = 20
    four: int = 8
    five: int = 4
    stories: int = 8


SHORT = Sizes(three=12, four=4, five=0, stories=0)
"""Of the second study."""


def task_of(base: LocalPolicy, folder: str, streams: Streams, sizes: Sizes = Sizes()) -> Task:
    """Sums of three numbers to learn from; sums of three, four and five and word problems to report."""
    three = tasks.sums(3, 96 + 20 + 16, streams)
    held_out = [*tasks.sums(4, sizes.four, streams), *tasks.sums(5, sizes.five, streams)]
    asked = behind("test", [*three[96 : 96 + sizes.three], *held_out], tasks.EXAMPLES)
    if sizes.stories:
        told = behind("stories", tasks.stories(sizes.stories, streams), tasks.STORIES)
        asked = replace(asked, problems=(*asked.problems, *told.problems))
    return Task(
        base=base,
        folder=folder,
        train=behind("train", three[:96], tasks.EXAMPLES),
        validation=behind("validation", three[116:], tasks.EXAMPLES),
        test=asked,
        max_new_tokens=TOKENS,
        expert=lambda problem, streams: str(problem.facts["solution"]),
    )


def behind(name: str, problems: list[Problem], examples: tuple[Problem, ...]) -> ProblemSet:
    """Problems behind their worked examples, judged as GSM8K's."""
    return with_examples(ProblemSet(name=name, problems=tuple(problems), grader=GRADERS["gsm8k"]), examples)


def on_train(session: Session) -> tuple[ProblemSet, np.ndarray]:
    """Training problems that the base is asked, and its success on each: rejection fine-tuning's draws."""
    asked = subset(session.task.train, session.task.train.problems[:ASKED], "first")
    return asked, session.answers(session.base, asked, DRAWS, name="round 1").rates()


def reinforced(reward: str, steps: int = RL.steps) -> Callable[[Session], Model]:
    """Training by RL with a reward."""

    def train(session: Session) -> Model:
        return session.rl(
            session.base,
            objective=objective_named("rloo"),
            reward=reward_named(reward),
            config=replace(RL, steps=steps),
            label=f"RL, {reward} reward, seed {session.seed}",
        )

    return train


def one_example(session: Session) -> Model:
    """RL on copies of one problem: the one whose rewards vary most among the base's draws."""
    asked, rates = on_train(session)
    best = int(np.argmax(rates * (1 - rates)))
    return session.rl(
        session.base,
        objective=objective_named("rloo"),
        reward=reward_named("outcome"),
        config=RL,
        problems=subset(asked, copies_of(asked.problems[best : best + 1], RL.prompts), "one"),
        label="RL, one example",
    )


def imitated(session: Session) -> Model:
    """SFT on worked solutions."""
    pairs = demonstrations(session.task, session.task.train.problems, session.streams.child("expert"))
    return session.fit(session.base, supervised(session.task.base, pairs), FIT, label="SFT")


def rejected(session: Session) -> Model:
    """Rejection fine-tuning: SFT on the base's own right answers."""
    return rejection(session, RejectionConfig(train_problems=ASKED, draws=DRAWS, success="outcome", fit=FIT))[
        "policy"
    ]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One policy of the study.

    Args:
        name: in files and tables.
        says: what it learns from.
        train: makes it.
        seed: of its training.
    """

    name: str
    says: str
    train: Callable[[Session], Model]
    seed: int = 0


BASE = Arm(name="base", says="nothing", train=lambda session: session.base)
FIRST = Arm(name="RL-0", says="the right answer", train=reinforced("outcome"))
ARMS = (
    BASE,
    FIRST,
    Arm(name="one-example", says="the right answer to one problem", train=one_example),
    Arm(name="random-reward", says="a coin", train=reinforced("random")),
    Arm(name="RL-1", says="the right answer", train=reinforced("outcome"), seed=1),
    Arm(name="RL-2", says="the right answer", train=reinforced("outcome"), seed=2),
    Arm(name="SFT", says="worked solutions", train=imitated),
    Arm(name="rejection", says="the base's own right answers", train=rejected),
    Arm(name="format-reward", says="an answer behind ####, right or wrong", train=reinforced("format")),
)
"""In the order of what they are worth."""
