"""Look-ahead power sampling: each token is drawn from ``p(x) ^ alpha`` over whole answers, by rollouts.

Formula: what a low temperature leaves out is what follows a token. For a candidate ``v`` after ``x_<t``, with
rollouts ``y_1 ... y_M`` from the policy itself::

    pi(v) ~ p(v) ^ alpha * zeta(v),   zeta(v) = sum_y p(y | x_<t v) ^ alpha = E_y[p(y | x_<t v) ^ (alpha - 1)]
    z(v) = mean_m p(y_m | x_<t v) ^ (alpha - 1),   pi^(v) = p(v) ^ alpha z(v) / sum_u p(u) ^ alpha z(u)
    jackknife   M pi^ - (M - 1) / M sum_m pi^_(-m)

where ``pi^_(-m)`` leaves out rollout ``m`` of every candidate; negative values become 0 and the rest is
normalised. The jackknife takes the bias of the ratio from order 1 / M to 1 / M^2. Rollouts go to the end of an
answer, or for ``horizon`` tokens, and only the ``candidates`` likeliest tokens are tried; both cuts are a bias
that no number of rollouts removes. The variance explodes for a large alpha and long answers. Without rollouts
it is a low temperature; with ``alpha = 1`` plain sampling.

Source: 2601.21590, from its abstract.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.core.lazy import torch
from keyturn.elicitation.contract import Asked, Costs, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import costs_of, plainly
from keyturn.elicitation.power import ends_by_token
from keyturn.elicitation.written import written
from keyturn.policies.context import context_length
from keyturn.policies.continuing import Noted, go_on
from keyturn.policies.local import LocalPolicy, Sampling


@dataclass(frozen=True, kw_only=True)
class AheadConfig:
    """Settings of look-ahead power sampling."""

    alpha: float = 4.0
    """Exponent of the probability of a whole answer."""
    rollouts: int = 4
    """Rollouts behind each candidate; 0: a low temperature."""
    candidates: int = 4
    """Likeliest tokens that are tried at each place; 0: all."""
    horizon: int = 0
    """Most tokens of a rollout; 0: to the end of the answer."""
    jackknife: bool = True
    """Correct the bias of few rollouts."""


def sharpened(
    own: NDArray[np.float64], ahead: NDArray[np.float64], alpha: float, *, jackknife: bool
) -> NDArray[np.float64]:
    """The estimated law of the next token.

    Args:
        own: log-probabilities of the candidates, ``[candidate]``.
        ahead: log-probabilities of the rollouts behind them, ``[candidate, rollout]``; 0 for a candidate that
            ends the answer.
        alpha: the exponent.
        jackknife: correct the bias.

    Returns:
        ``[candidate]``, sums to 1.
    """
    logs = alpha * own[:, None] + (alpha - 1.0) * ahead
    weights = np.exp(logs - logs.max())
    count = weights.shape[1]
    law = weights.sum(axis=1) / weights.sum()
    if jackknife and count > 1:
        left = weights.sum(axis=1, keepdims=True) - weights
        totals = left.sum(axis=0)
        # Where one rollout holds all the weight, nothing is left to correct with.
        safe = np.where(totals > 0, totals, 1.0)
        without = np.where(totals > 0, left / safe, law[:, None])
        law = np.clip(count * law - (count - 1) * without.mean(axis=1), 0.0, None)
    return law / law.sum()


@dataclass(frozen=True)
class _Law:
    """The whole law of the next token."""

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.double().log_softmax(-1)


def answer(asked: Asked, config: AheadConfig, prepared: Prepared) -> Elicitation:
    """Draw every answer token by token, each with a look ahead."""
    if not config.alpha > 0 or min(config.rollouts, config.candidates, config.horizon) < 0:
        what = f"--alpha is {config.alpha}, and a number of rollouts, candidates or tokens is negative"
        raise UsageError(what, fix="above 0, and 0 or more")
    ends_by_token(asked.model)
    if config.alpha == 1.0 or not config.rollouts:
        policy = asked.model.having(sampling=Sampling(temperature=1.0 / config.alpha))
        drawn = policy.draw(asked.problems.problems, asked.draws, asked.streams, asked.limits)
        return Elicitation(completions=drawn, costs=costs_of(drawn), facts={"moved": np.zeros(len(drawn))})
    writing = _Writing(asked, config)
    while len(rows := writing.going()):
        writing.step(rows)
    return writing.result()


class _Writing:
    """All answers while they are written.

    Args:
        asked: problems, draws and streams.
        config: the method's settings.
    """

    def __init__(self, asked: Asked, config: AheadConfig) -> None:
        self.asked, self.config = asked, config
        self.policy: LocalPolicy = plainly(asked.model)
        problems = asked.problems.problems
        self.prompts = self.policy.prompts(problems)
        self.problem = np.repeat(np.arange(len(problems), dtype=np.int32), len(asked.draws))
        self.draw = np.tile(np.asarray(asked.draws, dtype=np.int32), len(problems))
        size = len(self.problem)
        context, room = context_length(self.policy.model), asked.limits.max_new_tokens
        own = np.diff(self.prompts.offsets)[self.problem]
        self.longest = np.full(size, room) if context is None else np.minimum(room, context - own)
        self.tokens: list[list[int]] = [[] for _ in range(size)]
        self.entropies: list[list[float]] = [[] for _ in range(size)]
        self.ended = np.zeros(size, dtype=np.bool_)
        self.moved = np.zeros(size)
        self.costs = Costs.nothing(size)
        self.uniforms = np.empty((size, room))
        names = [("sample", *self._name(row)) for row in range(size)]
        asked.streams.uniforms(names, self.uniforms)

    def _name(self, row: int) -> tuple[str, int]:
        return (self.asked.problems.problems[self.problem[row]].id, int(self.draw[row]))

    def going(self) -> NDArray[np.int64]:
        """Rows that are not finished."""
        lengths = np.array([len(one) for one in self.tokens])
        return np.flatnonzero(~self.ended & (lengths < self.longest))

    def _begun(self, row: int, more: tuple[int, ...] = ()) -> NDArray[np.int32]:
        own = np.array([*self.tokens[row], *more], dtype=np.int32)
        return np.concatenate([self.prompts.row(int(self.problem[row])), own])

    def _laws(self, rows: NDArray[np.int64]) -> list[NDArray[np.float64]]:
        """Log-probabilities of the next token of some rows."""
        noted = Noted(name="law", of=_Law())
        begun = [self._begun(row) for row in rows.tolist()]
        names = [("law", *self._name(row), len(self.tokens[row])) for row in rows.tolist()]
        self._go_on(self.policy.having(processors=[noted]), begun, names, [1] * len(rows), rows)
        count = np.arange(len(rows))
        return [
            one[0] for one in noted.rows(count, np.zeros(len(rows), dtype=np.int64), np.ones(len(rows), int))
        ]

    def _go_on(self, policy, begun, names, rooms, rows):  # type: ignore[no-untyped-def]
        """Continue texts and count what that costs the rows that they are for."""
        limit = self.asked.limits.batch_rows
        found = go_on(policy, begun, names, rooms, self.asked.streams, batch_rows=limit)
        written = np.array([len(one) for one in found.tokens], dtype=np.float64)
        # A row at the end of its context is not read.
        read = np.where(written > 0, [len(one) for one in begun], 0)
        np.add.at(self.costs.generated, rows, written)
        np.add.at(self.costs.passes, rows, written)
        np.add.at(self.costs.read, rows, read)
        return found

    def step(self, rows: NDArray[np.int64]) -> None:
        """One token of some rows."""
        laws = self._laws(rows)
        tried = [self._tried(law) for law in laws]
        ahead = self._ahead(rows, tried)
        for place, row in enumerate(rows.tolist()):
            own = laws[place][tried[place]]
            law = sharpened(own, ahead[place], self.config.alpha, jackknife=self.config.jackknife)
            low = np.exp(self.config.alpha * (own - own.max()))
            self.moved[row] += 0.5 * float(np.abs(law - low / low.sum()).sum())
            # Candidates in the order of their ids, as plain sampling has them.
            die = self.uniforms[row, len(self.tokens[row])]
            chosen = int(min(np.searchsorted(np.cumsum(law), die * law.sum(), side="right"), len(law) - 1))
            token = int(tried[place][chosen])
            self.tokens[row].append(token)
            self.entropies[row].append(float(-(np.exp(laws[place]) * laws[place]).sum()))
            self.ended[row] = token in self.policy.ends

    def _tried(self, law: NDArray[np.float64]) -> NDArray[np.int64]:
        """The candidates, by their ids."""
        count = self.config.candidates or len(law)
        return np.sort(np.argsort(-law, kind="stable")[:count])

    def _ahead(self, rows: NDArray[np.int64], tried: list[NDArray[np.int64]]) -> list[NDArray[np.float64]]:
        """Log-probabilities of rollouts, ``[candidate, rollout]`` for each row."""
        size = self.config.rollouts
        begun, names, rooms, owner, where = [], [], [], [], []
        found = [np.zeros((len(one), size)) for one in tried]
        for place, row in enumerate(rows.tolist()):
            room = int(self.longest[row]) - len(self.tokens[row]) - 1
            room = min(room, self.config.horizon) if self.config.horizon else room
            for index, token in enumerate(tried[place].tolist()):
                if token in self.policy.ends or room <= 0:
                    continue
                for number in range(size):
                    begun.append(self._begun(row, (token,)))
                    names.append(("ahead", *self._name(row), len(self.tokens[row]), token, number))
                    rooms.append(room)
                    owner.append(row)
                    where.append((place, index, number))
        if begun:
            rolled = self._go_on(self.policy, begun, names, rooms, np.array(owner))
            for (place, index, number), one in zip(where, rolled.logprobs, strict=True):
                found[place][index, number] = float(one.astype(np.float64).sum())
        return found

    def result(self) -> Elicitation:
        """The answers."""
        completions = written(
            self.policy,
            self.prompts,
            self.problem,
            self.draw,
            self.tokens,
            ended=self.ended,
            entropies=np.array([x for one in self.entropies for x in one], dtype=np.float32),
        )
        lengths = np.array([max(len(one), 1) for one in self.tokens])
        facts = {"moved": self.moved / lengths}
        return Elicitation(completions=completions, costs=self.costs, facts=facts)


METHOD = ElicitationMethod(
    name="power-ahead",
    summary="draw each token from a power of the probability of whole answers, estimated by rollouts",
    source="arXiv 2601.21590",
    cost="about 8 T^2 tokens for an answer of T tokens: 4 rollouts behind each of 4 candidates",
    control=("low-temperature", "power", "best-of-n"),
    needs=frozenset({"model"}),
    config=AheadConfig(),
    neutral=AheadConfig(alpha=1.0),
    answer=answer,
)
