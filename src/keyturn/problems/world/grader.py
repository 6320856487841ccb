"""The grader of the controlled world: the verifier's readings of all rows, as columns.

If the completions were tokenised with the world's own ids (which their prompts' tokens show), tokens are read
directly, and roles, floors and errors are returned per token. Completions of any other tokenizer, and samples
with text only, are read from their text; then there are no columns per token. A failed request (``Stop.ERROR``)
is ungraded (NaN), never wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.problems.contract import ProblemSet
from keyturn.problems.world.contract import Reader, World
from keyturn.problems.world.reading import Reading
from keyturn.problems.world.vocabulary import EOS, encode
from keyturn.problems.world.worlds import problems
from keyturn.rollouts.completions import Completions, Stop
from keyturn.rollouts.grades import Grades

_VERSION = 1


@dataclass(frozen=True)
class WorldGrader:
    """Reads traces; implements :class:`keyturn.problems.contract.Grader`.

    Args:
        world: the world, of which only the arithmetic matters; everything else is in the prompts.
    """

    world: World
    _readers: dict[str, Reader] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The domain and the settings of its verifier."""
        return f"world {self.world.domain}{self.world.verifier_settings}, verifier {_VERSION}"

    @property
    def reads_traces(self) -> bool:
        """As the world says."""
        return self.world.reads_traces

    def grade(self, problems: tuple[Problem, ...], completions: Completions) -> Grades:
        """Grade every row; ``completions.prompts.ids`` are the ids of ``problems``, in that order.

        Raises:
            InputError: a problem is not of this world.
        """
        readers = [self._reader(problem.prompt) for problem in problems]
        own = _world_ids(problems, completions)
        readings: list[Reading] = []
        offsets, stops = completions.offsets.tolist(), completions.stop.tolist()
        tokens = completions.tokens.tolist() if own else []
        for row, problem in enumerate(completions.problem.tolist()):
            stop = stops[row]
            ids = tokens[offsets[row] : offsets[row + 1]] if own else encode(completions.texts[row])
            ended = stop == Stop.EOS and ids[-1:] == [EOS] if own else stop in (Stop.EOS, Stop.UNKNOWN)
            readings.append(readers[problem](ids, ended=ended))
        found = _grades(self.world, readings, per_token=own)
        silent = completions.stop == Stop.ERROR
        if not silent.any():
            return found
        unknown = np.float32(np.nan)
        return replace(
            found,
            outcome=np.where(silent, unknown, found.outcome),
            verified=np.where(silent, unknown, found.verified),
        )

    def _reader(self, prompt: str) -> Reader:
        reader = self._readers.get(prompt)
        if reader is None:
            reader = self._readers[prompt] = self.world.reader(encode(prompt))
        return reader


def problem_set(
    world: World,
    split: str,
    cells: Sequence[Mapping[str, str | int]] | None,
    per_cell: int,
    streams: Streams,
) -> ProblemSet:
    """Problems of a world with its grader; arguments as for :func:`keyturn.problems.world.worlds.problems`."""
    return ProblemSet(
        name=world.name, problems=problems(world, split, cells, per_cell, streams), grader=WorldGrader(world)
    )


def _world_ids(problems: tuple[Problem, ...], completions: Completions) -> bool:
    """Whether prompts, and so completions, were tokenised with the world's ids."""
    prompts = completions.prompts
    return len(prompts.tokens) > 0 and all(
        prompts.row(i).tolist() == encode(problem.prompt) for i, problem in enumerate(problems)
    )


def _grades(world: World, readings: list[Reading], *, per_token: bool) -> Grades:
    def column(name: str) -> list:
        place = Reading._fields.index(name)
        return [reading[place] for reading in readings]

    columns: dict[str, NDArray] = {
        name: np.array(column(name), dtype=object) for name in ("strategy", "format")
    }
    for name in ("plan_score", "exec_score", "process", "efficiency", "lenient"):
        columns[name] = np.array(column(name), dtype=np.float32)
    for name, kind in world.columns.items():
        values = [reading.more[name] for reading in readings]
        columns[name] = np.array(values, dtype=object if kind == "text" else np.float32)
    first = np.array(column("first_error"), dtype=np.int32)
    columns["first_error"] = first if per_token else np.where(first >= 0, -1, first).astype(np.int32)
    columns["first_error_role"] = np.array(column("first_error_role"), dtype=np.uint8)
    flat = {
        name: [x for part in column(name) for x in part] for name in ("roles", "errors", "floors", "choices")
    }
    return Grades(
        outcome=np.array(column("outcome"), dtype=np.float32),
        verified=np.array(column("verified"), dtype=np.float32),
        answer=tuple(column("answer")),
        columns=columns,
        roles=np.array(flat["roles"], dtype=np.uint8) if per_token else None,
        token_columns={
            "floor": np.array(flat["floors"], dtype=np.float32),
            "error": np.array(flat["errors"], dtype=bool),
            "choices": np.array(flat["choices"], dtype=np.uint8),
        }
        if per_token
        else {},
    )
