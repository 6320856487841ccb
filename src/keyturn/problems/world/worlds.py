"""The worlds by name, their JSON, and problems of any of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, TypeAlias

from keyturn.core.errors import InputError, UsageError, unknown
from keyturn.core.problem import Problem, Split
from keyturn.core.streams import Streams
from keyturn.problems.world import chain
from keyturn.problems.world.chain import ChainWorld
from keyturn.problems.world.document import LossWeights
from keyturn.problems.world.split import SHARES

World: TypeAlias = ChainWorld

WORLDS: dict[str, World] = {
    "chain": ChainWorld(),
    "chain-linked": ChainWorld(name="chain-linked", linked=0.5),
    "chain-never": ChainWorld(name="chain-never", fresh="never_equal"),
    "chain-absent": ChainWorld(name="chain-absent", absent_map="m"),
}

_KINDS: dict[str, type] = {"chain": ChainWorld}


def world_named(name: str) -> World:
    """A world of :data:`WORLDS`.

    Raises:
        UsageError: there is none of that name; the near ones are named.
    """
    if name not in WORLDS:
        raise unknown("world", name, WORLDS)
    return WORLDS[name]


def world_to_json(world: World) -> dict[str, Any]:
    """All fields, and ``domain``, which says what kind of world it is."""
    return {"domain": world.domain, **asdict(world)}


def world_from_json(document: Mapping[str, Any]) -> World:
    """The inverse of :func:`world_to_json`.

    Raises:
        InputError: an unknown domain or field.
    """
    rest = dict(document)
    kind = _KINDS.get(str(rest.pop("domain", "")))
    if kind is None:
        raise InputError(
            f"no world has the domain {document.get('domain')!r}", fix=f"domain: {' or '.join(_KINDS)}"
        )
    known = {field.name for field in fields(kind)}
    strange = sorted(set(rest) - known)
    if strange:
        raise InputError(
            f"a {document['domain']} world has no field {strange[0]!r}", fix="keyturn of its version"
        )
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in rest.items()}
    if isinstance(values.get("loss"), Mapping):
        values["loss"] = LossWeights(**values["loss"])
    try:
        return kind(**values)
    except TypeError as error:
        raise InputError(
            f"this is no {document['domain']} world: {error}", fix="a world.json as saved"
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
        world: what is asked about.
        split: ``pretrain``, ``rl``, ``validation`` or ``test``.
        cells: which cells; the world's own for that split by default.
        per_cell: problems in each, fewer where fewer exist (CHAIN at depth 1 has some 14 for test).
        streams: same streams, same problems.

    Raises:
        UsageError: an unknown split or cell.
    """
    chosen: Split | None = next((name for name in SHARES if name == split), None)
    if chosen is None:
        raise unknown("split", split, SHARES)
    if per_cell < 1:
        raise UsageError(f"{per_cell} problems a cell", fix="at least 1")
    wanted = world.cells(chosen) if cells is None else cells
    return tuple(p for cell in wanted for p in chain.draw_problems(world, chosen, cell, per_cell, streams))
