"""The noun `policy`: something that answers prompts. Never a trainer."""

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
    """How much a policy may do for one call."""

    max_new_tokens: int = 64
    """Tokens a completion may have, the end-of-sequence token included."""
    batch_rows: int = 256
    """Rows decoded at once. Never changes which tokens are drawn, only speed (and last bits of logits)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenTable:
    """What a policy thinks of given completions, aligned with ``Completions.tokens``.

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
    """Answers prompts, and says how likely it finds an answer."""

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
