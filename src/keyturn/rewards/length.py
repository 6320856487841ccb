"""Length: pays for being short, long or near a given length, whatever the content.

Formula, with ``L_i`` the length of completion ``i`` (``[row]``)::

    long:    r_i = min(1, L_i / scale)
    short:   r_i = 1 - min(1, L_i / scale)
    target:  r_i = max(0, 1 - |L_i - target| / scale)

Denominator: ``scale``, in the unit of the length.
Degenerate: the verdict is not used, so a row that the verifier left ungraded has a reward; an empty text gets 1
under short and 0 under long. Tokens include the end-of-sequence token.
Known bias: it ignores the answer. A completion that was cut has its cut length, so long pays for never ending.
Source: Ours, as the control for effects of length alone; the target form follows the length term of L1
(2503.04697), which subtracts it from the outcome reward (here: ``sum`` of both).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.rewards.contract import Graded, Reward


@dataclass(frozen=True, kw_only=True)
class LengthConfig:
    """Settings of the length reward."""

    kind: Literal["short", "long", "target"] = "short"
    """Which length is rewarded."""
    scale: float = 1024.0
    """Length over which the reward runs from one end to the other, in units (ours)."""
    target: float = 512.0
    """Length with full reward, in units; for the kind target (ours)."""
    unit: Literal["tokens", "words", "characters"] = "tokens"
    """Unit of length."""


def length(config: LengthConfig = LengthConfig()) -> Reward:
    """The length reward with the given settings."""
    if config.kind not in ("short", "long", "target"):
        raise UsageError(f"kind is {config.kind!r}", fix="take 'short', 'long' or 'target'")
    if config.unit not in ("tokens", "words", "characters"):
        raise UsageError(f"unit is {config.unit!r}", fix="take 'tokens', 'words' or 'characters'")
    if not config.scale > 0:
        raise UsageError(f"scale is {config.scale}", fix="set a length above 0")
    return Reward(
        name="length",
        summary="pays for being short, long or near a given length, whatever the content",
        source="Ours; the target form after L1 2025, arXiv 2503.04697",
        reward=lambda graded: length_reward(graded, config),
        config=config,
        blind=True,
    )


def length_reward(graded: Graded, config: LengthConfig) -> NDArray[np.float32]:
    """One reward per completion, float32 ``[row]``."""
    drawn = graded.completions
    if config.unit == "tokens":
        counted = drawn.lengths.astype(np.float64)
    elif config.unit == "words":
        counted = np.array([len(text.split()) for text in drawn.texts], dtype=np.float64)
    else:
        counted = np.array([len(text) for text in drawn.texts], dtype=np.float64)
    if config.kind == "target":
        return np.maximum(0.0, 1.0 - np.abs(counted - config.target) / config.scale).astype(np.float32)
    share = np.minimum(1.0, counted / config.scale)
    return (share if config.kind == "long" else 1.0 - share).astype(np.float32)
