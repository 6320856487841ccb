"""One shared library for each model shape, compiled at first use by the system's compiler and kept.

It is stored in the user's cache folder under a hash of the sources, the shape, the flags, and the compiler's
description of itself and of the processor. So a stale library is never used, and a home folder that several
machines share holds one library for each. If two processes need it at once, one compiles it and the other
waits. If the cache cannot be written, or libraries in it may not be executed, a folder of this user under the
system's temporary folder is used instead, and after that a folder of this process alone.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock

SWITCH = "KEYTURN_NATIVE"
"""Environment variable: 0 turns the engine off."""

FLAGS = ("-std=gnu11", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fPIC")
_FOR_THIS_PROCESSOR = (("-march=native",), ("-mcpu=native",), ())
"""Flags for this processor; the first that the compiler accepts is used."""

HERE = Path(__file__).parent
__code_files__ = SOURCES = ("engine.c", "kernels.h", "weights.h", "read.h", "decode.h", "learn.h")
_PATIENCE_S = 300.0
"""How long the compiler, or another process that compiles, may take."""


class Unavailable(Exception):
    """No library can be had; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a library is compiled for."""

    dim: int
    heads: int
    inter: int
    layers: int
    vocab: int
    canon: bool
    bias: bool

    @staticmethod
    def read(config: Mapping[str, Any]) -> Shape:
        """The shape of a model of this ``config.json``."""
        return Shape(
            dim=config["hidden_size"],
            heads=config["num_attention_heads"],
            inter=config["intermediate_size"],
            layers=config["num_hidden_layers"],
            vocab=config["vocab_size"],
            canon=config["canon"],
            bias=config.get("mlp_bias", False),
        )

    def definitions(self) -> list[str]:
        """The shape as definitions for the compiler's command line."""
        return [f"-D{name.upper()}={int(value)}" for name, value in asdict(self).items()]


@dataclass(frozen=True, kw_only=True, eq=False)
class Library:
    """A loaded library.

    Args:
        code: the library's functions.
        key: hash of everything that determines what it computes, to the last bit.
        path: the library's file.
    """

    code: ctypes.CDLL
    key: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class Compiler:
    """A compiler that works here.

    Args:
        command: the compiler and its flags for this processor.
        says: its predefined macros, which name its version and the processor.
    """

    command: tuple[str, ...]
    says: str


@functools.cache
def compiler(named: str | None) -> Compiler:
    """The system's C compiler.

    Args:
        named: the value of ``CC``; None: the first of cc, gcc and clang on the path.

    Raises:
        Unavailable: none is there, or it cannot compile.
    """
    candidates = [shlex.split(named)] if named else [["cc"], ["gcc"], ["clang"]]
    found = [command for command in candidates if command and shutil.which(command[0])]
    if not found:
        raise Unavailable(f"no C compiler ({named or 'cc, gcc, clang'}) on the path")
    for extra in _FOR_THIS_PROCESSOR:
        command = [*found[0], *extra]
        done = _run([*command, "-dM", "-E", "-x", "c", os.devnull])
        if done.returncode == 0:
            return Compiler(command=tuple(command), says=done.stdout)
    raise Unavailable(f"{found[0][0]} does not work: {_first_line(done.stderr)}")


def library(shape: Shape) -> Library:
    """The library of a shape, which is compiled if it does not exist yet. A second call returns the same
    library.

    Raises:
        Unavailable: there is none; later calls of this process raise the same error.
    """
    return _library(shape, os.environ.get("CC"), os.environ.get("XDG_CACHE_HOME"), FLAGS)


def _library(shape: Shape, named: str | None, cache: str | None, flags: Sequence[str]) -> Library:
    place = (shape, named, cache, tuple(flags))
    if place not in _KNOWN:
        try:
            _KNOWN[place] = _loaded(shape, compiler(named), flags)
        except Unavailable as error:
            _KNOWN[place] = str(error)
    known = _KNOWN[place]
    if isinstance(known, str):
        raise Unavailable(known)
    return known


_KNOWN: dict[tuple[object, ...], Library | str] = {}


def _loaded(shape: Shape, by: Compiler, flags: Sequence[str]) -> Library:
    command = [*by.command, *flags, *shape.definitions(), "-shared"]
    mixed = hashlib.sha256(by.says.encode() + repr(command).encode())
    for name in SOURCES:
        mixed.update((HERE / name).read_bytes())
    key = mixed.hexdigest()[:12]
    why = ""
    for folder in _folders():
        path = folder / f"tiny-{key}.so"
        try:
            with filelock.FileLock(path.with_suffix(".lock"), timeout=_PATIENCE_S):
                if not path.exists():
                    _compile(command, path)
                try:
                    return Library(code=ctypes.CDLL(str(path)), key=key, path=path)
                except OSError:
                    _compile(command, path)  # what lay there may be damaged
                    return Library(code=ctypes.CDLL(str(path)), key=key, path=path)
        except (OSError, filelock.Timeout) as error:
            why = f"{folder}: {_first_line(str(error))}"
    raise Unavailable(f"no folder for the compiled library ({why})")


def _folders() -> Iterator[Path]:
    """The folders in which libraries may be kept, best first; each of them exists."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    user = os.getuid() if hasattr(os, "getuid") else 0
    for folder in (Path(cache) / "keyturn" / "native", Path(tempfile.gettempdir()) / f"keyturn-{user}"):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if _ours(folder):
                yield folder
        except OSError:
            continue
    yield Path(tempfile.mkdtemp(prefix="keyturn-"))


def _ours(folder: Path) -> bool:
    """Whether only this user can write to the folder, since what is in it is executed."""
    found = folder.stat()
    strange = hasattr(os, "getuid") and found.st_uid != os.getuid()
    others = stat.S_IMODE(found.st_mode) & (stat.S_IWGRP | stat.S_IWOTH)
    return not strange and not others and os.access(folder, os.W_OK) and not folder.is_symlink()


def _compile(command: Sequence[str], path: Path) -> None:
    """Compile to a temporary file, then rename it, so that a file of this name is always complete.

    Raises:
        Unavailable: the compiler fails.
    """
    aside = path.with_suffix(f".{os.getpid()}.part")
    try:
        done = _run([*command, "-o", str(aside), str(HERE / "engine.c"), "-lm"])
        if done.returncode:
            raise Unavailable(f"{command[0]} failed: {_first_line(done.stderr)}")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["it says nothing"])[0][:200]
