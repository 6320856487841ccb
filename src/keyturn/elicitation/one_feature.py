"""One reasoning feature: a latent of a sparse autoencoder is added at the first step of the answer alone.

Steps, all on development problems: train a TopK autoencoder on states of the prompts and of plain answers; rank
latents by the difference of their mean values at the last given token, with the words ``trigger`` begun and
without; steer each of the first ``shortlist`` under the plain prompt, and keep the one with most success. Then
``h + dose * E|h| * w`` with its decoder row ``w`` of length 1, at the token from which the first one of the
answer is drawn. Persistent: later tokens see it through the cache; transient: only that first token does.

Controls: ``feature-random`` does the same with random latents of the same autoencoder, fifty in turn over
draws; ``steering-mean:contrast=trigger,where=first_step`` adds the mean difference itself; ``forced-opener``
writes the first tokens instead, and a latent is a mode only if it beats the best of them.

Source: He et al. 2026 (2601.08058); the controls: ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError, UsageError
from keyturn.core.lazy import torch
from keyturn.elicitation.choosing import positive
from keyturn.elicitation.contract import Asked, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import costs_of
from keyturn.elicitation.steering import (
    VectorConfig,
    dose_at,
    drawn_under,
    graded,
    intervention,
    last_states,
    site_of,
    trial_of,
)
from keyturn.policies.interventions import Intervention
from keyturn.policies.sites import Places, width_of
from keyturn.policies.sparse import Fitted, SparseConfig, fit_sparse
from keyturn.policies.steered import SteeredPolicy, steered_tokens
from keyturn.policies.taps import ActivationTap, tap

MOST_STATES = 20_000
"""States on which the autoencoder is trained at most."""


@dataclass(frozen=True, kw_only=True)
class LatentConfig(VectorConfig):
    """Settings of steering by latents."""

    dose: float = 0.5
    """Length of what is added, in mean norms of the hidden states there; negative steers the other way."""
    latents: int = 256
    """Latents of the autoencoder."""
    k: int = 8
    """Latents of a state."""
    epochs: int = 30
    """Passes over the states in training."""
    trials: int = 4
    """Draws per development problem, for the autoencoder's states and for screening."""


@dataclass(frozen=True, kw_only=True)
class FeatureConfig(LatentConfig):
    """Settings of one reasoning feature."""

    trigger: str = " Let's think step by step."
    """Words that ask for steps: the condition that the latent is to tell."""
    shortlist: int = 5
    """Latents that are tried."""


@dataclass(frozen=True, kw_only=True)
class RandomConfig(LatentConfig):
    """Settings of random latents."""

    number: int = 50
    """Random latents, in turn over draws."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ByDraw:
    """Adds to each row the vector of its draw.

    Args:
        vectors: draw ``d`` takes number ``d`` modulo their count, ``[vector, dim]``.
    """

    vectors: NDArray[np.float64]

    def __call__(self, hidden: Any, places: Places) -> Any:
        """Hidden states with the vectors."""
        table = torch.as_tensor(self.vectors, dtype=hidden.dtype, device=hidden.device)
        return hidden + table[places.draw % len(table)]


def autoencoder(asked: Asked, config: LatentConfig) -> Fitted:
    """An autoencoder of the states of prompts and plain answers to development problems."""
    trial, site = trial_of(asked, config.trials), site_of(asked, config)
    drawn = trial.model.draw(trial.problems.problems, trial.draws, trial.streams, trial.limits)
    found = tap(trial.model, drawn, ActivationTap(sites=(site,), positions="all", reduce="none"))
    states = found.states[0][:MOST_STATES]
    how = SparseConfig(latents=config.latents, k=config.k, epochs=config.epochs)
    return fit_sparse(
        states, how, asked.streams.child("elicit", "autoencoder"), layer=site.layer, side=site.side
    )


def prepare(asked: Asked, config: FeatureConfig) -> Prepared:
    """Find the latent."""
    none = {"vector": np.zeros(width_of(asked.model.model)), "norm": np.ones(1), "dose": np.zeros(1)}
    if not config.dose:
        return none
    positive(config.shortlist, "--shortlist")
    positive(config.trials, "--trials")
    if not config.trigger:
        raise UsageError("--trigger is empty", fix="words that ask for steps")
    site = site_of(asked, config)
    fitted = autoencoder(asked, config)
    ours, theirs = (last_states(trial_of(asked, 1), words, site) for words in (config.trigger, ""))
    sparse = fitted.sparse
    apart = sparse.encode(ours).mean(axis=0) - sparse.encode(theirs).mean(axis=0)
    order = [int(one) for one in np.argsort(-apart, kind="stable")[: config.shortlist] if apart[one] > 0]
    if not order:
        what = "no latent is stronger where the trigger stands"
        raise InputError(what, fix="another --trigger, another --layer, or more --latents")
    norm = float(np.linalg.norm(np.concatenate([ours, theirs]), axis=1).mean())
    tried, success = list[Prepared](), list[float]()
    for latent in order:
        made = {"vector": sparse.w_dec[latent].astype(np.float64), "norm": np.array([norm])}
        dose = config.dose if not config.kl else dose_at(asked, config, made, "first_step")
        tried.append(made | {"dose": np.array([dose])})
        success.append(_success(asked, config, tried[-1]))
    best = int(np.argmax(success))
    return {
        **tried[best],
        "latent": np.array([order[best]]),
        "difference": np.array([apart[order[best]]]),
        "screened": np.array(success),
        "unexplained": fitted.unexplained[-1:],
    }


def _success(asked: Asked, config: LatentConfig, made: Prepared) -> float:
    """Success of a steered policy on development problems."""
    trial = trial_of(asked, config.trials)
    steered = SteeredPolicy(trial.model, [intervention(trial, config, made, "first_step")])
    _, success = graded(replace(trial, policy=steered))
    return float(np.nan_to_num(success).mean())


def prepare_random(asked: Asked, config: RandomConfig) -> Prepared:
    """Random latents of the same autoencoder."""
    positive(config.number, "--number")
    width = width_of(asked.model.model)
    if not config.dose:
        return {"vectors": np.zeros((1, width)), "norm": np.ones(1), "dose": np.zeros(1)}
    if config.kl:
        raise UsageError(
            "random latents share one dose", fix="--dose, that of the latent they are held against"
        )
    sparse = autoencoder(asked, config).sparse
    dice = asked.streams.generator("elicit", "random latents")
    chosen = dice.permutation(len(sparse.w_dec))[: config.number]
    states = last_states(trial_of(asked, 1), "", site_of(asked, config))
    norm = float(np.linalg.norm(states, axis=1).mean())
    made = {"vectors": sparse.w_dec[chosen].astype(np.float64), "latents": chosen}
    return made | {"norm": np.array([norm]), "dose": np.array([config.dose])}


def answer(asked: Asked, config: FeatureConfig, prepared: Prepared) -> Elicitation:
    """Draw with the latent added at the first step."""
    return drawn_under(asked, config, prepared, "first_step")


def at_random(asked: Asked, config: RandomConfig, prepared: Prepared) -> Elicitation:
    """Draw with random latents added at the first step, one a draw."""
    if not prepared["dose"][0]:
        return drawn_under(asked, config, {**prepared, "vector": prepared["vectors"][0]}, "first_step")
    one = Intervention(
        name="random latents",
        site=site_of(asked, config),
        function=ByDraw(vectors=np.asarray(prepared["vectors"], dtype=np.float64)),
        mode="function",
        coefficient=(float(prepared["dose"][0]) * float(prepared["norm"][0]),),
        where="first_step",
        persistent=config.persistent,
        made_for=asked.model._weights_hash(),
    )
    drawn = SteeredPolicy(asked.model, [one]).draw(
        asked.problems.problems, asked.draws, asked.streams, asked.limits
    )
    count = steered_tokens(drawn, [one])
    costs = replace(costs_of(drawn), steered=count)
    if not config.persistent:
        costs = replace(costs, passes=costs.passes + count, read=2 * costs.read)
    return Elicitation(completions=drawn, costs=costs)


def used(asked: Asked, config: FeatureConfig) -> int:
    """Development problems whose answers chose the latent."""
    chooses = config.dose and config.shortlist > 1 and asked.development is not None
    return len(asked.development.problems) if chooses and asked.development is not None else 0


METHOD = ElicitationMethod(
    name="one-feature",
    summary="a latent of a sparse autoencoder that tells when steps are asked for is added at the first step",
    source="He et al. 2026, arXiv 2601.08058",
    cost="one answer; an autoencoder and 6 times 4 draws per development problem before",
    control=("feature-random", "forced-opener", "steering-mean"),
    needs=frozenset({"model", "development"}),
    config=FeatureConfig(),
    neutral=FeatureConfig(dose=0.0),
    prepare=prepare,
    examples=used,
    answer=answer,
)
RANDOM = replace(
    METHOD,
    name="feature-random",
    summary="random latents of the same autoencoder are added at the first step, another one for each draw",
    source="ours",
    cost="one answer; an autoencoder before",
    control=("one-feature",),
    controls=True,
    config=RandomConfig(),
    neutral=RandomConfig(dose=0.0),
    prepare=prepare_random,
    examples=None,
    answer=at_random,
)
