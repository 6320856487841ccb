"""Run a claim's study and append its evidence."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from keyturn.atlas import claim_named
from keyturn.atlas.contract import Claim
from keyturn.atlas.evidence import record
from keyturn.atlas.store import append, home, load
from keyturn.atlas.verdict import verdict
from keyturn.auditing.model_places import place_of
from keyturn.core.errors import UsageError
from keyturn.core.rundir import SCHEMA
from keyturn.experiments.contract import Subject
from keyturn.experiments.study import run_study


def run(
    claim: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CLAIM")],
    base: str = "",
    tuned: str = "",
    problems: str = "",
    seed: int = 0,
    profile: Literal["short", "long"] = "short",
    workers: int = 0,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Run a claim's study and append its evidence.

    Args:
        claim: its id, as `keyturn claim ls` prints it.
        base: a shipped world (graph, chain) or a model; the claim's own default when empty.
        tuned: a tuned model; empty: the study trains one.
        problems: a problem file, needed where the base has no world.
        seed: root of all randomness; another seed is another record.
        profile: of studies that train: short (minutes) or long (a night, or a GPU).
        workers: processes of one thread that share a study's arms; 0 takes the free cores.
        out: run directory; under $KEYTURN_HOME or ./runs when empty.
        json: one JSON document on stdout.
    """
    found = claim_named(claim)
    _refuse_idle(found, base, tuned, problems)
    _refuse_idle_sizes(found, tuned, problems, profile, workers)
    for name in filter(None, (base, tuned)):
        place_of(name)  # a typo is answered before anything is made
    subject = Subject(
        base=base or found.default.base, tuned=tuned, problems=problems, seed=seed, profile=profile
    )
    root = out or home() / "claims" / f"{found.id}-{Path(subject.base).name}-{seed}-{profile}"
    sys.stderr.write(f"{found.id}: {found.study_says}\n")
    outcome = run_study(found, subject, root, workers=workers)
    made = record(found, subject, outcome, home=home())
    details = {
        "setting": outcome.setting,
        "contrasts": list(outcome.contrasts),
        "rows": list(outcome.rows),
    }
    path = append(made, home(), details)
    said = verdict(found, load(found.id, home()))
    if json:
        document = {
            "schema": SCHEMA,
            "command": "claim run",
            "evidence": {"id": made.id, **made.content()},
            "verdict": said.to_json(),
        }
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return
    for name, number in made.numbers.items():
        sys.stdout.write(f"{name}: {number.value:.3f} [{number.low:.3f}, {number.high:.3f}]\n")
    for line in outcome.contrasts:
        sys.stdout.write(f"{line['name']}: {line['reading']}, {line['seeds']} seeds\n")
    preliminary = ", preliminary" if said.preliminary else ""
    sys.stdout.write(f"verdict on {said.records} record(s): {said.state}{preliminary}. {said.why}\n")
    sys.stderr.write(f"evidence {made.id} appended to {path}\n")


def _refuse_idle_sizes(claim: Claim, tuned: str, problems: str, profile: str, workers: int) -> None:
    """Refuse what an audit would not look at, and numbers that count nothing."""
    if workers < 0:
        raise UsageError(f"--workers is {workers}", fix="0 takes the free cores")
    if claim.methods:
        return
    if problems and not tuned:
        raise UsageError("without --tuned the base is trained in its own world", fix="--tuned MODEL beside it")
    for option, said in (("--profile", profile != "short"), ("--workers", workers != 0)):
        if said:
            raise UsageError(f"{claim.id} is one audit and reads no {option}", fix=f"without {option}")


def _refuse_idle(claim: Claim, base: str, tuned: str, problems: str) -> None:
    """Refuse what the study would not look at: those of methods train policies of their own, some bases too."""
    if not claim.methods:
        return
    for option, said in (("--tuned", tuned), ("--problems", problems)):
        if said:
            raise UsageError(
                f"{claim.id} trains its own policies and reads no {option}", fix=f"without {option}"
            )
    if base and not claim.default.base:
        raise UsageError(f"{claim.id} pretrains its own bases and reads no --base", fix="without --base")
