"""Sparse autoencoders: planted directions are found, settings travel along, brought ones decode alike."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from keyturn.core.errors import InputError, UsageError
from keyturn.core.streams import Streams
from keyturn.policies import sparse as sparse_file
from keyturn.policies.sparse import Sparse, SparseConfig, fit_sparse

CONFIG = SparseConfig(latents=16, k=2, epochs=50, batch=128, lr=0.01)


def planted(rows=1024, latents=8, dim=16, k=2, seed=0):
    """States that are sums of two of eight directions, off centre, with a little noise."""
    dice = np.random.default_rng(seed)
    axes = np.linalg.qr(dice.normal(size=(dim, dim)))[0][:latents]
    which = np.array([dice.choice(latents, size=k, replace=False) for _ in range(rows)])
    size = dice.uniform(1.0, 2.0, size=(rows, k))
    states = (axes[which] * size[..., None]).sum(axis=1) + 0.01 * dice.normal(size=(rows, dim)) + 3.0
    return states, axes, which


def best_match(found, axes):
    """For each axis, the cosine with the latent that fits best."""
    return np.abs(axes @ found.w_dec.T).max(axis=1)


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_planted_directions_are_found(kind):
    states, axes, which = planted()
    fitted = fit_sparse(states, replace(CONFIG, kind=kind), Streams(1))
    found = fitted.sparse
    assert (best_match(found, axes) > 0.95).all()
    assert found.unexplained(states) < 0.1
    assert found.l0(states) == pytest.approx(2.0, abs=0.4)
    assert np.allclose(np.linalg.norm(found.w_dec, axis=1), 1.0, atol=1e-5)
    assert fitted.unexplained[-1] < fitted.unexplained[0]
    # A direction may have several latents: compare the directions that a state has, and its largest one.
    axis = np.abs(axes @ found.w_dec.T).argmax(axis=0)
    kept = found.encode(states) > 0.3
    assert np.mean([set(axis[kept[row]]) == set(which[row]) for row in range(200)]) > 0.85
    assert (axis[found.labels(states)][:, None] == which).any(axis=1).mean() > 0.95


def test_encoding_is_the_formula():
    """One state at a time, latent by latent, from the numbers of the file."""
    states, _, _ = planted(rows=64)
    for config in (replace(CONFIG, epochs=2), replace(CONFIG, epochs=2, normalise=True, nonneg=False, k=3)):
        found = fit_sparse(states, config, Streams(2)).sparse
        for state, given in zip(states[:8], found.encode(states[:8]), strict=True):
            x = state - found.mean.astype(float)
            x = x / np.linalg.norm(x) if config.normalise else x
            z = [
                float(np.dot(row, x - found.b_dec) + b) for row, b in zip(found.w_enc, found.b_enc, strict=True)
            ]
            kept = sorted(range(16), key=lambda i: -z[i])[: config.k]
            expected = [z[i] if i in kept and (z[i] > 0 or not config.nonneg) else 0.0 for i in range(16)]
            assert np.allclose(given, expected, atol=1e-4)


def test_what_is_done_to_states_is_saved_with_the_weights(tmp_path):
    states, _, _ = planted(rows=128)
    config = replace(CONFIG, epochs=2, kind="batchtopk", normalise=True)
    found = fit_sparse(states, config, Streams(2), layer=3, side="mlp", reduce="mean", made_for="abc").sparse
    found.save(tmp_path / "one.safetensors")
    again = Sparse.load(tmp_path / "one.safetensors")
    assert np.array_equal(again.encode(states), found.encode(states))
    assert (again.layer, again.side, again.reduce, again.made_for) == (3, "mlp", "mean", "abc")
    assert again.threshold == found.threshold > 0
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="cannot be read"):
        Sparse.load(tmp_path / "bad.safetensors")
    with pytest.raises(InputError, match="width"):
        found.encode(states[:, 1:])


def test_an_autoencoder_from_elsewhere_decodes_what_it_decoded_there():
    dice = np.random.default_rng(3)
    enc, dec = dice.normal(size=(6, 20)).astype("f4"), 3 * dice.normal(size=(20, 6)).astype("f4")
    bias = {"b_enc": dice.normal(size=20).astype("f4"), "b_dec": dice.normal(size=6).astype("f4")}
    found = Sparse.brought({"W_enc": enc, "W_dec": dec, **bias}, k=20)
    states = dice.normal(size=(10, 6))
    there = np.maximum((states - bias["b_dec"]) @ enc + bias["b_enc"], 0.0) @ dec + bias["b_dec"]
    assert np.allclose(found.decode(found.encode(states)), there, atol=1e-4)
    assert np.allclose(np.linalg.norm(found.w_dec, axis=1), 1.0, atol=1e-5)
    for bad in (
        {"W_enc": enc},
        {"W_enc": enc[:, :3], "W_dec": dec},
        {"W_enc": enc, "W_dec": dec, "b_enc": np.zeros(7)},
    ):
        with pytest.raises(InputError):
            Sparse.brought(bad, k=2)


def test_dead_latents_begin_anew_and_without_it_stay_dead():
    states, _, _ = planted(rows=512)
    config = replace(CONFIG, latents=32, epochs=30, dead_after=20)
    alive = fit_sparse(states, config, Streams(5))
    left = fit_sparse(states, replace(config, dead_after=0), Streams(5))
    assert alive.resampled > 0
    assert left.resampled == 0
    assert left.dead > 0
    assert alive.sparse.unexplained(states) <= left.sparse.unexplained(states) + 0.02
    again = fit_sparse(states, config, Streams(5))
    assert np.array_equal(again.sparse.w_enc, alive.sparse.w_enc), "the same streams give the same weights"


def test_an_autoencoder_without_sparsity_is_rejected(monkeypatch):
    """The broken twin keeps every latent."""
    monkeypatch.setattr(sparse_file._Training, "_sparse", lambda self, raw: raw)
    states, axes, _ = planted()
    found = fit_sparse(states, CONFIG, Streams(1)).sparse
    assert not ((best_match(found, axes) > 0.9).all() and found.unexplained(states) < 0.1)


def test_senseless_settings_and_states_are_refused():
    states, _, _ = planted(rows=16)
    for settings in ({"k": 17}, {"epochs": 0}, {"kind": "jump"}):
        with pytest.raises(UsageError):
            fit_sparse(states, replace(CONFIG, **settings), Streams(0))
    with pytest.raises(InputError, match="differ"):
        fit_sparse(np.ones((4, 3)), CONFIG, Streams(0))
    assert torch.is_grad_enabled()
