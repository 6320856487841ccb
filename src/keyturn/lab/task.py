"""Tasks: a base, its problems in three splits, and an expert that shows how to solve them.

A task is made from a world's own splits, or from a file of problems that a hash divides into three.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from keyturn.core.errors import UsageError
from keyturn.core.problem import Problem, Split
from keyturn.core.streams import Streams
from keyturn.policies.local import LocalPolicy
from keyturn.problems.contract import ProblemSet
from keyturn.problems.world.demonstrations import demonstrate
from keyturn.problems.world.grader import WorldGrader
from keyturn.problems.world.vocabulary import decode
from keyturn.problems.world.worlds import World, problems

Expert: TypeAlias = Callable[[Problem, Streams], str | None]
"""``(problem, streams) -> a worked solution as the policy would write it``, or None if there is none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What a method is run on.

    Args:
        base: the policy that it starts from, with plain sampling.
        folder: where the base was loaded from, a folder or a Hub id.
        train: problems that may be used for training.
        validation: problems for making choices (checkpoints, rates, switch times).
        test: problems that are not used for any choice.
        max_new_tokens: length limit of an answer.
        world: the controlled world of the problems, or None.
        expert: writes worked solutions; None if there is no expert.
        others: further loaded policies by slot (``teacher``...).
        device: the device that policies are on.
    """

    base: LocalPolicy
    folder: str
    train: ProblemSet
    validation: ProblemSet
    test: ProblemSet
    max_new_tokens: int
    world: World | None = None
    expert: Expert | None = None
    others: Mapping[str, LocalPolicy] = field(default_factory=dict)
    device: str = "cpu"


HELD_OUT = 0.1
"""Share of a file's problems that goes to validation, and the same share to test."""

Cells = Sequence[Mapping[str, str | int]]


def world_task(
    base: LocalPolicy,
    folder: str,
    world: World,
    streams: Streams,
    *,
    train: Cells | None = None,
    test: Cells | None = None,
    per_cell: int = 112,
    held_out: int = 24,
    device: str = "cpu",
    others: Mapping[str, LocalPolicy] | None = None,
) -> Task:
    """A task in a controlled world: three disjoint splits, and an expert that writes gold traces.

    Args:
        base: the policy to start from.
        folder: where it is stored.
        world: the world of the problems.
        streams: random streams that decide the problems.
        train: cells to train on; the world's own by default.
        test: cells of validation and test; the world's own by default.
        per_cell: training problems per cell, or fewer if fewer exist.
        held_out: validation problems per cell, and the same number of test problems per cell.
        device: the device that policies are on.
        others: further policies by slot.
    """
    grader = WorldGrader(world)

    def asked(split: Split, cells: Cells | None, count: int) -> ProblemSet:
        found = problems(world, split, cells, count, streams.child("problems"))
        return ProblemSet(name=f"{world.name} {split}", problems=found, grader=grader)

    return Task(
        base=base,
        folder=folder,
        train=asked("rl", train, per_cell),
        validation=asked("validation", test, held_out),
        test=asked("test", test, held_out),
        max_new_tokens=world.max_new_tokens,
        world=world,
        expert=world_expert(world),
        others=others or {},
        device=device,
    )


def world_expert(world: World, *, strategy: str | None = None, format: str | None = None) -> Expert:
    """An expert that writes a world's gold traces, in one strategy and format (the world's own by default)."""

    def expert(problem: Problem, streams: Streams) -> str:
        return decode(demonstrate(world, problem, streams, strategy=strategy, format=format).completion)

    return expert


def file_task(
    base: LocalPolicy,
    folder: str,
    asked: ProblemSet,
    *,
    max_new_tokens: int,
    test: ProblemSet | None = None,
    device: str = "cpu",
    others: Mapping[str, LocalPolicy] | None = None,
) -> Task:
    """A task from a file of problems. If they have worked solutions, these serve as the expert.

    Args:
        base: the policy to start from.
        folder: where it is stored.
        asked: the problems, divided by a hash of their ids into training, validation and test.
        max_new_tokens: length limit of an answer.
        test: separate test problems. If given, only validation is split off.
        device: the device that policies are on.
        others: further policies by slot.

    Raises:
        UsageError: there are too few problems for three parts.
    """
    parts: dict[Split, list[Problem]] = {"train": [], "validation": [], "test": []}
    for problem in asked.problems:
        share = int.from_bytes(hashlib.sha256(problem.id.encode()).digest()[:4], "big") / 2**32
        split: Split = "train"
        if share < HELD_OUT:
            split = "validation"
        elif test is None and share < 2 * HELD_OUT:
            split = "test"
        parts[split].append(replace(problem, split=split))
    if test is not None:
        parts["test"] = [replace(problem, split="test") for problem in test.problems]
    empty = [name for name, found in parts.items() if not found]
    if empty:
        raise UsageError(
            f"{len(asked.problems)} problems leave none for {', '.join(empty)}",
            fix="give more problems, or a file of test problems with --test",
        )
    sets = {
        name: replace(asked, name=f"{asked.name} {name}", problems=tuple(found))
        for name, found in parts.items()
    }
    solved = any("solution" in problem.facts for problem in asked.problems)
    return Task(
        base=base,
        folder=folder,
        train=sets["train"],
        validation=sets["validation"],
        test=sets["test"] if test is None else replace(test, problems=sets["test"].problems),
        max_new_tokens=max_new_tokens,
        expert=_solution if solved else None,
        others=others or {},
        device=device,
    )


def _solution(problem: Problem, streams: Streams) -> str | None:
    found = problem.facts.get("solution")
    return str(found) if found else None


def subset(problems: ProblemSet, chosen: Sequence[Problem], name: str) -> ProblemSet:
    """A set of some of the problems, with the same grader."""
    return ProblemSet(name=f"{problems.name} {name}", problems=tuple(chosen), grader=problems.grader)
