"""Thinkless: a control word first says whether to think; RL teaches when, and perhaps how.

A warm-up fits the base to two answers of each of its problems, ``CTL0`` and the bare answer, ``CTL1`` and the
expert's trace. RL then asks other problems and pays a right short answer 1, a right thought one ``1 - gamma``
and a wrong one -1. The warm-up has half of the training problems (fewer where ``demonstrations`` says so), RL
the rest: a bare answer that was imitated is known by heart, and where all are known thinking never pays. Arms:
``vanilla`` (one mean over all tokens, so that the control word weighs ``1 / T``), ``degrpo`` (the control word
has a loss of its own, by ``alpha``) and ``control`` (no other token learns: the purest "when, not how").
Formula, for problem ``p`` with chances ``s_p`` and ``t_p`` of a right answer in the short and the thinking mode
(each drawn with the control word forced) and ``q_p`` the share of free draws that think::

    V_short = s_p + (1 - s_p) wrong        V_think = t_p (1 - gamma) + (1 - t_p) wrong
    regret  = mean_p [ max(V_short, V_think) - q_p V_think - (1 - q_p) V_short ]
    AUC     = P(q of a hard problem > q of an easy one) + P(equal) / 2,  hard: s_p < 1/2

Denominator: test problems; pairs of a hard and an easy problem for the AUC.
Degenerate: no hard or no easy problem leaves the AUC undefined. Free draws in neither mode count as short in
``q_p`` (a warm-up leaves hardly any). One training problem alone is both warm-up's and RL's.
Known bias: the better mode of a problem is chosen on one half of its forced draws and valued on the other, and
the other way round, so that regret is not raised by choosing on noise; with few draws the choice is at times
wrong, which makes regret smaller than against perfect knowledge, at times negative.
Source: Fang et al. 2025, Thinkless (2505.13379): warm-up, reward, DeGRPO. Ours: ``control``, and regret.
Departures: short answers are the answer itself and not another model's; warm-up and RL halve one set of
problems (there two sets); sizes; chances instead of one draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError, unknown
from keyturn.core.measurement import Json, json_number
from keyturn.core.problem import Problem
from keyturn.lab.fit_rows import demonstrations, supervised
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task, subset
from keyturn.methods.contract import Method, Policies, Rows
from keyturn.methods.control_words import (
    ControlGrader,
    Force,
    control_ids,
    controlled,
    first_tokens,
    having_words,
    spelled,
)
from keyturn.methods.sft import LARGE, TINY
from keyturn.objectives.contract import Objective
from keyturn.objectives.degrpo import DegrpoConfig, degrpo
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.objectives.token_subset import TokenSubsetConfig, token_subset
from keyturn.policies.optimise import FitConfig
from keyturn.policies.protocol import Limits
from keyturn.problems.contract import ProblemSet
from keyturn.rewards.contract import Reward
from keyturn.rewards.mode_priced import ModePricedConfig, mode_priced
from keyturn.training.config import RLConfig

RUN = RLConfig(steps=60, prompts=16, draws=8, max_new_tokens=32, batch_rows=128, lr=1e-3, kl_every=0)
HARD = 0.5
"""Short answers right less often than this make a problem hard."""


@dataclass(frozen=True, kw_only=True)
class ThinklessConfig:
    """Settings of Thinkless."""

    arm: Literal["vanilla", "degrpo", "control", "warm-up"] = "degrpo"
    """What learns, and how the control word is weighed; ``warm-up``: no RL."""
    alpha: float = 1e-3
    """Weight of the control word's loss in DeGRPO (2505.13379: 1/1000)."""
    gamma: float = 0.5
    """Price of thinking, in units of reward (released script)."""
    wrong: float = -1.0
    """Reward of a wrong answer (2505.13379)."""
    short: str = "CTL0"
    """Control word of the short mode; added where it is no token of the tokenizer."""
    think: str = "CTL1"
    """Control word of the thinking mode; added where it is no token of the tokenizer."""
    demonstrations: int = 200
    """Problems of the warm-up, two answers each, half of the training problems at most; 0 takes that half."""
    shared_level: int = 0
    """Problems up to this level of the world (depth, operations) are in the warm-up and in RL; 0: none."""
    fit: FitConfig = field(default_factory=lambda: replace(TINY, steps=300, bucket_batches=1))
    """The warm-up."""
    rl: RLConfig = RUN
    """Sizes and rates of RL; its length limit is the task's and the control word."""
    draws: int = 16
    """Draws per test problem: free ones, and as many in each mode."""


class Routing(NamedTuple):
    """How well a policy chooses its mode."""

    think: float
    """Share of free draws that think."""
    auc: float
    """Of the think-rate for hard against easy problems."""
    regret: float
    """Reward lost to the better mode of every problem, mean over problems."""
    short_right: float
    """Chance of a right answer in the short mode."""
    think_right: float
    """Chance of a right answer in the thinking mode."""
    always_short: float
    """Regret of never thinking."""
    always_think: float
    """Regret of always thinking."""


def auc_of(score: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Chance that a positive scores above a negative, ties counting half; NaN without either."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, score)) if len(np.unique(positive)) == 2 else float("nan")


def mode_values(
    short: NDArray[np.float64], think: NDArray[np.float64], gamma: float, wrong: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Expected reward of each mode from its chances to be right, same shapes."""
    return short + (1 - short) * wrong, think * (1 - gamma) + (1 - think) * wrong


def regret_of(
    share: NDArray[np.float64],
    short: NDArray[np.float64],
    think: NDArray[np.float64],
    gamma: float,
    wrong: float,
) -> float:
    """Reward lost to the better mode, mean over problems.

    Args:
        share: think-rate, float64 ``[problem]``.
        short: share of right answers in the short mode, in each half of the draws, float64 ``[problem, 2]``.
        think: the same of the thinking mode.
        gamma: price of thinking.
        wrong: reward of a wrong answer.
    """
    quick, slow = mode_values(short, think, gamma, wrong)
    prefers = (slow > quick)[:, ::-1]
    best = np.where(prefers, slow, quick).mean(1)
    own = share * slow.mean(1) + (1 - share) * quick.mean(1)
    return float((best - own).mean())


def prepared(session: Session, config: ThinklessConfig) -> tuple[Task, tuple[int, int]]:
    """The task with answers judged after a control word, and the two control tokens; a base that lacks them
    gets them. A task that was prepared stays as it is."""
    if config.draws < 2:
        raise UsageError(f"{config.draws} draws cannot be split into two halves", fix="at least 2 draws")
    words = (config.short, config.think)
    task = having_words(session, words)
    short, think = control_ids(task.base, words)
    if isinstance(task.train.grader, ControlGrader):
        return task, (short, think)
    own = replace(
        task,
        train=controlled(task.train, (short, think), words),
        validation=controlled(task.validation, (short, think), words),
        test=controlled(task.test, (short, think), words),
        max_new_tokens=task.max_new_tokens + 1,
    )
    return own, (short, think)


def halves(session: Session, config: ThinklessConfig) -> tuple[ProblemSet, ProblemSet]:
    """The training problems of the warm-up and of RL: of every cell a half each, the shared ones in both."""
    train = session.task.train
    if len(train.problems) < 2:
        return train, train
    shared = [problem for problem in train.problems if _shared(session.task, problem, config)]
    asked = [problem for problem in train.problems if not _shared(session.task, problem, config)]
    order = session.streams.generator("halves").permutation(len(asked)).tolist()
    by_cell = sorted(order, key=lambda i: str(sorted(asked[i].cell.items())))
    half = set(by_cell[::2])
    warm = dict.fromkeys([i for i in order if i in half][: config.demonstrations or None])
    rest = [problem for i, problem in enumerate(asked) if i not in warm]
    return (
        subset(train, [*shared, *(asked[i] for i in warm)], "warm-up"),
        subset(train, [*shared, *rest], "RL"),
    )


def _shared(task: Task, problem: Problem, config: ThinklessConfig) -> bool:
    if not config.shared_level:
        return False
    if task.world is None:
        raise UsageError("problems outside of a world have no level", fix="set shared_level to 0")
    return int(problem.cell[task.world.level]) <= config.shared_level


def warmed(session: Session, config: ThinklessConfig, problems: ProblemSet) -> Model:
    """The base after the two-mode warm-up on some problems: as many short answers as thoughts."""
    worked = demonstrations(session.task, problems.problems, session.streams.child("expert"))
    answered = [(problem, text) for problem, text in worked if problem.answer]
    if not answered:
        raise UsageError("no problem has both an answer and a worked solution", fix="problems with answers")
    answer = "ANS " if session.task.world is not None else ""
    short, think = (spelled(session.task.base, word)[0] for word in (config.short, config.think))
    pairs = [(p, f"{short} {answer}{p.answer}") for p, _ in answered]
    pairs += [(p, f"{think} {text.strip()}") for p, text in answered]
    rows = supervised(session.task.base, pairs)
    return session.fit(
        session.base,
        rows,
        config.fit,
        label="warm-up",
    )


def objective_of(config: ThinklessConfig) -> Objective:
    """The objective of an arm."""
    if config.arm == "vanilla":
        return grpo(GrpoConfig(scale="none"))
    if config.arm == "degrpo":
        return degrpo(DegrpoConfig(alpha=config.alpha))
    if config.arm == "control":
        return token_subset(TokenSubsetConfig(tokens="control", scale="none", clip_high=0.2))
    raise unknown("arm", config.arm, ("vanilla", "degrpo", "control", "warm-up"))


def reward_of(config: ThinklessConfig, modes: tuple[int, int]) -> Reward:
    """What RL pays, with the modes told by token."""
    priced = ModePricedConfig(
        short=config.short,
        think=config.think,
        short_token=modes[0],
        think_token=modes[1],
        gamma=config.gamma,
        wrong=config.wrong,
    )
    return mode_priced(priced)


def train(session: Session, config: ThinklessConfig) -> Policies:
    """One warm-up for all replicates, then RL; ``warm-up`` is what RL began with."""
    own, modes = prepared(session, config)
    session = session.on(own)
    shown, asked = halves(session, config)
    start = warmed(session.replicate(0), config, shown)
    if config.arm == "warm-up":
        return {"policy": start, "warm-up": start}
    tuned = session.rl(
        start,
        objective=objective_of(config),
        reward=reward_of(config, modes),
        config=replace(
            config.rl,
            prompts=min(config.rl.prompts, len(asked.problems)),
            max_new_tokens=session.task.max_new_tokens,
        ),
        problems=asked,
        label=f"RL {config.arm}",
    )
    return {"policy": tuned, "warm-up": start}


def routing(session: Session, model: Model, config: ThinklessConfig, modes: tuple[int, int]) -> Routing:
    """How a policy chooses its mode on the test problems, by its own chances in each."""
    free, _ = session.draw(model, session.task.test, config.draws, name="free draws")
    size = len(session.task.test.problems)
    count = np.maximum(np.bincount(free.problem, minlength=size), 1)
    share = np.bincount(free.problem, weights=first_tokens(free) == modes[1], minlength=size) / count
    short, think = (_forced(session, model, config.draws, token) for token in modes)
    hard = short.mean(1) < HARD
    priced = (short, think, config.gamma, config.wrong)
    return Routing(
        think=float(share.mean()),
        auc=auc_of(share, hard),
        regret=regret_of(share, *priced),
        short_right=float(short.mean()),
        think_right=float(think.mean()),
        always_short=regret_of(np.zeros(size), *priced),
        always_think=regret_of(np.ones(size), *priced),
    )


def _forced(session: Session, model: Model, draws: int, token: int) -> NDArray[np.float64]:
    """Shares of right answers of each half of the draws in one mode, float64 ``[problem, 2]``."""
    policy = model.policy.having(processors=(Force(token=token),))
    limits = Limits(max_new_tokens=session.task.max_new_tokens)
    asked = session.task.test.problems
    stage, found = session.lab.draw(policy, asked, range(draws), limits, name=f"draws that begin with {token}")
    _, grades = session.lab.grade(session.task.test.grader, asked, found, stage, name="grade a mode")
    half = found.draw % 2
    out = np.zeros((len(asked), 2))
    for part in (0, 1):
        rows = (half == part) & np.isfinite(grades.outcome)
        n = np.bincount(found.problem[rows], minlength=len(asked))
        right = np.bincount(found.problem[rows], weights=grades.outcome[rows], minlength=len(asked))
        out[:, part] = right / np.maximum(n, 1)
    return out


def table(session: Session, config: ThinklessConfig, policies: Policies) -> Rows:
    """Who thinks when, after the warm-up and after RL."""
    own, modes = prepared(session, config)
    models = {"warm-up": policies["warm-up"], config.arm: policies["policy"]}
    lines: list[Mapping[str, Json]] = []
    for name, model in models.items():
        found = routing(session.on(own), model, config, modes)
        for number, value in found._asdict().items():
            line: dict[str, Json] = {"name": f"{name}: {number.replace('_', ' ')}"}
            lines.append(
                {**line, "value": json_number(value), "problems": len(own.test.problems), "draws": config.draws}
            )
    return (*lines, *session.on(own).scores(models, config.draws))


def brief(config: ThinklessConfig) -> ThinklessConfig:
    """Two steps of each."""
    return replace(
        config,
        demonstrations=2,
        fit=replace(config.fit, steps=2, batch_rows=2, bucket_batches=1, warmup=0),
        rl=replace(config.rl, steps=2, prompts=2, draws=2),
        draws=2,
    )


_REAL = ThinklessConfig(
    short="<short>",
    think="<think>",
    demonstrations=0,
    fit=LARGE,
    rl=replace(RUN, steps=600, prompts=128, draws=8, lr=1e-6, betas=(0.9, 0.95)),
    draws=4,
)
"""Control words, prompts and draws of 2505.13379; the words are added where the tokenizer lacks them."""

METHOD = Method(
    name="thinkless",
    summary="learn when to think: a warm-up in two modes, then RL in which thinking has a price",
    source="Fang et al. 2025 (Thinkless), arXiv 2505.13379",
    cost="demo: 300 supervised and 60 RL steps; study: 1,000 and 400; real: 500 and 600 of 128 x 8 draws",
    domain="chain",
    needs=frozenset({"expert"}),
    profiles={
        "demo": ThinklessConfig(),
        "study": ThinklessConfig(
            demonstrations=0,
            fit=replace(TINY, steps=1000, bucket_batches=1),
            rl=replace(RUN, steps=400),
            draws=64,
        ),
        "real": _REAL,
    },
    brief=brief,
    train=train,
    table=table,
)
