"""Mining: planted phrases are found, filters do what they say, files are refused when they are not ours."""

import json

import numpy as np
import pytest

from keyturn.core.errors import InputError, MissingExtraError, UsageError
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.roles.encoders import directions, sentence_encoder
from keyturn.roles.grams import checked, dropped, read_grams, write_grams, written_by_hand
from keyturn.roles.lexicon import lexicon
from keyturn.roles.matching import Finder
from keyturn.roles.strategic_grams import MiningConfig, mine

STREAMS = Streams(3)
MOVES = ("let me double check this", "another way to see it", "hold on a moment please", "what we want here is")
FILLER = [f"{a}{b}" for a in "bdfgkl" for b in ("ax", "ey", "iz", "om", "un")]


def solutions(count=60, seed=0):
    """Texts in which each move stands once or not at all, among words without meaning."""
    rng = np.random.default_rng(seed)

    def noise():
        return " ".join(rng.choice(FILLER, 14))

    texts = []
    for _ in range(count):
        moves = [move for move in MOVES if rng.random() < 0.7]
        texts.append(". ".join([noise(), *(f"{move}. {noise()}" for move in moves)]) + ".")
    return texts


SMALL = MiningConfig(clusters=25)


def test_planted_moves_are_mined_and_words_without_meaning_are_not():
    grams = mine(solutions(), streams=STREAMS, config=SMALL)
    every = mine(solutions(), streams=STREAMS, config=MiningConfig(clusters=25, kept_share=1.0))
    planted = [sum(any(g.text in move for move in MOVES) for g in some.entries) for some in (grams, every)]
    noise = [len(some) - of_them for some, of_them in zip((grams, every), planted, strict=True)]
    # Five words hold six grams of 3 to 5 words. Most candidates mean nothing; few of those stay.
    assert planted == [24, 24]
    assert noise[1] > 100
    assert noise[0] < 0.15 * noise[1]
    assert grams.counts["kept clusters"] == np.ceil(0.2 * grams.counts["clusters"])
    assert grams.counts["kept"] == len(grams)
    assert {gram.role for gram in grams.entries} == {Role.PLAN}


def test_mining_is_the_same_twice_and_another_root_may_differ_only_in_what_is_random():
    first, second = (mine(solutions(), streams=STREAMS, config=SMALL) for _ in range(2))
    assert first == second
    assert first.identity == second.identity
    assert mine(solutions(), streams=Streams(4), config=SMALL).identity != first.identity


def test_a_cluster_counts_solutions_and_the_top_share_is_by_that_count():
    """One dimension a phrase: every gram is its own cluster, so its document frequency decides alone."""
    texts = ["aa bb cc. dd ee ff. gg hh ii", "aa bb cc. dd ee ff", "aa bb cc. gg hh ii", "aa bb cc"]
    config = MiningConfig(shortest=3, longest=3, clusters=99, kept_share=1 / 3)
    grams = mine(texts, streams=STREAMS, encoder=lambda phrases: np.eye(len(phrases)), config=config)
    assert [(g.text, g.documents, g.occurrences) for g in grams.entries] == [("aa bb cc", 4, 4)]
    together = mine(
        texts,
        streams=STREAMS,
        # Two phrases that stand in other solutions are one cluster that stands in three of four.
        encoder=lambda phrases: np.array([[1.0, 0] if p[0] == "a" else [0, 1.0] for p in phrases]),
        config=MiningConfig(shortest=3, longest=3, clusters=99, kept_share=1.0),
    )
    assert {g.text: g.kind for g in together.entries} == {
        "aa bb cc": "c0",
        "dd ee ff": "c1",
        "gg hh ii": "c1",
    }


def test_what_is_repeated_within_a_solution_is_left_out():
    texts = [f"pp qq rr. {'x y z. ' * 4}" for _ in range(5)]
    config = MiningConfig(kept_share=1.0)
    assert [g.text for g in mine(texts, streams=STREAMS, config=config).entries] == ["pp qq rr"]
    loose = MiningConfig(kept_share=1.0, max_per_document=4.0)
    assert {g.text for g in mine(texts, streams=STREAMS, config=loose).entries} == {"pp qq rr", "x y z"}


def test_draws_of_one_problem_are_one_document():
    texts = ["number of ways. let me see"] * 5 + ["let me see"] * 2
    problems = ["a"] * 5 + ["b", "c"]
    grams = mine(texts, streams=STREAMS, problems=problems, config=MiningConfig(kept_share=1.0))
    assert [(g.text, g.documents) for g in grams.entries] == [("let me see", 3)]
    apart = mine(texts, streams=STREAMS, config=MiningConfig(kept_share=1.0))
    assert {g.text for g in apart.entries} == {"number of ways", "let me see"}


def test_grams_do_not_cross_clauses_or_hold_digits_unless_asked():
    texts = ["one two three. four five 6 seven eight nine"] * 3
    config = MiningConfig(kept_share=1.0, longest=3)
    assert {g.text for g in mine(texts, streams=STREAMS, config=config).entries} == {
        "one two three",
        "seven eight nine",
    }
    digits = MiningConfig(kept_share=1.0, longest=3, digits=True)
    assert "five 6 seven" in {g.text for g in mine(texts, streams=STREAMS, config=digits).entries}


def test_dropping_thirty_percent_leaves_most_of_what_is_found():
    """The paper's robustness check, on what grams are for: the share of words inside them."""
    texts = solutions()
    grams = mine(texts, streams=STREAMS, config=SMALL)
    fewer = dropped(grams, 0.3, np.random.default_rng(0))
    assert len(fewer) == len(grams) - round(0.3 * len(grams))
    assert set(fewer.entries) < set(grams.entries)
    assert fewer.identity != grams.identity

    def covered(some):
        finder = Finder(some)
        return sum(hit.end - hit.start for text in texts for hit in finder.hits(text))

    # Nested grams stand in for each other: what is lost is far less than what was dropped.
    assert 0.8 * covered(grams) < covered(fewer) <= covered(grams)
    with pytest.raises(UsageError):
        dropped(grams, 1.0, np.random.default_rng(0))


def test_nothing_to_mine_says_which_filter_took_it():
    with pytest.raises(InputError, match="no successful completion"):
        mine([], streams=STREAMS)
    with pytest.raises(InputError, match="no gram is left of 0"):
        mine(["", "a b"], streams=STREAMS)
    with pytest.raises(InputError, match="0 occur in 2"):
        mine(["a b c", "d e f"], streams=STREAMS)
    with pytest.raises(InputError, match=r"1 occur in 2.* 0 of those are rare enough"):
        mine(["a b c. a b c. a b c"] * 2, streams=STREAMS)


@pytest.mark.parametrize(
    "settings",
    [
        {"shortest": 0},
        {"shortest": 6},
        {"longest": 13},
        {"kept_share": 0.0},
        {"clusters": 0},
        {"max_grams": 0},
    ],
)
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(UsageError):
        MiningConfig(**settings)


@pytest.mark.parametrize("made", [np.zeros((3, 2, 2)), np.zeros((2, 2)), np.full((3, 2), np.nan)])
def test_an_encoder_that_gives_no_vectors_is_refused(made):
    with pytest.raises(InputError, match="one finite vector per phrase"):
        directions(lambda phrases: made, ["a", "b", "c"])


def test_a_sentence_encoder_names_the_package_that_is_missing():
    try:
        import sentence_transformers  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(MissingExtraError, match="sentence_transformers"):
            sentence_encoder("any")
    else:
        pytest.skip("sentence-transformers is installed here")


def test_what_was_written_is_read(tmp_path):
    for grams in (lexicon(), mine(solutions(20), streams=STREAMS, config=SMALL)):
        path = tmp_path / f"{grams.identity}.json"
        write_grams(path, grams)
        assert read_grams(path) == grams
        document = json.loads(path.read_text())
        assert document["schema"] == 1
        assert document["identity"] == grams.identity


def broken(change):
    document = {"identity": "", **written_by_hand(["let me see", "wait"]).document(), "schema": 1}
    change(document)
    return json.dumps(document).encode()


BAD = {
    "empty": b"",
    "not JSON": b"{",
    "not UTF-8": b'{"kind": "\xff"}',
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "another kind": broken(lambda d: d.update(kind="lexicon")),
    "no schema": broken(lambda d: d.pop("schema")),
    "newer": broken(lambda d: d.update(schema=99)),
    "no grams": broken(lambda d: d.pop("grams")),
    "grams no list": broken(lambda d: d.update(grams={"a": 1})),
    "unknown role": broken(lambda d: d["grams"].__setitem__(0, ["wait", "boss", "", 0, 0])),
    "short row": broken(lambda d: d["grams"].__setitem__(0, ["wait"])),
    "no count": broken(lambda d: d["grams"].__setitem__(0, ["wait", "plan", "", -1, True])),
    "twice": broken(lambda d: d["grams"].append(d["grams"][0])),
    "never fires": broken(lambda d: d["grams"].append(["Wait.", "plan", "", 0, 0])),
    "too long": broken(lambda d: d["grams"].append([" ".join("a" * 13), "plan", "", 0, 0])),
    "words": broken(lambda d: d.update(words=["letters"])),
    "settings": broken(lambda d: d.update(settings=3)),
    "counts": broken(lambda d: d.update(counts={"a": "b"})),
    "edited": broken(lambda d: d.update(source="mine")),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_not_as_it_was_frozen_is_refused_with_a_fix(tmp_path, name):
    path = tmp_path / "grams.json"
    path.write_bytes(BAD[name])
    with pytest.raises(InputError) as caught:
        read_grams(path)
    assert caught.value.fix
    assert str(path) in caught.value.what


def test_a_missing_file_is_the_callers_mistake(tmp_path):
    with pytest.raises(UsageError):
        read_grams(tmp_path / "none.json")


def test_a_phrase_that_can_never_fire_is_refused():
    with pytest.raises(InputError, match="can never match"):
        written_by_hand(["let me. see"])
    assert [g.text for g in written_by_hand(["Let me", "let  ME"]).entries] == ["let me"]
    with pytest.raises(InputError, match="occurs twice"):
        checked(type(lexicon())(entries=lexicon().entries[:1] * 2))
