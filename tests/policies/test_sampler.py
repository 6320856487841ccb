import numpy as np
import pytest
import small_models
import torch
from scipy import stats
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from keyturn.core.errors import NumericsError, UsageError
from keyturn.core.streams import Streams
from keyturn.policies import prefix, runners, sampler, sampling
from keyturn.policies.cache import BufferLayer
from keyturn.policies.hooks import evaluating
from keyturn.policies.local import LocalPolicy
from keyturn.policies.native import build
from keyturn.policies.prefix import PrefixLayer
from keyturn.policies.protocol import Limits
from keyturn.policies.sampling import Choice, Sampling, choose, truncated

EVERY = pytest.mark.parametrize("name", sorted(small_models.FAMILIES))


@pytest.fixture(autouse=True)
def the_sampler_of_torch(monkeypatch):
    """The native one of the tiny model has tests of its own."""
    monkeypatch.setenv(build.SWITCH, "0")


@pytest.fixture
def always_shared(monkeypatch):
    """Share prompts however short they are."""
    monkeypatch.setattr(prefix, "LEAST_TOKENS", 0)


LIMITS = Limits(max_new_tokens=14, batch_rows=256)


def policy(name, **how):
    return LocalPolicy(small_models.family(name), small_models.tokenizer(), **how)


def one_by_one(model, completions):
    """Log-probabilities and entropies by the model's own forward, one row at a time."""
    logprobs, entropies = [], []
    for row in range(len(completions)):
        prompt, tokens = completions.prompts.row(completions.problem[row]), completions.row(row)
        whole = torch.from_numpy(np.concatenate([prompt, tokens]).astype(np.int64))
        with torch.no_grad():
            scores = model(whole[None]).logits[0].double().log_softmax(-1)[len(prompt) - 1 : -1]
        logprobs.append(scores.gather(1, whole[len(prompt) :, None])[:, 0])
        entropies.append(-(scores.exp() * scores).sum(-1))
    return torch.cat(logprobs).numpy(), torch.cat(entropies).numpy()


@EVERY
@pytest.mark.parametrize("lengths", [(6, 6, 6), (3, 9, 14)])
def test_recorded_logprobs_and_entropies_are_the_models(name, lengths):
    who = policy(name)
    drawn = who.draw(small_models.problems(lengths), range(10), Streams(1), LIMITS)
    logprobs, entropies = one_by_one(who.model, drawn)
    assert np.abs(drawn.logprobs - logprobs).max() < 2e-5
    assert np.abs(drawn.entropies - entropies).max() < 2e-5
    assert len(set(drawn.lengths.tolist())) > 1  # some rows ended early


@pytest.mark.parametrize("lengths", [(6, 6, 6), (3, 9, 14)])
def test_recorded_logprobs_where_prompts_are_shared(lengths, always_shared, monkeypatch):
    calls = []
    attend = PrefixLayer.attend
    monkeypatch.setattr(PrefixLayer, "attend", lambda self, *args: (calls.append(1), attend(self, *args))[1])
    who = policy("tiny")
    drawn = who.draw(small_models.problems(lengths), range(24), Streams(1), LIMITS)
    scores = who.score(drawn)
    assert np.abs(drawn.logprobs - scores.logprobs).max() < 2e-5
    assert np.abs(drawn.entropies - scores.entropies).max() < 2e-5
    assert calls
    monkeypatch.setattr(prefix, "LEAST_TOKENS", 1000)
    copied = who.draw(small_models.problems(lengths), range(24), Streams(1), LIMITS)
    assert copied.tokens.tolist() == drawn.tokens.tolist()


def without_padding(monkeypatch):
    monkeypatch.setattr(prefix.torch.Tensor, "masked_fill", lambda self, *_: self)
    return (3, 14)


def without_convolution(monkeypatch):
    shared = prefix.share_prompts

    def forgetful(cache, owner, seen, room):
        taken = shared(cache, owner, seen, room)
        for layer in cache.layers:
            layer.recent = None
        return taken

    monkeypatch.setattr(runners, "share_prompts", forgetful)
    return (6, 6)


SPOILT = pytest.mark.parametrize("spoil", [without_padding, without_convolution])


@SPOILT
def test_a_spoilt_cache_gives_way_to_whole_forwards(spoil, monkeypatch, always_shared, caplog):
    who = policy("tiny")
    drawn = who.draw(small_models.problems(spoil(monkeypatch)), range(4), Streams(1), LIMITS)
    monkeypatch.undo()
    assert np.abs(drawn.logprobs - one_by_one(who.model, drawn)[0]).max() < 2e-5
    assert "state outside its cache" in caplog.text


@SPOILT
@pytest.mark.parametrize(
    "how",
    [{}, {"sampling": Sampling(temperature=0.0)}, {"sampling": Sampling(temperature=0.7, top_p=0.9, top_k=5)}],
)
def test_a_spoilt_cache_that_the_trial_missed_is_refused(spoil, how, monkeypatch, always_shared):
    """What only real prompts show (a long window, a large batch) is found on the first rows that were drawn."""
    monkeypatch.setattr(runners, "_tried", lambda _: True)
    who = policy("tiny", **how)
    asked = small_models.problems(spoil(monkeypatch))
    with pytest.raises(NumericsError, match="nats per token off a plain forward"):
        who.draw(asked, range(4), Streams(1), LIMITS)


@EVERY
def test_a_completion_does_not_depend_on_its_batch_mates(name):
    who = policy(name)
    asked = small_models.problems((4, 11, 7))
    together = who.draw(asked, range(6), Streams(5), LIMITS)
    for batch_rows in (1, 5):
        alone = who.draw(asked[1:2], range(2, 4), Streams(5), Limits(max_new_tokens=14, batch_rows=batch_rows))
        for row in range(2):
            assert alone.row(row).tolist() == together.row(6 + 2 + row).tolist()
    other = who.draw(asked[1:2], range(2, 4), Streams(6), LIMITS)
    assert other.tokens.tolist() != alone.tokens.tolist()


def test_a_shared_generator_would_be_caught():
    """The twin: numbers drawn in row order, as a shared generator gives them, tie a row to its neighbours."""
    who = policy("tiny")
    asked = small_models.problems((4, 11))
    rows = [
        who._batch(who.prompts(asked), np.array(problem), np.zeros(len(problem), dtype=int), Streams(1), LIMITS)
        for problem in ([0, 1], [1])
    ]
    assert np.array_equal(rows[0].uniforms[1], rows[1].uniforms[0])
    shared = [np.random.Generator(np.random.Philox(1)).random((len(row.prompt), 14)) for row in rows]
    assert not np.array_equal(shared[0][1], shared[1][0])


@EVERY
def test_greedy_equals_generate(name):
    who = policy(name, sampling=Sampling(temperature=0.0))
    asked = small_models.problems((3, 8))
    drawn = who.draw(asked, range(1), Streams(0), LIMITS)
    for row in range(2):
        prompt = torch.from_numpy(drawn.prompts.row(row).astype(np.int64))[None]
        expected = who.model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=14,
            do_sample=False,
            eos_token_id=small_models.END,
            pad_token_id=0,
        )
        assert drawn.row(row).tolist() == expected[0, prompt.shape[1] :].tolist()
    assert (drawn.logprobs == 0).all()


@pytest.mark.parametrize("name", ["tiny", "llama"])
def test_compaction_changes_nothing(name, monkeypatch, always_shared):
    who = policy(name)
    runners.cache_is_whole(who.model)
    asked = small_models.problems((5, 9, 3, 12))
    taken = []
    keep = sampler.Cached.keep
    monkeypatch.setattr(sampler.Cached, "keep", lambda self, kept: (taken.append(len(kept)), keep(self, kept)))
    compact = who.draw(asked, range(40), Streams(2), LIMITS)
    assert taken
    assert min(taken) >= sampler.FLOOR
    whole = who.draw(asked, range(40), Streams(2), LIMITS, compact=False)
    assert compact.tokens.tolist() == whole.tokens.tolist()
    assert np.allclose(compact.logprobs, whole.logprobs, atol=2e-5)
    assert np.allclose(compact.entropies, whole.entropies, atol=2e-5)


def test_small_batches_are_never_compacted(monkeypatch):
    who = policy("tiny")
    runners.cache_is_whole(who.model)
    monkeypatch.setattr(sampler.Cached, "keep", lambda *_: pytest.fail("compacted"))
    drawn = who.draw(small_models.problems((5, 6)), range(32), Streams(2), LIMITS)
    assert drawn.lengths.min() < 10


@pytest.mark.parametrize("owner", [[0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 1], [2, 0, 2, 0, 2, 2]])
@pytest.mark.parametrize("padded", [False, True])
def test_shared_prompts_are_ordinary_attention(owner, padded):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.empty(*shape).normal_(generator=generator)

    owner = torch.tensor(owner)
    keys, values = draw(3, 2, 5, 4), draw(3, 2, 5, 4)
    hidden = torch.zeros(3, 1, 1, 5)
    if padded:
        hidden[1, ..., :3] = torch.finfo(torch.float32).min
    layer = PrefixLayer(keys, values, hidden if padded else None, owner, 8)
    past_keys, past_values = keys[owner], values[owner]
    mask = hidden[owner]
    for step in range(4):
        if step == 2:  # some rows leave
            kept = torch.tensor([1, 3, 4])
            layer = layer.branch(kept)
            past_keys, past_values, mask = past_keys[kept], past_values[kept], mask[kept]
        rows = len(past_keys)
        query, key, value = (draw(rows, 2, 1, 4) for _ in range(3))
        past_keys, past_values = torch.cat([past_keys, key], 2), torch.cat([past_values, value], 2)
        mask = torch.nn.functional.pad(mask, (0, 1))
        expected = torch.nn.functional.scaled_dot_product_attention(
            query, past_keys, past_values, attn_mask=mask
        )
        assert torch.allclose(layer.attend(query, key, value, None), expected, atol=1e-6)
        assert layer.get_seq_length() == past_keys.shape[2]


def test_buffers_are_written_in_place_and_grow():
    layer = BufferLayer(room=4)
    keys = torch.arange(12.0).view(1, 1, 12, 1)
    for start, stop in ((0, 2), (2, 4), (4, 5), (5, 12)):
        layer.update(keys[:, :, start:stop], -keys[:, :, start:stop])
        if stop == 2:
            first = layer.keys.data_ptr()
        if stop == 4:
            assert layer.keys.data_ptr() == first
    assert torch.equal(layer.keys, keys)
    assert torch.equal(layer.values, -keys)
    layer.crop(-7)
    assert layer.get_seq_length() == 5
    layer.update(keys[:, :, :1], keys[:, :, :1])
    assert layer.keys[0, 0, :, 0].tolist() == [0, 1, 2, 3, 4, 0]


def test_frequencies_match_the_exact_distribution():
    """Two tokens of a vocabulary of six, 30,000 draws, against the product of exact probabilities."""
    model = small_models.spread(small_models.tiny(vocab_size=6, eos_token_id=None), std=0.25)
    prompt = np.array([2, 3, 4], dtype=np.int32)
    exact = np.zeros((6, 6))
    with torch.no_grad():
        for first in range(6):
            scores = model(torch.tensor([[2, 3, 4, first]])).logits[0].double().softmax(-1)
            exact[first] = scores[2, first] * scores[3]
    draws = 30_000
    rows = sampler.Rows(
        prompts=[prompt],
        prompt=np.zeros(draws, dtype=np.int64),
        uniforms=Streams(3).generator("numbers").random((draws, 2)),
        limits=np.full(draws, 2),
        problem=np.zeros(draws, dtype=np.int64),
        draw=np.arange(draws),
    )
    with evaluating(model):
        tokens = sampler.decode(model, rows, Sampling(), ends=()).tokens
    counts = np.bincount(tokens[:, 0] * 6 + tokens[:, 1], minlength=36)
    assert stats.chisquare(counts, exact.reshape(-1) / exact.sum() * draws).pvalue > 1e-3
    flatter = exact.reshape(-1) ** 0.9
    assert stats.chisquare(counts, flatter / flatter.sum() * draws).pvalue < 1e-6


def logits_for_tests(rows=50, vocabulary=30):
    return torch.empty(rows, vocabulary).normal_(0, 2, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize(
    "settings",
    [
        Sampling(temperature=0.7),
        Sampling(top_k=5),
        Sampling(top_p=0.8),
        Sampling(temperature=1.5, top_k=12, top_p=0.6),
        Sampling(top_k=99, top_p=0.01),
    ],
)
def test_truncation_is_transformers(settings):
    logits = logits_for_tests()
    warpers = LogitsProcessorList()
    warpers.append(TemperatureLogitsWarper(settings.temperature))
    if settings.top_k:
        warpers.append(TopKLogitsWarper(settings.top_k))
    if settings.top_p < 1:
        warpers.append(TopPLogitsWarper(settings.top_p))
    expected = warpers(None, logits).softmax(-1)
    assert torch.allclose(truncated(logits, settings).softmax(-1), expected, atol=1e-7)
    uniform = torch.from_numpy(Streams(0).generator("u").random(50))
    chosen = choose(logits, uniform, settings)
    picked = expected.gather(1, chosen.token[:, None])[:, 0]
    assert (picked > 0).all()
    assert torch.allclose(chosen.logprob.exp(), picked, atol=1e-6)
    own = logits.log_softmax(-1)
    assert torch.allclose(chosen.entropy, -(own.exp() * own).sum(-1), atol=1e-5)  # of the untruncated model


def test_the_choice_is_the_inverse_of_the_distribution_function():
    logits = torch.tensor([[0.1, 0.2, 0.0, 0.7]]).log().expand(5, 4)
    uniform = torch.tensor([0.0, 0.0999, 0.1001, 0.3001, 1 - 2**-53], dtype=torch.float64)
    chosen = choose(logits, uniform, Sampling())
    assert chosen.token.tolist() == [0, 0, 1, 3, 3]
    assert torch.isfinite(chosen.entropy).all()


@pytest.mark.parametrize("shaped", [False, True])
def test_pieces_of_rows_change_nothing(monkeypatch, shaped):
    logits = logits_for_tests()
    uniform = torch.from_numpy(Streams(0).generator("u").random(50))
    other = logits * 0.5 if shaped else None
    whole = choose(logits, uniform, Sampling(top_p=0.9), other)
    monkeypatch.setitem(sampling._PIECE_ELEMENTS, "cpu", 7 * logits.shape[1])
    pieces = choose(logits, uniform, Sampling(top_p=0.9), other)
    assert all(torch.equal(one, many) for one, many in zip(whole, pieces, strict=True))


@pytest.mark.parametrize("name", ["llama", "qwen"])
def test_a_large_vocabulary_is_read_some_rows_at_a_time(name, monkeypatch):
    who = policy(name)
    asked = small_models.problems((3, 9))
    whole = who.draw(asked, range(10), Streams(1), LIMITS)
    monkeypatch.setattr(runners, "WHOLE_LOGITS", 3 * small_models.VOCABULARY)
    most = []
    real = runners.nn.functional.linear

    def seen(out, weight, *rest):
        if weight.shape[0] == small_models.VOCABULARY:
            most.append(len(out))
        return real(out, weight, *rest)

    monkeypatch.setattr(runners.nn.functional, "linear", seen)
    pieces = who.draw(asked, range(10), Streams(1), LIMITS)
    # The model's own head was not called (the check of the first draws was made before): three rows at most.
    assert 1 <= max(most) <= 3
    assert np.array_equal(pieces.tokens, whole.tokens)
    assert np.allclose(pieces.logprobs, whole.logprobs, atol=1e-5)
    assert np.allclose(pieces.entropies, whole.entropies, atol=1e-5)


def test_processors_see_all_rows_of_a_large_vocabulary(monkeypatch):
    monkeypatch.setattr(runners, "WHOLE_LOGITS", small_models.VOCABULARY)

    class Only:
        name = "only"

        def __call__(self, so_far, logits):
            assert logits.shape == (len(so_far.problem), small_models.VOCABULARY)
            return torch.where(torch.arange(small_models.VOCABULARY) == 7, logits, -torch.inf)

    drawn = policy("llama", processors=[Only()]).draw(
        small_models.problems((4,)), range(5), Streams(1), Limits(max_new_tokens=3, batch_rows=8)
    )
    assert set(drawn.tokens.tolist()) == {7}


def test_impossible_tokens_are_never_drawn():
    logits = torch.full((3, 5), -torch.inf)
    logits[:, 2] = 0.0
    uniform = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    chosen = choose(logits, uniform, Sampling())
    assert chosen.token.tolist() == [2, 2, 2]
    assert chosen.logprob.tolist() == [0, 0, 0]
    assert chosen.entropy.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "bad", [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_k": -1}]
)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(UsageError):
        Sampling(**bad)


def test_processors_shape_what_is_drawn_and_see_which_row_is_which():
    seen = []

    class OnlyOdd:
        name = "only odd"

        def __call__(self, so_far, logits):
            seen.append((so_far.tokens.shape, so_far.start, so_far.problem.tolist(), so_far.draw.tolist()))
            mask = torch.zeros_like(logits)
            mask[:, ::2] = -torch.inf
            return logits + mask

    who = policy("tiny", processors=[OnlyOdd()])
    drawn = who.draw(small_models.problems((4, 6)), range(3, 5), Streams(0), LIMITS)
    assert (drawn.tokens % 2 == 1).all()
    assert seen[0] == ((4, 6), 6, [0, 0, 1, 1], [3, 4, 3, 4])
    assert seen[2][0] == (4, 8)
    plain = who.score(drawn)
    assert (drawn.logprobs >= plain.logprobs - 1e-5).all()
    assert drawn.logprobs.mean() > plain.logprobs.mean()
    assert np.allclose(drawn.entropies, plain.entropies, atol=2e-5)  # entropies are the model's own


def test_processors_of_transformers_fit():
    from transformers import NoRepeatNGramLogitsProcessor

    class NoRepeat:
        name = "no repeated token"

        def __call__(self, so_far, logits):
            return NoRepeatNGramLogitsProcessor(1)(so_far.tokens, logits.clone())

    drawn = policy("llama", processors=[NoRepeat()]).draw(
        small_models.problems((4, 4)), range(3), Streams(0), LIMITS
    )
    for row in range(len(drawn)):
        prompt = drawn.prompts.row(drawn.problem[row])
        assert len(set(drawn.row(row))) == len(drawn.row(row))
        assert not set(drawn.row(row)) & set(prompt)


@pytest.mark.parametrize("name", ["tiny", "without_cache"])
def test_broken_weights_are_named(name):
    who = policy(name)
    with torch.no_grad():
        who.model.get_output_embeddings().weight[3] = torch.nan
    with pytest.raises(NumericsError, match="not numbers"):
        who.draw(small_models.problems((4,)), range(2), Streams(0), LIMITS)


def test_choices_are_recorded_where_they_belong():
    record = sampler._Record(3, 4, torch.device("cpu"))
    for step in range(2):
        record.add(Choice(torch.tensor([5, 6, 7]) + 10 * step, torch.zeros(3), torch.zeros(3)))
    record.flush(torch.arange(3))
    record.add(Choice(torch.tensor([27]), torch.ones(1), torch.ones(1)))
    record.flush(torch.tensor([2]))
    drawn = record.cut(np.array([2, 2, 3]), [15], np.full(3, 5))
    assert drawn.tokens[2, :3].tolist() == [7, 17, 27]
    assert drawn.lengths.tolist() == [2, 2, 3]
    assert drawn.ended.tolist() == [True, False, False]
