"""Completions that can be listed: where all valid ones are known, a base's success probability is a sum.

CHAIN has exactly one valid completion a problem, so its list is whole. A sum over GRAPH's is a certified lower
bound: every listed completion is verified and all differ, but some are left out, as each list says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.core.problem import Problem
from keyturn.problems.world import chain
from keyturn.problems.world.chain import ChainWorld
from keyturn.problems.world.formats import Step, write
from keyturn.problems.world.graph_task import GraphTask, is_noun, is_operation
from keyturn.problems.world.verify import read_prompt
from keyturn.problems.world.verify_chain import ChainTask
from keyturn.problems.world.vocabulary import ANS, END, EOS, ID, NEED, OK, VALUE, VERIFY, encode
from keyturn.problems.world.worlds import World

MOST_OPERATIONS = 3
"""Needed operations up to which GRAPH is listed; beyond, orders are too many to be worth it."""

_SHOWN = ("FWD", "BWD", "SCAN", "CHK", "RET")


@dataclass(frozen=True, kw_only=True)
class ValidCompletions:
    """Verified completions of one problem.

    Args:
        ids: distinct token id sequences, each with its ``EOS``.
        complete: nothing verified is left out, so that a sum over them is exact and not only a lower bound.
        left_out: what is not listed, in words; "" where complete.
    """

    ids: tuple[tuple[int, ...], ...]
    complete: bool
    left_out: str = ""


def valid_completions(world: World, problem: Problem, *, cap: int = 256) -> ValidCompletions:
    """The verified completions of a problem, as far as they can be listed.

    Args:
        world: whose strategies and formats are listed (GRAPH).
        problem: of that world.
        cap: most completions to list; those in the canonical order come first.

    Raises:
        UsageError: a GRAPH problem of more than three operations.
    """
    task = read_prompt(world, encode(problem.prompt))
    if isinstance(task, ChainTask) or isinstance(world, ChainWorld):
        assert isinstance(task, ChainTask)
        return ValidCompletions(ids=(chain.valid_trace(task.maps, task.start)[0],), complete=True)
    operations = sum(is_operation(token) for name in task.needed for token in task.definitions[name])
    if operations > MOST_OPERATIONS:
        what = f"the valid completions of {operations} operations are too many to list"
        raise UsageError(what, fix=f"at most {MOST_OPERATIONS} operations")
    shown = [name for name in _SHOWN if world.strategies.get(name, 0) > 0]
    formats = [name for name, share in world.formats.items() if share > 0]
    found: dict[tuple[int, ...], None] = {}
    for strategy, order in _in_turn({name: _orders(task, name) for name in shown}):
        found.update({_completion(task, strategy, fmt, order): None for fmt in formats})
        if len(found) >= cap:
            break
    ids = tuple(islice(found, cap))
    left = "repeated steps, needless steps outside SCAN, retractions, CHK without its checks, BWD in another "
    left += "order than its list, strategies and formats without share"
    if len(found) >= cap:
        left += f", and all beyond the first {cap}"
    return ValidCompletions(ids=ids, complete=False, left_out=left)


def guess_rates(problems: Sequence[Problem]) -> NDArray[np.float64]:
    """How often another problem's answer is right for each problem, ``[problem]``.

    Answers are permuted within their type, which is the cell: the rate is the share of the cell's *other*
    problems with the same answer, NaN for a cell of one problem.
    """
    cells = [tuple(sorted(problem.cell.items())) for problem in problems]
    sizes = Counter(cells)
    same = Counter((cell, problem.answer) for cell, problem in zip(cells, problems, strict=True))
    return np.array(
        [
            (same[cell, problem.answer] - 1) / (sizes[cell] - 1) if sizes[cell] > 1 else np.nan
            for cell, problem in zip(cells, problems, strict=True)
        ]
    )


def _in_turn(lists: Mapping[str, Iterator[tuple[int, ...]]]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """One order of each strategy after the other, until all are used up."""
    waiting = dict(lists)
    while waiting:
        for name in list(waiting):
            order = next(waiting[name], None)
            if order is None:
                del waiting[name]
            else:
                yield name, order


def _orders(task: GraphTask, strategy: str) -> Iterator[tuple[int, ...]]:
    """Orders of computing up to the target, canonical first; for BWD those whose reverse is a goal list."""
    among = tuple(task.definitions) if strategy == "SCAN" else task.needed
    if strategy == "BWD":
        for goals in _extend((), among, {name: task.users[name] for name in among}, None):
            yield goals[::-1]
        return
    yield from _extend((), among, {name: task.parents[name] for name in among}, task.target)


def _extend(
    order: tuple[int, ...], among: tuple[int, ...], after: Mapping[int, frozenset[int]], last: int | None
) -> Iterator[tuple[int, ...]]:
    """All ways to go on until ``last`` was taken, or everything; a name only after ``after[name]``."""
    if len(order) == len(among) or (order and order[-1] == last):
        yield order
        return
    taken = frozenset(order)
    for name in among:
        if name not in taken and after[name] <= taken:
            yield from _extend((*order, name), among, after, last)


def _completion(task: GraphTask, strategy: str, fmt: str, order: tuple[int, ...]) -> tuple[int, ...]:
    ids = [ID[strategy], ID[fmt]]
    if strategy == "BWD":
        ids += (NEED, *order[::-1], END)
    for name in order:
        written, value = task.definitions[name], task.values[name]
        args = written[::2]
        known = tuple(task.values[token] if is_noun(token) else token - VALUE for token in args)
        operation = written[1] if len(written) > 1 else -1
        write(fmt, Step(name, operation, args, known, tuple(map(is_noun, args)), value), ids, [])
        if strategy == "CHK" and operation >= 0:
            ids += (VERIFY, name, VALUE + value, OK, END)
    return (*ids, ANS, VALUE + task.values[task.target], EOS)
