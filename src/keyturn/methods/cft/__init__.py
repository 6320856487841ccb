"""Critique fine-tuning: train on critiques of answers; at test time the policy answers directly.

Formula: ``loss = - sum_i w_i log p(c_i | x, y, c_<i) / sum_i w_i`` with ``x`` the problem, ``y`` an answer of
the base (right or wrong) and ``c`` its critique; ``w`` is 1 on the tokens of the critique and its end, 0 on
``x`` and ``y`` (``[row, token]``).
Arms: ``critique``; ``corrected``: the expert's solutions of the same problems; ``no_correction``: critiques
without the solution; ``self_critique``: critiques by the base itself, with the grader's verdict; ``shuffled``:
every critique attached to another answer; ``format_only``: the base's own well-formed answers, right or wrong.
With ``gradient_tokens`` all arms learn from the same number of tokens. ``replay`` adds rows of the base's own
answers to any arm: the same rows for all arms, spread evenly over the problems. An arm with fewer rows than
there are answers repeats its rows, so that the share of replay is equal too.
Denominator: weighted tokens of the batch.
Degenerate: it is an error if an arm finds no critique, no well-formed answer or no expert's solution it needs.
Known bias: a critique that holds the whole solution is distillation from its writer. Only the arms
``corrected``, ``no_correction`` and ``self_critique`` separate the effect of the critique from that.
Source: Wang, Yue & Chen 2025 (2501.17703); on one problem: Wang et al. 2025 (2506.03295). Departures:
candidates are the base's own (the paper: from other models, self-generated in an ablation); in a world, the
verifier writes critiques at a declared correctness (the paper: about 20 % of the teacher's have errors).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np

from keyturn.core.errors import InputError, UsageError
from keyturn.core.measurement import Json
from keyturn.core.problem import Problem
from keyturn.core.statistics.bootstrap import bootstrap_mean
from keyturn.core.streams import Streams
from keyturn.lab.fit_rows import demonstrations, supervised
from keyturn.lab.session import Model, Session
from keyturn.lab.tables import row
from keyturn.lab.task import Task, subset
from keyturn.methods.cft.critiques import Case, Writer, cases, contradicted, writer_of
from keyturn.methods.contract import Method, Policies, Rows
from keyturn.methods.sft import LARGE, TINY
from keyturn.methods.token_budget import for_tokens
from keyturn.policies.fit import Row
from keyturn.policies.optimise import FitConfig

CritiqueArm: TypeAlias = Literal[
    "critique", "corrected", "no_correction", "self_critique", "shuffled", "format_only"
]
ARMS: tuple[CritiqueArm, ...] = (
    "critique",
    "corrected",
    "no_correction",
    "self_critique",
    "shuffled",
    "format_only",
)
"""What the arm learns from, see the file's docstring."""


@dataclass(frozen=True, kw_only=True)
class CftConfig:
    """Settings of critique fine-tuning."""

    arm: CritiqueArm = "critique"
    """What the arm learns from, see the file's docstring."""
    train_problems: int = 64
    """Number of training problems; 1 is one-problem critique fine-tuning, 0 takes all."""
    first: int = 0
    """Index of the first training problem; with one problem it chooses which."""
    candidates: int = 4
    """Answers of the base per problem (2506.03295: 100 to one problem)."""
    writer: Writer = "auto"
    """Who writes the critiques: ``world``, ``file``, ``critic`` (a slot) or ``self``; ``auto``: the first one
    available."""
    correctness: float = 1.0
    """Share of a world's critiques that are right (2501.17703: about .8 of the teacher's)."""
    critique_tokens: int = 512
    """Length limit of a critique that a policy writes."""
    replay: float = 0.0
    """Rows of the base's own answers, right or wrong, per row of the arm, spread evenly over the problems.
    Without replay a small model forgets how to answer (2501.17703: none). Ours."""
    fit: FitConfig = field(default_factory=lambda: TINY)
    """Schedule and sizes."""
    gradient_tokens: int = 0
    """Total number of trained tokens, the same for every arm; 0 keeps ``fit.steps``."""
    draws: int = 8
    """Draws per test problem for the table."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """What an arm learns from.

    Args:
        rows: documents with weights.
        cases: the answers and critiques that the rows come from.
        writer: who wrote the critiques.
    """

    rows: Sequence[Row]
    cases: Sequence[Case]
    writer: Writer


def material(session: Session, config: CftConfig) -> Material:
    """The rows of an arm.

    Raises:
        UsageError: an unknown arm, or no expert for the arm ``corrected``.
        InputError: nothing to learn from.
    """
    if config.arm not in ARMS:
        raise UsageError(f"arm is {config.arm!r}", fix=f"one of {', '.join(ARMS)}")
    end = config.first + config.train_problems if config.train_problems else None
    asked = subset(session.task.train, session.task.train.problems[config.first : end], "critiqued")
    writer = writer_of(session.task, "self" if config.arm == "self_critique" else config.writer)
    found = cases(
        session,
        asked,
        writer=writer,
        candidates=config.candidates,
        correctness=config.correctness,
        critique_tokens=config.critique_tokens,
    )
    pairs = _pairs(session.task, config.arm, found, asked.problems, session.streams.child("expert"))
    if config.replay:
        streams = session.streams.child("replay")
        again = streams.generator("pairs").permutation(len(pairs)).tolist()
        pairs += [pairs[again[i % len(again)]] for i in range(len(found) - len(pairs))]
        own = replayed(found, streams)
        pairs += [own[i % len(own)] for i in range(round(config.replay * len(pairs)))]
    return Material(rows=supervised(session.task.base, pairs), cases=found, writer=writer)


def replayed(found: Sequence[Case], streams: Streams) -> list[tuple[Problem, str]]:
    """The base's own answers: one per problem in random order, then a second per problem, and so on."""
    order = streams.generator("order").permutation(len(found)).tolist()
    turns: Counter[str] = Counter()
    turn = {}
    for i in order:
        turn[i] = turns[found[i].problem.id]
        turns[found[i].problem.id] += 1
    return [(found[i].problem, found[i].candidate) for i in sorted(order, key=lambda i: turn[i])]


def _pairs(
    task: Task, arm: CritiqueArm, found: Sequence[Case], asked: Sequence[Problem], streams: Streams
) -> list[tuple[Problem, str]]:
    """Pairs of a prompt and the text to learn as its answer, for the arm."""
    if arm == "corrected":
        return demonstrations(task, asked, streams)
    if arm == "format_only":
        formed = [(case.problem, case.candidate) for case in found if case.formed]
        if not formed:
            raise InputError("none of the base's answers is well-formed", fix="raise candidates")
        return formed
    if arm == "shuffled":
        found = contradicted(found)
    return [(case.context, case.stripped if arm == "no_correction" else case.critique) for case in found]


def schedule(rows: Sequence[Row], config: CftConfig) -> FitConfig:
    """The fit, with the number of steps that gives the requested number of trained tokens."""
    return for_tokens(rows, config.fit, config.gradient_tokens)


def train(session: Session, config: CftConfig) -> Policies:
    """Fit the base to the arm's rows; replicates differ in the order of the rows."""
    rows = material(session, config).rows
    fitted = session.fit(session.base, rows, schedule(rows, config), label=f"CFT, {config.arm}")
    return {"policy": fitted}


def table(session: Session, config: CftConfig, policies: Policies) -> Rows:
    """The training data, and success before and after, also with lenient grading."""
    models = {"base": session.base, f"CFT, {config.arm}": policies["policy"]}
    lenient = [_lenient(session, name, model, config.draws) for name, model in models.items()]
    facts = _facts(material(session, config), config)
    return (*facts, *session.scores(models, config.draws), *(one for one in lenient if one))


def _facts(material: Material, config: CftConfig) -> list[dict[str, Json]]:
    each = [int(np.count_nonzero(one.weights)) for one in material.rows]
    known = [case.right for case in material.cases if case.right is not None]
    fit = schedule(material.rows, config)
    return [
        {
            "name": "rows",
            "value": len(material.rows),
            "critiques by": material.writer,
            "cases": len(material.cases),
        },
        {"name": "share of answers that are right", "value": float(np.mean(known)) if known else None},
        {"name": "tokens learnt from, a row", "value": float(np.mean(each)), "steps": fit.steps},
        {"name": "tokens learnt from", "value": float(np.mean(each)) * fit.batch_rows * fit.steps},
    ]


def _lenient(session: Session, name: str, model: Model, draws: int) -> dict[str, Json] | None:
    """Success with lenient grading of the form; None if the grader has no such verdict."""
    given = session.answers(model, session.task.test, draws, name=f"draw {name}")
    if "lenient" not in given.columns:
        return None
    rates = given.rates(np.asarray(given.columns["lenient"], dtype=np.float32))
    found = bootstrap_mean(rates, session.streams.generator("cft", "lenient", name))
    return row(f"{name}: lenient", found, problems=len(rates), draws=draws)


def brief(config: CftConfig) -> CftConfig:
    """The same settings with two steps on the answers to two problems."""
    return replace(
        config,
        train_problems=2,
        candidates=2,
        critique_tokens=16,
        fit=replace(config.fit, steps=2, batch_rows=2, bucket_batches=1, warmup=0),
        gradient_tokens=0,
        draws=1,
    )


METHOD = Method(
    name="cft",
    summary="learn to criticise right and wrong answers; at test time, answer directly",
    source="Wang, Yue & Chen 2025, arXiv 2501.17703; on one problem: Wang et al. 2025, arXiv 2506.03295",
    cost="demo: 256 critiques, 200 steps; study: 2e6 learnt tokens an arm; real: 600 of one problem",
    profiles={
        "demo": CftConfig(),
        "study": CftConfig(train_problems=0, candidates=8, gradient_tokens=2_000_000, draws=32),
        "real": CftConfig(
            train_problems=1,
            candidates=600,
            critique_tokens=2048,
            fit=replace(LARGE, steps=60, batch_rows=512, warmup=3, weight_decay=0.05),
            draws=4,
        ),
    },
    brief=brief,
    train=train,
    table=table,
)
