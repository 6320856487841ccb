"""What a method prepared, as a file: a steering vector with its place, an opener, a probe.

The file is safetensors: numbers as tensors, words in the header, and beside them the method, the place in the
model and the hash of the weights that it was made with. A vector means something only in the model that it was
made with, so any other model is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from keyturn.core.describe import describe
from keyturn.core.errors import InputError, NewerError, UsageError
from keyturn.core.identity import identity
from keyturn.core.rundir import write_bytes
from keyturn.elicitation.contract import Asked, ElicitationMethod, Prepared
from keyturn.elicitation.steering import VectorConfig, site_of
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Policy
from keyturn.policies.sites import width_of

SCHEMA = 1
_FILLED_IN = frozenset({"development", "exemplars"})
"""Needs of preparing alone."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Given:
    """What was prepared before.

    Args:
        prepared: arrays by name.
        examples: problems whose gold answers were used for it.
        mark: hash of the arrays.
    """

    prepared: Prepared
    examples: int
    mark: str

    @staticmethod
    def of(prepared: Prepared, examples: int = 0) -> Given:
        """What was prepared for another method that means the same by it."""
        mark = identity({"arrays": describe(dict(sorted(prepared.items())), "arrays")})
        return Given(prepared=prepared, examples=examples, mark=mark)


def made_with(policy: Policy) -> str:
    """What the prepared arrays depend on: the weights of a model here, all of a policy elsewhere."""
    return policy._weights_hash() if isinstance(policy, LocalPolicy) else policy.fingerprint


def write_prepared(
    path: Path, method: ElicitationMethod, config: Any, asked: Asked, prepared: Prepared, examples: int
) -> None:
    """Write what a method prepared.

    Args:
        path: the file.
        method: who prepared it.
        config: its settings.
        asked: for which policy.
        prepared: the arrays.
        examples: problems whose gold answers were used.

    Raises:
        StorageError: the file cannot be written.
    """
    arrays = {name: np.asarray(one) for name, one in prepared.items()}
    words = {name: one.astype(str).tolist() for name, one in arrays.items() if one.dtype.kind in "US"}
    numbers = {name: np.ascontiguousarray(one) for name, one in arrays.items() if name not in words}
    header = {
        "keyturn": str(SCHEMA),
        "method": method.name,
        "made_with": made_with(asked.policy),
        "examples": str(examples),
        "words": json.dumps(words),
        "kl": str(getattr(config, "kl", 0.0)),
        **_place(asked, config),
    }
    write_bytes(path, save(numbers, metadata=header))


def read_prepared(path: Path, method: ElicitationMethod, config: Any, asked: Asked) -> Given:
    """Read what a method prepared before, for the same model.

    Args:
        path: the file.
        method: who is to use it.
        config: its settings.
        asked: for which policy.

    Raises:
        UsageError: the method prepares nothing, or the file is of another method, place or model.
        InputError: the file is no such file, or damaged.
    """
    again = f"keyturn elicit {method.name} MODEL, without --vector"
    if method.prepare is None:
        raise UsageError(f"{method.name} prepares nothing, so --vector would do nothing", fix="leave it out")
    header, arrays = _read(path, again)
    if header["method"] != method.name:
        what = f"{path} was made by {header['method']}, not by {method.name}"
        raise UsageError(what, fix=f"keyturn elicit {header['method']} ... --vector {path}")
    _see_width(path, asked.policy, arrays, again)
    if header["made_with"] != made_with(asked.policy):
        short = header["made_with"][:12]
        raise UsageError(f"{path} was made with another model (weights {short})", fix=f"make it anew: {again}")
    here = _place(asked, config)
    there = {name: header[name] for name in here if name in header}
    if there != here:
        told, wanted = (" ".join(f"{n} {v}" for n, v in one.items()) for one in (there, here))
        fix = " ".join(f"--{name} {value}" for name, value in there.items())
        raise UsageError(f"{path} was made for {told}, and the settings mean {wanted}", fix=fix or again)
    arrays |= _dose(path, header, config, again)
    return Given.of(arrays, int(header["examples"]))


def without_preparing(method: ElicitationMethod) -> ElicitationMethod:
    """The method when it need not prepare any more."""
    return replace(method, needs=method.needs - _FILLED_IN)


def _place(asked: Asked, config: Any) -> dict[str, str]:
    """Layer and side of a vector; nothing for other methods."""
    if not isinstance(config, VectorConfig):
        return {}
    site = site_of(asked, config)
    return {"layer": str(site.layer), "side": site.side}


def _dose(path: Path, header: Mapping[str, str], config: Any, again: str) -> dict[str, NDArray]:
    """The dose that the settings ask for. One that was searched for an effect is the file's own."""
    if not isinstance(config, VectorConfig):
        return {}
    if not config.kl:
        return {"dose": np.array([config.dose])}
    if header.get("kl") != str(config.kl):
        what = f"the dose in {path} was not searched for {config.kl:g} nats a token"
        raise UsageError(what, fix=f"--dose in place of --kl, or {again}")
    return {}


def _see_width(path: Path, policy: Policy, arrays: Mapping[str, NDArray], again: str) -> None:
    vector = arrays.get("vector")
    if vector is None or not isinstance(policy, LocalPolicy):
        return
    width = width_of(policy.model)
    if vector.shape[-1:] != (width,):
        wide = vector.shape[-1] if vector.ndim else 1
        what = f"{path} holds a vector of width {wide}, and the model has {width}"
        raise UsageError(what, fix=f"make it anew: {again}")


def _read(path: Path, again: str) -> tuple[Mapping[str, str], dict[str, NDArray]]:
    if not path.is_file():
        raise UsageError(f"no file {path}", fix=f"make it: {again}; --out DIR then holds prepared.safetensors")
    try:
        with safe_open(path, framework="np") as stored:
            header = stored.metadata() or {}
            arrays: dict[str, NDArray] = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path} is no safetensors file, or damaged ({error})", fix=f"make it: {again}"
        ) from error
    known = {"keyturn", "method", "made_with", "examples", "words"}
    if not known <= header.keys():
        raise InputError(f"{path} was not written by keyturn elicit", fix=f"make it: {again}")
    if header["keyturn"] != str(SCHEMA):
        raise NewerError(f"{path} was written by a newer keyturn", fix="install that version")
    try:
        words = json.loads(header["words"])
        arrays |= {str(name): np.array([str(one) for one in texts]) for name, texts in words.items()}
        int(header["examples"])
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(f"the header of {path} is damaged ({error})", fix=f"make it: {again}") from error
    return header, arrays
