"""The noun `problem`: what is asked, where it stands and what would be right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Split: TypeAlias = Literal["pretrain", "train", "rl", "validation", "test", "none"]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is asked. The same content has the same id, whoever makes it."""

    id: str
    """Derived from content; unique within a set."""
    prompt: str
    """The text that the policy is given (before any chat template)."""
    messages: tuple[tuple[str, str], ...] = ()
    """The same as a chat, ``(role, text)`` each, where the prompt has roles; empty: one message of a user's."""
    answer: str = ""
    """The gold answer as text; empty where only an external verdict exists."""
    also: tuple[str, ...] = ()
    """Further gold answers; any of them is as right as :attr:`answer`."""
    cell: Mapping[str, str | int] = field(default_factory=dict)
    """Where it stands: ``domain``, ``depth``, ``context``, ``distractors``... Labels are given per cell."""
    split: Split = "none"
    skills: frozenset[str] = frozenset()
    """Ground truth of what it takes (a world knows; else empty)."""
    facts: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    """Anything else that a grader or a figure may need; flat, JSON-able."""

    @property
    def golds(self) -> tuple[str, ...]:
        """Every gold answer there is, the first one first; empty where only an external verdict exists."""
        return tuple(dict.fromkeys(gold for gold in (self.answer, *self.also) if gold))

    @property
    def turns(self) -> tuple[tuple[str, str], ...]:
        """What a chat template is given, ``(role, text)`` each."""
        return self.messages or (("user", self.prompt),)

    @property
    def asked(self) -> tuple[str, ...]:
        """What decides which answers are drawn, for identities: id, prompt and roles."""
        return (self.id, self.prompt, *(part for turn in self.messages for part in turn))
