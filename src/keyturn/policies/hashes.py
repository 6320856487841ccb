"""Hashes of a policy's parts: weights and tokenizer."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from keyturn.core.identity import identity
from keyturn.core.lazy import torch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def weights_hash(model: torch.nn.Module) -> str:
    """Hash of every parameter and persistent buffer: names, types, shapes and bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        flat = tensor.detach().contiguous().cpu().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of a tokenizer's behaviour: its rules, special tokens and chat template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    body = backend.to_str() if backend is not None else sorted(tokenizer.get_vocab().items())
    return identity({"body": body, "special": tokenizer.special_tokens_map, "chat": tokenizer.chat_template})
