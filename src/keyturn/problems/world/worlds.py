"""The worlds by name, their JSON, and problems of any of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from keyturn.core.errors import InputError, UsageError, unknown
from keyturn.core.problem import Problem, Split
from keyturn.core.streams import Streams
from keyturn.problems.world.belief import BeliefWorld
from keyturn.problems.world.chain import ChainWorld
from keyturn.problems.world.contract import World
from keyturn.problems.world.create import CreateWorld
from keyturn.problems.world.document import LossWeights
from keyturn.problems.world.graph import GraphWorld
from keyturn.problems.world.inv import InvWorld
from keyturn.problems.world.modes import ModesWorld
from keyturn.problems.world.nim import NimWorld
from keyturn.problems.world.par import ParWorld
from keyturn.problems.world.search import SearchWorld
from keyturn.problems.world.split import SHARES
from keyturn.problems.world.unanswerable import UnanswerableWorld

DOMAINS: dict[str, type[World]] = {
    "chain": ChainWorld,
    "graph": GraphWorld,
    "par": ParWorld,
    "inv": InvWorld,
    "create": CreateWorld,
    "belief": BeliefWorld,
    "nim": NimWorld,
    "unanswerable": UnanswerableWorld,
    "modes": ModesWorld,
    "search": SearchWorld,
}
"""Domain -> its class. A new domain is one file and one line here; its named worlds are lines of
:data:`WORLDS`."""

WORLDS: dict[str, World] = {
    "graph": GraphWorld(),
    "graph-study": GraphWorld(
        name="graph-study",
        modulus=7,
        operations=(1, 4),
        rl_operations=(3, 4, 5),
        test_operations=tuple(range(1, 9)),
        contexts={"C1": 0.7, "C2": 0.25, "C3": 0.049, "C4": 0.001},
        formats={"F1": 0.6, "F2": 0.3, "F3": 0.1},
        strategies={"FWD": 0.6, "SCAN": 0.25, "DIR": 0.08, "BWD": 0.02, "CHK": 0.01, "RET": 0.02, "WRNG": 0.02},
    ),
    "chain": ChainWorld(),
    "chain-linked": ChainWorld(name="chain-linked", linked=0.5),
    "chain-never": ChainWorld(name="chain-never", fresh="never_equal"),
    "chain-absent": ChainWorld(name="chain-absent", absent_map="m"),
    "par": ParWorld(),
    "par-absent": ParWorld(name="par-absent", long=0.0),
    "inv": InvWorld(),
    "inv-search": InvWorld(name="inv-search", strategies={"SCAN": 1.0}),
    "inv-absent": InvWorld(name="inv-absent", inverse=0.0),
    "create": CreateWorld(),
    "create-absent": CreateWorld(name="create-absent", operations=(1, 1), composed=0.0),
    "belief": BeliefWorld(),
    "belief-first": BeliefWorld(name="belief-first", orders=(0, 1)),
    "belief-natural": BeliefWorld(
        name="belief-natural", surface="natural", test_surfaces=("natural", "balanced")
    ),
    "nim": NimWorld(),
    "nim-rule": NimWorld(name="nim-rule", strategies={"FWD": 0.9, "DIR": 0.1}),
    "nim-search": NimWorld(name="nim-search", strategies={"SCAN": 0.9, "DIR": 0.1}),
    "nim-answer": NimWorld(name="nim-answer", strategies={"DIR": 1.0}),
    "unanswerable": UnanswerableWorld(),
    "unanswerable-rare": UnanswerableWorld(name="unanswerable-rare", unanswerable=0.05),
    "unanswerable-absent": UnanswerableWorld(name="unanswerable-absent", unanswerable=0.0),
    "modes": ModesWorld(),
    "modes-openers": ModesWorld(name="modes-openers", openers=("FWD", "SCAN", "to find", "since")),
    "modes-cue": ModesWorld(name="modes-cue", cue=True),
    "modes-absent": ModesWorld(name="modes-absent", worked=0.0),
    "modes-context": ModesWorld(name="modes-context", worked=0.0, elsewhere="maps"),
    "modes-scrambled": ModesWorld(name="modes-scrambled", scrambled=True),
    "search": SearchWorld(),
    "search-stars": SearchWorld(name="search-stars", kind="stars"),
}


def world_named(name: str) -> World:
    """A world of :data:`WORLDS`.

    Raises:
        UsageError: there is none of that name; the message gives near matches.
    """
    if name not in WORLDS:
        raise unknown("world", name, WORLDS)
    return WORLDS[name]


def world_to_json(world: World) -> dict[str, Any]:
    """All fields, and ``domain``, the kind of world."""
    return {"domain": world.domain, **asdict(world)}


def world_from_json(document: Mapping[str, Any]) -> World:
    """The inverse of :func:`world_to_json`.

    Raises:
        InputError: an unknown domain or field.
    """
    rest = dict(document)
    domain = str(rest.pop("domain", ""))
    kind = DOMAINS.get(domain)
    if kind is None:
        raise InputError(f"no world has the domain {domain!r}", fix=f"domain: {' or '.join(DOMAINS)}")
    strange = sorted(set(rest) - {field.name for field in fields(kind)})
    if strange:
        raise InputError(f"a {domain} world has no field {strange[0]!r}", fix="upgrade keyturn to read it")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in rest.items()}
    try:
        if "loss" in values:
            values["loss"] = LossWeights(**dict(values["loss"]))
        return kind(**values)
    except TypeError as error:
        raise InputError(
            f"this is not a {domain} world: {error}", fix="a world.json as it was saved"
        ) from error


def problems(
    world: World,
    split: str,
    cells: Sequence[Mapping[str, str | int]] | None,
    per_cell: int,
    streams: Streams,
) -> tuple[Problem, ...]:
    """Different problems of a world, cell after cell.

    Args:
        world: the world.
        split: ``pretrain``, ``rl``, ``validation`` or ``test``.
        cells: the cells; by default those of the world for that split.
        per_cell: number of problems in each; fewer if fewer exist (CHAIN at depth 1 has about 14 for test).
        streams: randomness; equal streams give equal problems.

    Raises:
        UsageError: an unknown split or cell.
    """
    chosen: Split | None = next((name for name in SHARES if name == split), None)
    if chosen is None:
        raise unknown("split", split, SHARES)
    if per_cell < 1:
        raise UsageError(f"{per_cell} problems per cell", fix="at least 1")
    wanted = world.cells(chosen) if cells is None else cells
    found: list[Problem] = []
    for cell in wanted:
        found += world.draw_problems(chosen, cell, per_cell, streams)
    return tuple(found)
