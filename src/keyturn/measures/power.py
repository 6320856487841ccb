"""How often an audit of a given design would give the right label, before anything is drawn.

Problems with a known truth (:mod:`keyturn.measures.truths`) are drawn from and divided by class with the code
of an audit, once, for :data:`TABLE` problems. An audit of n problems is then n of these at random: many audits
are made from the one table. Their labels come from the audit's own rules (``labels``, ``coverage_statement``);
only the intervals are not bootstraps but what these tend to, with the same widening for few problems:

    mean           mean +- t(n - 1) s / sqrt(n)
    share of gain  Fieller's interval of a ratio, which is where ``numerator - r gain`` is not surely below 0
    pass@k         +- q s_k / sqrt(n), with q the sup-t quantile over all audits made

Assumed: the problems of a list are a random sample of the population; no chance is known, no elicitation, no
certified bound. Known bias: with few problems a bootstrap's interval is skewed and this one is not.
``tests/measures/test_power.py`` compares with whole simulated audits. Source: ours; Fieller 1954.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from keyturn.core.errors import UsageError
from keyturn.core.measurement import Estimate
from keyturn.core.statistics.bands import Band
from keyturn.core.statistics.bootstrap import unseen_share
from keyturn.core.statistics.pass_at_k import pass_at_k_noise
from keyturn.core.statistics.proportions import LEVEL
from keyturn.core.streams import Streams
from keyturn.measures.coverage_statement import budgets, largest_budget, state_coverage
from keyturn.measures.draws import ENOUGH, FIRST_STAGE, plain_draws
from keyturn.measures.estimates import DRAWS_PER_K, SMALLEST_K
from keyturn.measures.labels import EDGE, LEAST_PROBLEMS, label_of
from keyturn.measures.masses import divide_gain
from keyturn.measures.truths import BASES, TRUTHS, BaseName, Truth, tuned_success, two_stage_draws

TABLE = 4000
"""Problems of a table."""
AUDITS = 400
"""Audits made of a table: the standard error of a share of .8 is then .02."""
SIZES = (12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
"""Numbers of problems among which the least is looked for."""


@dataclass(frozen=True, kw_only=True)
class Assumed:
    """What a plan assumes of the truth.

    Args:
        base: how often the base solves problems, see :data:`~keyturn.measures.truths.BASES`.
        gain: mean success of the tuned policy minus that of the base, where there is a change.
    """

    base: BaseName = "thirds"
    gain: float = 0.05


@dataclass(frozen=True, kw_only=True)
class Draw:
    """How many draws an audit takes.

    Args:
        k: budget K, also the tuned draws per problem.
        n_base: base draws of a problem that goes on to the second stage.
        first: base draws of every problem.
        enough: successes among them after which a problem needs no more.
    """

    k: int
    n_base: int
    first: int = FIRST_STAGE
    enough: int = ENOUGH

    def __post_init__(self) -> None:
        if self.k < SMALLEST_K or self.n_base < DRAWS_PER_K * self.k:
            what = f"K = {self.k} with {self.n_base} base draws per problem cannot be judged at K"
            raise UsageError(what, fix=f"at least {DRAWS_PER_K} K base draws, and K of {SMALLEST_K} or more")


def expected_base_draws(draw: Draw, assumed: Assumed) -> float:
    """Base draws per problem, on average over the population: exact given each problem's success."""
    if draw.n_base <= draw.first:
        return float(draw.n_base)
    p, _ = BASES[assumed.base](_streams().generator("costs", assumed.base), 20 * TABLE, draw.k)
    goes_on = special.bdtr(draw.enough - 1, draw.first, p)
    return draw.first + float(goes_on.mean()) * (draw.n_base - draw.first)


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """Problems drawn from once, with their contributions; arrays are ``[problem]`` or ``[problem, k]``.

    Args:
        columns: gain, deployed and created part of it, success of the base and of the tuned policy.
        ks: budgets of the curve.
        difference: pass@k of the tuned policy minus that of the base.
        noise: a bound of its sampling variance.
    """

    columns: NDArray[np.float64]
    ks: tuple[int, ...]
    difference: NDArray[np.float64]
    noise: NDArray[np.float64]


def table_of(draw: Draw, truth: Truth, assumed: Assumed, problems: int = TABLE) -> Table:
    """Draw from problems of a known truth, and divide each one's gain as an audit does."""
    generator = _streams().generator("table", truth, assumed.base, draw.k, draw.n_base)
    p, kind = BASES[assumed.base](generator, problems, draw.k)
    q = tuned_success(generator, p, kind, truth, assumed.gain)
    base = two_stage_draws(generator, p, draw.n_base, first=draw.first, enough=draw.enough)
    tuned = plain_draws(np.full(problems, draw.k), generator.binomial(draw.k, q))
    masses = divide_gain(base, tuned, (draw.k,), generator)
    ks = budgets(max(largest_budget(base, tuned), 1))
    noise = sum(pass_at_k_noise(one.n[:, None], one.c[:, None], np.array(ks)) for one in (base, tuned))
    return Table(
        columns=np.stack(
            [masses.gain, masses.deployed[:, 0], masses.created[:, 0], masses.base, masses.tuned], axis=1
        ),
        ks=ks,
        difference=tuned.curve(ks)[0] - base.curve(ks)[0],
        noise=np.asarray(noise, dtype=np.float64),
    )


def labels_at(table: Table, problems: int, audits: int = AUDITS) -> Mapping[str, float]:
    """Share of each label among simulated audits of so many problems.

    Args:
        table: problems drawn from.
        problems: of each audit.
        audits: how many are made.
    """
    if problems < LEAST_PROBLEMS:
        return {"undecided": 1.0}
    rows = len(table.columns)
    generator = _streams().generator("audits", problems, audits)
    weights = generator.multinomial(problems, np.full(rows, 1 / rows), size=audits) / problems
    means, second = weights @ table.columns, _second_moments(weights, table.columns[:, :3])
    bands = _bands(table, weights, problems)
    found = Counter(
        _label(mean, moments, band, table.ks, problems)
        for mean, moments, band in zip(means, second, bands, strict=True)
    )
    return {label: count / audits for label, count in sorted(found.items())}


def power(
    draw: Draw, assumed: Assumed, sizes: Sequence[int], audits: int = AUDITS
) -> dict[int, dict[Truth, float]]:
    """Share of simulated audits whose label is right, by number of problems and truth."""
    tables = {truth: table_of(draw, truth, assumed) for truth in TRUTHS}
    return {
        size: {truth: labels_at(tables[truth], size, audits).get(truth, 0.0) for truth in TRUTHS}
        for size in sizes
    }


def _streams() -> Streams:
    return Streams(0).child("power")


def _second_moments(weights: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean products of the columns in each audit, ``[audit, column, column]``."""
    products = (columns[:, :, None] * columns[:, None, :]).reshape(len(columns), -1)
    return (weights @ products).reshape(len(weights), columns.shape[1], columns.shape[1])


def _label(
    mean: NDArray[np.float64], second: NDArray[np.float64], band: Band, ks: tuple[int, ...], problems: int
) -> str:
    """The label of one audit, by the rules of ``labels``."""
    coverage = state_coverage(ks, band, problems)
    if max(mean[3], mean[4]) <= EDGE or min(mean[3], mean[4]) >= 1 - EDGE:
        return "nothing measured"
    reach = float(special.stdtrit(problems - 1, (1 + LEVEL) / 2)) ** 2 / (problems - 1)
    spread = (second - np.outer(mean[:3], mean[:3])) * reach
    half = math.sqrt(max(spread[0, 0], 0.0))
    gain = Estimate(mean[0], mean[0] - half, mean[0] + half)
    shares = [_ratio(mean[0], mean[j], spread[0, 0], spread[0, j], spread[j, j], problems) for j in (1, 2)]
    return label_of(gain, shares[0], shares[1], coverage.label, problems)


def _ratio(gain: float, part: float, vv: float, vp: float, pp: float, problems: int) -> Estimate:
    """Fieller's interval of ``part / gain``; the v's are squared half widths of the two and their product.

    As in ``bootstrap.ratio_interval``, an interval is at least as wide as what so many problems cannot have
    seen.
    """
    a, b, c = gain**2 - vv, gain * part - vp, part**2 - pp
    if gain <= 0 or a <= 0:
        return Estimate(math.nan)
    root = math.sqrt(max(b**2 - a * c, 0.0))
    low, high = (b - root) / a, (b + root) / a
    unseen = unseen_share(problems)
    if high - low < unseen:
        low, high = min(low, low - unseen * low), max(high, high + unseen * (1 - high))
    return Estimate(part / gain, low, high)


def _bands(table: Table, weights: NDArray[np.float64], problems: int) -> list[Band]:
    """The band of the pass@k difference of every audit."""
    curve = table.difference
    means = weights @ curve
    variance = np.maximum(weights @ curve**2 - means**2, 0.0)
    error = np.sqrt(variance / (problems - 1))
    varies = error > 1e-12
    deviation = np.abs(means - curve.mean(axis=0)) / np.where(varies, error, np.inf)
    # One quantile for all audits: each one's own would come from resampling it.
    critical = float(np.quantile(deviation.max(axis=1), LEVEL))
    factor = float(special.stdtrit(problems - 1, (1 + LEVEL) / 2) / special.ndtri((1 + LEVEL) / 2))
    error = np.maximum(error, np.sqrt(weights @ table.noise / problems))
    half = np.where(varies, error * max(critical / factor, 1.0) * factor, 0.0)
    empty = np.empty((0, curve.shape[1]))
    return [
        Band(
            value=mean,
            low=np.maximum(mean - wide, -1.0),
            high=np.minimum(mean + wide, 1.0),
            critical=critical / factor,
            replicates=empty,
        )
        for mean, wide in zip(means, half, strict=True)
    ]
