"""What trainers write is read as it is, or refused with a fix that works when followed."""

import json
import shutil

import numpy as np
import pytest
import torch
from small_models import family, problems, tokenizer

from keyturn.core.errors import InputError
from keyturn.core.streams import Streams
from keyturn.policies.loading import load_policy
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Limits

LIMITS = Limits(max_new_tokens=6, batch_rows=64)


def drawn(policy):
    return policy.draw(problems((3, 5)), range(4), Streams(2), LIMITS)


def same(folder, model):
    """Read a folder; it must be the model that was saved into it, to the bit."""
    found = load_policy(folder)
    # Not model.float(): turning a whole model into bfloat16 and back rounds its rotary frequencies too.
    exact = family("llama")
    exact.load_state_dict({name: weight.float() for name, weight in model.state_dict().items()})
    expected, again = drawn(LocalPolicy(exact, tokenizer())), drawn(found)
    assert np.array_equal(again.tokens, expected.tokens)
    assert np.array_equal(again.logprobs, expected.logprobs)
    return found


def test_shards(tmp_path):
    model = family("llama")
    model.save_pretrained(tmp_path, max_shard_size="8KB")
    tokenizer().save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 1
    same(tmp_path, model)


def test_bfloat16_is_read_exactly_in_float32_and_as_it_is(tmp_path):
    model = family("llama").bfloat16()
    model.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    stored = {name: weight.clone() for name, weight in model.state_dict().items()}
    exact = same(tmp_path, model)
    assert {weight.dtype for weight in exact.model.parameters()} == {torch.float32}
    narrow = load_policy(tmp_path, dtype="auto")
    assert all(torch.equal(weight, stored[name]) for name, weight in narrow.model.state_dict().items())
    gap = np.abs(narrow.score(drawn(exact)).logprobs - exact.score(drawn(exact)).logprobs)
    assert 0 < gap.mean() < 0.06  # not the same numbers: an audit in bfloat16 is of other probabilities


@pytest.mark.slow
def test_what_the_trainer_of_transformers_and_trl_saves(tmp_path):
    """TRL's trainers inherit this folder: `checkpoint-N` with the optimiser and pickles of arguments beside."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    how = transformers.TrainingArguments(output_dir=str(tmp_path / "out"), report_to=[], use_cpu=True)
    model, words = family("llama"), tokenizer()
    trainer = transformers.Trainer(model, how, processing_class=words)
    for step in (9, 12):
        trainer.save_model(str(tmp_path / "out" / f"checkpoint-{step}"))
        torch.save({}, tmp_path / "out" / f"checkpoint-{step}" / "optimizer.pt")
        trainer.state.save_to_json(str(tmp_path / "out" / f"checkpoint-{step}" / "trainer_state.json"))
    assert (tmp_path / "out" / "checkpoint-12" / "training_args.bin").is_file()
    with pytest.raises(InputError, match=r"no config\.json") as refused:
        load_policy(tmp_path / "out")
    assert refused.value.fix == f"name the model inside: {tmp_path / 'out' / 'checkpoint-12'}"
    same(tmp_path / "out" / "checkpoint-12", model)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["save_state", "save_model"])
def test_what_accelerate_saves_lacks_the_config(tmp_path, what):
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    model = accelerator.prepare(family("llama"))
    folder = tmp_path / "state"
    if what == "save_state":
        accelerator.save_state(str(folder))
    else:
        accelerator.save_model(model, str(folder))
    accelerator.free_memory()
    with pytest.raises(InputError, match=r"no config\.json") as refused:
        load_policy(folder)
    assert "copy config.json" in refused.value.fix
    family("llama").save_pretrained(tmp_path / "base")
    tokenizer().save_pretrained(tmp_path / "base")
    for path in (tmp_path / "base").iterdir():
        if path.suffix == ".json":
            shutil.copy(path, folder)
    same(folder, family("llama"))


@pytest.fixture
def verl(tmp_path):
    """`global_step_9/actor` as verl 0.9 writes it with FSDP: shards of ranks, and a config without weights."""
    actor = tmp_path / "global_step_9" / "actor"
    (actor / "huggingface").mkdir(parents=True)
    family("llama").config.save_pretrained(actor / "huggingface")
    tokenizer().save_pretrained(actor / "huggingface")
    for rank in range(2):
        for kind in ("model", "optim", "extra_state"):
            (actor / f"{kind}_world_size_2_rank_{rank}.pt").write_bytes(b"x")
    (actor / "fsdp_config.json").write_text("{}")
    return actor


@pytest.mark.parametrize("named", [".", "huggingface", ".."])
def test_shards_of_verl_are_named_as_such(verl, named):
    with pytest.raises(InputError) as refused:
        load_policy((verl / named).resolve())
    assert f"verl.model_merger merge --backend fsdp --local_dir {verl}" in refused.value.fix


def test_what_verl_merges_is_a_model(verl):
    """Its merger calls `save_pretrained` on a bfloat16 model, beside the config's folder."""
    model = family("llama").bfloat16()
    merged = verl.parent / "merged"
    model.save_pretrained(merged)
    for path in (verl / "huggingface").iterdir():
        if path.name.startswith("tokenizer"):
            shutil.copy(path, merged)
    (merged / "lora_adapter").mkdir()  # with LoRA it writes the adapter too, in a folder of its own
    same(merged, model)


@pytest.mark.parametrize(
    ("name", "fix"),
    [("zero_to_fp32.py", "zero_to_fp32.py"), ("__0_0.distcp", "accelerate merge-weights")],
)
def test_shards_of_deepspeed_and_fsdp_say_how_they_are_merged(tmp_path, name, fix):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"no config\.json") as refused:
        load_policy(tmp_path)
    assert fix in refused.value.fix
