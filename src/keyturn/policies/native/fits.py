"""Which engine answers: the native one where it computes what torch would, torch elsewhere; and why."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as _hooks_of_all
from transformers.activations import SiLUActivation
from transformers.models.llama import modeling_llama as llama

from keyturn.policies import tiny
from keyturn.policies.native.build import SWITCH, Library, Shape, Unavailable, library
from keyturn.policies.native.engine import Engine
from keyturn.policies.native.layout import rope_theta
from keyturn.policies.sampling import Sampling

_KINDS = {
    tiny.TinyForCausalLM: frozenset(
        {
            *(tiny.TinyForCausalLM, tiny.TinyModel, tiny.Block, tiny.RmsNorm, tiny.ShortConvolution),
            *(tiny.Attention, tiny.FeedForward, nn.Linear, nn.Embedding, nn.ModuleList),
        }
    ),
    llama.LlamaForCausalLM: frozenset(
        {
            *(llama.LlamaForCausalLM, llama.LlamaModel, llama.LlamaDecoderLayer, llama.LlamaRMSNorm),
            *(llama.LlamaAttention, llama.LlamaMLP, llama.LlamaRotaryEmbedding),
            *(nn.Linear, nn.Embedding, nn.ModuleList, nn.SiLU, SiLUActivation),
        }
    ),
}
"""The architectures that the library computes, and the modules that may stand in each."""
_WIDEST, _MOST_WORDS = 512, 4096
"""Hidden size and vocabulary up to which a library is worth compiling; torch's products are as fast beyond."""
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_ENGINES: dict[str, Engine] = {}


class Chosen(NamedTuple):
    """What answers.

    Args:
        engine: the native one, or None: torch.
        why: why not the native one; empty where it is taken.
    """

    engine: Engine | None
    why: str = ""


def chosen(
    model: Any, *, sampling: Sampling | None = None, processors: Sequence[object] = (), texts: Any = None
) -> Chosen:
    """Decide for one call.

    Args:
        model: as it is now, with the hooks that are on it.
        sampling: how it is to be decoded, if it is.
        processors: that shape the logits.
        texts: ``batching.Texts`` or ``runners.Rows`` that are to be read.
    """
    if os.environ.get(SWITCH, "") == "0":
        return Chosen(None, f"{SWITCH}=0")
    why = _strange_model(model) or _strange_call(sampling, processors) or _strange_texts(model, texts)
    if why:
        return Chosen(None, why)
    try:
        return Chosen(_engine(library(shape_of(model))))
    except Unavailable as error:
        return Chosen(None, str(error))


def shape_of(model: Any) -> Shape:
    """The shape that a library is compiled for."""
    first: Any = model.model.layers[0]
    config = {"canon": False, **vars(model.config)}
    return Shape.read({**config, "mlp_bias": first.mlp.down_proj.bias is not None})


def _engine(found: Library) -> Engine:
    if found.key not in _ENGINES:
        _ENGINES[found.key] = Engine(found)
    return _ENGINES[found.key]


def _strange_model(model: Any) -> str:
    """What keeps a model from being the plain architecture."""
    kinds = _KINDS.get(type(model))
    if kinds is None:
        return f"{type(model).__name__} is another architecture"
    if any(getattr(_hooks_of_all, name) for name in ("_global_forward_hooks", "_global_forward_pre_hooks")):
        return "hooks on every module"
    # Walked by hand: torch's own walks take longer than a small batch takes to decode.
    parts = [model]
    while parts:
        part = parts.pop()
        inside = part.__dict__
        if type(part) not in kinds:
            return f"a {type(part).__name__} stands in it"
        if any(inside[name] for name in _HOOKS):
            return f"a hook is on a {type(part).__name__}"
        if "forward" in inside:
            return f"the forward of a {type(part).__name__} was replaced"
        for name, weight in inside["_parameters"].items():
            strange = _strange_weight(weight) if weight is not None else ""
            if strange:
                return f"the {name} of a {type(part).__name__} is {strange}"
        parts += [one for one in inside["_modules"].values() if one is not None]
    config = model.config
    if model.lm_head.weight is not model.model.embed_tokens.weight or model.lm_head.bias is not None:
        return "the head is not the embedding"
    if config.hidden_size % (2 * config.num_attention_heads):
        return "the heads cannot be halved"
    if config.hidden_size > _WIDEST or config.vocab_size > _MOST_WORDS:
        return f"it is wider than {_WIDEST} or has over {_MOST_WORDS} tokens"
    strange = _strange_llama(model) if isinstance(model, llama.LlamaForCausalLM) else ""
    if strange:
        return strange
    if torch.is_autocast_enabled("cpu"):
        return "autocast is on"
    return ""


def _strange_llama(model: llama.LlamaForCausalLM) -> str:
    """What a Llama may have and the library does not compute."""
    config: Any = model.config
    heads = config.num_attention_heads
    if config.num_key_value_heads != heads or config.head_dim * heads != config.hidden_size:
        return "its heads share keys, or are not parts of the hidden size"
    if config.attention_bias or config.mlp_bias:
        return "it has biases"
    if config.attention_dropout and model.training:
        return "it is trained with dropout"
    turning: Any = model.model.rotary_emb
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    plain = rope_theta(config) ** -exponents
    if turning.attention_scaling != 1 or not torch.allclose(turning.inv_freq, plain, rtol=1e-6, atol=0.0):
        return "its rotary embedding is scaled"
    return ""


def _strange_weight(weight: torch.Tensor) -> str:
    if weight.dtype != torch.float32:
        return str(weight.dtype).removeprefix("torch.")
    if weight.device.type != "cpu":
        return f"on {weight.device.type}"
    return "" if weight.is_contiguous() else "not contiguous"


def _strange_call(sampling: Sampling | None, processors: Sequence[object]) -> str:
    """What keeps a call from being plain sampling."""
    if processors:
        return "a logit processor"
    if sampling is not None and (sampling.top_p < 1 or sampling.top_k):
        return "truncated sampling"
    return ""


def _strange_texts(model: Any, texts: Any) -> str:
    """What the library would read beyond its tables: torch's path says what is wrong with it."""
    if texts is None:
        return ""
    prompts = np.array([len(prompt) for prompt in texts.prompts], dtype=np.int64)
    own = texts.lengths if hasattr(texts, "lengths") else np.minimum(texts.limits, texts.uniforms.shape[1])
    if not len(prompts) or not len(own) or not prompts.min() or own.max() <= 0:
        return "nothing to read"
    if (prompts[texts.prompt] + own - 1).max() > model.config.max_position_embeddings:
        return "longer than the context"
    every = [*texts.prompts, *([texts.tokens] if hasattr(texts, "tokens") else [])]
    if min(one.min() for one in every) < 0 or max(one.max() for one in every) >= model.config.vocab_size:
        return "tokens that the model does not know"
    padding = model.model.embed_tokens.padding_idx
    if padding is not None and any((one == padding).any() for one in every):
        return "the padding token, whose embedding torch does not learn"
    return ""
