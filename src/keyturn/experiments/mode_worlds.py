"""Bases in which it is known whether there is a mode to be elicited, and a battery of ways to elicit it.

Every world is a MODES world (``problems/world/modes.py``). In the *present* ones a known share of the texts
about the asked problems is worked; in the *absent* ones worked texts are about something else, or their steps
stand in random order. Everything else is equal, so what a method gains in an absent world is not elicited: it
was taught, leaked, or is a guess.

A setting of a method that is made of words for people is put into the words of the world: what asks for steps
is the opener of a worked text, what ends a thought is ``ANS``, and the penalty on words that leave a thought
is one on ``ANS``. Doses and numbers of samples were fixed before any run and are the same in every world.
Source: ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from keyturn.core.errors import unknown
from keyturn.elicitation.abstractions import AbstractionConfig
from keyturn.elicitation.best_of import LikeliestConfig, VerifiedConfig
from keyturn.elicitation.budget import LessConfig, MoreConfig, PromptConfig
from keyturn.elicitation.confident_vote import ConfidentConfig
from keyturn.elicitation.cot_decoding import BranchConfig
from keyturn.elicitation.exemplars import CorruptConfig, FewShotConfig
from keyturn.elicitation.no_thinking import NoThinkingConfig
from keyturn.elicitation.one_feature import FeatureConfig
from keyturn.elicitation.one_feature import RandomConfig as RandomFeatureConfig
from keyturn.elicitation.opener import OpenerConfig
from keyturn.elicitation.perturbed import PerturbedConfig, RandomPerturbedConfig
from keyturn.elicitation.power import PowerConfig
from keyturn.elicitation.power_ahead import AheadConfig
from keyturn.elicitation.power_smc import SmcConfig
from keyturn.elicitation.revision import RevisionConfig
from keyturn.elicitation.routing import BenefitConfig, OracleConfig, ShareConfig, ThresholdConfig
from keyturn.elicitation.self_consistency import VoteConfig
from keyturn.elicitation.steering import OtherConfig, SteeringConfig
from keyturn.elicitation.steering_kinds import AnswerConfig, ConditionalConfig, DelimiterConfig
from keyturn.elicitation.temperature import TemperatureConfig
from keyturn.elicitation.tip import TipConfig
from keyturn.elicitation.tools import NeutralConfig, ToolsConfig
from keyturn.elicitation.zero_shot import ZeroShotConfig
from keyturn.problems.world.modes import ModesWorld
from keyturn.problems.world.worlds import world_named


def _present(share: float) -> ModesWorld:
    return ModesWorld(name=f"modes, {share:.0%} worked", worked=share)


def _absent(name: str) -> ModesWorld:
    world = world_named(name)
    assert isinstance(world, ModesWorld)
    return world


PRESENT: Mapping[str, float] = {"present 1 %": 0.01, "present 5 %": 0.05, "present 20 %": 0.2}
"""World -> share of worked texts."""
ABSENT = ("absent, other domain", "absent, other context", "scrambled 5 %")
"""Worlds in which no worked text of these problems can be learnt from."""
WORLDS_ASKED: Mapping[str, ModesWorld] = {
    **{name: _present(share) for name, share in PRESENT.items()},
    **dict(zip(ABSENT, map(_absent, ("modes-absent", "modes-context", "modes-scrambled")), strict=True)),
    "cue 5 %": _absent("modes-cue"),
    "four openers 5 %": _absent("modes-openers"),
}
"""Name in tables -> the world."""


def world_asked(name: str) -> ModesWorld:
    """A world by its name in tables.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in WORLDS_ASKED:
        raise unknown("world", name, WORLDS_ASKED)
    return WORLDS_ASKED[name]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One row of the battery.

    Args:
        name: in tables.
        method: key of ``ELICITATIONS``.
        settings: its config; None where it has none.
        control: it claims nothing, and stands beside what does.
        again: above 0, the same row once more with other random numbers.
    """

    name: str
    method: str
    settings: Any = None
    control: bool = False
    again: int = 0


def battery(world: ModesWorld, samples: int) -> tuple[Setting, ...]:
    """Every elicitation method with its controls, in the words of a world.

    Args:
        world: whose opener and cue are used.
        samples: draws behind one answer, of methods that take several.
    """
    opener = world.openers[0]
    asks = "CTL13" if world.cue else opener
    return (
        *_prompting(opener, asks),
        *_sampling(samples),
        *_steering(opener),
        *_penalties(),
        *_asides(opener),
        *_routes(opener),
        *_kinds(),
        *_searches(opener),
    )


def _prompting(opener: str, asks: str) -> tuple[Setting, ...]:
    return (
        Setting(name="plain", method="plain", control=True),
        Setting(name="trigger", method="zero-shot", settings=ZeroShotConfig(trigger=asks, extract="")),
        Setting(name="few-shot", method="few-shot", settings=FewShotConfig()),
        Setting(
            name="few-shot, steps destroyed",
            method="few-shot-corrupted",
            settings=CorruptConfig(),
            control=True,
        ),
        Setting(name="forced opener", method="forced-opener", settings=OpenerConfig()),
        Setting(
            name="no thinking", method="no-thinking", settings=NoThinkingConfig(thought="ANS"), control=True
        ),
        Setting(
            name="budget, more", method="budget-more", settings=MoreConfig(times=1, wait=opener, end="ANS")
        ),
        Setting(
            name="budget, less",
            method="budget-less",
            settings=LessConfig(budget=1, end="ANS", close="ANS", answer_tokens=2),
        ),
        Setting(
            name="answer prompt",
            method="answer-prompt",
            settings=PromptConfig(close="ANS", answer_tokens=2),
            control=True,
        ),
        Setting(name="revision", method="revision", settings=RevisionConfig(rounds=1, request="?")),
    )


def _sampling(samples: int) -> tuple[Setting, ...]:
    return (
        Setting(name="temperature 1/4", method="low-temperature", settings=TemperatureConfig()),
        Setting(
            name="greedy", method="low-temperature", settings=TemperatureConfig(temperature=0.0), control=True
        ),
        Setting(name="self-consistency", method="self-consistency", settings=VoteConfig(samples=samples)),
        Setting(
            name=f"self-consistency, {4 * samples} draws",
            method="self-consistency",
            settings=VoteConfig(samples=4 * samples),
        ),
        Setting(
            name="confident vote",
            method="confident-vote",
            settings=ConfidentConfig(samples=samples, window=4),
        ),
        Setting(name="best of n", method="best-of-n", settings=LikeliestConfig(samples=samples)),
        Setting(
            name="best of n, verifier", method="best-of-n-verifier", settings=VerifiedConfig(samples=samples)
        ),
        Setting(name="CoT-decoding", method="cot-decoding", settings=BranchConfig()),
        Setting(name="CoT-decoding, sum", method="cot-decoding-sum", settings=BranchConfig()),
        Setting(
            name="CoT-decoding, majority", method="cot-branches-vote", settings=BranchConfig(), control=True
        ),
        Setting(name="power sampling", method="power", settings=PowerConfig(block=16)),
        Setting(name="Power-SMC", method="power-smc", settings=SmcConfig()),
    )


FIRST_STEP = SteeringConfig(contrast="trigger", where="first_step", dose=1.0, persistent=False)
"""A vector at the last token of the prompt, for one step; the trigger is filled in."""
RIGHT = SteeringConfig(contrast="right", dose=0.5)
"""A vector from wrong to right draws, at every written token."""


RANDOM_FIRST = ("steering random, first step", *(f"steering random, first step, no. {n}" for n in (2, 3, 4)))
"""Rows of random directions at the first step: one direction is luck."""


def _steering(opener: str) -> tuple[Setting, ...]:
    first = replace(FIRST_STEP, trigger=opener)
    kept = replace(first, persistent=True)
    return (
        *(
            Setting(name=f"steering {kind}, right", method=f"steering-{kind}", settings=RIGHT)
            for kind in ("mean", "pca", "logistic")
        ),
        Setting(name="steering random, right", method="steering-random", settings=RIGHT, control=True),
        Setting(name="steering mean, first step", method="steering-mean", settings=first),
        Setting(name="steering mean, first step kept", method="steering-mean", settings=kept),
        *(
            Setting(name=name, method="steering-random", settings=first, control=True, again=number)
            for number, name in enumerate(RANDOM_FIRST)
        ),
    )


def _penalties() -> tuple[Setting, ...]:
    tip = TipConfig(words=("ANS",), duration=4)
    return (
        Setting(name="penalty on answering", method="tip", settings=tip),
        Setting(name="penalty flipped", method="tip-flipped", settings=tip, control=True),
        Setting(name="penalty on random words", method="tip-random", settings=tip, control=True),
    )


def _asides(opener: str) -> tuple[Setting, ...]:
    """Cognitive tools and abstractions: the opener asks for help, and the mark of a question asks again."""
    words: dict[str, Any] = {
        "understand": opener,
        "recall": "",
        "examine": "?",
        "backtrack": "",
        "ask": "?",
        "tool_tokens": 16,
    }
    tools = ToolsConfig(**words)
    # Four tokens are one step of a worked text.
    hints = AbstractionConfig(request=opener, lead="", hint_tokens=4)
    return (
        Setting(name="tools", method="tools", settings=tools),
        Setting(name="tools, inlined", method="tools-inlined", settings=tools, control=True),
        Setting(
            name="tools, neutral",
            method="tools-neutral",
            settings=NeutralConfig(filler=";", **words),
            control=True,
        ),
        Setting(name="tools, vote", method="tools-vote", settings=tools, control=True),
        Setting(name="abstraction", method="abstraction", settings=hints),
        Setting(name="abstraction, mismatched", method="abstraction-mismatched", settings=hints, control=True),
        Setting(name="abstraction, alone", method="abstraction-alone", settings=hints, control=True),
    )


def _routes(opener: str) -> tuple[Setting, ...]:
    """Routing between an answer that begins with the opener and one that begins as it will."""
    share = ShareConfig(think=opener)
    return (
        Setting(name="route, threshold", method="route-threshold", settings=ThresholdConfig(think=opener)),
        Setting(name="route, benefit", method="route-benefit", settings=BenefitConfig(think=opener)),
        Setting(name="route, unsure", method="route-unsure", settings=share),
        Setting(name="route, length", method="route-length", settings=share, control=True),
        Setting(name="route, random", method="route-random", settings=share, control=True),
        Setting(name="route, oracle", method="route-oracle", settings=OracleConfig(think=opener), control=True),
    )


def _kinds() -> tuple[Setting, ...]:
    """Vectors of other makes, at the dose of the others. No text here reflects: SEAL steers away from the piece
    that ends a thought instead."""
    pieces = DelimiterConfig(delimiters=(";",), transition=("ans",), reflection=(), dose=RIGHT.dose)
    condition = ConditionalConfig(dose=RIGHT.dose)
    return (
        Setting(
            name="steering answer",
            method="steering-answer",
            settings=AnswerConfig(lead="ANS ", dose=RIGHT.dose),
        ),
        Setting(name="steering delimiter", method="steering-delimiter", settings=pieces),
        Setting(name="steering conditional", method="steering-conditional", settings=condition),
        Setting(
            name="steering unconditional", method="steering-unconditional", settings=condition, control=True
        ),
        Setting(
            name="steering other feature",
            method="steering-other",
            settings=OtherConfig(dose=RIGHT.dose),
            control=True,
        ),
    )


def _searches(opener: str) -> tuple[Setting, ...]:
    """One latent at the first step, perturbed weights, and power sampling that looks ahead."""
    latent = FeatureConfig(trigger=opener, dose=FIRST_STEP.dose, persistent=False)
    random = RandomFeatureConfig(dose=FIRST_STEP.dose, persistent=False)
    return (
        Setting(name="one feature", method="one-feature", settings=latent),
        Setting(name="random features", method="feature-random", settings=random, control=True),
        Setting(name="perturbed weights, vote", method="perturbed-vote", settings=PerturbedConfig()),
        Setting(
            name="random perturbed weights, vote",
            method="perturbed-random-vote",
            settings=RandomPerturbedConfig(),
            control=True,
        ),
        Setting(name="power, look-ahead", method="power-ahead", settings=AheadConfig()),
    )
