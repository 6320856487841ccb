"""Steering vectors: a direction from development texts is added to the hidden states of every written token.

``contrast`` says between what it points. ``right``: from wrong to right draws of the same development problems,
means over the tokens of each answer. ``trigger``: from the plain prompt to the prompt with a beginning that
asks for steps, at the last token before the answer goes on; no answer is used. The dose is in units of the
mean norm of hidden states at that place: ``h + dose * E|h| * v`` with ``|v| = 1``, so doses mean the same for
every direction, and the random direction is matched in norm. Equal norms move distributions by different
amounts; with ``kl`` the dose is the one that moves them by so many nats a token on development texts.
``steering-other`` adds the direction of another feature, from later to earlier tokens of the same texts.

Source: difference of means: Rimsky et al. 2023 (2312.06681); paired differences: Zou et al. 2023 (2310.01405);
learnt classifiers and random directions as its controls: ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError, UsageError
from keyturn.elicitation.contract import Asked, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import Drafts, costs_of
from keyturn.policies.interventions import Intervention, Where
from keyturn.policies.local import LocalPolicy
from keyturn.policies.sites import Places, Side, Site, layers_of, width_of
from keyturn.policies.steered import SteeredPolicy, steered_tokens
from keyturn.policies.taps import ActivationTap, tap
from keyturn.rollouts.completions import Completions, Prompts

if TYPE_CHECKING:
    from keyturn.elicitation.directions import How

States: TypeAlias = Callable[[], tuple[NDArray[np.float64], NDArray[np.float64], float]]
"""Gives states of the two kinds, ``[state, dim]`` each, and the mean norm of states there."""

MEASURED = 32
"""Most development problems on whose texts the effect of a dose is measured."""
FIRST_DOSE, LARGEST_DOSE, HALVINGS = 0.02, 20.0, 12
"""The search for a dose, in mean norms: it doubles until the effect is reached, then halves the interval."""


@dataclass(frozen=True, kw_only=True)
class VectorConfig:
    """Settings of every vector."""

    dose: float = 0.1
    """Length of what is added, in mean norms of the hidden states there; negative steers the other way."""
    kl: float = 0.0
    """Above 0: nats a token by which the distribution moves on development texts; of the dose only the sign
    counts then."""
    layer: float = 0.4
    """Which layer: a share of the depth below 1, or a number of a layer from 1 on (0 is the first one)."""
    side: Side = "out"
    """Of the layer: the stream that enters or leaves it, or what attention or the second part adds."""
    persistent: bool = True
    """Steered tokens keep what they became; else only the next token's distribution is changed."""


@dataclass(frozen=True, kw_only=True)
class OtherConfig(VectorConfig):
    """Settings of the direction of another feature."""

    trials: int = 16
    """Draws per development problem, whose early and late tokens are told apart."""
    where: Where = "generation"
    """Tokens that are steered: prompt, first_step, generation or all."""


@dataclass(frozen=True, kw_only=True)
class SteeringConfig(VectorConfig):
    """Settings of steering vectors."""

    contrast: Literal["right", "trigger"] = "right"
    """From wrong to right draws, or from plain prompts to prompts with a trigger."""
    trigger: str = " Let's think step by step."
    """Begins the answer, where the contrast is the trigger."""
    trials: int = 16
    """Draws per development problem, of which right and wrong ones are told apart."""
    where: Where = "generation"
    """Tokens that are steered: prompt, first_step, generation or all."""


def layer_of(share: float, count: int) -> int:
    """The layer that a share of the depth, or a number, means.

    Raises:
        UsageError: neither.
    """
    if share < 0 or (share >= 1 and share != int(share)) or share >= max(count, 1):
        what = f"--layer is {share:g}, and the layers of this model are 0 to {count - 1}"
        raise UsageError(what, fix=f"a share of the depth below 1, or a layer from 1 to {count - 1}")
    return int(share) if share >= 1 else int(share * count)


def site_of(asked: Asked, config: VectorConfig) -> Site:
    """The place of the vector in the model."""
    return Site(layer=layer_of(config.layer, len(layers_of(asked.model.model)[1])), side=config.side)


def trial_of(asked: Asked, draws: int) -> Asked:
    """Development problems in the place of those that are asked.

    Raises:
        UsageError: there are none.
    """
    if asked.development is None:
        raise UsageError("a direction needs development problems", fix="--development FILE")
    streams = asked.streams.child("elicit", "steering")
    return replace(asked, problems=asked.development, draws=range(max(draws, 1)), streams=streams)


def vector_of(
    how: How, asked: Asked, config: VectorConfig, states: States, where: Where | Callable[[Places], Any]
) -> Prepared:
    """The direction, the mean norm at its place, its dose, and how many states of each kind it was made from.

    Args:
        how: how it is made from the states.
        asked: as the method is.
        config: its settings.
        states: gives those of the two kinds, and the mean norm.
        where: the tokens that will be steered.
    """
    if not config.dose:
        none = {"vector": np.zeros(width_of(asked.model.model)), "norm": np.ones(1), "texts": np.zeros(2)}
        return none | {"dose": np.zeros(1)}
    # Here and not at the top: scikit-learn takes a second, and a listing needs none of it.
    from keyturn.elicitation.directions import direction

    ours, theirs, norm = states()
    found = direction(how, ours, theirs, asked.streams.child("elicit", "steering"))
    made = {"vector": found, "norm": np.array([norm]), "texts": np.array([len(ours), len(theirs)])}
    dose = config.dose if not config.kl else dose_at(asked, config, made, where)
    return made | {"dose": np.array([dose])}


def _prepare(how: How, asked: Asked, config: SteeringConfig) -> Prepared:
    def states() -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        right = config.contrast == "right"
        trial, site = trial_of(asked, config.trials if right else 1), site_of(asked, config)
        if not right:
            return _triggered(trial, config, site)
        ours, theirs, norm = right_and_wrong(trial, *graded(trial), site)
        size = min(len(ours), len(theirs)) if how == "pca" else max(len(ours), len(theirs))
        return ours[:size], theirs[:size], norm

    return vector_of(how, asked, config, states, config.where)


def dose_at(
    asked: Asked, config: VectorConfig, made: Prepared, where: Where | Callable[[Places], Any]
) -> float:
    """The dose at which the vector moves the law by ``config.kl`` nats a token, on plain development texts.

    Raises:
        InputError: no dose does.
    """
    if config.kl < 0:
        raise UsageError(f"--kl is {config.kl}", fix="0, or nats a token above it")
    trial = trial_of(asked, 1)
    trial = trial.of(trial.problems.problems[:MEASURED])
    drawn = trial.model.draw(trial.problems.problems, trial.draws, trial.streams, trial.limits)
    sign = float(np.sign(config.dose))

    def moved(dose: float) -> float:
        one = intervention(asked, config, {**made, "dose": np.array([sign * dose])}, where)
        return float(SteeredPolicy(trial.model, [one]).divergence(drawn).mean())

    high = FIRST_DOSE
    while moved(high) < config.kl:
        high *= 2
        if high > LARGEST_DOSE:
            what = f"no dose up to {LARGEST_DOSE:g} norms moves the distribution by {config.kl:g} nats a token"
            raise InputError(what, fix="a smaller --kl, or another --layer")
    low = high / 2 if high > FIRST_DOSE else 0.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if moved(middle) < config.kl else (low, middle)
    return sign * (low + high) / 2


def graded(trial: Asked) -> tuple[Completions, NDArray[np.float32]]:
    """Draws of the development problems, and whether each is right."""
    problems = trial.problems
    drawn = trial.model.draw(problems.problems, trial.draws, trial.streams, trial.limits)
    grades = problems.grader.grade(problems.problems, drawn)
    return drawn, grades.verified if problems.grader.reads_traces else grades.outcome


def right_and_wrong(
    trial: Asked, drawn: Completions, success: NDArray[np.float32], site: Site
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """States of right and of wrong draws, as many of each for every problem that has both, and the mean
    norm."""
    policy, problems = trial.model, trial.problems
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
    return np.array(ours), np.array(theirs), mean_norm(policy, drawn, site)


def _triggered(
    trial: Asked, config: SteeringConfig, site: Site
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """States at the last given token with and without the trigger, pair by pair, and the mean norm."""
    if not config.trigger:
        raise UsageError("--trigger is empty", fix="words that ask for steps")
    found = [last_states(trial, words, site) for words in (config.trigger, "")]
    norm = float(np.linalg.norm(np.concatenate(found), axis=1).mean())
    return found[0], found[1], norm


def last_states(trial: Asked, words: str | Sequence[str], site: Site) -> NDArray[np.float64]:
    """States at the last token of each prompt with words behind it, ``[problem, dim]``."""
    drafts = Drafts(trial)
    drafts.write(words)
    ids = [problem.id for problem in trial.problems.problems]
    prompts = Prompts.build(ids, ids, [drafts.whole(row).tolist() for row in range(len(drafts))])
    texts = replace(Drafts(trial).completions(), prompts=prompts)
    what = ActivationTap(sites=(site,), positions="last_prompt", reduce="last")
    return tap(trial.model, texts, what).states[0].astype(np.float64)


def _early_and_late(trial: Asked, site: Site) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """States of tokens in the first and in the second half of each draw, and the mean norm."""
    drawn = trial.model.draw(trial.problems.problems, trial.draws, trial.streams, trial.limits)
    found = tap(trial.model, drawn, ActivationTap(sites=(site,), positions="completion", reduce="none"))
    states = found.states[0].astype(np.float64)
    prompts = np.diff(drawn.prompts.offsets)[drawn.problem]
    early = (found.position - prompts[found.row]) * 2 < drawn.lengths[found.row]
    if not 0 < early.sum() < len(early):
        raise InputError("no development text has two tokens", fix="other development problems")
    return states[early], states[~early], float(np.linalg.norm(states, axis=1).mean())


def mean_norm(policy: LocalPolicy, drawn: Completions, site: Site) -> float:
    """Mean norm of the hidden states of written tokens."""
    found = tap(policy, drawn, ActivationTap(sites=(site,), positions="completion", reduce="none"))
    return float(np.linalg.norm(found.states[0].astype(np.float64), axis=1).mean())


def intervention(
    asked: Asked, config: VectorConfig, prepared: Prepared, where: Where | Callable[[Places], Any]
) -> Intervention:
    """What adds the prepared vector at its dose."""
    return Intervention(
        name="steering",
        site=site_of(asked, config),
        vector=np.asarray(prepared["vector"], dtype=np.float64),
        coefficient=float(prepared["dose"][0]) * float(prepared["norm"][0]),
        where=where,
        persistent=config.persistent,
        made_for=asked.model._weights_hash(),
    )


def drawn_under(
    asked: Asked, config: VectorConfig, prepared: Prepared, where: Where | Callable[[Places], Any]
) -> Elicitation:
    """Draw with the vector added at some tokens."""
    one = intervention(asked, config, prepared, where)
    steered = SteeredPolicy(asked.model, [one])
    drawn = steered.draw(asked.problems.problems, asked.draws, asked.streams, asked.limits)
    count = steered_tokens(drawn, [one])
    costs = replace(costs_of(drawn), steered=count)
    if not config.persistent:
        # A token that is drawn under the vector is read twice, and so is a prompt whose last token is.
        reads = where in ("prompt", "first_step", "all") and bool(prepared["dose"][0])
        costs = replace(costs, passes=costs.passes + count, read=costs.read + (costs.read if reads else 0.0))
    return Elicitation(completions=drawn, costs=costs)


def answer(asked: Asked, config: SteeringConfig | OtherConfig, prepared: Prepared) -> Elicitation:
    """Draw with the vector added."""
    return drawn_under(asked, config, prepared, config.where)


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


def by_other(asked: Asked, config: OtherConfig) -> Prepared:
    """From late to early tokens of the same texts."""

    def states() -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        return _early_and_late(trial_of(asked, config.trials), site_of(asked, config))

    return vector_of("mean", asked, config, states, config.where)


def at_random(asked: Asked, config: SteeringConfig) -> Prepared:
    """A random direction of the same norm."""
    return _prepare("random", asked, config)


MEAN = ElicitationMethod(
    name="steering-mean",
    summary="a difference of mean hidden states is added to those of every written token",
    source="Rimsky et al. 2023, arXiv 2312.06681",
    cost="one answer; 16 draws per development problem before",
    control=("steering-random", "steering-other", "forced-opener"),
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
OTHER = replace(
    MEAN,
    name="steering-other",
    summary="the direction of another feature, early against late tokens, is added to written tokens",
    source="ours",
    control=("steering-mean", "steering-random"),
    controls=True,
    config=OtherConfig(),
    neutral=OtherConfig(dose=0.0),
    examples=None,
    prepare=by_other,
)
