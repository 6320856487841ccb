"""One shared library for each shape of the tiny model, made by the system's compiler at first use and kept.

It is kept under the user's cache folder by content: sources, shape, flags, and what the compiler says of itself
and of the processor that it compiles for. So no stale library is ever taken, and a home that several machines
share holds one for each. Two processes that need it at once wait for one to make it. Where the cache cannot be
written or holds nothing that may be run, a folder of this user's own under the system's temporary one is taken,
and then one of this process alone.
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
"""The first that the compiler takes."""

HERE = Path(__file__).parent
__code_files__ = SOURCES = ("engine.c", "kernels.h", "weights.h", "read.h", "decode.h", "learn.h")
_PATIENCE_S = 300.0
"""How long the compiler, or another process that compiles, may take."""


class Unavailable(Exception):
    """Why there is no library."""


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
        """For the compiler's command line."""
        return [f"-D{name.upper()}={int(value)}" for name, value in asdict(self).items()]


@dataclass(frozen=True, kw_only=True, eq=False)
class Library:
    """A loaded library.

    Args:
        code: its functions.
        key: hash of everything that decides what it computes, to the last bit.
        path: where it lies.
    """

    code: ctypes.CDLL
    key: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class Compiler:
    """A compiler that works here.

    Args:
        command: it, and the flags that fit it to this processor.
        says: its predefined macros: version, processor.
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
    """The library of a shape, compiled if nobody has; asked for again, the same.

    Raises:
        Unavailable: why there is none; the same again at every later call of this process.
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
    """Where libraries may be kept, best first; each exists."""
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
    """Whether only this user can put a library there: what lies in it is run."""
    found = folder.stat()
    strange = hasattr(os, "getuid") and found.st_uid != os.getuid()
    others = stat.S_IMODE(found.st_mode) & (stat.S_IWGRP | stat.S_IWOTH)
    return not strange and not others and os.access(folder, os.W_OK) and not folder.is_symlink()


def _compile(command: Sequence[str], path: Path) -> None:
    """Compile beside ``path``, then rename: what has the name is whole.

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
