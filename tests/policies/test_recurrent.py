"""Architectures with state beside keys and values: what is drawn and scored is the model's own plain forward.

Some keep that state outside the cache (RecurrentGemma), some in a cache of their own kind (MiniMax, xLSTM),
some step otherwise than they read (Zamba2); the others must stay on the fast path.
"""

import numpy as np
import pytest
import small_models
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from keyturn.core.streams import Streams
from keyturn.policies import runners
from keyturn.policies.batching import Texts
from keyturn.policies.hooks import evaluating
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Limits
from keyturn.policies.scorer import score_rows

ENDS = {"vocab_size": small_models.VOCABULARY, "eos_token_id": small_models.END, "bos_token_id": None}
BODY = {**ENDS, **small_models.SIZES, "max_position_embeddings": small_models.CONTEXT, "num_key_value_heads": 2}
SSM = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 8, "mamba_chunk_size": 8}
PLAIN_RECURRENT = {**ENDS, "hidden_size": 32, "num_hidden_layers": 2}
MADE = {
    "recurrent_gemma": {
        **BODY, "head_dim": 8, "lru_width": 32, "attention_window_size": 6,
        "block_types": ["recurrent", "attention"],
    },
    "zamba2": {
        **BODY, "num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid", "mamba", "mamba"],
        "mamba_d_state": 8, "n_mamba_heads": 8, "mamba_headdim": 8, "mamba_ngroups": 1, "chunk_size": 8,
        "num_mem_blocks": 1, "use_mem_rope": True, "adapter_rank": 4, "attention_hidden_size": 64,
        "attention_head_dim": 16,
    },
    "minimax": {**BODY, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "block_size": 8},
    "xlstm": {**PLAIN_RECURRENT, "num_heads": 4, "num_blocks": 2, "chunk_size": 16},
    "mamba": {**PLAIN_RECURRENT, "state_size": 4},
    "rwkv": {**PLAIN_RECURRENT, "context_length": small_models.CONTEXT},
    "jamba": {
        **BODY, "num_experts": 2, "num_experts_per_tok": 1, "attn_layer_period": 2, "attn_layer_offset": 1,
        "expert_layer_period": 2, "expert_layer_offset": 1, "mamba_d_state": 4, "use_mamba_kernels": False,
    },
    "bamba": {**BODY, **SSM, "attn_layer_indices": [1]},
    "falcon_h1": {**BODY, **SSM, "mamba_d_ssm": 64, "head_dim": 8},
}  # fmt: skip
SLOW_BUT_RIGHT = {"recurrent_gemma", "zamba2", "minimax"}


def made(name):
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(0)
        return small_models.spread(
            AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **MADE[name])).float()
        )


def plain(model, completions):
    found = []
    for row in range(len(completions)):
        prompt, tokens = completions.prompts.row(completions.problem[row]), completions.row(row)
        whole = torch.from_numpy(np.concatenate([prompt, tokens]).astype(np.int64))
        with torch.no_grad():
            scores = model(whole[None], use_cache=False).logits[0].log_softmax(-1)[len(prompt) - 1 : -1]
        found.append(scores.gather(1, whole[len(prompt) :, None])[:, 0])
    return torch.cat(found).numpy()


@pytest.mark.filterwarnings("ignore")  # the models' own, about kernels that are not installed
@pytest.mark.parametrize("name", sorted(MADE))
def test_draws_and_scores_are_the_plain_forwards(name, caplog):
    model = made(name)
    who = LocalPolicy(model, small_models.tokenizer())
    asked = small_models.problems((3, 9, 5, 14))
    drawn = who.draw(asked, range(18), Streams(0), Limits(max_new_tokens=12))
    expected = plain(model, drawn)
    assert np.abs(drawn.logprobs - expected).max() < 5e-5
    assert np.abs(who.score(drawn).logprobs - expected).max() < 5e-5
    with evaluating(model):
        shared = score_rows(model, Texts.of(drawn), share=True)
    assert np.abs(shared[0] - expected).max() < 5e-5
    assert ("state outside its cache" in caplog.text) == (name in SLOW_BUT_RIGHT)
    if runners.takes_cache(model):
        assert runners.cache_is_whole(model) == (name not in SLOW_BUT_RIGHT)
