"""The tokens of a problem's prompt, and the tokens or texts that end an answer.

With a chat template, the end of a turn is found by rendering a finished one: the tokens after the assistant's
words end the turn. The tokenizer's own end of sequence is no guide (many bases keep ``<|endoftext|>`` there
while every turn ends with another token). A template that separates turns by text ends them by that text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import TemplateError

from keyturn.core.errors import InputError
from keyturn.core.problem import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SAID, _NEXT = "KEYTURN0SAID", "KEYTURN1NEXT"
"""Placeholders for an assistant's words and a user's next message; no template has reason to change them."""

MOST_UNKNOWN = 0.1
"""Largest share of unknown words that prompts may have: one rare sign does not make a foreign language."""


@dataclass(frozen=True, kw_only=True)
class TurnEnd:
    """The end of an assistant's turn.

    Args:
        tokens: any of these ids ends it.
        texts: any of these texts ends it, where the template has no token for the end.
        unknown: why neither is known; empty where one is.
    """

    tokens: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()
    unknown: str = ""


def turn_end(tokenizer: PreTrainedTokenizerBase) -> TurnEnd:
    """The text or tokens that the chat template writes after an assistant's words."""
    finished = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _SAID}]
    try:
        behind = _rendered(tokenizer, finished).rpartition(_SAID)[2]
        if not behind.strip():
            # Some templates close a turn by opening the next one.
            longer = _rendered(tokenizer, [*finished, {"role": "user", "content": _NEXT}])
            behind = longer.rpartition(_SAID)[2].partition(_NEXT)[0]
    except InputError as error:
        return TurnEnd(unknown=error.what)
    ids = _ids(tokenizer, behind)
    shown = [token for token in ids if str(tokenizer.decode([token])).strip()]
    if shown and shown[0] in _added(tokenizer):
        return TurnEnd(tokens=(shown[0],))
    if not behind.strip() or behind.strip().isalnum():
        # A bare word may stand in any answer and cannot end one.
        return TurnEnd(unknown=f"the chat template writes {behind.strip() or 'nothing'} between turns")
    if len(shown) == 1:
        return TurnEnd(tokens=(shown[0],))
    return TurnEnd(texts=(behind.rstrip().lstrip(" "),))


def encode(tokenizer: PreTrainedTokenizerBase, problem: Problem, *, chat: bool) -> list[int]:
    """The tokens of one prompt.

    Raises:
        InputError: no tokens, or the chat template cannot render the messages.
    """
    if chat:
        return _ids(tokenizer, as_given(tokenizer, problem, chat=True))
    called: Any = tokenizer
    plain = list(called(problem.prompt, add_special_tokens=False)["input_ids"])
    ids = list(called(problem.prompt)["input_ids"])
    start, end = called.bos_token_id, called.eos_token_id
    if _trailing(ids, end) > _trailing(plain, end):
        ids = ids[:-1]  # a tokenizer that closes what it reads: a prompt is not closed
    if len(ids) > 1 and start is not None and ids[0] == ids[1] == start:
        ids = ids[1:]  # the text already began with the token that the tokenizer adds
    if not ids and (start if start is not None else end) is not None:
        ids = [start if start is not None else end]
    if not ids:
        raise InputError(f"the prompt of problem {problem.id} has no tokens", fix="give it some text")
    return ids


def encode_answer(
    tokenizer: PreTrainedTokenizerBase, text: str, *, turn: TurnEnd, ends: Sequence[int]
) -> list[int]:
    """The tokens of an answer and of its end, as the policy is to write them.

    Args:
        tokenizer: the policy's tokenizer.
        text: the answer, with or without its end.
        turn: what ends a turn of the chat template; empty for plain prompts.
        ends: ids that end an answer; the first is written where no turn has an end of its own.
    """
    closing = "" if not turn.texts or text.endswith(turn.texts) else turn.texts[0]
    ids = _ids(tokenizer, text + closing)
    end = next(iter((*turn.tokens, *ends)), None)
    return ids if turn.texts or end is None or (ids and ids[-1] in ends) else [*ids, end]


def as_given(tokenizer: PreTrainedTokenizerBase, problem: Problem, *, chat: bool) -> str:
    """The text that is tokenised: the prompt, or its messages through the chat template.

    Where the last message is the assistant's, the policy continues it; the turn is not closed.
    """
    if not chat:
        return problem.prompt
    messages = [{"role": role, "content": text} for role, text in problem.turns]
    begun = messages[-1]["role"] == "assistant"
    try:
        return _rendered(tokenizer, messages, add_generation_prompt=not begun, continue_final_message=begun)
    except InputError as error:
        raise InputError(f"{error.what} (problem {problem.id})", fix=error.fix) from error


def unknown_words(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> float:
    """Share of words that hold a character which the tokenizer does not know (or drops); 0 without words.

    A tokenizer without offsets is asked for its unknown tokens, over all its tokens.
    """
    called: Any = tokenizer
    unknown = getattr(tokenizer, "unk_token_id", None)
    words = strange = 0
    for text in texts:
        if not getattr(tokenizer, "is_fast", False):
            ids = called(text, add_special_tokens=False)["input_ids"]
            words, strange = words + len(ids), strange + ids.count(unknown)
            continue
        coded = called(text, add_special_tokens=False, return_offsets_mapping=True)
        known = np.zeros(len(text) + 1, dtype=bool)
        for token, (start, stop) in zip(coded["input_ids"], coded["offset_mapping"], strict=True):
            known[start:stop] |= token != unknown
        bad = np.array([not char.isspace() for char in text] + [False], dtype=bool) & ~known
        space = np.array([char.isspace() for char in text] + [True], dtype=bool)
        first = ~space & np.concatenate([[True], space[:-1]])
        words += int(first.sum())
        word = np.cumsum(first)
        strange += len(np.unique(word[bad]))
    return strange / words if words else 0.0


def unreadable(share: float, whose: str) -> InputError:
    """The error for prompts beyond :data:`MOST_UNKNOWN`."""
    return InputError(
        f"{share:.0%} of the prompts' words are unknown to {whose}",
        fix="problems in words that it knows, or another model",
    )


def _rendered(tokenizer: PreTrainedTokenizerBase, messages: Sequence[dict[str, str]], **how: bool) -> str:
    called: Any = tokenizer
    try:
        return str(called.apply_chat_template(messages, tokenize=False, **how))
    except (TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        roles = ", ".join(dict.fromkeys(message["role"] for message in messages))
        raise InputError(
            f"the chat template cannot write messages of {roles}: {said}",
            fix="give the problems other roles, or ask for plain prompts (--template plain)",
        ) from error


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    called: Any = tokenizer
    return list(called(text, add_special_tokens=False)["input_ids"])


def _added(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    return {int(token) for token in getattr(tokenizer, "added_tokens_decoder", {})} | set(
        tokenizer.all_special_ids
    )


def _trailing(ids: Sequence[int], token: int | None) -> int:
    """Number of times that ``token`` is repeated at the end."""
    return next((place for place, other in enumerate(reversed(ids)) if other != token), len(ids))
