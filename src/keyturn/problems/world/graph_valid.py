"""Lists of verified completions of GRAPH: every strategy and format in all orders of the needed steps.

A sum over them is a certified lower bound: every listed completion is verified and all differ, but some are
left out, which each list states.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from keyturn.core.errors import UsageError
from keyturn.problems.world.contract import ValidCompletions
from keyturn.problems.world.formats import Step, write
from keyturn.problems.world.graph_task import GraphTask, is_noun, is_operation
from keyturn.problems.world.vocabulary import ANS, END, EOS, ID, NEED, OK, VALUE, VERIFY

MOST_OPERATIONS = 3
"""Needed operations up to which GRAPH is listed; beyond, orders are too many to be worth it."""

SHOWN = ("FWD", "BWD", "SCAN", "CHK", "RET")
"""Strategies whose completions are listed."""


def list_valid(
    task: GraphTask, strategies: Sequence[str], formats: Sequence[str], cap: int
) -> ValidCompletions:
    """The completions in these strategies (of :data:`SHOWN`) and formats, canonical orders first.

    Raises:
        UsageError: the problem has more than three operations.
    """
    operations = sum(is_operation(token) for name in task.needed for token in task.definitions[name])
    if operations > MOST_OPERATIONS:
        what = f"the valid completions of {operations} operations are too many to list"
        raise UsageError(what, fix=f"at most {MOST_OPERATIONS} operations")
    found: dict[tuple[int, ...], None] = {}
    for strategy, order in _in_turn({name: _orders(task, name) for name in strategies}):
        found.update({_completion(task, strategy, fmt, order): None for fmt in formats})
        if len(found) >= cap:
            break
    ids = tuple(islice(found, cap))
    left = "repeated steps, needless steps outside SCAN, retractions, CHK without its checks, BWD in another "
    left += "order than its list, strategies and formats without share"
    if len(found) >= cap:
        left += f", and all beyond the first {cap}"
    return ValidCompletions(ids=ids, complete=False, left_out=left)


def _in_turn(lists: Mapping[str, Iterator[tuple[int, ...]]]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """One order of each strategy in turn, until all are used."""
    waiting = dict(lists)
    while waiting:
        for name in list(waiting):
            order = next(waiting[name], None)
            if order is None:
                del waiting[name]
            else:
                yield name, order


def _orders(task: GraphTask, strategy: str) -> Iterator[tuple[int, ...]]:
    """Orders of computing up to the target, canonical first; for BWD those whose reverse is a valid goal
    list."""
    among = tuple(task.definitions) if strategy == "SCAN" else task.needed
    if strategy == "BWD":
        for goals in _extend((), among, {name: task.users[name] for name in among}, None):
            yield goals[::-1]
        return
    yield from _extend((), among, {name: task.parents[name] for name in among}, task.target)


def _extend(
    order: tuple[int, ...], among: tuple[int, ...], after: Mapping[int, frozenset[int]], last: int | None
) -> Iterator[tuple[int, ...]]:
    """All continuations until ``last`` or everything is taken; a name comes only after ``after[name]``."""
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
