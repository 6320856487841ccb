"""Which weights a folder means: loading and comparing answer alike, or both refuse."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import family, tokenizer

from keyturn.core.errors import InputError
from keyturn.core.weight_files import find_weights
from keyturn.measures.weights import weight_pairs
from keyturn.policies.loading import load_policy


def saved(folder, seed=0, **how):
    model = family("llama")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(seed)
    model.save_pretrained(folder, **how)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path):
    return saved(tmp_path / "model")


def adapter_beside(folder):
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": "x"})
    )
    save_file({"lora_A.weight": torch.zeros(2, 2)}, folder / "adapter_model.safetensors")


def index_beside(folder):
    """The shards and the index of an older save stay where the new one wrote a single file."""
    older = saved(folder.parent / "older", seed=1, max_shard_size="8KB")
    assert len(list(older.glob("model-*.safetensors"))) > 1
    for path in older.glob("model*.safetensors*"):
        shutil.copy(path, folder)


def index_alone_beside(folder):
    index_beside(folder)
    for path in folder.glob("model-*.safetensors"):
        path.unlink()


def tensor_twice(folder):
    """Two shards hold one tensor, with different values."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    name = "model.norm.weight"
    save_file(tensors, folder / "a.safetensors", metadata={"format": "pt"})
    save_file({name: tensors[name] + 1}, folder / "b.safetensors", metadata={"format": "pt"})
    where = dict.fromkeys(tensors, "a.safetensors") | {name: "b.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))


@pytest.mark.parametrize(
    ("spoil", "says", "fix"),
    [
        (adapter_beside, "a whole model and an adapter", r"move adapter_config\.json"),
        (index_beside, "two sets of weights", "delete the older"),
        (index_alone_beside, "two sets of weights", "delete the older"),
        (tensor_twice, r"model\.norm\.weight is in b\.safetensors and in a\.safetensors", "delete the older"),
    ],
)
def test_two_answers_are_refused_by_every_reader(folder, tmp_path, spoil, says, fix):
    spoil(folder)
    with pytest.raises(InputError, match=says) as loading:
        load_policy(folder)
    assert loading.value.fix
    assert re.search(fix, loading.value.fix)
    with pytest.raises(InputError, match=says):
        list(weight_pairs(folder, saved(tmp_path / "other")))


def test_the_fix_works_when_followed(folder):
    adapter_beside(folder)
    index_beside(folder)
    for name in ("adapter_config.json", "adapter_model.safetensors", "model.safetensors.index.json"):
        (folder / name).unlink()
    assert load_policy(folder).fingerprint


def test_an_index_that_names_the_one_file_is_no_second_answer(folder):
    tensors = load_file(folder / "model.safetensors")
    where = dict.fromkeys(tensors, "model.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    assert find_weights(folder).files == (folder / "model.safetensors",)
    load_policy(folder)


def test_what_is_compared_is_what_is_loaded(folder, tmp_path):
    """Shards beside a pickle of other weights: the safetensors count, for both."""
    sharded = saved(tmp_path / "sharded", max_shard_size="8KB")
    torch.save({"model.norm.weight": torch.zeros(32)}, sharded / "pytorch_model.bin")
    loaded = load_policy(sharded).model.state_dict()
    for pair in weight_pairs(folder, sharded):
        assert np.array_equal(pair.tuned, loaded[pair.name].numpy()), pair.name
        assert np.array_equal(pair.base, pair.tuned)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("model-00001-of-00002.safetensors",), r"1 shards and no model\.safetensors\.index\.json"),
        (("weights-q4.gguf",), "GGUF weights only"),
        (("optimizer.pt", "training_args.bin", "rng_state.pth"), "has no weights"),
        (("pytorch_model-00001-of-00002.bin", "optimizer.pt"), "pickled weights only"),
    ],
)
def test_folders_without_weights_say_what_they_hold(folder, names, says):
    (folder / "model.safetensors").unlink()
    for name in names:
        (folder / name).write_bytes(b"x")
    with pytest.raises(InputError, match=says):
        load_policy(folder)


def test_an_adapter_with_a_config_is_still_no_model(folder):
    adapter_beside(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="holds an adapter, not a model"):
        load_policy(folder)


@pytest.mark.parametrize("text", ["[]", "{", ""])
def test_an_index_that_is_none_says_what_to_do_with_it(folder, text):
    index = folder / "model.safetensors.index.json"
    index.write_text(text)
    with pytest.raises(InputError, match="not an index of shards") as refused:
        load_policy(folder)
    assert "delete it" in refused.value.fix
    index.unlink()
    load_policy(folder)
    index.write_text(text)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    with pytest.raises(InputError, match="not an index of shards") as refused:
        load_policy(folder)
    assert "copy the file again" in refused.value.fix
