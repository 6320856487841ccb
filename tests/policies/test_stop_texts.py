"""Stop texts end an answer in every policy, and an answer that they end is not cut."""

import numpy as np
import pytest
import small_models
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.policies.by_name import Loading, with_template
from keyturn.policies.describe import stop_tokens
from keyturn.policies.local import LocalPolicy
from keyturn.policies.native import build
from keyturn.policies.protocol import Limits
from keyturn.policies.stop_texts import StopTexts, before_any, cut_at
from keyturn.rollouts.completions import Stop
from keyturn.training.loop import duplicate

LIMITS = Limits(max_new_tokens=20, batch_rows=256)
STOPS = ("w7 w9", "w12", "w3")


def byte_tokenizer():
    """Bytes and a few longer pieces, as the tokenizers of real models have them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {piece: i for i, piece in enumerate([*alphabet, "ab", "Ċ" * 2, "Ġa"])}
    merges = [("a", "b"), ("Ċ", "Ċ"), ("Ġ", "a")]
    made = Tokenizer(models.BPE(vocab=words, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made)


@pytest.mark.parametrize("native", [False, True], ids=["torch", "native"])
@pytest.mark.parametrize("name", sorted(small_models.FAMILIES))
def test_a_stop_text_ends_what_would_have_been_drawn_without_it(name, native, monkeypatch):
    if not native:
        monkeypatch.setenv(build.SWITCH, "0")
    asked = small_models.problems((3, 9, 14))
    model, tokenizer = small_models.family(name), small_models.tokenizer()
    without = LocalPolicy(model, tokenizer).draw(asked, range(24), Streams(1), LIMITS)
    drawn = LocalPolicy(model, tokenizer, stops=STOPS).draw(asked, range(24), Streams(1), LIMITS)
    cut = cut_at(without, tokenizer, STOPS)
    assert np.array_equal(drawn.tokens, cut.tokens)
    assert np.array_equal(drawn.offsets, cut.offsets)
    assert np.allclose(drawn.logprobs, cut.logprobs, atol=1e-5)
    assert drawn.texts == cut.texts
    assert np.array_equal(drawn.stop, cut.stop)
    assert 0 < (drawn.lengths < without.lengths).sum() < len(drawn), "some rows are ended by a text, not all"
    ended = drawn.lengths < without.lengths
    assert (drawn.stop[ended] == Stop.EOS).all()
    assert not any(end in text for text in drawn.texts for end in STOPS)


def test_rows_that_a_text_ended_are_not_decoded_to_the_limit(monkeypatch):
    monkeypatch.setenv(build.SWITCH, "0")
    model, tokenizer = small_models.family("llama"), small_models.tokenizer()
    calls = []
    model.register_forward_hook(lambda module, args, out: calls.append(1))
    every = tuple(f"w{i}" for i in range(2, small_models.VOCABULARY))
    who = LocalPolicy(model, tokenizer, stops=every)
    who.draw(small_models.problems((4,)), range(3), Streams(0), LIMITS)
    calls.clear()
    drawn = who.draw(small_models.problems((4,)), range(3), Streams(5), LIMITS)
    assert drawn.lengths.max() <= 2
    assert len(calls) <= 3


def test_a_text_may_begin_and_end_within_tokens():
    tokenizer = byte_tokenizer()
    ids = tokenizer("xabé a\n\n!", add_special_tokens=False)["input_ids"]
    for text in ("xab", "ba", "b", "bé", "é", "é a", "a\n", "\n\n", " a"):
        where = next((n for n in range(1, len(ids) + 1) if text in tokenizer.decode(ids[:n])), None)
        watch = StopTexts(tokenizer, [text])
        found = [n for n in range(1, len(ids) + 1) if watch.completed([0], np.array([ids[:n]]))]
        assert (found[0] if found else None) == where, text


def test_stop_texts_are_part_of_who_answers_and_are_kept():
    model, tokenizer = small_models.family("llama"), small_models.tokenizer()
    plain, stopped = LocalPolicy(model, tokenizer), LocalPolicy(model, tokenizer, stops=["w7", "w7", "w9"])
    assert stopped.stops == ("w7", "w9")
    assert plain.fingerprint != stopped.fingerprint
    assert duplicate(stopped).stops == stopped.having().stops == ("w7", "w9")
    assert with_template(model, tokenizer, Loading(stop=("w7",))).stops == ("w7",)
    assert "the text 'w7', the text 'w9'" in stop_tokens(stopped)
    with pytest.raises(UsageError, match="empty"):
        LocalPolicy(model, tokenizer, stops=[""])
    with pytest.raises(UsageError, match="not a list"):
        LocalPolicy(model, tokenizer, stops="w7")


def test_a_text_is_cut_before_the_first_end():
    assert before_any("one two three", ["three", "two"]) == "one "
    assert before_any("one", ["two"]) == "one"
