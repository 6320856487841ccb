"""The generator's view of a GRAPH prompt, so that any strategy can write a trace for it."""

from __future__ import annotations

from keyturn.problems.world.dag import CONSTANT, Dag, Definition
from keyturn.problems.world.graph_task import GraphTask, is_noun, is_operation
from keyturn.problems.world.traces import Told
from keyturn.problems.world.vocabulary import PLUS, VALUE


def told_of(task: GraphTask) -> Told:
    """The generator's view of a prompt: definitions in an order in which they can be computed."""
    rest = [name for name in task.definitions if name not in task.needed]
    order: list[int] = []
    for names in (list(task.needed), rest):
        while names:
            ready = [name for name in names if task.parents[name] <= set(order)]
            order += ready
            names = [name for name in names if name not in ready]
    place = {name: i for i, name in enumerate(order)}
    definitions = []
    for name in order:
        args = [place[token] if is_noun(token) else VALUE - 1 - token for token in task.definitions[name][::2]]
        if len(args) == 1:
            definitions.append(Definition(CONSTANT, args[0], -1))
        else:
            definitions.append(Definition(task.definitions[name][1] - PLUS, args[0], args[1]))
    needed = len(task.needed)
    operations = sum(is_operation(token) for name in task.needed for token in task.definitions[name])
    touching = sum(bool(task.parents[name] & set(task.needed)) for name in rest)
    dag = Dag(
        definitions,
        [task.values[name] for name in order],
        needed - 1,
        needed,
        operations,
        touching,
        len(rest) - touching,
    )
    return Told(dag, order, [place[name] for name in task.definitions], task.modulus)
