"""How long it takes to read and to judge many records: python benchmarks/evidence.py [--records 100000]

Records are made: three hundred bases, a few hundred seeds, seven numbers each, in one file of a home of its
own. Absolute times are the machine's; that of parsing the same file as plain JSON is printed beside them.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import tempfile
import time

import numpy as np

from keyturn.atlas import CLAIMS
from keyturn.atlas.evidence import record
from keyturn.atlas.store import line_of, mine
from keyturn.atlas.verdict import verdict
from keyturn.core.measurement import Estimate
from keyturn.experiments.contract import Outcome, Subject

CLAIM = CLAIMS["rl-narrows"]
NAMES = (
    "pass@K tuned - base",
    "gain",
    "base pass@K",
    "replicate pass@K",
    "deployed share",
    "created share",
    "more",
)


def made(count):
    """Records of the claim, all of which hold its gates and controls."""
    generator = np.random.default_rng(0)
    one = record(CLAIM, Subject(base="graph"), Outcome(numbers={}, base="b", base_name="b", run="r", n=96))
    centres = (-0.1, 0.2, 0.5, 0.0, 0.9, 0.0, 0.3)
    noise = generator.normal(0, 0.01, size=(count, len(NAMES)))
    for at in range(count):
        values = [centre + float(error) for centre, error in zip(centres, noise[at], strict=True)]
        numbers = {name: Estimate(x, x - 0.03, x + 0.03) for name, x in zip(NAMES, values, strict=True)}
        yield dataclasses.replace(one, base=f"base {at % 300}", seed=at // 300, numbers=numbers)


def timed(what, work):
    """Seconds of one call, printed."""
    started = time.perf_counter()
    found = work()
    print(f"{what:46} {time.perf_counter() - started:7.2f} s", flush=True)
    return found


def main():
    """Make, read, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(folder)
        path = home / "evidence" / f"{CLAIM.id}.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(line_of(one)) + "\n" for one in made(asked.records)))
        print(f"{asked.records} records, {path.stat().st_size / 1e6:.0f} MB")
        timed("the same file as plain JSON", lambda: [json.loads(line) for line in path.open()])
        found = timed("load", lambda: mine(CLAIM.id, home))
        said = timed("verdict", lambda: verdict(CLAIM, found))
        print(f"{said.state}, {said.records} records of {said.bases} bases")
    return 0


if __name__ == "__main__":
    sys.exit(main())
