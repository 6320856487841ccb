"""SRL: RL that rewards each step by its similarity to an expert's, then, optionally, RLVR on whole answers.

Formula: from a solution ``y_1 .. y_N`` come problems ``[x, y_1 .. y_(k-1)]``; a drawn step ``a_i`` is paid ``2
M(a_i, y_k) / (|a_i| + |y_k|)`` (see :mod:`keyturn.rewards.step_similarity`), -1 if malformed, and any
objective learns from these rewards (GRPO). With ``rl.rounds`` above 1, groups with a single reward value are
dropped and further steps asked. Controls: ``targets`` ``shuffled`` rewards similarity to the step of another
problem at the same place (form alone), ``whole`` treats the whole solution as one step; ``learn`` ``imitate``
fits the same steps, with the same number of gradient tokens as the draws of RL.
Denominator: the objective's; of the table, test problems.
Degenerate: no problem that the base fails within ``hard_draws``, or no expert, is an error.
Known bias: other valid steps are punished and copies of the context are paid; the expert's text is teaching
beyond anything that the base knows, so a gain is no evidence of what was latent. With a monologue -1 for bad
form dominates the variance at first.
Source: Supervised Reinforcement Learning (OpenReview Uro84w2xz5, ICLR 2026). Departures: no monologue in a
controlled world (its models have no words for one); no KL term by default (its weight is not published);
epsilon of dynamic sampling is 0; steps are a world's ``;`` or a text's lines, there numbered by the solution's
author.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from keyturn.core.errors import InputError, UsageError
from keyturn.core.measurement import Json
from keyturn.core.problem import Problem
from keyturn.lab.fit_rows import demonstrations, encoded, supervised
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task, subset
from keyturn.methods.contract import Method, Policies, Rows
from keyturn.methods.sft import LARGE, TINY
from keyturn.methods.sft_then_rl import LARGE_RL, TINY_RL, shortened
from keyturn.methods.srl.steps import (
    OneStep,
    layout_of,
    shuffled_targets,
    step_problems,
    step_set,
    whole_problems,
)
from keyturn.methods.token_budget import for_tokens, tokens_a_row
from keyturn.objectives.by_name import objective_named
from keyturn.policies.fit import Row
from keyturn.policies.optimise import FitConfig
from keyturn.policies.protocol import Limits
from keyturn.problems.contract import ProblemSet
from keyturn.rewards.by_name import reward_named
from keyturn.rewards.step_similarity import StepSimilarityConfig, step_similarity
from keyturn.training.config import RLConfig

ASKS = "Think about the next step, end your thoughts with </think>, then write that step alone."
"""How a next step is asked for in plain words."""


@dataclass(frozen=True, kw_only=True)
class SrlConfig:
    """Settings of supervised reinforcement learning."""

    learn: Literal["reinforce", "imitate"] = "reinforce"
    """Learn by RL on the similarity of drawn steps, or by fitting the expert's steps (the control)."""
    targets: Literal["steps", "shuffled", "whole"] = "steps"
    """The expert's next step; a step of another problem (placebo); or the whole solution at once."""
    train_problems: int = 0
    """Number of training problems with solutions, from the first on; 0 takes all."""
    hard_draws: int = 16
    """Use only problems that the base never solves in this number of draws; 0 takes all."""
    marker: str = ""
    """What ends the monologue (SRL: "</think>"); empty: none, the completion is the step."""
    step_tokens: int = 0
    """Length limit of a step including its monologue, in tokens; 0: the length of the expert's longest step."""
    rl: RLConfig = field(default_factory=lambda: replace(TINY_RL, rounds=3))
    """Sizes and rates on steps; ``rounds`` above 1 is dynamic sampling (SRL: until the batch is full)."""
    objective: str = "grpo"
    """How rewards become credit and loss."""
    fit: FitConfig = field(default_factory=lambda: TINY)
    """Schedule where steps are imitated; its steps follow from the tokens of ``rl``."""
    then_rlvr: bool = False
    """Go on with RL on whole answers (SRL then RLVR)."""
    rlvr: RLConfig = field(default_factory=lambda: TINY_RL)
    """Sizes and rates of that RL."""
    reward: str = "outcome"
    """Its reward."""
    draws: int = 8
    """Draws per test problem for the table."""


def hard(session: Session, config: SrlConfig) -> ProblemSet:
    """Training problems that the base never solves.

    Raises:
        InputError: it solves all of them.
    """
    asked = subset(session.task.train, session.task.train.problems[: config.train_problems or None], "asked")
    if not config.hard_draws:
        return asked
    given, grades = session.draw(session.base, asked, config.hard_draws, name="hard problems")
    good = grades.verified if np.isfinite(grades.verified).any() else grades.outcome
    solved = set(given.problem[good >= 1.0].tolist())
    kept = [problem for index, problem in enumerate(asked.problems) if index not in solved]
    if not kept:
        raise InputError(
            f"the base solves all of {len(asked.problems)} problems within {config.hard_draws} draws",
            fix="harder problems, or hard_draws 0",
        )
    return subset(session.task.train, kept, f"unsolved in {config.hard_draws}")


def targets(session: Session, config: SrlConfig, asked: Sequence[Problem]) -> tuple[Problem, ...]:
    """The step-wise problems: each has its target in the fact ``step``."""
    pairs = demonstrations(session.task, asked, session.streams.child("expert"))
    bare = [(problem, _bare(session.task, text)) for problem, text in pairs]
    if config.targets == "whole":
        return whole_problems(bare)
    found = step_problems(bare, layout_of(session.task, ASKS if config.marker else ""))
    return shuffled_targets(found, session.streams.child("srl")) if config.targets == "shuffled" else found


def _bare(task: Task, text: str) -> str:
    """A solution without the end of sequence that it may spell out."""
    ids = [token for token in encoded(task.base, text) if token not in task.base.ends]
    return str(task.base.tokenizer.decode(ids)) if task.world is not None else text


def limit(task: Task, config: SrlConfig, steps: Sequence[Problem]) -> int:
    """Tokens that a step may have."""
    longest = max(len(encoded(task.base, str(step.facts["step"]))) for step in steps)
    return config.step_tokens or longest


def train(session: Session, config: SrlConfig) -> Policies:
    """Learn from the steps of problems that the base fails, then, with ``then_rlvr``, from whole answers.

    The policy that learnt from steps alone is in the slot ``steps``.

    Raises:
        UsageError: an unknown way to learn, or unknown targets.
    """
    if config.learn not in ("reinforce", "imitate"):
        raise UsageError(f"learn is {config.learn!r}", fix="take 'reinforce' or 'imitate'")
    if config.targets not in ("steps", "shuffled", "whole"):
        raise UsageError(f"targets is {config.targets!r}", fix="take 'steps', 'shuffled' or 'whole'")
    asked = hard(session, config)
    steps = targets(session, config, asked.problems)
    imitate = config.learn == "imitate"
    learnt = imitated_steps(session, config, steps) if imitate else reinforced_steps(session, config, steps)
    if not config.then_rlvr:
        return {"policy": learnt}
    return {"policy": rlvr(session, learnt, config, asked), "steps": learnt}


def reinforced_steps(session: Session, config: SrlConfig, steps: Sequence[Problem]) -> Model:
    """RL on steps, each paid by its likeness to the expert's."""
    settings = StepSimilarityConfig(marker=config.marker)
    tokens = limit(session.task, config, steps)
    sizes = replace(config.rl, max_new_tokens=tokens, prompts=min(config.rl.prompts, len(steps)))
    cut = "" if config.marker or config.targets == "whole" else layout_of(session.task).ends
    return session.rl(
        session.base,
        objective=objective_named(config.objective),
        reward=step_similarity(settings),
        config=sizes,
        problems=step_set(steps, settings, f"{config.targets} of {session.task.train.name}"),
        rollout=OneStep(sizes.draws, Limits(max_new_tokens=tokens, batch_rows=sizes.batch_rows), cut),
        label=f"SRL, {config.targets}",
    )


def imitated_steps(session: Session, config: SrlConfig, steps: Sequence[Problem]) -> Model:
    """Fit the expert's steps, one row per step, with as many gradient tokens as the draws of ``config.rl``
    have."""
    rows = step_rows(session.task, steps)
    tokens = round(tokens_a_row(rows) * config.rl.steps * config.rl.prompts * config.rl.draws)
    fit = for_tokens(rows, config.fit, tokens)
    return session.fit(
        session.base,
        rows,
        fit,
        label=f"imitate {config.targets}",
    )


def step_rows(task: Task, steps: Sequence[Problem]) -> list[Row]:
    """One row per step; the end of sequence is learnt only after the last step of a solution."""
    rows = supervised(task.base, [(step, str(step.facts["step"])) for step in steps])
    ends = set({step.id.rsplit(" ", 1)[0]: step.id for step in steps}.values())
    return [
        row if step.id in ends else replace(row, tokens=row.tokens[:-1], weights=row.weights[:-1])
        for row, step in zip(rows, steps, strict=True)
    ]


def rlvr(session: Session, start: Model, config: SrlConfig, asked: ProblemSet) -> Model:
    """RL on whole answers to the same problems."""
    sizes = replace(
        config.rlvr,
        max_new_tokens=min(config.rlvr.max_new_tokens, session.task.max_new_tokens),
        prompts=min(config.rlvr.prompts, len(asked.problems)),
    )
    return session.rl(
        start,
        objective=objective_named(config.objective),
        reward=reward_named(config.reward),
        config=sizes,
        problems=asked,
        label="RLVR",
    )


def table(session: Session, config: SrlConfig, policies: Policies) -> Rows:
    """The training data, and success before training, after the steps, and after whole answers."""
    asked = hard(session, config)
    steps = targets(session, config, asked.problems)
    models = {
        "base": session.base,
        f"{config.learn} {config.targets}": policies.get("steps", policies["policy"]),
    }
    if config.then_rlvr:
        models["then RLVR"] = policies["policy"]
    facts: list[dict[str, Json]] = [
        {
            "name": "problems that the base fails",
            "value": len(asked.problems),
            "of": len(session.task.train.problems),
        },
        {"name": "steps", "value": len(steps), "tokens a step at most": limit(session.task, config, steps)},
    ]
    return (*facts, *session.scores(models, config.draws))


def brief(config: SrlConfig) -> SrlConfig:
    """The same settings with two steps of everything and no monologue, which two steps cannot teach."""
    return replace(
        config,
        hard_draws=min(config.hard_draws, 2),
        marker="",
        step_tokens=min(config.step_tokens, 8),
        rl=replace(shortened(config.rl), draws=8, rounds=4),
        rlvr=shortened(config.rlvr),
        fit=replace(config.fit, batch_rows=2, bucket_batches=1, warmup=0),
        draws=1,
    )


METHOD = Method(
    name="srl",
    summary="RL that pays each step by its similarity to the expert's next step; then RLVR, if wanted",
    source="Supervised Reinforcement Learning, ICLR 2026, OpenReview Uro84w2xz5",
    cost="demo: 40 steps on steps and 40 on answers; study: 400 of each; real: 200 of each",
    domain="chain",
    needs=frozenset({"expert"}),
    profiles={
        "demo": SrlConfig(then_rlvr=True),
        "study": SrlConfig(
            then_rlvr=True,
            hard_draws=64,
            rl=replace(TINY_RL, steps=400, rounds=3),
            rlvr=replace(TINY_RL, steps=400),
            draws=64,
        ),
        "real": SrlConfig(
            then_rlvr=True,
            marker="</think>",
            step_tokens=1024,
            rl=replace(LARGE_RL, rounds=4),
            fit=LARGE,
            rlvr=LARGE_RL,
            draws=4,
        ),
    },
    brief=brief,
    train=train,
    table=table,
)
