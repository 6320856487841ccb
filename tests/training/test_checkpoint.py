"""Checkpoints: whole or not at all; damage is skipped by hash and named; a full disk costs nothing old."""

import errno
import itertools
import json
import logging
import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from keyturn.core.errors import StorageError
from keyturn.training import checkpoint
from keyturn.training.checkpoint import (
    Snapshot,
    load_optimiser,
    load_weights,
    newest_checkpoint,
    optimiser_tensors,
    read_checkpoint,
    weights_of,
    write_checkpoint,
)


def snapshot(step, fill=None):
    value = float(step if fill is None else fill)
    return Snapshot(
        step=step,
        tensors={
            "weights": {"a": torch.full((3, 2), value), "b": torch.tensor(value)},
            "optimiser": {"exp_avg/a": torch.full((3, 2), value / 7)},
        },
        facts={"position": 4 * step, "hooks": {"x": [1, None]}},
    )


def same(one, other):
    assert one.step == other.step
    assert one.facts == other.facts
    assert one.tensors.keys() == other.tensors.keys()
    for group, tensors in one.tensors.items():
        assert tensors.keys() == other.tensors[group].keys()
        assert all(torch.equal(tensor, other.tensors[group][name]) for name, tensor in tensors.items())


def test_what_is_written_comes_back(tmp_path):
    write_checkpoint(tmp_path, snapshot(3))
    found = newest_checkpoint(tmp_path)
    same(found, snapshot(3))


def test_no_folder_and_no_checkpoint_is_none(tmp_path):
    assert newest_checkpoint(tmp_path / "absent") is None
    assert newest_checkpoint(tmp_path) is None


def test_the_newest_few_are_kept(tmp_path):
    for step in (1, 2, 3, 10):
        write_checkpoint(tmp_path, snapshot(step), keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000003", "step-000010"]


def test_there_are_no_pickles(tmp_path):
    path = write_checkpoint(tmp_path, snapshot(1))
    assert {p.suffix for p in path.iterdir()} == {".safetensors", ".json"}


def test_the_same_state_gives_the_same_bytes(tmp_path):
    one = write_checkpoint(tmp_path / "a", snapshot(1))
    other = write_checkpoint(tmp_path / "b", snapshot(1))
    for file in one.iterdir():
        assert file.read_bytes() == (other / file.name).read_bytes()


FILES = ["weights.safetensors", "optimiser.safetensors", "facts.json", "manifest.json"]


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(bytes(data))


def _empty(path):
    path.write_bytes(b"")


def _remove(path):
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "file"), list(itertools.product([_truncate, _flip, _empty, _remove], FILES))
)
def test_a_damaged_checkpoint_is_skipped_and_named(tmp_path, caplog, damage, file):
    write_checkpoint(tmp_path, snapshot(1))
    newest = write_checkpoint(tmp_path, snapshot(2))
    damage(newest / file)
    with caplog.at_level(logging.WARNING, logger="keyturn"):
        found = newest_checkpoint(tmp_path)
    same(found, snapshot(1))
    assert "step-000002" in caplog.text


def test_a_manifest_that_points_elsewhere_reads_nothing_there(tmp_path):
    path = write_checkpoint(tmp_path / "checkpoints", snapshot(1))
    outside = tmp_path / "secret.safetensors"
    shutil.copy(path / "weights.safetensors", outside)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["sha256"]["../../secret.safetensors"] = checkpoint.file_hash(outside)
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert newest_checkpoint(tmp_path / "checkpoints") is None


def test_a_newer_schema_is_not_taken_for_damage(tmp_path):
    path = write_checkpoint(tmp_path, snapshot(1))
    (path / "manifest.json").write_text('{"schema": 99, "sha256": {}}')
    with pytest.raises(StorageError, match="newer keyturn"):
        newest_checkpoint(tmp_path)


def refuse(monkeypatch, at):
    """Let call number ``at`` of everything that writes fail for want of space; returns the count of calls."""
    calls = itertools.count()
    made = []

    def limited(original):
        def call(*args, **kwargs):
            made.append(original)
            if next(calls) == at:
                raise OSError(errno.ENOSPC, "no space left")
            return original(*args, **kwargs)

        return call

    for owner, name in ((os, "fsync"), (Path, "mkdir"), (Path, "replace")):
        monkeypatch.setattr(owner, name, limited(getattr(owner, name)))
    return made


def test_a_full_disk_at_any_write_leaves_the_older_ones(tmp_path, monkeypatch):
    write_checkpoint(tmp_path, snapshot(1))
    (tmp_path / "count").mkdir()
    with monkeypatch.context() as patch:
        made = refuse(patch, at=-1)
        write_checkpoint(tmp_path / "count", snapshot(1))
        total = len(made)
    assert total >= 9
    for at in range(total):
        with monkeypatch.context() as patch:
            refuse(patch, at)
            with pytest.raises(StorageError, match="disk full"):
                write_checkpoint(tmp_path, snapshot(2))
        assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
        # Only the flush after the rename may fail with the new one in place, and then it is whole.
        same(newest_checkpoint(tmp_path), snapshot(2 if at == total - 1 else 1))
    write_checkpoint(tmp_path, snapshot(3))
    same(newest_checkpoint(tmp_path), snapshot(3))


def test_room_is_asked_for_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "free_bytes", lambda folder: 1000)
    with pytest.raises(StorageError, match="1,000 are free"):
        write_checkpoint(tmp_path / "c", snapshot(1))
    assert not (tmp_path / "c").exists()


def test_half_made_folders_of_earlier_crashes_are_swept(tmp_path):
    left = tmp_path / ".step-000007.4242.part"
    left.mkdir()
    (left / "weights.safetensors").write_bytes(b"x")
    assert newest_checkpoint(tmp_path) is None
    write_checkpoint(tmp_path, snapshot(1))
    assert [p.name for p in tmp_path.iterdir()] == ["step-000001"]


def tied():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(5, 3)
            self.head = nn.Linear(3, 5, bias=False)
            self.head.weight = self.embed.weight
            self.register_buffer("seen", torch.zeros(2))
            self.register_buffer("scratch", torch.zeros(2), persistent=False)

    return Tied()


def test_tied_weights_are_kept_once_and_buffers_that_persist(tmp_path):
    model = tied()
    assert sorted(weights_of(model)) == ["embed.weight", "seen"]
    with torch.no_grad():
        model.embed.weight.fill_(2.0)
        model.seen.fill_(1.0)
    write_checkpoint(tmp_path, Snapshot(step=1, tensors={"weights": weights_of(model)}, facts={}))
    other = tied()
    load_weights(other, newest_checkpoint(tmp_path).tensors["weights"])
    assert (other.head.weight == 2).all()
    assert (other.seen == 1).all()


def test_weights_of_another_model_are_refused():
    with pytest.raises(StorageError, match="another model"):
        load_weights(tied(), {"embed.weight": torch.zeros(5, 3)})
    with pytest.raises(StorageError, match="another model"):
        load_weights(tied(), {"embed.weight": torch.zeros(5, 4), "seen": torch.zeros(2)})


@pytest.mark.parametrize("fused", [False, True])
def test_the_optimiser_goes_on_as_if_nothing_had_been(fused):
    def trainer():
        model = nn.Linear(4, 3)
        with torch.no_grad():
            model.weight.copy_(torch.arange(12.0).view(3, 4) / 12)
            model.bias.zero_()
        return model, torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)

    def step(model, optimiser, x):
        optimiser.zero_grad()
        model(x).square().sum().backward()
        optimiser.step()

    xs = torch.arange(24.0).view(6, 1, 4).sin()
    straight, optimiser = trainer()
    for x in xs:
        step(straight, optimiser, x)
    first, first_optimiser = trainer()
    for x in xs[:3]:
        step(first, first_optimiser, x)
    saved = {
        k: v.clone() for k, v in optimiser_tensors(first_optimiser, dict(first.named_parameters())).items()
    }
    second, second_optimiser = trainer()
    second.load_state_dict(first.state_dict())
    load_optimiser(second_optimiser, dict(second.named_parameters()), saved)
    for x in xs[3:]:
        step(second, second_optimiser, x)
    assert torch.equal(straight.weight, second.weight)
    # Twin: without the moments the last weights differ.
    third, third_optimiser = trainer()
    third.load_state_dict(first.state_dict())
    for x in xs[3:]:
        step(third, third_optimiser, x)
    assert not torch.equal(straight.weight, third.weight)


def test_moments_that_do_not_cover_the_model_are_refused():
    model = nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(model.parameters())
    with pytest.raises(StorageError, match="optimiser state"):
        load_optimiser(optimiser, dict(model.named_parameters()), {"exp_avg/weight": torch.zeros(2, 2)})


def test_a_link_or_a_file_of_the_name_is_no_checkpoint(tmp_path):
    (tmp_path / "step-000009").write_bytes(b"")
    (tmp_path / "notes").mkdir()
    write_checkpoint(tmp_path, snapshot(1))
    assert newest_checkpoint(tmp_path).step == 1
    assert read_checkpoint(tmp_path / "step-000001").step == 1
