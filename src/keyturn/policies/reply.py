"""The contents of a server's reply: texts, why they ended, and any tokens and log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from keyturn.policies.http import Unanswered
from keyturn.rollouts.completions import Stop

Route = Literal["completions", "chat"]

UNKNOWN_TOKEN = -1
"""Stands for a token whose id is unknown."""

_CUT = frozenset({"length", "max_tokens", "model_length", "max_new_tokens", "limit"})
_LOST = frozenset({"abort", "aborted", "error", "cancelled", "content_filter"})
"""Reasons after which the text is not the model's own: it counts as no answer, neither right nor wrong."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One completion as the server gave it.

    Args:
        text: the answer's text, without the reasoning that a server returns separately.
        stop: why it ended.
        tokens: ids where they are known, else :data:`UNKNOWN_TOKEN` for each token.
        logprobs: one per token; NaN where not given.
    """

    text: str
    stop: Stop
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]


NOTHING = Answer(text="", stop=Stop.ERROR, tokens=(), logprobs=())
"""A request that was not answered."""


def choices_of(reply: Mapping[str, Any], wanted: int) -> list[Mapping[str, Any]]:
    """The choices of a reply in their order, at most as many as were asked for.

    Raises:
        Unanswered: there is none.
    """
    found = reply.get("choices")
    if not isinstance(found, list) or not found or not all(isinstance(one, Mapping) for one in found):
        raise Unanswered("the reply has no choices")
    return sorted(found, key=lambda one: int(one.get("index") or 0))[:wanted]


def text_of(choice: Mapping[str, Any], route: Route) -> str:
    """The answer of a choice; a message without content is an empty answer.

    Raises:
        Unanswered: it has none.
    """
    try:
        text = choice["text"] if route == "completions" else choice["message"]["content"]
    except (KeyError, TypeError) as error:
        raise Unanswered(f"the reply has not the expected form ({type(error).__name__})") from error
    if text is not None and not isinstance(text, str):
        raise Unanswered("the reply's text is no text")
    return text or ""


def stop_of(choice: Mapping[str, Any], tokens: int, limit: int) -> Stop:
    """Why a completion ended; where the server does not say, its length does.

    Args:
        choice: one choice of the reply.
        tokens: number of tokens of the completion, 0 where unknown.
        limit: most tokens that it could have.
    """
    reason = choice.get("finish_reason")
    if isinstance(reason, str) and reason:
        if reason in _LOST:
            return Stop.ERROR
        return Stop.LENGTH if reason in _CUT else Stop.EOS
    return Stop.LENGTH if tokens >= limit else Stop.EOS


def logprobs_of(choice: Mapping[str, Any]) -> list[float]:
    """Log-probabilities of the tokens drawn, in either of the two layouts; empty where there are none."""
    block = choice.get("logprobs")
    if not isinstance(block, Mapping):
        return []
    content = block.get("content")
    if isinstance(content, list):
        values: Sequence[Any] = [item.get("logprob") for item in content if isinstance(item, Mapping)]
    else:
        values = block.get("token_logprobs") or []
    try:
        return [math.nan if value is None else float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise Unanswered("the reply's log-probabilities are no numbers") from error


def tokens_until(choice: Mapping[str, Any], stops: Sequence[str]) -> int | None:
    """Tokens up to the one that completes the first of some texts; None where the reply does not spell tokens.

    Args:
        choice: one choice of the reply.
        stops: texts, any of which ends an answer.
    """
    block = choice.get("logprobs")
    if not isinstance(block, Mapping):
        return None
    content = block.get("content")
    if isinstance(content, list):
        pieces = [item.get("token") for item in content if isinstance(item, Mapping)]
    else:
        pieces = block.get("tokens") or []
    said = ""
    for number, piece in enumerate(pieces, start=1):
        said += piece if isinstance(piece, str) else ""
        if any(stop in said for stop in stops):
            return number
    return None
