"""Tasks: a base, its problems in three splits, and who shows how they are solved.

A task is made of a world's own splits, or of a file of problems that a hash cuts into three.
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
"""``(problem, streams) -> a worked solution as the policy would write it``, or None where there is none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What a method is run on.

    Args:
        base: the policy that it begins with, plain sampling.
        folder: where the base was loaded from, a folder or a Hub id.
        train: problems that may be learnt from.
        validation: problems that choices are made on (checkpoints, rates, switch times).
        test: problems that nothing is chosen on.
        max_new_tokens: length limit of an answer.
        world: the controlled world of the problems, or None.
        expert: writes worked solutions; None where nobody does.
        others: further policies by slot (``teacher``...), loaded.
        device: where policies live.
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
"""Share of a file's problems that go to validation, and again to test."""

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
    """A task in a controlled world: three disjoint splits, and an expert who writes gold traces.

    Args:
        base: the policy to begin with.
        folder: where it lies.
        world: of the problems.
        streams: decides the problems.
        train: cells to learn from; the world's own by default.
        test: cells of validation and test; the world's own by default.
        per_cell: training problems a cell, fewer where fewer exist.
        held_out: validation and test problems a cell, each.
        device: where policies live.
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
    """Who writes a world's gold traces, in one manner (the world's own by default)."""

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
    """A task from a file of problems; its worked solutions, where it has them, are the expert.

    Args:
        base: the policy to begin with.
        folder: where it lies.
        asked: the problems, cut by a hash of their ids into training, validation and test.
        max_new_tokens: length limit of an answer.
        test: test problems of their own; then only validation is cut off.
        device: where policies live.
        others: further policies by slot.

    Raises:
        UsageError: too few problems for three parts.
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
        name: ProblemSet(name=f"{asked.name} {name}", problems=tuple(found), grader=asked.grader)
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
    """Some problems under the same grader."""
    return ProblemSet(name=f"{problems.name} {name}", problems=tuple(chosen), grader=problems.grader)
