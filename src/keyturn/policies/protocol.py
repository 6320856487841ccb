"""The noun `policy`: something that answers prompts. A policy never trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.rollouts.completions import Completions


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits on one call of a policy."""

    max_new_tokens: int = 64
    """Most tokens of a completion, the end-of-sequence token included."""
    batch_rows: int = 256
    """Rows decoded at once. This changes only speed (and last bits of logits), never the tokens drawn."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenTable:
    """A policy's scores of given completions, aligned with ``Completions.tokens``.

    Args:
        policy: fingerprint of the policy that scored.
        logprobs: log-probability at temperature 1, float32 ``[token]``.
        entropies: nats, float32 ``[token]``.
        ranks: 0 is the most likely token, int32 ``[token]``.
    """

    policy: str
    logprobs: NDArray[np.float32]
    entropies: NDArray[np.float32]
    ranks: NDArray[np.int32]


@runtime_checkable
class Policy(Protocol):
    """Answers prompts, and gives the probability of an answer."""

    @property
    def fingerprint(self) -> str:
        """Hash of weights, tokenizer and interventions."""
        ...

    def draw(self, problems: Sequence[Problem], draws: range, streams: Streams, limits: Limits) -> Completions:
        """Draw completions ``draws`` of every problem; row order is problem-major, draw-minor."""
        ...

    def score(self, completions: Completions) -> TokenTable:
        """Teacher-forced log-probabilities, entropies and ranks of given completions."""
        ...
