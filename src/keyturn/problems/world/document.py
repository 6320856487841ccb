"""A document of a corpus: a prompt, its trace, and the role of every token of the trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from keyturn.core.roles import Role


@dataclass(frozen=True, kw_only=True)
class Document:
    """One training text.

    Args:
        prompt: token ids, ``[prompt token]``.
        completion: token ids with the final ``EOS``, ``[token]``.
        roles: a :class:`keyturn.core.roles.Role` per completion token, ``[token]``.
        choices: completion position -> all token ids that are right there, for planning tokens.
        component: the part of the mixture from which it was drawn.
    """

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    roles: tuple[int, ...]
    choices: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    component: str

    @property
    def ids(self) -> tuple[int, ...]:
        """Prompt followed by completion."""
        return self.prompt + self.completion


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weight of predicting a token in pretraining, by the token's role."""

    arithmetic: float = 4.0
    """Results of operations; as in run F of the pilot (docs/world.md), like the other weights."""
    plan: float = 3.0
    """Choice of the next step, goal lists, retractions; run F."""
    copy: float = 1.5
    """Definitions copied from the prompt; run F."""
    lookup: float = 1.0
    """Looked-up values. Free choices weigh the same: in CHAIN a linked and an unlinked operand have the same
    position, and unequal weights would change the dose of linking."""
    rest: float = 0.3
    """Syntax, repetitions, strategy, verification, answer; run F."""
    prompt: float = 0.0
    """Tokens of the prompt."""

    def by_role(self) -> NDArray[np.float32]:
        """The weights indexed by role, float32 ``[role]``."""
        table = np.full(len(Role), self.rest, dtype=np.float32)
        table[[Role.PLAN, Role.GOAL, Role.BACKTRACK]] = self.plan
        table[Role.ARITHMETIC] = self.arithmetic
        table[Role.COPY] = self.copy
        table[[Role.LOOKUP, Role.ARBITRARY]] = self.lookup
        return table

    def of(self, document: Document) -> NDArray[np.float32]:
        """Weight per token of prompt and completion, float32 ``[prompt token + token]``."""
        head = np.full(len(document.prompt), self.prompt, dtype=np.float32)
        return np.concatenate([head, self.by_role()[list(document.roles)]])
