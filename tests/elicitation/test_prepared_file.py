"""A prepared vector as a file: it does what the fresh one does, in its own model and place alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_asked import made
from safetensors.numpy import save_file

from keyturn.core.errors import InputError, NewerError, UsageError
from keyturn.elicitation import ELICITATIONS
from keyturn.elicitation.prepared_file import read_prepared, write_prepared
from keyturn.elicitation.stage import elicit
from keyturn.lab.lab import Lab

METHOD = ELICITATIONS["steering-mean"]
CONFIG = replace(METHOD.config, contrast="trigger", trigger=" w3 w4", layer=1.0, dose=50.0)


@pytest.fixture(scope="module")
def asked():
    return made()


@pytest.fixture(scope="module")
def written(asked, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vector")
    done = elicit(Lab(folder / "run", asked.streams), METHOD, CONFIG, asked)
    path = folder / "prepared.safetensors"
    write_prepared(path, METHOD, CONFIG, asked, done.prepared, 7)
    return path, done


def test_a_vector_from_a_file_does_what_the_fresh_one_does(asked, written, tmp_path):
    path, fresh = written
    alone = replace(asked, development=None, exemplars=())
    given = read_prepared(path, METHOD, CONFIG, alone)
    done = elicit(Lab(tmp_path, asked.streams), METHOD, CONFIG, alone, given=given)
    assert np.array_equal(done.elicitation.completions.tokens, fresh.elicitation.completions.tokens)
    assert done.examples == 7
    other = replace(CONFIG, dose=0.0)
    plainly = elicit(
        Lab(tmp_path, asked.streams), METHOD, other, alone, given=read_prepared(path, METHOD, other, alone)
    )
    assert not np.array_equal(plainly.elicitation.completions.tokens, done.elicitation.completions.tokens)


def test_a_dose_that_was_searched_for_another_effect_is_refused(asked, written):
    path, _ = written
    with pytest.raises(UsageError, match=r"not searched for 0.5 nats"):
        read_prepared(path, METHOD, replace(CONFIG, kl=0.5), asked)


def test_words_survive(asked, tmp_path):
    opener = ELICITATIONS["forced-opener"]
    prepared = {"openers": np.array([" w3", " w4"]), "success": np.array([0.25, np.nan])}
    write_prepared(tmp_path / "o.safetensors", opener, opener.config, asked, prepared, 2)
    found = read_prepared(tmp_path / "o.safetensors", opener, opener.config, asked)
    assert found.prepared["openers"].tolist() == [" w3", " w4"]
    assert np.array_equal(found.prepared["success"], prepared["success"], equal_nan=True)


def test_another_model_is_refused_by_its_weights(written):
    path, _ = written
    other = made()
    with torch.no_grad():
        next(iter(other.model.model.parameters())).add_(0.5)
    with pytest.raises(UsageError, match="another model"):
        read_prepared(path, METHOD, CONFIG, other)


@pytest.mark.parametrize(("change", "fix"), [({"layer": 0.0}, "--layer 1"), ({"side": "in"}, "--side out")])
def test_another_place_is_refused_and_the_fix_works(asked, written, change, fix):
    path, _ = written
    with pytest.raises(UsageError, match="was made for layer 1 side out") as refused:
        read_prepared(path, METHOD, replace(CONFIG, **change), asked)
    assert fix in refused.value.fix
    words = refused.value.fix.replace("--", "").split()
    named = dict(zip(words[::2], words[1::2], strict=True))
    assert read_prepared(path, METHOD, replace(CONFIG, layer=float(named["layer"]), side=named["side"]), asked)


def test_another_width_is_named(asked, written, tmp_path):
    from safetensors import safe_open

    path, _ = written
    with safe_open(path, framework="np") as stored:
        header = stored.metadata()
    save_file({"vector": np.ones(5), "norm": np.ones(1)}, tmp_path / "w.safetensors", metadata=header)
    with pytest.raises(UsageError, match="a vector of width 5"):
        read_prepared(tmp_path / "w.safetensors", METHOD, CONFIG, asked)


def test_another_method_or_one_that_prepares_nothing_is_refused(asked, written):
    path, _ = written
    with pytest.raises(UsageError, match="made by steering-mean, not by steering-pca"):
        read_prepared(path, ELICITATIONS["steering-pca"], CONFIG, asked)
    with pytest.raises(UsageError, match="prepares nothing"):
        read_prepared(path, ELICITATIONS["self-consistency"], None, asked)


def test_what_is_no_such_file_is_one_line_with_a_fix(asked, tmp_path):
    path = tmp_path / "v.safetensors"
    with pytest.raises(UsageError, match="no file"):
        read_prepared(path, METHOD, CONFIG, asked)
    path.write_bytes(b"\x00" * 40)
    with pytest.raises(InputError, match="no safetensors file, or damaged"):
        read_prepared(path, METHOD, CONFIG, asked)
    save_file({"vector": np.ones(4)}, path)
    with pytest.raises(InputError, match="not written by keyturn elicit"):
        read_prepared(path, METHOD, CONFIG, asked)
    header = {"keyturn": "9", "method": METHOD.name, "made_with": "", "examples": "0", "words": "{}"}
    save_file({"vector": np.ones(4)}, path, metadata=header)
    with pytest.raises(NewerError, match="newer keyturn"):
        read_prepared(path, METHOD, CONFIG, asked)
    save_file({"vector": np.ones(4)}, path, metadata={**header, "keyturn": "1", "words": "[1"})
    with pytest.raises(InputError, match=r"header of .* is damaged"):
        read_prepared(path, METHOD, CONFIG, asked)
