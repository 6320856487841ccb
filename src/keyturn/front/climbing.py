"""``keyturn elicit METHOD MODEL --ladder BEHAVIOUR``: how much a method's vector can do, rung by rung."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keyturn.core.describe import describe
from keyturn.core.errors import UsageError
from keyturn.core.identity import identity
from keyturn.core.measurement import Json
from keyturn.core.rundir import write_json
from keyturn.elicitation import ELICITATIONS
from keyturn.elicitation.contract import Asked
from keyturn.elicitation.ladder import Ladder, climb
from keyturn.elicitation.ladder_climb import Direction
from keyturn.elicitation.steering import VectorConfig, site_of
from keyturn.front.eliciting import Opened, decides_of, elicit, opened
from keyturn.front.run_folder import ELICITED, hold_to
from keyturn.lab.lab import Lab
from keyturn.rollouts.completions import Completions

RIGHT = "right"
"""The behaviour of answers that are right; every other one is a word that a text contains."""
LADDER = "ladder.json"
"""The record in the run directory."""


@dataclass(frozen=True)
class Says:
    """A behaviour: being right, or containing a word, in whatever case.

    Args:
        word: :data:`RIGHT`, or the word.
    """

    word: str

    def __call__(self, drawn: Completions, right: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each draw shows it."""
        if self.word == RIGHT:
            return right == 1
        return np.array([self.word.casefold() in text.casefold() for text in drawn.texts], dtype=np.bool_)


@dataclass(frozen=True, kw_only=True)
class Climbed:
    """The ladder of a method's vector.

    Args:
        method, model, behaviour: whose vector, in what, about what.
        folder: the run directory, which holds the record ``ladder.json``.
        ladder: the rungs.
    """

    method: str
    model: str
    behaviour: str
    folder: Path
    ladder: Ladder

    def to_json(self) -> dict[str, Json]:
        """The record."""
        named = {"method": self.method, "model": self.model, "behaviour": self.behaviour}
        return {**named, "folder": str(self.folder), **self.ladder.to_json()}


def climb_ladder(
    method: str, model: Any, problems: Any = None, *, behaviour: str = RIGHT, **more: Any
) -> Climbed:
    """Make a method's vector, and climb the causal ladder with it on other problems.

    Args:
        method: one that adds one vector at named tokens: ``steering-mean``, ``steering-random``...
        model: as in :func:`keyturn.elicit`.
        problems: as in :func:`keyturn.elicit`; none of them may be a development problem.
        behaviour: ``right``, or a word that texts with the behaviour contain.
        more: further arguments of :func:`keyturn.elicit`; ``draws`` are those of every run.

    Raises:
        KeyturnError: the method cannot work with this, or adds no such vector.
    """
    bound = inspect.signature(elicit).bind(method, model, problems, **more)
    bound.apply_defaults()
    given = bound.arguments
    if given["vector"] is not None:
        what = "a vector from a file does not say which problems it was made from"
        raise UsageError(what, fix="leave --vector out: the ladder makes the vector anew")
    _steers(method)
    found = opened(given)
    asked = found.asked
    decides: dict[str, object] = {"ladder": behaviour, **decides_of(found, given["seed"])}
    out = given["out"]
    key = identity({name: describe(value, name) for name, value in decides.items()}, length=8)
    folder = Path("runs") / f"ladder-{method}-{key}" if out is None else Path(out).expanduser()
    hold_to(folder, ELICITED, decides, climb)
    lab = Lab(folder, asked.streams)
    ladder = climb(lab, asked, _direction(lab, found, decides), Says(behaviour))
    climbed = Climbed(method=method, model=found.side.name, behaviour=behaviour, folder=folder, ladder=ladder)
    write_json(folder / LADDER, climbed.to_json())
    return climbed


def _steers(method: str) -> None:
    """Refuse a method that does not add one vector at named tokens."""
    known = [name for name, one in ELICITATIONS.items() if _adds(one.config)]
    if method in ELICITATIONS and method not in known:
        what = f"{method} adds no vector at named tokens, so it has no causal ladder"
        raise UsageError(what, fix=f"--ladder with {', '.join(known)}")


def _adds(config: Any) -> bool:
    return isinstance(config, VectorConfig) and isinstance(getattr(config, "where", None), str)


def _direction(lab: Lab, found: Opened, decides: dict[str, object]) -> Direction:
    """The vector of the method, turned to the side to which its dose points."""
    asked, config, prepare = found.asked, found.config, found.method.prepare
    if not config.dose or prepare is None:
        raise UsageError("--dose is 0, and the ladder needs a vector", fix="leave --dose out")
    _, made = lab.arrays("ladder-vector", decides, lambda: prepare(asked, config), label="vector")
    dose, norm = float(made["dose"][0]), float(made["norm"][0])
    return Direction(
        vector=np.asarray(made["vector"], dtype=np.float64) * np.sign(dose),
        length=abs(dose) * norm,
        site=site_of(asked, config),
        where=config.where,
        made_from=frozenset(_prompts(asked)),
    )


def _prompts(asked: Asked) -> Sequence[str]:
    return [] if asked.development is None else [one.prompt for one in asked.development.problems]
