"""A stock Llama of a small shape is computed by the native engine, and only where it is what the engine
computes."""

import native_cases as cases
import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from keyturn.policies.batching import Texts
from keyturn.policies.hooks import evaluating
from keyturn.policies.native.build import Shape
from keyturn.policies.native.fits import chosen
from keyturn.policies.sampling import Sampling
from keyturn.policies.scorer import score_rows

SHAPE = Shape(dim=32, heads=4, inter=48, layers=2, vocab=40, canon=False, bias=False)
THETA = 500.0
"""Not the tiny model's, so that a base that is not read shows."""
PROMPTS = (3, 9, 1, 17)


def stock(**changed):
    config = {
        "vocab_size": SHAPE.vocab,
        "hidden_size": SHAPE.dim,
        "intermediate_size": SHAPE.inter,
        "num_hidden_layers": SHAPE.layers,
        "num_attention_heads": SHAPE.heads,
        "max_position_embeddings": cases.CONTEXT,
        "rope_parameters": {"rope_type": "default", "rope_theta": THETA},
        "tie_word_embeddings": True,
        "eos_token_id": 1,
        "bos_token_id": 1,
    }
    model, generator = LlamaForCausalLM(LlamaConfig(**{**config, **changed})), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            drawn = torch.empty(weight.shape).normal_(0, 0.3, generator=generator)
            weight.copy_(1 + drawn if name.endswith("norm.weight") else drawn)
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return stock()


@pytest.fixture(scope="module")
def native(model):
    found = chosen(model)
    assert found.engine is not None, found.why
    return found.engine


def test_it_draws_what_torch_draws(model, native, monkeypatch):
    rows = cases.rows_of(SHAPE, PROMPTS, (20, 0, 1, 5, *[30] * 40))
    theirs = cases.drawn_by_torch(monkeypatch, model, rows, Sampling(temperature=0.7), (1,))
    assert not cases.drawn_otherwise(native, model, rows, theirs, Sampling(temperature=0.7))
    assert cases.drawn_otherwise(native, stock(rms_norm_eps=0.1), rows, theirs, Sampling(temperature=0.7))


def test_it_scores_and_learns_as_float64_does(model, native):
    prompts, completions = cases.texts_of(SHAPE, PROMPTS, (5, 0, 1, 30, 17, 9, 0, 2))
    apart, back = cases.read_otherwise(native, model, prompts, completions, temperature=0.6)
    assert apart < 1e-5
    assert back < 1e-5
    with evaluating(model):
        ours = score_rows(model, Texts.build(prompts, completions))
    assert np.abs(ours[0] - native.score(model, Texts.build(prompts, completions))[0]).max() == 0


def test_a_padding_token_in_a_text_is_left_to_torch(native):
    padded = stock(pad_token_id=0)
    inside, outside = (Texts.build([np.array([3, 4])], [np.array([5, last])]) for last in (0, 6))
    assert "padding token" in chosen(padded, texts=inside).why
    assert chosen(padded, texts=outside).engine is not None
    apart, back = cases.read_otherwise(native, padded, [np.array([0, 4])], [np.array([5, 6])])
    assert apart < 1e-5
    assert back > 1e-3, "torch learns the padding token's embedding, so nothing need be left to it"


def untied(model):
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())


def scaled(model):
    model.model.rotary_emb.inv_freq = model.model.rotary_emb.inv_freq / 2


def dropped(model):
    model.train()


LINEAR = {"rope_type": "linear", "factor": 2.0, "rope_theta": THETA}
OTHERS = {
    "shared keys": ({"num_key_value_heads": 2}, None, "heads share keys"),
    "wide heads": ({"head_dim": 16}, None, "not parts of the hidden size"),
    "biases in attention": ({"attention_bias": True}, None, "biases"),
    "biases in the block": ({"mlp_bias": True}, None, "biases"),
    "another activation": ({"hidden_act": "gelu"}, None, "stands in it"),
    "scaled positions": ({"rope_parameters": LINEAR}, None, "rotary embedding is scaled"),
    "frequencies set by hand": ({}, scaled, "rotary embedding is scaled"),
    "dropout": ({"attention_dropout": 0.1}, dropped, "dropout"),
    "a head of its own": ({}, untied, "the head is not the embedding"),
    "a large vocabulary": ({"vocab_size": 5000}, None, "has over 4096 tokens"),
}


@pytest.mark.parametrize("what", sorted(OTHERS))
def test_another_llama_is_left_to_torch(what):
    settings, change, why = OTHERS[what]
    model = stock(**settings)
    if change is not None:
        change(model)
    found = chosen(model)
    assert found.engine is None
    assert why in found.why
