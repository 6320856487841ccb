"""The contract of a method: how any causal LM is post-trained on any problems, and what is reported of it.

A method never talks to files or clocks. It calls the stages of :mod:`keyturn.lab.session`, each of which is
read from disk once it is done and resumed when it is half done, so a plain function with ``if`` and ``for`` is
resumable. What happens once for all replicates is done by ``session.replicate(0)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from keyturn.core.errors import UsageError
from keyturn.core.measurement import Json
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task

Profile: TypeAlias = Literal["demo", "study", "real"]
PROFILES: tuple[Profile, ...] = ("demo", "study", "real")
"""``demo``: three minutes of two cores at most. ``study``: runs to a declared stopping rule. ``real``: for a
model of some 1e9 parameters."""

PRODUCT = "policy"
"""The slot of the policy that a method is there to make."""

Policies: TypeAlias = Mapping[str, Model]
"""Slot -> a policy that a method trained."""

Rows: TypeAlias = Sequence[Mapping[str, Json]]
"""A table for people and machines, one mapping a row."""

Train: TypeAlias = Callable[[Session, Any], Policies]
"""``(session, config) -> what was trained``; ``policy`` is the product."""

Rivals: TypeAlias = Callable[[Any], Mapping[str, Any]]
"""``(config) -> name -> config``: what the product is compared with; each is trained by the same method."""

Table: TypeAlias = Callable[[Session, Any, Policies], Rows]
"""``(session, config, policies) -> what is reported of them``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MethodResult:
    """What a run of a method leaves.

    Args:
        policies: slot -> model folder; ``policy`` is the product.
        rows: what was measured, one mapping a row.
    """

    policies: Mapping[str, Path]
    rows: tuple[Mapping[str, Json], ...] = ()


def alone(config: Any) -> Mapping[str, Any]:
    """No rivals: the table compares with the base alone."""
    return {}


def scores(session: Session, config: Any, policies: Policies) -> Rows:
    """The usual table: success of the base and of every policy on the test problems."""
    return session.scores({"base": session.base, **policies}, config.draws)


@dataclass(frozen=True, kw_only=True)
class Method:
    """A post-training method. Values live in ``methods.METHODS``.

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
        train: ``(session, config) -> policies by slot``, ``policy`` among them; studies train by it too.
        rivals: what the table compares the product with, as configs of the same method.
        table: ``(session, config, policies) -> rows``; trains nothing. Rivals are among the policies by name;
            what else it needs it reads again from finished stages.
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
    train: Train
    rivals: Rivals = alone
    table: Table = scores

    def run(self, session: Session, config: Any) -> MethodResult:
        """Train, train the rivals, then report."""
        policies = self.train(session, config)
        others = {name: self.train(session, one)[PRODUCT] for name, one in self.rivals(config).items()}
        rows = self.table(session, config, {**policies, **others})
        return MethodResult(policies={slot: model.path for slot, model in policies.items()}, rows=tuple(rows))

    def check(self, task: Task) -> None:
        """Refuse a task that lacks what the method needs, before anything is written.

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
