"""Problems with a known truth: what simulated audits draw from, to say how often a verdict would be right.

A base population says how often the base solves each problem, and a truth says what training did to it. All of
it is a model: whoever plans an audit knows neither. Three kinds of problem are told apart, because the same
gain is *created* on one and *deployed* on another:

    easy     the base succeeds often
    edge     the base succeeds now and then, surely more often than once in K draws
    absent   the base succeeds never, or much less often than once in K draws

Source: ours. ``benchmarks/operating_characteristic.py`` simulates whole audits on these populations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.measures.draws import ENOUGH, FIRST_STAGE, Draws, plain_draws

Array: TypeAlias = NDArray[np.float64]
Kinds: TypeAlias = NDArray[np.int64]
Truth: TypeAlias = Literal["created", "deployed", "no change"]
BaseName: TypeAlias = Literal["thirds", "skewed"]

EASY, EDGE, ABSENT = 0, 1, 2
TRUTHS: tuple[Truth, ...] = ("created", "deployed", "no change")
"""What training may have done. The name is also the right label."""

_SPREAD = 10.0
"""Concentration of the Beta distribution of success on problems that were learnt."""


def thirds(generator: np.random.Generator, problems: int, k: int = 64) -> tuple[Array, Kinds]:
    """A third of the problems easy (.3 to .9 at K = 64), a third at the edge (.03 to .3), a third absent.

    Args:
        generator: randomness.
        problems: how many.
        k: the budget K. The edge begins at twice 1/K, so that its problems are reachable at any K.

    Returns:
        base success and kind, ``[problem]`` each.
    """
    low = min(1.92 / k, 0.5)
    high = max(0.3, low + 0.1)
    third = generator.integers(0, 3, problems)
    easy, edge = generator.uniform(high, 0.9, problems), generator.uniform(low, high, problems)
    return np.select([third == EASY, third == EDGE], [easy, edge], 0.0), third


def skewed(generator: np.random.Generator, problems: int, k: int = 64) -> tuple[Array, Kinds]:
    """Beta(.15, .6): most problems hopeless, some sure, as on public benchmarks. See :func:`thirds`."""
    p = generator.beta(0.15, 0.6, problems)
    low = min(1.92 / k, 0.5)
    return p, np.select([p < 0.25 / k, (p > low) & (p < max(0.5, low + 0.2))], [ABSENT, EDGE], EASY)


BASES: Mapping[BaseName, Callable[[np.random.Generator, int, int], tuple[Array, Kinds]]] = {
    "thirds": thirds,
    "skewed": skewed,
}
"""Base populations by name."""


def tuned_success(generator: np.random.Generator, p: Array, kind: Kinds, truth: Truth, gain: float) -> Array:
    """Success of the tuned policy, ``[problem]``, where training added ``gain`` to the mean.

    Args:
        generator: randomness.
        p, kind: of the base.
        truth: ``created``: absent problems were learnt; ``deployed``: edge problems became likelier.
        gain: mean success of the tuned policy minus that of the base.

    Raises:
        UsageError: the problems of that kind are too few for so large a gain.
    """
    if truth == "no change":
        return p
    here = kind == (ABSENT if truth == "created" else EDGE)
    added = gain / float(here.mean()) if here.any() else np.inf
    room = 0.95 if truth == "created" else 1 - float(p[here].max(initial=0.0))
    if not 0 < added <= room:
        most = room * float(here.mean())
        what = f"a gain of {gain:g} cannot be all {truth} on these problems"
        raise UsageError(what, fix=f"a gain above 0 and at most {most:.2f}")
    if truth == "created":
        mean = min(added + float(p[here].mean()), 0.99)
        return np.where(here, generator.beta(mean * _SPREAD, (1 - mean) * _SPREAD, len(p)), p)
    return np.where(here, p + added, p)


def two_stage_draws(
    generator: np.random.Generator, p: Array, n: int, *, first: int = FIRST_STAGE, enough: int = ENOUGH
) -> Draws:
    """Base draws as an audit takes them: ``first`` of every problem, ``n`` where fewer than ``enough`` succeed.

    Args:
        generator: randomness.
        p: success of the base, ``[problem]``.
        n: draws of a problem that goes on to the second stage.
        first, enough: the rule.
    """
    if n <= first:
        return plain_draws(np.full(len(p), n), generator.binomial(n, p))
    early = generator.binomial(first, p)
    late = generator.binomial(n - first, p)
    on = early < enough
    return Draws(
        n=np.where(on, n, first),
        c=np.where(on, early + late, early),
        first_n=np.full(len(p), first),
        first_c=early,
        went_on=on,
        enough=enough,
    )
