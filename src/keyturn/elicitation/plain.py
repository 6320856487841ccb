"""Plain sampling: every answer is drawn once, as the policy is. What the other methods are measured against.

Source: ours.
"""

from __future__ import annotations

from typing import Any

from keyturn.elicitation.contract import Asked, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import costs_of


def answer(asked: Asked, config: Any, prepared: Prepared) -> Elicitation:
    """One draw an answer."""
    drawn = asked.policy.draw(asked.problems.problems, asked.draws, asked.streams, asked.limits)
    return Elicitation(completions=drawn, costs=costs_of(drawn))


METHOD = ElicitationMethod(
    name="plain",
    summary="draw every answer once, as the policy is: what the others are measured against",
    source="ours",
    cost="one answer",
    control=(),
    answer=answer,
)
