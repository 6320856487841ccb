"""How two models write in turn, and how the places where they change are found on development problems.

The methods are in :mod:`keyturn.elicitation.hybrid`. Thresholds are quantiles over the base's own texts, the
rate of random places is the other gate's, and the student's probe is fitted to where the two models disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError, UsageError
from keyturn.core.roles import PLANNING
from keyturn.elicitation.choosing import positive, threshold_of
from keyturn.elicitation.contract import Asked, Prepared
from keyturn.elicitation.gates import (
    Disagree,
    Divergence,
    Everywhere,
    Gate,
    GateName,
    Planning,
    Student,
    Swap,
    Uncertain,
)
from keyturn.elicitation.steering import layer_of
from keyturn.elicitation.tip import switch_tokens
from keyturn.policies.beside import LastState, ReadsAlong, check_reads_along
from keyturn.policies.local import LocalPolicy
from keyturn.policies.offsets import GramRoles
from keyturn.policies.sites import Places, Site, layers_of
from keyturn.policies.taps import ActivationTap, tap
from keyturn.roles.grammar import role_mask
from keyturn.roles.lexicon import lexicon
from keyturn.rollouts.completions import Completions


@dataclass(frozen=True, kw_only=True)
class HybridConfig:
    """Settings of a hybrid whose gate needs none."""

    taking: float = 1.0
    """Share of the chosen places at which the other model's token is taken."""


@dataclass(frozen=True, kw_only=True)
class ShareConfig(HybridConfig):
    """Settings of a hybrid whose gate has a threshold."""

    share: float = 0.1
    """Share of the base's tokens on development problems that are above the threshold."""
    trials: int = 4
    """Texts per development problem from which the threshold is taken."""


@dataclass(frozen=True, kw_only=True)
class PlanningConfig(HybridConfig):
    """Settings of taking planning tokens."""

    words: tuple[str, ...] = ()
    """Planning words; none: tokens that mostly plan in the teacher's texts on development problems, by the
    grammar of a world, else by keyturn's list of phrases."""
    trials: int = 4
    """Texts of the teacher per development problem."""


@dataclass(frozen=True, kw_only=True)
class RerankConfig(HybridConfig):
    """Settings of choosing among the base's likeliest tokens."""

    k: int = 5
    """Tokens among which the teacher chooses."""


@dataclass(frozen=True, kw_only=True)
class StudentConfig(HybridConfig):
    """Settings of a gate without a teacher."""

    layer: float = 0.7
    """Which layer is read: a share of the depth below 1, or a number of a layer from 1 on."""
    trials: int = 4
    """Texts per development problem on which the probe is fitted."""


@dataclass(frozen=True, kw_only=True)
class RandomConfig(ShareConfig):
    """Settings of random places."""

    like: Literal["disagree", "divergence", "uncertain"] = "disagree"
    """The gate whose rate is matched."""


@dataclass(frozen=True, kw_only=True)
class BackwardsConfig(ShareConfig):
    """Settings of the other direction."""

    gate: Literal["disagree", "divergence", "uncertain", "everywhere"] = "disagree"
    """Where the base's token is taken."""


def gate_of(name: GateName, config: Any, prepared: Prepared) -> Gate:
    """The gate by its name, with what was prepared for it."""
    if name == "disagree":
        return Disagree()
    if name == "everywhere":
        return Everywhere()
    if name == "planning":
        return Planning(tokens=tuple(int(one) for one in prepared["tokens"]))
    threshold = float(prepared["threshold"][0])
    if name == "student":
        return Student(probe=np.asarray(prepared["probe"], dtype=np.float64), threshold=threshold)
    return Divergence(threshold=threshold) if name == "divergence" else Uncertain(threshold=threshold)


@dataclass(frozen=True, kw_only=True, eq=False)
class Written:
    """Texts of two models in turn.

    Args:
        drawn: the texts.
        notes: of each token, see :class:`keyturn.elicitation.gates.StepNotes`.
        swap: how they were written.
    """

    drawn: Completions
    notes: tuple[NDArray[np.float64], ...]
    swap: Swap


def written(
    asked: Asked,
    gate: Gate,
    *,
    taking: float,
    backwards: bool = False,
    within: int = 0,
    site: Site | None = None,
    watch: bool = False,
) -> Written:
    """Let the two models write in turn.

    Args:
        asked: base, teacher and problems.
        gate: where they change places.
        taking: share of these places at which they do.
        backwards: the teacher writes.
        within: see :class:`~keyturn.elicitation.gates.Swap`.
        site: hidden states that the gate reads.
        watch: note what the two laws are.
    """
    if not 0 <= taking <= 1:
        raise UsageError(f"--taking is {taking}", fix="a share from 0 to 1")
    policy, teacher = asked.model, asked.teacher
    if not isinstance(teacher, LocalPolicy):
        raise UsageError("a hybrid needs a teacher", fix="--teacher MODEL")
    problems, room = asked.problems.problems, asked.limits.max_new_tokens
    table = policy.prompts(problems)
    prompts = [table.row(index) for index in range(len(problems))]
    check_reads_along(policy, teacher, max(len(one) for one in prompts) + room)
    dice = np.empty((len(problems) * len(asked.draws), room))
    names = [("hybrid", problem.id, draw) for problem in problems for draw in asked.draws]
    asked.streams.uniforms(names, dice)
    states = None if site is None else LastState(policy, site, prompts)
    swap = Swap(
        teacher=teacher,
        gate=gate,
        backwards=backwards,
        within=within,
        dice=dice.reshape(len(problems), len(asked.draws), room),
        taking=taking,
        first=asked.draws.start,
        along=ReadsAlong(teacher, prompts, room),
        states=states,
        watch=watch,
    )
    both = policy.having(processors=[swap], hooks=[states.hook] if states is not None else [])
    drawn = both.draw(problems, asked.draws, asked.streams, asked.limits)
    return Written(drawn=drawn, notes=swap.notes.rows(drawn.problem, drawn.draw, drawn.lengths), swap=swap)


def site_of(asked: Asked, config: StudentConfig) -> Site:
    """The layer that the probe reads."""
    return Site(layer=layer_of(config.layer, len(layers_of(asked.model.model)[1])))


def development_of(asked: Asked, trials: int) -> Asked:
    """Development problems in the place of those that are asked."""
    positive(trials, "--trials")
    if asked.development is None:
        raise UsageError("the gate's threshold needs development problems", fix="--development FILE")
    streams = asked.streams.child("elicit", "hybrid")
    return replace(asked, problems=asked.development, draws=range(trials), streams=streams)


def prepare_threshold(name: GateName, asked: Asked, config: ShareConfig) -> Prepared:
    """The threshold of a gate, from the base's own texts on development problems."""
    if name not in ("divergence", "uncertain"):
        return {}
    watched = written(development_of(asked, config.trials), Everywhere(), taking=0.0, watch=True)
    column = 1 if name == "divergence" else 2
    return {"threshold": threshold_of(np.concatenate(watched.notes)[:, column], config.share)}


def for_divergence(asked: Asked, config: ShareConfig) -> Prepared:
    """Threshold of the divergence."""
    return prepare_threshold("divergence", asked, config)


def for_uncertainty(asked: Asked, config: ShareConfig) -> Prepared:
    """Threshold of the entropy."""
    return prepare_threshold("uncertain", asked, config)


def for_backwards(asked: Asked, config: BackwardsConfig) -> Prepared:
    """Threshold of the gate, where it has one."""
    return prepare_threshold(config.gate, asked, config)


def for_random(asked: Asked, config: RandomConfig) -> Prepared:
    """The rate at which the other gate fires while the hybrid writes."""
    gate = gate_of(config.like, config, prepare_threshold(config.like, asked, config))
    found = written(development_of(asked, config.trials), gate, taking=1.0)
    return {"rate": np.array([np.concatenate(found.notes)[:, 0].mean()])}


def for_planning(asked: Asked, config: PlanningConfig) -> Prepared:
    """The ids of planning tokens."""
    if config.words:
        return {"tokens": np.array(switch_tokens(asked.model, config.words), dtype=np.int64)}
    trial = development_of(asked, config.trials)
    teacher = trial.teacher
    assert isinstance(teacher, LocalPolicy), "checked before anything is prepared"
    drawn = teacher.draw(trial.problems.problems, trial.draws, trial.streams, trial.limits)
    roles = trial.problems.grader.grade(trial.problems.problems, drawn).roles
    if roles is None:
        words: Any = teacher.tokenizer
        roles = GramRoles(grams=lexicon(), tokenizer=words)(drawn)
    plans = role_mask(roles, PLANNING)
    ids, where, counts = np.unique(drawn.tokens, return_inverse=True, return_counts=True)
    found = ids[np.bincount(where, weights=plans, minlength=len(ids)) * 2 > counts]
    if not len(found):
        what = "no token mostly plans in the teacher's texts on development problems"
        raise InputError(what, fix="--words WORD, words with which it plans")
    return {"tokens": found.astype(np.int64)}


def _before_written(places: Places) -> Any:
    return places.position >= places.prompt - 1


def for_student(asked: Asked, config: StudentConfig) -> Prepared:
    """A probe of the base's hidden state that predicts where the teacher disagrees, and the threshold at which
    it fires as often."""
    # Here and not at the top: scikit-learn takes a second, and a listing needs none of it.
    from keyturn.elicitation.directions import probe_of

    trial, site = development_of(asked, config.trials), site_of(asked, config)
    watched = written(trial, Everywhere(), taking=0.0, watch=True)
    what = ActivationTap(sites=(site,), positions=_before_written, reduce="none", sinks=0)
    found = tap(trial.model, watched.drawn, what)
    lengths = watched.drawn.lengths
    prompts = np.diff(watched.drawn.prompts.offsets)[watched.drawn.problem]
    place = found.position - prompts[found.row] + 1
    inside = place < lengths[found.row]
    labels = np.concatenate([one[:, 3] for one in watched.notes]) > 0
    states = found.states[0][inside].astype(np.float64)
    if not 0 < labels.sum() < len(labels):
        what = f"base and teacher disagree at {int(labels.sum())} of {len(labels)} tokens: nothing to predict"
        raise InputError(what, fix="another teacher, or other development problems")
    probe = probe_of(states, labels)
    return {"probe": probe, "threshold": threshold_of(states @ probe, float(labels.mean()))}
