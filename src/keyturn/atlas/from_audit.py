"""An audit of one's own models as evidence: the numbers of the claims about RL, kept in the run of an audit.

Every audit of the command line leaves ``claims.json`` in its run directory. It becomes records of
``rl-deploys`` and ``rl-narrows`` when its user says that the tuned model was trained by RL, which no audit can
see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from keyturn.atlas import CLAIMS
from keyturn.atlas.draws import noted
from keyturn.atlas.evidence import Evidence, canonical, digest_of, record
from keyturn.auditing.result import AuditResult
from keyturn.core.errors import InputError, UsageError
from keyturn.core.identity import identity
from keyturn.core.measurement import Estimate, from_json_number, json_number
from keyturn.core.rundir import read_json, write_json
from keyturn.experiments.audited import outcome_of_audit
from keyturn.experiments.contract import Outcome, Subject
from keyturn.lab.noted import Drawn

FILE = "claims.json"
DRAWS = "claims.draws.json"
"""Where the draws of each audit lie, by its name."""
ABOUT = ("rl-deploys", "rl-narrows")
"""The claims that any audit of a base and its RL-trained descendant bears on."""
K = 64
"""The budget in which both claims are stated."""


def keep(
    results: Sequence[AuditResult],
    root: Path,
    *,
    seed: int,
    brought: bool,
    files: bool,
    drawn: Sequence[Drawn] = (),
) -> Path:
    """Write what audits say of the claims about RL into their run directory.

    Args:
        results: the audits of a run.
        root: its directory.
        seed: of the run.
        brought: tuned policies were brought, not trained here.
        files: sample files were read, which do not say which base they are of.
        drawn: draws that were noted while the audits ran.
    """
    own = {one.name: [drawing for drawing in drawn if drawing.about[0] == one.name] for one in results}
    write_json(root / DRAWS, {one.name: noted(own[one.name], root, k=one.verdict.k) for one in results})
    audits: Any = [_line(one, seed=seed, brought=brought, files=files) for one in results]
    path = root / FILE
    write_json(path, {"digest": digest_of(canonical({"audits": audits})), "audits": audits})
    return path


def _line(result: AuditResult, *, seed: int, brought: bool, files: bool) -> dict[str, Any]:
    found = outcome_of_audit(result, brought=brought)
    return {
        "name": result.name,
        "k": result.verdict.k,
        "seed": seed,
        "files": files,
        "base": found.base,
        "base_name": _plain(result.base) if brought else result.name,
        "tuned": found.tuned,
        "tuned_name": _plain(result.tuned),
        "problems": found.given_problems,
        "problems_name": _plain(result.problems),
        "n": found.n,
        "numbers": {
            name: [json_number(end) for end in (number.value, number.low, number.high)]
            for name, number in found.numbers.items()
        },
    }


def _plain(name: str) -> str:
    """A name without the folders of this machine."""
    return Path(name).name if name.startswith(("/", "~", ".")) or "\\" in name else name


def records_of(
    run: Path, *, trained_by: str, base: str = "", home: Path
) -> list[tuple[Evidence, dict[str, Any], dict[str, Any]]]:
    """The records that a run of ``keyturn audit`` makes, each with what is behind it and where its draws lie.

    Args:
        run: its directory.
        trained_by: by what RL the tuned model was trained, in the user's words; kept with the record.
        base: name of the base, where the audit read sample files.
        home: where the records will lie.

    Raises:
        InputError: the run holds no numbers of claims, or they were edited.
        UsageError: something that only the user knows was not said, or the claims are about another audit.
    """
    path = run / FILE
    if not path.exists():
        what = f"{run} holds no {FILE}: it is no run of `keyturn audit`, or one of an earlier keyturn"
        raise InputError(what, fix="run the same `keyturn audit` again; finished stages are read")
    document: dict[str, Any] = read_json(path)
    audits = document.get("audits")
    if not isinstance(audits, list) or digest_of(canonical({"audits": audits})) != document.get("digest"):
        raise InputError(f"{path} was edited after it was written", fix="run the same `keyturn audit` again")
    if not trained_by.strip():
        raise UsageError(
            "rl-deploys and rl-narrows are about RL, and an audit cannot see how a model was trained",
            fix='--trained-by "GRPO on GSM8K"; a model that was tuned otherwise is no evidence on them',
        )
    made = []
    draws: dict[str, Any] = read_json(run / DRAWS) if (run / DRAWS).exists() else {}
    for line in audits:
        subject, outcome = _said(line, run, base)
        setting = (
            f"audit of {line['base_name']} and {line['tuned_name']} on {line['problems_name']}; "
            f"trained by {trained_by.strip()}"
        )
        for claim in ABOUT:
            one = record(CLAIMS[claim], subject, outcome, home=home)
            said = {**one.environment, "trained by": trained_by.strip()}
            details = {"setting": setting, "contrasts": [], "rows": []}
            made.append((replace(one, environment=said), details, draws.get(line["name"], {"sets": []})))
    return made


def _said(line: dict[str, Any], run: Path, base: str) -> tuple[Subject, Outcome]:
    """The declared run and the outcome that a line tells of.

    Raises:
        UsageError: it is not what the claims are about, or the base has no name.
    """
    if line["k"] != K:
        raise UsageError(
            f"the audit has K = {line['k']}, the claims K = {K}",
            fix=f"audit again with --k {K} and {4 * K} base draws a problem",
        )
    if line["files"] and not base:
        what = "the audit read sample files, which do not say which base they are of"
        raise UsageError(what, fix="--base NAME, the same name for every audit of that base")
    if base and not line["files"]:
        raise UsageError("the audit knows its base by its weights", fix="leave --base out")
    named = base or str(line["base_name"])
    numbers = {name: Estimate(*map(from_json_number, ends)) for name, ends in line["numbers"].items()}
    subject = Subject(base=named, tuned=line["tuned"], problems=line["problems"], seed=line["seed"])
    outcome = Outcome(
        numbers=numbers,
        base=identity({"base": base}) if line["files"] else line["base"],
        base_name=named,
        run=str(run),
        n=line["n"],
        tuned=line["tuned"],
        given_problems=line["problems"],
    )
    return subject, outcome
