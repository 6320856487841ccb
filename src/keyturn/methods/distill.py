"""Distillation: imitate the solutions of an expert or of another policy, with traces that are right, wrong or
empty.

Formula: that of SFT, ``loss = - sum_i w_i log p(y_i | x, y_<i) / sum_i w_i`` with ``w`` 1 on the tokens of
the solution (``[row, token]``). The traces are ``valid``, ``invalid`` (right form, wrong numbers),
``swapped`` (another problem's), ``filler`` (the same length, no content) or absent (``none``), and each
stands before the right or a wrong answer. With ``gradient_tokens`` every kind learns from the same number of
tokens.
Denominator: weighted tokens of the batch.
Degenerate: neither an expert nor a teacher, or a teacher that solves nothing, is an error.
Known bias: what is filtered by its answer keeps the teacher's wrong traces with lucky answers, where nobody
reads traces. A wrong trace under a right answer still teaches the distribution of answers.
Source: sequence-level distillation, Kim & Rush 2016 (1606.07947); traces of other problems: Stechly et al. 2025
(2505.13775); form against validity: Wang et al. 2023 (2212.10001). Departures: those two are about traces of a
search and about prompts; here every kind of trace is fine-tuned on, at equal tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from keyturn.core.errors import InputError, UsageError
from keyturn.core.measurement import Json
from keyturn.lab.fit_rows import demonstrations, encoded, supervised
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task, subset
from keyturn.methods.contract import Method, Policies, Rows
from keyturn.methods.rejection import successes
from keyturn.methods.sft import LARGE, TINY
from keyturn.methods.token_budget import for_tokens, tokens_a_row
from keyturn.methods.traces import Kind, Worked, parted, remade
from keyturn.policies.optimise import FitConfig


@dataclass(frozen=True, kw_only=True)
class DistillConfig:
    """Settings of distillation."""

    traces: Kind = "valid"
    """What the traces are, see the file's docstring."""
    answer: Literal["right", "wrong"] = "right"
    """The answer behind the trace."""
    wrong: float = 1.0
    """Share of the numbers of an invalid trace that are changed."""
    source: Literal["auto", "teacher", "expert"] = "auto"
    """Who solves: the policy of the slot ``teacher``, or the expert; ``auto``: a teacher where there is one."""
    train_problems: int = 200
    """How many training problems, from the first on; 0 takes all."""
    teacher_draws: int = 4
    """Answers of the teacher per problem; one that succeeds is kept."""
    filler: str = "~"
    """A word of an empty trace (the controlled world's; "." for plain text)."""
    fit: FitConfig = field(default_factory=lambda: TINY)
    """Schedule and sizes."""
    gradient_tokens: int = 0
    """Number of tokens to learn from, the same for every kind of trace; 0 leaves ``fit.steps`` as it is."""
    draws: int = 8
    """Draws per test problem for the table."""


def solutions(session: Session, config: DistillConfig) -> list[Worked]:
    """Right solutions by the teacher or the expert.

    Raises:
        UsageError: neither is there, or not the one that is asked for.
        InputError: the teacher solved nothing.
    """
    taught = config.source == "teacher" or (config.source == "auto" and "teacher" in session.task.others)
    asked = subset(
        session.task.train, session.task.train.problems[: config.train_problems or None], "distilled"
    )
    if not taught:
        if session.task.expert is None:
            raise UsageError(
                "distill needs a teacher or worked solutions",
                fix="--teacher MODEL, or problems with a column 'solution'",
            )
        pairs = demonstrations(session.task, asked.problems, session.streams.child("expert"))
        return [parted(problem, text) for problem, text in pairs]
    if "teacher" not in session.task.others:
        raise UsageError(
            "distill was asked to use a teacher's answers, but has no teacher", fix="--teacher MODEL"
        )
    teacher = Model("teacher", session.task.others["teacher"])
    given, grades = session.draw(teacher, asked, config.teacher_draws, name="teacher")
    kept = successes(given, grades, 1)
    if not kept:
        raise InputError(
            f"the teacher solves none of {len(asked.problems)} problems",
            fix="more teacher_draws, or another one",
        )
    return [parted(asked.problems[int(given.problem[row])], given.texts[row]) for row in kept]


def material(session: Session, config: DistillConfig) -> list[Worked]:
    """What is learnt from: the solutions with traces of the kind that is asked for."""
    if config.answer not in ("right", "wrong"):
        raise UsageError(f"answer is {config.answer!r}", fix="take 'right' or 'wrong'")
    found = solutions(session, config)
    count = (
        {one.trace: _tokens(session.task, one.trace) for one in found} if config.traces == "filler" else None
    )
    return remade(
        found,
        config.traces,
        session.streams.child("distill"),
        right=config.answer == "right",
        wrong=config.wrong,
        filler=config.filler,
        count=count,
    )


def _tokens(task: Task, text: str) -> int:
    ends = set(task.base.ends)
    return sum(token not in ends for token in encoded(task.base, text))


def train(session: Session, config: DistillConfig) -> Policies:
    """Fit the base to the solutions; replicates differ in the order of the rows."""
    rows = supervised(session.task.base, [(one.problem, one.text) for one in material(session, config)])
    fit = for_tokens(rows, config.fit, config.gradient_tokens)
    return {"policy": session.fit(session.base, rows, fit, label=f"distil {config.traces} traces")}


def table(session: Session, config: DistillConfig, policies: Policies) -> Rows:
    """What was learnt from, and success before and after; the teacher stands beside it where there is one."""
    models = {"base": session.base, f"distilled, {config.traces} traces": policies["policy"]}
    if "teacher" in session.task.others and config.source != "expert":
        models["teacher"] = Model("teacher", session.task.others["teacher"])
    facts = _facts(session.task, material(session, config), config)
    return (*facts, *session.scores(models, config.draws))


def _facts(task: Task, taught: Sequence[Worked], config: DistillConfig) -> list[dict[str, Json]]:
    rows = supervised(task.base, [(one.problem, one.text) for one in taught])
    fit = for_tokens(rows, config.fit, config.gradient_tokens)
    learnt = tokens_a_row(rows) * fit.batch_rows * fit.steps
    words = float(np.mean([len(one.trace.split()) for one in taught]))
    return [
        {"name": "solutions", "value": len(taught), "traces": config.traces, "answers": config.answer},
        {"name": "words of a trace", "value": words},
        {"name": "tokens learnt from", "value": learnt, "steps": fit.steps},
    ]


def brief(config: DistillConfig) -> DistillConfig:
    """Two steps on a few solutions."""
    fit = replace(config.fit, steps=2, batch_rows=2, bucket_batches=1, warmup=0)
    return replace(config, train_problems=8, teacher_draws=8, fit=fit, gradient_tokens=0, draws=1)


METHOD = Method(
    name="distill",
    summary="imitate solutions of an expert or a teacher, with traces that are valid, wrong, swapped or empty",
    source="Kim & Rush 2016, arXiv 1606.07947; Stechly et al. 2025, arXiv 2505.13775",
    cost="demo: 200 steps of 32 short rows; study: 2e6 learnt tokens a kind; real: 500 steps of 64 solutions",
    takes=frozenset({"teacher"}),
    profiles={
        "demo": DistillConfig(),
        "study": DistillConfig(train_problems=0, gradient_tokens=2_000_000, draws=32),
        "real": DistillConfig(train_problems=0, filler=".", fit=LARGE, draws=4),
    },
    brief=brief,
    train=train,
    table=table,
)
