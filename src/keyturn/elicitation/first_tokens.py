"""First tokens: which ones a policy finds likeliest, and a processor that forces the first token by its rank.

The processor lets draws with different first tokens share one prompt and one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keyturn.core.lazy import torch
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.policies.hooks import SoFar
from keyturn.policies.local import LocalPolicy, Sampling
from keyturn.policies.protocol import Limits


@dataclass(frozen=True, kw_only=True)
class FirstByRank:
    """Draw ``d`` takes as its first token the one of rank ``d`` modulo ``k``; later tokens are left alone.

    Args:
        k: number of first tokens; no more than the vocabulary.
    """

    k: int

    @property
    def name(self) -> str:
        """What it is called."""
        return f"first token by rank, {self.k}"

    def __call__(self, so_far: SoFar, logits: torch.Tensor) -> torch.Tensor:
        """Leave one token at the first place."""
        if so_far.tokens.shape[1] > so_far.start:
            return logits
        order = logits.topk(min(self.k, logits.shape[-1]), dim=-1).indices
        chosen = order.gather(1, (so_far.draw % order.shape[1])[:, None].to(order.device))
        return torch.full_like(logits, -torch.inf).scatter(1, chosen, logits.gather(1, chosen))


def likeliest_first_tokens(policy: LocalPolicy, problems: Sequence[Problem], count: int) -> list[str]:
    """The first tokens with the highest mean probability over problems, as text, ends of sequence left out.

    Args:
        policy: as it is asked, but at temperature 1.
        problems: where an answer begins.
        count: how many.
    """
    noted = _Firsts()
    greedy = policy.having(sampling=Sampling(temperature=0.0), processors=[noted])
    greedy.draw(tuple(problems), range(1), Streams(0), Limits(max_new_tokens=1))
    mean = np.concatenate(noted.found).mean(axis=0)
    mean[list(policy.ends)] = -1.0
    words: list[str] = []
    for token in np.argsort(-mean, kind="stable").tolist():
        text = str(policy.tokenizer.decode([token], skip_special_tokens=True))
        if text.strip() and text not in words:
            words.append(text)
        if len(words) == count or mean[token] < 0:
            break
    return words


class _Firsts:
    """Keeps the distribution of the first token."""

    name = "keep the first distribution"
    config = "first"

    def __init__(self) -> None:
        self.found: list[np.ndarray] = []

    def __call__(self, so_far: SoFar, logits: torch.Tensor) -> torch.Tensor:
        self.found.append(logits.double().softmax(-1).cpu().numpy())
        return logits
