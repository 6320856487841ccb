"""Run a claim's study and append its evidence."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from keyturn.atlas import claim_named
from keyturn.atlas.contract import Claim
from keyturn.atlas.draws import keep_noted, noted
from keyturn.atlas.evidence import record
from keyturn.atlas.from_audit import K
from keyturn.atlas.store import append, home, load
from keyturn.atlas.verdict import verdict
from keyturn.auditing.model_places import place_of
from keyturn.core.errors import UsageError
from keyturn.core.rundir import SCHEMA
from keyturn.experiments.contract import Subject
from keyturn.experiments.study import run_study
from keyturn.lab.noted import noting
from keyturn.lab.workers import executor_named


def run(
    claim: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CLAIM")],
    base: str = "",
    tuned: str = "",
    problems: str = "",
    seed: int = 0,
    profile: Literal["short", "long"] = "short",
    workers: int = 0,
    executor: str = "processes",
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Run a claim's study and append its evidence.

    Args:
        claim: the claim's id, as `keyturn claim ls` prints it.
        base: a shipped world (graph, chain) or a model; the claim's default if empty.
        tuned: a tuned model; if empty, the study trains one.
        problems: a problem file, needed if the base has no world.
        seed: root of all randomness; another seed makes another record.
        profile: size of a study that trains: short (minutes) or long (a night, or a GPU).
        workers: workers of one thread that share a study's runs; 0 uses the free cores.
        executor: where workers are: processes, ray, or ray://host:port (a cluster that sees the run directory).
        out: run directory; under $KEYTURN_HOME or ./runs if empty.
        json: print one JSON document on stdout.
    """
    found = claim_named(claim)
    _refuse_idle(found, base, tuned, problems)
    _refuse_idle_sizes(found, tuned, problems, profile, workers, executor)
    for name in filter(None, (base, tuned)):
        place_of(name)  # reports a typo before any work is done
    subject = Subject(
        base=base or found.default.base, tuned=tuned, problems=problems, seed=seed, profile=profile
    )
    root = out or home() / "claims" / f"{found.id}-{Path(subject.base).name}-{seed}-{profile}"
    sys.stderr.write(f"{found.id}: {found.study_says}\n")
    where = executor_named(executor, workers=workers) if found.methods else None
    with noting() as drawn:
        outcome = run_study(found, subject, root, executor=where)
    made = record(found, subject, outcome, home=home())
    details = {
        "setting": outcome.setting,
        "contrasts": list(outcome.contrasts),
        "rows": list(outcome.rows),
    }
    keep_noted(made, noted(drawn, Path(outcome.run), k=0 if found.methods else K), home())
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


def _refuse_idle_sizes(
    claim: Claim, tuned: str, problems: str, profile: str, workers: int, executor: str
) -> None:
    """Refuse options that an audit would not read, and a negative number of workers."""
    if workers < 0:
        raise UsageError(f"--workers is {workers}", fix="0 (the free cores) or more")
    if claim.methods:
        return
    if problems and not tuned:
        raise UsageError("without --tuned the base is trained in its own world", fix="add --tuned MODEL")
    idle = {
        "--profile": profile != "short",
        "--workers": workers != 0,
        "--executor": executor != "processes",
    }
    for option, said in idle.items():
        if said:
            raise UsageError(f"{claim.id} is one audit and does not use {option}", fix=f"leave out {option}")


def _refuse_idle(claim: Claim, base: str, tuned: str, problems: str) -> None:
    """Refuse options that the study would not read: studies of methods train their own policies, some also
    their own bases.
    """
    if not claim.methods:
        return
    for option, said in (("--tuned", tuned), ("--problems", problems)):
        if said:
            raise UsageError(
                f"{claim.id} trains its own policies and does not use {option}", fix=f"leave out {option}"
            )
    if base and not claim.default.base:
        raise UsageError(f"{claim.id} pretrains its own bases and does not use --base", fix="leave out --base")
