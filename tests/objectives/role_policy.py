"""The enumerable policy with roles, random rewards and randomness; and the battery for settings of one file."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

import test_objective_battery as battery
import torch
from softmax_policy import CONTEXTS, EOS, batch_of, entropies, logits, logprobs, padded, sequences
from torch import Tensor

from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.objectives.contract import INVARIANTS, Objective, PolicyTokens, judged, total

SUPPORT = sequences()
TOKENS, MASK = padded(SUPPORT)
ROLES = torch.tensor([Role.ANSWER, Role.PLAN, Role.ARITHMETIC])[TOKENS] * MASK
"""Token 1 plans, token 2 carries out, token 0 ends."""
RIGHT = torch.tensor([sequence in {(1, 0), (1, 2), (2, 0)} for sequence in SUPPORT], dtype=torch.float64)

THETA = logits(3)


def of_equal_length() -> Tensor:
    """Logits under which no completion ends at once: all have LENGTH tokens."""
    theta = THETA.clone()
    theta[CONTEXTS.index(()), EOS] = -1e3
    return theta


def chances(theta: Tensor) -> Tensor:
    """Probability of every sequence."""
    return logprobs(theta, SUPPORT).sum(1).exp()


Outcomes = Callable[[tuple[int, ...]], Iterable[tuple[float, Tensor]]]
"""Drawn sequences -> their rewards with the chance of each."""


def fixed(value: Tensor) -> Outcomes:
    """Rewards that the sequence decides."""
    return lambda index: [(1.0, value[list(index)])]


def coins(q: float) -> Outcomes:
    """Rewards of 0 and 1 that nothing decides."""

    def outcomes(index: tuple[int, ...]) -> Iterable[tuple[float, Tensor]]:
        for flips in itertools.product((0.0, 1.0), repeat=len(index)):
            yield (
                q ** sum(flips) * (1 - q) ** (len(flips) - sum(flips)),
                torch.tensor(flips, dtype=torch.float64),
            )

    return outcomes


def expected_ascent(objective: Objective, theta: Tensor, size: int, outcomes: Outcomes) -> Tensor:
    """Minus the expected gradient of the loss over every group of ``size`` draws and every reward, exactly."""
    chance = chances(theta)
    zeros = torch.zeros(len(SUPPORT), dtype=torch.float64)
    every = replace(batch_of(SUPPORT, zeros, zeros.long(), theta), roles=ROLES, streams=Streams(0))
    leaf = theta.clone().requires_grad_()
    own, spread = logprobs(leaf, SUPPORT), entropies(leaf, SUPPORT)
    expected = (0 * leaf).sum()
    for index in itertools.combinations_with_replacement(range(len(SUPPORT)), size):
        rows = torch.tensor(index)
        orders = math.factorial(size) // math.prod(math.factorial(n) for n in Counter(index).values())
        weight = orders * chance[rows].prod()
        if not weight:
            continue
        for share, rewards in outcomes(index):
            batch = judged(objective, replace(every.rows(rows), rewards=rewards))
            terms = objective.loss(PolicyTokens(own[rows], spread[rows]), batch)
            expected = expected + weight * share * total(terms, {t.name: t.denominator for t in terms})
    return -torch.autograd.grad(expected, leaf)[0]


def slope(theta: Tensor, weights: Tensor) -> Tensor:
    """``sum_s pi(s) sum_t weights_st grad log pi(s_t)``: the closed forms are settings of ``weights``."""
    leaf = theta.clone().requires_grad_()
    own = logprobs(leaf, SUPPORT)
    return torch.autograd.grad((chances(theta)[:, None] * weights * own).sum(), leaf)[0]


def true_ascent(theta: Tensor, value: Tensor) -> Tensor:
    """Gradient of the expected reward."""
    return slope(theta, value[:, None] * MASK)


def close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-9, atol=1e-12)


def same_as_battery(objective: Objective) -> None:
    """What the battery asks of a default, asked of one setting."""
    battery.test_micro_batches_change_nothing(objective)
    battery.test_padding_changes_nothing(objective)
    battery.test_credit_and_marks_stay_inside_the_mask(objective)
    battery.test_terms_that_vanish_with_the_credit_and_no_others_say_so(objective)
    battery.test_groups_of_one_and_rows_without_tokens_are_defined(objective)
    battery.test_a_batch_without_a_token_is_defined(objective)
    for name in INVARIANTS:
        battery.test_an_objective_keeps_what_it_says_and_no_more(objective, name)
