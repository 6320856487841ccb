"""Routing: for every problem, is it worth thinking? Two beginnings of an answer, and what decides between them.

An answer begins with the words ``think`` or with the words ``short``, and is drawn from there. A router gives
every problem a score from its prompt alone, and thinks where the score is above a threshold::

    route-threshold    P(think) / (P(think) + P(short)) of the two first tokens after the prompt
    route-benefit      w.h + c, a ridge regression of the benefit on the state h of the prompt's last token;
                       the benefit of a development problem is its success with thinking minus without
    route-unsure       1 - (p1 - p2), the margin of the two likeliest first tokens of a short answer
    route-length       tokens of the prompt
    route-random       a random number
    route-oracle       the benefit on further draws of the asked problem, which the grader judges: a ceiling

Where there is a ``share``, the threshold is the quantile of the scores of development problems that a share of
them is above. DPDP keeps a running percentile of past margins instead; an answer here must not depend on what
else is asked, so the past is the development problems.

Source: Thinkless: 2505.13379; running percentiles: He et al. 2024 (2406.05374); benefit, and controls: ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError, UsageError
from keyturn.core.lazy import torch
from keyturn.elicitation.choosing import positive, threshold_of
from keyturn.elicitation.contract import Asked, Costs, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.cot_decoding import margin
from keyturn.elicitation.drafts import Drafts, plainly
from keyturn.elicitation.steering import layer_of
from keyturn.policies.continuing import Noted
from keyturn.policies.local import LocalPolicy
from keyturn.policies.sites import Site, layers_of
from keyturn.policies.taps import ActivationTap, tap

Scored: TypeAlias = tuple[NDArray[np.float64], Costs]
"""A score of every problem, and what it cost, one entry a problem."""


@dataclass(frozen=True, kw_only=True)
class RouteConfig:
    """Settings that every router has."""

    think: str = " Let's think step by step."
    """Begins an answer with thinking."""
    short: str = ""
    """Begins an answer without; none: it begins as it will."""


@dataclass(frozen=True, kw_only=True)
class ThresholdConfig(RouteConfig):
    """Settings of routing by the first token's probability."""

    threshold: float = 0.5
    """Share of thinking in the two probabilities above which it thinks."""


@dataclass(frozen=True, kw_only=True)
class ShareConfig(RouteConfig):
    """Settings of routing a share of the problems."""

    share: float = 0.5
    """Share of the development problems that would be thought about."""


@dataclass(frozen=True, kw_only=True)
class BenefitConfig(ShareConfig):
    """Settings of routing by a predicted benefit."""

    layer: float = 0.7
    """Which layer is read: a share of the depth below 1, or a number of a layer from 1 on."""
    trials: int = 8
    """Draws with and without thinking per development problem."""


@dataclass(frozen=True, kw_only=True)
class OracleConfig(RouteConfig):
    """Settings of the ceiling."""

    trials: int = 8
    """Further draws with and without thinking per problem, which the grader judges."""


@dataclass(frozen=True, kw_only=True)
class ThinkShare:
    """Probability of one first token among two, or among all where the other one is none.

    Args:
        think, short: their ids; short is -1 for none.
    """

    think: int
    short: int

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """One number a row, from logits ``[row, vocab]``."""
        law = logits.double().softmax(-1)
        rest = law.sum(-1) - law[:, self.think] if self.short < 0 else law[:, self.short]
        return law[:, self.think] / (law[:, self.think] + rest).clamp_min(torch.finfo(law.dtype).tiny)


def _first(asked: Asked, of: Callable[[Any], Any], words: str = "") -> Scored:
    """A number of the law of the first token behind every prompt and some words, one token drawn for each."""
    noted = Noted(name="first law", of=of)
    policy = plainly(asked.model).having(processors=[noted])
    one = replace(asked, policy=policy, draws=range(1), limits=replace(asked.limits, max_new_tokens=1))
    drafts = Drafts(one)
    drafts.write(words)
    drafts.grow()
    rows = np.arange(len(drafts))
    found = noted.rows(rows, np.zeros(len(rows), dtype=np.int64), np.ones(len(rows), dtype=np.int64))
    return np.array([values[0] for values in found]), drafts.costs


def _token(policy: LocalPolicy, words: str) -> int:
    """The first token of some words, -1 for no words."""
    if not words:
        return -1
    ids: Any = policy.tokenizer(words, add_special_tokens=False)
    if not ids["input_ids"]:
        raise InputError(f"the tokenizer knows nothing of {words!r}", fix="other words")
    return int(ids["input_ids"][0])


def by_probability(asked: Asked, config: ThresholdConfig, prepared: Prepared) -> Scored:
    """How likely thinking is as the first token."""
    think, short = (_token(asked.model, words) for words in (config.think, config.short))
    if think == short:
        what = "--think and --short begin with the same token, or there are no words to think with"
        raise UsageError(what, fix="words with different first tokens")
    return _first(asked, ThinkShare(think=think, short=short))


def by_margin(asked: Asked, config: ShareConfig, prepared: Prepared) -> Scored:
    """How unsure the first token of a short answer is."""
    margins, costs = _first(asked, margin, config.short)
    return 1.0 - margins, costs


def by_length(asked: Asked, config: ShareConfig, prepared: Prepared) -> Scored:
    """Tokens of the prompt."""
    lengths = np.diff(asked.model.prompts(asked.problems.problems).offsets).astype(np.float64)
    return lengths, Costs.nothing(len(lengths))


def by_chance(asked: Asked, config: ShareConfig, prepared: Prepared) -> Scored:
    """A random number."""
    ids = [problem.id for problem in asked.problems.problems]
    return np.array([asked.streams.generator("route", one).random() for one in ids]), Costs.nothing(len(ids))


def by_benefit(asked: Asked, config: BenefitConfig, prepared: Prepared) -> Scored:
    """The predicted benefit of thinking."""
    states = _states(asked, config)
    costs = Costs.nothing(len(states))
    score = states @ prepared["probe"] + float(prepared["constant"][0])
    return score, replace(costs, passes=costs.passes + 1)


def by_oracle(asked: Asked, config: OracleConfig, prepared: Prepared) -> Scored:
    """The benefit on further draws of the same problems."""
    rates, costs = _both(replace(asked, streams=asked.streams.child("oracle")), config, config.trials)
    return rates[0] - rates[1], replace(costs, checks=costs.checks + 2.0 * config.trials)


def _states(asked: Asked, config: BenefitConfig) -> NDArray[np.float64]:
    """States of the last tokens of all prompts, ``[problem, dim]``."""
    site = Site(layer=layer_of(config.layer, len(layers_of(asked.model.model)[1])))
    what = ActivationTap(sites=(site,), positions="last_prompt", reduce="last")
    texts = Drafts(replace(asked, draws=range(1))).completions()
    return tap(asked.model, texts, what).states[0].astype(np.float64)


def _both(asked: Asked, config: RouteConfig, trials: int) -> tuple[NDArray[np.float64], Costs]:
    """Success of every problem with and without thinking, ``[mode, problem]``, and what the draws cost."""
    positive(trials, "--trials")
    rates, total = [], Costs.nothing(len(asked.problems.problems))
    for words in (config.think, config.short):
        drafts = Drafts(replace(asked, draws=range(trials)))
        drafts.write(words)
        drafts.grow()
        grader, drawn = asked.problems.grader, drafts.completions()
        grades = grader.grade(asked.problems.problems, drawn)
        success = grades.verified if grader.reads_traces else grades.outcome
        rates.append(np.nan_to_num(success).reshape(-1, trials).mean(axis=1))
        total = total + drafts.costs.grouped(trials)
    return np.array(rates, dtype=np.float64), total


def answer(
    score: Callable[[Asked, Any, Prepared], Scored], asked: Asked, config: Any, prepared: Prepared
) -> Elicitation:
    """Score every problem, and begin its answers in one of the two ways."""
    scores, paid = score(asked, config, prepared)
    thinks = scores > _threshold(config, prepared)
    drafts = Drafts(asked)
    drafts.write([config.think if thinks[index] else config.short for index in drafts.problem.tolist()])
    drafts.grow()
    # A problem is scored once for all its draws.
    shared = {name: one[drafts.problem] / len(asked.draws) for name, one in paid.columns().items()}
    facts = {"thinks": thinks[drafts.problem].astype(np.float64), "score": scores[drafts.problem]}
    return Elicitation(completions=drafts.completions(), costs=drafts.costs + Costs(**shared), facts=facts)


def _threshold(config: Any, prepared: Prepared) -> float:
    if isinstance(config, ThresholdConfig):
        if not 0 <= config.threshold <= 1:
            raise UsageError(f"--threshold is {config.threshold}", fix="a share from 0 to 1")
        return config.threshold
    return 0.0 if isinstance(config, OracleConfig) else float(prepared["threshold"][0])


def _development(asked: Asked) -> Asked:
    if asked.development is None:
        raise UsageError("a router's threshold needs development problems", fix="--development FILE")
    return replace(asked, problems=asked.development, streams=asked.streams.child("elicit", "routing"))


def _quantile(
    score: Callable[[Asked, Any, Prepared], Scored], asked: Asked, config: ShareConfig, prepared: Prepared
) -> Prepared:
    scores, _ = score(_development(asked), config, prepared)
    return {**prepared, "threshold": threshold_of(scores, config.share)}


def for_benefit(asked: Asked, config: BenefitConfig) -> Prepared:
    """Measure the benefit on development problems, fit the probe, find the threshold."""
    # Here and not at the top: scikit-learn takes a second, and a listing needs none of it.
    from keyturn.elicitation.directions import benefit_probe

    trial = _development(asked)
    if len(trial.problems.problems) < 2:
        raise InputError(
            "a probe of the benefit needs two development problems or more", fix="--development FILE"
        )
    rates, _ = _both(trial, config, config.trials)
    probe, constant = benefit_probe(_states(trial, config), rates[0] - rates[1])
    made = {
        "probe": probe,
        "constant": np.array([constant]),
        "benefit": (rates[0] - rates[1]).mean(keepdims=True),
    }
    return _quantile(by_benefit, asked, config, made)


def for_margin(asked: Asked, config: ShareConfig) -> Prepared:
    """The quantile of the margins."""
    return _quantile(by_margin, asked, config, {})


def for_length(asked: Asked, config: ShareConfig) -> Prepared:
    """The quantile of the lengths."""
    return _quantile(by_length, asked, config, {})


def for_chance(asked: Asked, config: ShareConfig) -> Prepared:
    """The share itself."""
    if not 0 <= config.share <= 1:
        raise UsageError(f"--share is {config.share}", fix="a share from 0 to 1")
    return {"threshold": np.array([1.0 - config.share])}


def used(asked: Asked, config: BenefitConfig) -> int:
    """Development problems whose answers told the benefit."""
    return len(asked.development.problems) if asked.development is not None else 0


def threshold(asked: Asked, config: ThresholdConfig, prepared: Prepared) -> Elicitation:
    """Route by the first token's probability."""
    return answer(by_probability, asked, config, prepared)


def benefit(asked: Asked, config: BenefitConfig, prepared: Prepared) -> Elicitation:
    """Route by the predicted benefit."""
    return answer(by_benefit, asked, config, prepared)


def unsure(asked: Asked, config: ShareConfig, prepared: Prepared) -> Elicitation:
    """Route by the margin."""
    return answer(by_margin, asked, config, prepared)


def length(asked: Asked, config: ShareConfig, prepared: Prepared) -> Elicitation:
    """Route by the prompt's length."""
    return answer(by_length, asked, config, prepared)


def chance(asked: Asked, config: ShareConfig, prepared: Prepared) -> Elicitation:
    """Route at random."""
    return answer(by_chance, asked, config, prepared)


def oracle(asked: Asked, config: OracleConfig, prepared: Prepared) -> Elicitation:
    """Route by what is right."""
    return answer(by_oracle, asked, config, prepared)


_CONTROLS = ("route-random", "route-length", "route-oracle")

THRESHOLD = ElicitationMethod(
    name="route-threshold",
    summary="a problem is thought about where the policy's first token would rather think than answer",
    source="Thinkless: Fang et al. 2025, arXiv 2505.13379, without its training",
    cost="one answer and one token",
    control=_CONTROLS,
    needs=frozenset({"model"}),
    config=ThresholdConfig(),
    neutral=ThresholdConfig(threshold=1.0),
    answer=threshold,
)
BENEFIT = replace(
    THRESHOLD,
    name="route-benefit",
    summary="a problem is thought about where a probe of its prompt predicts that thinking helps",
    source="ours",
    cost="one answer and one reading of the prompt; 16 draws per development problem before",
    needs=frozenset({"model", "development"}),
    config=BenefitConfig(),
    neutral=BenefitConfig(share=0.0),
    prepare=for_benefit,
    examples=used,
    answer=benefit,
)
UNSURE = replace(
    THRESHOLD,
    name="route-unsure",
    summary="a problem is thought about where the margin of its first token is small among other problems",
    source="after He et al. 2024, arXiv 2406.05374",
    needs=frozenset({"model", "development"}),
    config=ShareConfig(),
    neutral=ShareConfig(share=0.0),
    prepare=for_margin,
    answer=unsure,
)
LENGTH = replace(
    UNSURE,
    name="route-length",
    summary="problems with long prompts are thought about",
    source="ours",
    cost="one answer",
    control=("route-benefit", "route-random"),
    controls=True,
    prepare=for_length,
    answer=length,
)
RANDOM = replace(
    THRESHOLD,
    name="route-random",
    summary="a random share of the problems is thought about",
    source="ours",
    cost="one answer",
    control=("route-benefit", "plain"),
    controls=True,
    config=ShareConfig(),
    neutral=ShareConfig(share=0.0),
    prepare=for_chance,
    answer=chance,
)
ORACLE = replace(
    THRESHOLD,
    name="route-oracle",
    summary="problems are thought about where further graded draws say that it helps: a ceiling",
    source="ours",
    cost="one answer, and 16 draws per problem about which the verifier is asked",
    control=("route-benefit", "route-random"),
    controls=True,
    config=OracleConfig(),
    neutral=OracleConfig(think=""),
    answer=oracle,
)
