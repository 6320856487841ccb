"""Checks that token ids mean the same to two policies, since one of them scores the other's answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError
from keyturn.policies.local import LocalPolicy
from keyturn.rollouts.completions import Completions


def check_vocabularies(base: LocalPolicy, tuned: LocalPolicy, completions: Completions) -> None:
    """Refuse two policies whose token ids do not mean the same.

    Raises:
        InputError: different numbers of logits, or a token id in use that stands for different text.
    """
    check_sizes(base, tuned)
    check_words(base, tuned, completions.tokens)


def check_words(
    base: LocalPolicy,
    other: LocalPolicy,
    tokens: NDArray[np.integer],
    *,
    called: str = "tuned policy",
    fix: str = "token measures need one tokenizer; compare the answers alone",
) -> None:
    """Refuse token ids that stand for different text.

    Args:
        base, other: whose tokens are compared.
        tokens: the ids in use.
        called: what the other one is called in the message.
        fix: what to do about it.

    Raises:
        InputError: one of them does.
    """
    used = np.unique(tokens).tolist()
    words = [policy.tokenizer.convert_ids_to_tokens(used) for policy in (base, other)]
    for token, ours, theirs in zip(used, *words, strict=True):
        if ours != theirs:
            raise InputError(f"token {token} is {ours!r} for the base and {theirs!r} for the {called}", fix=fix)


def check_sizes(base: LocalPolicy, tuned: LocalPolicy) -> None:
    """The part of :func:`check_vocabularies` that needs no completions."""
    sizes = [vocabulary_size(policy) for policy in (base, tuned)]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"the vocabularies differ: the base has {sizes[0]} tokens, the tuned policy {sizes[1]}",
            fix="token measures need one vocabulary; compare the answers alone, or resize both alike",
        )


def vocabulary_size(policy: LocalPolicy) -> int:
    """Number of logits."""
    weight: Any = getattr(policy.model.get_output_embeddings(), "weight", None)
    return int(policy.model.config.get_text_config().vocab_size if weight is None else weight.shape[0])
