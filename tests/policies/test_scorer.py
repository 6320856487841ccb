import numpy as np
import pytest
import small_models
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.policies import head, scorer
from keyturn.policies.batching import Texts, buckets
from keyturn.policies.cache import BufferLayer
from keyturn.policies.hooks import evaluating
from keyturn.policies.scorer import policy_tokens, score_rows

EVERY = pytest.mark.parametrize("name", sorted(small_models.FAMILIES))
SHARING = pytest.mark.parametrize("share", [False, True])


def rows(prompts=4, each=3, longest=14, seed=0):
    """Prompts of unequal length with several completions each, one of them empty."""
    rng = np.random.default_rng(seed)

    def words(count):
        return rng.integers(0, small_models.VOCABULARY, size=count).astype(np.int32)

    asked = [words(rng.integers(2, 10)) for _ in range(prompts)]
    completions = [words(rng.integers(1, longest)) for _ in range(prompts * each)]
    completions[2] = words(0)
    completions[3] = words(1)
    return [asked[row // each] for row in range(prompts * each)], completions


def naive(model, prompts, completions, temperature=1.0):
    """Padded [row, token] log-probabilities and entropies by one plain forward a row."""
    width = max(map(len, completions))
    logprobs, entropies = [], []
    for prompt, tokens in zip(prompts, completions, strict=True):
        whole = torch.from_numpy(np.concatenate([prompt, tokens]).astype(np.int64))
        logits = model(whole[None]).logits[0, len(prompt) - 1 : -1]
        picked = (logits / temperature).log_softmax(-1).gather(1, whole[len(prompt) :, None])[:, 0]
        own = logits.log_softmax(-1)
        pad = (0, width - len(tokens))
        logprobs.append(torch.nn.functional.pad(picked, pad))
        entropies.append(torch.nn.functional.pad(-(own.exp() * own).sum(-1), pad))
    return torch.stack(logprobs), torch.stack(entropies)


def gradients(model, scores, weights):
    model.zero_grad()
    (scores[0] * weights[0] + scores[1] * weights[1]).sum().backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@EVERY
@SHARING
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_equal_to_the_naive_forward_with_gradient(name, share, temperature):
    model = small_models.family(name)
    prompts, completions = rows()
    found = policy_tokens(model, Texts.build(prompts, completions), temperature=temperature, share=share)
    expected = naive(model, prompts, completions, temperature)
    for ours, theirs in zip(found[:2], expected, strict=True):
        assert ours.shape == theirs.shape
        assert torch.allclose(ours, theirs, atol=1e-5)
    generator = torch.Generator().manual_seed(1)
    weights = torch.empty(2, *expected[0].shape).normal_(generator=generator)
    theirs = gradients(model, expected, weights)
    for key, gradient in gradients(model, found, weights).items():
        assert torch.allclose(gradient, theirs[key], atol=1e-4, rtol=1e-4), key


def test_forgetting_the_convolution_between_prompt_and_completion_is_caught(monkeypatch):
    model = small_models.family("tiny")
    prompts, completions = rows()
    branch = BufferLayer.branch

    def forgetful(self, *args):
        new = branch(self, *args)
        new.recent = None
        return new

    monkeypatch.setattr(BufferLayer, "branch", forgetful)
    expected = naive(model, prompts, completions)[0]
    texts = Texts.build(prompts, completions)
    assert torch.allclose(policy_tokens(model, texts, share=True).logprobs, expected, atol=1e-5)
    assert not scorer.branches_are_whole(model)  # and so prompts were read once a row
    monkeypatch.setattr(scorer, "branches_are_whole", lambda _: True)
    found = policy_tokens(model, texts, share=True)
    assert not torch.allclose(found.logprobs, expected, atol=1e-2)


def test_gradient_reaches_the_prompt_only_if_it_flows_through_the_branches():
    """The twin: detaching the prompt's cache leaves the values equal and the gradient wrong."""
    model = small_models.family("tiny")
    prompts, completions = rows()
    weights = torch.ones(2, len(completions), max(map(len, completions)))
    right = gradients(model, naive(model, prompts, completions), weights)
    original = scorer.branched
    try:
        scorer.branched = lambda cache, index, room: _detached(original(cache, index, room))
        broken = policy_tokens(model, Texts.build(prompts, completions), share=True)
    finally:
        scorer.branched = original
    assert torch.allclose(broken.logprobs, naive(model, prompts, completions)[0], atol=1e-5)
    wrong = gradients(model, broken, weights)
    assert any(not torch.allclose(wrong[key], right[key], atol=1e-3, rtol=1e-3) for key in right)


def _detached(cache):
    for layer in cache.layers:
        layer.keys, layer.values, layer.recent = (x.detach() for x in (layer.keys, layer.values, layer.recent))
    return cache


@EVERY
@SHARING
def test_scores_without_gradient(name, share):
    model = small_models.family(name)
    prompts, completions = rows(seed=3)
    texts, done = Texts.build(prompts, completions), []
    with evaluating(model):
        logprobs, entropies, ranks = score_rows(model, texts, share=share, advance=done.append)
        expected = naive(model, prompts, completions)
    assert sum(done) == sum(len(tokens) > 0 for tokens in completions)
    flat = [
        torch.cat([table[row, : len(t)] for row, t in enumerate(completions)]).numpy() for table in expected
    ]
    assert np.allclose(logprobs, flat[0], atol=1e-5)
    assert np.allclose(entropies, flat[1], atol=1e-5)
    place = 0
    for prompt, tokens in zip(prompts, completions, strict=True):
        whole = torch.from_numpy(np.concatenate([prompt, tokens]).astype(np.int64))
        with torch.no_grad():
            logits = model(whole[None]).logits[0, len(prompt) - 1 : -1]
        higher = (logits > logits.gather(1, whole[len(prompt) :, None])).sum(-1)
        assert ranks[place : place + len(tokens)].tolist() == higher.tolist()
        place += len(tokens)


def test_small_budgets_change_nothing(monkeypatch):
    model = small_models.family("llama")
    prompts, completions = rows(seed=5)
    with evaluating(model):
        whole = score_rows(model, Texts.build(prompts, completions))
        monkeypatch.setattr(scorer, "_BATCH_TOKENS", 20)
        pieces = score_rows(model, Texts.build(prompts, completions))
    for one, other in zip(whole, pieces, strict=True):
        assert np.allclose(one, other, atol=1e-5)


def test_nothing_to_score():
    model = small_models.family("tiny")
    empty = [np.zeros(0, dtype=np.int32)] * 2
    prompt = [np.array([3], dtype=np.int32)] * 2
    assert policy_tokens(model, Texts.build(prompt, empty)).logprobs.shape == (2, 0)
    assert policy_tokens(model, Texts.build([], [])).logprobs.shape == (0, 0)
    assert [len(column) for column in score_rows(model, Texts.build(prompt, empty))] == [0, 0, 0]


def test_which_heads_split_off():
    for name, splits in {"tiny": True, "llama": True, "gpt2": True, "gemma": False}.items():
        assert (head.split_head(small_models.family(name)) is not None) == splits, name
    model = small_models.family("llama")
    handle = model.lm_head.register_forward_hook(lambda module, args, out: out * 2)
    assert head.split_head(model) is None
    handle.remove()
    assert head.split_head(model) is not None


def scores_in_pieces(hidden, weight, bias, targets, temperature, piece):
    return head._LinearScores.apply(hidden, weight, bias, targets, temperature, piece)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("piece", [1, 7, 100])
def test_vocabulary_pieces_equal_whole_logits(temperature, biased, piece):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.empty(*shape, dtype=torch.float64).normal_(0, 2, generator=generator).requires_grad_()

    hidden, weight, bias = draw(9, 6), draw(23, 6), draw(23) if biased else None
    targets = torch.randint(0, 23, (9,), generator=generator)
    found = scores_in_pieces(hidden, weight, bias, targets, temperature, piece)
    expected = head.from_logits(
        torch.nn.functional.linear(hidden, weight, bias), targets, temperature=temperature
    )
    for ours, theirs in zip(found, expected[:2], strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12)
    inputs = [x for x in (hidden, weight, bias) if x is not None]
    pull = [draw(9).detach() for _ in range(2)]
    ours = torch.autograd.grad(found, inputs, pull)
    theirs = torch.autograd.grad(expected[:2], inputs, pull)
    for mine, reference in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, reference, atol=1e-10)
    ranks = head._ranks(hidden.detach(), head.Head(weight, bias), targets, piece)
    assert (
        ranks.tolist()
        == head.from_logits(
            torch.nn.functional.linear(hidden, weight, bias), targets, ranks=True
        ).ranks.tolist()
    )


def test_far_apart_logits_stay_finite():
    hidden = torch.tensor([[1.0]])
    weight = torch.tensor([[-3e4], [3e4], [0.0]])
    for target, logprob in ((1, 0.0), (0, -6e4)):
        found = scores_in_pieces(hidden, weight, None, torch.tensor([target]), 1.0, 1)
        assert found[0].item() == logprob
        assert found[1].item() == 0.0


class Largest(torch.utils._python_dispatch.TorchDispatchMode):
    """Notes the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


@pytest.mark.parametrize("pieces", [True, False])
def test_a_large_vocabulary_needs_no_token_by_vocabulary_tensor(pieces):
    tokens, vocabulary, dim = 128, 150_000, 4
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.empty(n, dim).normal_(generator=generator) for n in (tokens, vocabulary))
    targets = torch.randint(0, vocabulary, (tokens,), generator=generator)
    dense = 1 << 20 if pieces else tokens * vocabulary
    largest = Largest()
    with torch.no_grad(), largest:
        head.from_hidden(hidden, head.Head(weight, None), targets, ranks=True, dense_elements=dense)
    if pieces:
        assert largest.elements <= 1 << 23
    else:  # the twin: whole logits are seen
        assert largest.elements >= tokens * vocabulary


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(0, 60), st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_buckets_hold_every_row_once(lengths, budget, call):
    array = np.array(lengths, dtype=np.int64)
    parts = buckets(array, budget=budget, call=call)
    assert sorted(np.concatenate(parts).tolist() if parts else []) == list(range(len(lengths)))
    for part in parts:
        assert not budget or len(part) == 1 or len(part) * array[part].max() <= budget


def test_buckets_trade_padding_against_calls():
    lengths = np.array([10] * 50 + [100] * 50)
    assert [len(part) for part in buckets(lengths, call=128)] == [50, 50]
    assert [len(part) for part in buckets(lengths, call=10_000)] == [100]


def test_equal_prompts_are_held_once():
    prompts, completions = rows()
    texts = Texts.build(prompts, completions)
    assert len(texts.prompts) == 4
    assert texts.sharing_pays()
    with pytest.raises(ValueError, match="no tokens"):
        Texts.build([np.zeros(0, dtype=np.int32)], completions[:1])


def test_dropout_is_the_callers_business():
    model = small_models.gpt2().train()
    texts = Texts.build(*rows())
    assert not torch.equal(*(policy_tokens(model, texts).logprobs for _ in range(2)))
    model.eval()
    assert torch.equal(*(policy_tokens(model, texts).logprobs for _ in range(2)))


def test_checkpointing_models_are_read_apart():
    model = small_models.family("llama").train()
    model.activation_checkpointing_enable()
    assert not scorer._Runner(model, None).can_branch()
    prompts, completions = rows()
    found = policy_tokens(model, Texts.build(prompts, completions))
    found.logprobs.sum().backward()
    assert torch.allclose(found.logprobs, naive(model, prompts, completions)[0], atol=1e-5)
