"""Texts that a method wrote token by token, as completions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from keyturn.policies.local import LocalPolicy
from keyturn.rollouts.completions import Completions, Prompts, Stop, ragged


def written(
    policy: LocalPolicy,
    prompts: Prompts,
    problem: NDArray[np.int32],
    draw: NDArray[np.int32],
    tokens: list[list[int]],
    *,
    ended: NDArray[np.bool_],
    entropies: NDArray[np.float32],
    logprobs: NDArray[np.float32] | None = None,
) -> Completions:
    """Completions of one policy; the token that ends a row is no part of its text.

    Args:
        policy: whose tokens they are.
        prompts: of all problems.
        problem, draw: of each row, ``[row]``.
        tokens: of each row.
        ended: whether a row ended by itself, ``[row]``.
        entropies: nats, flat over all tokens.
        logprobs: nats, flat over all tokens; None where nobody knows a token's probability under the law of the
            whole answer.
    """
    flat, offsets = ragged(tokens)
    shown = [one[:-1] if one and one[-1] in policy.ends else one for one in tokens]
    return Completions(
        policy=policy.fingerprint,
        prompts=prompts,
        problem=problem,
        draw=draw,
        tokens=flat,
        offsets=offsets,
        logprobs=np.full(len(flat), np.nan, dtype=np.float32) if logprobs is None else logprobs,
        entropies=entropies,
        stop=np.where(ended, Stop.EOS, Stop.LENGTH).astype(np.uint8),
        texts=tuple(str(policy.tokenizer.decode(one, skip_special_tokens=True)) for one in shown),
    )
