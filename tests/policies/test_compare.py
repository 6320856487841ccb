"""Two policies on the same tokens, against the plain softmax, in pieces and whole."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from keyturn.core.errors import InputError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.policies.compare import Comparison, LogitSource, PairScores, compare, pair_scores
from keyturn.policies.head import Head
from keyturn.policies.hooks import ForwardHook
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Limits

WORDS = ["<pad>", "<eos>", *(f"w{i}" for i in range(35))]
LIMITS = Limits(max_new_tokens=7)
PROBLEMS = tuple(Problem(id=f"p{i}", prompt=" ".join(f"w{j}" for j in range(1, i + 2))) for i in range(5))


def word_tokenizer(words=WORDS):
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>")


def filled(model, seed, scale=0.3):
    rng = Streams(seed).generator("init")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(0, scale, tuple(parameter.shape)).astype(np.float32)))
    return model.eval()


def gpt2(seed, vocabulary=37):
    config = GPT2Config(vocab_size=vocabulary, n_positions=32, n_embd=16, n_layer=2, n_head=2, eos_token_id=1)
    return filled(GPT2LMHeadModel(config), seed)


SMALL = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "eos_token_id": 1,
}


def qwen(seed):
    return filled(Qwen2ForCausalLM(Qwen2Config(**SMALL)), seed)


def gemma(seed):
    """Soft-capped logits: the head alone does not give them."""
    config = Gemma2Config(**SMALL, head_dim=8, final_logit_softcapping=2.0)
    return filled(Gemma2ForCausalLM(config), seed)


def nudged(model, seed=7, scale=0.05):
    """A tuned twin: the same weights, moved a little."""
    rng = Streams(seed).generator("nudge")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.from_numpy(rng.normal(0, scale, tuple(parameter.shape)).astype(np.float32)))
    return model


def policy(model, words=WORDS, **fields):
    return LocalPolicy(model, word_tokenizer(words), **fields)


def naive(base, tuned, completions):
    """Row by row, softmax over the whole vocabulary in float64."""
    columns = {name: [] for name in PairScores._fields}
    for row in range(len(completions)):
        prompt = completions.prompts.row(int(completions.problem[row])).tolist()
        tokens = completions.row(row).tolist()
        if not tokens:
            continue
        ids = torch.tensor([prompt + tokens])
        logits = []
        for model in (base, tuned):
            with torch.no_grad():
                logits.append(model(input_ids=ids).logits[0, len(prompt) - 1 : -1].double())
        p, q = (x.log_softmax(-1) for x in logits)
        here = torch.tensor(tokens)[:, None]
        columns["base_logprobs"] += p.gather(1, here)[:, 0].tolist()
        columns["tuned_logprobs"] += q.gather(1, here)[:, 0].tolist()
        columns["base_entropies"] += (-(p.exp() * p).sum(-1)).tolist()
        columns["tuned_entropies"] += (-(q.exp() * q).sum(-1)).tolist()
        columns["base_ranks"] += (p > p.gather(1, here)).sum(-1).tolist()
        columns["tuned_ranks"] += (q > q.gather(1, here)).sum(-1).tolist()
        columns["kl"] += (q.exp() * (q - p)).sum(-1).tolist()
        columns["kl_reverse"] += (p.exp() * (p - q)).sum(-1).tolist()
        columns["flip"] += (p.argmax(-1) != q.argmax(-1)).tolist()
    return Comparison(**{name: np.array(values) for name, values in columns.items()})


def assert_same(got, want, atol=2e-5):
    for name in PairScores._fields:
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), atol=atol, err_msg=name)


@pytest.mark.parametrize("make", [gpt2, qwen, gemma])
@pytest.mark.parametrize("batch_tokens", [1, 40, 10_000])
def test_equals_the_plain_softmax(make, batch_tokens):
    base, tuned = make(1), nudged(make(1))
    drawn = policy(tuned).draw(PROBLEMS, range(3), Streams(1), LIMITS)
    got = compare(policy(base), policy(tuned), drawn, batch_tokens=batch_tokens)
    want = naive(base, tuned, drawn)
    assert_same(got, want)
    assert want.kl.mean() > 1e-3
    assert 0 < want.flip.mean() < 1
    swapped = replace(want, kl=want.kl_reverse)
    with pytest.raises(AssertionError, match="kl"):
        assert_same(got, swapped)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 9),
    st.integers(1, 400),
    st.floats(0.01, 300),
    st.integers(0, 1000),
)
def test_pieces_of_any_width_give_the_same(vocabulary, tokens, piece, scale, seed):
    rng = Streams(seed).generator("logits")
    left, right = (torch.from_numpy(rng.normal(0, scale, (tokens, vocabulary))) for _ in range(2))
    targets = torch.from_numpy(rng.integers(0, vocabulary, tokens))
    whole = pair_scores(LogitSource(left, None), LogitSource(right, None), targets)
    cut = pair_scores(LogitSource(left, None), LogitSource(right, None), targets, piece_elements=piece)
    p, q = left.log_softmax(-1), right.log_softmax(-1)
    want = (q.exp() * (q - p)).sum(-1)
    for scores in (whole, cut):
        torch.testing.assert_close(scores.kl, want, atol=1e-9 * scale, rtol=1e-9)
        assert bool((scores.kl >= 0).all())
        assert scores.base_ranks.tolist() == (left > left.gather(1, targets[:, None])).sum(-1).tolist()
        assert scores.flip.tolist() == (left.argmax(-1) != right.argmax(-1)).tolist()
    for a, b in zip(whole, cut, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9 * scale, rtol=1e-9)


def test_masked_logits_and_disjoint_support():
    left = torch.tensor([[0.0, -math.inf, 1.0], [0.0, -math.inf, -math.inf]])
    right = torch.tensor([[0.5, -math.inf, 0.5], [-math.inf, 0.0, -math.inf]])
    scores = pair_scores(LogitSource(left, None), LogitSource(right, None), torch.tensor([0, 0]))
    p, q = left[0, [0, 2]].softmax(-1).double(), right[0, [0, 2]].softmax(-1).double()
    assert float(scores.kl[0]) == pytest.approx(float((q * (q / p).log()).sum()))
    assert float(scores.kl[1]) == math.inf
    assert float(scores.base_logprobs[1]) == 0
    assert float(scores.tuned_logprobs[1]) == -math.inf


def test_a_policy_beside_itself_is_exactly_zero():
    model = gpt2(1)
    drawn = policy(model).draw(PROBLEMS, range(3), Streams(1), LIMITS)
    same = compare(policy(model), policy(gpt2(1)), drawn)
    assert not same.kl.any()
    assert not same.kl_reverse.any()
    assert not same.flip.any()
    np.testing.assert_array_equal(same.base_logprobs, same.tuned_logprobs)


def test_agrees_with_score_and_with_what_the_sampler_recorded():
    base, tuned = policy(qwen(1)), policy(qwen(2))
    drawn = tuned.draw(PROBLEMS, range(4), Streams(3), LIMITS)
    pair = compare(base, tuned, drawn)
    table = base.score(drawn)
    np.testing.assert_allclose(pair.base_logprobs, table.logprobs, atol=1e-5)
    np.testing.assert_allclose(pair.base_entropies, table.entropies, atol=1e-5)
    np.testing.assert_array_equal(pair.base_ranks, table.ranks)
    np.testing.assert_allclose(pair.tuned_logprobs, drawn.logprobs, atol=1e-5)
    np.testing.assert_allclose(pair.tuned_entropies, drawn.entropies, atol=1e-5)


def test_hooks_count_and_leave_nothing_behind():
    model = gpt2(1)

    def louder(module, args, output):
        return output * 3

    plain, steered = (
        policy(model),
        policy(model, hooks=[ForwardHook(name="x", module="transformer.ln_f", run=louder)]),
    )
    drawn = plain.draw(PROBLEMS, range(2), Streams(1), LIMITS)
    assert (compare(plain, steered, drawn).kl > 0).any()
    assert not compare(plain, plain, drawn).kl.any()


def test_no_tensor_of_tokens_by_vocabulary_is_made(monkeypatch):
    vocabulary, tokens, dim = 4_000, 60, 4
    rng = Streams(1).generator("x")
    states = torch.from_numpy(rng.normal(size=(tokens, dim)).astype(np.float32))
    weight = torch.from_numpy(rng.normal(size=(vocabulary, dim)).astype(np.float32))
    widest = []
    linear = torch.nn.functional.linear

    def watched(*args):
        out = linear(*args)
        widest.append(out.numel())
        return out

    monkeypatch.setattr("keyturn.policies.compare.F", SimpleNamespace(linear=watched))
    look = LogitSource(states, Head(weight, None))
    other = LogitSource(states, Head(weight * 1.1, None))
    targets = torch.zeros(tokens, dtype=torch.int64)
    scores = pair_scores(look, other, targets, piece_elements=60 * 512)
    assert max(widest) <= 60 * 512 < vocabulary * tokens
    whole = pair_scores(
        LogitSource(linear(states, weight), None), LogitSource(linear(states, weight * 1.1), None), targets
    )
    torch.testing.assert_close(scores.kl, whole.kl, atol=1e-6, rtol=1e-5)


def test_different_vocabularies_are_refused():
    drawn = policy(gpt2(1)).draw(PROBLEMS, range(1), Streams(1), LIMITS)
    with pytest.raises(InputError, match="the base has 37 tokens, the tuned policy 40"):
        compare(policy(gpt2(1)), policy(gpt2(2, vocabulary=40)), drawn)
    renamed = [*WORDS[:2], *reversed(WORDS[2:])]
    with pytest.raises(InputError, match=r"is 'w[0-9]+' for the base and 'w[0-9]+' for the tuned"):
        compare(policy(gpt2(1)), policy(gpt2(2), words=renamed), drawn)


def test_empty_completions_and_no_rows():
    model = gpt2(1)
    drawn = policy(model).draw(PROBLEMS, range(2), Streams(1), LIMITS)
    none = drawn.select(np.zeros(len(drawn), dtype=bool))
    assert len(compare(policy(model), policy(model), none).kl) == 0
    lengths = drawn.lengths.copy()
    lengths[3] = 0
    keep = np.repeat(np.arange(len(drawn)) != 3, drawn.lengths)
    hollow = replace(
        drawn,
        tokens=drawn.tokens[keep],
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        logprobs=drawn.logprobs[keep],
        entropies=drawn.entropies[keep],
    )
    got = compare(policy(model), policy(gpt2(2)), hollow)
    assert_same(got, naive(model, gpt2(2), hollow))
