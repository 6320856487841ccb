r"""RPT: next-token prediction as a reasoning problem, rewarded if the prediction matches the text.

Texts are the task's problems followed by their answers (in a world) or solutions, without the reasoning that
leads to them. Every position of a text is a problem: the text before it is the prompt, and the policy reasons
and predicts what comes next. The reward is 1 if the prediction equals the continuation byte for byte, up to the
end of a token (``rewards/prefix.py``). A proxy, the base after a little plain next-token training on the same
texts, selects the positions that are worth asking:

    H_t = - sum_{v in top 16} q_v log q_v,   q the proxy's next-token probabilities, renormalised

and those with ``H_t >= threshold`` are kept.

Controls: RPT without the filter; plain next-token training on the same number of predicted tokens as RPT asked
positions; and plain training at equal compute, in passes per token: 3 for plain training (forward, backward), 4
for RL (one more to sample).
Denominator: positions. *thought*: the share of draws whose prediction is right, after reasoning; *direct*: the
share of positions whose true token is the most likely one without reasoning.
Degenerate: no position above the threshold is an error; a position whose continuation is no text is left out.
Known bias: entropy does not separate tokens that can be worked out from tokens that nobody can know. Reasoning
costs tokens at test time that direct prediction does not. The table has both for every policy, and the base
with reasoning, which shows what training adds.
Source: Dong et al. 2025, Reinforcement Pre-Training (2506.08007), section 3. Departures: nats; the proxy (there
another, smaller model); the threshold, which they do not state; prompts are not counted in compute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import unknown
from keyturn.core.measurement import Json, json_number
from keyturn.core.problem import Problem, Split
from keyturn.lab.fit_rows import demonstration_completions
from keyturn.lab.session import Model, Session
from keyturn.lab.tables import accuracy, row
from keyturn.lab.task import Task
from keyturn.methods.contract import Method, Policies, Rows
from keyturn.methods.rpt.positions import PrefixGrader, Texts, entropies, filtered, positions, texts_of
from keyturn.methods.sft import LARGE, TINY
from keyturn.methods.sft_then_rl import LARGE_RL
from keyturn.objectives.grpo import grpo
from keyturn.policies.optimise import FitConfig
from keyturn.problems.contract import ProblemSet
from keyturn.rewards import REWARDS
from keyturn.rewards.prefix import PrefixConfig, prefix
from keyturn.rollouts.completions import Completions
from keyturn.training.config import RLConfig

PLAIN_PASSES, RL_PASSES = 3, 4


@dataclass(frozen=True, kw_only=True)
class RptConfig:
    """Settings of reinforcement pre-training."""

    documents: int = 300
    """Texts to learn from; 0 takes all."""
    test_positions: int = 160
    """Positions of validation and test, each; 0 takes all."""
    first: int = 2
    """Tokens of a text before its first position."""
    horizon: int = 4
    """Tokens of the true continuation that a prediction may cover."""
    top: int = 16
    """Tokens whose entropy counts (2506.08007)."""
    threshold: float = 1.0
    """Minimum entropy of the positions that are asked, in nats; ours."""
    joint: str = " "
    """Between problem and answer."""
    instruction: str = ""
    """What follows a context in a prompt, for models that must be told what to do."""
    reward: PrefixConfig = field(default_factory=lambda: PrefixConfig(marker="ANS", boxed=False))
    """Where the prediction is found in a completion."""
    learn: Literal["filtered", "all", "tokens", "compute"] = "filtered"
    """RL on positions above the threshold, or on all; or plain next-token training, on as many tokens as RL
    asks positions (``tokens``) or at the compute of RL (``compute``)."""
    control: bool = False
    """Use a random reward instead: the effect of RL on positions when rewards ignore the predictions."""
    proxy: FitConfig = field(default_factory=lambda: replace(TINY, steps=100))
    """Next-token training of the proxy."""
    plain: FitConfig = field(default_factory=lambda: replace(TINY, warmup=0, decay_from=1.0))
    """Plain next-token training; its steps follow from tokens or compute."""
    rl: RLConfig = field(
        default_factory=lambda: RLConfig(
            steps=30, prompts=16, draws=8, max_new_tokens=15, batch_rows=128, lr=1e-3, kl_every=0
        )
    )
    """Sizes and rates of RL."""
    draws: int = 4
    """Draws per test position and per test problem."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Positions:
    """What RPT learns from.

    Args:
        texts: the texts.
        every: all their positions.
        hard: those that pass the filter.
    """

    texts: Texts
    every: ProblemSet
    hard: ProblemSet


def texts_in(session: Session, asked: Sequence[Problem], config: RptConfig) -> Texts:
    """Problems as texts."""
    return texts_of(
        session.task, asked, session.streams.child("expert"), joint=config.joint, first=config.first
    )


def proxy_of(session: Session, texts: Texts, config: RptConfig) -> Model:
    """The base after a little next-token training; there is one for all replicates."""
    return session.replicate(0).fit(session.base, texts.rows, config.proxy, label="proxy")


def positions_in(
    session: Session, texts: Texts, proxy: Model, config: RptConfig, split: Split
) -> list[Problem]:
    """The positions of some texts as problems."""
    return positions(
        session.task,
        texts,
        entropies(session.lab, proxy, texts, config.top),
        split,
        first=config.first,
        horizon=config.horizon,
        instruction=config.instruction,
    )


def position_set(session: Session, name: str, found: Sequence[Problem], config: RptConfig) -> ProblemSet:
    """Positions with their grader."""
    name = f"{session.task.train.name} positions {name}"
    return ProblemSet(name=name, problems=tuple(found), grader=PrefixGrader(config.reward))


def training_texts(session: Session, config: RptConfig) -> Texts:
    """The training problems as texts."""
    return texts_in(session, session.task.train.problems[: config.documents or None], config)


def training_positions(session: Session, config: RptConfig) -> Positions:
    """The texts, their positions, and those that the proxy keeps."""
    texts = training_texts(session, config)
    every = positions_in(session, texts, proxy_of(session, texts, config), config, "train")
    return Positions(
        texts=texts,
        every=position_set(session, "all", every, config),
        hard=position_set(session, "filtered", filtered(every, config.threshold), config),
    )


def on_positions(session: Session, config: RptConfig) -> Task:
    """The task with positions in the place of validation and test problems; they are filtered too."""
    proxy = proxy_of(session, training_texts(session, config), config)
    held: dict[Split, ProblemSet] = {}
    splits: tuple[tuple[Split, ProblemSet], ...] = (
        ("validation", session.task.validation),
        ("test", session.task.test),
    )
    for split, source in splits:
        texts = texts_in(session, source.problems, config)
        found = filtered(positions_in(session, texts, proxy, config, split), config.threshold)
        order = session.streams.generator("rpt", split).permutation(len(found))
        chosen = [found[i] for i in order[: config.test_positions or None]]
        held[split] = position_set(session, split, chosen, config)
    return replace(session.task, validation=held["validation"], test=held["test"])


def train(session: Session, config: RptConfig) -> Policies:
    """RL on positions, or plain next-token training on the same texts."""
    given = training_positions(session, config)
    if config.learn in ("filtered", "all"):
        return {"policy": by_reasoning(session, given, config)}
    if config.learn == "tokens":
        # The number of predicted tokens equals the number of positions that RPT asks.
        steps = plain_steps(config, given.texts, predicted=config.rl.steps * config.rl.prompts)
    elif config.learn == "compute":
        # The compute of one RPT run, the same for all replicates.
        costed = by_reasoning(session.replicate(0), given, replace(config, learn="filtered"))
        steps = plain_steps(config, given.texts, passed=RL_PASSES * costed.history[-1]["tokens"])
    else:
        raise unknown("way to learn", config.learn, ("filtered", "all", "tokens", "compute"))
    fit = replace(config.plain, steps=steps)
    return {"policy": session.fit(session.base, given.texts.rows, fit, label="next token")}


def by_reasoning(session: Session, given: Positions, config: RptConfig) -> Model:
    """RL on filtered positions or on all."""
    asked = given.every if config.learn == "all" else given.hard
    settings = replace(
        config.rl,
        prompts=min(config.rl.prompts, len(asked.problems)),
        max_new_tokens=min(config.rl.max_new_tokens, session.task.max_new_tokens),
    )
    return session.rl(
        session.base,
        objective=grpo(),
        reward=REWARDS["random"]() if config.control else prefix(config.reward),
        config=settings,
        problems=asked,
        label="RPT without filter" if config.learn == "all" else "RPT",
    )


def plain_steps(config: RptConfig, texts: Texts, *, predicted: float = 0, passed: float = 0) -> int:
    """Steps of plain training for a number of predicted tokens or of passes over tokens; at least one.

    Args:
        config: rows a step.
        texts: how long they are.
        predicted: tokens to predict.
        passed: passes over a token to spend.
    """
    weights = float(np.mean([item.weights.sum() for item in texts.rows])) * config.plain.batch_rows
    tokens = float(np.mean([len(item.tokens) for item in texts.rows])) * config.plain.batch_rows
    return max(1, round(predicted / weights if predicted else passed / (tokens * PLAIN_PASSES)))


def direct(task: Task, model: Model, asked: Sequence[Problem]) -> NDArray[np.bool_]:
    """Whether the true token is the most likely one without reasoning, ``[position]``; instructions are left
    out."""
    plain = [replace(problem, prompt=str(problem.facts["context"])) for problem in asked]
    given = demonstration_completions(task.base, [(problem, problem.answer) for problem in plain])
    tokens = np.array([int(problem.facts["token"]) for problem in plain], dtype=np.int32)
    table = model.policy.score(_single(given, tokens))
    return table.ranks == 0


def _single(given: Completions, tokens: NDArray[np.int32]) -> Completions:
    """The prompts of completions, each with one token behind it."""
    blank = np.full(len(tokens), np.nan, np.float32)
    offsets = np.arange(len(tokens) + 1, dtype=given.offsets.dtype)
    return replace(given, tokens=tokens, offsets=offsets, logprobs=blank, entropies=blank)


def rivals(config: RptConfig) -> dict[str, RptConfig]:
    """RPT with and without its filter, and plain training at equal tokens and at equal compute."""
    return {
        "RPT": replace(config, learn="filtered"),
        "RPT without filter": replace(config, learn="all"),
        "next token, equal tokens": replace(config, learn="tokens"),
        "next token, equal compute": replace(config, learn="compute"),
    }


def table(session: Session, config: RptConfig, policies: Policies) -> Rows:
    """Right predictions with reasoning and at once, and success on the problems."""
    models = {"base": session.base} | {name: policies[name] for name in rivals(config)}
    own, lines = on_positions(session, config), list[Mapping[str, Json]]()
    for name, model in models.items():
        thought = session.on(own).answers(model, own.test, config.draws, name=f"thought {name}")
        estimate = accuracy(thought, session.streams.child("thought", name))
        at_once = float(direct(own, model, own.test.problems).mean())
        size = {"problems": len(own.test.problems), "draws": config.draws, "unit": "right predictions"}
        lines.append(row(f"{name}: thought", estimate, direct=json_number(at_once), **size))
    lines += [{**line, "name": f"{line['name']}: problems"} for line in session.scores(models, config.draws)]
    return lines


def brief(config: RptConfig) -> RptConfig:
    """Two steps of each, on few positions of any entropy, with a reward that surely differs."""

    def short(fit: FitConfig) -> FitConfig:
        return replace(fit, steps=2, batch_rows=2, bucket_batches=1, warmup=0)

    return replace(
        config,
        documents=4,
        test_positions=4,
        first=1,
        threshold=0.0,
        control=True,
        proxy=short(config.proxy),
        plain=short(config.plain),
        rl=replace(config.rl, steps=2, prompts=2, draws=4, max_new_tokens=8),
        draws=1,
    )


METHOD = Method(
    name="rpt",
    summary="RL on positions of text that are hard to predict, beside plain next-token training",
    source="Dong et al. 2025, arXiv 2506.08007",
    cost="demo: two RL runs of 30 steps on CHAIN; study: 300; real: two of 200; plain training beside them",
    domain="chain",
    profiles={
        "demo": RptConfig(),
        "study": RptConfig(
            documents=0,
            test_positions=0,
            rl=RLConfig(steps=300, prompts=16, draws=8, max_new_tokens=32, batch_rows=128, kl_every=0),
            draws=16,
        ),
        "real": RptConfig(
            documents=0,
            test_positions=1000,
            first=16,
            horizon=8,
            joint="\n",
            instruction="\n\nHow does this text go on? Think first, then write the next word in \\boxed{}.",
            reward=PrefixConfig(marker=""),
            proxy=replace(LARGE, steps=100),
            plain=replace(LARGE, warmup=0, decay_from=1.0),
            rl=replace(LARGE_RL, max_new_tokens=1024),
        ),
    },
    brief=brief,
    train=train,
    rivals=rivals,
    table=table,
)
