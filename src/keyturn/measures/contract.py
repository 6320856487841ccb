"""The contract of a measure: tables in, measurements out. A measure is pure and never generates text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError, unknown
from keyturn.core.measurement import Measurement
from keyturn.core.streams import Streams
from keyturn.measures.paired import Paired
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.grades import Answers, Grades


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenShift:
    """Base and tuned policy on the same given completions, token by token.

    Args:
        drawn_by: whose completions these are, ``"base"`` or ``"tuned"``.
        completions: the completions looked at.
        grades: their grades (roles per token among them), or None.
        base_logprobs, tuned_logprobs: of the tokens of the completions, float32 ``[token]``.
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
    """Everything that an audit collected. Draws of both policies are always there; the rest may be empty.

    Args:
        streams: for bootstraps and permutations, already specific to the audit.
        paired: graded draws of both policies on the same problems, and what is known of each problem.
        shift: token tables by ``drawn_by``.
        weights: the folders of the base and of the tuned model.
        forced: graded draws with a strategy's prefix forced, under the keys ``("base", strategy)`` and
            ``("tuned", strategy)``.
        formats: graded draws under a few-shot format prompt, by policy.
        history: the metrics of each training step (metrics.jsonl), oldest first.
        copies: what was found of draws that are copies of other draws, one sentence each. Draws that do not
            count are no longer in any table.
        left_out: name of what could not be had (an input, a measure, another part of the audit) -> why.
    """

    streams: Streams
    paired: Paired
    shift: Mapping[str, TokenShift] = field(default_factory=dict)
    weights: tuple[Path, ...] = ()
    forced: Mapping[tuple[str, str], Answers] = field(default_factory=dict)
    formats: Mapping[str, Answers] = field(default_factory=dict)
    history: tuple[Mapping[str, float], ...] = ()
    copies: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def completions(self) -> bool:
        """Whether both policies' completions are there, and not their verdicts alone."""
        return all(bool((answers.length >= 0).any()) for answers in (self.paired.base, self.paired.tuned))

    def knowing(self, **columns: NDArray | None) -> Tables:
        """The same with more known of each problem; the columns of :class:`~keyturn.measures.paired.Paired`."""
        return replace(self, paired=replace(self.paired, **columns))


INPUTS = ("completions", "shift", "weights", "forced", "formats", "history")
"""What a measure can need beside the draws of both policies: these of :class:`Tables` may be empty."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measure. Values live in ``measures.MEASURES``.

    Args:
        name: key of the dictionary.
        title: heading of its numbers in a report.
        summary: one sentence: what it says.
        source: authors, year, identifier, equation.
        unit: of the value.
        null: what the null is, in one sentence.
        needs: which of :data:`INPUTS` must be there, beside the draws of both policies.
        readings: name of a measurement -> one sentence that says how to read it.
        config: the frozen config dataclass (its defaults are the measure's defaults).
        measure: ``(tables, config) -> measurements``; pure.

    Raises:
        UsageError: ``needs`` names something that no audit collects.
    """

    name: str
    title: str
    summary: str
    source: str
    unit: str
    null: str
    needs: frozenset[str] = frozenset()
    readings: Mapping[str, str] = field(default_factory=dict)
    config: type
    measure: Callable[..., tuple[Measurement, ...]]

    def __post_init__(self) -> None:
        for need in sorted(self.needs):
            if need not in INPUTS:
                raise unknown(f"input of the measure {self.name}", need, INPUTS)

    def why_not(self, tables: Tables) -> str:
        """Why these tables do not allow this measure; empty where they do."""
        missing = [need for need in sorted(self.needs) if not getattr(tables, need)]
        known = [tables.left_out[name] for name in (self.name, *missing) if name in tables.left_out]
        if known:
            return "; ".join(dict.fromkeys(known))
        return f"needs {', '.join(missing)}, which this audit does not have" if missing else ""

    def take(self, tables: Tables, config: Any = None) -> tuple[Measurement, ...]:
        """Measure, if everything that is needed is there.

        Args:
            tables: what was collected.
            config: an instance of :attr:`config`; its defaults if None.

        Raises:
            InputError: nothing can be measured on these tables, and why.
        """
        why = self.why_not(tables)
        if why:
            raise InputError(why, fix="collect it, or leave the measure out")
        return self.measure(tables, self.config() if config is None else config)
