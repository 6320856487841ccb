"""Problems and their grader as JSON, so that draws can be graded again where the study was not run.

Two kinds of graders have a name that another keyturn knows: the verifier of a controlled world, which is its
settings, and the graders of texts by name. A grader that a study made for itself has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keyturn.core.errors import InputError
from keyturn.core.problem import Problem
from keyturn.problems.contract import Grader
from keyturn.problems.graders import GRADERS
from keyturn.problems.world.grader import WorldGrader
from keyturn.problems.world.worlds import world_from_json, world_to_json

_TEXTS = ("id", "prompt", "answer")
_FIELDS = {*_TEXTS, "messages", "also", "cell", "facts"}
_AGAIN = "ask its maker for the file again"


def grader_document(grader: Grader) -> dict[str, Any] | None:
    """A grader by name; None for one that only its study knows."""
    if type(grader) is WorldGrader:
        return {"kind": "world", "name": grader.name, "world": world_to_json(grader.world)}
    for name, known in GRADERS.items():
        if known is grader:
            return {"kind": "text", "name": grader.name, "of": name}
    return None


def grader_of(document: Mapping[str, Any], where: str) -> Grader:
    """The inverse of :func:`grader_document`.

    Raises:
        InputError: there is no such grader here, or it has another version here.
    """
    name, found = document.get("name"), None
    if document.get("kind") == "world" and isinstance(document.get("world"), dict):
        found = WorldGrader(world_from_json(document["world"]))
    elif document.get("kind") == "text" and document.get("of") in GRADERS:
        found = GRADERS[document["of"]]
    if found is None or not isinstance(name, str):
        raise InputError(f"{where}: no grader here is called {name!r:.60}", fix=_AGAIN)
    if found.name != name:
        what = f"{where}: its draws were graded by {name!r:.60}, and this keyturn has {found.name!r:.60}"
        raise InputError(what, fix="verify it with the keyturn that made it, or run the study again")
    return found


def problem_document(problem: Problem) -> dict[str, Any]:
    """Everything of a problem that a grader or a number reads."""
    return {
        **{name: getattr(problem, name) for name in _TEXTS},
        "messages": [list(turn) for turn in problem.messages],
        "also": list(problem.also),
        "cell": dict(problem.cell),
        "facts": dict(problem.facts),
    }


def problems_of(rows: Sequence[Any], where: str) -> tuple[Problem, ...]:
    """The inverse of :func:`problem_document`, every field checked.

    Raises:
        InputError: a row is no problem.
    """
    return tuple(_problem(row, f"{where}, problem {number}") for number, row in enumerate(rows, start=1))


def _problem(row: Any, where: str) -> Problem:
    if not isinstance(row, dict) or row.keys() != _FIELDS:
        raise InputError(f"{where} is no problem", fix=_AGAIN)
    plain = all(isinstance(row[name], str) for name in _TEXTS)
    lists = isinstance(row["messages"], list) and isinstance(row["also"], list)
    if not (plain and lists and _flat(row["cell"], (str, int)) and _flat(row["facts"], (str, int, float))):
        raise InputError(f"{where} is no problem", fix=_AGAIN)
    turns = [turn for turn in row["messages"] if isinstance(turn, list) and len(turn) == 2]
    texts = [
        text for text in (*row["also"], *(text for turn in turns for text in turn)) if type(text) is not str
    ]
    if texts or len(turns) != len(row["messages"]):
        raise InputError(f"{where} is no problem", fix=_AGAIN)
    return Problem(
        **{name: row[name] for name in _TEXTS},
        messages=tuple((turn[0], turn[1]) for turn in turns),
        also=tuple(row["also"]),
        cell=row["cell"],
        facts=row["facts"],
    )


def _flat(found: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(found, dict) and all(isinstance(value, kinds) for value in found.values())
