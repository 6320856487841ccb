r"""Prefix: pays for a prediction that equals, byte for byte, the text's continuation up to the end of a token.

Formula, with ``y`` the bytes (UTF-8) of the prediction, ``x`` those of the true continuation and ``B`` the
cumulative byte lengths of its tokens::

    r_i = [len(y) in B  and  y = x[:len(y)]]        [row]

The prediction is the text after the last ``marker``; with ``boxed``, the last closed box in it. ``x`` is the
fact ``continuation`` of the problem, else its answer. ``B`` is the fact ``boundaries``
(:func:`with_continuation` writes both), else the ends of the words of ``x``. With ``strip``, white space around
the prediction, at the start of ``x`` and at the end of a token does not count, since a box seldom contains the
space that begins a token. Denominator: none; one number per completion.
Degenerate: all rows of a problem without a continuation are ungraded (NaN). Without a marker, without a box or
with an empty one there is no prediction, and the reward is 0. No text can meet a boundary inside a character.
Bytes are
compared, not meanings: ``é`` as one code point and as two are different. The verdict is not used, so a row that
the verifier left ungraded has a reward.
Known bias: a prediction of one token is paid like one of ten, so the shortest certain one is best.
Source: Dong et al. 2025, RPT (2506.08007), equation 3. Departures: the whitespace rule, which the paper does
not state; words if no tokens are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError
from keyturn.core.problem import Problem
from keyturn.problems.graders.boxes import boxes
from keyturn.rewards.contract import Graded, Reward
from keyturn.rewards.wording import after


@dataclass(frozen=True, kw_only=True)
class PrefixConfig:
    """Settings of the prefix reward."""

    marker: str = "</think>"
    """Text before the prediction (2506.08007); empty means that the prediction is the whole completion."""
    boxed: bool = True
    """Whether it is the content of the last closed box after the marker (2506.08007), else all text after
    it."""
    strip: bool = True
    """Whether to ignore white space around prediction and tokens (ours)."""


def prefix(config: PrefixConfig = PrefixConfig()) -> Reward:
    """The prefix reward with the given settings."""
    return Reward(
        name="prefix",
        summary="1 if the prediction equals the text's continuation up to the end of a token",
        source="Dong et al. 2025, RPT, arXiv 2506.08007, equation 3",
        reward=lambda graded: prefix_reward(graded, config),
        config=config,
        blind=True,
    )


def prefix_reward(graded: Graded, config: PrefixConfig) -> NDArray[np.float32]:
    """One reward per completion, float32 ``[row]``; NaN if the continuation is not known."""
    paid = [accepted(problem, strip=config.strip) for problem in graded.problems]
    rows = zip(graded.completions.problem.tolist(), graded.completions.texts, strict=True)
    return np.array(
        [
            float("nan") if paid[index] is None else float(predicted(text, config) in (paid[index] or ()))
            for index, text in rows
        ],
        dtype=np.float32,
    )


def predicted(text: str, config: PrefixConfig) -> bytes:
    """The prediction in a completion as bytes; empty if there is none."""
    rest = after(text, config.marker)
    if rest is None:
        return b""
    if config.boxed:
        closed = [content for _, _, content in boxes(rest) if content is not None]
        rest = closed[-1] if closed else ""
    return _bytes(rest.strip() if config.strip else rest)


def accepted(problem: Problem, *, strip: bool) -> frozenset[bytes] | None:
    """Every prediction that is paid; None if the problem has no continuation.

    Raises:
        InputError: its boundaries are not increasing byte positions in it.
    """
    whole = _bytes(str(problem.facts.get("continuation", problem.answer)))
    if not whole:
        return None
    stated = problem.facts.get("boundaries")
    ends = _word_ends(whole) if stated is None else _stated_ends(problem.id, str(stated), len(whole))
    begun = (whole[:end] for end in ends)
    # Only ASCII white space is stripped from bytes: any other may end inside a character.
    return frozenset(part.strip() if strip else part for part in begun) - {b""}


def with_continuation(problem: Problem, tokens: Sequence[bytes]) -> Problem:
    """The problem with its continuation, token by token, as the facts ``continuation`` and ``boundaries``.

    Args:
        problem: the problem, whose prompt is the context.
        tokens: the bytes of every token of the true continuation, one entry per token.

    Raises:
        InputError: together they are not UTF-8 text.
    """
    try:
        text = b"".join(tokens).decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"the continuation of {problem.id} is not UTF-8: {error}", fix="end it at the end of a character"
        ) from error
    ends = " ".join(map(str, accumulate(len(token) for token in tokens)))
    return replace(problem, facts={**problem.facts, "continuation": text, "boundaries": ends})


def _stated_ends(name: str, stated: str, size: int) -> list[int]:
    try:
        ends = [int(end) for end in stated.split()]
    except ValueError:
        ends = []
    if not ends or ends != sorted(ends) or ends[0] < 0 or ends[-1] > size:
        raise InputError(
            f"the boundaries of {name} are {stated[:80]!r}, for a continuation of {size} bytes",
            fix="write cumulative byte lengths with spaces between them, e.g. '3 7 12'",
        )
    return ends


def _word_ends(whole: bytes) -> Iterable[int]:
    """Ends of words: before white space, and at the end."""
    inside = [not whole[at : at + 1].isspace() for at in range(len(whole))]
    return [at + 1 for at in range(len(whole)) if inside[at] and not (at + 1 < len(whole) and inside[at + 1])]


def _bytes(text: str) -> bytes:
    """The text as UTF-8; a lone surrogate, which a text may contain, is kept."""
    return text.encode(errors="surrogatepass")
