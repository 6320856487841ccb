"""Vectors of the hybrid, trained on the teacher's own texts of development problems, whose gold answers are not
read.

The methods are in :mod:`keyturn.elicitation.hybrid_vectors`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError, UsageError
from keyturn.core.lazy import torch
from keyturn.elicitation import vector_training as training
from keyturn.elicitation.choosing import positive
from keyturn.elicitation.contract import Asked, Prepared
from keyturn.elicitation.hybrid_places import development_of
from keyturn.elicitation.sentences import (
    Kinds,
    Sentences,
    by_clusters,
    by_roles,
    likeness,
    sentences,
    states_of,
    truth_of,
)
from keyturn.elicitation.shifts import NETWORK, Shifts, begun, numbers_of
from keyturn.elicitation.steering import layer_of
from keyturn.elicitation.vector_training import Item, Schedule
from keyturn.policies.beside import check_reads_along
from keyturn.policies.local import LocalPolicy
from keyturn.policies.sites import Site, layers_of, width_of
from keyturn.rollouts.completions import Completions

HELD_OUT = 10
"""Texts of every tenth problem are held out of training."""


@dataclass(frozen=True, kw_only=True)
class VectorsConfig:
    """Settings of the hybrid with vectors."""

    taking: float = 1.0
    """Share of the chosen places at which a vector is added."""
    version: Literal["grid", "network"] = "grid"
    """Grid: a bias first, then a vector per kind of sentence, at a coefficient that the teacher chooses.
    Network: no bias; vectors and a network that gives their coefficients are trained together."""
    grid: int = 10
    """Coefficients between 0 and 1 that are tried, the largest one 1."""
    layer: float = 0.37
    """Layer of the base that is steered, where it ends: a share of the depth below 1, or a number from 1 on."""
    teacher_layer: float = 0.5
    """Layer of the teacher from which kinds of sentences are told."""
    taxonomy: Literal["auto", "clusters", "roles"] = "auto"
    """Kinds of sentences: by clustering, or by the grammar of a world; auto: by a grammar if there is one."""
    kinds: int = 5
    """Kinds of sentences, at most."""
    clustering: int = 300
    """Passes over the sentences when they are clustered."""
    words: int = 3
    """Words that a sentence must have to be learnt from."""
    trials: int = 8
    """Texts of the teacher per development problem."""
    sentences: int = 512
    """Sentences of a kind that are learnt: of the surest four times as many those the base finds hardest."""
    steps: int = 50
    """Optimiser steps of a vector, in the grid's version."""
    epochs: int = 10
    """Passes over the texts, in the network's version."""
    rate: float = 0.01
    """Step size for vectors, in units of the root mean square of a coordinate of the base's states."""
    batch: int = 8
    """Texts or sentences of a step."""
    hidden: int = 512
    """Units of the network."""


def of_teacher(asked: Asked) -> LocalPolicy:
    """The teacher.

    Raises:
        UsageError: there is none in this process.
        InputError: it cannot read what the base writes.
    """
    if not isinstance(asked.teacher, LocalPolicy):
        raise UsageError("a hybrid needs a teacher", fix="--teacher MODEL")
    table = asked.model.prompts(asked.problems.problems)
    longest = int(np.diff(table.offsets).max()) + asked.limits.max_new_tokens
    check_reads_along(asked.model, asked.teacher, longest)
    return asked.teacher


def site_of(policy: LocalPolicy, layer: float) -> Site:
    """Where a layer ends."""
    return Site(layer=layer_of(layer, len(layers_of(policy.model)[1])))


def checked(config: VectorsConfig) -> None:
    """Refuse senseless settings.

    Raises:
        UsageError: one is.
    """
    if not 0 <= config.taking <= 1:
        raise UsageError(f"--taking is {config.taking}", fix="a share from 0 to 1")
    for name in (
        "grid",
        "kinds",
        "words",
        "trials",
        "sentences",
        "clustering",
        "steps",
        "epochs",
        "batch",
        "hidden",
    ):
        positive(getattr(config, name), f"--{name}")
    if not config.rate > 0:
        raise UsageError(f"--rate is {config.rate}", fix="a step size above 0")


def trained(asked: Asked, config: VectorsConfig) -> Prepared:
    """Kinds of the teacher's sentences, and vectors trained in the base."""
    checked(config)
    if not config.taking:
        return _nothing(asked, config)
    trial = development_of(asked, config.trials)
    teacher, base = of_teacher(trial), trial.model
    drawn = teacher.draw(trial.problems.problems, trial.draws, trial.streams, trial.limits)
    if not len(drawn.tokens):
        raise InputError("the teacher writes nothing on development problems", fix="another teacher")
    cutting = sentences(teacher.tokenizer, drawn)
    kinds = _kinds(trial, config, teacher, drawn, cutting)
    site = site_of(base, config.layer)
    hidden = config.hidden if config.version == "network" else 0
    generator = trial.streams.generator("vectors")
    device = base.model.device
    _, before = states_of(base, drawn, site)
    scale = float(np.sqrt((before**2).mean()))
    start = begun(config.kinds + (not hidden), width_of(base.model), hidden, scale, generator, device)
    fitted = _network if hidden else _grid
    made, loss = fitted(trial, config, drawn, cutting, kinds, start, generator, site)
    used = loss[: config.kinds, 1] < np.inf
    if not used.any():
        what = f"no sentence of the teacher has {config.words} words, or none is at a place that is learnt"
        raise InputError(what, fix="fewer --words, more --trials, or another teacher")
    made_for = made_for_of(asked, config)
    facts = {f"fact {name}": np.array([value]) for name, value in kinds.facts.items()}
    return {**kinds.arrays(), **made.arrays(), **facts, "used": used, "loss": loss, "made for": made_for}


def made_for_of(asked: Asked, config: VectorsConfig) -> NDArray[np.str_]:
    """What vectors and kinds were made for: version, layers of base and teacher, weights of the teacher."""
    teacher = of_teacher(asked)
    layers = (site_of(asked.model, config.layer), site_of(teacher, config.teacher_layer))
    words = (config.version, *(str(one.layer) for one in layers), teacher._weights_hash())
    return np.array(words)


def _nothing(asked: Asked, config: VectorsConfig) -> Prepared:
    """What is never added needs no training."""
    teacher, width = of_teacher(asked), width_of(asked.model.model)
    shifts = {"shift vectors": np.zeros((config.kinds, width)), "shift bias": np.zeros(width)}
    shifts["shift scale"] = np.array(1.0)
    wide = width_of(teacher.model)
    tells = {
        "table": np.zeros((config.kinds, wide)),
        "constant": np.zeros(config.kinds),
        "mean": np.zeros(wide),
    }
    tells["unit"] = np.array([False])
    never = {"used": np.zeros(config.kinds, dtype=bool), "rate": np.zeros(1)}
    never |= {"made for": made_for_of(asked, config)}
    probe = {"probe": np.zeros(width), "threshold": np.array([np.inf])}
    return {**shifts, **{f"kinds {name}": one for name, one in tells.items()}, **never, **probe}


def _kinds(
    trial: Asked, config: VectorsConfig, teacher: LocalPolicy, drawn: Completions, cutting: Sentences
) -> Kinds:
    """Kinds of the teacher's sentences, and how like the grammar's they are where there is one."""
    roles = trial.problems.grader.grade(trial.problems.problems, drawn).roles
    site = site_of(teacher, config.teacher_layer)
    truth = None if roles is None else truth_of(roles, cutting)
    if truth is None and config.taxonomy == "roles":
        raise UsageError("these problems have no grammar that gives roles", fix="--taxonomy clusters")
    if truth is not None and config.taxonomy != "clusters":
        found = by_roles(teacher, drawn, cutting, truth, site, count=config.kinds)
        long = cutting.words >= config.words
        return replace(found, label=np.where(long, found.label, -1))
    streams = trial.streams.child("kinds")
    found = by_clusters(
        teacher, drawn, cutting, site, streams, count=config.kinds, least=config.words, epochs=config.clustering
    )
    if truth is None:
        return found
    problem = drawn.problem[cutting.row]
    alike = likeness(found.label, truth, cutting.row, problem, trial.streams.child("likeness"))
    return replace(found, facts={**found.facts, **alike})


def _held_out(drawn: Completions) -> NDArray[np.bool_]:
    """Texts that are not learnt from, ``[row]``."""
    return drawn.problem % HELD_OUT == HELD_OUT - 1


def _parted(items: list[Item], held: NDArray[np.bool_]) -> tuple[list[Item], list[Item]]:
    """Items that are learnt, and those that are held out."""
    learnt = [one for one in items if not held[one.row]]
    return learnt or items, [one for one in items if held[one.row]]


def _grid(
    trial: Asked,
    config: VectorsConfig,
    drawn: Completions,
    cutting: Sentences,
    kinds: Kinds,
    start: Shifts,
    generator: np.random.Generator,
    site: Site,
) -> tuple[Shifts, NDArray[np.float64]]:
    """The bias on whole texts, then each kind's vector on its sentences; and losses before and after, the bias
    last, ``[kind + 1, 2]``."""
    base, held = trial.model, _held_out(drawn)
    loss = training.written_loss(drawn, base.model.device)
    found = np.full((config.kinds + 1, 2), np.inf)
    bias = torch.zeros_like(start.bias)
    vectors = torch.zeros_like(start.vectors[:-1])
    how = Schedule(steps=config.steps, rate=config.rate, batch=config.batch)
    whole = [
        Item(row, np.arange(size), np.zeros(size, dtype=np.int64))
        for row, size in enumerate(drawn.lengths.tolist())
        if size
    ]
    hardness = -base.score(drawn).logprobs.astype(np.float64)
    for number in (config.kinds, *range(config.kinds)):
        items = (
            whole if number == config.kinds else _sentences_of(number, config, drawn, cutting, kinds, hardness)
        )
        if not items:
            continue
        learnt, apart = _parted(items, held)
        vector = start.vectors[number].clone().requires_grad_()

        def measure(several: Any, vector: Any = vector) -> Any:
            def shift(hidden: Any, _: Any) -> Any:
                return start.scale * (bias + vector)  # noqa: B023

            return training.losses(base, site, drawn, several, shift, loss)

        with torch.no_grad():
            shown = (apart or learnt)[: training.CHECKED]
            found[number, 0] = float(measure(shown, torch.zeros_like(vector)).mean())
        found[number, 1] = training.fit([vector], measure, learnt, apart, how, generator)
        if number == config.kinds:
            bias = vector.detach()
        else:
            vectors[number] = vector.detach()
    return Shifts(vectors=vectors, bias=bias, network={}, scale=start.scale), found


def _sentences_of(
    kind: int,
    config: VectorsConfig,
    drawn: Completions,
    cutting: Sentences,
    kinds: Kinds,
    hardness: NDArray[np.float64],
) -> list[Item]:
    """Sentences of a kind that are learnt."""
    those = np.flatnonzero((kinds.label == kind) & (cutting.stop > cutting.start))
    surest = those[np.argsort(-kinds.strength[those], kind="stable")][: 4 * config.sentences]
    hard = np.array([hardness[cutting.start[one] : cutting.stop[one]].mean() for one in surest])
    hardest = surest[np.argsort(-hard, kind="stable")][: config.sentences]
    items = []
    for one in hardest.tolist():
        row, start, stop = (int(each[one]) for each in (cutting.row, cutting.start, cutting.stop))
        places = np.arange(start, stop) - int(drawn.offsets[row])
        items.append(Item(row, places, np.full(len(places), kind)))
    return items


def _network(
    trial: Asked,
    config: VectorsConfig,
    drawn: Completions,
    cutting: Sentences,
    kinds: Kinds,
    start: Shifts,
    generator: np.random.Generator,
    site: Site,
) -> tuple[Shifts, NDArray[np.float64]]:
    """Vectors and network together, where the base would write something else; and the loss before and after of
    every kind that occurs, ``[kind, 2]``."""
    base, teacher = trial.model, trial.teacher
    assert isinstance(teacher, LocalPolicy), "checked before"
    labels = kinds.label[cutting.of]
    apart = (training.likeliest(base, drawn) != drawn.tokens) & (labels >= 0)
    items = []
    for row in range(len(drawn)):
        own = slice(int(drawn.offsets[row]), int(drawn.offsets[row + 1]))
        places = np.flatnonzero(apart[own])[: training.MOST_PLACES]
        if len(places):
            items.append(Item(row, places, labels[own][places]))
    found = np.full((config.kinds, 2), np.inf)
    if not items:
        what = "the base would write every token as the teacher does: there is nothing to learn"
        raise InputError(what, fix="another teacher, or other development problems")
    weights = [start.vectors.requires_grad_(), *(start.network[name].requires_grad_() for name in NETWORK)]
    loss = training.divergence_loss(training.laws_of(teacher, drawn, base._embedded))

    def measure(several: Any, shift: Any = start.at) -> Any:
        return training.losses(base, site, drawn, several, shift, loss)

    learnt, held = _parted(items, _held_out(drawn))
    a_pass = -(-len(learnt) // config.batch)
    how = Schedule(
        steps=config.epochs * a_pass,
        rate=config.rate,
        batch=config.batch,
        check=a_pass,
        patience=5,
        cosine=False,
        clip=training.CLIP,
    )
    with torch.no_grad():
        shown = (held or learnt)[: training.CHECKED]
        before = float(measure(shown, lambda hidden, _: torch.zeros_like(hidden)).mean())
    after = training.fit(weights, measure, learnt, held, how, generator)
    found[np.unique(np.concatenate([one.kinds for one in items]))] = (before, after)
    return start, found


def trained_numbers(asked: Asked, config: VectorsConfig) -> int:
    """Numbers that are trained."""
    if not config.taking:
        return 0
    hidden = config.hidden if config.version == "network" else 0
    return numbers_of(config.kinds, width_of(asked.model.model), hidden)
