"""Stop texts: texts that end an answer, although no single token stands for them.

A completion's tokens end where one of the texts is first complete, and its text ends before that stop text.
While tokens are drawn, a row is decoded again only after a token that can complete a stop text: one that holds
its last character, or part of a character.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.rollouts.completions import Completions, Stop, gather_ragged

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PART_OF_A_CHARACTER = "\ufffd"


def checked(texts: Sequence[str]) -> tuple[str, ...]:
    """The distinct stop texts in the order given.

    Raises:
        UsageError: a string in place of a list of strings, or an empty text.
    """
    if isinstance(texts, str):
        raise UsageError(f"stop is one text, {texts!r}, not a list of texts", fix=f"[{texts!r}]")
    if not all(texts):
        raise UsageError("a stop text is empty", fix="leave it out")
    return tuple(dict.fromkeys(texts))


class StopTexts:
    """Tells which rows have just completed a text that ends them.

    Args:
        tokenizer: decodes the drawn tokens.
        texts: any of these ends an answer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._texts = tuple(texts)
        self._last = {text[-1] for text in texts}
        self._anchor = next(iter(_ids(tokenizer, "a")), None)
        self._may: dict[int, bool] = {}

    def completed(self, rows: Sequence[int], drawn: NDArray[np.int64]) -> list[int]:
        """Those of ``rows`` whose last token completes a text.

        Args:
            rows: rows that are still being drawn.
            drawn: tokens of every row so far, ``[row, token]``.
        """
        return [row for row in rows if self._may_complete(int(drawn[row, -1])) and self._found(drawn[row])]

    def _may_complete(self, token: int) -> bool:
        if token not in self._may:
            # Decoded after another token, since some tokenizers drop a space at the beginning of the text.
            before = [] if self._anchor is None else [self._anchor]
            text = said(self._tokenizer, [*before, token])
            own = text.removeprefix(said(self._tokenizer, before)) if before else text
            self._may[token] = _PART_OF_A_CHARACTER in own or not self._last.isdisjoint(own)
        return self._may[token]

    def _found(self, tokens: NDArray[np.int64]) -> bool:
        return _holds(said(self._tokenizer, tokens.tolist()), self._texts)


def cut_at(completions: Completions, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Completions:
    """Completions that end where one of these texts is first complete; their texts end before it.

    Args:
        completions: as they were drawn.
        tokenizer: decodes them.
        texts: what ends an answer.
    """
    lengths, shown, stop = completions.lengths.copy(), list(completions.texts), completions.stop.copy()
    for row, text in enumerate(completions.texts):
        if not _holds(text, texts):
            continue
        tokens = completions.row(row).tolist()
        low, high = 1, len(tokens)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if _holds(said(tokenizer, tokens[:middle]), texts) else (middle + 1, high)
        lengths[row], stop[row] = low, Stop.EOS
        shown[row] = before_any(text, texts)
    if (lengths == completions.lengths).all() and tuple(shown) == completions.texts:
        return completions
    place, _ = gather_ragged(completions.offsets, np.arange(len(completions)))
    column = place - np.repeat(completions.offsets[:-1], completions.lengths)
    kept = column < np.repeat(lengths, completions.lengths)
    return replace(
        completions,
        tokens=completions.tokens[kept],
        logprobs=completions.logprobs[kept],
        entropies=completions.entropies[kept],
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        texts=tuple(shown),
        stop=stop,
    )


def before_any(text: str, ends: Sequence[str]) -> str:
    """A text up to the first of ``ends``; the whole of it where there is none."""
    return text[: min((text.index(end) for end in ends if end in text), default=len(text))]


def said(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    """The text of tokens without the special ones."""
    return str(tokenizer.decode(list(tokens), skip_special_tokens=True))


def _holds(text: str, ends: Sequence[str]) -> bool:
    return any(end in text for end in ends)


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    called: Any = tokenizer
    return list(called(text, add_special_tokens=False)["input_ids"])
