"""A demonstration of a given problem: the trace that a named strategy and format write for it.

For pictures, forced prefixes and supervised data on problems that already exist; corpora draw their own.
"""

from __future__ import annotations

from keyturn.core.errors import unknown
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.problems.world import chain
from keyturn.problems.world.chain import ChainWorld
from keyturn.problems.world.dag import CONSTANT, Dag, Definition
from keyturn.problems.world.dice import Dice
from keyturn.problems.world.document import Document
from keyturn.problems.world.graph import GraphWorld, manner
from keyturn.problems.world.graph_task import GraphTask, is_noun, is_operation, read_graph_prompt
from keyturn.problems.world.traces import Told, write_trace
from keyturn.problems.world.verify_chain import read_chain_prompt
from keyturn.problems.world.vocabulary import FORMATS, PLUS, STRATEGIES, VALUE, encode
from keyturn.problems.world.worlds import World


def demonstrate(
    world: World, problem: Problem, streams: Streams, *, strategy: str = "FWD", format: str = "F1"
) -> Document:
    """One completion of a problem, with roles and valid choices.

    Args:
        world: of the problem.
        problem: any split.
        streams: for free order, slips and retractions; keyed by the problem.
        strategy: GRAPH only; CHAIN has its one valid trace.
        format: GRAPH only; ``DIR`` and ``FILL`` have none.

    Raises:
        UsageError: an unknown strategy or format.
    """
    ids = encode(problem.prompt)
    if isinstance(world, ChainWorld):
        task = read_chain_prompt(ids)
        completion, roles = chain.valid_trace(task.maps, task.start)
        return Document(prompt=tuple(ids), completion=completion, roles=roles, component="valid")
    if strategy not in STRATEGIES:
        raise unknown("strategy", strategy, STRATEGIES)
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    told = _told(world, read_graph_prompt(ids, world.modulus, free=world.order == "free"))
    dice = Dice(streams.generator("demonstrate", problem.id, strategy, format))
    trace = write_trace(told, manner(world, strategy, format), dice)
    return Document(
        prompt=tuple(ids),
        completion=tuple(trace.ids),
        roles=tuple(trace.roles),
        choices=trace.choices,
        component=f"{strategy} {format}",
    )


def _told(world: GraphWorld, task: GraphTask) -> Told:
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
    return Told(dag, order, [place[name] for name in task.definitions], world.modulus)
