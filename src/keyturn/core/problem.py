"""The noun `problem`: a prompt, the cell that it belongs to, and its right answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Split: TypeAlias = Literal["pretrain", "train", "rl", "validation", "test", "none"]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One problem. Equal content has an equal id, whoever makes it."""

    id: str
    """Derived from content; unique within a set."""
    prompt: str
    """The text that the policy gets (before any chat template)."""
    messages: tuple[tuple[str, str], ...] = ()
    """The prompt as a chat, ``(role, text)`` each, if it has roles; empty means one message of the user."""
    answer: str = ""
    """The gold answer as text; empty if only an external verdict exists."""
    also: tuple[str, ...] = ()
    """Further gold answers, each as right as :attr:`answer`."""
    cell: Mapping[str, str | int] = field(default_factory=dict)
    """Its cell: ``domain``, ``depth``, ``context``, ``distractors``... Each cell gets a label."""
    split: Split = "none"
    skills: frozenset[str] = frozenset()
    """True requirements of a solution, known only to worlds; else empty."""
    facts: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    """Anything else that a grader or a figure may need; flat JSON."""

    @property
    def golds(self) -> tuple[str, ...]:
        """All gold answers, beginning with :attr:`answer`; empty if only an external verdict exists."""
        return tuple(dict.fromkeys(gold for gold in (self.answer, *self.also) if gold))

    @property
    def turns(self) -> tuple[tuple[str, str], ...]:
        """The messages for a chat template, ``(role, text)`` each."""
        return self.messages or (("user", self.prompt),)

    @property
    def asked(self) -> tuple[str, ...]:
        """The parts that decide which answers are drawn, for identities: id, prompt and roles."""
        return (self.id, self.prompt, *(part for turn in self.messages for part in turn))
