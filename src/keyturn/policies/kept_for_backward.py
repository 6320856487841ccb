"""The number of tokens in one backward pass, limited by the activations that a model keeps for it.

    bytes per token = L (10 d + 4 f) b

for ``L`` layers of width ``d`` and feed-forward width ``f``, with ``b`` bytes per number. A layer keeps the
inputs of norms and projections, queries, keys, values and their mix, and four activations of a gated
feed-forward block.
Known bias: this is an estimate. Attention that keeps its weights takes more; logits have a limit of their own
(:mod:`keyturn.policies.head`).
"""

from __future__ import annotations

from typing import Any

KEPT_BYTES = 2 << 30
"""Most bytes that one backward pass may keep."""


def token_bytes(config: Any, number_bytes: int = 4) -> int:
    """Bytes kept per token for the backward pass; 0 where the config does not state its sizes.

    Args:
        config: the model's config.
        number_bytes: bytes per number.
    """
    said = config.get_text_config(decoder=True)
    layers, width, inner = (
        next((int(value) for name in names if isinstance(value := getattr(said, name, None), int)), 0)
        for names in (
            ("num_hidden_layers", "n_layer"),
            ("hidden_size", "n_embd"),
            ("intermediate_size", "n_inner"),
        )
    )
    return number_bytes * layers * (10 * width + 4 * (inner or 4 * width))


def tokens_of_a_pass(config: Any, most: int) -> int:
    """Tokens of one backward pass: ``most``, or fewer where ``most`` would keep more than :data:`KEPT_BYTES`.

    Passes add up to the same gradient, so this changes only memory and the order of sums.

    Args:
        config: the model's config.
        most: number of tokens that the caller asks for.
    """
    each = token_bytes(config)
    return most if not each else max(1, min(most, KEPT_BYTES // each))
