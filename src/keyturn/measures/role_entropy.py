"""How sure each policy is at tokens of each role, above what the problem itself leaves open.

Formula: ``role_entropy`` = mean over the tokens t of a role of ``H_t - f_t``, in nats, where H_t is the
entropy of the policy's next-token distribution at temperature 1 and f_t the known floor (the log of the number
of equally valid choices; 0 where there is one). ``role_entropy_change`` = the mean difference tuned - base on
the same completions. ``role_error`` = the share of the role's tokens that the verifier calls wrong.
``role_probability`` = the mean probability of the tokens that were drawn. ``drawn_by`` says whose completions
they are, ``policy`` which policy looks at them. Over training: ``role_training`` and ``role_half_step`` (file
role_curves).
Denominator: tokens of the role, pooled. Roles that the text forces (syntax, repetition) are in no average.
Null: for the tuned policy the base on the same completions (for ``role_error`` the base's own completions);
for a change, signs flipped at random by problem. Degenerate: no such token gives NaN with n = 0; without
grades all tokens are averaged, their floor is unknown and counts as 0, and a note says so.
Known bias: a floor is that of the uniform choice; a policy that rightly prefers one choice lies below it. The
entropy of tokens at planning positions is not the entropy of the distribution of plans.
Source: Wang et al. 2025, 2509.03646 (entropy by role), minus the floor, which only a controlled world knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Measurement, Null
from keyturn.core.roles import FORCED
from keyturn.core.streams import Streams
from keyturn.measures.by_problem import ANY, RESAMPLES, SHARE, ByProblem, Resampled
from keyturn.measures.contract import Measure, Tables, TokenShift
from keyturn.measures.role_curves import curve_measurements
from keyturn.measures.token_shift import token_problems
from keyturn.roles.grammar import NAMES, forced_mask, role_sets, token_roles

SAME = "the base on the same completions"
OWN = "the base's own completions"
FLIPPED = "policies swapped at random by problem"


@dataclass(frozen=True, kw_only=True)
class RoleEntropyConfig:
    """How the averages are resampled."""

    resamples: int = RESAMPLES
    """Bootstrap resamples of the problems, and sign flips for the null of the change."""


def measure(tables: Tables, config: RoleEntropyConfig) -> tuple[Measurement, ...]:
    """Entropy, probability and errors by role, on either policy's completions, and over training.

    Args:
        tables: ``shift`` by whoever drew; ``history`` where the run's metrics are known.
        config: how it is averaged.
    """
    streams = tables.streams.child("role_entropy")
    sources = {name: tables.shift[name] for name in ("base", "tuned") if name in tables.shift}
    found: list[Measurement] = []
    for drawn_by, shift in sources.items():
        found += _on(shift, drawn_by, config, streams.child(drawn_by))
    found += _errors(sources, config, streams)
    return (*found, *curve_measurements(tables.history))


def groups(shift: TokenShift) -> dict[str, NDArray[np.bool_]]:
    """What is averaged over: all tokens that are not forced, roles and groups of roles; masks ``[token]``."""
    roles = token_roles(shift.completions, shift.grades)
    forced = {NAMES[role] for role in FORCED}
    by_role = {name: mask for name, mask in role_sets(roles).items() if name not in forced}
    return {"all": ~forced_mask(roles), **by_role}


def floors(shift: TokenShift) -> NDArray[np.float64]:
    """The known entropy floor of every token in nats, ``[token]``; 0 where none is known."""
    if shift.grades is None or "floor" not in shift.grades.token_columns:
        return np.zeros(len(shift.completions.tokens))
    return np.nan_to_num(np.asarray(shift.grades.token_columns["floor"], dtype=np.float64), nan=0.0)


def _by(shift: TokenShift, config: RoleEntropyConfig, streams: Streams) -> ByProblem:
    completions = shift.completions
    return ByProblem.of(token_problems(completions), len(completions.prompts), streams, config.resamples)


def _on(shift: TokenShift, drawn_by: str, config: RoleEntropyConfig, streams: Streams) -> Iterator[Measurement]:
    """Both policies on one list of completions."""
    by, floor = _by(shift, config, streams), floors(shift)
    known = shift.grades is not None and "floor" in shift.grades.token_columns
    note = "" if known else "no floor is known; the whole entropy"
    base_excess, tuned_excess = shift.base_entropies - floor, shift.tuned_entropies - floor
    base_said = np.exp(shift.base_logprobs.astype(np.float64))
    tuned_said = np.exp(shift.tuned_logprobs.astype(np.float64))
    for group, mask in groups(shift).items():
        for name, unit, base, tuned, told in (
            ("role_entropy", "nats", base_excess, tuned_excess, note),
            ("role_probability", "probability", base_said, tuned_said, ""),
        ):
            within = SHARE if unit == "probability" else ANY
            of_base = by.mean(base, mask, within)
            floor_null = Null(kind="known floor", value=0.0) if name == "role_entropy" and known else None
            yield _row(
                name, of_base, unit, floor_null or Null(kind="none possible"), drawn_by, "base", group, told
            )
            null = _as_null(SAME, of_base)
            yield _row(name, by.mean(tuned, mask, within), unit, null, drawn_by, "tuned", group, told)
        difference = tuned_excess - base_excess
        null = _flipped(by, difference, mask, streams.generator("flip", group))
        found = by.mean(difference, mask)
        yield _row("role_entropy_change", found, "nats", null, drawn_by, "tuned - base", group, "")


def _flipped(
    by: ByProblem, difference: NDArray[np.float64], mask: NDArray[np.bool_], generator: np.random.Generator
) -> Null:
    """The mean change when base and tuned policy are swapped at random for each problem."""
    if not mask.any():
        return Null(kind=FLIPPED)
    total = np.bincount(by.problem[mask], weights=difference[mask], minlength=by.size)
    signs = 2.0 * generator.integers(0, 2, size=(len(by.weights), by.size)) - 1.0
    means = signs @ total / mask.sum()
    low, high = np.quantile(means, [0.025, 0.975])
    return Null(kind=FLIPPED, value=0.0, low=float(low), high=float(high))


def _errors(
    sources: dict[str, TokenShift], config: RoleEntropyConfig, streams: Streams
) -> Iterator[Measurement]:
    """Share of wrong tokens by role, each policy on its own completions."""
    found: dict[tuple[str, str], Resampled] = {}
    for drawn_by, shift in sources.items():
        if shift.grades is None or "error" not in shift.grades.token_columns:
            continue
        by = _by(shift, config, streams.child(drawn_by))
        wrong = np.asarray(shift.grades.token_columns["error"], dtype=np.float64)
        for group, mask in groups(shift).items():
            found[drawn_by, group] = by.mean(wrong, mask, SHARE)
    for (drawn_by, group), share in found.items():
        base = found.get(("base", group))
        null = Null(kind="none possible") if drawn_by == "base" or base is None else _as_null(OWN, base)
        yield _row("role_error", share, "share of tokens", null, drawn_by, drawn_by, group, "")


def _as_null(kind: str, found: Resampled) -> Null:
    e = found.estimate
    return Null(kind=kind, value=e.value, low=e.low, high=e.high)


def _row(
    name: str,
    found: Resampled,
    unit: str,
    null: Null,
    drawn_by: str,
    policy: str,
    group: str,
    note: str,
) -> Measurement:
    return Measurement(
        name=name,
        value=found.estimate.value,
        low=found.estimate.low,
        high=found.estimate.high,
        n=found.n,
        unit=unit,
        null=null,
        parameters={"policy": policy, "drawn_by": drawn_by, "by": group},
        note=note,
    )


READINGS = {
    "role_entropy": "Entropy of the next token at tokens of a role, less what the problem itself leaves open.",
    "role_entropy_change": "Tuned less base entropy on the same completions.",
    "role_probability": "Mean probability of the tokens that were drawn.",
    "role_error": "Share of a role's tokens that the verifier calls wrong.",
    "role_training": "The curve's value at the start and at the end of training.",
    "role_half_step": "The step at which a curve was half way: it tells the order in which roles were learnt.",
}
"""Measurement -> how to read it."""

ROLE_ENTROPY = Measure(
    name="role_entropy",
    title="Entropy and errors by role",
    summary="How sure each policy is at tokens of each role, above what the problem itself leaves open.",
    source="Wang et al. 2025, arXiv:2509.03646; floors ours",
    unit="nats",
    null="the base on the same completions; policies swapped at random by problem",
    needs=frozenset({"shift"}),
    readings=READINGS,
    config=RoleEntropyConfig,
    measure=measure,
)
