"""Folders that SAELens saved: the latents by its formulas, and a refusal by name of what is not carried."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from keyturn.core.errors import InputError
from keyturn.policies.sparse import Sparse
from keyturn.policies.sparse_saelens import CONFIG, WEIGHTS, from_saelens

DIM, LATENTS = 6, 10


def folder_of(path, kind="standard", dtype=torch.float32, drop=(), hook="blocks.3.hook_resid_post", **config):
    """A folder in SAELens's format, with random weights."""
    dice = np.random.default_rng(5)
    shapes = {"W_enc": (DIM, LATENTS), "W_dec": (LATENTS, DIM), "b_enc": (LATENTS,), "b_dec": (DIM,)}
    if kind == "jumprelu":
        shapes["threshold"] = (LATENTS,)
    tensors = {name: torch.from_numpy(dice.normal(size=shape)).to(dtype) for name, shape in shapes.items()}
    path.mkdir(exist_ok=True)
    save_file({name: one for name, one in tensors.items() if name not in drop}, path / WEIGHTS)
    settings = {
        "d_in": DIM,
        "d_sae": LATENTS,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.54.12", "hook_name": hook, "model_name": "gpt2"},
        "architecture": kind,
        **({"k": 3, "rescale_acts_by_decoder_norm": False} if kind == "topk" else {}),
        **config,
    }
    (path / CONFIG).write_text(json.dumps(settings))
    return path, {name: one.double().numpy() for name, one in tensors.items()}, settings


def by_formula(tensors, settings, states):
    """Latents and what is decoded, one state at a time, as SAELens computes them."""
    latents, decoded = [], []
    for state in states:
        x = state - tensors["b_dec"] if settings["apply_b_dec_to_input"] else state
        z = np.array([x @ tensors["W_enc"][:, j] + tensors["b_enc"][j] for j in range(LATENTS)])
        length = np.sqrt((tensors["W_dec"] ** 2).sum(axis=1))
        scaled = settings.get("rescale_acts_by_decoder_norm", False)
        if settings["architecture"] == "topk":
            z = z * length if scaled else z
            kept = set(sorted(range(LATENTS), key=lambda j: -z[j])[: settings["k"]])
            z = np.array([max(value, 0.0) if j in kept else 0.0 for j, value in enumerate(z)])
        elif settings["architecture"] == "jumprelu":
            z = np.maximum(z, 0.0) * (z > tensors["threshold"])
        else:
            z = np.maximum(z, 0.0)
        latents.append(z)
        decoded.append((z / length if scaled else z) @ tensors["W_dec"] + tensors["b_dec"])
    return np.array(latents), np.array(decoded)


CARRIED = {
    "standard": {},
    "standard, decoder bias left in": {"kind": "standard", "apply_b_dec_to_input": False},
    "jumprelu": {"kind": "jumprelu"},
    "topk": {"kind": "topk"},
    "topk, scaled": {"kind": "topk", "rescale_acts_by_decoder_norm": True},
    "topk, scaled, decoder bias left in": {
        "kind": "topk",
        "rescale_acts_by_decoder_norm": True,
        "apply_b_dec_to_input": False,
    },
    "jumprelu, bfloat16": {"kind": "jumprelu", "dtype": torch.bfloat16},
}


@pytest.mark.parametrize("name", CARRIED)
def test_latents_are_those_of_saelens(name, tmp_path):
    folder, tensors, settings = folder_of(tmp_path / "sae", **CARRIED[name])
    states = np.random.default_rng(1).normal(size=(40, DIM))
    found = from_saelens(folder)
    latents, decoded = by_formula(tensors, settings, states)
    assert 0 < (latents != 0).mean() < 1
    assert np.abs(found.encode(states) - latents).max() < 1e-6
    assert np.abs(found.decode(found.encode(states)) - decoded).max() < 1e-5
    assert (found.layer, found.side) == (3, "out")
    found.save(tmp_path / "own.safetensors")
    again = Sparse.load(tmp_path / "own.safetensors")
    assert np.array_equal(again.encode(states), found.encode(states))


def test_a_twin_that_forgets_a_setting_gives_other_latents(tmp_path):
    states = np.random.default_rng(1).normal(size=(40, DIM))
    for change in ({"kind": "topk", "rescale_acts_by_decoder_norm": True}, {"apply_b_dec_to_input": False}):
        folder, tensors, settings = folder_of(tmp_path / "sae", **change)
        forgets = settings | {"rescale_acts_by_decoder_norm": False, "apply_b_dec_to_input": True}
        assert (
            np.abs(from_saelens(folder).encode(states) - by_formula(tensors, forgets, states)[0]).max() > 0.01
        )


@pytest.mark.parametrize(
    ("hook", "place"),
    [("blocks.7.hook_resid_pre", (7, "in")), ("model.layers.2", (2, "out")), ("transformer.h.4", (4, "out"))],
)
def test_the_place_is_read_from_the_hook(hook, place, tmp_path):
    found = from_saelens(folder_of(tmp_path / "sae", hook=hook)[0])
    assert (found.layer, found.side) == place


REFUSED = {
    "gated": ({"kind": "gated"}, "architecture 'gated' is not carried"),
    "batchtopk in training": ({"kind": "batchtopk"}, "architecture 'batchtopk' is not carried"),
    "layer norm": ({"normalize_activations": "layer_norm"}, "normalize_activations 'layer_norm'"),
    "scaled states": ({"normalize_activations": "expected_average_only_in"}, "'expected_average_only_in'"),
    "heads": ({"reshape_activations": "hook_z"}, "reshape_activations 'hook_z'"),
    "attention": ({"hook": "blocks.3.attn.hook_z"}, "'blocks.3.attn.hook_z' is no place"),
    "no hook": ({"hook": ""}, "without a name"),
    "old": ({"metadata": {"sae_lens_version": "5.9.1"}}, r"not of SAELens 6 \(5.9.1\)"),
    "no version": ({"metadata": {}}, "no version"),
    "a tensor less": ({"drop": ("b_enc",)}, "lacks or has more than a standard has: b_enc"),
    "no threshold": ({"kind": "jumprelu", "drop": ("threshold",)}, "threshold"),
    "a bad k": ({"kind": "topk", "k": 99}, "k is 99, of 10 latents"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_carried_is_refused_by_name(name, tmp_path):
    change, why = REFUSED[name]
    with pytest.raises(InputError, match=why) as refused:
        from_saelens(folder_of(tmp_path / "sae", **change)[0])
    assert refused.value.fix


def test_files_that_are_none_of_saelens_are_one_line(tmp_path):
    folder, _, _ = folder_of(tmp_path / "sae")
    for name, content in ((CONFIG, b"[]"), (CONFIG, b"{"), (WEIGHTS, b"no tensors")):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        with pytest.raises(InputError) as refused:
            from_saelens(folder)
        assert "\n" not in str(refused.value)
        (folder / name).write_bytes(whole)
    with pytest.raises(InputError, match="cannot be read"):
        from_saelens(tmp_path / "nowhere")


def test_a_named_place_stands_for_a_hook_that_is_not_known(tmp_path):
    folder, _, _ = folder_of(tmp_path / "sae", hook="")
    found = from_saelens(folder, layer=5, side="in")
    assert (found.layer, found.side) == (5, "in")
