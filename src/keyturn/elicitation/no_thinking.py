"""NoThinking: the answer begins with a thought that is over already.

A reasoning model then answers at once; drawn several times with a vote, it is held against long thoughts at
equal tokens. ``--samples`` draws are taken and the majority is given.

Source: Ma et al. 2025 (2504.09858).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keyturn.elicitation.choosing import majority, positive, taken
from keyturn.elicitation.contract import Asked, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import Drafts


@dataclass(frozen=True, kw_only=True)
class NoThinkingConfig:
    """Settings of NoThinking."""

    thought: str = "<think>\nOkay, I think I have finished thinking.\n</think>\n\n"
    """Begins every answer."""
    samples: int = 1
    """Draws behind one answer, of which the majority is given."""


def answer(asked: Asked, config: NoThinkingConfig, prepared: Prepared) -> Elicitation:
    """Begin with a finished thought, go on, vote."""
    positive(config.samples, "--samples")
    size = config.samples
    many = asked.many(size)
    drafts = Drafts(many)
    drafts.write(config.thought)
    drafts.grow()
    drawn = drafts.completions()
    found = asked.answers(drawn) if size > 1 else [""] * len(drawn)
    votes = [majority(found[start : start + size])[0] for start in range(0, len(drawn), size)]
    return taken(asked, drawn, np.array(votes, dtype=np.int64), drafts.costs.grouped(size))


METHOD = ElicitationMethod(
    name="no-thinking",
    summary="the answer begins with a thought that is over already",
    source="Ma et al. 2025, arXiv 2504.09858",
    cost="one answer, which is shorter where the policy thinks",
    control=("forced-opener", "budget-less"),
    config=NoThinkingConfig(),
    neutral=NoThinkingConfig(thought=""),
    answer=answer,
)
