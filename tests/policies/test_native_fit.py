"""Supervised fits on the native engine: loss and gradients are those of torch, and so is every refusal."""

import copy

import native_cases as cases
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_native_llama import stock

from keyturn.core.errors import StorageError
from keyturn.core.streams import Streams
from keyturn.policies.fit import Row, epochs, fit, loss_of, pad_rows
from keyturn.policies.native import build, engine
from keyturn.policies.optimise import FitConfig
from keyturn.policies.which_engine import engine_of_model

EVERY = pytest.mark.parametrize("name", sorted(cases.SHAPES))
CONFIG = FitConfig(steps=12, batch_rows=4, micro_rows=3, lr=0.02, warmup=3, bucket_batches=2)


def rows_of(shape, lengths, seed=0, firsts=2):
    """Rows of given lengths, some tokens or whole rows of weight 0; the first token is one of a few."""
    rng = np.random.default_rng(seed)
    found = []
    for length in lengths:
        tokens = cases.words(rng, length, shape)
        tokens[:1] = rng.integers(0, firsts, size=1)
        weights = rng.uniform(0.1, 2, size=length).astype(np.float32)
        weights[rng.random(length) < 0.3] = 0
        if rng.random() < 0.1:
            weights[:] = 0
        found.append(Row(tokens=tokens, weights=weights))
    return found


def by_float64(model, rows):
    """Loss and gradients of the same weights by torch in float64, by the formula of ``fit``."""
    wide = copy.deepcopy(model).double()
    tokens, weights = pad_rows(rows)
    logits = wide(input_ids=tokens[:, :-1], use_cache=False).logits
    logprobs = logits.log_softmax(-1).gather(2, tokens[:, 1:, None])[:, :, 0]
    loss = -(logprobs * weights[:, 1:].double()).sum()
    loss.backward()
    return float(loss.detach()), {name: p.grad for name, p in wide.named_parameters()}


def apart(model, rows):
    """How far loss and gradients are from float64: relative to the sum of weights, and to the norm."""
    expected, grads = by_float64(model, rows)
    model.zero_grad()
    loss = loss_of(model, rows)
    loss.backward()
    scale = max(sum(float(np.abs(row.weights[1:]).sum()) for row in rows), 1.0)
    squares = sum(float((p.grad - grads[n]).square().sum()) for n, p in model.named_parameters())
    whole = sum(float(one.square().sum()) for one in grads.values())
    return abs(float(loss.detach()) - expected) / scale, (squares / whole) ** 0.5 if whole else squares**0.5


def counted(monkeypatch):
    """The calls that the native engine answers."""
    calls, right = [], engine.Engine.policy_tokens
    monkeypatch.setattr(
        engine.Engine, "policy_tokens", lambda self, *given: (calls.append(1), right(self, *given))[1]
    )
    return calls


@EVERY
@settings(max_examples=12)
@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_loss_and_gradients_are_those_of_float64(name, lengths, seed):
    shape = cases.SHAPES[name]
    rows = [*rows_of(shape, lengths, seed), *rows_of(shape, [3], seed, firsts=shape.vocab)]
    model = cases.model_of(shape, seed, std=0.2)
    far = apart(model, rows)
    assert far[0] < 1e-5
    assert far[1] < 1e-5


def test_the_engine_reads_them(monkeypatch):
    """Of any first token, without rows that teach nothing; torch reads what it cannot."""
    calls = counted(monkeypatch)
    shape = cases.SHAPES["whole tiles"]
    model, rows = cases.model_of(shape), rows_of(shape, (5, 0, 1, 30, 17, 40))
    ours = loss_of(model, rows)
    assert calls == [1]
    monkeypatch.setenv(build.SWITCH, "0")
    theirs = loss_of(model, rows)
    assert calls == [1]
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-5)
    assert float(loss_of(model, rows_of(shape, (1, 0))).detach()) == 0


def test_a_stock_llama_and_a_padding_token(monkeypatch):
    calls = counted(monkeypatch)
    rows = rows_of(cases.SHAPES["whole tiles"], (5, 30, 17, 40))
    assert max(apart(stock(), rows)) < 1e-5
    assert calls == [1]
    padded = stock(pad_token_id=int(rows[1].tokens[7]))
    loss_of(padded, rows).backward()
    assert calls == [1], "torch does not learn the padding's embedding"
    assert padded.model.embed_tokens.weight.grad[rows[1].tokens[7]].abs().sum() != 0, "its head does"


def test_a_row_is_learnt_from_as_it_is_alone():
    """Its loss is the same bytes alone and in any batch; a batch's gradient is the sum of its rows'."""
    shape = cases.SHAPES["odd"]
    model = cases.model_of(shape)
    rows = [row for row in rows_of(shape, (9, 2, 30, 17, 5, 40)) if row.weights[1:].any()]
    losses = []
    for row in rows:
        only = [Row(tokens=other.tokens, weights=other.weights * (other is row)) for other in rows]
        alone, among = loss_of(model, [row]), loss_of(model, only)
        assert torch.equal(alone, among)
        losses.append(alone)
    model.zero_grad()
    loss_of(model, rows).backward()
    whole = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    sum(losses).backward()
    for one, parameter in zip(whole, model.parameters(), strict=True):
        assert torch.allclose(one, parameter.grad, rtol=1e-4, atol=1e-4 * float(one.abs().max()))


def fitted(rows, path=None, stop=None):
    model = cases.model_of(cases.SHAPES["odd"])
    streams = Streams(4)
    report = fit(model, epochs(rows, CONFIG, streams), CONFIG, streams, checkpoint=path, stop_at=stop)
    return report, b"".join(p.detach().numpy().tobytes() for p in model.parameters())


def test_a_fit_is_the_same_on_both_and_resumes_to_the_byte_on_one(tmp_path, monkeypatch):
    calls = counted(monkeypatch)
    rows = rows_of(cases.SHAPES["odd"], [0, 1, *range(2, 40)])
    straight, weights = fitted(rows)
    assert len(calls) >= CONFIG.steps
    assert straight.engine == engine_of_model(cases.model_of(cases.SHAPES["odd"])) != "torch"
    path = tmp_path / "fit.safetensors"
    fitted(rows, path, stop=5)
    kept = path.read_bytes()
    resumed, again = fitted(rows, path)
    assert again == weights
    assert repr(resumed.history) == repr(straight.history)  # a step without weight has no loss
    path.write_bytes(kept)
    monkeypatch.setenv(build.SWITCH, "0")
    with pytest.raises(StorageError, match=r"begun by the engine native .*here it is torch"):
        fitted(rows, path)
    calls.clear()
    by_torch, others = fitted(rows)
    assert not calls
    assert by_torch.engine == "torch"
    assert others != weights
    for one, other in zip(straight.history, by_torch.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3, nan_ok=True)


def test_without_a_compiler_torch_fits(monkeypatch):
    """And says so in the report."""
    calls = counted(monkeypatch)
    monkeypatch.setattr("keyturn.policies.native.fits.library", unavailable)
    report, _ = fitted(rows_of(cases.SHAPES["odd"], range(2, 40)))
    assert not calls
    assert report.engine == "torch"


def unavailable(shape):
    raise build.Unavailable("no C compiler")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "right", "wrong"),
    [
        ("learn.h", "dlogits[given] += cool;", ""),
        ("read.h", "j ? p->start[r] + j - 1 : p->prompt - 1", "j ? p->start[r] + j - 1 : p->start[r]"),
    ],
)
def test_a_broken_twin_is_rejected(source, right, wrong, tmp_path, monkeypatch):
    """One with no pull towards the token that stands there, one whose first token is told from the second."""
    shape = cases.SHAPES["whole tiles"]
    monkeypatch.setattr(build, "HERE", cases.broken(tmp_path / "twin", source, right, wrong))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("keyturn.policies.native.fits.library", lambda shape: cases.engine_for(shape).library)
    assert max(apart(cases.model_of(shape), rows_of(shape, (5, 30, 17, 40)))) > 1e-3
