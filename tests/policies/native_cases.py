"""Random tiny models and texts, and how far the native engine is from torch on them; for its tests."""

import copy
import dataclasses
import shutil

import numpy as np
import torch

from keyturn.policies.batching import Texts
from keyturn.policies.hooks import evaluating
from keyturn.policies.native import build
from keyturn.policies.native.build import Shape, library
from keyturn.policies.native.engine import Engine
from keyturn.policies.runners import Rows
from keyturn.policies.sampler import decode
from keyturn.policies.sampling import Sampling
from keyturn.policies.scorer import policy_tokens
from keyturn.policies.tiny import TinyConfig, TinyForCausalLM

SHAPES = {
    "whole tiles": Shape(dim=32, heads=4, inter=48, layers=2, vocab=40, canon=True, bias=False),
    "odd": Shape(dim=18, heads=3, inter=29, layers=1, vocab=13, canon=False, bias=True),
}
CONTEXT = 64


def engine_for(shape):
    return Engine(library(shape))


def model_of(shape, seed=0, std=0.3):
    """Weights wide enough for distributions that are far from flat."""
    config = TinyConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.dim,
        intermediate_size=shape.inter,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=CONTEXT,
        canon=shape.canon,
        mlp_bias=shape.bias,
    )
    model, generator = TinyForCausalLM(config), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            drawn = torch.empty(weight.shape).normal_(0, std, generator=generator)
            weight.copy_(1 + drawn if name.endswith("norm.weight") else drawn)
    return model.eval()


def words(rng, count, shape):
    return rng.integers(0, shape.vocab, size=count).astype(np.int32)


def texts_of(shape, prompt_lengths, completion_lengths, seed=0):
    """Prompts, and one completion a row on each in turn; lengths may be 0."""
    rng = np.random.default_rng(seed)
    prompts = [words(rng, length, shape) for length in prompt_lengths]
    completions = [words(rng, length, shape) for length in completion_lengths]
    return [prompts[row % len(prompts)] for row in range(len(completions))], completions


def rows_of(shape, prompt_lengths, limits, seed=0):
    """A batch to decode."""
    rng = np.random.default_rng(seed)
    which = np.arange(len(limits)) % len(prompt_lengths)
    return Rows(
        prompts=[words(rng, length, shape) for length in prompt_lengths],
        prompt=which,
        uniforms=rng.random((len(limits), max(max(limits), 1))),
        limits=np.array(limits, dtype=np.int64),
        problem=which,
        draw=np.arange(len(limits)),
    )


def picked(rows, which):
    """Some rows of a batch."""
    named = ("prompt", "uniforms", "limits", "problem", "draw")
    return dataclasses.replace(rows, **{name: getattr(rows, name)[which] for name in named})


def drawn_by_torch(monkeypatch, model, rows, sampling, ends):
    with monkeypatch.context() as patch, evaluating(model):
        patch.setenv(build.SWITCH, "0")
        return decode(model, rows, sampling, ends=ends)


def drawn_otherwise(engine, model, rows, theirs, sampling=None, ends=(1,)):
    """What differs from torch's draws: tokens (but where two tie to the last bit), lengths, records."""
    sampling = sampling or Sampling()
    ours = engine.decode(model, rows, sampling, ends)
    found = []
    for row in range(len(rows.prompt)):
        count = int(min(ours.lengths[row], theirs.lengths[row]))
        same = ours.tokens[row, :count] == theirs.tokens[row, :count]
        if not same.all():
            found.append(f"row {row} has other tokens from {int(same.argmin())} on")
            continue
        if ours.lengths[row] != theirs.lengths[row] or ours.ended[row] != theirs.ended[row]:
            found.append(f"row {row} ends otherwise")
        for name in ("logprobs", "entropies"):
            apart = np.abs(getattr(ours, name)[row, :count] - getattr(theirs, name)[row, :count])
            if count and not apart.max() < 5e-5:
                found.append(f"row {row}: {name} off by {apart.max():.2g}")
    return found


def in_float64(model, prompts, completions, temperature, weights):
    """Scores and gradients of the same weights by torch in float64."""
    wide = copy.deepcopy(model).double()
    found = policy_tokens(wide, Texts.build(prompts, completions), temperature=temperature, share=False)
    (found.logprobs * weights[0] + found.entropies * weights[1]).sum().backward()
    return found, {name: p.grad for name, p in wide.named_parameters()}


def pulls(completions, seed=0):
    """Random weights of every log-probability and entropy."""
    shape = (2, len(completions), max(map(len, completions)))
    return torch.empty(shape, dtype=torch.float64).normal_(generator=torch.Generator().manual_seed(seed))


def read_otherwise(engine, model, prompts, completions, *, temperature=1.0):
    """How far the engine's log-probabilities, entropies and gradients are from torch's in float64.

    Returns:
        The largest difference of a log-probability or entropy over the largest of them (at least 1), and of a
        gradient over its norm; both are to be at most 1e-5.
    """
    weights = pulls(completions)
    theirs, theirs_back = in_float64(model, prompts, completions, temperature, weights)
    model.zero_grad()
    ours = engine.policy_tokens(model, Texts.build(prompts, completions), temperature)
    (ours.logprobs * weights[0].float() + ours.entropies * weights[1].float()).sum().backward()
    apart = 0.0
    for one, other in zip(ours[:2], theirs[:2], strict=True):
        assert one.shape == other.shape
        scale = max(float(other.detach().abs().max()), 1.0)
        apart = max(apart, float((one - other).detach().abs().max()) / scale)
    squares, whole = 0.0, 0.0
    for name, parameter in model.named_parameters():
        expected = theirs_back[name]
        squares += float((parameter.grad - expected).square().sum())
        whole += float(expected.square().sum())
    return apart, (squares / whole) ** 0.5 if whole else squares**0.5


def broken(folder, name, right, wrong):
    """A copy of the sources in which one thing is wrong."""
    folder.mkdir()
    for source in build.SOURCES:
        shutil.copy(build.HERE / source, folder / source)
    text = (folder / name).read_text()
    assert text.count(right) == 1, right
    (folder / name).write_text(text.replace(right, wrong))
    return folder
