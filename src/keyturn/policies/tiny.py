"""The world's model: a small Llama with an optional short causal convolution before attention.

RMSNorm, RoPE, SwiGLU, tied embeddings, parameter names of ``LlamaForCausalLM``. With ``canon=False`` it
*is* a Llama (:func:`to_llama`). With ``canon=True`` each layer's normalised input first passes a causal
depthwise convolution with residual, which makes copying learnable in a tenth of the tokens.

It is a ``PreTrainedModel``: every method that is written for Hugging Face causal LMs runs on it. Its
forward pass is lean (no mask where none is needed, projections fused at run time where they carry no hook or
adapter), since at this size Python and memory traffic cost as much as arithmetic. Importing this module
registers the architecture with the Auto classes.

Source of the convolution: Allen-Zhu, Physics of Language Models 4.1 ("Canon layer" A), 2025.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    DynamicCache,
    GenerationMixin,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
)
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel
from transformers.utils.generic import can_return_tuple

from keyturn.core.errors import UsageError
from keyturn.policies import kernels, masks
from keyturn.policies.cache import BufferLayer, adopt

KERNEL = 4


class TinyConfig(PreTrainedConfig):
    """Configuration of :class:`TinyForCausalLM`; the defaults are the demo size, 0.34M parameters."""

    model_type = "keyturn_tiny"
    keys_to_ignore_at_inference = ("past_key_values",)
    auto_map: ClassVar[dict[str, str]] = {}
    """No remote code; TRL asks this of every model class outside transformers."""

    vocab_size: int = 160
    hidden_size: int = 96
    intermediate_size: int = 256
    num_hidden_layers: int = 3
    num_attention_heads: int = 4
    max_position_embeddings: int = 256
    canon: bool = True
    """Short convolution before attention."""
    mlp_bias: bool = False
    """A bias on what each feed-forward block writes to the residual stream (Llama has the field too)."""
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-6
    initializer_range: float = 0.02
    """Standard deviation of every matrix, the embedding too: 1.0 with a tied head stalls training."""
    tie_word_embeddings: bool = True
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.hidden_size // self.num_attention_heads


class RmsNorm(nn.Module):
    """Root-mean-square normalisation with a learned scale."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, inputs: Tensor) -> Tensor:
        """``[..., dim]`` to ``[..., dim]``."""
        return kernels.rms_norm(inputs, self.weight, self.eps)


class ShortConvolution(nn.Module):
    """A causal convolution over four tokens, one filter per channel, with residual."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(KERNEL, dim))

    def forward(self, inputs: Float[Tensor, "row token dim"], layer: BufferLayer | None) -> Tensor:
        """Convolve; with a cache layer, the inputs before the first token come from it."""
        if layer is None:
            padded = F.pad(inputs, (0, 0, KERNEL - 1, 0))
        else:
            padded = layer.shift(inputs, KERNEL - 1)
        return kernels.short_convolution(padded, self.weight)


class Attention(nn.Module):
    """Multi-head causal attention with rotary positions."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        dim = config.hidden_size
        self.heads, self.head_dim = config.num_attention_heads, config.head_dim
        self.q_proj = nn.Linear(dim, dim, bias=False)
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, dim, bias=False)
        self.o_proj = nn.Linear(dim, dim, bias=False)
        self._order: Tensor | None = None

    def forward(
        self,
        inputs: Float[Tensor, "row token dim"],
        unit: Tensor,
        mask: Tensor | None,
        layer: BufferLayer | None,
    ) -> Float[Tensor, "row token dim"]:
        """Attend to each token itself and to every token before it.

        Args:
            inputs: normalised (and convolved) residual stream.
            unit: rotations, complex ``[row or 1, token, 1, head_dim / 2]``.
            mask: additive, broadcast to ``[row, head, token, past + token]``; None: causality alone.
            layer: the cache.
        """
        rows, tokens, dim = inputs.shape
        mixed = self._project(inputs, layer).view(rows, tokens, 3 * self.heads, self.head_dim)
        pairs, values = mixed.split([2 * self.heads, self.heads], dim=2)
        queries, keys = kernels.rotate(pairs, unit).transpose(1, 2).split(self.heads, dim=1)
        values = values.transpose(1, 2)
        if layer is None:
            out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, is_causal=mask is None)
        else:
            out = layer.attend(queries, keys, values, mask)
        return self.o_proj(out.transpose(1, 2).reshape(rows, tokens, dim))

    def _project(self, inputs: Tensor, layer: BufferLayer | None) -> Tensor:
        """Queries, keys and values side by side, the first two with rotation partners as neighbours."""
        if self._order is None or self._order.device != inputs.device:
            self._order = kernels.interleaved(self.heads, self.head_dim).to(inputs.device)
        parts = (self.q_proj, self.k_proj, self.v_proj)
        if not all(_plain(part) for part in parts):
            queries, keys, values = (part(inputs) for part in parts)
            return torch.cat([queries[..., self._order], keys[..., self._order], values], dim=-1)
        if layer is not None and layer.fused is not None and not torch.is_grad_enabled():
            return F.linear(inputs, layer.fused)
        query, key, value = (part.weight for part in parts)
        fused = torch.cat([query[self._order], key[self._order], value])
        if layer is not None and not torch.is_grad_enabled():
            layer.fused = fused
        return F.linear(inputs, fused)


class FeedForward(nn.Module):
    """SwiGLU: ``down(silu(gate(x)) * up(x))``."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.mlp_bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """``[..., dim]`` to ``[..., dim]``."""
        return self.down_proj(F.silu(self.gate_proj(inputs)) * self.up_proj(inputs))


class Block(nn.Module):
    """Norm, convolution, attention; norm, feed-forward; both with residual."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.input_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.canon = ShortConvolution(config.hidden_size) if config.canon else None
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = FeedForward(config)

    def forward(
        self,
        hidden: Float[Tensor, "row token dim"],
        unit: Tensor,
        mask: Tensor | None,
        real: Bool[Tensor, "row token 1"] | None,
        layer: BufferLayer | None,
    ) -> Float[Tensor, "row token dim"]:
        """One layer; ``real`` is False on padding, whose inputs the convolution must not see."""
        normed = self.input_layernorm(hidden)
        if self.canon is not None:
            normed = self.canon(normed if real is None else normed * real, layer)
        hidden = hidden + self.self_attn(normed, unit, mask, layer)
        return hidden + self.mlp(self.post_attention_layernorm(hidden))


class TinyPreTrainedModel(PreTrainedModel):
    """Settings that the body and the whole model share."""

    config_class = TinyConfig
    config: TinyConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    _no_split_modules = ["Block"]  # noqa: RUF012 (Hugging Face's name)
    _supports_sdpa = True
    shares_prompts = True
    """Attention goes through the cache's ``attend``, so rows may share the keys of their prompts."""

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, RmsNorm):
            nn.init.ones_(module.weight)
        elif isinstance(module, ShortConvolution):
            nn.init.zeros_(module.weight)


class TinyModel(TinyPreTrainedModel):
    """The body: tokens in, normalised hidden states out."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self._units: Tensor | None = None
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Int[Tensor, "row token"] | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Int[Tensor, "row token"] | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Float[Tensor, "row token dim"] | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        **_: Any,
    ) -> BaseModelOutputWithPast:
        """As Llama's. ``attention_mask`` None means that only causality hides a token.

        Right padding needs no mask (later tokens are never seen), so callers that pad on the right should pass
        none, which is the fastest path.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        hidden = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        layers: list[Any] = [None] * len(self.layers)
        past = 0
        if past_key_values is not None:
            adopt(past_key_values, len(self.layers))
            layers, past = past_key_values.layers, past_key_values.get_seq_length()
        mask, real = masks.additive_mask(attention_mask, hidden, past)
        if position_ids is None:
            position_ids = masks.positions(attention_mask, hidden, past)
        unit = self._unit(position_ids, hidden)
        states = (hidden,)
        for block, layer in zip(self.layers, layers, strict=True):
            hidden = block(hidden, unit, mask, real, layer)
            states = (*states, hidden) if output_hidden_states else states
        hidden = self.norm(hidden)
        return BaseModelOutputWithPast(
            last_hidden_state=hidden,  # type: ignore[arg-type]
            past_key_values=past_key_values,
            hidden_states=(*states[:-1], hidden) if output_hidden_states else None,
        )

    def _unit(self, position_ids: Tensor, hidden: Tensor) -> Tensor:
        """Rotations of some positions, complex ``[row or 1, token, 1, head_dim / 2]``."""
        table = self._units
        if table is None or table.device != hidden.device:
            every = torch.arange(self.config.max_position_embeddings, device=hidden.device)
            table = kernels.rotation(every, self.config.head_dim, self.config.rope_theta)
            self._units = table
        unit = table[position_ids].unsqueeze(2)
        return unit.to(torch.complex128) if hidden.dtype == torch.float64 else unit


class TinyForCausalLM(TinyPreTrainedModel, GenerationMixin):
    """The body and a head tied to its embedding."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012 (Hugging Face's name)

    def __init__(self, config: TinyConfig) -> None:
        super().__init__(config)
        self.model = TinyModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Int[Tensor, "row token"] | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Int[Tensor, "row token"] | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Float[Tensor, "row token dim"] | None = None,
        labels: Int[Tensor, "row token"] | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """As Llama's; ``labels`` gives the mean cross-entropy of the next token, -100 left out."""
        body = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_hidden_states=kwargs.pop("output_hidden_states", None),
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(body.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss,  # type: ignore[arg-type]
            logits=logits,
            past_key_values=body.past_key_values,
            hidden_states=body.hidden_states,
        )


def _plain(module: nn.Module) -> bool:
    """Whether a projection is just its matrix, without an adapter in its place or a hook on it."""
    return type(module) is nn.Linear and not (
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def initialise(model: TinyForCausalLM, generator: torch.Generator) -> TinyForCausalLM:
    """Draw every weight anew from a generator (on the CPU), in the order of the parameters' names.

    Embeddings are normal with the config's small deviation (tied to the head, larger ones stall); matrices are
    uniform within one over the root of their number of inputs, convolutions within one over the root of their
    width. A deviation of .02 for the matrices too, as in large models, is far too small at these widths:
    GRAPH's arithmetic reached .48 with it and 1.00 with this one (500 steps, one seed).
    """
    std = model.config.initializer_range
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            if name.endswith("norm.weight"):
                weight.fill_(1.0)
            elif name.endswith("bias"):
                weight.zero_()
            elif "embed_tokens" in name or "lm_head" in name:
                weight.copy_(torch.empty(weight.shape).normal_(0.0, std, generator=generator))
            else:
                reach = weight[0].numel() ** -0.5
                weight.copy_(torch.empty(weight.shape).uniform_(-reach, reach, generator=generator))
    return model


def to_llama(model: TinyForCausalLM) -> LlamaForCausalLM:
    """The same function as a stock Llama.

    Raises:
        UsageError: the model has short convolutions, which a Llama does not have.
    """
    config = model.config
    if config.canon:
        raise UsageError(
            "a model with canon=True is not a Llama", fix="train one with canon=False to export it"
        )
    names = (
        *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
        *("max_position_embeddings", "rms_norm_eps", "initializer_range", "tie_word_embeddings"),
        *("pad_token_id", "bos_token_id", "eos_token_id", "mlp_bias"),
    )
    values = {name: getattr(config, name) for name in names}
    stock = LlamaForCausalLM(
        LlamaConfig(rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta}, **values)
    )
    state = model.state_dict()
    # A Llama with this bias has one on all three matrices of the block.
    other = {name for name in stock.state_dict() if name.endswith(("gate_proj.bias", "up_proj.bias"))}
    stock.load_state_dict(state | {name: torch.zeros(config.intermediate_size) for name in other})
    stock.to(device=model.device, dtype=model.dtype)  # type: ignore[call-arg]
    return stock.train(model.training)


AutoConfig.register(TinyConfig.model_type, TinyConfig, exist_ok=True)
AutoModelForCausalLM.register(TinyConfig, TinyForCausalLM, exist_ok=True)
