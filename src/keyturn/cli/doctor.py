"""Check this machine: Python, torch, threads, disk, shipped models, compiler, optional packages."""

from __future__ import annotations

import ctypes
import importlib.util
import json as jsonlib
import os
import platform
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

import keyturn
from keyturn.core.rundir import SCHEMA, free_bytes
from keyturn.policies.native import build

_NEEDED_GIB = 1.0
"""Ample free space for an audit's rollouts; the embedded audit writes about 100 MB."""


class Check(NamedTuple):
    """One line of the table; its state is ``ok``, ``note`` (something optional is missing) or ``mend``."""

    name: str
    state: str
    found: str
    fix: str = ""


def run(json: bool = False) -> int:
    """Check this machine and say what to mend.

    Args:
        json: one JSON document on stdout instead of a table.
    """
    checks = [_python(), _package("torch"), _package("transformers"), _threads(), _device(), _disk(), _models()]
    checks.append(_native())
    checks += [_extra(*extra) for extra in _EXTRAS]
    failed = [c for c in checks if c.state == "mend"]
    if json:
        rows = [c._asdict() for c in checks]
        document = {"schema": SCHEMA, "command": "doctor", "keyturn": keyturn.__version__, "checks": rows}
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return 1 if failed else 0
    table = Table(title=f"keyturn {keyturn.__version__}", title_justify="left")
    for column in ("check", "state", "found", "fix"):
        table.add_column(column, overflow="fold")
    style = {"ok": "green", "note": "yellow", "mend": "bold red"}
    for check in checks:
        plain = (Text(words) for words in (check.found, check.fix))
        table.add_row(Text(check.name), Text(check.state, style=style[check.state]), *plain)
    Console().print(table)
    return 1 if failed else 0


_EXTRAS = (
    ("math_verify", "math", "grading LaTeX answers"),
    ("datasets", "data", "problem sets saved by Hugging Face datasets"),
)


def _python() -> Check:
    ok = sys.version_info >= (3, 11)
    return Check(
        "python", "ok" if ok else "mend", platform.python_version(), "" if ok else "use Python >= 3.11"
    )


def _package(name: str) -> Check:
    try:
        return Check(name, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, "mend", "missing", f"pip install {name}")


def _threads() -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    busy = load > 0.5 * cores
    fix = "other processes keep the cores busy; set OMP_NUM_THREADS to the free ones" if busy else ""
    return Check("cores", "note" if busy else "ok", f"{cores} usable, load {load:.1f}", fix)


def _device() -> Check:
    """The device that torch would use, found from its build and from the driver without importing torch."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return Check("device", "mend", "torch is missing", "pip install torch")
    names = _cuda_names()
    version = Path(found.origin).with_name("version.py")
    build = version.read_text(encoding="utf-8") if version.is_file() else ""
    if names and re.search(r"^cuda\b.*= *None", build, re.MULTILINE):
        fix = "install a CUDA build of torch to use it"
        return Check("device", "note", f"cpu: this torch has no CUDA, although there is a {names[0]}", fix)
    return Check("device", "ok", f"cuda: {', '.join(names)}" if names else "cpu")


def _cuda_names() -> list[str]:
    """Names of the devices that the CUDA driver shows to this process; empty without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int(0)
        if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
            return []
        names = []
        for number in range(count.value):
            device, name = ctypes.c_int(0), ctypes.create_string_buffer(256)
            if not driver.cuDeviceGet(ctypes.byref(device), number) and not driver.cuDeviceGetName(
                name, len(name), device
            ):
                names.append(name.value.decode(errors="replace"))
    except (OSError, AttributeError):
        return []
    return names


def _disk() -> Check:
    where = Path.cwd() / "runs"
    free = free_bytes(where) / 2**30
    fine = free >= _NEEDED_GIB
    fix = "" if fine else "free space or choose another directory with --out"
    return Check("disk for runs", "ok" if fine else "mend", f"{free:.1f} GiB free", fix)


def _models() -> Check:
    folder = Path(keyturn.__file__).parent / "assets" / "models"
    found = sorted(p.parent.name for p in folder.glob("*/model.safetensors"))
    if {"graph", "chain"} <= set(found):
        return Check("shipped bases", "ok", ", ".join(found))
    return Check("shipped bases", "mend", ", ".join(found) or "none", "reinstall keyturn")


def _native() -> Check:
    """Whether compiled code runs the tiny model; compiles it for the shipped bases."""
    if os.environ.get(build.SWITCH) == "0":
        return Check("native engine", "ok", f"off ({build.SWITCH}=0): torch runs instead")
    folder = Path(keyturn.__file__).parent / "assets" / "models"
    shapes = {build.Shape.read(jsonlib.loads(p.read_text("utf-8"))) for p in folder.glob("*/config.json")}
    try:
        found = [build.library(shape).path.name for shape in sorted(shapes, key=str)]
    except build.Unavailable as error:
        fix = f"install a C compiler, or set {build.SWITCH}=0; torch runs instead, several times slower"
        return Check("native engine", "note", str(error), fix)
    return Check("native engine", "ok", ", ".join(found))


def _extra(package: str, extra: str, what: str) -> Check:
    try:
        return Check(f"{package} ({what})", "ok", metadata.version(package.replace("_", "-")))
    except metadata.PackageNotFoundError:
        return Check(f"{package} ({what})", "note", "not installed", f"pip install 'keyturn[{extra}]'")
