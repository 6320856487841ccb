"""What each part of the study costs on this machine, told before anything is drawn.

The unit is a token that passes forward through the model once. A sampled token costs more, because the tokens
of an answer come one after another; a learnt token costs its forward and backward pass. The factors were
measured in the committed run; this machine's rate is measured at every start.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

SAMPLED = 2.0
"""Passes that a sampled token is worth."""
LEARNT = 4.0
"""Passes that a token of an update is worth."""
SECOND = 2.5
"""Passes of the first model that one of the second is worth: the size of its parameters and vocabulary."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Tokens that a part handles, as planned.

    Args:
        read: of prompts, forward once.
        sampled: of answers.
        learnt: of updates, prompts included.
        size: passes of the first model that one pass is worth.
    """

    read: int = 0
    sampled: int = 0
    learnt: int = 0
    size: float = 1.0

    def __add__(self, other: Work) -> Work:
        return Work(
            read=self.read + other.read,
            sampled=self.sampled + other.sampled,
            learnt=self.learnt + other.learnt,
            size=max(self.size, other.size),
        )

    @property
    def passes(self) -> float:
        """In forward passes of a token through the first model."""
        return self.size * (self.read + SAMPLED * self.sampled + LEARNT * self.learnt)


def drawing(problems: int, draws: int, *, prompt: int, answer: float, size: float = 1.0) -> Work:
    """Asking problems with prompts of so many tokens for answers of so many."""
    return Work(read=problems * prompt, sampled=round(problems * draws * answer), size=size)


def training(steps: int, prompts: int, draws: int, *, prompt: int, answer: float, size: float = 1.0) -> Work:
    """RL: every step draws, then learns from what was drawn; a shared prompt is passed once."""
    drawn = drawing(steps * prompts, draws, prompt=prompt, answer=answer, size=size)
    return drawn + Work(learnt=drawn.read + drawn.sampled, size=size)


def passes_per_second(model: Any) -> float:
    """Tokens that pass forward in a second of processor time, of a batch as the study has them."""
    import torch

    batch = torch.ones((4, 160), dtype=torch.long)
    spent = []
    for _ in range(2):
        began = time.process_time()
        with torch.no_grad():
            model(batch, logits_to_keep=1)
        spent.append(time.process_time() - began)
    return batch.numel() / min(spent)


def minutes(seconds: float) -> str:
    """``4.1``."""
    return f"{seconds / 60:.1f}"
