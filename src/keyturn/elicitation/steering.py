"""Steering vectors: a direction from development texts is added to the hidden states of every written token.

``contrast`` says between what it points. ``right``: from wrong to right draws of the same development problems,
means over the tokens of each answer. ``trigger``: from the plain prompt to the prompt with a beginning that
asks for steps, at the last token before the answer goes on; no answer is used. The dose is in units of the
mean norm of hidden states at that place: ``h + dose * E|h| * v`` with ``|v| = 1``, so doses mean the same for
every direction, and the random direction is matched in norm.

Source: difference of means: Rimsky et al. 2023 (2312.06681); paired differences: Zou et al. 2023 (2310.01405);
learnt classifiers and random directions as its controls: ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError, UsageError
from keyturn.elicitation.contract import Asked, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import Drafts, costs_of
from keyturn.policies.interventions import Intervention, Where
from keyturn.policies.local import LocalPolicy
from keyturn.policies.sites import Side, Site, layers_of, width_of
from keyturn.policies.steered import SteeredPolicy, steered_tokens
from keyturn.policies.taps import ActivationTap, tap
from keyturn.rollouts.completions import Completions, Prompts


@dataclass(frozen=True, kw_only=True)
class SteeringConfig:
    """Settings of steering vectors."""

    dose: float = 0.1
    """Length of what is added, in mean norms of the hidden states there; negative steers the other way."""
    layer: float = 0.4
    """Which layer: a share of the depth below 1, or a number of a layer from 1 on (0 is the first one)."""
    side: Side = "out"
    """Of the layer: the stream that enters or leaves it, or what attention or the second part adds."""
    contrast: Literal["right", "trigger"] = "right"
    """From wrong to right draws, or from plain prompts to prompts with a trigger."""
    trigger: str = " Let's think step by step."
    """Begins the answer, where the contrast is the trigger."""
    trials: int = 16
    """Draws per development problem, of which right and wrong ones are told apart."""
    where: Where = "generation"
    """Tokens that are steered: prompt, first_step, generation or all."""
    persistent: bool = True
    """Steered tokens keep what they became; else only the next token's distribution is changed."""


def layer_of(share: float, count: int) -> int:
    """The layer that a share of the depth, or a number, means.

    Raises:
        UsageError: neither.
    """
    if share < 0 or (share >= 1 and share != int(share)) or share >= max(count, 1):
        raise UsageError(f"--layer is {share:g}", fix=f"a share below 1, or a layer up to {count - 1}")
    return int(share) if share >= 1 else int(share * count)


def _prepare(
    how: Literal["mean", "pca", "logistic", "random"], asked: Asked, config: SteeringConfig
) -> Prepared:
    """The direction, the mean norm at its place, and how many texts of each kind it was made from."""
    model = asked.model.model
    site = Site(layer=layer_of(config.layer, len(layers_of(model)[1])), side=config.side)
    if not config.dose:
        return {"vector": np.zeros(width_of(model)), "norm": np.ones(1), "texts": np.zeros(2)}
    # Here and not at the top: scikit-learn takes a second, and a listing needs none of it.
    from keyturn.elicitation.directions import direction

    if asked.development is None:
        raise UsageError("a direction needs development problems", fix="--development FILE")
    trial = replace(
        asked,
        problems=asked.development,
        draws=range(max(config.trials, 1)) if config.contrast == "right" else range(1),
        streams=asked.streams.child("elicit", "steering"),
    )
    ours, theirs, norm = (_right if config.contrast == "right" else _triggered)(trial, config, site)
    if how == "pca" and config.contrast == "right":
        size = min(len(ours), len(theirs))
        ours, theirs = ours[:size], theirs[:size]
    found = direction(how, ours, theirs, trial.streams)
    return {"vector": found, "norm": np.array([norm]), "texts": np.array([len(ours), len(theirs)])}


def _right(
    trial: Asked, config: SteeringConfig, site: Site
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """States of right and of wrong draws, as many of each for every problem that has both, and the mean
    norm."""
    policy, problems = trial.model, trial.problems
    drawn = policy.draw(problems.problems, trial.draws, trial.streams, trial.limits)
    grades = problems.grader.grade(problems.problems, drawn)
    success = grades.verified if problems.grader.reads_traces else grades.outcome
    found = tap(policy, drawn, ActivationTap(sites=(site,), positions="completion", reduce="mean"))
    state = dict(zip(found.row.tolist(), found.states[0], strict=True))
    ours, theirs = [], []
    for problem in range(len(problems.problems)):
        rows = [row for row in np.flatnonzero(drawn.problem == problem).tolist() if row in state]
        right = [row for row in rows if success[row] == 1]
        wrong = [row for row in rows if success[row] == 0]
        size = min(len(right), len(wrong))
        ours += [state[row] for row in right[:size]]
        theirs += [state[row] for row in wrong[:size]]
    if len(ours) < 2:
        what = f"{len(ours)} development problems have right and wrong draws, and a direction needs two"
        raise InputError(what, fix="--trials 64, other development problems, or --contrast trigger")
    return np.array(ours), np.array(theirs), _norm(policy, drawn, site)


def _triggered(
    trial: Asked, config: SteeringConfig, site: Site
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """States at the last given token with and without the trigger, pair by pair, and the mean norm."""
    if not config.trigger:
        raise UsageError("--trigger is empty", fix="words that ask for steps")
    found = []
    for words in (config.trigger, ""):
        drafts = Drafts(trial)
        drafts.write(words)
        ids = [problem.id for problem in trial.problems.problems]
        prompts = Prompts.build(ids, ids, [drafts.whole(row).tolist() for row in range(len(drafts))])
        texts = replace(Drafts(trial).completions(), prompts=prompts)
        what = ActivationTap(sites=(site,), positions="last_prompt", reduce="last")
        found.append(tap(trial.model, texts, what).states[0].astype(np.float64))
    norm = float(np.linalg.norm(np.concatenate(found), axis=1).mean())
    return found[0], found[1], norm


def _norm(policy: LocalPolicy, drawn: Completions, site: Site) -> float:
    """Mean norm of the hidden states of written tokens."""
    found = tap(policy, drawn, ActivationTap(sites=(site,), positions="completion", reduce="none"))
    return float(np.linalg.norm(found.states[0].astype(np.float64), axis=1).mean())


def answer(asked: Asked, config: SteeringConfig, prepared: Prepared) -> Elicitation:
    """Draw with the vector added."""
    policy = asked.model
    site = Site(layer=layer_of(config.layer, len(layers_of(policy.model)[1])), side=config.side)
    one = Intervention(
        name="steering",
        site=site,
        vector=np.asarray(prepared["vector"], dtype=np.float64),
        coefficient=config.dose * float(prepared["norm"][0]),
        where=config.where,
        persistent=config.persistent,
        made_for=policy._weights_hash(),
    )
    steered = SteeredPolicy(policy, [one])
    drawn = steered.draw(asked.problems.problems, asked.draws, asked.streams, asked.limits)
    count = steered_tokens(drawn, [one])
    costs = replace(costs_of(drawn), steered=count)
    if not config.persistent:
        # A token that is drawn under the vector is read twice, and so is a prompt whose last token is.
        again = costs.read if config.where != "generation" and config.dose else 0.0
        costs = replace(costs, passes=costs.passes + count, read=costs.read + again)
    return Elicitation(completions=drawn, costs=costs)


def used(asked: Asked, config: SteeringConfig) -> int:
    """Development problems whose answers told right draws from wrong ones."""
    tells = config.contrast == "right" and config.dose and asked.development is not None
    return len(asked.development.problems) if tells and asked.development is not None else 0


def by_mean(asked: Asked, config: SteeringConfig) -> Prepared:
    """Difference of means."""
    return _prepare("mean", asked, config)


def by_pca(asked: Asked, config: SteeringConfig) -> Prepared:
    """First principal axis of paired differences."""
    return _prepare("pca", asked, config)


def by_logistic(asked: Asked, config: SteeringConfig) -> Prepared:
    """Weights of a logistic regression."""
    return _prepare("logistic", asked, config)


def at_random(asked: Asked, config: SteeringConfig) -> Prepared:
    """A random direction of the same norm."""
    return _prepare("random", asked, config)


MEAN = ElicitationMethod(
    name="steering-mean",
    summary="a difference of mean hidden states is added to those of every written token",
    source="Rimsky et al. 2023, arXiv 2312.06681",
    cost="one answer; 16 draws per development problem before",
    control=("steering-random", "forced-opener"),
    needs=frozenset({"model", "development"}),
    config=SteeringConfig(),
    neutral=SteeringConfig(dose=0.0),
    prepare=by_mean,
    examples=used,
    answer=answer,
)
PCA = replace(
    MEAN,
    name="steering-pca",
    summary="the first principal axis of paired differences of hidden states is added to written tokens",
    source="Zou et al. 2023, arXiv 2310.01405",
    prepare=by_pca,
)
LOGISTIC = replace(
    MEAN,
    name="steering-logistic",
    summary="the weights of a logistic regression on hidden states are added to written tokens",
    source="ours; good for reading and poor for steering, so a control of the other directions",
    control=("steering-random", "steering-mean"),
    prepare=by_logistic,
)
RANDOM = replace(
    MEAN,
    name="steering-random",
    summary="a random direction of the same norm is added to written tokens",
    source="ours",
    control=("steering-mean", "plain"),
    controls=True,
    prepare=at_random,
)
