"""Tensors go to disk from where they lie, whole or not at all."""

import errno
import os
import resource
import sys

import pytest
import safetensors.torch
import torch

from keyturn.core.errors import StorageError
from keyturn.core.tensor_file import write_tensors

TENSORS = {"b": torch.arange(6.0).view(2, 3), "a": torch.tensor(3), "narrow": torch.ones(3).bfloat16()}


def test_what_is_written_is_what_the_library_would_write(tmp_path):
    write_tensors(tmp_path / "inside" / "x.safetensors", TENSORS, {"k": "v"})
    file = tmp_path / "inside" / "x.safetensors"
    assert file.read_bytes() == safetensors.torch.save(TENSORS, metadata={"k": "v"})
    assert [path.name for path in file.parent.iterdir()] == ["x.safetensors"]
    assert file.stat().st_mode & 0o777 == 0o644


def test_nothing_is_copied_before_it_is_written(tmp_path, monkeypatch):
    seen = {}
    real = safetensors.torch.save_file

    def spy(tensors, *args, **kwargs):
        seen.update({name: tensor.data_ptr() for name, tensor in tensors.items()})
        return real(tensors, *args, **kwargs)

    monkeypatch.setattr(safetensors.torch, "save_file", spy)
    # A copy of all of it in memory is what this is not for.
    monkeypatch.setattr(safetensors.torch, "save", None)
    trained = torch.nn.Parameter(torch.ones(4))
    write_tensors(tmp_path / "x.safetensors", {"w": trained})
    assert seen == {"w": trained.data_ptr()}


def test_a_slice_of_a_table_is_written_in_its_own_order(tmp_path):
    table = torch.arange(6.0).view(2, 3)
    write_tensors(tmp_path / "x.safetensors", {"turned": table.T, "column": table[:, 1]})
    found = safetensors.torch.load_file(tmp_path / "x.safetensors")
    assert torch.equal(found["turned"], table.T)
    assert torch.equal(found["column"], table[:, 1])


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
def test_a_file_that_may_not_grow_leaves_the_old_one(tmp_path):
    file = tmp_path / "x.safetensors"
    write_tensors(file, TENSORS)
    before = file.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(StorageError, match="may not grow further"):
            write_tensors(file, {"w": torch.ones(4000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.mark.parametrize("at", ["write", "fsync"])
def test_a_full_disk_leaves_the_old_one(tmp_path, monkeypatch, at):
    file = tmp_path / "x.safetensors"
    write_tensors(file, TENSORS)
    before = file.read_bytes()

    def full(*args, **kwargs):
        if at == "write":
            raise safetensors.SafetensorError(
                f"Error while serializing: I/O error: full (os error {errno.ENOSPC})"
            )
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(*((safetensors.torch, "save_file") if at == "write" else (os, "fsync")), full)
    with pytest.raises(StorageError, match="disk full"):
        write_tensors(file, {"w": torch.ones(3)})
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_what_is_no_refusal_of_the_system_is_raised_as_it_is(tmp_path):
    shared = torch.ones(4)
    with pytest.raises(RuntimeError, match="share memory"):
        write_tensors(tmp_path / "x.safetensors", {"one": shared, "two": shared})
    assert list(tmp_path.iterdir()) == []
