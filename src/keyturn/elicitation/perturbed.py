"""Random weight perturbations with a vote: the reminder that no gradient is not no training.

Formula, for weights ``w`` with root mean square ``r`` and ``N`` directions ``e_i`` of independent normal
numbers::

    w_i = w + sigma r e_i,    s_i = success of w_i on development problems
    answer = majority over one draw of each of the K models with the largest s_i

No gradient is taken, yet weights are changed and examples with answers choose among them, so this is a search
in the space of weights: training by another name, and its cost says so. Of equal scores the earlier one wins.
Controls: ``perturbed-random-vote`` takes K perturbations without looking at their scores, and
self-consistency takes K draws of the base. The policy that is asked is never touched: a copy is perturbed, and
every perturbation starts from the base's numbers.

Source: RandOpt 2026 (2603.12228), with sigma in units of the weights' own size.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.core.lazy import torch
from keyturn.core.progress import progress
from keyturn.core.streams import Streams
from keyturn.elicitation.choosing import majority, positive, taken
from keyturn.elicitation.contract import Asked, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import costs_of
from keyturn.policies.local import LocalPolicy
from keyturn.rollouts.completions import Completions


@dataclass(frozen=True, kw_only=True)
class RandomPerturbedConfig:
    """Settings of a vote of random perturbations."""

    sigma: float = 0.02
    """Size of a perturbation, in root mean squares of the weights."""
    voters: int = 8
    """Perturbed models that vote."""


@dataclass(frozen=True, kw_only=True)
class PerturbedConfig(RandomPerturbedConfig):
    """Settings of a vote of the best perturbations."""

    population: int = 32
    """Perturbations that are tried on development problems."""
    trials: int = 4
    """Draws per development problem by which each is scored."""


def answer(asked: Asked, config: RandomPerturbedConfig, prepared: Prepared) -> Elicitation:
    """Let the chosen perturbations vote."""
    _check(config)
    members = [int(one) for one in prepared["members"]]
    drawn = [
        policy.draw(
            asked.problems.problems,
            asked.draws,
            asked.streams if place == 0 else asked.streams.child("perturbed", members[place]),
            asked.limits,
        )
        for place, policy in enumerate(perturbed(asked.model, config.sigma, members, _source(asked)))
    ]
    rows, size = len(drawn[0]), len(members)
    order = (np.arange(size)[None, :] * rows + np.arange(rows)[:, None]).reshape(-1)
    together = Completions.concat([replace(one, policy=drawn[0].policy) for one in drawn]).select(order)
    costs = costs_of(together).grouped(size)
    if size == 1:
        return taken(asked, together, np.zeros(rows, dtype=np.int64), costs, agreement=np.ones(rows))
    answers = [text for one in _answers(asked, drawn) for text in one]
    votes = [majority(answers[row * size : (row + 1) * size]) for row in range(rows)]
    chosen = np.array([place for place, _ in votes], dtype=np.int64)
    return taken(asked, together, chosen, costs, agreement=np.array([share for _, share in votes]))


def _answers(asked: Asked, drawn: list[Completions]) -> list[tuple[str, ...]]:
    """What the models answer, ``[row][model]``."""
    by_model = [asked.answers(one) for one in drawn]
    return list(zip(*by_model, strict=True))


def for_best(asked: Asked, config: PerturbedConfig) -> Prepared:
    """Score perturbations on development problems, and take the best."""
    _check(config)
    positive(config.population, "--population")
    positive(config.trials, "--trials")
    if config.voters > config.population:
        what = f"--voters is {config.voters}, of a --population of {config.population}"
        raise UsageError(what, fix="no more voters than perturbations")
    if asked.development is None:
        raise UsageError("perturbations are scored on development problems", fix="--development FILE")
    problems = asked.development
    scores = np.zeros(config.population)
    streams = asked.streams.child("elicit", "perturbed")
    several = perturbed(asked.model, config.sigma, range(config.population), _source(asked))
    with progress("score perturbations", config.population) as advance:
        for number, policy in enumerate(several):
            drawn = policy.draw(problems.problems, range(config.trials), streams, asked.limits)
            grades = problems.grader.grade(problems.problems, drawn)
            success = grades.verified if problems.grader.reads_traces else grades.outcome
            scores[number] = float(np.nan_to_num(success).mean())
            advance(1)
    return {"scores": scores, "members": np.argsort(-scores, kind="stable")[: config.voters]}


def at_random(asked: Asked, config: RandomPerturbedConfig) -> Prepared:
    """The first perturbations, whatever they are worth."""
    _check(config)
    return {"members": np.arange(config.voters)}


def _check(config: RandomPerturbedConfig) -> None:
    positive(config.voters, "--voters")
    if not config.sigma >= 0:
        raise UsageError(f"--sigma is {config.sigma}", fix="0 or more")


def _source(asked: Asked) -> Streams:
    return asked.streams.child("elicit", "perturbations")


def perturbed(
    policy: LocalPolicy, sigma: float, members: list[int] | range, streams: Streams
) -> Iterator[LocalPolicy]:
    """The policy under each perturbation in turn; one copy of the model serves for all.

    Args:
        policy: never touched.
        sigma: size, in root mean squares of the weights.
        members: numbers of the perturbations.
        streams: draw them; a number always means the same direction.
    """
    model = deepcopy(policy.model)
    twin = LocalPolicy(
        model,
        policy.tokenizer,
        sampling=policy.sampling,
        hooks=policy.hooks,
        processors=policy.processors,
        chat=policy.chat,
        stops=policy.stops,
    )
    base = dict(policy.model.named_parameters())
    size = root_mean_square(policy.model)
    for number in members:
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.copy_(base[name])
                if sigma:
                    noise = direction(streams, number, name, tuple(weight.shape))
                    weight.add_(torch.from_numpy(noise).to(weight.device, weight.dtype), alpha=sigma * size)
        yield twin


def direction(streams: Streams, number: int, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Normal numbers for one parameter in one perturbation."""
    return streams.generator(number, name).standard_normal(shape, dtype=np.float32)


def root_mean_square(model: torch.nn.Module) -> float:
    """Of all weights together."""
    squares = [(float(one.detach().double().square().sum()), one.numel()) for one in model.parameters()]
    return float(np.sqrt(sum(square for square, _ in squares) / max(sum(count for _, count in squares), 1)))


def changed(asked: Asked, config: RandomPerturbedConfig) -> int:
    """Numbers in the weights that differ from the base's, over all models that answer."""
    own = sum(one.numel() for one in asked.model.model.parameters())
    return own * config.voters if config.sigma else 0


def used(asked: Asked, config: PerturbedConfig) -> int:
    """Development problems whose answers chose the perturbations."""
    chooses = config.population > config.voters and asked.development is not None
    return len(asked.development.problems) if chooses and asked.development is not None else 0


METHOD = ElicitationMethod(
    name="perturbed-vote",
    summary="of random perturbations of the weights, those that solve most development problems vote",
    source="RandOpt 2026, arXiv 2603.12228",
    cost="8 answers, of 8 models with other weights; 32 times 4 draws per development problem before",
    control=("perturbed-random-vote", "self-consistency"),
    needs=frozenset({"model", "development"}),
    config=PerturbedConfig(),
    neutral=PerturbedConfig(sigma=0.0, voters=1, population=1),
    prepare=for_best,
    examples=used,
    weights=changed,
    answer=answer,
)
RANDOM = replace(
    METHOD,
    name="perturbed-random-vote",
    summary="random perturbations of the weights vote, whatever they solve",
    source="ours",
    cost="8 answers, of 8 models with other weights",
    control=("perturbed-vote", "self-consistency"),
    controls=True,
    needs=frozenset({"model"}),
    config=RandomPerturbedConfig(),
    neutral=RandomPerturbedConfig(sigma=0.0, voters=1),
    prepare=at_random,
    examples=None,
)
