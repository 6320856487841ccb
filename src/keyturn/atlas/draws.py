"""The draws behind a record: noted where its study was run, and put into a bundle where asked for.

    $KEYTURN_HOME/evidence/runs/DIGEST.draws.json    where the draws lie, and what was asked; stays at home
    draws/DIGEST/draws.json                          in a bundle: whose draws, what was asked, what follows
    draws/DIGEST/asked-00.json                       problems with their gold answers, and the grader
    draws/DIGEST/000/completions-00000.parquet       draws, without log-probabilities
    draws/DIGEST/000/grades-00000.parquet            the verdict of every draw

Only numbers that the draws give again on export are listed as following from them: a study may compute a number
in a way of its own, and then nothing is claimed of it. :mod:`keyturn.atlas.regrading` grades them again.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from keyturn.atlas.asked import grader_document, grader_of, problem_document, problems_of
from keyturn.atlas.evidence import Evidence
from keyturn.atlas.regrading import NEWEST, followed_by_audit, followed_by_run, row_of, with_rule
from keyturn.atlas.store import behind_path
from keyturn.core.errors import InputError, StorageError
from keyturn.core.rundir import read_json, write_json
from keyturn.lab.noted import Drawn
from keyturn.problems.contract import answers
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.grades import Answers, Grades
from keyturn.rollouts.store import read_completions, write_completions, write_grades

_PACKED = ("completions-00000.parquet", "completions-00000.prompts.parquet", "grades-00000.parquet")


def draws_path(evidence: Evidence, home: Path) -> Path:
    """The file that says where the draws behind a record lie."""
    return behind_path(evidence, home).with_suffix(".draws.json")


def noted(drawn: Sequence[Drawn], run: Path, *, k: int = 0) -> dict[str, Any]:
    """What was noted of draws, as a document; its ``sets`` are empty where nothing was.

    Args:
        drawn: what was noted while a study, or an audit, ran.
        run: the run directory; draws are named relative to it.
        k: the budget of an audit; 0 for a study that runs a plan.
    """
    asked: dict[str, dict[str, Any]] = {}
    sets, names = [], ("pair", "side") if k else ("arm", "seed")
    root = run.absolute()
    for one in drawn:
        name, grader, rule = one.problems.fingerprint, one.problems.grader, one.two_stages
        asked.setdefault(
            name,
            {
                "grader": grader_document(grader),
                "grader_name": grader.name,
                "problems": [problem_document(problem) for problem in one.problems.problems],
            },
        )
        sets.append(
            {
                **dict(zip(names, one.about, strict=True)),
                "asked": name,
                "folders": [folder.absolute().relative_to(root).as_posix() for folder in one.folders],
                "two_stages": {"first": rule.first, "enough": rule.enough} if rule else None,
            }
        )
    return {"schema": NEWEST, "run": str(root), "k": k, "asked": asked, "sets": sets}


def keep_noted(evidence: Evidence, document: Mapping[str, Any], home: Path) -> None:
    """Keep beside a record where its draws lie."""
    if document["sets"]:
        write_json(draws_path(evidence, home), document)


@dataclass(frozen=True, kw_only=True, eq=False)
class Packed:
    """What goes into a bundle for one record.

    Args:
        files: path below its folder of draws -> bytes; empty where there is nothing.
        said: why there is nothing, or what was left out; one sentence, or "".
    """

    files: Mapping[str, bytes]
    said: str = ""


def packed(evidence: Evidence, details: Mapping[str, Any], home: Path) -> Packed:
    """The draws behind a record as files of a bundle; every set is graded, to see which numbers follow.

    Args:
        evidence: the record.
        details: what is behind it: ``rows`` for a study that runs a plan.
        home: where it lies.
    """
    path = draws_path(evidence, home)
    if not path.exists():
        again = "the command that made it, run again with one worker" if evidence.tuned else _again(evidence)
        return Packed(files={}, said=f"its draws were not noted when it was made ({again}, notes them)")
    try:
        return _packed(evidence, details, read_json(path))
    except StorageError as error:
        return Packed(files={}, said=f"its draws are gone: {error.what}")
    except (KeyError, TypeError, ValueError, InputError) as error:
        said = error.what if isinstance(error, InputError) else f"{path.name} is damaged"
        return Packed(files={}, said=f"what was noted of its draws cannot be read: {said} ({_again(evidence)})")


def _again(evidence: Evidence) -> str:
    size = "" if evidence.profile == "short" else f" --profile {evidence.profile}"
    return f"keyturn claim run {evidence.claim} --seed {evidence.seed}{size}, which reads what is finished"


def _packed(evidence: Evidence, details: Mapping[str, Any], noted: Mapping[str, Any]) -> Packed:
    unknown = {one["grader_name"] for one in noted["asked"].values() if one["grader"] is None}
    known = [one for one in noted["sets"] if noted["asked"][one["asked"]]["grader"] is not None]
    opened = list(_opened(noted, known))
    k = noted["k"]
    if k:
        about, chosen = _of_audit(evidence, opened, k)
    else:
        about, chosen = {}, [(one, _of_run(one, found, details)) for one, found in opened]
        chosen = [(one, names) for one, names in chosen if names]
    tables = {id(one): found for one, found in opened}
    places = {name: number for number, name in enumerate(dict.fromkeys(one["asked"] for one, _ in chosen))}
    files: dict[str, bytes] = {}
    sets = []
    for number, (one, names) in enumerate(chosen):
        place = f"{number:03d}"
        files |= {f"{place}/{name}": data for name, data in _tables(tables[id(one)]).items()}
        own = {
            key: one[key] for key in ("arm", "seed", "pair", "side", "two_stages") if one.get(key) is not None
        }
        sets.append({**own, "folder": place, "asked": f"{places[one['asked']]:02d}", "numbers": list(names)})
    for name, number in places.items():
        document = {key: noted["asked"][name][key] for key in ("grader", "problems")}
        files[f"asked-{number:02d}.json"] = _json(document)
    if not sets:
        why = (
            f"its grader {sorted(unknown)[0]!r} is its own"
            if unknown
            else "its study computes them in its own way"
        )
        return Packed(files={}, said=f"no number of it follows from draws alone: {why}")
    files["draws.json"] = _json({"schema": NEWEST, "k": k, **about, "sets": sets})
    return Packed(files=files, said=f"draws of the grader {sorted(unknown)[0]!r} left out" if unknown else "")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Found:
    completions: Completions
    grades: Grades
    answers: Answers


def _opened(
    noted: Mapping[str, Any], sets: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[Mapping[str, Any], _Found]]:
    """Every set with its draws, graded."""
    root = Path(noted["run"])
    for one in sets:
        asked = noted["asked"][one["asked"]]
        problems = problems_of(asked["problems"], "draws")
        grader = grader_of(asked["grader"], "draws")
        parts = [read_completions(root / folder) for folder in one["folders"]]
        whole = (
            parts[0] if len(parts) == 1 else Completions.concat([part.onto(parts[0].prompts) for part in parts])
        )
        grades = grader.grade(problems, whole)
        table = with_rule(answers(one.get("side", "test"), problems, whole, grades), one.get("two_stages"))
        yield one, _Found(completions=whole, grades=grades, answers=table)


def _of_run(one: Mapping[str, Any], found: _Found, details: Mapping[str, Any]) -> tuple[str, ...]:
    row = row_of(details.get("rows", ()), one["arm"], one["seed"])
    return () if row is None else followed_by_run(found.answers, row)


def _of_audit(
    evidence: Evidence, opened: Sequence[tuple[Mapping[str, Any], _Found]], k: int
) -> tuple[dict[str, Any], list[tuple[Mapping[str, Any], tuple[str, ...]]]]:
    """The two sets of an audit, where both are there and a number follows from them."""
    sides = {one["side"]: (one, found) for one, found in opened}
    if set(sides) != {"base", "tuned"}:
        return {}, []
    (base, of_base), (tuned, of_tuned) = sides["base"], sides["tuned"]
    names = followed_by_audit(evidence, of_base.answers, of_tuned.answers, pair=base["pair"], k=k)
    return {"numbers": list(names)}, [(base, ()), (tuned, ())] if names else []


def _tables(found: _Found) -> dict[str, bytes]:
    """Draws and verdicts as Parquet, without what no grader reads."""
    blank = np.full(len(found.completions.tokens), np.nan, dtype=np.float32)
    bare = Grades(outcome=found.grades.outcome, verified=found.grades.verified, answer=found.grades.answer)
    with tempfile.TemporaryDirectory() as folder:
        write_completions(Path(folder), 0, replace(found.completions, logprobs=blank, entropies=blank))
        write_grades(Path(folder), 0, bare)
        return {name: (Path(folder) / name).read_bytes() for name in _PACKED}


def _json(document: Any) -> bytes:
    return (json.dumps(document, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()
