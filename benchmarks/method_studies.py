"""Run the committed study of every method and write its result table to docs/results/methods.

    python benchmarks/method_studies.py [CLAIM ...] [--profile short|long] [--workers 2] [--out runs/studies]

Every run is a cached stage: an interrupted night goes on where it was. Pages are made of the tables by
docs/generate.py; a table belongs to the claim's version that made it and says so.
"""

import argparse
import json
import pathlib
import sys
import time

from keyturn.atlas import CLAIMS, claim_named
from keyturn.atlas.evidence import record
from keyturn.atlas.verdict import verdict
from keyturn.core.measurement import json_number
from keyturn.core.rundir import SCHEMA
from keyturn.experiments.contract import Subject
from keyturn.experiments.study import run_study

RESULTS = pathlib.Path(__file__).parent.parent / "docs" / "results" / "methods"


def result_of(claim, profile, root, workers):
    """One study's table, JSON-able and without paths or clocks, and the state of its verdict."""
    subject = Subject(base=claim.default.base, profile=profile)
    outcome = run_study(
        claim.study, subject, root / f"{claim.id}-{profile}", workers=workers, plans=bool(claim.methods)
    )
    made = record(claim, subject, outcome)
    table = {
        "schema": SCHEMA,
        "claim": claim.id,
        "version": claim.version,
        "claim_hash": claim.hash,
        "profile": profile,
        "base": outcome.base_name,
        "setting": outcome.setting,
        "problems": outcome.n,
        "numbers": {
            name: {end: json_number(getattr(one, end)) for end in ("value", "low", "high")}
            for name, one in outcome.numbers.items()
        },
        "contrasts": list(outcome.contrasts),
        "rows": list(outcome.rows),
    }
    return table, verdict(claim, [made]).state


def main():
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("claims", nargs="*", help="ids; all that are about a method by default")
    parser.add_argument("--profile", default="short", choices=["short", "long"])
    parser.add_argument("--workers", type=int, default=0, help="one-thread processes; 0: the free cores")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/studies"))
    asked = parser.parse_args()
    chosen = [claim_named(name) for name in asked.claims] or [c for c in CLAIMS.values() if c.methods]
    RESULTS.mkdir(parents=True, exist_ok=True)
    for claim in chosen:
        started = time.monotonic()
        found, state = result_of(claim, asked.profile, asked.out, asked.workers)
        path = RESULTS / f"{claim.id}.json"
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        spent = time.monotonic() - started
        print(f"{claim.id}: {state} ({len(found['rows'])} runs, {spent:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
