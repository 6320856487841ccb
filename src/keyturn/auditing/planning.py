"""What an audit will need before anything is drawn: problems and draws for a power, tokens, memory and time.

The power of a design is simulated (:mod:`keyturn.measures.power`); what it costs is counted:

    base draws     first + P(fewer than ``enough`` of them succeed) (n_base - first), at most n_base
    tuned draws    K;  where problems have a format of their own, K of each policy in that format
    sampled        draws x tokens per draw
    scored         both policies on ``token_draws`` completions of each, and the base on what the tuned policy
                   got right; only where both are models in this process
    memory         :data:`PROCESS_BYTES` + weights of both policies + the larger of what drawing and what
                   scoring holds, see :func:`memory_bytes`
    disk           :data:`DISK_BYTES` for every sampled token

Known bias: base draws depend on how able the base is, which a plan assumes; the range beside them does not.
Source: ours; docs/scale.md compares it with finished audits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from keyturn.auditing.audit import AuditConfig
from keyturn.auditing.model_size import ModelSize
from keyturn.core.measurement import Json, json_number
from keyturn.core.progress import progress
from keyturn.measures.labels import LEAST_PROBLEMS
from keyturn.measures.power import SIZES, Assumed, Draw, Table, expected_base_draws, labels_at, table_of
from keyturn.measures.truths import TRUTHS, Truth

WHOLE_LOGITS = 1 << 24
"""Most logits that a step of drawing, or a part of scoring, holds at once (``runners.WHOLE_LOGITS``)."""
READ_AT_ONCE = 1 << 14
"""Tokens that scoring reads at once (``scorer._BATCH_TOKENS``)."""
PROCESS_BYTES = 0.45e9
"""Memory of a process with torch and transformers, without any model."""
ESTIMATE = "an estimate; measured peaks of two Llamas were .87 to 1.13 of it"
"""What is said beside every amount of :func:`memory_bytes`; from ``benchmarks/plan_memory.py``."""
DISK_BYTES = 16
"""Bytes that a sampled token takes on disk: its id, log-probability and entropy, compressed, and its text."""
SHOWN = (24, 48, 96, 192, 384)
"""Numbers of problems whose power a plan shows."""
N_BASE = (3, 4, 6, 8)
"""Base draws per problem, in units of K, among which a budget chooses."""
CLOSE = 0.01
"""Powers that differ by less are told apart by what they cost."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What one draw costs.

    Args:
        tokens_per_draw: mean tokens of a completion.
        tokens_from: where that number is from, in words.
        prompt_tokens: mean tokens of a prompt.
        formats: policies are asked a second time, in the problems' own format.
        scores: completions are scored by both models.
    """

    tokens_per_draw: float
    tokens_from: str
    prompt_tokens: float = math.nan
    formats: bool = False
    scores: bool = False


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What an audit of one design needs.

    Args:
        base_draws: of a problem, on average; ``base_draws_range``: least and most.
        other_draws: of a problem: tuned, and those in the problems' own format.
        sampled, sampled_most: tokens of completions, expected and at most.
        scored: tokens of prompts and completions that are read once more, expected.
    """

    base_draws: float
    base_draws_range: tuple[int, int]
    other_draws: int
    sampled: float
    sampled_most: float
    scored: float

    def to_json(self) -> dict[str, Json]:
        """All fields; numbers that are not known are null."""
        return {
            "base_draws_per_problem": json_number(self.base_draws),
            "base_draws_range": list(self.base_draws_range),
            "other_draws_per_problem": self.other_draws,
            "sampled_tokens": json_number(self.sampled),
            "sampled_tokens_at_most": json_number(self.sampled_most),
            "scored_tokens": json_number(self.scored),
        }


def cost_of(problems: int, config: AuditConfig, sampling: Sampling, assumed: Assumed) -> Cost:
    """The cost of an audit.

    Args:
        problems: how many.
        config: how many draws.
        sampling: what a draw costs.
        assumed: how able the base is.
    """
    draw = draw_of(config)
    base, k = expected_base_draws(draw, assumed), config.k
    least = min(config.first, config.draws_base)
    others = k + (2 * k if sampling.formats else 0)
    length = sampling.tokens_per_draw
    read = length + (0.0 if math.isnan(sampling.prompt_tokens) else sampling.prompt_tokens)
    # Both policies' first completions through both models, and the base on successes of the tuned policy.
    scored = problems * (4 * config.token_draws + k / 3) * read if sampling.scores else 0.0
    return Cost(
        base_draws=base,
        base_draws_range=(least, config.draws_base),
        other_draws=others,
        sampled=problems * (base + others) * length,
        sampled_most=problems * (config.draws_base + others) * length,
        scored=scored,
    )


def draw_of(config: AuditConfig) -> Draw:
    """How an audit draws, as its power is computed."""
    return Draw(k=config.k, n_base=config.draws_base, first=config.first, enough=config.enough)


@dataclass(frozen=True, kw_only=True)
class Powers:
    """Power of one way to draw.

    Args:
        config: how many draws.
        by_size: number of problems -> truth -> share of audits with the right label.
    """

    config: AuditConfig
    by_size: dict[int, dict[Truth, float]]

    def weakest(self, problems: int) -> float:
        """The smallest power over the truths."""
        return min(self.by_size[problems].values())

    def to_json(self) -> list[Json]:
        """One entry per number of problems."""
        return [
            {"problems": size, **{truth: json_number(value) for truth, value in found.items()}}
            for size, found in sorted(self.by_size.items())
        ]


class PowerOf:
    """Powers of one way to draw, each computed when it is asked for."""

    def __init__(self, config: AuditConfig, assumed: Assumed) -> None:
        self.config = config
        draw = draw_of(config)
        self._tables: dict[Truth, Table] = {truth: table_of(draw, truth, assumed) for truth in TRUTHS}
        self._found: dict[int, dict[Truth, float]] = {}

    def at(self, problems: int) -> dict[Truth, float]:
        """Power by truth."""
        if problems not in self._found:
            self._found[problems] = {
                truth: labels_at(table, problems).get(truth, 0.0) for truth, table in self._tables.items()
            }
        return self._found[problems]

    def shown(self) -> Powers:
        """Everything that was computed."""
        return Powers(config=self.config, by_size=dict(self._found))


def powers_of(
    config: AuditConfig, assumed: Assumed, wanted: float, also: Sequence[int] = ()
) -> tuple[Powers, int | None]:
    """Powers at some numbers of problems, and the least number that has the power wanted.

    Args:
        config: how many draws.
        assumed: of the truth.
        wanted: power for every truth.
        also: further numbers of problems to show.

    Returns:
        the powers, and the least of ``SIZES`` whose power suffices; None where the largest does not.
    """
    sizes = sorted({*SHOWN, *(size for size in also if size > 0)})
    with progress("simulating audits", len(sizes) + math.ceil(math.log2(len(SIZES))) + 1) as advance:
        found = PowerOf(config, assumed)
        advance(1)
        for size in sizes:
            found.at(size)
            advance(1)
        low, high = 0, len(SIZES)
        while low < high:
            middle = (low + high) // 2
            enough = min(found.at(SIZES[middle]).values()) >= wanted
            low, high = (low, middle) if enough else (middle + 1, high)
            advance(1)
    return found.shown(), SIZES[low] if low < len(SIZES) else None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A design that a budget affords.

    Args:
        problems: how many.
        n_base: base draws of a problem that goes on.
        power: by truth; empty where the problems are too few for any label.
        cost: of it.
    """

    problems: int
    n_base: int
    power: dict[Truth, float]
    cost: Cost

    @property
    def weakest(self) -> float:
        """The smallest power over the truths."""
        return min(self.power.values(), default=0.0)

    def to_json(self) -> dict[str, Json]:
        """Design, power and cost."""
        power: dict[str, Json] = {truth: json_number(value) for truth, value in self.power.items()}
        return {"problems": self.problems, "n_base": self.n_base, "power": power, "cost": self.cost.to_json()}


def choose_design(
    budget: int, available: int, config: AuditConfig, sampling: Sampling, assumed: Assumed
) -> tuple[Choice, ...]:
    """Designs that a budget of sampled tokens affords, the one that decides best first.

    Base draws per problem compete with problems: more draws classify more problems surely, more problems make
    intervals narrower. K is the question and stays. The best design has the largest power for the truth that it
    is worst at; among equals (within :data:`CLOSE`) the cheapest.

    Args:
        budget: sampled tokens, expected.
        available: problems that there are; 0: as many as wanted.
        config: K, and the base draws where they are given.
        sampling: what a draw costs.
        assumed: of the truth.
    """
    tried = (config.n_base,) if config.n_base else tuple(times * config.k for times in N_BASE)
    found = []
    with progress("simulating audits", len(tried)) as advance:
        for n_base in tried:
            one = replace(config, n_base=n_base)
            affordable = int(budget // cost_of(1, one, sampling, assumed).sampled)
            problems = min(affordable, available or affordable)
            power = PowerOf(one, assumed).at(problems) if problems >= LEAST_PROBLEMS else {}
            cost = cost_of(problems, one, sampling, assumed)
            found.append(Choice(problems=problems, n_base=n_base, power=power, cost=cost))
            advance(1)
    best = max(choice.weakest for choice in found)

    def order(choice: Choice) -> tuple[bool, float, float]:
        behind = choice.weakest < best - CLOSE
        return behind, -choice.weakest if behind else 0.0, choice.cost.sampled if best else -choice.problems

    return tuple(sorted(found, key=order))


def memory_bytes(
    sizes: Sequence[ModelSize], problems: int, config: AuditConfig, sampling: Sampling, dtype: str
) -> float:
    """Peak memory of an audit in this process, estimated from what the code holds.

    One policy works at a time. Weights of both stay, and beside them the larger of

    - drawing: the cache of every row for prompt and longest completion; of one layer also a copy (rows that
      ended are dropped) and keys and values once for each query head; the logits of a step twice (the next
      beside the last), of some rows at a time where all are more than :data:`WHOLE_LOGITS`;
    - scoring: the cache of :data:`READ_AT_ONCE` tokens, what one layer computes of them, and a part of their
      logits in five tables of float32.

    Completions end before the limit, so caches of real runs are smaller. ``docs/scale.md`` compares it with
    measured peaks.

    Args:
        sizes: of the policies in this process.
        problems: how many are asked.
        config: batch and length limits.
        sampling: prompts, and whether completions are scored.
        dtype: of the loaded weights.
    """
    rows = min(config.batch_rows, problems * max(config.draws_base, config.k))
    prompt = 0.0 if math.isnan(sampling.prompt_tokens) else sampling.prompt_tokens
    weights = sum(size.parameters * size.number_bytes(dtype) for size in sizes)
    held = [_drawing_bytes(size, rows, prompt + config.max_new_tokens, dtype) for size in sizes]
    if sampling.scores:
        tokens = min(READ_AT_ONCE, problems * config.token_draws * config.max_new_tokens)
        held += [_scoring_bytes(size, tokens, prompt, config.max_new_tokens, dtype) for size in sizes]
    return PROCESS_BYTES + weights + max(held, default=0.0)


def _drawing_bytes(size: ModelSize, rows: int, length: float, dtype: str) -> float:
    layer = rows * length * size.cache_bytes(dtype) / size.layers
    logits = min(rows * size.vocabulary, max(size.vocabulary, WHOLE_LOGITS))
    return (size.layers + 1 + size.queries) * layer + 2 * size.number_bytes(dtype) * logits


def _scoring_bytes(size: ModelSize, tokens: int, prompt: float, longest: int, dtype: str) -> float:
    """Of ``tokens`` of completions, each with its prompt in the cache."""
    cache = (tokens + tokens / longest * prompt) * size.cache_bytes(dtype)
    layer = tokens * (4 * size.hidden + 4 * size.inner) * size.number_bytes(dtype)
    return cache + layer + 5 * 4 * min(tokens * size.vocabulary, WHOLE_LOGITS)
