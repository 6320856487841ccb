"""`keyturn.audit` of models and policies in memory: what their folders give; what objects cannot be asked."""

import copy
import json

import pandas
import pytest
from told_models import KNOWS, bigram, half, on_disk, problem_file, tokenizer

import keyturn
from keyturn.core.errors import UsageError
from keyturn.policies.connect import ServerOptions
from keyturn.policies.local import LocalPolicy, Sampling

SIZE = {"k": 8, "n_base": 32, "max_new_tokens": 8}


@pytest.fixture(scope="module")
def pairs():
    """Base and tuned as models in memory, with their tokenizers."""
    return (bigram(half(0.2)), tokenizer()), (bigram(half(0.9)), tokenizer())


def asked(tmp_path):
    return [json.loads(line) for line in problem_file(tmp_path).read_text().splitlines()]


def numbers(found, *apart):
    return {
        json.dumps(one.to_json(), sort_keys=True)
        for one in found.measurements
        if not one.name.startswith(apart or ("update_",))
    }


@pytest.mark.slow
def test_models_in_memory_give_what_their_folders_give(tmp_path, pairs):
    folders = on_disk(tmp_path / "base", half(0.2)), on_disk(tmp_path / "tuned", half(0.9))
    by_name = keyturn.audit(*folders, problem_file(tmp_path), device="cpu", **SIZE)
    assert by_name.verdict.problems == 12
    in_memory = keyturn.audit(*pairs, pandas.DataFrame(asked(tmp_path)), **SIZE)
    assert numbers(in_memory) == numbers(by_name)
    assert any(one.name.startswith("update_") for one in by_name.measurements)
    assert "update_geometry" in in_memory.left_out, "weights are read from folders"
    assert in_memory.base == "LlamaForCausalLM in memory"
    assert by_name.settings["base"]["prompt"] == in_memory.settings["base"]["prompt"]

    policies = keyturn.load(folders[0]), keyturn.load(folders[1])
    assert numbers(keyturn.audit(*policies, asked(tmp_path), **SIZE)) == numbers(by_name)
    assert policies[0].chat, "its tokenizer has a template"


@pytest.mark.slow
def test_an_audit_with_a_run_directory_goes_on_from_it(tmp_path, pairs):
    first = keyturn.audit(*pairs, asked(tmp_path), out=tmp_path / "run", **SIZE)
    stages = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.parquet")}
    again = keyturn.audit(*pairs, asked(tmp_path), out=tmp_path / "run", **SIZE)
    assert stages
    assert stages == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.parquet")}
    assert numbers(first) == numbers(again)


@pytest.mark.slow
def test_the_models_are_left_as_they_were(tmp_path, pairs):
    base, tuned = pairs
    base[0].train()
    before = copy.deepcopy(base[0].state_dict())
    keyturn.audit(base, tuned, asked(tmp_path), **SIZE)
    assert base[0].training
    assert all((before[name] == tensor).all() for name, tensor in base[0].state_dict().items())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda b, t, p: keyturn.audit(b[0], t, p),
            r"base is a model without its tokenizer \(fix: base=\(model",
        ),
        (lambda b, t, p: keyturn.audit(b, t), "LlamaForCausalLM in memory was not made in a controlled world"),
        (lambda b, t, p: keyturn.audit(b, b, p), "one model in memory"),
        (lambda b, t, p: keyturn.audit(b, (b[0], t[1]), p), "one model in memory"),
        (lambda b, t, p: keyturn.audit(LocalPolicy(*b), LocalPolicy(*b), p), "one model in memory"),
        (lambda b, t, p: keyturn.audit(b, t, p, device="cpu"), "device would do nothing: no model is loaded"),
        (lambda b, t, p: keyturn.audit(LocalPolicy(*b), t, p, temperature=0.5), "a policy is asked as it is"),
        (
            lambda b, t, p: keyturn.audit(b, t, p, server=ServerOptions(retries=2)),
            "neither policy is behind a server",
        ),
        (lambda b, t, p: keyturn.audit(b, None, p), "an audit of a base that is trained here"),
        (lambda b, t, p: keyturn.audit(b, t, p, grader="nope"), "unknown grader 'nope'"),
    ],
)
def test_what_objects_cannot_be_asked_is_refused_before_anything_is_drawn(tmp_path, pairs, call, said):
    with pytest.raises(UsageError, match=said):
        call(*pairs, asked(tmp_path))


@pytest.mark.slow
def test_one_model_decoded_in_two_ways_is_a_pair(tmp_path):
    base = LocalPolicy(bigram(KNOWS), tokenizer(), chat=True)
    warm = base.having(sampling=Sampling(temperature=0.7))
    found = keyturn.audit(base, warm, asked(tmp_path), **SIZE)
    assert found.settings["tuned"]["temperature"] == "0.7"
