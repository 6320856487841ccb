"""Activation taps: what is kept is what a plain forward has there, whatever the batch."""

import numpy as np
import pytest
import small_models
import torch

from keyturn.core.errors import InputError, UsageError
from keyturn.core.streams import Streams
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Limits
from keyturn.policies.sites import Site, layers_of
from keyturn.policies.taps import ActivationTap, tap

SITES = tuple(Site(layer=layer, side=side) for layer in (0, 1) for side in ("in", "out", "attn", "mlp"))


def made(family="llama"):
    policy = LocalPolicy(small_models.family(family).double(), small_models.tokenizer())
    drawn = policy.draw(small_models.problems((4, 7, 5)), range(2), Streams(0), Limits(max_new_tokens=6))
    return policy, drawn


def stream_by_hand(policy, drawn, row):
    """Hidden states that enter and leave every layer of one text, read alone: the model's own record."""
    whole = [*drawn.prompts.row(int(drawn.problem[row])), *drawn.row(row)]
    outs = []
    handles = [
        layer.register_forward_hook(lambda m, a, o: outs.append((a[0], o[0] if isinstance(o, tuple) else o)))
        for layer in layers_of(policy.model)[1]
    ]
    with torch.no_grad():
        policy.model(torch.tensor([whole]))
    for handle in handles:
        handle.remove()
    return [tuple(one[0].numpy() for one in pair) for pair in outs]


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen", "tiny"])
def test_what_is_tapped_is_what_the_model_has_there(family):
    policy, drawn = made(family)
    found = tap(policy, drawn, ActivationTap(sites=SITES, positions="all", reduce="none", sinks=0))
    for row in range(len(drawn)):
        mine = found.row == row
        prompt = len(drawn.prompts.row(int(drawn.problem[row])))
        assert found.position[mine].tolist() == list(range(prompt + len(drawn.row(row))))
        hand = stream_by_hand(policy, drawn, row)
        for layer in (0, 1):
            entering, leaving = hand[layer]
            into, out, attn, mlp = (found.states[4 * layer + i][mine] for i in range(4))
            assert np.allclose(into, entering, atol=1e-5)
            assert np.allclose(out, leaving, atol=1e-5)
            assert np.allclose(into + attn + mlp, out, atol=1e-4), "the two parts add up"
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in policy.model.modules())


def test_positions_sinks_and_reductions():
    policy, drawn = made()
    site = (Site(layer=1),)
    every = tap(policy, drawn, ActivationTap(sites=site, positions="all", reduce="none", sinks=0))

    def wanted(row, keep):
        mine = every.row == row
        prompt = len(drawn.prompts.row(int(drawn.problem[row])))
        return every.states[0][mine][keep(every.position[mine], prompt)]

    for positions, keep in {
        "prompt": lambda p, n: (p < n) & (p >= 1),
        "completion": lambda p, n: p >= n,
        "last_prompt": lambda p, n: p == n - 1,
        "all": lambda p, n: p >= 1,
    }.items():
        for reduce in ("none", "mean", "last"):
            found = tap(policy, drawn, ActivationTap(sites=site, positions=positions, reduce=reduce))
            for row in range(len(drawn)):
                states = wanted(row, keep)
                own = found.states[0][found.row == row]
                if reduce == "mean":
                    states = states.astype(np.float64).mean(0, keepdims=True)
                elif reduce == "last":
                    states = states[-1:]
                assert np.allclose(own, states, atol=1e-5), (positions, reduce)


def test_a_folder_takes_what_does_not_fit_into_memory(tmp_path):
    policy, drawn = made()
    what = ActivationTap(sites=SITES[:2], reduce="none")
    kept, held = tap(policy, drawn, what, folder=tmp_path / "taps"), tap(policy, drawn, what)
    for number, (one, other) in enumerate(zip(kept.states, held.states, strict=True)):
        assert np.array_equal(one, other)
        assert np.array_equal(np.load(tmp_path / "taps" / f"site-{number}.npy", mmap_mode="r"), other)
    assert isinstance(kept.states[0], np.memmap)


def test_bad_input_is_refused():
    policy, drawn = made()
    with pytest.raises(UsageError, match="no layer 9"):
        tap(policy, drawn, ActivationTap(sites=(Site(layer=9),)))
    with pytest.raises(UsageError, match="positions"):
        ActivationTap(sites=SITES, positions="somewhere")
    with pytest.raises(UsageError, match="reduction"):
        ActivationTap(sites=SITES, reduce="max")
    with pytest.raises(InputError, match="no text"):
        tap(policy, drawn, ActivationTap(sites=SITES, positions="completion", sinks=99))
