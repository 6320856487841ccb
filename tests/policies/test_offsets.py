"""Where tokens stand in their text: against the bytes of byte-level tokens, and three kinds of tokenizers."""

from itertools import pairwise

import numpy as np
import pytest
from hand_made import completions
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from keyturn.core.roles import Role
from keyturn.policies.offsets import GramRoles, Spelling
from keyturn.policies.world_tokenizer import world_tokenizer
from keyturn.roles.grams import written_by_hand
from keyturn.rollouts.completions import Completions

LINES = [
    "Wait, let me check. 2 + 3 = 5, so that's right.",
    "Hold on… the naïve answer was wrong — let's redo it.",
    "Приве́т, как дела? 答えは42です。 👩‍🔬🧪 ok",
] * 4


def trained(model, pre, decoder, trainer):
    inner = Tokenizer(model)
    inner.pre_tokenizer, inner.decoder = pre, decoder
    inner.train_from_iterator(LINES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>")


SPECIAL = ["<eos>", "<pad>", "<unk>"]
BYTES = trained(
    models.BPE(),
    pre_tokenizers.ByteLevel(add_prefix_space=False),
    decoders.ByteLevel(),
    trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    ),
)
PIECES = trained(
    models.Unigram(),
    pre_tokenizers.Metaspace(),
    decoders.Metaspace(),
    trainers.UnigramTrainer(vocab_size=120, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False),
)
WORLD = world_tokenizer()
# GPT-2's table of printable stand-ins for bytes, written down independently of the code under test.
_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
BYTE_OF = {chr(b): b for b in _PRINTABLE} | {chr(256 + i): b for i, b in enumerate(_OTHERS)}
EOS = BYTES.eos_token_id


def by_bytes(ids):
    """Truth for byte-level tokens of valid UTF-8: the characters that hold any of a token's bytes."""
    spelled = [
        b"" if token in BYTES.all_special_ids else bytes(BYTE_OF[c] for c in BYTES.convert_ids_to_tokens(token))
        for token in ids
    ]
    text = b"".join(spelled).decode()
    owner = [index for index, letter in enumerate(text) for _ in letter.encode()]
    owner.append(len(text))
    places, done = [], 0
    for piece in spelled:
        start = owner[done]
        done += len(piece)
        places.append((start, owner[done - 1] + 1 if piece else start))
    return text, np.array(places, dtype=np.int32).reshape(-1, 2)


def alone(tokenizer, ids):
    """The twin: every token decoded by itself, lengths added up."""
    ends = np.cumsum([len(tokenizer.decode([i], skip_special_tokens=True)) for i in ids])
    return np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1)


def valid_bytes(ids):
    try:
        by_bytes(ids)
    except UnicodeDecodeError:
        return False
    return True


@given(st.text(st.sampled_from("ab so\n…é答👩‍🔬\u0301\ufffdД"), max_size=12), st.integers(0, 12))
def test_byte_level_tokens_get_every_character_that_they_hold_a_byte_of(text, place):
    ids = BYTES(text)["input_ids"]
    ids = [*ids[:place], EOS, *ids[place:], EOS]
    if not valid_bytes(ids):
        return
    spelled, where = Spelling(BYTES).row(ids)
    truth, expected = by_bytes(ids)
    assert spelled == truth
    full = where[:, 0] < where[:, 1]
    np.testing.assert_array_equal(where[full], expected[full])
    # Where a special token stands inside a character nothing tells on which side it is.
    assert all(ids[i] == EOS for i in np.flatnonzero(~full))


def test_adding_up_tokens_decoded_alone_fails_where_characters_are_split():
    ids = BYTES("👩‍🔬 wait")["input_ids"]
    assert not np.array_equal(alone(BYTES, ids), by_bytes(ids)[1])
    np.testing.assert_array_equal(Spelling(BYTES).row(ids)[1], by_bytes(ids)[1])
    ids = PIECES("Wait, let me check.")["input_ids"]
    assert alone(PIECES, ids)[-1, 1] != len(PIECES.decode(ids))


@given(st.sampled_from([BYTES, PIECES, WORLD]), st.lists(st.integers(0, 119), max_size=25))
def test_any_ids_of_any_tokenizer_cover_the_text_from_left_to_right(tokenizer, ids):
    text, where = Spelling(tokenizer).row(ids)
    assert text == tokenizer.decode(ids, skip_special_tokens=True)
    assert where.shape == (len(ids), 2)
    assert (where[:, 0] <= where[:, 1]).all()
    reached = 0
    for start, end in where.tolist():
        assert start <= reached, "a gap that no token covers"
        reached = max(reached, end)
    assert reached == len(text)
    assert all(a[0] <= b[0] for a, b in pairwise(where.tolist()))
    special = np.isin(ids, tokenizer.all_special_ids)
    assert (where[special, 0] == where[special, 1]).all()


def test_words_of_the_world_stand_where_they_are_written():
    text = "FWD F1 DO peach = 3 ; EX peach 3 ; ANS 3"
    ids = [*WORLD(text)["input_ids"], WORLD.eos_token_id]
    _, where = Spelling(WORLD).row(ids)
    words = [text[a:b].strip() for a, b in where[:-1].tolist()]
    assert words == text.split()
    assert where[-1].tolist() == [len(text), len(text)]


def test_pieces_with_word_marks_stand_where_they_are_written():
    text = "Wait, let me check"
    ids = PIECES(text)["input_ids"]
    _, where = Spelling(PIECES).row(ids)
    written = [piece.replace("▁", " ") for piece in PIECES.convert_ids_to_tokens(ids)]
    # The blank before the first word is not decoded.
    written[0] = written[0].removeprefix(" ")
    assert [text[a:b] for a, b in where.tolist()] == written


class Tidy:
    """A decoder that looks at neighbours: it removes the blank before a comma once the comma is there."""

    words = ("wait", ",", "so", "<s>")

    def decode(self, token_ids, *, skip_special_tokens=True):
        return " ".join(self.words[i] for i in token_ids if i != 3).replace(" ,", ",")


class Backwards:
    """A decoder that no prefix foretells: it shouts when the last word is there."""

    def decode(self, token_ids, *, skip_special_tokens=True):
        text = "".join("ab!"[i] for i in token_ids)
        return text.upper() if text.endswith("!") else text


def test_decoders_that_look_at_neighbours_are_followed_as_far_as_their_text_goes():
    text, where = Spelling(Tidy()).row([0, 1, 2, 3])
    assert [text[a:b] for a, b in where.tolist()] == ["wait", ",", " so", ""]
    text, where = Spelling(Backwards()).row([0, 1, 2])
    assert text == "AB!"
    assert where[-1, 1] == 3


@pytest.mark.parametrize("tokenizer", [BYTES, PIECES])
def test_a_source_of_roles_marks_the_tokens_of_a_phrase_and_no_others(tokenizer):
    text = "Wait, let me check. so that's awaiting"
    ids = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    said = tokenizer.decode(ids, skip_special_tokens=True)
    rows = completions([ids, [], ids], texts=[said, "", said])
    grams = written_by_hand(["let me check", "wait"], role=Role.STRATEGY)
    roles = GramRoles(grams, tokenizer, rest=Role.SYNTAX)(rows)
    assert roles.dtype == np.uint8
    (_, where), half = Spelling(tokenizer).row(ids), len(ids)
    marked = {i for a, b in where[roles[:half] == Role.STRATEGY].tolist() for i in range(a, b)}
    inside = set(range(0, 4)) | set(range(6, 18))
    assert inside <= marked
    assert all(text[i] in " .,\n" or i in inside for i in marked)
    assert roles[half - 1] == Role.UNKNOWN, "the end of the sequence is neither plan nor execution"
    np.testing.assert_array_equal(roles[:half], roles[half:])
    blank = Completions(**{**rows.__dict__, "texts": ("",) * 3})
    np.testing.assert_array_equal(GramRoles(grams, tokenizer, rest=Role.SYNTAX)(blank), roles)


def test_a_source_of_roles_is_named_by_its_grams():
    first, same, other = (written_by_hand([text], role=Role.PLAN) for text in ("let me", "let me", "wait"))
    names = [GramRoles(grams, BYTES).fingerprint for grams in (first, same, other)]
    assert names[0] == names[1] != names[2], "a run's identity tells sources apart by this"
    assert GramRoles(first, BYTES, rest=Role.SYNTAX).fingerprint != names[0]
