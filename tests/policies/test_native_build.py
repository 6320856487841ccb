"""The library is made once, by whoever comes first, where it may lie; and where it cannot be, torch answers."""

import os
import pathlib
import stat
import subprocess
import sys
import tempfile
import time

import native_cases as cases
import pytest
import small_models
import torch

from keyturn.core.streams import Streams
from keyturn.policies.hooks import ForwardHook
from keyturn.policies.local import LocalPolicy
from keyturn.policies.native import build
from keyturn.policies.native.build import Shape, Unavailable, library
from keyturn.policies.native.fits import chosen
from keyturn.policies.protocol import Limits
from keyturn.policies.sampling import Sampling
from keyturn.policies.which_engine import engine_of, why_not_native

SMALL = Shape(dim=8, heads=1, inter=8, layers=1, vocab=5, canon=False, bias=False)
QUICK = ("-std=gnu11", "-O0", "-fPIC")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder and a temporary folder of this test alone, and a compiler that does not optimise."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "FLAGS", QUICK)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "cache" / "keyturn" / "native"


def test_it_is_kept_by_content(cache, tmp_path, monkeypatch):
    first = library(SMALL)
    assert first.path.parent == cache
    assert library(SMALL) is first
    again = build._loaded(SMALL, build.compiler(None), QUICK)
    assert again.path == first.path
    other = library(Shape(**{**vars(SMALL), "vocab": 6}))
    assert other.key != first.key
    changed = cases.broken(tmp_path / "changed", "engine.c", "docs/native.md", "docs/native.txt")
    monkeypatch.setattr(build, "HERE", changed)
    assert build._loaded(SMALL, build.compiler(None), QUICK).key not in (first.key, other.key)
    assert build._loaded(SMALL, build.compiler(None), (*QUICK, "-g")).key != first.key


def test_a_damaged_library_is_made_again(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    name = library(SMALL).path.name
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache.mkdir(parents=True)
    (cache / name).write_bytes(b"not a library")
    assert library(SMALL).path == cache / name
    assert (cache / name).stat().st_size > 1000


FIRST_USE = """
import pathlib, sys, time
from keyturn.policies.native import build
build.FLAGS = {flags!r}
until = float(sys.argv[1])
while time.time() < until:
    pass
found = build.library(build.Shape(**{shape!r}))
print(found.path, found.code.weights_bytes())
"""


def test_processes_that_need_it_at_once_get_one(cache, tmp_path):
    """Each is told when to begin; one compiles, the others wait for it."""
    counted = tmp_path / "counted"
    compiler = tmp_path / "cc"
    compiler.write_text(f'#!/bin/sh\ncase "$*" in *-shared*) echo x >> {counted};; esac\nexec cc "$@"\n')
    compiler.chmod(0o755)
    code = FIRST_USE.format(flags=QUICK, shape=vars(SMALL))
    command = [sys.executable, "-c", code, str(time.time() + 1.0)]
    environment = {**os.environ, "CC": str(compiler)}
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0] * 4
    assert len(set(said)) == 1
    assert counted.read_text() == "x\n"
    assert not list(cache.glob("*.part"))


def test_where_the_cache_is_read_only_a_folder_of_ones_own_is_taken(cache, tmp_path, monkeypatch):
    blocked = tmp_path / "a file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    path = library(SMALL).path
    assert path.is_relative_to(tmp_path / "tmp")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_read_only_home(cache, tmp_path, monkeypatch):
    """Root may write anywhere, so the refusal is the system's own in the place of its answer."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(home))
    make = pathlib.Path.mkdir

    def refused(self, *given, **named):
        if self.is_relative_to(home):
            raise PermissionError(30, "Read-only file system", str(self))
        make(self, *given, **named)

    monkeypatch.setattr(pathlib.Path, "mkdir", refused)
    assert library(SMALL).path.is_relative_to(tmp_path / "tmp")


def test_a_folder_that_others_may_write_is_not_trusted(cache, tmp_path):
    """Whoever can put a library there decides what is run."""
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    shared = tmp_path / "tmp" / f"keyturn-{os.getuid()}"
    shared.mkdir()
    shared.chmod(0o777)
    path = library(SMALL).path
    assert path.parent not in (cache, shared)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("compiler", "why"),
    [
        ("no-such-compiler", "no C compiler"),
        ("false", "does not work"),
        ("sh -c 'case \"$*\" in *-shared*) echo error: it broke >&2; exit 1;; esac' --", "error: it broke"),
    ],
)
def test_without_a_compiler_torch_answers(cache, monkeypatch, compiler, why):
    monkeypatch.setenv("CC", compiler)
    model = cases.model_of(SMALL)
    found = chosen(model)
    assert found.engine is None
    assert why in found.why
    with pytest.raises(Unavailable, match=why):
        library(SMALL)
    policy = LocalPolicy(small_models.family("tiny"), small_models.tokenizer())
    assert engine_of(policy) == "torch"
    assert len(policy.draw(small_models.problems((3,)), range(2), Streams(1), Limits(max_new_tokens=4))) == 2


def test_a_failure_is_not_tried_again(cache, tmp_path, monkeypatch):
    counted = tmp_path / "counted"
    monkeypatch.setenv("CC", f"sh -c 'echo x >> {counted}; exit 1' --")
    for _ in range(3):
        assert chosen(cases.model_of(SMALL)).engine is None
    assert len(counted.read_text().split()) == len(build._FOR_THIS_PROCESSOR)


def adapted(model):
    model.model.layers[0].mlp.up_proj = torch.nn.Sequential(model.model.layers[0].mlp.up_proj)


def hooked(model):
    model.model.layers[1].register_forward_hook(lambda *_: None)


def replaced(model):
    model.model.norm.forward = lambda inputs: inputs


def untied(model):
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())


STRANGE = {
    "double": (lambda model: model.double(), "float64"),
    "adapter": (adapted, "a Sequential stands in it"),
    "hook": (hooked, "a hook is on a Block"),
    "another forward": (replaced, "forward of a RmsNorm was replaced"),
    "another head": (untied, "the head is not the embedding"),
}


@pytest.mark.parametrize("what", sorted(STRANGE))
def test_what_it_does_not_compute_is_left_to_torch(what):
    change, why = STRANGE[what]
    model = small_models.family("tiny")
    assert chosen(model).engine is not None
    change(model)
    found = chosen(model)
    assert found.engine is None
    assert why in found.why


def test_what_else_it_does_not_compute(monkeypatch):
    model = small_models.family("tiny")
    assert "another architecture" in chosen(small_models.family("gpt2")).why
    assert "processor" in chosen(model, processors=[object()]).why
    assert "truncated" in chosen(model, sampling=Sampling(top_p=0.9)).why
    assert "truncated" in chosen(model, sampling=Sampling(top_k=3)).why
    with torch.autocast("cpu"):
        assert "autocast" in chosen(model).why
    monkeypatch.setenv(build.SWITCH, "0")
    assert chosen(model).why == "KEYTURN_NATIVE=0"


@pytest.mark.parametrize(
    ("prompt", "limit", "why"),
    [(3, 30, ""), (40, 25, ""), (40, 26, "longer than the context"), (3, 0, "nothing to read")],
)
def test_rows_beyond_its_tables_are_left_to_torch(prompt, limit, why):
    shape = cases.SHAPES["whole tiles"]
    rows = cases.rows_of(shape, (prompt,), (limit,))
    found = chosen(cases.model_of(shape), texts=rows)
    assert (found.engine is None) == bool(why)
    assert found.why == why
    if not why:
        rows.prompts[0][0] = shape.vocab
        assert "does not know" in chosen(cases.model_of(shape), texts=rows).why


def test_the_engine_of_a_policy_is_plain_data(monkeypatch):
    model, tokenizer = small_models.family("tiny"), small_models.tokenizer()
    said = engine_of(LocalPolicy(model, tokenizer))
    assert said == f"native {chosen(model).engine.library.key}"
    assert why_not_native(LocalPolicy(model, tokenizer)) == ""
    hook = ForwardHook(name="h", module="model.norm", run=lambda *_: None)
    hooked_on = LocalPolicy(model, tokenizer, hooks=[hook])
    assert (engine_of(hooked_on), why_not_native(hooked_on)) == ("torch", "the policy has hooks")
    assert engine_of(object()) == "elsewhere"
    monkeypatch.setenv(build.SWITCH, "0")
    assert engine_of(LocalPolicy(model, tokenizer)) == "torch"


def test_structs_that_do_not_match_are_noticed(cache, tmp_path, monkeypatch):
    other = cases.broken(tmp_path / "other", "decode.h", "int64_t rows, width;", "int64_t rows, width, more;")
    monkeypatch.setattr(build, "HERE", other)
    with pytest.raises(RuntimeError, match="structs"):
        cases.engine_for(SMALL)
