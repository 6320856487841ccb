"""How many tokens one backward pass may read: what a model keeps for it grows with its width and its layers.

    bytes of a token = L (10 d + 4 f) b

for ``L`` layers of width ``d`` and feed-forward width ``f`` in numbers of ``b`` bytes: the inputs of norms and
projections, queries, keys, values and their mix, and the four of a gated feed-forward block.
Known bias: an estimate; attention that keeps its weights takes more, and logits are bounded by themselves
(:mod:`keyturn.policies.head`).
"""

from __future__ import annotations

from typing import Any

KEPT_BYTES = 2 << 30
"""What one backward pass may keep."""


def token_bytes(config: Any, number_bytes: int = 4) -> int:
    """Bytes that a token leaves for the backward pass; 0 where the config does not say its sizes.

    Args:
        config: of the model.
        number_bytes: of one number.
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
    """Tokens of one backward pass: ``most``, or fewer where they would keep more than :data:`KEPT_BYTES`.

    Passes add up to the same gradient, so this changes memory and the order of sums, nothing else.

    Args:
        config: of the model.
        most: tokens that were asked for.
    """
    each = token_bytes(config)
    return most if not each else max(1, min(most, KEPT_BYTES // each))
