"""Zero-shot chain of thought: the answer begins with a sentence that asks for steps; a second call asks for
the result.

First the answer is begun with ``trigger`` and the policy goes on. Then ``extract`` is put behind what it wrote,
and it writes the result. Both are words in the answer's own text, so a grader reads them as it reads any.

Source: Kojima et al. 2022 (2205.11916).
"""

from __future__ import annotations

from dataclasses import dataclass

from keyturn.core.errors import UsageError
from keyturn.elicitation.contract import Asked, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import Drafts, Drawn


@dataclass(frozen=True, kw_only=True)
class ZeroShotConfig:
    """Settings of zero-shot chain of thought."""

    trigger: str = " Let's think step by step."
    """Begins the answer."""
    extract: str = "\nTherefore, the answer is"
    """Put behind what was written, for a second call; empty: there is none."""
    extract_tokens: int = 16
    """Tokens of the second call."""


def answer(asked: Asked, config: ZeroShotConfig, prepared: Prepared) -> Elicitation:
    """Begin, go on, ask for the result."""
    if config.extract and config.extract_tokens < 1:
        raise UsageError(f"--extract-tokens is {config.extract_tokens}", fix="1 or more, or --extract ''")
    return asked_behind(asked, config.extract, config.extract_tokens, begin=config.trigger, label="result")


def asked_behind(asked: Asked, words: str, room: int, *, begin: str = "", label: str) -> Elicitation:
    """Let the policy write, then put words behind the text and let it write the result.

    Args:
        asked: policy and problems.
        words: ask for the result; empty: nothing is asked.
        room: tokens of the result, beyond the limit of the answer.
        begin: words with which the text begins.
        label: of the random numbers of the second call.
    """
    drafts = Drafts(asked)
    drafts.write(begin)
    drafts.grow()
    if words:
        drafts.write(words)
        drafts.grow(Drawn(room=room, label=(label,), beyond=True))
    return Elicitation(completions=drafts.completions(), costs=drafts.costs)


METHOD = ElicitationMethod(
    name="zero-shot",
    summary="the answer begins with a sentence that asks for steps; a second call asks for the result",
    source="Kojima et al. 2022, arXiv 2205.11916",
    cost="one answer and 16 tokens",
    control=("forced-opener", "plain"),
    config=ZeroShotConfig(),
    neutral=ZeroShotConfig(trigger="", extract=""),
    answer=answer,
)
