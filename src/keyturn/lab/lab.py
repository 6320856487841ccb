"""Stages: pieces of work that are done once, found again by their identity, and resumed if interrupted.

A stage is named by its kind, a hash of everything that was requested (its own fields and the identities of its
parents) and a hash of the code that does the work (:mod:`keyturn.core.identity`). A finished stage (``DONE``)
is read from disk. An unfinished stage gets its own folder again and continues from what is there. So a plain
function with ``if`` and ``for`` around stages is resumable as a whole. A finished stage that cannot be read is
made again, with a warning. A stage that other code made is never read: it is made again, and a warning names
what changed.
"""

from __future__ import annotations

import errno
import io
import logging
import re
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from keyturn.core.errors import BusyError, InputError, KeyturnError, NewerError, StorageError, UsageError
from keyturn.core.identity import Identity, differences
from keyturn.core.problem import Problem
from keyturn.core.progress import progress
from keyturn.core.rundir import (
    damaged,
    is_done,
    mark_done,
    read_json,
    remove_leftovers,
    reopen,
    run_lock,
    set_aside,
    write_bytes,
    write_json,
)
from keyturn.core.streams import Streams
from keyturn.lab.parts import drawn_before, parts_of, rows_a_part, rows_of
from keyturn.policies.protocol import Limits, Policy
from keyturn.policies.which_engine import engine_of
from keyturn.problems.contract import Grader, content_of
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.grades import Grades
from keyturn.rollouts.store import read_completions, read_grades, write_completions, write_grades

__uncounted__ = (
    "Lab.stage",
    "Lab._finish",
    "Lab._say_what_is_not_read",
    "Lab._say",
    "Lab._reopen",
    "Lab._set_aside",
    "Lab._count",
)
"""Names left out of the code hash, because storage changes no result (:mod:`keyturn.core.definitions`)."""

_POLL_S = 0.5
_ARRAYS = "arrays.npz"
_STAGE = "stage.json"
_NAMED_WITH_CODE = re.compile(r".+-[0-9a-f]{12}-[0-9a-f]{12}")
_log = logging.getLogger("keyturn")

T = TypeVar("T")


@dataclass(frozen=True)
class Stage:
    """A finished stage.

    Args:
        id: a hash of what was requested and a hash of the code that made it.
        folder: where it is stored.
    """

    id: str
    folder: Path


@dataclass
class Lab:
    """A run directory and the stages in it.

    Args:
        root: the run directory.
        streams: all randomness of the run.
        seconds: stage label -> wall seconds that the stage took when it ran. The stage stores them, so that a
            resumed run can still report where the time went.
        share: ``(number, of how many)`` if several processes work on one run directory. A plan then runs its
            share of the arms, and waits for a stage that another process is working on. None: a single process.
    """

    root: Path
    streams: Streams
    seconds: dict[str, float] = field(default_factory=dict)
    share: tuple[int, int] | None = None
    _said: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def stage(
        self,
        kind: str,
        fields: Mapping[str, Any],
        work: Callable[[Path], None],
        read: Callable[[Path], T],
        *,
        parents: Sequence[Stage] = (),
        label: str = "",
    ) -> tuple[Stage, T]:
        """Do a piece of work once, and read its result.

        If a finished stage cannot be read, the work runs again in its folder. If that does not repair it, the
        stage is set aside and made from the beginning.

        Args:
            kind: what sort of work it is; part of the folder's name.
            fields: everything that decides the result: plain data, or objects that can be described
                (:mod:`keyturn.core.describe`), whose code counts too.
            work: receives the stage's folder, which may hold its own unfinished or damaged work. Its code
                counts, and so does the code of everything in its closure.
            read: receives the folder when the stage is finished.
            parents: stages that it builds on.
            label: the label that its seconds are counted under; the kind by default.

        Raises:
            UsageError: a field cannot be described; the message names it.
            KeyturnError: what ``work`` raises, and what ``read`` raises for a stage made in this call.
        """
        asked = {"kind": kind, "root": self.streams.root, **fields, "parents": [p.id for p in parents]}
        declared = Identity.of(asked, work)
        folder = self.root / "stages" / f"{kind}-{declared.id}"
        found = is_done(folder)
        if not folder.exists():
            self._say_what_is_not_read(folder, declared)

        def result() -> T:
            self._finish(folder, declared.document(), work)
            _whole(folder)
            return read(folder)

        try:
            made = result()
        except (StorageError, InputError) as damage:
            if not found or not _is_damage(damage):
                raise
            self._reopen(folder, damage)
            try:
                made = result()
            except (StorageError, InputError, UsageError) as worse:
                if not _is_damage(worse):
                    raise
                self._set_aside(folder, worse)
                made = result()
        self._count(label or kind, folder)
        return Stage(declared.id, folder), made

    def _finish(self, folder: Path, declared: Mapping[str, Any], work: Callable[[Path], None]) -> None:
        while not is_done(folder):
            try:
                with run_lock(folder):
                    if not is_done(folder):
                        remove_leftovers(folder)
                        write_json(folder / _STAGE, declared)
                        started = time.monotonic()
                        work(folder)
                        write_json(folder / "time.json", {"seconds": time.monotonic() - started})
                        mark_done(folder)
            except BusyError:
                if self.share is None:
                    raise
                time.sleep(_POLL_S)

    def _say_what_is_not_read(self, folder: Path, declared: Identity) -> None:
        """Warn once if stages here were made by other code, or by a keyturn that did not record its code."""
        stages = folder.parent
        if not stages.is_dir() or (self.share is not None and self.share[0]):
            return  # if there are several processes, only the first one says it
        for other in sorted(stages.glob(f"{folder.name.removesuffix(declared.code.hash)}*")):
            changed = differences(_noted(other), declared).code_in_words
            made = "made" if is_done(other) else "begun"
            said = "%s was %s by another version of the code (changed: %s); it is made again"
            self._say(changed, said, other, made, changed)
        earlier = [one for one in stages.iterdir() if one.is_dir() and not _NAMED_WITH_CODE.fullmatch(one.name)]
        if earlier:
            said = "%s holds %d stages of an earlier keyturn, which did not record its code; they are not read"
            self._say("earlier", said, stages, len(earlier))

    def _say(self, once: str, message: str, *parts: object) -> None:
        if once and once not in self._said:
            self._said.add(once)
            _log.warning(message, *parts)

    def _reopen(self, folder: Path, damage: KeyturnError) -> None:
        """Let the work continue in its folder. With checkpoints or whole parts, it need not start over."""
        _log.warning("a finished stage is damaged and is made again: %s", damage.what)
        try:
            with run_lock(folder):
                reopen(folder, self.root / "damaged")
        except BusyError:
            if self.share is None:
                raise  # otherwise another of our processes has found the damage too and is repairing it

    def _set_aside(self, folder: Path, damage: KeyturnError) -> None:
        with run_lock(folder):
            aside = set_aside(folder, self.root / "damaged")
        _log.warning("the stage was set aside in %s and is made from the beginning: %s", aside, damage.what)

    def _count(self, label: str, folder: Path) -> None:
        """Add a stage's seconds. If they cannot be read, only they are lost."""
        try:
            spent = float(read_json(folder / "time.json")["seconds"])  # type: ignore[arg-type]
        except (StorageError, KeyError, TypeError, ValueError):
            return
        self.seconds[label] = self.seconds.get(label, 0.0) + spent

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
        """Draw completions in parts, each of which is stored when it is finished.

        Args:
            policy: the policy that answers.
            problems: the problems that are asked.
            draws: which draws of every problem are made.
            limits: length and batch limits.
            name: label of the progress line and of the seconds, e.g. ``"draw base"``.
            parents: stages that decided what is drawn.
        """
        fields = {
            "policy": policy,
            "engine": engine_of(policy),
            "problems": content_of([p.asked for p in problems]),
            "draws": [draws.start, draws.stop],
            "max_new_tokens": limits.max_new_tokens,
        }

        def work(folder: Path) -> None:
            parts = parts_of(problems, draws, rows_a_part(policy, problems, draws, limits))
            before = drawn_before(folder, parts, draws)
            done = rows_of((parts[number] for number in before), draws)
            with progress(name, rows_of(parts, draws), done=done) as advance:
                for number, part in enumerate(parts):
                    if number not in before:
                        write_completions(folder, number, policy.draw(part, draws, self.streams, limits))
                        write_bytes(folder / f"{number}.done", b"")
                        advance(len(part) * len(draws))

        return self.stage("draw", fields, work, read_completions, parents=parents, label=name)

    def grade(
        self,
        grader: Grader,
        problems: tuple[Problem, ...],
        completions: Completions,
        drawn: Stage,
        *,
        name: str,
    ) -> tuple[Stage, Grades]:
        """Grade completions. When the grader changes, they are graded again without sampling again."""

        def work(folder: Path) -> None:
            write_grades(folder, 0, grader.grade(problems, completions))

        fields = {
            "grader": grader,
            "problems": content_of(problems),
            "completions": completions.fingerprint,
        }
        return self.stage("grade", fields, work, read_grades, parents=[drawn], label=name)

    def arrays(
        self,
        kind: str,
        fields: Mapping[str, Any],
        compute: Callable[[], Mapping[str, np.ndarray]],
        *,
        parents: Sequence[Stage] = (),
        label: str = "",
    ) -> tuple[Stage, dict[str, np.ndarray]]:
        """A stage whose result is a small number of arrays."""
        return self.arrays_kept(kind, fields, lambda _: compute(), parents=parents, label=label)

    def arrays_kept(
        self,
        kind: str,
        fields: Mapping[str, Any],
        compute: Callable[[Path], Mapping[str, np.ndarray]],
        *,
        parents: Sequence[Stage] = (),
        label: str = "",
    ) -> tuple[Stage, dict[str, np.ndarray]]:
        """The same for long work, which may keep what is finished in the folder that it is given."""

        def work(folder: Path) -> None:
            stream = io.BytesIO()
            np.savez(stream, **dict(compute(folder)))  # type: ignore[arg-type]
            write_bytes(folder / _ARRAYS, stream.getvalue())

        return self.stage(kind, fields, work, _read_arrays, parents=parents, label=label)


def _noted(folder: Path) -> Mapping[str, Any]:
    """What a stage records about itself. Empty if the record cannot be read."""
    try:
        return read_json(folder / _STAGE)
    except StorageError:
        return {}


def _is_damage(error: KeyturnError) -> bool:
    """Whether making a stage again may repair it. This excludes files of a newer keyturn, and a full disk."""
    refused = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)
    return not isinstance(error, NewerError) and getattr(error.__cause__, "errno", None) not in refused


def _whole(folder: Path) -> None:
    names = damaged(folder)
    if names:
        raise StorageError(f"{folder / names[0]} was changed after it was written", fix=f"remove {folder}")


def _read_arrays(folder: Path) -> dict[str, np.ndarray]:
    path = folder / _ARRAYS
    if not path.is_file():
        raise StorageError(f"{path} is missing", fix=f"remove {folder} and run the command again")
    try:
        # Opened here: if the file is no archive, the reader leaves closing it to the garbage collector.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        raise StorageError(
            f"{path} is damaged ({error})", fix=f"remove {folder} and run the command again"
        ) from error
