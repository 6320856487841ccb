"""Meta-CoT: should a model learn to write out its search, dead ends included?

A base is pretrained on NIM texts that hold only the rule's arithmetic or only answers. It can compute but has
never seen a search (after pretraining on answers alone, a tiny base learnt no valid search in 150 steps). It is
then fine-tuned on one kind of text about the same positions, followed by RL with the outcome reward. The kinds:
``search`` (moves in order with dead ends, up to the first winning move), ``optimal`` (dead ends removed, which
leaves NIM's optimal path, the winning move; a lost position keeps its dead ends, which prove it), ``shuffled``
(the lines of the search in random order) and ``answer`` (the answer alone).
Formula: rows per step ``= round(tokens / mean completion tokens of the kind)``, so every kind sees the same
number of completion tokens in the same number of steps. A node is a tried move; ``nodes`` is the mean number of
nodes per completion.
Denominator: draws on test problems. Success is a right answer, whatever the text, because an answer alone has
no trace to verify; ``verified`` is reported beside it.
Degenerate: guessing is right with probability about 1 / (K + 1); a completion without a node has no efficiency.
Known bias: at equal tokens short texts are repeated more often. A search also costs tokens at test time
(``length`` is in the table). The search tries at most heaps times K moves: it is one level deep.
Source: Xiang et al. 2025, Towards System 2 reasoning, Meta-CoT (2501.04682), sections 4 to 6; dead ends against
optimal paths: Gandhi et al. 2024, Stream of Search (2404.03683). Departures: NIM instead of Countdown, so that
the verifier reads every line; ``shuffled`` is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import get_args

import numpy as np

from keyturn.core.errors import unknown
from keyturn.core.measurement import Json, json_number
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.experiments.contract import Experiment
from keyturn.lab.fit_rows import supervised
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.lab.tables import accuracy, row
from keyturn.lab.task import Task
from keyturn.methods.contract import MethodResult
from keyturn.methods.sft import TINY
from keyturn.objectives.grpo import grpo
from keyturn.policies.optimise import FitConfig
from keyturn.pretraining.recipes import Size
from keyturn.pretraining.stage import pretrained, quick, task_in
from keyturn.problems.contract import Grader, ProblemSet
from keyturn.problems.world.dice import Dice
from keyturn.problems.world.nim import NimWorld
from keyturn.problems.world.nim_text import Linearised, linearised
from keyturn.problems.world.verify_nim import read_nim_prompt
from keyturn.problems.world.vocabulary import EX, decode, encode
from keyturn.rewards import REWARDS
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.grades import Grades
from keyturn.training.config import RLConfig

RUN = RLConfig(steps=20, prompts=8, draws=8, max_new_tokens=160, batch_rows=64, lr=3e-4, kl_every=0)
TEXTS: tuple[Linearised, ...] = get_args(Linearised)


@dataclass(frozen=True, kw_only=True)
class MetaCotConfig:
    """Settings of learning to search."""

    texts: tuple[Linearised, ...] = ("answer", "shuffled", "optimal", "search")
    """Kinds of text; each gives one policy, and the policy of the last kind is the product."""
    size: Size = field(default_factory=Size)
    """Shape of the base."""
    steps: int = 500
    """Steps of pretraining."""
    heaps: tuple[int, ...] = (2, 3)
    """Numbers of heaps in pretraining, fine-tuning and RL."""
    test_heaps: tuple[int, ...] = (2, 3, 4)
    """Numbers of heaps in the test; numbers above those in ``heaps`` are deeper than the training."""
    takes: tuple[int, ...] = (2, 3)
    """Maximum that a move may take (K)."""
    tokens: int = 1200
    """Completion tokens per fine-tuning step, the same for every kind."""
    fit: FitConfig = field(default_factory=lambda: replace(TINY, steps=150, lr=3e-3))
    """Fine-tuning schedule; the rows per step follow from ``tokens``."""
    rl: RLConfig = RUN
    """Sizes and learning rate of RL; 0 steps skip it."""
    held_out: int = 32
    """Validation and test problems per cell (heaps and K), each."""
    draws: int = 8
    """Draws per test problem."""


@dataclass(frozen=True)
class AnswersAlone:
    """A grader that ignores traces, so that success means a right answer.

    Args:
        inner: the grader that judges the answers.
    """

    inner: Grader

    @property
    def reads_traces(self) -> bool:
        """False: traces are ignored."""
        return False

    @property
    def name(self) -> str:
        """The inner grader's name, and that traces are ignored."""
        return f"{self.inner.name}, answers alone"

    def grade(self, problems: tuple[Problem, ...], completions: Completions) -> Grades:
        """The inner verdict; whether the trace was valid is kept as the column ``valid``."""
        found = self.inner.grade(problems, completions)
        blank = np.full(len(found.verified), np.nan, np.float32)
        return replace(found, verified=blank, columns={**found.columns, "valid": found.verified})


def world_of(config: MetaCotConfig) -> NimWorld:
    """A world whose texts hold the rule or the answer alone; no pretraining text holds a search."""
    return NimWorld(
        name="nim-meta-cot",
        heaps=config.heaps,
        takes=config.takes,
        strategies={"FWD": 0.5, "DIR": 0.5},
        rl_heaps=config.heaps,
        test_heaps=config.test_heaps,
        test_takes=config.takes,
    )


def task_of(lab: Lab, config: MetaCotConfig, *, seed: int = 0) -> Task:
    """The base as a task on problems that are graded by their answers alone."""
    world = world_of(config)
    folder = pretrained(lab, world, quick(world, steps=config.steps, size=config.size), seed=seed)
    task = task_in(lab, folder, world, per_cell=150, held_out=config.held_out)

    def alone(asked: ProblemSet) -> ProblemSet:
        return replace(asked, grader=AnswersAlone(asked.grader))

    return replace(task, train=alone(task.train), validation=alone(task.validation), test=alone(task.test))


def written(task: Task, kind: Linearised, streams: Streams) -> list[tuple[Problem, str]]:
    """Every training problem with its text of the given kind."""
    if kind not in TEXTS:
        raise unknown("kind of text", kind, TEXTS)
    out = []
    for problem in task.train.problems:
        position = read_nim_prompt(encode(problem.prompt))
        dice = Dice(streams.generator("meta-cot", kind, problem.id))
        out.append((problem, decode(linearised(position, kind, dice).completion)))
    return out


def rows_a_step(lengths: np.ndarray, tokens: int) -> int:
    """How many completions hold ``tokens`` tokens on average, at least one; ``lengths`` is ``[completion]``."""
    return max(1, round(tokens / float(np.mean(lengths))))


def fine_tuned(session: Session, kind: Linearised, config: MetaCotConfig) -> Model:
    """The base after fine-tuning on one kind of text."""
    rows = supervised(session.task.base, written(session.task, kind, session.streams.child("expert")))
    lengths = np.array([(item.weights > 0).sum() for item in rows])
    fit = replace(config.fit, batch_rows=rows_a_step(lengths, config.tokens))
    return session.fit(
        session.base,
        rows,
        fit,
        label=f"SFT {kind}",
    )


def reinforced(session: Session, start: Model, kind: Linearised, config: MetaCotConfig) -> Model:
    """RL with the outcome reward, from ``start``."""
    longest = min(config.rl.max_new_tokens, session.task.max_new_tokens)
    return session.rl(
        start,
        objective=grpo(),
        reward=REWARDS["outcome"](),
        config=replace(config.rl, max_new_tokens=longest),
        label=f"RL {kind}",
    )


def nodes_of(completions: Completions) -> np.ndarray:
    """Number of moves that each completion tries, int64 ``[row]``: the count of ``EX`` in it."""
    return np.bincount(completions.token_row[completions.tokens == EX], minlength=len(completions))


def search_numbers(session: Session, model: Model, draws: int) -> dict[str, float]:
    """Success by number of heaps, valid traces, nodes, efficiency of nodes, and tokens, on test problems."""
    completions, _ = session.draw(model, session.task.test, draws, name="test")
    given = session.answers(model, session.task.test, draws, name="test")
    heaps = np.array([int(problem.cell["heaps"]) for problem in session.task.test.problems])[given.problem]
    tried = given.columns["efficiency"]
    out = {
        "success": float(np.nanmean(given.outcome)),
        "valid": float(np.nanmean(given.columns["valid"])),
        "nodes": float(nodes_of(completions).mean()),
        "efficiency": float(tried[np.isfinite(tried)].mean()) if np.isfinite(tried).any() else float("nan"),
        "length": float(given.length.mean()),
    }
    return out | {f"success heaps {n}": float(np.nanmean(given.outcome[heaps == n])) for n in np.unique(heaps)}


def run(lab: Lab, config: MetaCotConfig) -> MethodResult:
    """Pretrain without search, then fine-tune on every kind of text and run RL from each."""
    session = Session(lab, task_of(lab, config))
    tests = session.task.test
    models: dict[str, Model] = {"base": session.base}
    for kind in config.texts:
        models[kind] = fine_tuned(session, kind, config)
        if config.rl.steps:
            models[f"{kind}, then RL"] = reinforced(session, models[kind], kind, config)
    lines: list[Mapping[str, Json]] = []
    for name, model in models.items():
        found = search_numbers(session, model, config.draws)
        given = session.answers(model, tests, config.draws, name="test")
        estimate = accuracy(given, session.streams.child("scores", name))
        rest = {key: json_number(value) for key, value in found.items() if key != "success"}
        lines.append(row(name, estimate, problems=len(tests.problems), draws=config.draws, **rest))
    return MethodResult(
        policies={"policy": list(models.values())[-1].path, "base": session.base.path}, rows=tuple(lines)
    )


def brief(config: MetaCotConfig) -> MetaCotConfig:
    """The same settings with two steps of everything and two kinds."""
    return replace(
        config,
        texts=("optimal", "search"),
        steps=2,
        tokens=60,
        fit=replace(config.fit, steps=2, bucket_batches=1, warmup=0),
        rl=replace(config.rl, steps=2, prompts=2, draws=2, max_new_tokens=16),
        held_out=2,
        draws=1,
    )


EXPERIMENT = Experiment(
    name="meta-cot",
    summary="teach a linearised search, its optimal path, its shuffled lines or the answer alone; then RL",
    source="Xiang et al. 2025, arXiv 2501.04682; Gandhi et al. 2024, arXiv 2404.03683",
    cost="demo: a base of 500 steps, four fits of 150, four RL runs of 20; study: 2,100, 1,500 and 200",
    profiles={
        "demo": MetaCotConfig(),
        "study": MetaCotConfig(
            steps=2100,
            test_heaps=(2, 3, 4, 5),
            fit=replace(TINY, steps=1500, lr=3e-3),
            rl=replace(RUN, steps=200, max_new_tokens=200),
            draws=32,
        ),
        "real": MetaCotConfig(
            size=Size(hidden=256, layers=6),
            steps=2100,
            test_heaps=(2, 3, 4, 5),
            fit=replace(TINY, steps=1500),
            rl=replace(RUN, steps=200, max_new_tokens=200),
            draws=32,
        ),
    },
    brief=brief,
    run=run,
)
