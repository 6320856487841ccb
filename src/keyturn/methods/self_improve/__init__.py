"""Self-improvement without a verifier: learn to enrich rationales from a few examples, enrich the policy's own
rationales, and train on the result.

Rule: the base answers every training problem once (the rationales ``r``). It is fitted to ``x -> r`` and, on
``catalyst`` problems, to ``(x, r, write again) -> r*``, so that it both reasons and rewrites; each round it
rewrites all of its rationales, a selector without gold answers keeps old or new
(:mod:`keyturn.methods.self_improve.expansion`), and the *base* is fitted again to what was kept and to the
catalyst.
Controls: ``kind`` ``padding``: ``r*`` is ``r`` and filler; ``demonstrations``: the same expert's rationales as
plain answers, ``x -> r*``, no rewriting; ``none``: no catalyst and no rewriting, the base's own answers alone.
Denominator: weighted tokens of the fit's batch.
Degenerate: fewer problems than ``catalyst`` take all of them; a rewriting without an answer is never kept.
Known bias: the catalyst comes from an expert, so knowledge enters together with style; only ``demonstrations``
separates them. Without gold answers, errors are kept as readily as right answers. Rationales tend to get longer
whether or not they help; lengths are in the table.
Source: Self-Reasoning Language Models, 2505.14116 (abstract and reviews; its code was not available).
Departures: the instruction data are the base's own answers (the paper: others' answers with short rationales);
selectors are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from keyturn.core.errors import UsageError
from keyturn.core.measurement import Json
from keyturn.core.problem import Problem
from keyturn.lab.fit_rows import demonstration_completions, demonstrations, supervised
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task, subset, world_expert
from keyturn.methods.contract import Method, Policies, Rows
from keyturn.methods.self_improve.expansion import (
    SELECTORS,
    Selector,
    context,
    leading,
    mean_logprobs,
    padded,
    prefers_new,
)
from keyturn.methods.sft import LARGE, TINY
from keyturn.policies.fit import Row
from keyturn.policies.optimise import FitConfig
from keyturn.policies.protocol import Limits
from keyturn.problems.contract import ProblemSet

Kind = Literal["expert", "padding", "demonstrations", "none"]
KINDS: tuple[Kind, ...] = ("expert", "padding", "demonstrations", "none")


@dataclass(frozen=True, kw_only=True)
class SelfImproveConfig:
    """Settings of self-improvement by rewritten rationales."""

    kind: Kind = "expert"
    """What the catalyst is, see the file's docstring."""
    catalyst: int = 32
    """Problems with a catalyst (2505.14116: some 1,000 of millions)."""
    train_problems: int = 128
    """How many training problems are answered and rewritten, from the first on; 0 takes all."""
    rounds: int = 1
    """Rounds of rewriting."""
    selector: Selector = "consistency"
    """Who chooses between old and new: ``new``, ``old``, ``length``, ``likelihood``, ``consistency``."""
    votes: int = 8
    """Answers of the base per problem that ``consistency`` counts."""
    strategy: str = "CHK"
    """Strategy of a world's expert (checking the sums one by one); ignored in a world without strategies."""
    filler: str = "~"
    """A word of the placebo (the controlled world's; "." for plain text)."""
    fit: FitConfig = field(default_factory=lambda: replace(TINY, steps=120))
    """Schedule and sizes of each fit."""
    draws: int = 8
    """Draws per test problem for the table."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rationales:
    """What is there for each problem.

    Args:
        texts: the rationale, ``[problem]``.
        answers: what can be extracted from it, "" where nothing can, ``[problem]``.
    """

    texts: tuple[str, ...]
    answers: tuple[str, ...]

    @property
    def words(self) -> float:
        """Mean length."""
        return float(np.mean([len(text.split()) for text in self.texts]))


def check(config: SelfImproveConfig) -> None:
    """Refuse what could not work before anything is drawn."""
    if config.kind not in KINDS:
        raise UsageError(f"kind is {config.kind!r}", fix=f"one of {', '.join(KINDS)}")
    if config.selector not in SELECTORS:
        raise UsageError(f"selector is {config.selector!r}", fix=f"one of {', '.join(SELECTORS)}")
    if config.catalyst < 1 or config.rounds < 1 or config.votes < 1:
        raise UsageError(
            "catalyst, rounds and votes must be at least 1", fix="choose kind 'none' for no catalyst"
        )


def read(task: Task, asked: Sequence[Problem], texts: Sequence[str]) -> Rationales:
    """Texts with the answers that the grader extracts; gold answers are not looked at."""
    given = demonstration_completions(task.base, list(zip(asked, texts, strict=True)))
    grades = task.train.grader.grade(tuple(asked), given)
    return Rationales(texts=tuple(texts), answers=grades.answer)


def enriched(session: Session, asked: Sequence[Problem], config: SelfImproveConfig) -> dict[str, str]:
    """Problem id -> the expert's richer rationale."""
    task = session.task
    manners = task.world.manners.get("strategy", ()) if task.world is not None else ()
    if task.world is not None and config.strategy in manners:
        task = replace(task, expert=world_expert(task.world, strategy=config.strategy))
    pairs = demonstrations(task, asked, session.streams.child("expert"))
    return {problem.id: text.removesuffix(" EOS") for problem, text in pairs}


def catalyst_rows(
    session: Session, asked: Sequence[Problem], now: Rationales, config: SelfImproveConfig
) -> list[Row]:
    """What the catalyst teaches: to rewrite, or (``demonstrations``) to answer as the expert does."""
    if config.kind == "none":
        return []
    chosen = list(zip(asked, now.texts, strict=True))[: config.catalyst]
    rich = enriched(session, [problem for problem, _ in chosen], config)
    pairs = []
    for problem, rationale in chosen:
        if problem.id not in rich:
            continue
        told = rich[problem.id]
        if config.kind == "padding":
            told = padded(problem, rationale, len(told.split()), config.filler)
        asks = problem if config.kind == "demonstrations" else _again(session.task, problem, rationale)
        pairs.append((asks, told))
    return supervised(session.task.base, pairs)


def _again(task: Task, problem: Problem, rationale: str) -> Problem:
    return context(problem, rationale, world=task.world is not None)


def rewritten(
    session: Session, model: Model, asked: Sequence[Problem], now: Rationales, number: int
) -> Rationales:
    """Every rationale written again by a policy, drawn as it draws."""
    contexts = [_again(session.task, p, text) for p, text in zip(asked, now.texts, strict=True)]
    limits = Limits(max_new_tokens=session.task.max_new_tokens)
    _, said = session.lab.draw(model.policy, contexts, range(number, number + 1), limits, name="rewrite")
    return read(session.task, asked, said.texts)


def chosen(
    session: Session, asked: ProblemSet, old: Rationales, new: Rationales, config: SelfImproveConfig
) -> list[bool]:
    """For each problem, whether the rewritten rationale replaces the old one."""
    count = len(asked.problems)
    votes, likely = [""] * count, np.full((2, count), np.nan)
    if config.selector == "consistency":
        given, grades = session.draw(session.base, asked, config.votes, name="votes", first=1_000_000)
        own = [np.flatnonzero(given.problem == i) for i in range(count)]
        votes = [leading([grades.answer[row] for row in rows]) for rows in own]
    if config.selector == "likelihood":
        for which, texts in enumerate((old.texts, new.texts)):
            written = demonstration_completions(
                session.task.base, list(zip(asked.problems, texts, strict=True))
            )
            likely[which] = mean_logprobs(session.task.base.score(written), written)
    return [
        prefers_new(
            config.selector,
            lengths=(len(old.texts[i].split()), len(new.texts[i].split())),
            answers=(old.answers[i], new.answers[i]),
            logprobs=(likely[0, i], likely[1, i]),
            vote=votes[i],
        )
        for i in range(count)
    ]


def train(session: Session, config: SelfImproveConfig) -> Policies:
    """The policy after the last round."""
    return {"policy": iterate(session, config)[0]}


def table(session: Session, config: SelfImproveConfig, policies: Policies) -> Rows:
    """What each round kept, then success before and after."""
    _, lines = iterate(session, config)
    models = {"base": session.base, f"self-improved, {config.kind} catalyst": policies["policy"]}
    return (*lines, *session.scores(models, config.draws))


def iterate(session: Session, config: SelfImproveConfig) -> tuple[Model, Rows]:
    """Answer, learn to rewrite, rewrite, choose, learn: the last policy, and what each round kept.

    Raises:
        UsageError: an unknown kind or selector.
    """
    check(config)
    asked = subset(
        session.task.train, session.task.train.problems[: config.train_problems or None], "instructions"
    )
    given, _ = session.draw(session.base, asked, 1, name="rationales", first=session.seed)
    now = read(session.task, asked.problems, given.texts)
    extra = catalyst_rows(session, asked.problems, now, config)
    lines: list[dict[str, Json]] = [{"name": "words of a rationale, at first", "value": round(now.words, 2)}]

    def fitted(number: int) -> Model:
        pairs = list(zip(asked.problems, now.texts, strict=True))
        rows = [*supervised(session.task.base, pairs), *extra]
        return session.fit(
            session.base,
            rows,
            config.fit,
            label=f"self-improve {number}",
        )

    model = fitted(0)
    if config.kind in ("demonstrations", "none"):
        return model, tuple(lines)
    for number in range(config.rounds):
        new = rewritten(session, model, asked.problems, now, session.seed * config.rounds + number)
        keep = chosen(session, asked, now, new, config)
        texts = [b if new_one else a for a, b, new_one in zip(now.texts, new.texts, keep, strict=True)]
        lines.append(
            {
                "name": f"round {number + 1}: share rewritten",
                "value": round(float(np.mean(keep)), 4),
                "words of a new one": round(new.words, 2),
                "with an answer": round(float(np.mean([bool(answer) for answer in new.answers])), 4),
            }
        )
        now = read(session.task, asked.problems, texts)
        model = fitted(number + 1)
    return model, (*lines, {"name": "words of a rationale, at last", "value": round(now.words, 2)})


def brief(config: SelfImproveConfig) -> SelfImproveConfig:
    """Two steps of everything on four problems."""
    fit = replace(config.fit, steps=2, batch_rows=2, bucket_batches=1, warmup=0)
    return replace(config, catalyst=2, train_problems=4, rounds=1, votes=2, fit=fit, draws=1)


METHOD = Method(
    name="self-improve",
    summary="learn from a few examples to enrich rationales; enrich one's own, select some, learn those",
    source="Self-Reasoning Language Models, ACL Findings 2025, arXiv 2505.14116",
    cost="demo: 128 rationales, 2 fits of 120 steps; study: 3 rounds of 1,000; real: 3 rounds of 500",
    needs=frozenset({"expert"}),
    profiles={
        "demo": SelfImproveConfig(),
        "study": SelfImproveConfig(train_problems=0, rounds=3, fit=replace(TINY, steps=1000), draws=32),
        "real": SelfImproveConfig(
            catalyst=1000, train_problems=0, rounds=3, votes=8, filler=".", fit=LARGE, draws=4
        ),
    },
    brief=brief,
    train=train,
    table=table,
)
