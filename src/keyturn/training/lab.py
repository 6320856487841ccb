"""Stages: pieces of work that are done once, found again by their identity, and resumed when half done.

A stage is named by its kind and a hash of everything that decides its result: its own fields and the
identities of its parents. What is finished (``DONE``) is read from disk; what is half done is handed
its own folder again and goes on from what lies there. So a plain function with ``if`` and ``for``
around stages is resumable as a whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keyturn.core.errors import BusyError
from keyturn.core.problem import Problem
from keyturn.core.progress import progress
from keyturn.core.rundir import identity, is_done, mark_done, owned, read_json, write_json
from keyturn.core.streams import Streams
from keyturn.policies.protocol import Limits, Policy
from keyturn.problems.contract import Grader
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.grades import Grades
from keyturn.rollouts.store import read_completions, read_grades, write_completions, write_grades

ROWS_A_PART = 4096
"""Completions per Parquet part of a drawing: what an interruption can cost at most."""


_POLL_S = 0.5


@dataclass(frozen=True)
class Stage:
    """A finished stage."""

    id: str
    folder: Path


@dataclass
class Lab:
    """A run directory and the stages in it.

    Args:
        root: the run directory.
        streams: all randomness of the run.
        seconds: stage label -> wall seconds that it took when it ran (kept in the stage, so that a
            resumed run still says where the time went).
        share: ``(number, of how many)`` where several processes work on one run directory: a plan does its
            share of the arms, and a stage that another process is at is waited for. None: alone.
    """

    root: Path
    streams: Streams
    seconds: dict[str, float] = field(default_factory=dict)
    share: tuple[int, int] | None = None

    def stage(
        self,
        kind: str,
        fields: Mapping[str, Any],
        work: Callable[[Path], None],
        *,
        parents: Sequence[Stage] = (),
        label: str = "",
    ) -> Stage:
        """Do a piece of work once.

        Args:
            kind: what sort of work, part of the folder's name.
            fields: everything that decides the result, JSON-able.
            work: gets the stage's folder; may find its own half-done work there.
            parents: stages that it builds on.
            label: under which its seconds are counted; the kind by default.
        """
        declared = {"kind": kind, "root": self.streams.root, **fields, "parents": [p.id for p in parents]}
        key = identity(declared)
        folder = self.root / "stages" / f"{kind}-{key}"
        while not is_done(folder):
            try:
                with owned(folder):
                    if not is_done(folder):
                        write_json(folder / "stage.json", declared)
                        started = time.monotonic()
                        work(folder)
                        write_json(folder / "time.json", {"seconds": time.monotonic() - started})
                        mark_done(folder)
            except BusyError:
                if self.share is None:
                    raise
                time.sleep(_POLL_S)
        spent = read_json(folder / "time.json")["seconds"]
        self.seconds[label or kind] = self.seconds.get(label or kind, 0.0) + float(spent)  # type: ignore[arg-type]
        return Stage(key, folder)

    def draw(
        self,
        policy: Policy,
        problems: Sequence[Problem],
        draws: range,
        limits: Limits,
        *,
        name: str,
        parents: Sequence[Stage] = (),
    ) -> tuple[Stage, Completions]:
        """Draw completions in parts, each finished on disk.

        Args:
            policy: who answers.
            problems: what is asked.
            draws: which draws of every problem.
            limits: length and batch limits.
            name: for the progress line and the seconds, e.g. ``"draw base"``.
            parents: stages that decided what is drawn.
        """
        fields = {
            "policy": policy.fingerprint,
            "problems": identity({"asked": [p.asked for p in problems]}),
            "draws": [draws.start, draws.stop],
            "max_new_tokens": limits.max_new_tokens,
        }
        chunk = max(1, ROWS_A_PART // max(1, len(draws)))
        starts = range(0, len(problems), chunk)

        def work(folder: Path) -> None:
            with progress(name, len(problems) * len(draws)) as advance:
                for number, start in enumerate(starts):
                    part = problems[start : start + chunk]
                    if not (folder / f"{number}.done").exists():
                        drawn = policy.draw(part, draws, self.streams, limits)
                        write_completions(folder, number, drawn)
                        (folder / f"{number}.done").touch()
                    advance(len(part) * len(draws))

        stage = self.stage("draw", fields, work, parents=parents, label=name)
        return stage, read_completions(stage.folder)

    def grade(
        self,
        grader: Grader,
        problems: tuple[Problem, ...],
        completions: Completions,
        drawn: Stage,
        *,
        name: str,
    ) -> tuple[Stage, Grades]:
        """Grade completions; a change of the grader grades again without sampling again."""

        def work(folder: Path) -> None:
            write_grades(folder, 0, grader.grade(problems, completions))

        fields = {
            "grader": grader.name,
            "problems": identity({"p": [(p.id, p.answer, *p.also) for p in problems]}),
        }
        stage = self.stage("grade", fields, work, parents=[drawn], label=name)
        return stage, read_grades(stage.folder)

    def arrays(
        self,
        kind: str,
        fields: Mapping[str, Any],
        compute: Callable[[], Mapping[str, np.ndarray]],
        *,
        parents: Sequence[Stage] = (),
        label: str = "",
    ) -> tuple[Stage, dict[str, np.ndarray]]:
        """A stage whose result is a handful of arrays."""

        def work(folder: Path) -> None:
            np.savez(folder / "arrays.npz", **dict(compute()))  # type: ignore[arg-type]

        stage = self.stage(kind, fields, work, parents=parents, label=label)
        with np.load(stage.folder / "arrays.npz", allow_pickle=False) as archive:
            return stage, {name: archive[name] for name in archive.files}
