"""What can be computed exactly instead of estimated, because the world is small.

This covers the base's exact success probability (a teacher-forced pass over every valid trace, where there are
few), the rate of correct guesses, and draws in which a rare strategy is forced.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.core.problem import Problem
from keyturn.lab.lab import Lab, Stage
from keyturn.measures.certified import certified_bound
from keyturn.measures.contract import Tables
from keyturn.measures.paired import Paired
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Limits, Policy
from keyturn.problems.contract import answers, content_of
from keyturn.problems.world.contract import ValidCompletions
from keyturn.problems.world.exact import valid_completions
from keyturn.problems.world.grader import WorldGrader
from keyturn.problems.world.vocabulary import STRATEGIES, decode, encode
from keyturn.problems.world.worlds import World
from keyturn.rollouts.completions import Completions, Prompts, Stop, ragged
from keyturn.rollouts.grades import Answers

RARE = 0.05
"""A strategy with a smaller share gets its accuracy from draws that are forced into it."""
SEEN = 0.0005
"""A strategy that both policies use in fewer than one of 2000 draws counts as absent and is not forced."""
FORCED_DRAWS = 8
"""Forced draws per problem. The aim is the mean over problems, not the rate of each problem."""


@dataclass(frozen=True)
class WorldFacts:
    """A world and what an audit can compute from it.

    Args:
        world: where the problems come from.
        plain: both policies are sampled at temperature 1 and untruncated, so exact passes describe the draws.
    """

    world: World
    plain: bool = True

    def add_to(
        self, tables: Tables, lab: Lab, base: Policy, tuned: Policy, limits: Limits, parents: Sequence[Stage]
    ) -> Tables:
        """The tables with exact probabilities, a tighter bound, guess rates and forced draws."""
        if not isinstance(base, LocalPolicy):
            return tables
        problems = tables.paired.problems
        left_out = dict(tables.left_out)
        mass, complete, why = self.mass(lab, base, problems)
        unlisted = np.isnan(mass)
        if unlisted.any():
            reasons = ", ".join(dict.fromkeys(why[unlisted].tolist()))
            left_out["exact"] = f"{int(unlisted.sum())} of {len(problems)} problems: {reasons}"
        known = tables.paired.bound
        bound = mass if known is None else np.fmax(mass, known)
        forced = self.forced(lab, tables.paired, {"base": base, "tuned": tuned}, limits, parents)
        knowing = tables.knowing(
            exact=np.where(complete, mass, math.nan) if self.plain else None,
            bound=bound if self.plain else None,
            guess=_facts(problems, "guess_rate"),
            chance=_facts(problems, "chance"),
            floor=_facts(problems, "floor"),
        )
        return replace(knowing, left_out=left_out, forced=forced)

    def mass(
        self, lab: Lab, base: LocalPolicy, problems: tuple[Problem, ...]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.str_]]:
        """The base's probability of the listed valid traces, whether the list is complete, and why it is not.

        The probability is NaN where there are too many traces to list. The third array then gives the reason.
        Each array has the shape ``[problem]``.
        """

        def compute() -> dict[str, NDArray]:
            found = [self._listed(problem) for problem in problems]
            rows = given(base, problems, [one.ids for one, _ in found])
            logprobs = base.score(rows).logprobs if len(rows) else np.zeros(0, dtype=np.float32)
            total = certified_bound(rows, logprobs, np.ones(len(rows), dtype=bool))
            why = np.array([reason for _, reason in found])
            total[why != ""] = math.nan
            return {"mass": total, "complete": np.array([one.complete for one, _ in found]), "why": why}

        fields = {
            "base": base,
            "world": self.world,
            "problems": content_of(problems),
            "unlisted": "nan",
        }
        _, arrays = lab.arrays("exact", fields, compute, label="exact probabilities")
        return arrays["mass"], arrays["complete"], arrays["why"]

    def _listed(self, problem: Problem) -> tuple[ValidCompletions, str]:
        """The valid completions of a problem, or none and the reason why they are not listed."""
        try:
            return valid_completions(self.world, problem), ""
        except UsageError as error:
            return ValidCompletions(ids=(), complete=False, left_out=error.what), error.what

    def forced(
        self,
        lab: Lab,
        paired: Paired,
        policies: dict[str, Policy],
        limits: Limits,
        parents: Sequence[Stage],
    ) -> dict[tuple[str, str], Answers]:
        """Draws of either policy in which the first token of a rare strategy is forced."""
        out: dict[tuple[str, str], Answers] = {}
        if "strategy" not in paired.base.columns:
            return out
        shares = {
            name: {s: float(np.mean(table.columns["strategy"] == s)) for s in STRATEGIES}
            for name, table in (("base", paired.base), ("tuned", paired.tuned))
        }
        for strategy in STRATEGIES:
            if max(shares["base"][strategy], shares["tuned"][strategy]) < SEEN:
                continue
            for name, policy in policies.items():
                if not _writes(policy, strategy):
                    continue  # its tokens are not the world's, so no token of them can be put before an answer
                if shares[name][strategy] < RARE:
                    out[name, strategy] = self._forced(
                        lab, policy, name, strategy, paired.problems, limits, parents
                    )
        return out

    def _forced(
        self,
        lab: Lab,
        policy: Policy,
        name: str,
        strategy: str,
        problems: tuple[Problem, ...],
        limits: Limits,
        parents: Sequence[Stage],
    ) -> Answers:
        begun = tuple(replace(p, prompt=f"{p.prompt} {strategy}") for p in problems)
        less = Limits(max_new_tokens=limits.max_new_tokens - 1, batch_rows=limits.batch_rows)
        stage, drawn = lab.draw(
            policy, begun, range(FORCED_DRAWS), less, name="force strategies", parents=parents
        )
        whole = with_prefix(drawn, problems, encode(strategy))
        _, grades = lab.grade(WorldGrader(self.world), problems, whole, stage, name="grade")
        return answers(name, problems, whole, grades)


def _writes(policy: Policy, strategy: str) -> bool:
    """Whether a policy's tokens for a strategy's name are the world's own."""
    tokenizer: Any = policy.tokenizer if isinstance(policy, LocalPolicy) else None
    return tokenizer is not None and list(tokenizer.encode(strategy, add_special_tokens=False)) == encode(
        strategy
    )


def _facts(problems: tuple[Problem, ...], name: str) -> NDArray[np.float64]:
    return np.array([float(p.facts.get(name, math.nan)) for p in problems])


def given(
    policy: LocalPolicy, problems: tuple[Problem, ...], traces: Sequence[Sequence[Sequence[int]]]
) -> Completions:
    """Given traces as completions of a policy's prompts, ready to be scored."""
    prompts = policy.prompts(problems)
    rows = [row for several in traces for row in several]
    tokens, offsets = ragged(rows)
    counts = [len(several) for several in traces]
    return Completions(
        policy="given",
        prompts=prompts,
        problem=np.repeat(np.arange(len(problems)), counts).astype(np.int32),
        draw=np.concatenate([np.arange(c) for c in counts]).astype(np.int32)
        if counts
        else np.zeros(0, np.int32),
        tokens=tokens,
        offsets=offsets,
        logprobs=np.full(len(tokens), math.nan, dtype=np.float32),
        entropies=np.full(len(tokens), math.nan, dtype=np.float32),
        stop=np.full(len(rows), Stop.EOS, dtype=np.uint8),
        texts=tuple(decode(row) for row in rows),
    )


def with_prefix(drawn: Completions, problems: tuple[Problem, ...], prefix: Sequence[int]) -> Completions:
    """Completions that were started with a forced prefix, with that prefix restored."""
    lengths = drawn.lengths + len(prefix)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    own = np.ones(int(offsets[-1]), dtype=bool)
    starts = (offsets[:-1, None] + np.arange(len(prefix))[None]).ravel()
    own[starts] = False
    tokens = np.empty(len(own), dtype=np.int32)
    tokens[own], tokens[starts] = drawn.tokens, np.tile(np.asarray(prefix, np.int32), len(drawn))
    columns = []
    for values in (drawn.logprobs, drawn.entropies):
        column = np.full(len(own), math.nan, dtype=np.float32)
        column[own] = values
        columns.append(column)
    short = [list(drawn.prompts.row(i))[: -len(prefix)] for i in range(len(drawn.prompts))]
    return replace(
        drawn,
        prompts=Prompts.build([p.id for p in problems], [p.prompt for p in problems], short),
        tokens=tokens,
        offsets=offsets,
        logprobs=columns[0],
        entropies=columns[1],
        texts=tuple(f"{decode(prefix)} {text}" for text in drawn.texts),
    )
