"""Sparse autoencoders that SAELens saved: a folder with ``cfg.json`` and ``sae_weights.safetensors``.

The files are read as they are, so neither SAELens nor TransformerLens is needed. What is carried gives the same
latents as SAELens does::

    z = W_enc (x - b_dec) + b_enc          without b_dec where ``apply_b_dec_to_input`` is off
    standard    max(z, 0)
    jumprelu    z where it is above both its own threshold and 0, else 0; BatchTopK is saved as this
    topk        the k largest z, negative ones as 0; with ``rescale_acts_by_decoder_norm`` of z |W_dec|

What would need more than that (a normalisation of states, an attention head's output, gates, transcoders) is
refused by its name. What only training knows (auxiliary losses, ghost gradients) changes no latent.

Known bias: TransformerLens may have run the model with centred weights, and its residual stream is then another
than that of the model as it is; the file does not say so.
Source: SAELens 6.54 (``sae_lens/saes``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from keyturn.core.errors import InputError
from keyturn.core.lazy import torch
from keyturn.policies.sparse import Sparse

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
ARCHITECTURES = ("standard", "jumprelu", "topk")
_LAYER = re.compile(r"(?:blocks|layers|h)\.(\d+)(?:\.hook_resid_(pre|post))?")
_AGAIN = "in SAELens: SAE.load_from_disk(FOLDER).save_model(OTHER)"


def from_saelens(folder: Path, *, layer: int | None = None, side: str = "") -> Sparse:
    """An autoencoder from a folder that SAELens wrote.

    Args:
        folder: with ``cfg.json`` and ``sae_weights.safetensors``.
        layer, side: the states that it was made for; read from the hook's name where not given.

    Returns:
        The autoencoder. Rows of its decoder have the length that the file gives them.

    Raises:
        InputError: the folder is none of these, is damaged, or holds what is not carried; the message names it.
    """
    config, tensors = _config(folder / CONFIG), _tensors(folder / WEIGHTS)
    kind = str(config.get("architecture", ""))
    _carried(folder, config, kind)
    wanted = {"W_enc", "W_dec", "b_enc", "b_dec"} | ({"threshold"} if kind == "jumprelu" else set())
    if set(tensors) != wanted:
        strange = ", ".join(sorted(set(tensors) ^ wanted))
        raise InputError(f"{folder / WEIGHTS} lacks or has more than a {kind} has: {strange}", fix=_AGAIN)
    enc, dec, b_enc, b_dec = (tensors[name] for name in ("W_enc", "W_dec", "b_enc", "b_dec"))
    latents, dim = dec.shape if dec.ndim == 2 else (0, 0)
    shapes = {"W_enc": (dim, latents), "b_enc": (latents,), "b_dec": (dim,), "threshold": (latents,)}
    wrong = [name for name, shape in shapes.items() if name in tensors and tensors[name].shape != shape]
    if wrong or not latents or not all(np.isfinite(one).all() for one in tensors.values()):
        what = f"{folder / WEIGHTS} holds what fits no autoencoder ({', '.join(wrong) or 'values'})"
        raise InputError(what, fix=_AGAIN)
    if not config.get("apply_b_dec_to_input", True):
        b_enc = b_enc + b_dec @ enc
    length = np.linalg.norm(dec, axis=1)
    if kind == "topk" and config.get("rescale_acts_by_decoder_norm", False):
        enc, b_enc, dec = enc * length, b_enc * length, dec / np.where(length > 0, length, 1.0)[:, None]
    found_layer, found_side = _place(folder, config) if layer is None else (layer, side or "out")
    return Sparse(
        w_enc=np.ascontiguousarray(enc.T, dtype=np.float32),
        b_enc=b_enc.astype(np.float32),
        w_dec=dec.astype(np.float32),
        b_dec=b_dec.astype(np.float32),
        mean=np.zeros(dim, dtype=np.float32),
        kind="topk" if kind == "topk" else "jump",
        k=_k(folder, config, latents) if kind == "topk" else 1,
        thresholds=None if kind == "topk" else _thresholds(tensors, latents),
        layer=found_layer,
        side=side or found_side,
    )


def _thresholds(tensors: Mapping[str, NDArray[np.float64]], latents: int) -> NDArray[np.float32]:
    """What a latent must be above; 0 for a standard one."""
    return np.maximum(tensors.get("threshold", np.zeros(latents)), 0.0).astype(np.float32)


def _carried(folder: Path, config: Mapping[str, Any], kind: str) -> None:
    """Refuse by name what would be read wrongly.

    Raises:
        InputError: there is something of that kind.
    """
    where = folder / CONFIG
    metadata = config.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    version = str(metadata.get("sae_lens_version") or config.get("sae_lens_version") or "")
    if not version or not version.split(".")[0].isdigit() or int(version.split(".")[0]) < 6:
        raise InputError(f"{where} is not of SAELens 6 ({version or 'no version'})", fix=_AGAIN)
    if kind not in ARCHITECTURES:
        fix = (
            "save_inference_model in SAELens" if kind.startswith(("batchtopk", "matryoshka")) else "another one"
        )
        raise InputError(f"{where}: the architecture {kind or 'without a name'!r} is not carried", fix=fix)
    usual = {"normalize_activations": "none", "reshape_activations": "none"}
    for name, plain in usual.items():
        if config.get(name, plain) != plain:
            what = f"{where}: {name} {config[name]!r} is not carried"
            raise InputError(what, fix="fold it into the weights in SAELens, or take another autoencoder")


def _place(folder: Path, config: Mapping[str, Any]) -> tuple[int, str]:
    """Layer and side from the name of the hook.

    Raises:
        InputError: it is none in the residual stream.
    """
    metadata = config.get("metadata")
    hook = str((metadata if isinstance(metadata, Mapping) else {}).get("hook_name") or "")
    found = _LAYER.search(hook)
    if found is None or (found.end() != len(hook)):
        what = f"{folder / CONFIG}: the hook {hook or 'without a name'!r} is no place in the residual stream"
        raise InputError(what, fix="name layer and side, or take an autoencoder of hook_resid_pre or _post")
    return int(found[1]), "in" if found[2] == "pre" else "out"


def _k(folder: Path, config: Mapping[str, Any], latents: int) -> int:
    k = config.get("k")
    if not isinstance(k, int) or not 1 <= k <= latents:
        raise InputError(f"{folder / CONFIG}: k is {k!r}, of {latents} latents", fix=_AGAIN)
    return k


def _config(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}", fix="a folder that SAELens saved") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} holds no settings", fix="a folder that SAELens saved")
    return found


def _tensors(path: Path) -> dict[str, NDArray[np.float64]]:
    """All tensors in double precision. Through torch, since numpy has no bfloat16."""
    try:
        with safe_open(str(path), framework="pt") as file:
            return {name: file.get_tensor(name).to(torch.float64).numpy() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read: {error}", fix="a folder that SAELens saved") from error
