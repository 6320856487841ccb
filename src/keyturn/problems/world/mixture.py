"""A mixture with declared weights, which must sum to one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from keyturn.core.errors import UsageError
from keyturn.problems.world.dice import Dice

_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Mixture:
    """Named parts and the share of documents that each gets.

    Args:
        weights: part -> share in [0, 1]; the shares sum to one.
        what: name of the parts in the error's sentence.

    Raises:
        UsageError: a share is negative or not finite, or the sum is not one.
    """

    weights: Mapping[str, float]
    what: str = "components of the corpus"
    names: tuple[str, ...] = field(init=False)
    """Parts with a positive share, in the order given."""
    cumulative: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        bad = [name for name, share in self.weights.items() if not (math.isfinite(share) and share >= 0)]
        if bad:
            raise UsageError(f"{self.what}: the share of {bad[0]} is {self.weights[bad[0]]}", fix="0 or more")
        total = math.fsum(self.weights.values())
        if abs(total - 1) > _TOLERANCE:
            said = ", ".join(f"{name} {share:g}" for name, share in self.weights.items()) or "none"
            raise UsageError(
                f"the shares of the {self.what} sum to {total:g}, not 1 ({said})", fix="shares that sum to 1"
            )
        names = tuple(name for name, share in self.weights.items() if share > 0)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "cumulative", tuple(accumulate(self.weights[name] for name in names)))

    def draw(self, dice: Dice) -> str:
        """A part, with the probability of its share."""
        return self.names[dice.weighted(self.cumulative)]
