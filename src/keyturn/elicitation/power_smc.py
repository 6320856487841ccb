"""Power-SMC: draw whole answers from ``pi(x) ~ p(x) ^ alpha`` by particles that are weighed token by token.

``particles`` texts are written side by side. The target of the first ``t`` tokens is ``p(x_<=t) ^ a_t``, where
``a_t`` grows from 1 to ``alpha`` over ``bridge`` tokens (0: it is ``alpha`` at once); the proposal is ``p ^
a_t`` at each place, which is the one of least variance. Then the logarithm of a weight grows by::

    (a_t - a_(t-1)) log p(x_<t) + log Z_t(a_t),    Z_t(a) = sum_v p(v | x_<t) ^ a

for a text that goes on, and by ``(a_t - a_(t-1)) log p(x)`` for one that has ended. Particles are resampled
where their effective number falls below ``threshold`` of them, and one is drawn by its weight at the end. No
token is cut from the proposal and no text is kept from ending. One particle is a low temperature; with ``alpha
= 1`` it is plain sampling. The law of the drawn text tends to the target as particles grow; for few it is
between the two.

Source: Power-SMC, 2026 (2602.10273).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.elicitation.choosing import positive
from keyturn.elicitation.contract import Asked, Costs, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.power import ends_by_token
from keyturn.elicitation.written import written
from keyturn.policies.particles import Particles, Schedule, particles
from keyturn.rollouts.completions import Completions


@dataclass(frozen=True, kw_only=True)
class SmcConfig:
    """Settings of Power-SMC."""

    alpha: float = 4.0
    """Exponent of the probability of a whole answer."""
    particles: int = 16
    """Texts that are written side by side for one answer."""
    bridge: int = 0
    """Tokens over which the exponent grows from 1 to alpha; 0: none."""
    threshold: float = 0.5
    """Share of the particles below which their effective number makes them be resampled."""


def answer(asked: Asked, config: SmcConfig, prepared: Prepared) -> Elicitation:
    """Draw every answer by its own particles."""
    positive(config.particles, "--particles")
    if not config.alpha > 0 or config.bridge < 0 or not 0 <= config.threshold <= 1:
        what = f"--alpha is {config.alpha}, --bridge {config.bridge} and --threshold {config.threshold}"
        raise UsageError(what, fix="above 0, 0 or more, between 0 and 1")
    ends_by_token(asked.model)
    rows = [(index, draw) for index in range(len(asked.problems.problems)) for draw in asked.draws]
    # Prompts of similar length together: less padding, and the order in which the sampler takes them.
    lengths = np.diff(asked.model.prompts(asked.problems.problems).offsets)
    order = np.argsort([lengths[index] for index, _ in rows], kind="stable")
    size = max(1, asked.limits.batch_rows // config.particles)
    parts = [
        _group(asked, config, [rows[place] for place in order[start : start + size]])
        for start in range(0, len(rows), size)
    ]
    back = np.argsort(order)
    return Elicitation(
        completions=Completions.concat([part.completions for part in parts]).select(back),
        costs=Costs(**_joined([part.costs.columns() for part in parts], back)),
        facts=_joined([part.facts for part in parts], back),
    )


def _joined(parts: Sequence[Mapping[str, NDArray]], back: NDArray[np.int64]) -> dict[str, NDArray]:
    return {name: np.concatenate([part[name] for part in parts])[back] for name in parts[0]}


def _group(asked: Asked, config: SmcConfig, rows: list[tuple[int, int]]) -> Elicitation:
    """Some answers, whose particles are one batch."""
    problems, size, steps = asked.problems.problems, config.particles, asked.limits.max_new_tokens
    prompts = asked.model.prompts(problems)
    uniforms, dice = np.empty((len(rows) * size, steps)), np.empty((len(rows), steps + 1))
    names = [
        ("sample", problems[index].id, draw, *(("particle", number) if number else ()))
        for index, draw in rows
        for number in range(size)
    ]
    asked.streams.uniforms(names, uniforms)
    asked.streams.uniforms((("resample", problems[index].id, draw) for index, draw in rows), dice)
    found = particles(
        asked.model,
        [prompts.row(index) for index, _ in rows],
        size,
        Schedule(alpha=config.alpha, bridge=config.bridge),
        uniforms,
        dice,
        threshold=config.threshold,
    )
    weights = found.logweights.reshape(len(rows), size)
    weights = np.exp(weights - weights.max(axis=1, keepdims=True))
    shares = weights / weights.sum(axis=1, keepdims=True)
    place = np.minimum((np.cumsum(shares, axis=1) <= dice[:, -1:]).sum(axis=1), size - 1)
    chosen = np.arange(len(rows)) * size + place
    read = np.array([len(prompts.row(index)) for index, _ in rows], dtype=np.float64) * size
    costs = replace(
        Costs.nothing(len(rows)),
        generated=found.generated.astype(np.float64),
        passes=found.generated.astype(np.float64),
        read=read,
    )
    facts = {
        "resampled": found.resampled.astype(np.float64),
        "effective": 1.0 / (shares**2).sum(axis=1),
        "logprob": found.loglikelihood[chosen],
    }
    return Elicitation(completions=_completions(asked, config, rows, found, chosen), costs=costs, facts=facts)


def _completions(
    asked: Asked, config: SmcConfig, rows: list[tuple[int, int]], found: Particles, chosen: np.ndarray
) -> Completions:
    policy, problems = asked.model, asked.problems.problems
    own = [found.tokens[row, : found.lengths[row]].tolist() for row in chosen.tolist()]
    inside = np.arange(found.tokens.shape[1]) < found.lengths[chosen][:, None]
    # Of several particles, the law of the one that is taken is not the proposal's.
    alone = config.particles == 1
    return written(
        policy,
        policy.prompts(problems),
        np.array([index for index, _ in rows], dtype=np.int32),
        np.array([draw for _, draw in rows], dtype=np.int32),
        own,
        ended=found.ended[chosen],
        entropies=found.entropies[chosen][inside].astype(np.float32),
        logprobs=found.logprobs[chosen][inside].astype(np.float32) if alone else None,
    )


METHOD = ElicitationMethod(
    name="power-smc",
    summary="draw whole answers from a power of the policy's own probability, by weighed particles",
    source="Power-SMC 2026, arXiv 2602.10273",
    cost="16 texts side by side",
    control=("low-temperature", "best-of-n", "plain"),
    needs=frozenset({"model"}),
    config=SmcConfig(),
    neutral=SmcConfig(alpha=1.0, particles=1),
    answer=answer,
)
