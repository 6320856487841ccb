"""The committed lock of the studies: which code each claim's study ran on when its version was given.

    python tests/experiments/study_lock.py               says what changed, writes nothing
    ... study_lock.py --lock                             locks studies that are new or of another version
    ... study_lock.py --lock --because "the reason"      locks studies whose code changed and whose numbers did
                                                         not; the reason is kept in the lock

A version says that the numbers of two runs may be compared. So a study whose code changed is another version of
its claim, unless its numbers are the same (code that moved, a loop written otherwise): say then how that is
known.
"""

import argparse
import json
import pathlib
import sys

from keyturn.atlas import CLAIMS

LOCK = pathlib.Path(__file__).with_name("studies.lock.json")
ROOMS = ("experiments", "methods")
"""Whose code is a study's own. What lies below (the training loop, measures, worlds) is held by golden runs."""


def taken(claims=CLAIMS):
    """What the lock would be now, without reasons."""
    studies, definitions = {}, {}
    for name, claim in sorted(claims.items()):
        own = claim.code.within(ROOMS)
        studies[name] = {"version": claim.version, "protocol": claim.hash, "code": own.hash}
        definitions |= own.parts
    return {"studies": studies, "definitions": dict(sorted(definitions.items()))}


def read():
    """The committed lock."""
    return json.loads(LOCK.read_text(encoding="utf-8"))


def faults(locked, now):
    """Claim -> what is wrong, for claims that changed under the same version."""
    out = {}
    for name, study in now["studies"].items():
        before = locked["studies"].get(name)
        if before is None:
            out[name] = "is not in the lock"
        elif before["version"] != study["version"]:
            out[name] = "has another version"
        elif before["protocol"] != study["protocol"]:
            out[name] = f"has another protocol under the same version {study['version']}: raise the version"
        elif before["code"] != study["code"]:
            out[name] = f"runs on other code under the same version {study['version']}: raise the version"
    return out | {name: "is in the lock and gone" for name in locked["studies"] if name not in now["studies"]}


def changed(locked, now):
    """Definitions of the studies' own that changed, came or went."""
    before, after = locked["definitions"], now["definitions"]
    return [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]


def message(locked, now):
    """What is wrong and what to do, for people; empty where nothing is."""
    found = faults(locked, now)
    if not found:
        return ""
    lines = [f"{name} {what}" for name, what in found.items()]
    names = changed(locked, now)
    if names:
        shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
        lines.append(f"changed: {shown}")
    lines.append("then run: python tests/experiments/study_lock.py --lock")
    lines.append('where the numbers are known to be the same: --lock --because "how that is known"')
    return "\n".join(lines)


def lock(locked, now, because=""):
    """The new lock.

    Raises:
        SystemExit: a study changed under the same version, and nobody says that its numbers did not.
    """
    refused = {name: what for name, what in faults(locked, now).items() if "raise the version" in what}
    protocols = [name for name, what in refused.items() if "protocol" in what]
    if protocols or (refused and not because):
        raise SystemExit(message(locked, now))
    reasons = list(locked["because"])
    if refused:
        reasons.append({"studies": sorted(refused), "why": because})
    return {"because": reasons, **now}


def main():
    """Compare, or lock."""
    asked = argparse.ArgumentParser(description="The committed lock of the studies.")
    asked.add_argument("--lock", action="store_true")
    asked.add_argument("--because", default="", metavar="WHY")
    words = asked.parse_args()
    locked = read() if LOCK.exists() else {"studies": {}, "definitions": {}, "because": []}
    now = taken()
    if words.lock:
        LOCK.write_text(json.dumps(lock(locked, now, words.because.strip()), indent=1) + "\n", encoding="utf-8")
        return
    said = message(locked, now)
    print(said or "no study changed")
    sys.exit(bool(said))


if __name__ == "__main__":
    main()
