"""Which graded draws stand behind which numbers: noted while a study or an audit runs, kept beside its record.

Nothing is noted outside :func:`noting`, and noting changes no result: a note says where finished draws lie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from keyturn.lab.lab import Stage
from keyturn.problems.contract import ProblemSet
from keyturn.rollouts.grades import TwoStages


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """Graded draws of one policy.

    Args:
        about: whose: ``(arm, seed)`` of a plan, ``(pair, side)`` of an audit; side is ``base`` or ``tuned``.
        problems: what was asked, with its grader.
        folders: the stages that hold the completions, in the order in which they were drawn.
        two_stages: the rule by which some problems got more draws; None if all got the same.
    """

    about: tuple[str, str]
    problems: ProblemSet
    folders: tuple[Path, ...]
    two_stages: TwoStages | None = None


_notes: ContextVar[list[Drawn] | None] = ContextVar("notes", default=None)
_subject: ContextVar[tuple[str, str] | None] = ContextVar("subject", default=None)


@contextmanager
def noting() -> Iterator[list[Drawn]]:
    """Collect the notes of what runs inside."""
    found: list[Drawn] = []
    token = _notes.set(found)
    try:
        yield found
    finally:
        _notes.reset(token)


@contextmanager
def about(arm: str, seed: int) -> Iterator[None]:
    """Draws inside belong to the numbers of this arm's run.

    Draws outside, such as those that choose a learning rate, are not noted.
    """
    token = _subject.set((arm, str(seed)))
    try:
        yield
    finally:
        _subject.reset(token)


def note_run(problems: ProblemSet, stages: Sequence[Stage]) -> None:
    """Note draws that belong to the run that is measured."""
    subject = _subject.get()
    if subject is not None:
        note(subject, problems, stages)


def note(
    subject: tuple[str, str],
    problems: ProblemSet,
    stages: Sequence[Stage],
    two_stages: TwoStages | None = None,
) -> None:
    """Note draws of a named subject; stages that hold no completions are passed over."""
    notes = _notes.get()
    if notes is not None:
        folders = tuple(stage.folder for stage in stages if stage.folder.name.startswith("draw-"))
        notes.append(Drawn(about=subject, problems=problems, folders=folders, two_stages=two_stages))
