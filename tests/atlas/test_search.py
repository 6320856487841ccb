"""Search finds a right note as often as its page says; ranks are fused; related notes are the nearest."""

import importlib.util
import json
import pathlib

import numpy as np
import pytest

from keyturn.atlas.collection import load_atlas
from keyturn.atlas.search import NEAR, Index, note_index, question_index
from keyturn.core.errors import InputError
from keyturn.roles.encoders import mean_pooled_encoder

REPOSITORY = pathlib.Path(__file__).parents[2]
RESULTS = REPOSITORY / "docs" / "results"


def benchmark():
    path = REPOSITORY / "benchmarks" / "atlas_search.py"
    spec = importlib.util.spec_from_file_location("atlas_search", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def atlas():
    return load_atlas()


def test_the_committed_table_is_what_search_does_now(atlas):
    found = benchmark()
    state = json.loads((RESULTS / "atlas_search.json").read_text())
    assert (RESULTS / "atlas_search.md").read_text() == found.page(state)
    now = found.measure("")["rows"]
    for name, row in now.items():
        assert state["rows"][name] == pytest.approx(row), "the notes moved: python benchmarks/atlas_search.py"
    chance = now[found.CHANCE]
    default = now["characters 3 to 5 (the default)"]
    assert all(default[label] > 2 * chance[label] for label in chance)


def test_every_question_finds_itself(atlas):
    index = question_index(atlas)
    for one in list(atlas.questions.values())[::17]:
        best = index.search(one.question)[0]
        assert best.id == one.id
        assert best.cosine > NEAR


def test_what_shares_nothing_is_not_found(atlas):
    assert question_index(atlas).search("жжж") == ()
    assert note_index(atlas).search("") == ()
    assert Index({}).search("anything") == ()
    assert Index({}).related() == {}


TEXTS = {"cat": "a cat sat", "dog": "a dog ran", "feline": "whiskers and purring"}


def meaning(texts):
    """Cats on one axis, dogs on the other."""
    words = ("cat", "feline", "whiskers", "kitten")
    return np.array([[float(any(w in text for w in words)), float("dog" in text), 0.1] for text in texts])


def test_an_encoder_is_fused_by_ranks():
    plain = [hit.id for hit in Index(TEXTS).search("kitten")]
    fused = Index(TEXTS, meaning).search("kitten")
    assert "feline" not in plain
    assert {hit.id for hit in fused[:2]} == {"cat", "feline"}
    # No character is shared, so all have rank 2 there; the encoder has cat and feline at 1.5, the dog at 3.
    scores = {hit.id: hit.score for hit in fused}
    assert scores["cat"] == scores["feline"] == pytest.approx(1 / 62 + 1 / 61.5)
    assert scores["dog"] == pytest.approx(1 / 62 + 1 / 63)


@pytest.mark.slow
def test_an_encoder_of_transformers_is_averaged_over_the_tokens_of_a_text(tmp_path):
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "a", "cat", "dog"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(
        tmp_path
    )
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    model = BertModel(BertConfig(vocab_size=len(words), **sizes)).eval()
    model.save_pretrained(tmp_path)
    encode = mean_pooled_encoder(str(tmp_path), batch=2)
    alone, padded = encode(["a cat"])[0], encode(["a cat", "a cat a dog a"])[0]
    assert alone == pytest.approx(padded, abs=1e-5), "padding is no part of the mean"
    with torch.no_grad():
        states = model(torch.tensor([[words["a"], words["cat"]]])).last_hidden_state
    assert alone == pytest.approx(states[0].mean(0).numpy(), abs=1e-5)
    with pytest.raises(InputError, match="no encoder at"):
        mean_pooled_encoder(str(tmp_path / "nowhere"))


def test_related_notes_are_the_nearest_others(atlas):
    index = note_index(atlas)
    related = index.related()
    assert set(related) == set(atlas.notes)
    for name, hits in related.items():
        assert len(hits) == 8
        assert name not in {hit.id for hit in hits}
        assert [hit.cosine for hit in hits] == sorted((hit.cosine for hit in hits), reverse=True)
    one = index.cosines(index.texts["one-example"])
    assert related["one-example"][0].cosine == pytest.approx(sorted(one)[-2], abs=1e-5)
