"""The gradient of what was just drawn begins from what drawing has left, and is the one that reading gives."""

import native_cases as cases
import numpy as np
import pytest
import torch

from keyturn.policies.batching import Texts
from keyturn.policies.native import engine as engines
from keyturn.policies.native import memory
from keyturn.policies.native.memory import remembered
from keyturn.policies.sampling import Sampling

PROMPTS, LIMITS = (3, 9, 1, 17), (20, 0, 1, 5, *[30] * 20)
EVERY = pytest.mark.parametrize("name", sorted(cases.SHAPES))


def drawn(native, model, shape, seed=0, sampling=None):
    """Draw a batch; its texts."""
    rows = cases.rows_of(shape, PROMPTS, LIMITS, seed)
    found = native.decode(model, rows, sampling or Sampling(), (1,))
    completions = [found.tokens[row, :length] for row, length in enumerate(found.lengths)]
    return [rows.prompts[owner] for owner in rows.prompt], completions, found


def gradient(native, model, prompts, completions, temperature=1.0):
    weights = cases.pulls(completions).float()
    model.zero_grad()
    scores = native.policy_tokens(model, Texts.build(prompts, completions), temperature)
    (scores.logprobs * weights[0] + scores.entropies * weights[1]).sum().backward()
    return scores, torch.cat([p.grad.reshape(-1) for p in model.parameters()])


@pytest.fixture
def readings(monkeypatch):
    """Whether each reading was recalled."""
    found = []
    read = engines.Reading.read

    def counted(self, *given, **named):
        found.append(self.recalled is not None)
        return read(self, *given, **named)

    monkeypatch.setattr(engines.Reading, "read", counted)
    return found


@EVERY
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("most", [40, 1000])
def test_it_is_the_gradient_of_reading(name, temperature, most, readings, monkeypatch):
    monkeypatch.setattr(engines, "PIECE_TOKENS", most)
    shape = cases.SHAPES[name]
    model, native = cases.model_of(shape), cases.engine_for(shape)
    with remembered(native, model):
        prompts, completions, found = drawn(native, model, shape, sampling=Sampling(temperature=temperature))
        ours, back = gradient(native, model, prompts, completions, temperature)
    plain, expected = gradient(native, model, prompts, completions, temperature)
    assert readings == [True, False]
    inside = np.arange(ours.logprobs.shape[1]) < found.lengths[:, None]
    # The very numbers that were recorded while drawing, and up to rounding those of reading.
    assert np.array_equal(ours.logprobs.detach().numpy()[inside], found.logprobs[:, : inside.shape[1]][inside])
    assert torch.allclose(ours.logprobs, plain.logprobs, atol=5e-5)
    assert torch.allclose(ours.entropies, plain.entropies, atol=5e-5)
    assert float((back - expected).norm() / expected.norm()) < 1e-5


def test_several_batches_and_some_of_their_rows(readings):
    shape = cases.SHAPES["whole tiles"]
    model, native = cases.model_of(shape), cases.engine_for(shape)
    with remembered(native, model):
        first, second = drawn(native, model, shape, 0), drawn(native, model, shape, 1)
        prompts, completions = first[0][4:12] + second[0][::2], first[1][4:12] + second[1][::2]
        back = gradient(native, model, prompts, completions)[1]
    expected = gradient(native, model, prompts, completions)[1]
    assert readings == [True, False]
    assert float((back - expected).norm() / expected.norm()) < 1e-5


def test_what_was_not_drawn_by_these_weights_is_read(readings, monkeypatch):
    shape = cases.SHAPES["whole tiles"]
    model, native = cases.model_of(shape), cases.engine_for(shape)
    with remembered(native, model):
        prompts, completions, _ = drawn(native, model, shape)
        # Moved behind autograd's back: no version number tells.
        model.model.norm.weight.data[0] += 1e-3
        gradient(native, model, prompts, completions)
        model.model.norm.weight.data[0] -= 1e-3
        other = cases.model_of(shape)
        gradient(native, other, prompts, completions)
        changed = [tokens.copy() for tokens in completions]
        changed[8][0] = (changed[8][0] + 1) % shape.vocab
        gradient(native, model, prompts, changed)
    gradient(native, model, prompts, completions)
    assert readings == [False] * 4
    monkeypatch.setattr(memory, "MOST_BYTES", 1000)
    with remembered(native, model):
        prompts, completions, _ = drawn(native, model, shape)
        gradient(native, model, prompts, completions)
    assert readings == [False] * 5


@pytest.mark.slow
def test_a_twin_that_recalls_another_row_is_rejected(tmp_path, monkeypatch):
    shape = cases.SHAPES["whole tiles"]
    right = "drawn = &t->drawn_row[p->row[r]][i];"
    wrong = "drawn = &t->drawn_row[p->row[0]][i];"
    monkeypatch.setattr(cases.build, "HERE", cases.broken(tmp_path / "twin", "read.h", right, wrong))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model, native = cases.model_of(shape), cases.engine_for(shape)
    with remembered(native, model):
        prompts, completions, _ = drawn(native, model, shape)
        back = gradient(native, model, prompts, completions)[1]
    expected = gradient(native, model, prompts, completions)[1]
    # The twin may read memory that holds nan, which is further than any tolerance.
    assert not float((back - expected).norm() / expected.norm()) <= 1e-3
