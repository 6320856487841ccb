"""Model folders: what is refused, and that nothing in them runs."""

import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from keyturn.core.errors import InputError, StorageError, UsageError
from keyturn.core.streams import Streams
from keyturn.policies import model_folder
from keyturn.policies.loading import find_device, find_folder, load_policy, save_policy, world_of

WORDS = ["<pad>", "<eos>", "<unk>", *"abcdefgh"]


def word_tokenizer(words=WORDS):
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def filled(model, seed=3):
    rng = Streams(seed).generator("init")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(0, 0.2, tuple(parameter.shape)).astype(np.float32)))
    return model.eval()


def gpt2():
    return filled(
        GPT2LMHeadModel(GPT2Config(vocab_size=len(WORDS), n_positions=32, n_embd=16, n_layer=1, n_head=2))
    )


def qwen():
    config = Qwen2Config(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
    )
    return filled(Qwen2ForCausalLM(config))


@pytest.fixture
def folder(tmp_path) -> Path:
    save_policy(tmp_path / "model", gpt2(), word_tokenizer())
    return tmp_path / "model"


def edited(folder: Path, name: str, **fields) -> None:
    """Change fields of a JSON file; the manifest goes, since this is no damage but another folder."""
    document = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**document, **fields}))
    (folder / model_folder.MANIFEST).unlink(missing_ok=True)


@pytest.mark.parametrize("make", [gpt2, qwen])
def test_saved_and_loaded_is_the_same_policy(tmp_path, make):
    model = make()
    hashes = save_policy(tmp_path / "model", model, word_tokenizer(), card={"recipe": "by hand"})
    loaded = load_policy(tmp_path / "model")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.model.state_dict()[name]), name
    assert loaded.tokenizer.get_vocab() == word_tokenizer().get_vocab()
    assert "model.safetensors" in hashes
    assert not list((tmp_path / "model").glob("*.bin"))
    assert world_of(tmp_path / "model") is None
    assert load_policy(tmp_path / "model").fingerprint == loaded.fingerprint


def test_dtype_and_device(folder):
    assert load_policy(folder, dtype="bfloat16").model.dtype == torch.bfloat16
    with pytest.raises(UsageError, match="unknown dtype"):
        load_policy(folder, dtype="float31")
    with pytest.raises(UsageError, match="unknown device"):
        find_device("abacus")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="no CUDA"):
            find_device("cuda")
        assert find_device("auto").type == "cpu"


class Payload:
    """Unpickling this creates a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return (exec, (f"open({str(self.canary)!r}, 'w').close()",))


def test_pickled_weights_are_refused_and_never_run(folder, tmp_path):
    canary = tmp_path / "canary"
    (folder / "model.safetensors").unlink()
    (folder / model_folder.MANIFEST).unlink()
    with (folder / "pytorch_model.bin").open("wb") as stream:
        pickle.dump({"transformer.wte.weight": Payload(canary)}, stream, protocol=2)
    with pytest.raises(InputError, match="pickled weights only") as refused:
        load_policy(folder)
    assert "--allow-pickle" in refused.value.fix
    assert not canary.exists()
    # Asked for by name, torch still reads tensors only.
    with pytest.raises(InputError, match="holds more than tensors"):
        load_policy(folder, allow_pickle=True)
    assert not canary.exists()
    pickle.loads((folder / "pytorch_model.bin").read_bytes())
    assert canary.exists(), "the payload itself works, so the test can fail"


def test_pickled_weights_load_when_asked_for_by_name(folder):
    tensors = load_file(folder / "model.safetensors")
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    (folder / model_folder.MANIFEST).unlink()
    with pytest.raises(InputError, match="pickled"):
        load_policy(folder)
    loaded = load_policy(folder, allow_pickle=True)
    assert torch.equal(loaded.model.state_dict()["transformer.wte.weight"], tensors["transformer.wte.weight"])


def test_a_pickle_beside_safetensors_is_not_read(folder, tmp_path):
    with (folder / "pytorch_model.bin").open("wb") as stream:
        pickle.dump({"x": Payload(tmp_path / "canary")}, stream)
    load_policy(folder)
    assert not (tmp_path / "canary").exists()


REMOTE = """
open({canary!r}, "w").close()
from transformers import GPT2Config, GPT2LMHeadModel
class StrangeConfig(GPT2Config):
    model_type = "strange"
class StrangeModel(GPT2LMHeadModel):
    config_class = StrangeConfig
"""


@pytest.fixture
def strange(folder, tmp_path):
    (folder / "strange.py").write_text(REMOTE.format(canary=str(tmp_path / "canary")))
    where = {"AutoConfig": "strange.StrangeConfig", "AutoModelForCausalLM": "strange.StrangeModel"}
    edited(folder, "config.json", model_type="strange", auto_map=where, architectures=["StrangeModel"])
    return folder


def test_remote_code_is_refused_and_never_run(strange, tmp_path):
    with pytest.raises(InputError, match="wants to run its own code") as refused:
        load_policy(strange)
    assert "--trust-remote-code" in refused.value.fix
    assert not (tmp_path / "canary").exists()


def test_remote_code_runs_when_asked_for_by_name(strange, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    policy = load_policy(strange, trust_remote_code=True)
    assert type(policy.model).__name__ == "StrangeModel"
    assert (tmp_path / "canary").exists(), "the code does run when trusted, so the refusal means something"


def test_code_of_the_hub_needs_a_pinned_commit():
    for revision in (None, "main", "v1.0", "abc123"):
        with pytest.raises(UsageError, match="no commit is pinned"):
            find_folder("some/model", trust_remote_code=True, revision=revision)


def header(document: bytes, length: int | None = None, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(document) if length is None else length) + document + data


def one(offsets, dtype="F32", shape=(2,)) -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


BROKEN = {
    "empty file": b"",
    "three bytes": b"abc",
    "header longer than the file": header(b"{}", length=2**63),
    "header not JSON": header(b"{not json}"),
    "offsets beyond the file": header(json.dumps({"a": one((0, 8))}).encode()),
    "offsets overlap": header(json.dumps({"a": one((0, 8)), "b": one((4, 12))}).encode(), data=bytes(12)),
    "dtype does not fit": header(json.dumps({"a": one((0, 8), dtype="F64")}).encode(), data=bytes(8)),
    "unknown dtype": header(json.dumps({"a": one((0, 8), dtype="X9")}).encode(), data=bytes(8)),
    "no tensors": header(b"{}"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_safetensors_are_one_sentence(folder, kind):
    (folder / model_folder.MANIFEST).unlink()
    (folder / "model.safetensors").write_bytes(BROKEN[kind])
    with pytest.raises(InputError, match=r"damaged|holds no tensors") as refused:
        load_policy(folder)
    assert "\n" not in refused.value.what
    assert refused.value.fix


def test_cut_and_flipped_weights_are_found_by_their_hash(folder):
    path = folder / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(InputError, match="damaged"):
        load_policy(folder)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(InputError, match="not the file that was saved"):
        load_policy(folder)
    path.write_bytes(data)
    load_policy(folder)


def test_missing_weights_of_the_architecture(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["transformer.h.0.mlp.c_fc.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / model_folder.MANIFEST).unlink()
    with pytest.raises(InputError, match="lacks 1 weights of its architecture"):
        load_policy(folder)


@pytest.mark.parametrize(
    ("name", "says"),
    [("config.json", "no config.json"), ("model.safetensors", "no weights"), ("tokenizer", "no tokenizer")],
)
def test_missing_files_are_named(folder, name, says):
    for path in folder.glob("tokenizer*" if name == "tokenizer" else name):
        path.unlink()
    with pytest.raises(InputError, match=says):
        load_policy(folder)


def test_shards_must_all_be_there_and_inside(folder):
    (folder / model_folder.MANIFEST).unlink()
    tensors = load_file(folder / "model.safetensors")
    index = folder / "model.safetensors.index.json"
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index.write_text(json.dumps({"weight_map": dict(zip(tensors, shards * len(tensors), strict=False))}))
    with pytest.raises(InputError, match=r"lacks 1 of 2 weight files.*00002-of"):
        load_policy(folder)
    index.write_text(json.dumps({"weight_map": {"a": "../../secret.safetensors"}}))
    with pytest.raises(InputError, match="points outside"):
        load_policy(folder)


def test_encoder_only_and_unknown_models_are_refused(tmp_path, folder):
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    save_policy(tmp_path / "bert", filled(BertForMaskedLM(config)), word_tokenizer())
    with pytest.raises(InputError, match="not a causal LM"):
        load_policy(tmp_path / "bert")
    edited(folder, "config.json", model_type="abacus")
    with pytest.raises(InputError, match="unknown model type 'abacus'"):
        load_policy(folder)


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000])
def test_a_broken_config_is_one_sentence(folder, text):
    (folder / model_folder.MANIFEST).unlink()
    (folder / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json"):
        load_policy(folder)


def test_an_adapter_alone_is_no_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="adapter"):
        load_policy(tmp_path)


def test_a_tokenizer_larger_than_the_embedding(tmp_path):
    save_policy(tmp_path / "model", gpt2(), word_tokenizer([*WORDS, "extra"]))
    with pytest.raises(InputError, match="ids up to 11, the model has 11 embeddings"):
        load_policy(tmp_path / "model")


def test_a_folder_wins_over_the_hub_and_says_so(tmp_path, monkeypatch, caplog):
    save_policy(tmp_path / "owner" / "name", gpt2(), word_tokenizer())
    monkeypatch.chdir(tmp_path)
    load_policy("owner/name")
    assert "the Hub is not asked" in caplog.text


@pytest.mark.parametrize("name", ["nowhere", "./owner/name", "/no/such/place", "a/b/c", "~/no-such-model"])
def test_no_such_folder(name):
    with pytest.raises(UsageError, match="no model folder"):
        find_folder(name)


def test_a_file_is_not_a_folder(folder):
    with pytest.raises(UsageError, match="is a file"):
        load_policy(folder / "config.json")


def test_saving_never_replaces_unasked_and_never_what_is_no_model(folder, tmp_path):
    with pytest.raises(UsageError, match="exists already"):
        save_policy(folder, gpt2(), word_tokenizer())
    save_policy(folder, qwen(), word_tokenizer(), overwrite=True)
    assert load_policy(folder).model.config.model_type == "qwen2"
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(UsageError, match="not a model folder"):
        save_policy(tmp_path / "thesis", gpt2(), word_tokenizer(), overwrite=True)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_disk_that_fills_up_leaves_the_old_model_whole(folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(path, document):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_folder, "write_json", full)
    with pytest.raises(StorageError, match="disk full"):
        save_policy(folder, qwen(), word_tokenizer(), card={}, overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_tokenizer_splits_as_its_file_says_whatever_the_model_is(tmp_path, caplog):
    """transformers builds a Qwen2Tokenizer for any Qwen2 model, which does not split at white space alone."""
    made = word_tokenizer()
    save_policy(tmp_path / "model", qwen(), made)
    ours = load_policy(tmp_path / "model").tokenizer
    for text in ("a b c", "a.b c", "ab\n\na  12"):
        assert ours(text)["input_ids"] == made(text)["input_ids"]
    assert "tokenizer.json is used" in caplog.text
    assert (ours.eos_token, ours.pad_token, ours.unk_token) == ("<eos>", "<pad>", "<unk>")


def test_the_right_tokenizer_is_left_alone(folder, caplog):
    assert load_policy(folder).tokenizer("a b")["input_ids"] == [3, 4]
    assert "tokenizer.json" not in caplog.text


def test_what_a_quantised_checkpoint_needs_is_named(folder):
    edited(folder, "config.json", quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 128})
    with pytest.raises(InputError, match="GPTQ") as refused:
        load_policy(folder)
    assert "quantised from" in refused.value.fix


@pytest.mark.parametrize(
    ("names", "fix"),
    [
        (["model-q4.gguf"], "keyturn model import"),
        (["model_world_size_2_rank_0.pt"], "merge the shards"),
        (["checkpoint-9/config.json", "checkpoint-12/config.json"], "checkpoint-"),
    ],
)
def test_a_folder_without_a_model_says_where_the_model_is(tmp_path, names, fix):
    for name in names:
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text("{}")
    with pytest.raises(InputError, match=r"no config\.json") as refused:
        load_policy(tmp_path / "run")
    assert fix in refused.value.fix
