"""The words of the world: ids that shipped models depend on."""

import hashlib

from keyturn.problems.world import vocabulary as v


def test_there_are_128_different_words_and_none_holds_a_space():
    assert len(v.WORDS) == len(set(v.WORDS)) == 128
    assert all(word == "".join(word.split()) for word in v.WORDS)


def test_ids_never_change():
    # A shipped model's embedding is indexed by them: this hash may only change with new shipped models.
    assert hashlib.sha256(" ".join(v.WORDS).encode()).hexdigest()[:16] == "e83546da0c455476"


def test_constants_point_at_their_words():
    assert [v.WORDS[i] for i in (v.PAD, v.BOS, v.EOS, v.UNK)] == ["PAD", "BOS", "EOS", "UNK"]
    assert [v.WORDS[v.VALUE + i] for i in range(11)] == [str(i) for i in range(11)]
    assert v.WORDS[v.NOUN : v.NOUN + 48] == sum(v.NOUNS, ())
    assert [v.WORDS[i] for i in (v.DEFINE, v.ARROW, v.FILLER, v.END, v.BACK)] == [":=", "->", "~", ";", "BK"]
    assert len(v.CONTROLS) == 16


def test_unknown_words_and_ids_become_unk():
    assert v.encode("BOS nonsense \x00 EOS") == [v.BOS, v.UNK, v.UNK, v.EOS]
    assert v.decode([v.BOS, 4096, -1]) == "BOS UNK UNK"
    assert v.words_of([v.ANS, 128]) == ("ANS", "UNK")
    assert v.encode("") == []
    assert v.decode([]) == ""
