"""Layers that are run again give the same gradient from less memory; what would not is left alone."""

import numpy as np
import pytest
import small_models
import torch

from keyturn.policies import recompute
from keyturn.policies.batching import Texts
from keyturn.policies.hooks import ForwardHook, hooked
from keyturn.policies.kept_for_backward import token_bytes
from keyturn.policies.recomputable import can_recompute
from keyturn.policies.recompute import ReadAgain, recomputing
from keyturn.policies.scorer import policy_tokens

FAMILIES = ("llama", "qwen", "gpt2", "gemma")


def texts():
    """Two prompts of different length, four answers each, one of them empty."""
    rng = np.random.default_rng(0)
    prompts = [rng.integers(2, 40, size).astype(np.int32) for size in (5, 9)]
    answers = [rng.integers(2, 40, size).astype(np.int32) for size in (3, 1, 7, 0, 5, 6, 2, 4)]
    return Texts.build([prompts[row // 4] for row in range(8)], answers)


def gradient(model, *, share, again, temperature=0.7):
    model.zero_grad()
    found = policy_tokens(model, texts(), share=share, recompute=again, temperature=temperature)
    (found.logprobs.square().sum() + 0.3 * found.entropies.sum()).backward()
    return torch.cat([one.grad.flatten() for one in model.parameters()])


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_gradient_is_the_plain_one(name, share):
    model = small_models.family(name).double()
    share = share and name != "gemma"  # its sliding windows cannot be branched
    assert can_recompute(model)
    plain, again = (gradient(model, share=share, again=which) for which in (False, True))
    assert plain.norm() > 0
    assert torch.allclose(plain, again, rtol=1e-12, atol=1e-14)
    assert not any("forward" in vars(part) for part in model.modules())


class Appends(ReadAgain):
    """The broken twin: a cache that grows whenever a layer is run, as every ordinary one does."""

    def update(self, key_states, value_states, *args, **kwargs):
        if self.is_initialized:
            self.keys = torch.cat([self.keys, key_states], dim=2)
            self.values = torch.cat([self.values, value_states], dim=2)
        else:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states, value_states
        return self.keys, self.values

    def branch(self, rows, room=0):
        new = Appends()
        new.lazy_initialization(self.keys, self.values)
        new.keys, new.values = self.keys[rows], self.values[rows]
        return new


class Forgets(ReadAgain):
    """Another one, which loses the way of the gradient into the prompt and fails nowhere."""

    def branch(self, rows, room=0):
        new = super().branch(rows, room)
        new._past = (self.keys.detach(), self.values.detach(), rows)
        return new


@pytest.mark.parametrize("twin", [Appends, Forgets])
def test_a_broken_cache_is_found_before_anything_is_learnt(monkeypatch, twin):
    monkeypatch.setattr(recompute, "ReadAgain", twin)
    model = small_models.family("llama")
    assert not can_recompute(model)
    if twin is Forgets:
        plain, again = (gradient(model, share=True, again=which) for which in (False, True))
        assert (plain - again).norm() > 0.01 * plain.norm()


def kept(model, *, again):
    """Bytes that autograd keeps for the backward pass of the layers, weights left out."""
    weights = {weight.data_ptr() for weight in model.parameters()}
    held = {}

    def pack(tensor):
        if tensor.data_ptr() not in weights:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        found = policy_tokens(model, texts(), share=True, recompute=again)
    size = sum(storage.nbytes() for storage in held.values())
    assert found.logprobs.requires_grad
    return size


def test_less_is_kept_than_plain_passes_keep():
    model = small_models.family("llama")
    # What is left is the head, the norm before it and the embedding.
    assert kept(model, again=True) < 0.35 * kept(model, again=False)
    config = model.config
    assert token_bytes(config, recompute=True) == 4 * 2 * (32 + 2 * 2 * 8)
    assert token_bytes(config, recompute=True) < 0.2 * token_bytes(config)


def test_the_worlds_own_models_and_unknown_ones_are_left_alone():
    assert not can_recompute(small_models.family("tiny"))
    assert not can_recompute(small_models.family("without_cache"))


def test_a_model_that_already_recomputes_is_left_alone():
    model = small_models.family("llama").train()
    model.activation_checkpointing_enable()
    assert not can_recompute(model)


def test_hooks_inside_a_layer_would_run_twice():
    model = small_models.family("llama")
    assert can_recompute(model)
    nothing = ForwardHook(name="nothing", module="model.layers.0.mlp", run=lambda *_: None)
    with hooked(model, [nothing]):
        assert not can_recompute(model)
    assert can_recompute(model)


def test_a_forward_that_someone_put_on_a_layer_stays_there():
    model = small_models.family("llama")
    layer = model.model.layers[0]
    own = layer.forward
    layer.forward = own
    with recomputing(model):
        assert layer.forward is not own
    assert vars(layer)["forward"] is own


def test_without_gradient_nothing_is_run_again():
    model = small_models.family("llama")
    with torch.no_grad():
        plain, again = (policy_tokens(model, texts(), recompute=which).logprobs for which in (False, True))
    assert torch.equal(plain, again)
