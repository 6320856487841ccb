"""Worked solutions as step-wise problems: the expert's steps so far in the prompt, the next one to be written.

A solution of N steps gives N problems ``x_k = [x, y_1 .. y_(k-1)]`` with the target ``y_k`` (fact ``step``). A
policy that goes on after its step is cut at the step's end, so that it is never taught to stop there; with a
monologue it ends by itself, and nothing is cut.
Degenerate: a solution without an end of step is one step. A model whose tokens run over the end of a step is
cut behind that token.
Source: SRL (OpenReview Uro84w2xz5, ICLR 2026). Departures: all N steps are asked, the first included; the cut
is ours (there a chat template ends the turn).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from keyturn.core.errors import InputError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.lab.task import Task
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Limits, Policy
from keyturn.problems.contract import ProblemSet
from keyturn.rewards.step_similarity import StepSimilarityConfig, expert_step, step_of
from keyturn.rollouts.completions import Completions, Stop
from keyturn.rollouts.grades import Grades
from keyturn.training.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How steps are told apart and how a prompt goes on.

    Args:
        ends: what ends a step.
        glue: stands between a prompt and the steps so far.
        asks: stands behind them; empty where the policy simply goes on.
    """

    ends: str
    glue: str
    asks: str = ""


def layout_of(task: Task, asks: str = "") -> Layout:
    """A world's steps end with ``;`` in one line; elsewhere a line is a step."""
    return Layout(ends=";", glue=" ") if task.world is not None else Layout(ends="\n", glue="\n", asks=asks)


def steps_of(text: str, ends: str) -> tuple[str, ...]:
    """The steps of a solution without the white space around them, each with its end where it is visible."""
    parts = re.split(rf"(?<={re.escape(ends)})", text)
    return tuple(part.strip() for part in parts if part.strip())


def step_problems(pairs: Sequence[tuple[Problem, str]], layout: Layout) -> tuple[Problem, ...]:
    """Every step of every solution as a problem of its own, in their order."""
    found = []
    for problem, text in pairs:
        steps = steps_of(text, layout.ends)
        for number, step in enumerate(steps):
            parts = [problem.prompt, *steps[:number], *([layout.asks] if layout.asks else [])]
            found.append(
                replace(
                    problem,
                    id=f"{problem.id} step {number + 1}",
                    prompt=layout.glue.join(parts),
                    answer=step,
                    facts={**problem.facts, "step": step},
                    cell={**problem.cell, "step": number + 1},
                )
            )
    return tuple(found)


def whole_problems(pairs: Sequence[tuple[Problem, str]]) -> tuple[Problem, ...]:
    """Every solution as one step: similarity to the whole of it."""
    return tuple(
        replace(problem, id=f"{problem.id} whole", answer=text, facts={**problem.facts, "step": text})
        for problem, text in pairs
    )


def shuffled_targets(problems: Sequence[Problem], streams: Streams) -> tuple[Problem, ...]:
    """The same problems, each with the target of another one at the same place, a random one.

    Raises:
        InputError: no place has two problems.
    """
    places: dict[object, list[int]] = defaultdict(list)
    for index, problem in enumerate(problems):
        places[problem.cell.get("step")].append(index)
    if max((len(own) for own in places.values()), default=0) < 2:
        raise InputError("shuffling needs at least two steps", fix="give more problems")
    out = list(problems)
    for place, own in places.items():
        order = streams.generator("targets", str(place)).permutation(own).tolist()
        for index, other in zip(order, [*order[1:], *order[:1]], strict=True):
            target = expert_step(problems[other])
            facts = {**problems[index].facts, "step": target}
            out[index] = replace(problems[index], answer=target, facts=facts)
    return tuple(out)


@dataclass(frozen=True)
class StepGrader:
    """Grades a step as right if it equals the expert's step; traces are not read. Implements ``Grader``.

    Args:
        settings: where the step of a completion begins.
    """

    settings: StepSimilarityConfig

    @property
    def reads_traces(self) -> bool:
        """False: traces are ignored."""
        return False

    @property
    def name(self) -> str:
        """What it compares."""
        return f"the expert's step after {self.settings.marker!r}"

    def grade(self, problems: tuple[Problem, ...], completions: Completions) -> Grades:
        """1 if step and target are equal up to white space."""
        steps = [step_of(text, self.settings) or "" for text in completions.texts]
        targets = [expert_step(problems[index]) for index in completions.problem.tolist()]
        right = [step.split() == target.split() for step, target in zip(steps, targets, strict=True)]
        return Grades(
            outcome=np.array(right, dtype=np.float32),
            verified=np.full(len(right), np.nan, np.float32),
            answer=tuple(steps),
        )


def step_set(problems: Sequence[Problem], settings: StepSimilarityConfig, name: str) -> ProblemSet:
    """Step-wise problems with their grader."""
    return ProblemSet(name=name, problems=tuple(problems), grader=StepGrader(settings))


def ending_tokens(policy: LocalPolicy, ends: str) -> frozenset[int]:
    """Ids of the tokens whose text holds the end of a step."""
    texts = policy.tokenizer.batch_decode([[i] for i in range(len(policy.tokenizer))])
    return frozenset(i for i, text in enumerate(texts) if ends in text)


def cut_at(completions: Completions, ending: frozenset[int], policy: LocalPolicy) -> Completions:
    """Completions up to and with their first token of ``ending``; those without one stay as they are.

    The very first token ends nothing: plain text may go on with a new line.
    """
    lengths = completions.lengths
    hits = np.isin(completions.tokens, np.fromiter(ending, np.int32, len(ending)))
    place = np.arange(len(completions.tokens)) - completions.offsets[:-1][completions.token_row]
    hits &= place > 0
    first = np.full(len(completions), np.iinfo(np.int64).max)
    np.minimum.at(first, completions.token_row[hits], place[hits])
    kept = np.where(first < lengths, first + 1, lengths)
    take = np.flatnonzero(place < kept[completions.token_row])
    offsets = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    tokens = completions.tokens[take]
    texts = policy.tokenizer.batch_decode(
        [tokens[a:b].tolist() for a, b in pairwise(offsets.tolist())],
        skip_special_tokens=True,
    )
    return replace(
        completions,
        tokens=tokens,
        offsets=offsets,
        logprobs=completions.logprobs[take],
        entropies=completions.entropies[take],
        stop=np.where(first < lengths, np.uint8(Stop.EOS), completions.stop).astype(np.uint8),
        texts=tuple(str(text) for text in texts),
    )


@dataclass(frozen=True)
class OneStep:
    """Draw, and cut at the end of the first step.

    Args:
        draws: of every problem.
        limits: length and rows at once.
        ends: what ends a step; empty: nothing is cut.
    """

    draws: int
    limits: Limits
    ends: str
    _ending: dict[str, frozenset[int]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __call__(
        self, policies: Mapping[str, Policy], problems: Sequence[Problem], streams: Streams
    ) -> Rollout:
        """Draw and cut."""
        policy = policies["policy"]
        drawn = policy.draw(problems, range(self.draws), streams, self.limits)
        if not self.ends:
            return Rollout(completions=drawn)
        assert isinstance(policy, LocalPolicy), "what is trained is here"
        if self.ends not in self._ending:
            self._ending[self.ends] = ending_tokens(policy, self.ends)
        return Rollout(completions=cut_at(drawn, self._ending[self.ends], policy))
