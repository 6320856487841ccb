"""Sparse autoencoders: hidden states as sums of a few directions out of many, trained here or brought.

Formula, for a state ``a`` with ``x = a - mean`` (divided by ``|a - mean|`` where states are normalised)::

    z = W_enc (x - b_dec) + b_enc
    topk        of each state the k largest z are kept, the others are 0
    batchtopk   of a batch of n states the k n largest z; afterwards every z above a threshold, the mean over
                batches of the least z that was kept
    x^ = W_dec z + b_dec,   loss = sum |x^ - x|^2 / sum |x - mean x|^2   (the fraction of variance unexplained)

Rows of ``W_dec`` have length 1 after every step, and ``W_enc`` begins as their transpose. A latent that was not
kept for ``dead_after`` steps begins anew at the state that is explained worst. What is done to a state before
it is encoded belongs to the autoencoder and is saved with it, so it cannot be forgotten at use.

Source: TopK: Gao et al. 2024 (2406.04093); BatchTopK: Bussmann et al. 2024 (2412.06410); resampling: Bricken et
al. 2023; on sentence means with a learning rate by size: Venhoff et al. 2025 (2510.07364).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from keyturn.core.errors import InputError, UsageError
from keyturn.core.lazy import torch
from keyturn.core.streams import Streams
from keyturn.core.tensor_file import write_tensors

Kind: TypeAlias = Literal["topk", "batchtopk", "jump"]
"""``jump`` is not trained here: each latent is kept above a threshold of its own."""
_TENSORS = ("w_enc", "b_enc", "w_dec", "b_dec", "mean")
_THRESHOLDS = "thresholds"
_FORMAT = "keyturn sparse autoencoder"


@dataclass(frozen=True, kw_only=True)
class SparseConfig:
    """Settings of training.

    Args:
        latents: number of directions.
        k: how many a state has, on average for ``batchtopk``.
        kind: see the module.
        nonneg: negative values are never kept.
        normalise: states are divided by their distance from the mean.
        epochs, batch: passes over the states, and states of a step.
        lr: step size of Adam; 0: ``2e-4 / sqrt(latents / 2^14)``.
        dead_after: steps after which a latent that was never kept begins anew; 0: never.
    """

    latents: int = 64
    k: int = 4
    kind: Kind = "topk"
    nonneg: bool = True
    normalise: bool = False
    epochs: int = 50
    batch: int = 512
    lr: float = 0.0
    dead_after: int = 100

    def check(self) -> None:
        """Refuse senseless numbers.

        Raises:
            UsageError: one is.
        """
        if self.kind not in ("topk", "batchtopk"):
            raise UsageError(f"the kind of autoencoder is {self.kind!r}", fix="topk or batchtopk")
        if not 1 <= self.k <= self.latents or min(self.epochs, self.batch) < 1 or self.lr < 0:
            what = f"{self.k} of {self.latents} latents, {self.epochs} epochs of batches of {self.batch}"
            raise UsageError(f"senseless sizes: {what}", fix="1 or more of each, and k no more than latents")


@dataclass(frozen=True, kw_only=True, eq=False)
class Sparse:
    """A sparse autoencoder with all that is done to a state before it is encoded.

    Args:
        w_enc: ``[latent, dim]``.
        b_enc: ``[latent]``.
        w_dec: ``[latent, dim]``; rows have length 1 where it was trained here.
        b_dec, mean: ``[dim]``.
        kind, k, nonneg, normalise: as in :class:`SparseConfig`.
        threshold: above which a latent is kept, for ``batchtopk``.
        layer, side, reduce: the states that it was made for, as a tap calls them.
        made_for: hash of the weights of the model whose states these were; ``""``: not known.
        thresholds: above which each latent is kept, for ``jump``, ``[latent]``.
    """

    w_enc: NDArray[np.float32]
    b_enc: NDArray[np.float32]
    w_dec: NDArray[np.float32]
    b_dec: NDArray[np.float32]
    mean: NDArray[np.float32]
    kind: Kind = "topk"
    k: int = 1
    nonneg: bool = True
    normalise: bool = False
    threshold: float = 0.0
    layer: int = 0
    side: str = "out"
    reduce: str = "none"
    made_for: str = ""
    thresholds: NDArray[np.float32] | None = None

    def prepared(self, states: NDArray[np.floating]) -> NDArray[np.float64]:
        """States as they are encoded, ``[state, dim]``.

        Raises:
            InputError: they have another width.
        """
        if states.shape[-1] != self.mean.shape[0]:
            what = f"the states have the width {states.shape[-1]}, the autoencoder {self.mean.shape[0]}"
            raise InputError(what, fix="states of the model and layer that it was made for")
        moved = np.asarray(states, dtype=np.float64) - self.mean
        if self.normalise:
            length = np.linalg.norm(moved, axis=-1, keepdims=True)
            moved = moved / np.where(length > 0, length, 1.0)
        return moved

    def raw(self, states: NDArray[np.floating]) -> NDArray[np.float64]:
        """Values of all latents before any is dropped, ``[state, latent]``."""
        return (self.prepared(states) - self.b_dec) @ self.w_enc.T.astype(np.float64) + self.b_enc

    def encode(self, states: NDArray[np.floating]) -> NDArray[np.float64]:
        """Values of the latents that are kept, 0 for the others, ``[state, latent]``."""
        raw = self.raw(states)
        if self.kind == "batchtopk":
            return np.where(raw > self.threshold, raw, 0.0)
        if self.kind == "jump":
            assert self.thresholds is not None, "a jump has thresholds"
            return np.where(raw > self.thresholds, raw, 0.0)
        least = -np.sort(-raw, axis=-1)[:, self.k - 1 : self.k]
        kept = np.where(raw >= least, raw, 0.0)
        return np.maximum(kept, 0.0) if self.nonneg else kept

    def decode(self, latents: NDArray[np.floating]) -> NDArray[np.float64]:
        """What latents say of prepared states, ``[state, dim]``."""
        return np.asarray(latents, dtype=np.float64) @ self.w_dec + self.b_dec

    def unexplained(self, states: NDArray[np.floating]) -> float:
        """Fraction of the variance of prepared states that is not explained."""
        x = self.prepared(states)
        return float(((self.decode(self.encode(states)) - x) ** 2).sum() / ((x - x.mean(axis=0)) ** 2).sum())

    def l0(self, states: NDArray[np.floating]) -> float:
        """Mean number of latents of a state."""
        return float((self.encode(states) != 0).sum(axis=-1).mean())

    def labels(self, states: NDArray[np.floating]) -> NDArray[np.int64]:
        """The largest latent of each state, over all of them: its class in a taxonomy, ``[state]``."""
        return self.raw(states).argmax(axis=-1)

    def save(self, path: Path) -> None:
        """Write weights and all settings to one safetensors file."""
        named = (*_TENSORS, _THRESHOLDS) if self.thresholds is not None else _TENSORS
        tensors = {name: torch.from_numpy(np.asarray(getattr(self, name))) for name in named}
        own = (*_TENSORS, _THRESHOLDS)
        rest = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in own}
        write_tensors(path, tensors, {"format": _FORMAT, "settings": json.dumps(rest)})

    @staticmethod
    def load(path: Path) -> Sparse:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: the file is none of those.
        """
        tensors, metadata = _read(path)
        if metadata.get("format") != _FORMAT or set(tensors) - {_THRESHOLDS} != set(_TENSORS):
            what = f"{path} is no autoencoder that keyturn saved"
            raise InputError(
                what, fix="from_saelens for SAELens's folders, Sparse.brought for tensors of others"
            )
        return Sparse(**tensors, **json.loads(metadata["settings"]))

    @staticmethod
    def brought(tensors: Mapping[str, NDArray[Any]], *, k: int, kind: Kind = "topk", **rest: Any) -> Sparse:
        """An autoencoder that was made elsewhere, from its tensors.

        ``W_dec`` is ``[latent, dim]`` unless ``b_enc`` says otherwise, ``W_enc`` is turned to match;
        rows of the decoder are brought to length 1 and latents scaled to match, so what is decoded
        stays the same.

        Args:
            tensors: ``W_enc``, ``W_dec``, and where there are any ``b_enc``, ``b_dec``, ``mean``; names in any
                case.
            k, kind, rest: fields of this class.

        Raises:
            InputError: a matrix is missing, or shapes do not fit.
        """
        own = {name.lower(): np.asarray(one, dtype=np.float32) for name, one in tensors.items()}
        missing = [name for name in ("w_enc", "w_dec") if name not in own]
        if missing:
            raise InputError(f"the tensors lack {', '.join(missing)}", fix="W_enc and W_dec, at least")
        enc, dec = own["w_enc"], own["w_dec"]
        latents, dim = dec.shape
        if "b_enc" in own and own["b_enc"].shape == (dim,) and own["b_enc"].shape != (latents,):
            latents, dim = dim, latents
        enc, dec = (one if one.shape == (latents, dim) else one.T for one in (enc, dec))
        if enc.shape != (latents, dim) or dec.shape != (latents, dim):
            raise InputError(f"W_enc has the shape {enc.shape}, W_dec {dec.shape}", fix="matrices of one size")
        shapes = {"b_enc": (latents,), "b_dec": (dim,), "mean": (dim,)}
        wrong = [name for name, shape in shapes.items() if name in own and own[name].shape != shape]
        if wrong:
            what = f"{', '.join(wrong)}: not the size of the matrices"
            raise InputError(what, fix="tensors of one autoencoder")
        length = np.linalg.norm(dec, axis=1)
        length = np.where(length > 0, length, 1.0).astype(np.float32)
        given = {
            "w_enc": enc * length[:, None],
            "b_enc": own.get("b_enc", np.zeros(latents, dtype=np.float32)) * length,
            "w_dec": dec / length[:, None],
            "b_dec": own.get("b_dec", np.zeros(dim, dtype=np.float32)),
            "mean": own.get("mean", np.zeros(dim, dtype=np.float32)),
        }
        if not all(np.isfinite(one).all() for one in given.values()):
            raise InputError("the tensors hold what is no number", fix="finite weights")
        return Sparse(**given, k=k, kind=kind, **rest)


def _read(path: Path) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    try:
        with safe_open(str(path), framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read: {error}", fix="a safetensors file") from error


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """What training gives.

    Args:
        sparse: the autoencoder.
        unexplained: fraction of variance unexplained over each epoch's batches, ``[epoch]``.
        resampled: how many latents began anew.
        dead: latents that no state of the last epoch has.
    """

    sparse: Sparse
    unexplained: NDArray[np.float64]
    resampled: int
    dead: int


def fit_sparse(states: NDArray[np.floating], config: SparseConfig, streams: Streams, **place: Any) -> Fitted:
    """Train a sparse autoencoder on states.

    Args:
        states: ``[state, dim]``, tokens or means of sentences.
        config: settings.
        streams: draw the beginning and the order of states.
        place: ``layer``, ``side``, ``reduce`` and ``made_for`` of the states, kept with the autoencoder.

    Raises:
        UsageError: senseless settings.
        InputError: fewer than two states, or states that do not differ.
    """
    config.check()
    own = np.asarray(states, dtype=np.float64)
    if len(own) < 2 or not np.isfinite(own).all() or not np.ptp(own, axis=0).any():
        raise InputError("an autoencoder needs states that are numbers and differ", fix="more texts")
    blank = np.zeros((config.latents, own.shape[1]), dtype=np.float32)
    empty = Sparse(
        w_enc=blank,
        b_enc=blank[:, 0],
        w_dec=blank,
        b_dec=blank[0],
        mean=own.mean(axis=0).astype(np.float32),
        **{
            name: value
            for name, value in asdict(config).items()
            if name in ("kind", "k", "nonneg", "normalise")
        },
        **place,
    )
    run = _Training(torch.from_numpy(empty.prepared(own)).float(), config, streams)
    dice = streams.generator("order")
    record = [run.epoch(dice.permutation(len(own))) for _ in range(config.epochs)]
    tensors = {name: one.detach().numpy().copy() for name, one in run.weights.items()}
    threshold = float(np.mean(run.least)) if run.least else 0.0
    done = replace(empty, **tensors, threshold=threshold)
    return Fitted(
        sparse=done, unexplained=np.array(record), resampled=run.resampled, dead=int((run.kept == 0).sum())
    )


class _Training:
    """Weights, optimiser and counts while an autoencoder is trained."""

    def __init__(self, x: Any, config: SparseConfig, streams: Streams) -> None:
        self.x, self.config = x, config
        dice = streams.generator("begin")
        first = dice.standard_normal((config.latents, x.shape[1])).astype(np.float32)
        first /= np.linalg.norm(first, axis=1, keepdims=True)
        self.weights = {
            "w_enc": torch.from_numpy(first.copy()).requires_grad_(),
            "b_enc": torch.zeros(config.latents, requires_grad=True),
            "w_dec": torch.from_numpy(first.copy()).requires_grad_(),
            "b_dec": torch.zeros(x.shape[1], requires_grad=True),
        }
        lr = config.lr or 2e-4 / (config.latents / 2**14) ** 0.5
        self.optimiser = torch.optim.Adam(list(self.weights.values()), lr=lr)
        self.silent = np.zeros(config.latents, dtype=np.int64)
        self.kept = np.zeros(config.latents, dtype=np.int64)
        self.least: list[float] = []
        self.resampled = 0

    def epoch(self, order: NDArray[np.int64]) -> float:
        """One pass over the states; returns the fraction of variance unexplained."""
        self.kept[:], self.least = 0, []
        missed = total = 0.0
        for start in range(0, len(order), self.config.batch):
            batch = self.x[torch.from_numpy(order[start : start + self.config.batch])]
            found = self._step(batch)
            missed, total = missed + found[0], total + found[1]
        return missed / total if total else 0.0

    def _step(self, batch: Any) -> tuple[float, float]:
        w = self.weights
        raw = (batch - w["b_dec"]) @ w["w_enc"].T + w["b_enc"]
        z = self._sparse(raw)
        error = ((z @ w["w_dec"] + w["b_dec"] - batch) ** 2).sum(-1)
        spread = ((self.x.mean(0) - batch) ** 2).sum()
        loss = error.sum() / spread.clamp_min(torch.finfo(batch.dtype).tiny)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            w["w_dec"] /= w["w_dec"].norm(dim=1, keepdim=True).clamp_min(torch.finfo(batch.dtype).tiny)
        used = (z != 0).sum(0).numpy()
        self.kept += used
        self.silent = np.where(used > 0, 0, self.silent + 1)
        if self.config.dead_after and (self.silent >= self.config.dead_after).any():
            self._begin_anew(batch, error.detach())
        return float(error.detach().sum()), float(spread)

    def _sparse(self, raw: Any) -> Any:
        """The latents that are kept."""
        if self.config.kind == "topk":
            values, where = raw.topk(self.config.k, dim=-1)
            z = torch.zeros_like(raw).scatter(-1, where, values)
            return z.relu() if self.config.nonneg else z
        count = min(self.config.k * len(raw), raw.numel())
        values, where = raw.flatten().topk(count)
        positive = values[values > 0]
        if len(positive):
            self.least.append(float(positive.min().detach()))
        return torch.zeros_like(raw).flatten().scatter(0, where, values.relu()).reshape(raw.shape)

    def _begin_anew(self, batch: Any, error: Any) -> None:
        """Point dead latents at the states that are explained worst."""
        dead = np.flatnonzero(self.silent >= self.config.dead_after)
        worst = error.argsort(descending=True)[: len(dead)]
        with torch.no_grad():
            w = self.weights
            alive = np.setdiff1d(np.arange(self.config.latents), dead)
            size = float(w["w_enc"][alive].norm(dim=1).mean()) if len(alive) else 1.0
            for latent, row in zip(dead.tolist(), worst.tolist(), strict=False):
                away = batch[row] - w["b_dec"]
                unit = away / away.norm().clamp_min(torch.finfo(batch.dtype).tiny)
                w["w_dec"][latent], w["w_enc"][latent], w["b_enc"][latent] = unit, 0.2 * size * unit, 0.0
                for name in ("w_enc", "b_enc", "w_dec"):
                    for moment in ("exp_avg", "exp_avg_sq"):
                        self.optimiser.state[w[name]][moment][latent] = 0.0
                self.silent[latent] = 0
                self.resampled += 1
