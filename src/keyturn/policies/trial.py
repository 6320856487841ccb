"""Trials that find out, once for a model, whether it can be read quicker than by plain forward passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from keyturn.core.lazy import torch
from keyturn.policies.batching import Texts
from keyturn.policies.context import context_length

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Read = TypeVar("Read")


def attempt(read: Callable[[], Read]) -> Read | None:
    """What a reading gives; None for a model that cannot be read so, such as one with a cache of another kind.

    Raises:
        torch.OutOfMemoryError: as raised, since it says nothing of the model.
    """
    try:
        return read()
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return None


def some_tokens(model: PreTrainedModel, width: int) -> NDArray[np.int64]:
    """Tokens of three rows that the model knows, int64 ``[3, width]``."""
    vocabulary = model.get_input_embeddings().weight.shape[0]  # type: ignore[union-attr]
    return (np.arange(3 * width).reshape(3, -1) * 7 + 3) % vocabulary


def two_prompts(model: PreTrainedModel) -> Texts:
    """Two prompts of different length with three completions; the second prompt has two of them."""
    context = context_length(model)
    size = min(6, context // 2) if context else 6
    some = some_tokens(model, 2 * size).astype(np.int32)
    prompts = [some[0, : max(size // 2, 1)], some[1, :size], some[1, :size]]
    return Texts.build(prompts, [row[size:] for row in some])
