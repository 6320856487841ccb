"""What is kept of the golden runs, how it is written, and how two takings of them are compared."""

import json
import math
import os
import pathlib
import subprocess
import sys

from keyturn.policies.native.build import SWITCH

HERE = pathlib.Path(__file__).parent
KEPT = HERE / "golden.json"
DIGESTS = ("drawn", "weights")
"""Equal to the byte or not at all, so they are compared only in the environment that they were made in."""
RELATIVE, ABSOLUTE = 2e-3, 2e-4
"""What another processor or another torch may change in a number. Other vector units and thread counts changed
at most a tenth of that; a draw that comes out otherwise changes a mean over 32 draws by 150 times ABSOLUTE."""


def take(*, native=False):
    """Make the runs in a process of one thread.

    Args:
        native: by the native engine where it fits. By torch otherwise: what is kept depends on no compiler.
    """
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    one[SWITCH] = "" if native else "0"
    done = subprocess.run(
        [sys.executable, str(HERE / "golden_runs.py")],
        env=os.environ | one,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the golden runs failed:\n{done.stderr}")
    return json.loads(done.stdout)


def read():
    """The golden file."""
    return json.loads(KEPT.read_text(encoding="utf-8"))


def text(tree, indent=""):
    """JSON with one line for each item of a list and for each number or text, so that a change reads well."""
    if isinstance(tree, dict) and (not indent or any(isinstance(v, (dict, list)) for v in tree.values())):
        inner = ",\n".join(f"{indent} {json.dumps(k)}: {text(v, indent + ' ')}" for k, v in tree.items())
        return "{\n" + inner + "\n" + indent + "}"
    if isinstance(tree, list) and tree and isinstance(tree[0], dict):
        inner = ",\n".join(f"{indent} {json.dumps(item)}" for item in tree)
        return "[\n" + inner + "\n" + indent + "]"
    return json.dumps(tree)


def differences(kept, now, exact, path=""):
    """What differs, one line each: nothing may where ``exact``, else numbers may by a tolerance."""
    if isinstance(kept, dict) and isinstance(now, dict):
        for key in [*kept, *(key for key in now if key not in kept)]:
            here = f"{path}/{key}"
            if key not in now:
                yield f"{here}: gone"
            elif key not in kept:
                yield f"{here}: new"
            elif exact or key not in DIGESTS:
                yield from differences(kept[key], now[key], exact, here)
    elif isinstance(kept, list) and isinstance(now, list) and len(kept) == len(now):
        for number, (before, after) in enumerate(zip(kept, now, strict=True)):
            yield from differences(before, after, exact, f"{path}/{number}")
    elif not (kept == now if exact else near(kept, now)):
        yield f"{path}: {kept!r}, now {now!r}"


def near(kept, now):
    """Equal, or two numbers within the tolerance."""
    numbers = [isinstance(one, (int, float)) and not isinstance(one, bool) for one in (kept, now)]
    return kept == now or (all(numbers) and math.isclose(kept, now, rel_tol=RELATIVE, abs_tol=ABSOLUTE))
