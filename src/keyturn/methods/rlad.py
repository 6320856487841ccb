"""RLAD: a generator writes an abstraction z of a problem, a solver solves the problem given z, and both learn.

An abstraction is a few words after ``CTL2`` at the end of the prompt; in a world, the name of a strategy. The
generator reads the prompt and ``CTL3``. Before the first round, a fit on gold traces of every strategy
teaches the solver what the words ask for, and another teaches the generator to name every strategy equally
often. In a round, the generator draws abstractions and those that leak an answer are dropped. The solver is
trained by RL on prompts with an abstraction and on prompts without. The generator is then fitted to the most
helpful abstractions of every problem, provided that the solver succeeds with them at least as often as
without.
Formula: reward of the solver ``r = 0`` without z, else the outcome; of an abstraction ``r(x, z)`` = mean
success of the solver given x and z, kept where ``r(x, z) >= r(x, none) + margin``. Leaks: given z *without* x
the solver is right more often, by ``leak``, than given no z and no x. Pass@k with abstractions: of ``m``
abstractions and ``k / m`` solutions of each, is one right; without: of ``k`` solutions.
Denominator: test problems. Degenerate: nothing kept leaves the generator as it is; a problem without an
abstraction is asked without one.
Known bias: groups without z have equal rewards, hence no credit, and hold on only by the penalty towards the
reference; the words of the generator are not charged for. The arm ``unzeroed`` pays prompts without z too,
``random`` draws z evenly at all times.
Source: Qu et al. 2025, RLAD (2510.02263). Departures: a word instead of a text; the leak is measured against
answering without either, because a guess among few values is often right; the solver is taught to read z first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from keyturn.core.errors import UsageError
from keyturn.core.measurement import Json, json_number
from keyturn.core.problem import Problem
from keyturn.core.statistics.pass_at_k import pass_at_k
from keyturn.lab.fit_rows import supervised
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task, subset, world_expert
from keyturn.methods.contract import Method, Policies, Rows
from keyturn.methods.sft import TINY
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.policies.optimise import FitConfig
from keyturn.policies.protocol import Limits
from keyturn.problems.contract import Grader, ProblemSet
from keyturn.problems.world.vocabulary import encode
from keyturn.rewards.contract import Graded, Reward, composed
from keyturn.rewards.outcome import outcome
from keyturn.rollouts.completions import Completions, Prompts
from keyturn.rollouts.grades import Grades
from keyturn.training.config import RLConfig

GIVEN, WANTED = "CTL2", "CTL3"
"""Words before an abstraction, and after a prompt whose abstraction is wanted."""
LONGEST = 3
"""Words of an abstraction at most."""
RUN = RLConfig(steps=10, prompts=8, draws=8, max_new_tokens=96, batch_rows=64, lr=1e-3, kl_every=0)


@dataclass(frozen=True, kw_only=True)
class RladConfig:
    """Settings of abstraction and solution."""

    arm: Literal["rlad", "random", "unzeroed", "without"] = "rlad"
    """``random``: abstractions are drawn evenly; ``unzeroed``: prompts without one are paid too; ``without``:
    the solver learns without abstractions, for as many steps."""
    words: tuple[str, ...] = ("FWD", "BWD", "SCAN", "DIR")
    """Strategies that an abstraction may name."""
    train_problems: int = 48
    """Training problems of the fits and of a round."""
    rounds: int = 2
    """Rounds of solver and generator."""
    abstractions: int = 2
    """Abstractions drawn a problem."""
    solutions: int = 4
    """Solutions drawn of each abstraction; 2510.02263's code: 8."""
    margin: float = 0.0
    """By how much an abstraction must beat none."""
    leak: float = 0.5
    """By how much success without the problem marks a leak."""
    kl_weight: float = 1e-3
    """Penalty towards the reference, k3 (2510.02263)."""
    fit: FitConfig = field(default_factory=lambda: replace(TINY, steps=100, warmup=10))
    """Every fit."""
    rl: RLConfig = RUN
    """RL of a round."""


def hinted(problem: Problem, z: str) -> Problem:
    """The problem with an abstraction at the end of its prompt; itself where there is none."""
    if not z:
        return problem
    facts = {**problem.facts, "asked": problem.prompt, "z": z}
    return replace(problem, id=f"{problem.id} given {z}", prompt=f"{problem.prompt} {GIVEN} {z}", facts=facts)


def unseen(problem: Problem, z: str) -> Problem:
    """The abstraction without the problem: what the leak filter asks."""
    facts = {**problem.facts, "asked": problem.prompt}
    return replace(problem, id=f"{problem.id} unseen {z}", prompt=f"BOS {GIVEN} {z}".strip(), facts=facts)


@dataclass(frozen=True)
class HintGrader:
    """Judges answers to prompts with abstractions by the prompts without; implements ``Grader``.

    Args:
        inner: judges answers to the problems as they were.
    """

    inner: Grader

    @property
    def name(self) -> str:
        """The inner grader's, and what is taken away before."""
        return f"abstractions apart; {self.inner.name}"

    @property
    def reads_traces(self) -> bool:
        """As the inner grader."""
        return self.inner.reads_traces

    def grade(self, problems: tuple[Problem, ...], completions: Completions) -> Grades:
        """Grade every row."""
        asked = tuple(replace(p, prompt=str(p.facts.get("asked", p.prompt))) for p in problems)
        prompts = completions.prompts
        rows = [prompts.row(i).tolist() for i in range(len(problems))]
        rows = [
            encode(bare.prompt) if row == encode(problem.prompt) else row
            for row, problem, bare in zip(rows, problems, asked, strict=True)
        ]
        restored = Prompts.build(prompts.ids, [p.prompt for p in asked], rows)
        return self.inner.grade(asked, replace(completions, prompts=restored))


def gated(*, zeroed: bool) -> Reward:
    """The outcome; without an abstraction 0 (``zeroed``)."""
    inner = outcome()

    def reward(graded: Graded) -> np.ndarray:
        given = np.array(["z" in problem.facts for problem in graded.asked()], dtype=bool)
        own = inner.reward(graded)
        return np.where(given | np.isnan(own), own, 0.0).astype(np.float32) if zeroed else own

    return Reward(
        name="outcome given an abstraction" if zeroed else "outcome",
        summary="the outcome, and 0 for prompts without an abstraction",
        source="Qu et al. 2025 (RLAD), arXiv 2510.02263",
        reward=reward,
        config=composed({"zeroed": zeroed}, inner),
    )


def useful(given: Sequence[float], without: float, margin: float) -> list[int]:
    """Positions of the abstractions of a problem that are kept: the most helpful ones, if they help at all."""
    best = max(given, default=0.0)
    return [i for i, rate in enumerate(given) if rate == best and rate > 0 and rate >= without + margin]


def prepared(task: Task) -> Task:
    """The task with graders that set abstractions apart; a task that has them stays as it is."""
    sets = {name: getattr(task, name) for name in ("train", "validation", "test")}
    return replace(task, **{name: _apart(own) for name, own in sets.items()})


def _apart(problems: ProblemSet) -> ProblemSet:
    known = isinstance(problems.grader, HintGrader)
    return problems if known else replace(problems, grader=HintGrader(problems.grader))


def started(session: Session, config: RladConfig) -> tuple[Model, Model]:
    """A solver that reads abstractions and a generator that names them evenly."""
    assert session.task.world is not None, "the method needs a world"
    strange = sorted(set(config.words) - set(session.task.world.manners.get("strategy", ())))
    if strange:
        raise UsageError(
            f"{session.task.world.name} has no strategy {strange[0]}", fix="GRAPH has FWD, BWD, SCAN, DIR"
        )
    asked = session.task.train.problems[: config.train_problems]
    solved, named = [], []
    for word in config.words:
        expert = world_expert(session.task.world, strategy=word)
        for problem in asked:
            text = expert(problem, session.streams.child("expert", word))
            solved.append((hinted(problem, word), str(text)))
            named.append((_wanted(problem), word))
    once = session.replicate(0)  # every seed goes on from the same two fits
    start = once.base
    solver = once.fit(start, supervised(session.task.base, solved), config.fit, label="read abstractions")
    generator = once.fit(start, supervised(session.task.base, named), config.fit, label="name abstractions")
    return solver, generator


def _wanted(problem: Problem) -> Problem:
    return replace(problem, id=f"{problem.id} {WANTED}", prompt=f"{problem.prompt} {WANTED}")


def abstractions(
    session: Session, generator: Model | None, config: RladConfig, problems: Sequence[Problem], label: str
) -> list[list[str]]:
    """Abstractions of every problem, ``[problem][draw]``; words drawn evenly where there is no generator."""
    if generator is None:
        drawn_words = session.streams.generator("random abstractions", label)
        picks = drawn_words.integers(len(config.words), size=(len(problems), config.abstractions))
        return [[config.words[i] for i in row] for row in picks]
    limits = Limits(max_new_tokens=LONGEST + 1)
    asked = [_wanted(problem) for problem in problems]
    _, found = session.lab.draw(
        generator.policy, asked, range(config.abstractions), limits, name="abstractions"
    )
    out: list[list[str]] = [[] for _ in problems]
    for problem, text in zip(found.problem.tolist(), found.texts, strict=True):
        out[problem].append(" ".join(text.split()[:LONGEST]))
    return out


def rates(
    session: Session, solver: Model, asked: Sequence[Problem], draws: int, label: str
) -> tuple[np.ndarray, np.ndarray]:
    """Draws and right answers of the solver for every problem, int64 ``[problem]`` each."""
    chosen = subset(session.task.train, asked, label)
    found, grades = session.draw(solver, chosen, draws, name=label)
    n = np.bincount(found.problem, minlength=len(asked))
    right = np.bincount(found.problem, weights=grades.outcome == 1, minlength=len(asked))
    return n.astype(np.int64), right.astype(np.int64)


def sealed(
    session: Session, solver: Model, config: RladConfig, problems: Sequence[Problem], found: list[list[str]]
) -> list[list[str]]:
    """The abstractions that do not leak an answer."""
    pairs = [(i, z) for i, words in enumerate(found) for z in dict.fromkeys(words) if z]
    if not pairs:
        return [[] for _ in found]
    blind = [unseen(problems[i], z) for i, z in pairs]
    nothing = [unseen(problem, "") for problem in problems]
    n, c = rates(session, solver, [*blind, *nothing], config.solutions, "leaks")
    rate = c / np.maximum(n, 1)
    kept: list[list[str]] = [[] for _ in found]
    for at, (i, z) in enumerate(pairs):
        if rate[at] - rate[len(pairs) + i] < config.leak:
            kept[i].append(z)
    return kept


def train(session: Session, config: RladConfig) -> Policies:
    """Solver and generator in turn, from two fits that all replicates share.

    The solver is the ``policy``. There is a ``generator`` unless abstractions are drawn evenly (``random``).
    """
    session = session.on(prepared(session.task))
    solver, generator = started(session, config)
    if config.arm == "without" and config.rounds:
        return {"policy": _without(session, solver, config), "generator": generator}
    asked = session.task.train.problems[: config.train_problems]
    writer = None if config.arm == "random" else generator
    for turn in range(config.rounds):
        found = abstractions(session, writer, config, asked, f"{session.seed} {turn}")
        found = sealed(session, solver, config, asked, found)
        mixed = [hinted(problem, z) for problem, words in zip(asked, found, strict=True) for z in words[:1]]
        solver = session.rl(
            solver,
            objective=grpo(GrpoConfig(kl_weight=config.kl_weight)),
            reward=gated(zeroed=config.arm != "unzeroed"),
            config=replace(config.rl, max_new_tokens=session.task.max_new_tokens),
            problems=subset(session.task.train, [*mixed, *asked], f"round {turn}"),
            label=f"solver, round {turn + 1}",
        )
        if writer is not None:
            writer = _refit(session, solver, writer, config, asked, found)
    return {"policy": solver, **({} if writer is None else {"generator": writer})}


def _without(session: Session, solver: Model, config: RladConfig) -> Model:
    """RL of the solver without abstractions, as many steps as all rounds have."""
    steps = config.rl.steps * config.rounds
    return session.rl(
        solver,
        objective=grpo(),
        reward=outcome(),
        config=replace(config.rl, steps=steps, max_new_tokens=session.task.max_new_tokens),
        label="RL without abstractions",
    )


def _refit(
    session: Session,
    solver: Model,
    generator: Model,
    config: RladConfig,
    asked: Sequence[Problem],
    found: list[list[str]],
) -> Model:
    """Fit the generator to the abstractions that helped the solver."""
    given = [hinted(problem, z) for problem, words in zip(asked, found, strict=True) for z in words]
    n, c = rates(session, solver, [*given, *asked], config.solutions, "abstractions tried")
    rate = c / np.maximum(n, 1)
    pairs: list[tuple[Problem, str]] = []
    at = 0
    for i, (problem, words) in enumerate(zip(asked, found, strict=True)):
        own = rate[at : at + len(words)].tolist()
        at += len(words)
        pairs += [(_wanted(problem), words[k]) for k in useful(own, rate[len(given) + i], config.margin)]
    if not pairs:
        return generator
    return session.fit(
        generator,
        supervised(session.task.base, pairs),
        config.fit,
        label="generator",
    )


def measured(session: Session, policies: Policies, config: RladConfig) -> dict[str, float]:
    """Success and pass@k on the test problems, with abstractions and without, with the same number of draws.

    Args:
        session: of a task from :func:`prepared`.
        policies: from :func:`train`.
        config: of the method.
    """
    solver, generator = policies["policy"], policies.get("generator")
    asked = session.task.test.problems
    found = abstractions(session, generator, config, asked, f"{session.seed} test")
    size, each, total = len(asked), config.solutions, config.abstractions * config.solutions
    given = [
        replace(hinted(problem, words[number]), id=f"{problem.id} {number}")
        for number in range(config.abstractions)
        for problem, words in zip(asked, found, strict=True)
    ]
    chosen: ProblemSet = subset(session.task.test, given, "given abstractions")
    drawn_, grades = session.draw(solver, chosen, each, name="given abstractions")
    own = drawn_.problem % size
    right = np.bincount(own, weights=grades.outcome == 1, minlength=size)
    n, c = rates(session, solver, asked, total, "without")
    said = [z for number in range(config.abstractions) for z in (words[number] for words in found)]
    wrote = grades.columns["strategy"].astype(str)
    return {
        "success given": float(right.mean() / total),
        "success without": float((c / np.maximum(n, 1)).mean()),
        "pass given": float((right > 0).mean()),
        "pass without": float(np.mean(pass_at_k(n, c, total))),
        "adherence": float(np.mean([said[p] == w for p, w in zip(drawn_.problem, wrote, strict=True)])),
        "different abstractions": float(np.mean([len(set(words)) for words in found])),
    }


def table(session: Session, config: RladConfig, policies: Policies) -> Rows:
    """Before RL and after it: with abstractions and without, with the same number of draws."""
    own = session.on(prepared(session.task))
    start = train(session, replace(config, rounds=0))
    lines: list[Mapping[str, Json]] = []
    for name, found in {"start": start, config.arm: policies}.items():
        for number, value in measured(own, found, config).items():
            lines.append({"name": f"{name}: {number}", "value": json_number(value)})
    models = {"base": own.base, "solver without abstractions": policies["policy"]}
    return (*lines, *own.scores(models, config.solutions))


def brief(config: RladConfig) -> RladConfig:
    """Two steps of each."""
    return replace(
        config,
        words=config.words[:2],
        train_problems=2,
        rounds=1,
        abstractions=2,
        solutions=1,
        fit=replace(config.fit, steps=2, batch_rows=2, bucket_batches=1, warmup=0),
        rl=replace(config.rl, steps=1, prompts=2, draws=2),
    )


METHOD = Method(
    name="rlad",
    summary="train a generator of abstractions and a solver in turn; compare pass@k at equal draws",
    source="Qu et al. 2025 (RLAD), arXiv 2510.02263",
    cost="demo: two fits of 100 steps, two rounds of 10 RL steps; study: 1,000 and five of 60; real: as study",
    needs=frozenset({"world"}),
    profiles={
        "demo": RladConfig(),
        "study": RladConfig(
            train_problems=400,
            rounds=5,
            abstractions=4,
            solutions=8,
            fit=replace(TINY, steps=1000),
            rl=replace(RUN, steps=60),
        ),
        "real": RladConfig(
            train_problems=400, rounds=5, abstractions=4, solutions=8, rl=replace(RUN, steps=60, lr=1e-6)
        ),
    },
    brief=brief,
    train=train,
    table=table,
)
