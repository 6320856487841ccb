"""An adapter becomes a model folder that answers as its base does with the adapter on, or one clear line."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import family, problems, tokenizer

from keyturn.cli.main import main
from keyturn.core.errors import InputError, UsageError
from keyturn.core.streams import Streams
from keyturn.policies import adapters
from keyturn.policies.adapters import import_adapter
from keyturn.policies.loading import load_policy
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Limits

peft = pytest.importorskip("peft")
# PEFT's own, about tied heads and transposed weights.
pytestmark = pytest.mark.filterwarnings("ignore")

LINES = ["q_proj", "v_proj"]
STRANGE = "base_model.model.x.lora_A.weight"
LORA = {"r": 2, "lora_alpha": 6, "target_modules": LINES, "init_lora_weights": False}


def based(tmp_path, name="llama", at="base"):
    folder = tmp_path / at
    family(name).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def adapter(tmp_path, config, name="llama", base="base", *, spread=True):
    """An adapter as a trainer saves it; the model with it on, in memory."""
    model = family(name)
    model.name_or_path = str(tmp_path / base)
    adapted = peft.get_peft_model(model, config)
    with torch.no_grad():
        for weight in (one for one in adapted.parameters() if one.requires_grad and spread):
            weight.add_(torch.empty(weight.shape).normal_(0, 0.2, generator=torch.Generator().manual_seed(3)))
    adapted.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    return adapted.eval()


def drawn(policy):
    return policy.draw(problems((3, 5)), range(4), Streams(2), Limits(max_new_tokens=6, batch_rows=64))


def same(found, expected):
    """Draws of the written folder are those of the model in memory."""
    assert np.array_equal(found.tokens, expected.tokens)
    assert np.abs(found.logprobs - expected.logprobs).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("llama", {}),
        (
            "qwen",
            {"use_rslora": True, "rank_pattern": {"v_proj": 3}, "alpha_pattern": {"1.self_attn.q_proj": 9}},
        ),
        ("gpt2", {"target_modules": ["c_attn"], "fan_in_fan_out": True}),
        ("llama", {"target_modules": ["q_proj", "embed_tokens"]}),
        ("llama", {"modules_to_save": ["norm"], "target_modules": ["down_proj"]}),
    ],
)
def test_lora_is_merged_and_every_tensor_is_compared(tmp_path, name, changes):
    base = based(tmp_path, name)
    with_it = adapter(tmp_path, peft.LoraConfig(**{**LORA, **changes}), name)
    made = import_adapter(str(tmp_path / "adapter"), tmp_path / "out")
    assert made.compared == len(dict(family(name).named_parameters()))
    assert (made.kind, made.base, made.notes) == ("LORA", str(base), ())
    assert made.largest < 1e-5
    assert made.apart < 1e-4 < 0.01 < made.moved
    same(drawn(load_policy(tmp_path / "out")), drawn(LocalPolicy(with_it, tokenizer())))
    assert json.loads((tmp_path / "out" / "import.json").read_text())["kind"] == "LORA"


def test_a_merge_that_is_not_what_the_files_say_is_found_out(tmp_path, monkeypatch):
    based(tmp_path)
    adapter(tmp_path, peft.LoraConfig(**LORA))
    merged = adapters._merged

    def spoilt(*given):
        model = merged(*given)
        with torch.no_grad():
            model.model.layers[0].mlp.down_proj.weight[0, 0] += 1e-6
        return model

    monkeypatch.setattr(adapters, "_merged", spoilt)
    with pytest.raises(InputError, match=r"mlp\.down_proj\.weight is merged otherwise"):
        import_adapter(str(tmp_path / "adapter"), tmp_path / "out")
    monkeypatch.setattr(adapters, "_merged", merged)
    monkeypatch.setattr(adapters, "_scale", lambda *_: 3.01)
    with pytest.raises(InputError, match=r"q_proj\.weight is merged otherwise"):
        import_adapter(str(tmp_path / "adapter"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


OTHERS = {
    "LORA": lambda: peft.LoraConfig(**LORA, use_dora=True),
    "ADALORA": lambda: peft.AdaLoraConfig(init_r=3, target_r=2, total_step=9, target_modules=LINES),
    "IA3": lambda: peft.IA3Config(target_modules=[*LINES, "down_proj"], feedforward_modules=["down_proj"]),
    "LOHA": lambda: peft.LoHaConfig(r=2, target_modules=LINES),
    "LOKR": lambda: peft.LoKrConfig(r=2, target_modules=LINES),
    "OFT": lambda: peft.OFTConfig(oft_block_size=4, r=0, target_modules=LINES),
    "VERA": lambda: peft.VeraConfig(r=4, target_modules=["q_proj"]),
    "LN_TUNING": lambda: peft.LNTuningConfig(target_modules=["input_layernorm"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(OTHERS))
def test_other_kinds_are_compared_by_what_they_answer(tmp_path, kind):
    based(tmp_path)
    with_it = adapter(tmp_path, OTHERS[kind]())
    made = import_adapter(str(tmp_path / "adapter"), tmp_path / "out")
    assert (made.kind, made.compared) == (kind, 0)
    assert "formula is not known here" in made.notes[0]
    assert made.apart < 1e-4 < 0.001 < made.moved
    same(drawn(load_policy(tmp_path / "out")), drawn(LocalPolicy(with_it, tokenizer())))


def test_a_head_that_is_tied_to_the_embedding_is_found_out(tmp_path):
    """Merged into one matrix, an adapter of the head would change what is read too."""
    based(tmp_path, "gpt2")
    adapter(tmp_path, peft.LoraConfig(**{**LORA, "target_modules": ["lm_head"]}), "gpt2")
    with pytest.raises(InputError, match="tied to the embedding") as refused:
        import_adapter(str(tmp_path / "adapter"), tmp_path / "out")
    assert "--enable-lora" in refused.value.fix
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_refusal_of_an_adapter_names_the_command_and_the_command_makes_a_model_of_it(tmp_path, capsys):
    base = based(tmp_path)
    adapter(tmp_path, peft.LoraConfig(**LORA))
    tokenizer().save_pretrained(tmp_path / "adapter")
    with pytest.raises(InputError, match="holds an adapter, not a model") as refused:
        load_policy(tmp_path / "adapter")
    assert f"keyturn model import {tmp_path / 'adapter'} OUT" in refused.value.fix
    assert main(["model", "import", str(tmp_path / "adapter"), str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "tensors compared, largest difference" in said
    found, plain = drawn(load_policy(tmp_path / "out")), drawn(load_policy(base))
    assert not np.array_equal(found.tokens, plain.tokens)
    assert main(["model", "import", str(tmp_path / "adapter"), str(tmp_path / "two"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["adapter"], document["base"]) == ("LORA", str(base))


def _without_base(folder):
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": None}))


def _kind(name):
    def spoil(folder):
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps(config | {"peft_type": name}))

    return spoil


def _pickled(folder):
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def _cut(folder):
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])


def _changed(change):
    def spoil(folder):
        path = folder / "adapter_model.safetensors"
        tensors = load_file(path)
        change(tensors, sorted(tensors)[0])
        save_file(tensors, path)

    return spoil


def _gone(folder):
    (folder / "adapter_model.safetensors").unlink()


def _broken(folder):
    (folder / "adapter_config.json").write_text("[" * 100_000)


@pytest.mark.parametrize(
    ("spoil", "says", "fix"),
    [
        (_without_base, "does not name its base", "--base"),
        (_kind("PREFIX_TUNING"), "adds no weights", "LoRA"),
        (_kind("XLORA"), "further places", "library"),
        (_kind("OF_MY_OWN"), "does not fit its base", "--base"),
        (_kind(7), "does not say of which kind", "save it again"),
        (_pickled, "pickle can run code", "safetensors"),
        (_cut, "is damaged", "again"),
        (_gone, "has no adapter_model", "copy"),
        (_broken, "cannot read", "again"),
        (_changed(lambda held, first: held.pop(first)), "lacks 1 tensors", "copy"),
        (_changed(lambda held, first: held.update({first: held[first] * float("nan")})), "none", "train"),
        (
            _changed(lambda held, first: held.update({first: held[first][:, :-1].clone()})),
            "does not fit",
            "--base",
        ),
        (
            _changed(lambda held, first: held.update({STRANGE: held[first].clone()})),
            "no place",
            "",
        ),
    ],
)
def test_an_adapter_that_cannot_be_merged_is_one_line(tmp_path, spoil, says, fix):
    based(tmp_path)
    adapter(tmp_path, peft.LoraConfig(**LORA))
    spoil(tmp_path / "adapter")
    with pytest.raises(InputError, match=says) as refused:
        import_adapter(str(tmp_path / "adapter"), tmp_path / "out")
    assert fix in refused.value.fix
    assert "\n" not in refused.value.what
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_base_that_is_another_or_is_gone_is_one_line(tmp_path):
    base = based(tmp_path)
    adapter(tmp_path, peft.LoraConfig(**LORA))
    folder, out = str(tmp_path / "adapter"), tmp_path / "out"
    with pytest.raises(InputError, match="does not fit its base"):
        import_adapter(folder, out, base=str(based(tmp_path, "gpt2", at="gpt2")))
    base.rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"the base that .* names cannot be read") as refused:
        import_adapter(folder, out)
    assert refused.value.fix == "name it: --base MODEL"
    with pytest.raises(InputError, match="is an adapter itself"):
        import_adapter(folder, out, base=folder)
    made = import_adapter(folder, out, base=str(tmp_path / "moved"))
    assert made.notes == (
        f"the adapter says that it was trained on {base}; it was merged into {tmp_path / 'moved'}",
    )
    with pytest.raises(UsageError, match="exists already"):
        import_adapter(folder, out)
    shutil.rmtree(out)
    assert main(["model", "import", str(tmp_path / "moved"), str(out), "--base", "x"]) != 0


def test_an_adapter_that_does_nothing_says_so(tmp_path):
    based(tmp_path)
    adapter(tmp_path, peft.LoraConfig(**{**LORA, "init_lora_weights": True}), spread=False)
    made = import_adapter(str(tmp_path / "adapter"), tmp_path / "out")
    assert made.moved == 0
    assert made.notes == ("the adapter changes nothing: its base gives the same log-probabilities",)
