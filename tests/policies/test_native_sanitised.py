"""The native engine touches no memory that is not its own and does nothing that C leaves undefined."""

import os
import pathlib
import subprocess
import sys

import native_cases as cases
import pytest

HERE = pathlib.Path(__file__).parent


def sanitised(folder, *options, sources=None):
    """Run the engine's tests on sanitised libraries; what came out."""
    # With libstdc++, or the exceptions of torch have nowhere to go.
    names = ("libasan.so", "libstdc++.so.6")
    ask = [["gcc", f"-print-file-name={name}"] for name in names]
    found = [subprocess.run(one, capture_output=True, text=True, check=True).stdout.strip() for one in ask]
    code = "import runpy, sys; from keyturn.policies.native import build; "
    if sources is not None:
        code += f"import pathlib; build.HERE = pathlib.Path({str(sources)!r}); "
    code += f"sys.argv = ['sanitised', *{list(options)!r}]; "
    code += f"runpy.run_path({str(HERE / 'sanitised.py')!r}, run_name='__main__')"
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(found),
        "ASAN_OPTIONS": "detect_leaks=0",
        "XDG_CACHE_HOME": str(folder / "cache"),
        "CC": "gcc",
    }
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_sanitizers_find_nothing(tmp_path):
    done = sanitised(tmp_path, "-k", "not twin")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert " passed" in done.stdout


OVERRUNS = {
    "memory": ("read.h", "p->inner = take(arena, whole * INNER * f)", "p->inner = take(arena, 64)"),
    "an index": ("read.h", "*filter = w->layer[layer].canon[tap]", "*filter = w->layer[layer].canon[tap + 2]"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", sorted(OVERRUNS))
def test_sanitizers_would_find_a_fault(what, tmp_path):
    """The twin: a buffer that is too small, and an index beyond its table."""
    sources = cases.broken(tmp_path / "sources", *OVERRUNS[what])
    done = sanitised(tmp_path, "-x", "-k", "any_number_of_threads", sources=sources)
    assert done.returncode != 0
    assert "Sanitizer" in done.stderr + done.stdout or "runtime error" in done.stderr + done.stdout
