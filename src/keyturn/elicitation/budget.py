"""Budget forcing, both ways: thoughts that end are made to go on, thoughts that go on are made to end.

``budget-more``: where the thought ends (the marker ``end``, or the end of the answer where there is no marker),
the end is dropped and ``wait`` is put in its place, up to ``times`` times. ``budget-less``: after ``budget``
tokens a thought that has not ended is closed by ``close`` and the answer is asked for. ``answer-prompt`` is
its control: it asks for the answer where the text ends by itself, so that what the shorter thought does and
what the request for an answer does can be told apart.

Source: Muennighoff et al. 2025, s1 (2501.19393).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keyturn.core.errors import UsageError
from keyturn.elicitation.contract import Asked, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import Drafts, Drawn
from keyturn.elicitation.zero_shot import asked_behind


@dataclass(frozen=True, kw_only=True)
class MoreConfig:
    """Settings of making thoughts go on."""

    times: int = 2
    """How often the end of a thought is dropped."""
    wait: str = "\nWait"
    """Put in its place."""
    end: str = "</think>"
    """Ends a thought; an answer without it is one thought."""


@dataclass(frozen=True, kw_only=True)
class LessConfig:
    """Settings of making thoughts end."""

    budget: int = 128
    """Tokens of a thought; 0: no limit."""
    end: str = "</think>"
    """Ends a thought by itself."""
    close: str = "\n</think>\nFinal Answer:"
    """Put behind a thought that has not ended within the budget."""
    answer_tokens: int = 32
    """Tokens behind it."""


@dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """Settings of asking for the answer."""

    close: str = "\nFinal Answer:"
    """Put behind the text where it ends; empty: nothing is."""
    answer_tokens: int = 32
    """Tokens behind it."""


def more(asked: Asked, config: MoreConfig, prepared: Prepared) -> Elicitation:
    """Drop the end of the thought and go on, ``times`` times."""
    if config.times < 0 or (config.times and not config.wait):
        raise UsageError("--times is negative, or --wait is empty", fix="0 or more, and a word to go on with")
    drafts = Drafts(asked)
    drafts.grow()
    waits = np.zeros(len(drafts))
    for time in range(config.times):
        going = []
        for row in range(len(drafts)):
            closed = bool(config.end) and drafts.cut(row, config.end)
            if closed or drafts.ended[row]:
                going.append(row)
        drafts.write(config.wait, going)
        waits[going] += 1
        drafts.grow(Drawn(label=("wait", time)), going)
    return Elicitation(completions=drafts.completions(), costs=drafts.costs, facts={"waits": waits})


def less(asked: Asked, config: LessConfig, prepared: Prepared) -> Elicitation:
    """Close thoughts that are longer than the budget and ask for the answer."""
    if config.budget < 0 or config.answer_tokens < 1:
        raise UsageError(
            "--budget is negative, or --answer-tokens below 1", fix="0 (no limit) or more, and 1 or more"
        )
    drafts = Drafts(asked)
    if not config.budget or config.budget >= asked.limits.max_new_tokens:
        drafts.grow()
        return Elicitation(completions=drafts.completions(), costs=drafts.costs)
    drafts.grow(Drawn(room=config.budget))
    open_ones = np.flatnonzero(~drafts.ended).tolist()
    thinking = [row for row in open_ones if not (config.end and config.end in drafts.texts[row])]
    drafts.write(config.close, thinking)
    drafts.grow(Drawn(room=config.answer_tokens, label=("answer",), beyond=True), thinking)
    answering = [row for row in open_ones if row not in set(thinking)]
    drafts.grow(Drawn(label=("answer",)), answering)
    closed = np.isin(np.arange(len(drafts)), thinking).astype(np.float64)
    return Elicitation(completions=drafts.completions(), costs=drafts.costs, facts={"closed": closed})


def prompted(asked: Asked, config: PromptConfig, prepared: Prepared) -> Elicitation:
    """Ask for the answer where the text ends."""
    if config.close and config.answer_tokens < 1:
        raise UsageError(f"--answer-tokens is {config.answer_tokens}", fix="1 or more")
    return asked_behind(asked, config.close, config.answer_tokens, label="answer")


MORE = ElicitationMethod(
    name="budget-more",
    summary="where a thought ends, the end is dropped and 'Wait' put in its place",
    source="Muennighoff et al. 2025 (s1), arXiv 2501.19393",
    cost="one answer that may be as long as the limit",
    control=("self-consistency", "revision"),
    config=MoreConfig(),
    neutral=MoreConfig(times=0),
    answer=more,
)

LESS = ElicitationMethod(
    name="budget-less",
    summary="a thought that is longer than its budget is closed and the answer asked for",
    source="Muennighoff et al. 2025 (s1), arXiv 2501.19393",
    cost="at most 128 + 32 tokens",
    control=("answer-prompt",),
    config=LessConfig(),
    neutral=LessConfig(budget=0),
    answer=less,
)

PROMPT = ElicitationMethod(
    name="answer-prompt",
    summary="the answer is asked for where the text ends by itself",
    source="ours; the half of s1's budget forcing that shortens nothing",
    cost="one answer and 32 tokens",
    control=("plain",),
    controls=True,
    config=PromptConfig(),
    neutral=PromptConfig(close=""),
    answer=prompted,
)
