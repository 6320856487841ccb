"""The world's tokenizer: the vocabulary's ids, both ways, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from keyturn.policies.world_tokenizer import world_tokenizer
from keyturn.problems.world import vocabulary

TOKENIZER = world_tokenizer()


def test_ids_are_those_of_the_vocabulary():
    assert TOKENIZER.get_vocab() == vocabulary.ID
    assert len(TOKENIZER) == len(vocabulary.WORDS) == 128
    special = (TOKENIZER.pad_token_id, TOKENIZER.bos_token_id, TOKENIZER.eos_token_id, TOKENIZER.unk_token_id)
    assert special == (vocabulary.PAD, vocabulary.BOS, vocabulary.EOS, vocabulary.UNK)
    assert sum(word in TOKENIZER.get_vocab() for word in vocabulary.CONTROLS) == 16


@given(st.lists(st.integers(0, len(vocabulary.WORDS) - 1), max_size=60))
def test_ids_to_text_and_back_is_the_identity(ids):
    text = TOKENIZER.decode(ids)
    assert text == vocabulary.decode(ids)
    assert TOKENIZER(text)["input_ids"] == ids == vocabulary.encode(text)


@given(st.lists(st.integers(0, len(vocabulary.WORDS) - 1), max_size=60))
def test_special_words_are_left_out_when_asked(ids):
    skipped = TOKENIZER.decode(ids, skip_special_tokens=True)
    assert skipped == vocabulary.decode(ids, skip_special=True)


@pytest.mark.parametrize("text", ["EOSX", "xEOS", "_EOS_", "eos", "\u202exEOS", "a\x00b", "", " \n\t"])
def test_letters_around_a_special_word_make_it_an_unknown_one(text):
    ids = TOKENIZER(text)["input_ids"]
    assert vocabulary.EOS not in ids
    assert set(ids) <= {vocabulary.UNK}


def test_saved_and_loaded_is_the_same(tmp_path):
    TOKENIZER.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == TOKENIZER.get_vocab()
    for text in ("BOS CH f 3 ASK ; EOS", "xEOS EOS", " PAD  UNK what "):
        assert loaded(text)["input_ids"] == TOKENIZER(text)["input_ids"]
    assert loaded.special_tokens_map == TOKENIZER.special_tokens_map
    assert loaded.padding_side == "left"
