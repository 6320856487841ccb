"""DAPO: GRPO with a higher upper clip range, equal weight for all tokens of the batch, and without cut answers.

Formula, for row ``i`` of group ``g`` with ``A_i`` as in GRPO and ``k = m`` without the rows that were cut at
the length limit (``[row, token]``)::

    loss = - 1 / (sum_t,i k) * sum_t,i k min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A)
           + kl_weight / (sum_t,i k) * sum_t,i k k3(l - l_ref)

Denominator: tokens of the whole batch, without those of cut rows but with those of silent groups.
Degenerate: a group of equal rewards, or of one draw, has credit exactly 0. A batch of only cut rows has no
loss. Known bias: stated in ``Objective.bias`` and proved by enumeration. A cut row still counts in the mean and
the deviation of its group, so it affects the credit of others but gets none.
Source: Yu et al. 2025 (2503.14476), equation 8 and sections 3.1, 3.3, 3.4. Departures: dynamic sampling (3.2)
belongs to the training loop (``RLConfig.rounds``), and the soft overlong punishment (3.4, eq. 13) is a reward;
the penalty towards a reference, which is off there, is an option because ProRL (2505.24864) uses DAPO with one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from keyturn.objectives.contract import Objective, RolloutBatch
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.objectives.kl import KlKind


@dataclass(frozen=True, kw_only=True)
class DapoConfig:
    """Settings of DAPO."""

    clip_low: float = 0.2
    """Lower clip range of the ratio (2503.14476)."""
    clip_high: float = 0.28
    """Upper clip range of the ratio: clip-higher (2503.14476)."""
    overlong_filter: bool = True
    """Leave rows cut at the length limit out of the loss and of its denominator (2503.14476, section 3.4)."""
    std_epsilon: float = 1e-4
    """Added to the standard deviation, in units of reward (TRL's value; verl takes 1e-6)."""
    kl_weight: float = 0.0
    """Weight of the penalty towards the reference, per nat (2503.14476: off)."""
    kl_kind: KlKind = "k3"
    """Sample of the KL that is the penalty; the gradient of k2 is that of KL(policy || reference)."""


def dapo(config: DapoConfig = DapoConfig()) -> Objective:
    """DAPO with the given settings."""
    inner = grpo(
        GrpoConfig(
            clip_low=config.clip_low,
            clip_high=config.clip_high,
            std_epsilon=config.std_epsilon,
            aggregation="token-mean",
            kl_weight=config.kl_weight,
            kl_kind=config.kl_kind,
        )
    )
    seen = without_truncated if config.overlong_filter else _all
    return replace(
        inner,
        name="dapo",
        summary="GRPO with clip-higher, a token mean over the batch, and without the rows that were cut",
        source="Yu et al. 2025, arXiv 2503.14476, equation 8",
        bias=(
            "A batch's gradient is sum_i A_i grad log pi(o_i) over uncut rows divided by their number of "
            "tokens, A_i as in GRPO: with equal lengths and nothing cut GRPO's w_G(p) / T times the true one; "
            "else a batch of short rows has more weight per token, and with the overlong filter a cut row is "
            "neither penalised nor rewarded."
        ),
        # Cut rows count in the statistics of their group and are hidden afterwards.
        credit=lambda batch: inner.credit(batch) * seen(batch).mask,
        loss=lambda policy, batch: inner.loss(policy, seen(batch)),
        config=config,
    )


def without_truncated(batch: RolloutBatch) -> RolloutBatch:
    """The batch without tokens of rows that were cut at the length limit."""
    return replace(batch, mask=batch.mask & ~batch.truncated[:, None])


def _all(batch: RolloutBatch) -> RolloutBatch:
    return batch
