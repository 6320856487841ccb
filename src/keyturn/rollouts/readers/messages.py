"""Texts in a record: a string, a chat message, a conversation, or one of these per draw.

A completion consists of the assistant's words. If it spoke several times, all of it is kept and the last
message is graded. Words of a tool, an environment or the user in between never count.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_ROLES = ("role", "from")
_CONTENTS = ("content", "value", "text")
_ASSISTANT = frozenset({"assistant", "model", "gpt", "ai", "bot", "agent"})


@dataclass(frozen=True)
class Said:
    """The text of one draw.

    Args:
        text: the whole text.
        last: the last message, which is graded.
    """

    text: str
    last: str


def as_text(value: Any) -> str | None:
    """Text of a prompt: a string, a chat message, or a list of chat messages; else None."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return as_text(_content(value))
    if isinstance(value, Sequence) and value and all(isinstance(part, Mapping | str) for part in value):
        # A list of plain strings is one text only inside a message; see `_content`.
        if any(isinstance(part, str) for part in value):
            return None
        pieces = [as_text(part) for part in value]
        return "\n".join(piece for piece in pieces if piece)
    return None


def said(value: Any) -> list[Said | None] | None:
    """The texts in a completion's field, one entry per draw.

    Returns:
        None if there is no text at all; an entry is None if that draw has none (null, an error).
    """
    one = _one(value)
    if one is not None:
        return [one]
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or not value:
        return None
    if len(value) == 1 and isinstance(value[0], Sequence) and not isinstance(value[0], str):
        return said(value[0])
    draws = [_one(part) for part in value]
    known = [draw is not None or _nothing(part) for draw, part in zip(draws, value, strict=True)]
    return draws if any(draw is not None for draw in draws) and all(known) else None


def _nothing(value: Any) -> bool:
    """Whether a draw is empty, as opposed to a kind of value that holds no text."""
    return value is None or (isinstance(value, Sequence) and not value) or (isinstance(value, Mapping))


def _one(value: Any) -> Said | None:
    if isinstance(value, str):
        return Said(value, value)
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, Sequence) or isinstance(value, bytes) or not value:
        return None
    if not all(isinstance(part, Mapping) for part in value):
        return None
    roles = [_role(part) for part in value]
    if not any(roles) and len(value) > 1 and not any("type" in part for part in value):
        return None  # several draws: neither messages of a conversation nor parts of one message
    if not any(roles):
        text = as_text(value)
        return Said(text, text) if text is not None and (text or _has_text(value)) else None
    spoken = [part for part, role in zip(value, roles, strict=True) if not role or role in _ASSISTANT]
    texts = [_spoken(part) for part in spoken]
    heard = [text for text in texts if text is not None]
    if not heard:
        return None
    # A text that ends with a tool call has not answered: the words before it are not an answer.
    return Said("\n".join(text for text in heard if text), texts[-1] or "")


def _spoken(message: Mapping[str, Any]) -> str | None:
    text = as_text(message) if _content(message) is not None else None
    acted = message.get("tool_calls") or message.get("function_call")
    return "" if text is None and acted else text


def _role(message: Mapping[str, Any]) -> str:
    role = next((message[name] for name in _ROLES if isinstance(message.get(name), str)), "")
    return role.lower()


def _content(message: Mapping[str, Any]) -> Any:
    content = next((message[name] for name in _CONTENTS if message.get(name) is not None), None)
    if content is None and isinstance(message.get("message"), Mapping):
        return _content(message["message"])
    if isinstance(content, Sequence) and content and all(isinstance(part, str) for part in content):
        return "\n".join(content) if not isinstance(content, str) else content
    return content


def _has_text(parts: Sequence[Mapping[str, Any]]) -> bool:
    return any(isinstance(_content(part), str) for part in parts)


def written_out(text: Any) -> Any:
    """Chat messages that a table stores as text (JSON or Python's notation), else None."""
    if not isinstance(text, str) or not text.lstrip().startswith(("[{", "{")):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        parts = value if isinstance(value, list) else [value]
        if parts and all(isinstance(part, dict) and _role(part) and "content" in part for part in parts):
            return value
    return None
