"""From logits to a token: temperature, truncation, inverse CDF, and the record of the choice.

``token = min { v : sum_{w <= v} q(w) > u }`` with ``q`` the sampling distribution, ids in their own order,
sums in float64 and ``u`` the row's own uniform number. A choice therefore depends only on its row's logits
and its row's number. The order of operations (temperature, top-k, top-p) and the treatment of ties are
Hugging Face's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Float, Float64, Int

from keyturn.core.errors import UsageError
from keyturn.core.lazy import torch


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Decoding settings of a policy."""

    temperature: float = 1.0
    """Divides the logits; 0 is greedy."""
    top_p: float = 1.0
    """Keep the smallest set of tokens whose probability reaches this; 1 keeps all."""
    top_k: int = 0
    """Keep this many most likely tokens; 0 keeps all."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UsageError(f"temperature {self.temperature} is not a number >= 0", fix="0 is greedy, 1 plain")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p {self.top_p} is not in (0, 1]", fix="1 keeps all tokens")
        if self.top_k < 0:
            raise UsageError(f"top_k {self.top_k} is negative", fix="0 keeps all tokens")

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.temperature == 0.0

    @property
    def plain(self) -> bool:
        """Whether tokens are drawn from the model's own distribution."""
        return self.temperature == 1.0 and self.top_p == 1.0 and self.top_k == 0


_PIECE_ELEMENTS = {"cpu": 1 << 18}
"""Most probabilities held at once; rows are independent, so pieces change nothing. A processor's cache holds
the logits of a few rows through all the sums over them: at 49,152 tokens of vocabulary a choice takes .4 of the
time of one over 64 rows at once."""

_PIECE_ELEMENTS_ELSEWHERE = 1 << 24


class Choice(NamedTuple):
    """One token per row, with its record."""

    token: Int[torch.Tensor, " row"]
    logprob: Float[torch.Tensor, " row"]
    """Log-probability under the sampling distribution; 0 where decoding is greedy."""
    entropy: Float[torch.Tensor, " row"]
    """Entropy in nats of the model's own distribution at temperature 1 over the full vocabulary."""


def choose(
    logits: Float[torch.Tensor, "row vocab"],
    uniform: Float64[torch.Tensor, " row"],
    sampling: Sampling,
    shaped: Float[torch.Tensor, "row vocab"] | None = None,
) -> Choice:
    """Draw one token per row.

    Args:
        logits: the model's logits; computed with in float32 or wider.
        uniform: one number in [0, 1) per row.
        sampling: temperature and truncation.
        shaped: the logits after processors, where there are any.
    """
    held = _PIECE_ELEMENTS.get(logits.device.type, _PIECE_ELEMENTS_ELSEWHERE)
    most = max(1, held // logits.shape[1])
    if len(logits) > most:
        spans = [slice(start, start + most) for start in range(0, len(logits), most)]
        parts = [choose(logits[s], uniform[s], sampling, None if shaped is None else shaped[s]) for s in spans]
        return Choice(*(torch.cat(column) for column in zip(*parts, strict=True)))
    logits = logits if logits.dtype == torch.float64 else logits.float()
    own = logits.log_softmax(-1)
    probability = own.exp()
    # A logit of minus infinity has probability 0 and must add 0, not 0 * -inf.
    entropy = -(probability * own.clamp_min(torch.finfo(own.dtype).min)).sum(-1)
    if sampling.greedy:
        token = (logits if shaped is None else shaped).argmax(-1)
        return Choice(token, torch.zeros_like(entropy), entropy)
    drawn = own
    if shaped is not None or not sampling.plain:
        drawn = truncated(logits if shaped is None else shaped, sampling).log_softmax(-1)
        probability = drawn.exp()
    cumulative = probability.cumsum(-1, dtype=torch.float64)
    whole = cumulative[:, -1:]
    # Strictly below the whole, or rounding could step past the last token that has any probability.
    point = torch.minimum(uniform[:, None] * whole, torch.nextafter(whole, torch.zeros_like(whole)))
    # Out of range only where logits are not numbers, which the record then shows.
    token = torch.searchsorted(cumulative, point, right=True).clamp_max_(logits.shape[-1] - 1)
    return Choice(token[:, 0], drawn.gather(1, token)[:, 0], entropy)


def truncated(logits: Float[torch.Tensor, "row vocab"], sampling: Sampling) -> Float[torch.Tensor, "row vocab"]:
    """Logits at the sampling temperature, minus infinity where top-k or top-p cut a token."""
    scores = logits / sampling.temperature
    vocabulary = scores.shape[-1]
    if 0 < sampling.top_k < vocabulary:
        least = scores.topk(sampling.top_k, dim=-1).values[:, -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    if sampling.top_p < 1.0:
        ascending, order = scores.sort(dim=-1)
        below = ascending.softmax(-1).cumsum(-1)
        cut = below <= 1.0 - sampling.top_p
        cut[:, -1] = False
        scores = scores.masked_fill(torch.zeros_like(cut).scatter(1, order, cut), -torch.inf)
    return scores
