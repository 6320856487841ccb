"""List the evidence of this home: what ships, what is yours, what was imported, what papers report."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path

from keyturn.atlas import CLAIMS
from keyturn.atlas.evidence import Evidence
from keyturn.atlas.imported import level, signature_in_words, signed
from keyturn.atlas.reported import reported
from keyturn.atlas.store import counts, home, imported, imported_from, mine, shipped
from keyturn.core.rundir import SCHEMA


def run(json: bool = False) -> None:
    """List the records of every claim by where they come from.

    Args:
        json: one JSON document on stdout instead of text.
    """
    folder = home()
    others = {whom: counts(whom, folder) for whom in imported_from(folder)}
    rows = []
    for claim in CLAIMS:
        brought = [one for whom in others for one in imported(claim, folder, whom)]
        rows += [
            _row(one, folder, one.origin.kind != "imported" or others[one.origin.whom])
            for one in (*shipped(claim), *mine(claim, folder), *brought)
        ]
    told = [one.to_json() for claim in CLAIMS for one in reported(claim, folder)]
    if json:
        document = {"schema": SCHEMA, "command": "evidence ls", "records": rows, "reported": told}
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return
    groups = {}
    for row in rows:
        name = f"from {row['whom']}" if row["whom"] else str(row["kind"])
        groups.setdefault((name, row["counts"]), []).append(row)
    for (name, counting), own in groups.items():
        claims = len({row["claim"] for row in own})
        said = "count in verdicts" if counting else "do not count; keyturn evidence trust NAME changes that"
        sys.stdout.write(f"{name}: {len(own)} record(s) of {claims} claim(s), which {said}\n")
        if own[0]["whom"]:
            sys.stdout.write(f"  {signature_in_words(str(own[0]['whom']), folder)}\n")
        for row in own if name != "shipped" else ():
            seen = f", {row['level']}" if row["level"] else ""
            what = f"{row['claim']}, base {row['base_name']}, seed {row['seed']}{seen}"
            sys.stdout.write(f"  {row['id']}  {what}\n")
    for one in told:
        place = f", {one['locator']}" if one["locator"] else ""
        sys.stdout.write(f"reported: {one['claim']}, {one['number']} {one['value']} ({one['source']}{place})\n")


def _row(one: Evidence, folder: Path, counting: bool) -> dict[str, object]:
    return {
        "id": one.id,
        "digest": one.digest,
        "claim": one.claim,
        "kind": one.origin.kind,
        "whom": one.origin.whom,
        "counts": counting,
        "base_name": one.base_name,
        "seed": one.seed,
        "profile": one.profile,
        "level": level(one, folder) if one.origin.kind == "imported" else "",
        "signed": signed(one.origin.whom, folder).get(one.digest) if one.origin.whom else None,
    }
