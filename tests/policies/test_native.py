"""The native engine says what torch says: tokens, log-probabilities, entropies, ranks, gradients."""

import platform

import native_cases as cases
import numpy as np
import pytest
import small_models
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.core.errors import NumericsError
from keyturn.core.streams import Streams
from keyturn.policies.batching import Texts
from keyturn.policies.hooks import evaluating
from keyturn.policies.local import LocalPolicy
from keyturn.policies.native import build, engine
from keyturn.policies.native.build import Shape
from keyturn.policies.native.fits import chosen
from keyturn.policies.protocol import Limits
from keyturn.policies.sampling import Sampling
from keyturn.policies.scorer import policy_tokens, score_rows

EVERY = pytest.mark.parametrize("name", sorted(cases.SHAPES))
PROMPTS, LIMITS = (3, 9, 1, 17), (20, 0, 1, 5, *[30] * 40)
LENGTHS = st.tuples(
    st.lists(st.integers(1, 20), min_size=1, max_size=4),
    st.lists(st.integers(0, 30), min_size=1, max_size=14),
)


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def prepared(name, seed=0):
    shape = cases.SHAPES[name]
    return shape, cases.model_of(shape, seed), cases.engine_for(shape)


@EVERY
@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(temperature=0.0), Sampling(temperature=0.7), Sampling(temperature=3.0)]
)
def test_the_same_numbers_draw_the_same_tokens(name, sampling, threads, monkeypatch):
    shape, model, native = prepared(name)
    rows = cases.rows_of(shape, PROMPTS, LIMITS)
    theirs = cases.drawn_by_torch(monkeypatch, model, rows, sampling, (1,))
    assert not cases.drawn_otherwise(native, model, rows, theirs, sampling)
    if not sampling.greedy:
        assert theirs.ended.any()
        assert not theirs.ended.all()


@EVERY
@settings(max_examples=25)
@given(lengths=LENGTHS, seed=st.integers(0, 99), temperature=st.sampled_from([1.0, 0.6, 1.7]))
def test_scores_and_gradients_are_those_of_float64(name, lengths, seed, temperature):
    shape, model, native = prepared(name, seed)
    if not max(lengths[1]):
        lengths[1].append(1)
    prompts, completions = cases.texts_of(shape, *lengths, seed)
    apart, back = cases.read_otherwise(native, model, prompts, completions, temperature=temperature)
    assert apart < 1e-5
    assert back < 1e-5


@EVERY
def test_ranks_and_scores_without_gradient(name, threads):
    shape, model, native = prepared(name)
    prompts, completions = cases.texts_of(shape, PROMPTS, (5, 0, 1, 30, 17, 9, 0, 2))
    with evaluating(model):
        theirs = score_rows(model, Texts.build(prompts, completions), share=False)
    ours = native.score(model, Texts.build(prompts, completions))
    assert np.abs(ours[0] - theirs[0]).max() < 5e-5
    assert np.abs(ours[1] - theirs[1]).max() < 5e-5
    assert ours[2].tolist() == theirs[2].tolist()


@EVERY
def test_a_row_does_not_depend_on_its_batch_nor_on_threads(name, threads):
    """To the last bit: alone, among others, in pieces of another size."""
    shape, model, native = prepared(name)
    lengths = (5, 0, 1, 30, 17, 9, 0, 2, 30, 30, 4)
    prompts, completions = cases.texts_of(shape, PROMPTS, lengths)
    whole = native.score(model, Texts.build(prompts, completions))
    rows = cases.rows_of(shape, PROMPTS, LIMITS)
    drawn = native.decode(model, rows, Sampling(), (1,))
    start = 0
    for row, length in enumerate(lengths):
        alone = native.score(model, Texts.build([prompts[row]], [completions[row]])) if length else ([], [], [])
        for one, other in zip(alone, whole, strict=True):
            assert np.array_equal(one, other[start : start + length])
        start += length
    for row in (0, 2, 7, len(LIMITS) - 1):
        alone = native.decode(model, cases.picked(rows, [row]), Sampling(), (1,))
        size = drawn.lengths[row]
        assert alone.lengths[0] == size
        for field in ("tokens", "logprobs", "entropies"):
            assert np.array_equal(getattr(alone, field)[0, :size], getattr(drawn, field)[row, :size])


@EVERY
def test_rows_that_say_the_same_are_read_once_and_part_where_they_differ(name, threads):
    """More rows than a thread holds, many of them equal for a while: to the last bit as each alone."""
    shape, model, native = prepared(name)
    rows = cases.rows_of(shape, PROMPTS, [30, 30, 7, 30, 1] * 56)
    order = np.argsort(rows.prompt, kind="stable")
    rows = cases.picked(rows, order)
    drawn = native.decode(model, rows, Sampling(temperature=0.4), (1,))
    said = [tuple(drawn.tokens[row, : drawn.lengths[row]]) for row in range(len(order))]
    begun = {(prompt, words[0]) for prompt, words in zip(rows.prompt.tolist(), said, strict=True)}
    assert len(begun) < len(order) / 4
    assert len(set(said)) > 1.2 * len(begun)
    for row in range(0, len(order), 7):
        alone = native.decode(model, cases.picked(rows, [row]), Sampling(temperature=0.4), (1,))
        size = drawn.lengths[row]
        assert alone.lengths[0] == size
        for field in ("tokens", "logprobs", "entropies"):
            assert np.array_equal(getattr(alone, field)[0, :size], getattr(drawn, field)[row, :size])


def test_gradients_are_the_same_bytes_at_any_number_of_threads(monkeypatch):
    shape, model, native = prepared("whole tiles")
    prompts, completions = cases.texts_of(shape, PROMPTS, (5, 0, 1, 30, 17, 9, 30, 2, 30, 30, 4))
    monkeypatch.setattr(engine, "PIECE_TOKENS", 40)  # several pieces in a bucket
    weights = cases.pulls(completions).float()
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            model.zero_grad()
            scores = native.policy_tokens(model, Texts.build(prompts, completions), 1.0)
            (scores.logprobs * weights[0] + scores.entropies * weights[1]).sum().backward()
            found.append([p.grad.clone() for p in model.parameters()])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


def test_pieces_of_any_size_add_up_to_the_same_gradient(monkeypatch):
    shape, model, native = prepared("whole tiles")
    prompts, completions = cases.texts_of(shape, PROMPTS, (5, 0, 1, 30, 17, 9, 30, 2, 30, 30, 4))
    for most in (1, 33, 100_000):
        monkeypatch.setattr(engine, "PIECE_TOKENS", most)
        assert max(cases.read_otherwise(native, model, prompts, completions)) < 1e-5


def test_only_what_is_trained_gets_a_gradient():
    shape = cases.SHAPES["odd"]
    model, native = cases.model_of(shape), cases.engine_for(shape)
    prompts, completions = cases.texts_of(shape, PROMPTS, (5, 0, 1, 30))
    weights = cases.pulls(completions)
    expected = cases.in_float64(model, prompts, completions, 1.0, weights)[1]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith("down_proj.bias"))
    scores = native.policy_tokens(model, Texts.build(prompts, completions), 1.0)
    (scores.logprobs * weights[0] + scores.entropies * weights[1]).sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad
        if parameter.requires_grad:
            assert torch.allclose(parameter.grad.double(), expected[name], rtol=1e-4, atol=1e-4)


def test_a_graph_is_walked_twice_and_two_graphs_at_once():
    """Memory of one reading is not given to another while a backward pass may still come."""
    shape, model, native = prepared("whole tiles")
    prompts, completions = cases.texts_of(shape, PROMPTS, (5, 9, 1, 30))
    weights = list(model.parameters())

    def read(rows):
        return native.policy_tokens(model, Texts.build(prompts[:rows], completions[:rows]), 1.0).logprobs.sum()

    first, second = read(4), read(2)
    once = torch.autograd.grad(first, weights, retain_graph=True)
    torch.autograd.grad(second, weights)
    again = torch.autograd.grad(first, weights)
    assert all(torch.equal(one, two) for one, two in zip(once, again, strict=True))


def test_weights_that_moved_before_the_backward_pass_are_refused():
    shape, model, native = prepared("whole tiles")
    prompts, completions = cases.texts_of(shape, PROMPTS, (5, 9))
    loss = native.policy_tokens(model, Texts.build(prompts, completions), 1.0).logprobs.sum()
    with torch.no_grad():
        model.model.norm.weight.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_not_numbers_are_refused(bad):
    shape, model, native = prepared("whole tiles")
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight[0, 0] = bad
        model.model.layers[0].mlp.down_proj.weight[0, 0] = bad
    with pytest.raises(NumericsError, match="not numbers"):
        native.decode(model, cases.rows_of(shape, (3,), (5,)), Sampling(), (1,))


def test_a_gate_far_below_zero_is_closed():
    """exp(200) has no float: silu must still be 0 and not garbage."""
    shape, model, native = prepared("whole tiles")
    with torch.no_grad():
        for block in model.model.layers:
            block.mlp.gate_proj.weight.mul_(200.0)
    prompts, completions = cases.texts_of(shape, PROMPTS, (5, 9, 3, 30))
    with evaluating(model):
        theirs = score_rows(model, Texts.build(prompts, completions), share=False)
    ours = native.score(model, Texts.build(prompts, completions))
    assert np.allclose(ours[0], theirs[0], rtol=1e-4, atol=1e-3)


def test_policies_take_it_by_themselves(monkeypatch):
    """Drawing, scoring and training call the engine, and what comes out is torch's."""
    policy = LocalPolicy(small_models.family("tiny"), small_models.tokenizer())
    asked, limits = small_models.problems((3, 9, 14)), Limits(max_new_tokens=14)
    used = []

    def counted(name, right):
        return lambda self, *given: (used.append(name), right(self, *given))[1]

    for name in ("decode", "score", "policy_tokens"):
        monkeypatch.setattr(engine.Engine, name, counted(name, getattr(engine.Engine, name)))
    ours = policy.draw(asked, range(20), Streams(1), limits)
    table = policy.score(ours)
    flat = policy_tokens(policy.model, Texts.of(ours)).logprobs
    assert {"decode", "score", "policy_tokens"} == set(used)
    monkeypatch.setenv(build.SWITCH, "0")
    used.clear()
    theirs = policy.draw(asked, range(20), Streams(1), limits)
    assert not used
    assert ours.tokens.tolist() == theirs.tokens.tolist()
    assert np.abs(ours.logprobs - theirs.logprobs).max() < 5e-5
    assert np.abs(policy.score(theirs).logprobs - table.logprobs).max() < 5e-5
    assert torch.allclose(policy_tokens(policy.model, Texts.of(ours)).logprobs, flat, atol=5e-5)


TWINS = {
    "the convolution forgets the prompt": (
        *("decode.h", "        memcpy(s->recent, prefix->recent, sizeof prefix->recent);\n"),
        "        memset(s->recent, 0, sizeof prefix->recent);\n",
    ),
    "rows that part lose their values": (
        "decode.h",
        "memcpy(to->values + l * room * A, s->values",
        "memcpy(to->values + l * room * A, to->values",
    ),
    "a query sees the token after it": ("read.h", "first + r + 1; t < upto", "first + r + 2; t < upto"),
    "no gradient reaches the prompt": ("learn.h", "keys_back(p, head, 0, past, -1, own, dqkv);", ""),
    "the entropy has no gradient": ("learn.h", " - e * own * (x - mean)", ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", sorted(TWINS))
def test_a_broken_twin_is_rejected(what, tmp_path, monkeypatch):
    """The same comparisons on sources in which one thing is wrong must fail."""
    shape = cases.SHAPES["whole tiles"]
    model = cases.model_of(shape)
    monkeypatch.setattr(build, "HERE", cases.broken(tmp_path / "twin", *TWINS[what]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    native = cases.engine_for(shape)
    rows = cases.rows_of(shape, PROMPTS, LIMITS)
    theirs = cases.drawn_by_torch(monkeypatch, model, rows, Sampling(), (1,))
    prompts, completions = cases.texts_of(shape, PROMPTS, (5, 0, 1, 30, 17, 9))
    try:
        wrong = cases.drawn_otherwise(native, model, rows, theirs)
        wrong += [far for far in cases.read_otherwise(native, model, prompts, completions) if not far < 1e-5]
    except NumericsError:
        # A twin that reads memory that nobody has written may find what is no number there: found out as well.
        return
    assert wrong


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the names of these processors")
@pytest.mark.parametrize("processor", ["x86-64", "x86-64-v3"])
def test_vectors_of_four_and_eight(processor, tmp_path, monkeypatch):
    """Other processors' vectors, where this one can run them; with or without fused multiplication."""
    monkeypatch.setattr(build, "_FOR_THIS_PROCESSOR", ((f"-march={processor}",),))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build.compiler.cache_clear()
    try:
        for shape in cases.SHAPES.values():
            model, native = cases.model_of(shape), cases.engine_for(shape)
            assert native.sizes.vector == {"x86-64": 4, "x86-64-v3": 8}[processor]
            prompts, completions = cases.texts_of(shape, PROMPTS, (5, 0, 1, 30, 17, 9))
            assert max(cases.read_otherwise(native, model, prompts, completions)) < 1e-5
            rows = cases.rows_of(shape, PROMPTS, LIMITS)
            theirs = cases.drawn_by_torch(monkeypatch, model, rows, Sampling(), (1,))
            assert not cases.drawn_otherwise(native, model, rows, theirs)
    finally:
        build.compiler.cache_clear()


@pytest.mark.slow
@settings(max_examples=8)
@given(
    shape=st.builds(
        lambda heads, half, **rest: Shape(dim=2 * heads * half, heads=heads, **rest),
        heads=st.integers(1, 5),
        half=st.integers(1, 13),
        inter=st.integers(1, 70),
        layers=st.integers(1, 3),
        vocab=st.integers(2, 150),
        canon=st.booleans(),
        bias=st.booleans(),
    ),
    lengths=LENGTHS,
)
def test_any_shape(shape, lengths):
    model, native = cases.model_of(shape, std=0.2), cases.engine_for(shape)
    if not max(lengths[1]):
        lengths[1].append(1)
    prompts, completions = cases.texts_of(shape, *lengths)
    assert max(cases.read_otherwise(native, model, prompts, completions)) < 1e-5
    rows = cases.rows_of(shape, lengths[0], lengths[1])
    with pytest.MonkeyPatch.context() as patch:
        theirs = cases.drawn_by_torch(patch, model, rows, Sampling(), (1,))
    assert not cases.drawn_otherwise(native, model, rows, theirs)


def test_the_shipped_bases_fit():
    from keyturn.auditing.embedded import MODELS
    from keyturn.policies.loading import load_policy

    for name in ("chain", "graph"):
        assert chosen(load_policy(MODELS / name).model).engine is not None
