"""The contract of a recipe: a post-training method as a program of stages, on any causal LM and problems.

A recipe never talks to files or clocks: it calls the stages of :mod:`keyturn.lab.session`, each of which is
read from disk once done and resumed when half done, so a plain function with ``if`` and ``for`` is resumable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from keyturn.core.errors import UsageError
from keyturn.core.measurement import Json
from keyturn.lab.session import Session
from keyturn.lab.task import Task

Profile: TypeAlias = Literal["demo", "study", "real"]
PROFILES: tuple[Profile, ...] = ("demo", "study", "real")
"""``demo``: three minutes of two cores at most. ``study``: runs to a declared stopping rule. ``real``: for a
model of some 1e9 parameters."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """What a recipe leaves.

    Args:
        policies: slot -> model folder; ``policy`` is the product.
        rows: a table for people and machines, one mapping a row, what was measured on the way.
    """

    policies: Mapping[str, Path]
    rows: tuple[Mapping[str, Json], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A post-training method. Values live in ``methods.RECIPES``.

    Args:
        name: key of the dictionary.
        summary: one sentence.
        source: authors, year, identifier.
        cost: what it costs, in words, for each profile.
        domain: the embedded world whose task shows it: ``graph`` (strategies, formats) or ``chain`` (depths).
        needs: of a :class:`Task`: ``expert``, ``world``, or the slot of another policy (``teacher``).
        takes: slots of further policies that it uses where they are given.
        profiles: its config for each of :data:`PROFILES`.
        brief: ``(config) -> the same with two steps of everything``: proves that it runs, teaches nothing.
        run: ``(session, config) -> Made``.
    """

    name: str
    summary: str
    source: str
    cost: str
    domain: Literal["graph", "chain"] = "graph"
    needs: frozenset[str] = frozenset()
    takes: frozenset[str] = frozenset()
    profiles: Mapping[Profile, Any]
    brief: Callable[[Any], Any]
    run: Callable[[Session, Any], Made]

    def check(self, task: Task) -> None:
        """Refuse a task that lacks what the recipe needs, before anything is written.

        Raises:
            UsageError: the message says what is missing and how to give it.
        """
        for need in sorted(self.needs):
            if need == "world" and task.world is None:
                raise UsageError(
                    f"{self.name} needs a controlled world: its truth is computed, not annotated",
                    fix="name an embedded world or a model folder with world.json",
                )
            if need == "expert" and task.expert is None:
                raise UsageError(
                    f"{self.name} needs demonstrations, and these problems have no worked solutions",
                    fix="problems with a column 'solution', or a world's",
                )
            if need not in ("world", "expert") and need not in task.others:
                raise UsageError(f"{self.name} needs a policy for the slot {need!r}", fix=f"--{need} MODEL")
