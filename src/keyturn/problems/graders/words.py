r"""The words of a completion that are the policy's own and meant as its answer.

Removed, in this order: all but the assistant's last message if the text is a JSON list of chat messages; turns
of others in a chat template's marks, and everything from a user's turn on (a policy that does not stop plays
both sides); results of tools (``<tool_response>…</tool_response>`` and the like); literal copies of the prompt;
and a closed ``<think>…</think>``. The content of an unclosed one is kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

SHORTEST_COPY = 20
"""Characters from which on a prompt inside a completion is taken for a copy of it."""

_TURN = re.compile(
    r"<\|im_start\|>\s*(\w+)|<\|start_header_id\|>\s*(\w+)\s*<\|end_header_id\|>|<start_of_turn>\s*(\w+)"
    r"|<\|(user|assistant|system|observation|tool)\|>"
)
_END = re.compile(
    r"<\|(?:im_end|eot_id|eom_id|endoftext|end_of_text|end|eos)\|>|<end_of_turn>|</s>|<｜end▁of▁sentence｜>"
)
_ASSISTANT = frozenset({"assistant", "model", "ai", "gpt"})
_TOOLS = re.compile(
    r"<(tool_response|tool_output|tool_result|function_results?|observation|information|interpreter)>.*?</\1>",
    re.DOTALL,
)
_THINK = re.compile(r"</think(?:ing)?>")


def own_words(text: str, prompt: str = "") -> str:
    """A completion without the words of others and without copies of its prompt."""
    if text.startswith(("[{", "{")) and '"role"' in text[:4000]:
        text = _last_message(text)
    if "<" in text:
        text = _TOOLS.sub(" ", _own_turns(text))
    copied = prompt.strip()
    return text.replace(copied, " ") if len(copied) >= SHORTEST_COPY else text


def after_thinking(text: str) -> str:
    """The text after the last closed thought, or all of it if there is none."""
    return _THINK.split(text)[-1] if "</think" in text else text


def _last_message(text: str) -> str:
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        return text
    messages = document if isinstance(document, list) else [document]
    if not all(isinstance(one, Mapping) and isinstance(one.get("role"), str) for one in messages):
        return text
    said = [one.get("content") for one in messages if one["role"] in _ASSISTANT]
    return _content(said[-1]) if said else ""


def _content(content: object) -> str:
    if isinstance(content, list):
        parts = [one.get("text") for one in content if isinstance(one, Mapping)]
        return "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _own_turns(text: str) -> str:
    """The last turn of the assistant before a user's turn, up to its end."""
    turns = list(_TURN.finditer(text))
    last = _turn(text[: turns[0].start()] if turns else text)
    for turn, following in zip(turns, [*turns[1:], None], strict=False):
        role = next(name for name in turn.groups() if name).lower()
        if role == "user" and last.strip():
            break
        if role in _ASSISTANT:
            said = _turn(text[turn.end() : following.start() if following else len(text)])
            last = said if said.strip() else last
    return last


def _turn(text: str) -> str:
    """A turn up to the first end mark that follows some text."""
    for end in _END.finditer(text):
        if text[: end.start()].strip():
            return text[: end.start()]
    return text
