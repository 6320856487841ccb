"""The whole atlas as one JSON document: objects, states, answers, verdicts and records of today."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from keyturn.atlas import CLAIMS
from keyturn.atlas.answers import answer
from keyturn.atlas.collection.atlas import Atlas
from keyturn.atlas.known import Known
from keyturn.atlas.states import all_states
from keyturn.atlas.verdict import verdict
from keyturn.core.rundir import SCHEMA


def document(atlas: Atlas, known: Known) -> dict[str, Any]:
    """Everything, each kind by id; no path of this machine is in it."""
    states = all_states(atlas, known)
    return {
        "schema": SCHEMA,
        "notes": {name: _plain(one) for name, one in atlas.notes.items()},
        "facts": {name: one.to_json() for name, one in states.facts.items()},
        "relations": [_plain(one) for one in atlas.relations],
        "questions": {
            name: {**_plain(one), "answer": answer(one, atlas, known, states=states).to_json()}
            for name, one in atlas.questions.items()
        },
        "experiments": {name: _plain(one) for name, one in atlas.experiments.items()},
        "papers": {name: _plain(one) for name, one in atlas.papers.items()},
        "claims": {
            name: {**one.to_json(), "verdict": verdict(one, known.of(name)).to_json()}
            for name, one in CLAIMS.items()
        },
        "records": [one.to_json() for name in CLAIMS for one in known.of(name)],
    }


def _plain(one: Any) -> Mapping[str, Any]:
    """An object of the collection without the places in which it is written."""
    return _without_places(asdict(one))


def _without_places(found: Any) -> Any:
    if isinstance(found, Mapping):
        return {name: _without_places(value) for name, value in found.items() if name != "place"}
    if isinstance(found, list | tuple):
        return [_without_places(value) for value in found]
    return found
