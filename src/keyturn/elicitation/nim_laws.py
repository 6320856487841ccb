"""What a policy would answer at a position of NIM: its probability of every legal move, and of none.

The position is shown as a prompt of its own, the words that come before an answer are put behind it, and the
next token's distribution is read: of a heap (or of the word for *no move wins*), and of an amount behind each
heap. A position with ``h`` heaps is ``h + 1`` texts, from each of which one token is drawn and thrown away.

Positions deep in a game have heaps that are smaller or equal, or only one heap; no prompt of pretraining did.
What the policy says there is what it says, and the search corrects it or does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError
from keyturn.core.lazy import torch
from keyturn.core.problem import Problem
from keyturn.elicitation.contract import Asked, Costs
from keyturn.elicitation.drafts import plainly
from keyturn.elicitation.nim_rules import HEAPS, NOTHING, legal_moves, prompt_of
from keyturn.policies.continuing import go_on
from keyturn.policies.hooks import SoFar
from keyturn.policies.local import LocalPolicy
from keyturn.problems.world.nim_play import Position


@dataclass(frozen=True, kw_only=True, eq=False)
class Law:
    """What a policy would answer at a position.

    Args:
        moves: probability of each legal move, in their order; with ``none`` they sum to 1.
        none: probability of the answer that no move wins.
        cost: of reading it, one entry.
    """

    moves: NDArray[np.float64]
    none: float
    cost: Costs

    @property
    def prior(self) -> NDArray[np.float64]:
        """Of the moves alone."""
        total = self.moves.sum()
        return self.moves / total if total > 0 else np.full(len(self.moves), 1.0 / len(self.moves))

    @property
    def margin(self) -> float:
        """By how much the likeliest answer is likelier than the next."""
        first, second = np.sort(np.append(self.moves, self.none))[::-1][:2]
        return float(first - second)


@dataclass(frozen=True, kw_only=True)
class _Words:
    """A processor that keeps log-probabilities of some tokens for every row, and changes no distribution."""

    tokens: tuple[int, ...]
    name: str = "keep the law of some words"
    found: dict[int, NDArray[np.float64]] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __call__(self, so_far: SoFar, logits: torch.Tensor) -> torch.Tensor:
        """Keep them, and return the logits unchanged."""
        law = logits.double().log_softmax(-1)[:, list(self.tokens)].cpu().numpy()
        self.found.update(zip(so_far.problem.tolist(), law, strict=True))
        return logits


def laws(asked: Asked, positions: Sequence[Position], lead: str) -> list[Law]:
    """What the policy would answer at positions, all read together.

    Args:
        asked: its policy is read at temperature 1.
        positions: each with at least one heap.
        lead: the words that come before an answer.

    Raises:
        InputError: the tokenizer does not tell the words of NIM apart.
    """
    if not positions:
        return []
    most = max(position.takes for position in positions)
    amounts = [str(amount) for amount in range(1, most + 1)]
    tokens = _tokens(asked.model, [NOTHING, *HEAPS, *amounts])
    begun, first = [], []
    shown = [Problem(id=f"{at}", prompt=prompt_of(one)) for at, one in enumerate(positions)]
    prompts, start = asked.model.prompts(shown), _ids(asked.model, lead)
    for at, position in enumerate(positions):
        first.append(len(begun))
        for heap in (None, *HEAPS[: len(position.sizes)]):
            ends = [] if heap is None else [tokens[heap]]
            begun.append(np.array([*prompts.row(at).tolist(), *start, *ends], dtype=np.int32))
    words = _Words(tokens=tuple(tokens.values()))
    go_on(
        plainly(asked.model).having(processors=[words]),
        begun,
        [("law", row) for row in range(len(begun))],  # the drawn tokens are thrown away
        [1] * len(begun),
        asked.streams,
        batch_rows=asked.limits.batch_rows,
    )
    return [
        _law(
            one,
            [words.found[row] for row in range(at, at + len(one.sizes) + 1)],
            begun[at : at + len(one.sizes) + 1],
        )
        for one, at in zip(positions, first, strict=True)
    ]


def _law(position: Position, found: Sequence[NDArray[np.float64]], begun: Sequence[NDArray[np.int32]]) -> Law:
    """Probabilities from the rows of a position: one of heaps, then one of amounts for each heap."""
    heaps, behind = found[0], found[1:]
    logs = [
        heaps[1 + move.heap] + behind[move.heap][len(HEAPS) + move.amount] for move in legal_moves(position)
    ]
    # Less the largest, so that a policy to which no answer occurs at all still has a law over answers.
    weights = np.exp(np.array([*logs, heaps[0]]) - max(*logs, heaps[0]))
    weights /= weights.sum()
    read = sum(len(row) for row in begun)
    one = np.array([float(len(begun))])
    cost = replace(Costs.nothing(1), generated=one, passes=one.copy(), read=np.array([float(read)]))
    return Law(moves=weights[:-1], none=float(weights[-1]), cost=cost)


def _ids(policy: LocalPolicy, words: str) -> list[int]:
    found: Any = policy.tokenizer(words, add_special_tokens=False) if words else {"input_ids": []}
    return list(found["input_ids"])


def _tokens(policy: LocalPolicy, words: Sequence[str]) -> dict[str, int]:
    """The one token of each word."""
    ids = {word: _ids(policy, word) for word in words}
    if any(len(one) != 1 for one in ids.values()) or len({one[0] for one in ids.values()}) != len(words):
        what = "the policy's tokenizer has no token of its own for each word of a move in NIM"
        raise InputError(what, fix="a base of NIM: keyturn world pretrain nim")
    return {word: one[0] for word, one in ids.items()}
