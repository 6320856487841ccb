"""A lab whose draws and grades are made by workers: parts of a stage, written where the stage looks for them.

What a stage holds is the same as if this process had made it: parts are cut in the same way, each worker
opens the same policy (its fingerprint and its engine are compared) and computes with as many threads. A worker
that is lost costs its part.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keyturn.core.errors import InputError
from keyturn.core.lazy import torch
from keyturn.core.problem import Problem
from keyturn.core.progress import progress
from keyturn.core.rundir import write_bytes
from keyturn.core.streams import Streams
from keyturn.lab.lab import Lab, Stage
from keyturn.lab.parts import parts_of, rows_a_part
from keyturn.lab.workers import Executor, Job, Processes, free_cores
from keyturn.policies.by_name import Loading, open_model
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Limits, Policy
from keyturn.policies.which_engine import engine_of
from keyturn.problems.contract import Grader
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.grades import Grades
from keyturn.rollouts.store import write_completions, write_grades

__uncounted__ = (
    "SharedLab",
    "SharedLab.draw",
    "SharedLab.grade",
    "SharedLab._begun_by",
    "SharedLab._finish",
    "SharedLab._draw_parts",
    "SharedLab._grade_parts",
)
"""Who does the work changes no result (:mod:`keyturn.core.definitions`)."""

GRADED_AT_ONCE = 4096
"""Completions that one job grades."""


@dataclass(frozen=True, kw_only=True)
class Opening:
    """How a worker opens a policy.

    Args:
        place: a model folder or a Hub name.
        loading: how it is loaded, asked and decoded.
    """

    place: str
    loading: Loading


@dataclass
class SharedLab(Lab):
    """A lab with workers.

    Args:
        executor: where workers are.
        openings: fingerprint of a policy -> how a worker opens it. Other policies answer in this process.
    """

    executor: Executor = field(default_factory=lambda: Processes(free_cores()))
    openings: Mapping[str, Opening] = field(default_factory=dict)
    _ahead: Callable[[Path], bool] | None = field(default=None, init=False, repr=False, compare=False)

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
        """See :meth:`~keyturn.lab.lab.Lab.draw`."""

        def ahead(folder: Path) -> bool:
            parts = parts_of(problems, draws, rows_a_part(policy, problems, draws, limits))
            missing = {n: part for n, part in enumerate(parts) if not (folder / f"{n}.done").exists()}
            self._draw_parts(policy, missing, draws, limits, folder, name)
            return False  # what is still missing is drawn here

        with self._begun_by(ahead):
            return super().draw(policy, problems, draws, limits, name=name, parents=parents)

    def grade(
        self,
        grader: Grader,
        problems: tuple[Problem, ...],
        completions: Completions,
        drawn: Stage,
        *,
        name: str,
    ) -> tuple[Stage, Grades]:
        """See :meth:`~keyturn.lab.lab.Lab.grade`."""
        with self._begun_by(lambda folder: self._grade_parts(grader, problems, completions, folder, name)):
            return super().grade(grader, problems, completions, drawn, name=name)

    @contextlib.contextmanager
    def _begun_by(self, ahead: Callable[[Path], bool]) -> Iterator[None]:
        """What runs in the folder of the next stage before its work, or instead of it (True)."""
        self._ahead = ahead
        try:
            yield
        finally:
            self._ahead = None

    def _finish(self, folder: Path, declared: Mapping[str, Any], work: Callable[[Path], None]) -> None:
        ahead = self._ahead

        def both(folder: Path) -> None:
            if ahead is None or not ahead(folder):
                work(folder)

        super()._finish(folder, declared, both)

    def _draw_parts(
        self,
        policy: Policy,
        parts: Mapping[int, Sequence[Problem]],
        draws: range,
        limits: Limits,
        folder: Path,
        name: str,
    ) -> None:
        """Draw the parts of a stage that are missing, if workers can open the policy and it is worth it."""
        opening = self.openings.get(policy.fingerprint)
        if opening is None or len(parts) < 2:
            return
        same = (policy.fingerprint, engine_of(policy))
        gpu = isinstance(policy, LocalPolicy) and policy.model.device.type == "cuda"
        sizes = {f"{name} {number}": len(part) * len(draws) for number, part in parts.items()}
        place = folder.resolve()
        jobs = {
            f"{name} {number}": Job(
                function=_draw_part,
                arguments=(opening, same, tuple(part), draws, self.streams, limits, place, number),
                threads=1 if gpu else torch.get_num_threads(),
                gpu=gpu,
            )
            for number, part in parts.items()
        }
        with progress(f"{name}, by workers", sum(sizes.values())) as advance:
            self.executor.run(jobs, folders={name: place}, done=lambda job: advance(sizes[job]))

    def _grade_parts(
        self, grader: Grader, problems: tuple[Problem, ...], completions: Completions, folder: Path, name: str
    ) -> bool:
        """Grade completions and write the result; False where they are too few to be worth it."""
        starts = range(0, len(completions), GRADED_AT_ONCE)
        if len(starts) < 2:
            return False
        row = np.arange(len(completions))
        jobs = {
            f"{name} {start}": Job(
                function=grader.grade,
                arguments=(problems, completions.select((row >= start) & (row < start + GRADED_AT_ONCE))),
            )
            for start in starts
        }
        with progress(f"{name}, by workers", len(jobs)) as advance:
            found = self.executor.run(jobs, folders={name: folder}, done=lambda _: advance(1))
        write_grades(folder, 0, Grades.concat([found[job] for job in jobs]))
        return True


@functools.lru_cache(maxsize=2)
def _opened(opening: Opening) -> LocalPolicy:
    """A policy, opened once in a worker."""
    return open_model(opening.place, opening.loading)


def _draw_part(
    opening: Opening,
    same: tuple[str, str],
    problems: tuple[Problem, ...],
    draws: range,
    streams: Streams,
    limits: Limits,
    folder: Path,
    number: int,
) -> None:
    """On a worker: draw one part of a stage."""
    policy = _opened(opening)
    found = (policy.fingerprint, engine_of(policy))
    if found[0] != same[0]:
        what = f"{opening.place} holds other weights for a worker than for this process"
        raise InputError(what, fix="name a folder that all nodes share, or a pinned --revision")
    if found[1] != same[1]:
        what = f"a worker draws by {found[1]}, and this process by {same[1]}"
        raise InputError(what, fix="the same compiler on all nodes, or KEYTURN_NATIVE=0 on all of them")
    write_completions(folder, number, policy.draw(problems, draws, streams, limits))
    write_bytes(folder / f"{number}.done", b"")
