"""What a rule of switching is worth in SEARCH: its success within a number of tokens, computed exactly.

A rule is the probability of giving an attempt up after each step that was no hit, ``sigma(d)``. Tokens: two
for the beginning of an attempt (``DO x`` or ``BK x``), two a step (``; y``), four for the end (``OK ANS x
EOS``). With ``p_h`` the probability that an attempt hits after ``h`` steps, ``s_d = prod_{j<d} (1 -
sigma(j))`` and ``r`` tokens left::

    V(r) = sum_h p_h ( s_h [6 + 2 h <= r] + sum_{d<h} s_d sigma(d) V(r - 2 - 2 d) )
           + p_never sum_d s_d sigma(d) V(r - 2 - 2 d)

Denominator: one problem. Degenerate: a rule that never switches has one attempt. Known bias: none for a
policy that begins uniformly and makes no wrong step; a model that does either otherwise has another value,
and the difference is what it does not do as assumed. Source: ours; the penalty is that of Wang et al. 2025
(2501.18585).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from keyturn.core.errors import UsageError

Rule = Callable[[int], float]
"""``(depth) -> probability of giving up there``."""


def value_of(hits: Mapping[int, float], rule: Rule, tokens: int) -> float:
    """Success of a rule within a number of tokens.

    Args:
        hits: steps -> probability that an attempt comes to the target after just so many.
        rule: of switching.
        tokens: that an answer may have.

    Raises:
        UsageError: the probabilities sum to more than one.
    """
    never = 1 - math.fsum(hits.values())
    if never < -1e-9:
        raise UsageError(f"hits with a probability of {1 - never:g}", fix="at most 1 in all")
    values = [0.0] * (tokens + 1)
    deepest = tokens // 2
    given_up = [rule(depth) for depth in range(1, deepest + 1)]
    stays = [1.0]
    for one in given_up:
        stays.append(stays[-1] * (1 - one))
    for left in range(tokens + 1):
        total = 0.0
        for steps, chance in hits.items():
            if 6 + 2 * steps <= left:
                total += chance * stays[steps - 1]
        for depth in range(1, deepest + 1):
            rest = left - 2 - 2 * depth
            if rest < 0:
                break
            later = max(never, 0.0) + math.fsum(chance for steps, chance in hits.items() if steps > depth)
            total += later * stays[depth - 1] * given_up[depth - 1] * values[rest]
        values[left] = total
    return values[tokens]


def after(depth: int) -> Rule:
    """Give up after just so many steps."""
    return lambda at: float(at >= depth)


def penalised(switch: float, penalty: float, duration: int) -> Rule:
    """A constant probability of switching under a penalty on the switch token.

    Args:
        switch: probability without a penalty.
        penalty: taken from the switch token's logit; negative is added.
        duration: tokens since the last switch for which it is taken. The choice after step ``d`` is the token
            ``2 + 2 d`` after it.
    """
    odds = switch / (1 - switch) * math.exp(-penalty)
    lowered = odds / (1 + odds)
    return lambda depth: lowered if 2 + 2 * depth < duration else switch


def best_depth(hits: Mapping[int, float], tokens: int) -> tuple[int, float]:
    """The best step at which to give an attempt up, the earliest of equal ones, and what that is worth."""
    found = {depth: value_of(hits, after(depth), tokens) for depth in range(1, max(tokens // 2, 1) + 1)}
    best = max(found, key=lambda depth: (round(found[depth], 12), -depth))
    return best, found[best]
