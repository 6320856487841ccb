"""Low temperature: sharpen every token's own distribution, ``q(x_t) ~ p(x_t | x_<t) ^ (1 / T)``.

It is what most of the gain of sharper sequence laws must be held against: it moves the same way and looks at no
future. At temperature 0 the most likely token is taken, and all draws of a problem are one.

Source: ours; as a baseline of sharpening: Karan and Du 2025 (2510.14901).
"""

from __future__ import annotations

from dataclasses import dataclass

from keyturn.elicitation.contract import Asked, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import costs_of, tempered


@dataclass(frozen=True, kw_only=True)
class TemperatureConfig:
    """Settings of low temperature."""

    temperature: float = 0.25
    """Divides the logits; 0 is greedy, 1 plain."""


def answer(asked: Asked, config: TemperatureConfig, prepared: Prepared) -> Elicitation:
    """One draw an answer, at the other temperature."""
    policy = tempered(asked.policy, config.temperature)
    drawn = policy.draw(asked.problems.problems, asked.draws, asked.streams, asked.limits)
    return Elicitation(completions=drawn, costs=costs_of(drawn))


METHOD = ElicitationMethod(
    name="low-temperature",
    summary="sharpen every token's own distribution",
    source="ours; as a baseline of sharpening: Karan and Du 2025, arXiv 2510.14901",
    cost="one answer",
    control=("plain",),
    config=TemperatureConfig(),
    neutral=TemperatureConfig(temperature=1.0),
    answer=answer,
)
