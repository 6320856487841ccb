"""The role of each token in a trace, one byte per token; 0 means that the role is unknown."""

from __future__ import annotations

from enum import IntEnum


class Role(IntEnum):
    """The role of a token. Names follow the grammar of the controlled world."""

    UNKNOWN = 0
    SYNTAX = 1
    """Deterministic punctuation of the format."""
    REPEAT = 2
    """A repetition that the layout forces (name of the looked-up variable, name before a result)."""
    STRATEGY = 3
    """Which strategy, which format: the global plan."""
    PLAN = 4
    """Which variable or step next: the local plan."""
    GOAL = 5
    """An entry of a goal list (what is still needed)."""
    COPY = 6
    """A definition copied from the prompt."""
    LOOKUP = 7
    """The value of an earlier variable, looked up."""
    ARITHMETIC = 8
    """The result of an operation."""
    BACKTRACK = 9
    """A marker that retracts a step."""
    WRONG = 10
    """A step that the text itself retracts."""
    VERIFY = 11
    """A check of an earlier result."""
    ANSWER = 12
    """The final answer."""
    ARBITRARY = 13
    """A free choice without consequence (a symbol name)."""
    INVALID = 14
    """A token that the grammar does not allow here; from here on the parser cannot follow the trace."""


PLANNING = frozenset({Role.STRATEGY, Role.PLAN, Role.GOAL, Role.BACKTRACK})
"""Roles of tokens that decide the next step."""

EXECUTION = frozenset({Role.COPY, Role.LOOKUP, Role.ARITHMETIC})
"""Roles of tokens that execute a decided step."""

FORCED = frozenset({Role.SYNTAX, Role.REPEAT})
"""Roles that entropy averages leave out, because their entropy is zero by construction of the text."""
