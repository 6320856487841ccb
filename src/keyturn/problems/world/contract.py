"""The contract of a controlled world: everything that one file must define so that the rest works with it.

A world is a frozen dataclass whose fields are its settings. Its generator gives problems, documents and
demonstrations. Its verifier reads token ids and does not use the generator's knowledge. One line in
``worlds.DOMAINS`` makes the domain readable from disk, and one in ``worlds.WORLDS`` names a world.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol

from keyturn.core.problem import Problem, Split
from keyturn.core.streams import Streams
from keyturn.problems.world.dice import Dice
from keyturn.problems.world.document import Document, LossWeights
from keyturn.problems.world.reading import Reading

NO_MANNERS: Mapping[str, tuple[str, ...]] = MappingProxyType({})
"""Of a world that has one way to write."""
NO_COLUMNS: Mapping[str, Literal["text", "number"]] = MappingProxyType({})
"""Of a world whose grades have the usual columns only."""


class Reader(Protocol):
    """Judges completions of one prompt."""

    def __call__(self, ids: list[int], *, ended: bool) -> Reading:
        """Judge one completion; ``ids`` may lack the final ``EOS``, and ``ended`` is True if it was not cut."""
        ...


@dataclass(frozen=True, kw_only=True)
class ValidCompletions:
    """Verified completions of one problem.

    Args:
        ids: distinct token id sequences, each with its ``EOS``.
        complete: whether all verified completions are listed, so that a sum over them is exact and not only a
            lower bound.
        left_out: what is not listed, as text; "" if complete.
    """

    ids: tuple[tuple[int, ...], ...]
    complete: bool
    left_out: str = ""


class World(Protocol):
    """A controlled world. Implemented by frozen dataclasses of which every field is JSON-able."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    domain: ClassVar[str]
    """Key of ``worlds.DOMAINS``."""
    level: ClassVar[str]
    """The key of a cell that gives its difficulty (``depth``, ``operations``...)."""
    reads_traces: ClassVar[bool]
    """Whether a whole completion can be verified, and not only its answer."""
    manners: ClassVar[Mapping[str, tuple[str, ...]]]
    """``strategy`` and ``format`` -> the names that :meth:`demonstrate` takes, the default one first."""
    columns: ClassVar[Mapping[str, Literal["text", "number"]]]
    """Further columns of this domain's grades; ``Reading.more`` has an entry for each."""

    @property
    def name(self) -> str:
        """Its name in reports."""
        ...

    @property
    def loss(self) -> LossWeights:
        """Weights of tokens in the pretraining loss."""
        ...

    @property
    def mixture(self) -> Mapping[str, float]:
        """Component of the corpus -> share of documents; they sum to one."""
        ...

    @property
    def known_skills(self) -> frozenset[str]:
        """Skills that pretraining shows."""
        ...

    @property
    def verifier_settings(self) -> str:
        """What the verifier knows besides the prompt, as text; part of the grader's name."""
        ...

    @property
    def max_prompt_tokens(self) -> int:
        """Longest prompt."""
        ...

    @property
    def max_new_tokens(self) -> int:
        """Longest valid completion over all cells, ``EOS`` included."""
        ...

    def cells(self, split: Split) -> tuple[dict[str, str | int], ...]:
        """The cells of a split if none are named."""
        ...

    def draw_problems(
        self, split: Split, cell: Mapping[str, str | int], count: int, streams: Streams
    ) -> list[Problem]:
        """Different problems of a cell and split; fewer if fewer exist. Equal streams give equal problems."""
        ...

    def draw_document(self, component: str, dice: Dice) -> Document:
        """One text of pretraining; its problem is of the pretraining split."""
        ...

    def reader(self, prompt: list[int]) -> Reader:
        """The verifier of one prompt.

        Raises:
            InputError: the ids are not a prompt of this world.
        """
        ...

    def demonstrate(
        self, problem: Problem, streams: Streams, *, strategy: str | None, format: str | None
    ) -> Document:
        """One completion of a problem with its roles; None means the world's default.

        Raises:
            UsageError: an unknown strategy or format (a world without any ignores them).
        """
        ...

    def valid_completions(self, problem: Problem, *, cap: int) -> ValidCompletions:
        """The verified completions, as far as they can be listed, at most ``cap``.

        Raises:
            UsageError: there are too many to list.
        """
        ...
