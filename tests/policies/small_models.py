"""Random models of several architectures, made in memory, and a word tokenizer for them."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from keyturn.core.problem import Problem
from keyturn.policies.tiny import TinyConfig, TinyForCausalLM, initialise

VOCABULARY = 40
CONTEXT = 96
END = 1
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
COMMON = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": CONTEXT,
    "eos_token_id": END,
    "bos_token_id": None,
}


def tiny(canon=True, **changes):
    config = TinyConfig(**{**SIZES, **COMMON, "canon": canon, **changes})
    return initialise(TinyForCausalLM(config), torch.Generator().manual_seed(0))


def llama():
    return LlamaForCausalLM(LlamaConfig(**SIZES, **COMMON, num_key_value_heads=2))


def qwen():
    return Qwen2ForCausalLM(Qwen2Config(**SIZES, **COMMON, num_key_value_heads=2))


def gpt2():
    """Its embedding is larger than the tokenizer."""
    config = GPT2Config(
        vocab_size=VOCABULARY + 5,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=CONTEXT,
        eos_token_id=END,
        bos_token_id=None,
    )
    return GPT2LMHeadModel(config)


def gemma():
    """Sliding windows and capped logits."""
    config = Gemma2Config(
        **SIZES,
        **COMMON,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=8,
        final_logit_softcapping=5.0,
        attn_implementation="eager",
    )
    return Gemma2ForCausalLM(config)


def without_cache():
    """An architecture whose forward takes no cache."""
    config = OpenAIGPTConfig(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=CONTEXT)
    return OpenAIGPTLMHeadModel(config)


FAMILIES = {
    "tiny": tiny,
    "llama": llama,
    "qwen": qwen,
    "gpt2": gpt2,
    "gemma": gemma,
    "without_cache": without_cache,
}


def spread(model, std=0.3, seed=0):
    """Draw all matrices (and convolutions) anew, wide enough for distributions that are far from flat."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, weight in sorted(model.named_parameters()):
            if weight.dim() > 1:
                weight.copy_(torch.empty(weight.shape).normal_(0, std, generator=generator))
    return model.eval()


def family(name):
    return spread(FAMILIES[name]())


def tokenizer(**special):
    words = {"<end>" if index == END else f"w{index}": index for index in range(VOCABULARY)}
    backend = Tokenizer(models.WordLevel(words, unk_token="w0"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, **({"eos_token": "<end>"} | special))


def problems(lengths, seed=0):
    """Problems whose prompts have these numbers of tokens."""
    generator = torch.Generator().manual_seed(seed)
    return [
        Problem(
            id=f"p{index}",
            prompt=" ".join(
                f"w{int(word)}" for word in torch.randint(2, VOCABULARY, (length,), generator=generator)
            ),
        )
        for index, length in enumerate(lengths)
    ]
