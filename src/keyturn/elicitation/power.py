"""Power sampling: draw whole answers from ``pi(x) ~ p(x) ^ alpha`` by blockwise Metropolis-Hastings.

Proposals are ``q(x_t | x_<t) = p(x_t | x_<t) ^ alpha / Z_t`` with ``Z_t = sum_v p(v | x_<t) ^ alpha``. In a
block that reaches to ``T`` tokens, ``steps`` times: choose a place ``i`` uniformly among the ``|x|`` tokens of
the answer (an end of sequence is one), draw ``x'`` anew from ``i`` until it ends or has ``T`` tokens, and
accept with probability ``min(1, r)``::

    r = [p(x')^a q(x_>=i)] / [p(x)^a q(x'_>=i)] * |x| / |x'|
    log r = sum_{j >= i in x'} log Z_j - sum_{j >= i in x} log Z_j + log |x| - log |x'|

so that ``log Z`` of each token is all that is kept. Then answers that have not ended are lengthened to the next
block. Proposals always run to the end and both tails are counted whole, which is what makes it right for
answers of different length; without the factor of the lengths it is not. Only the last block decides which
distribution is reached, earlier ones where it starts. ``alpha = 1`` without steps is plain sampling; without
steps it is a low temperature.

Source: Karan and Du 2025 (2510.14901); the treatment of lengths is ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.core.lazy import torch
from keyturn.elicitation.contract import Asked, Costs, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import costs_of
from keyturn.elicitation.written import written
from keyturn.policies.context import context_length
from keyturn.policies.continuing import Name, Noted, go_on
from keyturn.policies.local import LocalPolicy, Sampling
from keyturn.rollouts.completions import Stop


@dataclass(frozen=True, kw_only=True)
class PowerConfig:
    """Settings of power sampling."""

    alpha: float = 4.0
    """Exponent of the probability of a whole answer."""
    block: int = 32
    """Tokens of a block."""
    steps: int = 10
    """Proposals in each block."""


@dataclass(frozen=True, kw_only=True)
class LogPartition:
    """``log sum_v p(v) ^ alpha`` of every distribution.

    Args:
        alpha: the exponent.
    """

    alpha: float

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """One number a row, from logits ``[row, vocab]``."""
        return (self.alpha * logits.double().log_softmax(-1)).logsumexp(-1)


def answer(asked: Asked, config: PowerConfig, prepared: Prepared) -> Elicitation:
    """Draw every answer by its own chain."""
    if not config.alpha > 0 or config.block < 1 or config.steps < 0:
        what = f"--alpha is {config.alpha}, --block {config.block} and --steps {config.steps}"
        raise UsageError(what, fix="above 0, 1 or more, 0 or more")
    ends_by_token(asked.model)
    policy = asked.model.having(sampling=Sampling(temperature=1.0 / config.alpha))
    if not config.steps:
        drawn = policy.draw(asked.problems.problems, asked.draws, asked.streams, asked.limits)
        return Elicitation(completions=drawn, costs=costs_of(drawn), facts={"accepted": np.zeros(len(drawn))})
    chains = Chains(asked, policy, config)
    longest = int(chains.longest.max(initial=0))
    for number, start in enumerate(range(0, longest, config.block)):
        chains.lengthen(start + config.block, number)
        for step in range(config.steps):
            chains.propose(start + config.block, number, step)
    return chains.result()


def ends_by_token(policy: LocalPolicy) -> None:
    """Refuse a policy whose answers end by a text: a law of whole answers is one of token sequences.

    Raises:
        UsageError: a stop text, or a chat template that has no token that ends a turn.
    """
    if policy.stop_texts:
        what = "answers are ended by text here, so where a sequence of tokens ends is not defined"
        raise UsageError(what, fix="--template plain, and no stop texts")


@dataclass(frozen=True, kw_only=True, eq=False)
class Tail:
    """What was drawn behind the beginning of an answer: one entry a token, and whether it ended."""

    tokens: NDArray[np.int32]
    weights: NDArray[np.float64]
    """``log Z`` at each place."""
    logprobs: NDArray[np.float64]
    """At temperature 1."""
    entropies: NDArray[np.float32]
    ended: bool


class Chains:
    """One Markov chain for every problem and draw; its state is an answer.

    Args:
        asked: problems, draws and streams.
        policy: the proposals: the model at temperature ``1 / alpha``.
        config: the exponent.
    """

    def __init__(self, asked: Asked, policy: LocalPolicy, config: PowerConfig) -> None:
        self.asked, self.policy, self.config = asked, policy, config
        problems = asked.problems.problems
        self.prompts = policy.prompts(problems)
        self.problem = np.repeat(np.arange(len(problems), dtype=np.int32), len(asked.draws))
        self.draw = np.tile(np.asarray(asked.draws, dtype=np.int32), len(problems))
        rows = len(self.problem)
        context = context_length(policy.model)
        room = np.full(rows, asked.limits.max_new_tokens, dtype=np.int64)
        own = np.diff(self.prompts.offsets)[self.problem]
        self.longest = room if context is None else np.minimum(room, context - own)
        self.tokens: list[NDArray[np.int32]] = [np.zeros(0, dtype=np.int32)] * rows
        self.weights: list[NDArray[np.float64]] = [np.zeros(0)] * rows
        self.logprobs: list[NDArray[np.float64]] = [np.zeros(0)] * rows
        self.entropies: list[NDArray[np.float32]] = [np.zeros(0, dtype=np.float32)] * rows
        self.ended = np.zeros(rows, dtype=np.bool_)
        self.costs = Costs.nothing(rows)
        self.proposed, self.accepted = np.zeros(rows), np.zeros(rows)

    def lengthen(self, horizon: int, block: int) -> None:
        """Let answers that have not ended grow to ``horizon`` tokens."""
        lengths = np.array([len(one) for one in self.tokens], dtype=np.int64)
        rows = np.flatnonzero(~self.ended & (lengths < np.minimum(horizon, self.longest)))
        label = ("block", block) if block else ("sample",)
        for row, tail in self._drawn(rows, lengths[rows], horizon, label):
            self._set(row, int(lengths[row]), tail)

    def propose(self, horizon: int, block: int, step: int) -> None:
        """One proposal a chain, accepted or not."""
        rows = np.arange(len(self.tokens))
        rows = rows[[len(one) > 0 for one in self.tokens]]
        places, dice = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows))
        for index, row in enumerate(rows.tolist()):
            generator = self.asked.streams.generator("accept", *self._name(row), block, step)
            places[index] = generator.integers(len(self.tokens[row]))
            dice[index] = generator.random()
        at = dict(zip(rows.tolist(), zip(places.tolist(), dice.tolist(), strict=True), strict=True))
        for row, tail in self._drawn(rows, places, horizon, ("propose", block, step)):
            place, die = at[row]
            ratio = self.log_ratio(row, place, tail.tokens, tail.weights)
            self.proposed[row] += 1
            if np.log(max(die, np.finfo(float).tiny)) < ratio:
                self.accepted[row] += 1
                self._set(row, place, tail)

    def log_ratio(self, row: int, place: int, tokens: NDArray[np.int32], weights: NDArray[np.float64]) -> float:
        """Logarithm of the ratio that decides about the tail ``tokens`` from ``place`` on."""
        new, old = place + len(tokens), len(self.tokens[row])
        tails = float(weights.sum() - self.weights[row][place:].sum())
        return tails + float(np.log(old) - np.log(new))

    def result(self) -> Elicitation:
        """Where the chains are."""
        found = written(
            self.policy,
            self.prompts,
            self.problem,
            self.draw,
            [one.tolist() for one in self.tokens],
            ended=self.ended,
            entropies=np.concatenate(self.entropies).astype(np.float32),
        )
        return Elicitation(
            completions=found,
            costs=self.costs,
            facts={
                "accepted": self.accepted / np.maximum(self.proposed, 1),
                "logprob": np.array([one.sum() for one in self.logprobs]),
            },
        )

    def _name(self, row: int) -> Name:
        return (self.asked.problems.problems[self.problem[row]].id, int(self.draw[row]))

    def _drawn(
        self, rows: NDArray[np.int64], places: NDArray[np.int64], horizon: int, label: Name
    ) -> Iterator[tuple[int, Tail]]:
        """New tails of some rows, from a place each."""
        if not len(rows):
            return
        noted = Noted(name="log partition", of=LogPartition(alpha=self.config.alpha))
        begun = [
            np.concatenate([self.prompts.row(int(self.problem[row])), self.tokens[row][:place]])
            for row, place in zip(rows.tolist(), places.tolist(), strict=True)
        ]
        rooms = np.minimum(horizon, self.longest[rows]) - places
        names = [(*label, *self._name(row)) for row in rows.tolist()]
        limit = self.asked.limits.batch_rows
        found = go_on(
            self.policy.having(processors=[noted]),
            begun,
            names,
            rooms.tolist(),
            self.asked.streams,
            batch_rows=limit,
        )
        lengths = np.array([len(one) for one in found.tokens], dtype=np.int64)
        weights = noted.rows(np.arange(len(rows)), np.zeros(len(rows), dtype=np.int64), lengths)
        self.costs.generated[rows] += lengths
        self.costs.passes[rows] += lengths
        self.costs.read[rows] += [len(one) for one in begun]
        for index, row in enumerate(rows.tolist()):
            own = (found.logprobs[index].astype(np.float64) + weights[index]) / self.config.alpha
            yield (
                row,
                Tail(
                    tokens=found.tokens[index],
                    weights=weights[index],
                    logprobs=own,
                    entropies=found.entropies[index],
                    ended=bool(found.stop[index] == Stop.EOS),
                ),
            )

    def _set(self, row: int, place: int, tail: Tail) -> None:
        """Put a tail behind the first ``place`` tokens of a row."""
        self.tokens[row] = np.concatenate([self.tokens[row][:place], tail.tokens])
        self.weights[row] = np.concatenate([self.weights[row][:place], tail.weights])
        self.logprobs[row] = np.concatenate([self.logprobs[row][:place], tail.logprobs])
        self.entropies[row] = np.concatenate([self.entropies[row][:place], tail.entropies])
        self.ended[row] = tail.ended


METHOD = ElicitationMethod(
    name="power",
    summary="draw whole answers from a power of the policy's own probability, by Metropolis-Hastings",
    source="Karan and Du 2025, arXiv 2510.14901; lengths treated as ours",
    cost="about steps x T^2 / (4 block) tokens for an answer of T tokens",
    control=("low-temperature", "best-of-n", "plain"),
    needs=frozenset({"model"}),
    config=PowerConfig(),
    neutral=PowerConfig(alpha=1.0, steps=0),
    answer=answer,
)
