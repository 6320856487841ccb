"""Facts that a model's configuration gives before it runs: its context, and whether it continues a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.core.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def context_length(model: PreTrainedModel) -> int | None:
    """Most tokens of prompt and completion together; None where the model does not say."""
    config = model.config.get_text_config(decoder=True)
    for name in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def check_causal(model: PreTrainedModel) -> None:
    """Refuse a model that cannot continue a text.

    Raises:
        InputError: an encoder-decoder, or a model without loaded weights (on the meta device).
    """
    if getattr(model.config, "is_encoder_decoder", False):
        raise InputError(f"{type(model).__name__} is an encoder-decoder", fix="give a causal language model")
    if any(weight.is_meta for weight in model.parameters()):
        raise InputError(
            f"{type(model).__name__} has weights on the device 'meta', which stores none",
            fix="load it completely (without init_empty_weights), on a device with enough memory",
        )
