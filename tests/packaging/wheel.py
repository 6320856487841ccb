"""A wheel that holds its assets and runs from another directory. A program, called by .ci/run; no pytest.

    python tests/packaging/wheel.py

Builds the wheel, looks into it, installs it into a fresh environment that borrows this one's dependencies (a
.pth file: nothing is downloaded; this one's editable keyturn is not followed), and runs the installed command
from an empty directory. Prints what it found; exits with 1 and says what is wrong at the first fault.
"""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile

import keyturn

ROOT = pathlib.Path(__file__).resolve().parents[2]
MOST_BYTES = 5_000_000
"""Two bases of at most 2 MB each, and the code."""
BASES = ("graph", "chain")
NEEDED = (
    "keyturn/py.typed",
    "keyturn/assets/report/report.html.jinja",
    "keyturn/assets/report/report.css",
    "keyturn/assets/report/report.js",
    "keyturn/assets/style/shared.css",
    "keyturn/assets/style/shared.js",
    *(
        f"keyturn/assets/site/{name}"
        for name in (
            "base.html.jinja",
            "site.css",
            "site.js",
            "theme.js",
            "minisearch.js",
            "places.json",
            "trust.json",
        )
    ),
    "keyturn/assets/site/minisearch.LICENSE.txt",
    "keyturn/assets/atlas/notes/create-or-deploy.md",
    "keyturn/assets/atlas/questions/create-or-deploy.yaml",
    "keyturn/assets/atlas/experiments.yaml",
    "keyturn/assets/atlas/papers.bib",
    *(
        f"keyturn/assets/models/{base}/{name}"
        for base in BASES
        for name in ("model.safetensors", "config.json", "tokenizer.json", "world.json", "card.json")
    ),
)
ENGINE = ("engine.c", "kernels.h", "weights.h", "read.h", "decode.h", "learn.h")
NEEDED += tuple(f"keyturn/policies/native/{name}" for name in ENGINE)
FOREIGN = ("tests/", "benchmarks/", "docs/", "runs/", ".git")


def fail(what):
    """End with what is wrong."""
    raise SystemExit(f"wheel: {what}")


def run(*command, cwd):
    """Run a command away from the sources; its stdout, or the end."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        fail(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def build(folder):
    """The wheel of this checkout; where the build's own tool is at hand it is not downloaded for it."""
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(folder)]
    at_hand = importlib.util.find_spec("hatchling") is not None
    run(*pip, *["--no-build-isolation"] * at_hand, str(ROOT), cwd=folder)
    (wheel,) = folder.glob("keyturn-*.whl")
    return wheel


def look_into(wheel):
    """Everything that ships is in it, nothing else, and it is small."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    missing = [name for name in NEEDED if name not in names]
    if missing:
        fail(f"{wheel.name} lacks {', '.join(missing)}")
    sources = {p.relative_to(ROOT / "src").as_posix() for p in (ROOT / "src" / "keyturn").rglob("*.py")}
    if sources - names:
        fail(f"{wheel.name} lacks {', '.join(sorted(sources - names))}")
    strange = [name for name in names if name.startswith(FOREIGN)]
    if strange:
        fail(f"{wheel.name} holds {', '.join(strange[:5])}")
    if not any(name.endswith("LICENSE") for name in names):
        fail(f"{wheel.name} lacks its licence")
    if wheel.stat().st_size > MOST_BYTES:
        fail(f"{wheel.name} has {wheel.stat().st_size:,} bytes, more than {MOST_BYTES:,}")


def installed(wheel, folder):
    """A fresh environment with the wheel and, behind it, the packages of this environment."""
    venv.create(folder, with_pip=False)
    places = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)}, scheme="venv")
    site, scripts = pathlib.Path(places["purelib"]), pathlib.Path(places["scripts"])
    python = scripts / ("python.exe" if os.name == "nt" else "python")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index"]
    run(*pip, str(wheel), cwd=folder)
    # A plain path line: the .pth files of that folder, the editable keyturn among them, are not read.
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
    return python, scripts / ("keyturn.exe" if os.name == "nt" else "keyturn")


def check_commands(python, command, elsewhere, environment):
    """The installed command works where there is no checkout."""
    where = pathlib.Path(run(python, "-c", "import keyturn; print(keyturn.__file__)", cwd=elsewhere).strip())
    if environment.resolve() not in where.resolve().parents:
        fail(f"keyturn was imported from {where}, not from the wheel")
    said = run(command, "--version", cwd=elsewhere).strip()
    if said != f"keyturn {keyturn.__version__}":
        fail(f"--version says {said!r}")
    checks = {
        c["name"]: c["found"] for c in json.loads(run(command, "doctor", "--json", cwd=elsewhere))["checks"]
    }
    if set(checks["shipped bases"].split(", ")) < set(BASES):
        fail(f"doctor finds the bases {checks['shipped bases']}")
    for world in BASES:
        shown = json.loads(run(command, "world", "show", world, "--json", cwd=elsewhere))
        if not shown["problems"] or not all(problem["verified"] for problem in shown["problems"]):
            fail(f"world show {world} shows no verified problem")
    load = "from keyturn.auditing.embedded import MODELS; from keyturn.policies.loading import load_policy; "
    run(python, "-c", load + f"[load_policy(MODELS / name) for name in {BASES}]", cwd=elsewhere)
    left = sorted(path.name for path in elsewhere.iterdir())
    if left:
        fail(f"the commands left {', '.join(left)} behind")


def main():
    """Build, look, install, run."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        wheel = build(folder)
        look_into(wheel)
        elsewhere = folder / "elsewhere"
        elsewhere.mkdir()
        python, command = installed(wheel, folder / "environment")
        check_commands(python, command, elsewhere, folder / "environment")
        print(
            f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB, holds its assets, runs from another directory"
        )


if __name__ == "__main__":
    main()
