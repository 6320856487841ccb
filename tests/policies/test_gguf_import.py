"""GGUF files of tiny models, written here: imported, compared, and refused where they are not whole."""

import importlib.metadata
import json
import struct

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from keyturn.cli.main import main
from keyturn.core.errors import InputError, UsageError
from keyturn.policies.gguf import importing, sources
from keyturn.policies.gguf.importing import import_gguf
from keyturn.policies.gguf.reading import read_gguf

gguf = pytest.importorskip("gguf")

CHAT = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"


def byte_pieces():
    """Every byte as GPT-2 writes it, behind three special tokens, and one merge."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *bytes_to_unicode().values(), "ĠĊ"]


def tiny(words):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=True, bos_token_id=1,
        eos_token_id=2,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def permuted(weights, heads):
    return (
        weights.reshape(heads, 2, weights.shape[0] // heads // 2, weights.shape[1])
        .swapaxes(1, 2)
        .reshape(weights.shape)
    )


def write(path, *, kind=None, change=None, leave_out=(), more=(), context=128):
    """A Llama as llama.cpp stores it; returns the model whose weights it holds."""
    words = byte_pieces()
    model = tiny(words)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_license("mit")
    writer.add_context_length(context)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(16)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(words)
    writer.add_token_types([3, 3, 3, *[1] * (len(words) - 3)])
    writer.add_token_merges(["Ġ Ċ"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(CHAT)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    for name, tensor in model.named_parameters():
        stored, values = names.get_name(name, try_suffixes=(".weight",)), tensor.detach().numpy()
        if stored in leave_out:
            continue
        if stored.endswith(("attn_q.weight", "attn_k.weight")):
            values = permuted(values, 4 if "attn_q" in stored else 2)
        values = change(stored, values) if change else values
        if kind is not None and values.ndim == 2 and values.shape[1] % 32 == 0:
            packed = gguf.quants.quantize(values, kind)
            with torch.no_grad():
                back = gguf.quants.dequantize(packed, kind)
                heads = 4 if "attn_q" in stored else 2
                if stored.endswith(("attn_q.weight", "attn_k.weight")):
                    back = back.reshape(heads, -1, 2, back.shape[1]).swapaxes(1, 2).reshape(back.shape)
                tensor.copy_(torch.from_numpy(back))
            writer.add_tensor(stored, packed, raw_dtype=kind)
        else:
            writer.add_tensor(stored, np.ascontiguousarray(values))
    for name in more:
        writer.add_tensor(name, np.zeros((64, 64), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


@pytest.mark.parametrize("kind", [None, "Q8_0", "Q4_1"])
def test_a_file_becomes_an_ordinary_folder_with_the_same_weights(tmp_path, kind):
    model = write(tmp_path / "tiny.gguf", kind=None if kind is None else gguf.GGMLQuantizationType[kind])
    made = import_gguf(str(tmp_path / "tiny.gguf"), tmp_path / "out")
    assert made.compared == len(list(model.named_parameters()))
    assert made.largest < 1e-6
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "quantization_config" not in config
    said = json.loads((tmp_path / "out" / "import.json").read_text())
    assert (said["licence"], said["architecture"], len(said["sha256"])) == ("mit", "llama", 64)
    read = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        assert torch.allclose(read(ids).logits, model.eval()(ids).logits, atol=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.chat_template == CHAT
    assert tokenizer("<|im_end|>")["input_ids"] == [2]
    for text in importing.PROBES:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    # A digit stands alone, so the line break behind it is split as if the digit were not there.
    assert tokenizer.convert_ids_to_tokens(tokenizer("7 \n8")["input_ids"]) == ["7", "ĠĊ", "8"]
    assert any("digits" in note for note in made.notes)


def test_weights_that_are_loaded_otherwise_are_not_saved(tmp_path, monkeypatch):
    write(tmp_path / "tiny.gguf")
    monkeypatch.setattr(importing, "_PERMUTED", frozenset())
    with pytest.raises(InputError, match=r"blk\.0\.attn_[qk]\.weight is loaded otherwise"):
        import_gguf(str(tmp_path / "tiny.gguf"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"leave_out": ("blk.1.ffn_up.weight",)}, "has no tensor for|cannot load"),
        ({"more": ("blk.0.ffn_gate_inp.weight",)}, "1 tensors of tiny.gguf were not read|cannot load"),
        (
            {"change": lambda name, values: values * np.float32("nan") if "ffn_up" in name else values},
            "holds numbers that are none",
        ),
    ],
)
def test_a_file_whose_tensors_are_not_the_models_is_refused(tmp_path, made, said):
    write(tmp_path / "tiny.gguf", **made)
    with pytest.raises(InputError, match=said):
        import_gguf(str(tmp_path / "tiny.gguf"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: b"PK\x03\x04" + data[4:], "is no GGUF file"),
        (lambda data: data[:12], "ends in its header"),
        (lambda data: data[:5000], "truncated or damaged"),
        (lambda data: data[:-4096], "truncated or damaged"),
        (lambda data: data[:4] + struct.pack("<I", 9) + data[8:], "GGUF version 9"),
        (lambda data: data[:4] + struct.pack(">I", 3) + data[8:], "big-endian"),
        (lambda data: data[:8] + struct.pack("<Q", 1 << 60) + data[16:], "which cannot be"),
        (lambda data: data[:16] + struct.pack("<Q", 1 << 19) + data[24:], "cannot be|truncated or damaged"),
        (lambda data: data[:24] + struct.pack("<Q", 1 << 62) + data[32:], "truncated or damaged"),
    ],
)
def test_a_damaged_or_hostile_file_is_one_sentence(tmp_path, capsys, spoil, said):
    write(tmp_path / "whole.gguf")
    data = (tmp_path / "whole.gguf").read_bytes()
    (tmp_path / "tiny.gguf").write_bytes(spoil(data))
    with pytest.raises(InputError, match=said):
        read_gguf(tmp_path / "tiny.gguf")
    words = ["model", "import", str(tmp_path / "tiny.gguf"), str(tmp_path / "out")]
    assert main(words) == InputError.exit_code
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2, lines
    assert lines[1].strip().startswith("fix: ")


def test_what_is_no_source_is_refused(tmp_path):
    write(tmp_path / "tiny.gguf")
    (tmp_path / "there").mkdir()
    for source, said in (
        ("nothing.gguf", "no file nothing.gguf"),
        (str(tmp_path), "is a folder, not a GGUF file"),
        ("no-such-package-here", "as a package it is not installed"),
    ):
        with pytest.raises(UsageError, match=said):
            import_gguf(source, tmp_path / "out")
    with pytest.raises(InputError, match="carries no GGUF file"):
        import_gguf("gguf", tmp_path / "out")
    with pytest.raises(UsageError, match="exists already"):
        import_gguf(str(tmp_path / "tiny.gguf"), tmp_path / "there")


class Carried:
    """A file of a package."""

    def __init__(self, path):
        self.path = path

    def locate(self):
        return self.path


class Installed:
    """Packages as they would be installed, without installing any."""

    def __init__(self, folder, packages, requires):
        self.folder, self.packages, self.required = folder, packages, requires
        self.PackageNotFoundError = importlib.metadata.PackageNotFoundError

    def files(self, name):
        if name not in self.packages:
            raise importlib.metadata.PackageNotFoundError(name)
        return [
            type("File", (), {"locate": lambda self, path=self.folder / one: path})()
            for one in self.packages[name]
        ]

    def requires(self, name):
        return self.required.get(name)


def test_parts_in_several_packages_are_put_together_and_compared_with_their_hash(tmp_path, monkeypatch):
    import hashlib

    model = write(tmp_path / "tiny.gguf")
    data = (tmp_path / "tiny.gguf").read_bytes()
    cut = len(data) // 2
    (tmp_path / "tiny.gguf.part00").write_bytes(data[:cut])
    (tmp_path / "tiny.gguf.part01").write_bytes(data[cut:])
    (tmp_path / "SHA256SUMS").write_text(f"{hashlib.sha256(data).hexdigest()}  tiny.gguf\n")
    packages = {
        "tiny-gguf": ["SHA256SUMS"],
        "tiny-gguf-part1": ["tiny.gguf.part00"],
        "tiny-gguf-part2": ["tiny.gguf.part01"],
    }
    needs = {"tiny-gguf": ["tiny-gguf-part2==1", "tiny-gguf-part1==1", "other>=2"]}
    monkeypatch.setattr(sources, "metadata", Installed(tmp_path, packages, needs))
    made = import_gguf("tiny-gguf", tmp_path / "made" / "out")
    assert made.compared == len(list(model.named_parameters()))
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["out"], (
        "the parts are not left behind"
    )
    (tmp_path / "tiny.gguf.part01").write_bytes(data[cut:-1] + b"\x00\x01")
    with pytest.raises(InputError, match="are not the file it states"):
        import_gguf("tiny-gguf", tmp_path / "again")
    monkeypatch.setattr(sources, "metadata", Installed(tmp_path, {"tiny-gguf": ["SHA256SUMS"]}, needs))
    with pytest.raises(UsageError, match="needs the package tiny-gguf-part2, which is not installed"):
        import_gguf("tiny-gguf", tmp_path / "again")


@pytest.mark.slow
def test_the_command_line_imports_and_shows(tmp_path, capsys):
    write(tmp_path / "tiny.gguf")
    assert main(["model", "import", str(tmp_path / "tiny.gguf"), str(tmp_path / "out")]) == 0
    assert "tensors compared" in capsys.readouterr().out
    assert main(["model", "show", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["model"]
    weights = sum(p.numel() for p in tiny(byte_pieces()).parameters())
    assert found["parameters"] == weights
    assert (found["context"], found["kind"], found["source"]["licence"]) == (128, "instruct", "mit")
    assert "<|im_end|>" in found["stops"]
    assert found["step_bytes"] == 5 * 4 * weights
    assert found["token_bytes"] == 4 * 2 * (10 * 64 + 4 * 96)
    assert main(["model", "show", str(tmp_path / "out"), "--template", "plain"]) == 0
    assert "plain text" in capsys.readouterr().out
    assert main(["model", "show", "graph"]) == 0
