"""Checks of a collection: what no reader of one file can see, each problem with its file, line and fix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from keyturn.atlas import CLAIMS
from keyturn.atlas.checks.ids import facts_and_readings, notes_by_case, questions, relations
from keyturn.atlas.checks.texts import numbers_in_prose, what_acts
from keyturn.atlas.collection.atlas import Atlas, read_atlas
from keyturn.atlas.collection.fields import Problem
from keyturn.atlas.known import Known, load_known

CHECKS: tuple[Callable[[Atlas, Known], list[Problem]], ...] = (
    notes_by_case,
    facts_and_readings,
    relations,
    questions,
    numbers_in_prose,
    what_acts,
)
"""Each returns what it finds wrong."""


def lint(home: Path | None, known: Known | None = None) -> tuple[Problem, ...]:
    """Everything wrong in the shipped collection and in the user's own, in the order of files and lines.

    Args:
        home: ``$KEYTURN_HOME``; None for the shipped collection alone.
        known: the records, which tell the numbers that a study returns; what ships where None.
    """
    atlas, problems = read_atlas(home)
    known = known or load_known(None)
    found = [*problems, *(problem for check in CHECKS for problem in check(atlas, known))]
    once = {(str(one.place), one.what): one for one in found}
    return tuple(
        sorted(once.values(), key=lambda one: (one.place.origin != "mine", one.place.file, one.place.line))
    )


__all__ = ["CHECKS", "CLAIMS", "lint"]
