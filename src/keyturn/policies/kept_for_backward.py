"""What a model keeps of every token for the backward pass, in bytes, and how much one pass may keep.

    plain         L (10 d + 4 f) b
    recomputed    L (d + 2 k) b

for ``L`` layers of width ``d``, feed-forward width ``f`` and keys of width ``k``, with ``b`` bytes per number.
A layer keeps the inputs of norms and projections, queries, keys, values and their mix, and four activations of
a gated feed-forward block; or, where it is run again (:mod:`keyturn.policies.recompute`), its input, and a
prompt's keys and values.
Known bias: this is an estimate. Attention that keeps its weights takes more. Logits are counted where a model
must compute them itself, and have a limit of their own elsewhere (:mod:`keyturn.policies.head`).
"""

from __future__ import annotations

from typing import Any

KEPT_BYTES = 512 << 20
"""Bytes that any backward pass may keep."""

KEPT_OF_WEIGHTS = 1.5
"""Share of the bytes of a large model's weights that a pass may keep: what the run holds anyway (weights, base,
gradients, two moments) is five times the weights."""


def token_bytes(config: Any, number_bytes: int = 4, *, recompute: bool = False) -> int:
    """Bytes kept per token for the backward pass; 0 where the config does not state its sizes.

    Args:
        config: the model's config.
        number_bytes: bytes per number.
        recompute: of layers that are run again in the backward pass.
    """
    said = config.get_text_config(decoder=True)
    layers, width, inner, heads = (
        _stated(said, *names)
        for names in (
            ("num_hidden_layers", "n_layer"),
            ("hidden_size", "n_embd"),
            ("intermediate_size", "n_inner"),
            ("num_attention_heads", "n_head"),
        )
    )
    if not recompute:
        return number_bytes * layers * (10 * width + 4 * (inner or 4 * width))
    shared = _stated(said, "num_key_value_heads") or heads
    keys = shared * (_stated(said, "head_dim") or width // max(heads, 1))
    return number_bytes * layers * (width + 2 * keys)


def may_keep(weights: int) -> int:
    """Most bytes that one backward pass may keep.

    Args:
        weights: bytes of the model's weights.
    """
    return max(KEPT_BYTES, int(KEPT_OF_WEIGHTS * weights))


def tokens_of_a_pass(config: Any, most: int, weights: int, *, recompute: bool = False, logits: int = 0) -> int:
    """Tokens of one backward pass: ``most``, or fewer where those would keep more than :func:`may_keep`.

    Passes add up to the same gradient, so this changes only memory and the order of sums.

    Args:
        config: the model's config.
        most: number of tokens that the caller asks for.
        weights: bytes of the model's weights.
        recompute: with layers that are run again in the backward pass.
        logits: bytes of logits that a token keeps beside it, see :func:`logit_bytes`.
    """
    each = token_bytes(config, recompute=recompute)
    return most if not each else max(1, min(most, may_keep(weights) // (each + logits)))


def logit_bytes(vocabulary: int, number_bytes: int = 4) -> int:
    """Bytes that a token keeps of its logits where a model must compute them itself (scaled or capped ones).

    They are the logits as they are and capped, their logarithms, probabilities and products. Where the head is
    a plain linear map, :mod:`keyturn.policies.head` keeps none of them.
    """
    return 5 * number_bytes * vocabulary


def _stated(config: Any, *names: str) -> int:
    """A size under the first of its names that the config states; 0 for none."""
    return next((value for name in names if isinstance(value := getattr(config, name, None), int)), 0)
