"""The contract of a measure: tables in, measurements out; pure, and never a generator of text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Measurement
from keyturn.core.streams import Streams
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.grades import Answers, Grades


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Which draws of which policy a measure needs. Data, so that a study can plan before it runs.

    Args:
        policy: ``"base"`` or ``"tuned"``.
        draws: per problem.
        intervention: name of an elicitation method; ``"sample"`` is plain sampling.
    """

    policy: str
    draws: int
    intervention: str = "sample"


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenShift:
    """Base and tuned policy on the same given completions, token by token.

    Args:
        drawn_by: ``"base"`` or ``"tuned"``: whose completions these are.
        completions: the completions looked at.
        grades: their grades (roles per token among them), or None.
        base_logprobs, tuned_logprobs: of the token that stands there, float32 ``[token]``.
        base_entropies, tuned_entropies: nats, float32 ``[token]``.
        base_ranks, tuned_ranks: of the token that stands there, 0 = most likely, int32 ``[token]``.
        kl: KL(tuned || base) in nats over the whole vocabulary, float32 ``[token]``.
        kl_reverse: KL(base || tuned), float32 ``[token]``.
        flip: the most likely tokens differ, bool ``[token]``.
    """

    drawn_by: str
    completions: Completions
    grades: Grades | None
    base_logprobs: NDArray[np.float32]
    tuned_logprobs: NDArray[np.float32]
    base_entropies: NDArray[np.float32]
    tuned_entropies: NDArray[np.float32]
    base_ranks: NDArray[np.int32]
    tuned_ranks: NDArray[np.int32]
    kl: NDArray[np.float32]
    kl_reverse: NDArray[np.float32]
    flip: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tables:
    """Everything that a study collected; a measure takes what its ``needs`` name.

    Args:
        streams: for bootstraps and permutations, already specific to the study.
        base: graded draws of the base.
        tuned: graded draws of the tuned policy on the same problems.
        shift: token tables by ``drawn_by``.
        weights: folders of the base and the tuned model.
        exact: exact success probability of the base per problem, float64 ``[problem]``, NaN unknown.
        bound: certified lower bound of the base's success probability, float64 ``[problem]``, NaN unknown.
        forced: strategy -> graded draws of ``base`` with that strategy's prefix forced, and of ``tuned``,
            under the keys ``("base", strategy)`` and ``("tuned", strategy)``.
        elicited: problems that an elicitation without teacher solved for the base, bool ``[problem]``, or None.
        formats: graded draws by policy under a few-shot format prompt; empty where that arm was not run.
        guess: chance of hitting the answer without reading the problem, float64 ``[problem]``, or None.
        chance: chance of hitting a valid trace by luck, known exactly or measured, the same.
        floor: upper bound of that chance, the same.
        history: one mapping a training step (metrics.jsonl), oldest first.
        copies: what was found of draws that are copies and no draws, one sentence each; those that do not count
            are in no table any more.
        left_out: what could not be had -> why: fields of this record, measures, or other looks.
    """

    streams: Streams
    base: Answers | None = None
    tuned: Answers | None = None
    shift: Mapping[str, TokenShift] = field(default_factory=dict)
    weights: tuple[Path, Path] | None = None
    exact: NDArray[np.float64] | None = None
    bound: NDArray[np.float64] | None = None
    forced: Mapping[tuple[str, str], Answers] = field(default_factory=dict)
    elicited: NDArray[np.bool_] | None = None
    formats: Mapping[str, Answers] = field(default_factory=dict)
    guess: NDArray[np.float64] | None = None
    chance: NDArray[np.float64] | None = None
    floor: NDArray[np.float64] | None = None
    history: tuple[Mapping[str, float], ...] = ()
    copies: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def completions(self) -> bool | None:
        """True where both policies' completions are there, and not their verdicts alone; else None."""
        both = (self.base, self.tuned)
        return True if all(a is not None and bool((a.length >= 0).any()) for a in both) else None


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measure. Values live in ``measures.MEASURES``.

    Args:
        name: key of the dictionary.
        summary: one sentence: what it says.
        source: authors, year, identifier, equation.
        unit: of the value.
        null: what the null is, in one sentence.
        needs: names of what :class:`Tables` must have (its fields, ``completions``); where one is missing the
            study leaves the measure out and says so.
        config: the frozen config dataclass (its defaults are the measure's defaults).
        arms: ``(config) -> arms``: the draws it wants.
        measure: ``(tables, config) -> measurements``.
    """

    name: str
    summary: str
    source: str
    unit: str
    null: str
    needs: frozenset[str]
    config: type
    arms: Callable[..., tuple[Arm, ...]]
    measure: Callable[..., tuple[Measurement, ...]]
