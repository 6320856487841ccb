"""Dr. GRPO: GRPO without its two biasing divisions, by the group's deviation and by a row's length.

Formula, for row ``i`` of group ``g`` (``[row]``), ``L`` the length limit of the rollout::

    A_i  = r_i - mean_g r
    loss = - 1 / (rows * L) * sum_t,i m min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A)
           + kl_weight / (rows * L) * sum_t,i m k(l - l_ref)

Denominator: rows (those of silent groups included) times the length limit: a constant.
Degenerate: a group of equal rewards, or of one draw, has credit exactly 0; it counts in the denominator.
Known bias: stated in ``Objective.bias``; only the size of the gradient, not its direction, depends on ``G``.
Source: Liu et al. 2025 (2503.20783), section 3.2 and appendix A. Departures: none; the same as ``grpo`` with
``scale="none", aggregation="seq-mean-token-sum-norm"``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from keyturn.objectives.contract import Objective
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.objectives.kl import KlKind


@dataclass(frozen=True, kw_only=True)
class DrGrpoConfig:
    """Settings of Dr. GRPO."""

    clip_low: float = 0.2
    """Lower clip range of the ratio (2503.20783)."""
    clip_high: float = 0.2
    """Upper clip range of the ratio (2503.20783)."""
    kl_weight: float = 0.0
    """Weight of the penalty towards the reference, per nat (2503.20783: off)."""
    kl_kind: KlKind = "k3"
    """Sample of the KL that is the penalty; the gradient of k2 is that of KL(policy || reference)."""


def dr_grpo(config: DrGrpoConfig = DrGrpoConfig()) -> Objective:
    """Dr. GRPO with the given settings."""
    inner = grpo(
        GrpoConfig(
            clip_low=config.clip_low,
            clip_high=config.clip_high,
            scale="none",
            aggregation="seq-mean-token-sum-norm",
            kl_weight=config.kl_weight,
            kl_kind=config.kl_kind,
        )
    )
    return replace(
        inner,
        name="dr_grpo",
        summary="GRPO without division by the group's deviation or by a row's own length",
        source="Liu et al. 2025, arXiv 2503.20783, section 3.2",
        bias=(
            "The expected gradient is (1 - 1/G) / L times the true one, L the length limit: the group mean "
            "contains the row's own reward; neither difficulty nor length changes its direction."
        ),
        config=config,
    )
