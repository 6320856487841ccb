"""Signed evidence: learn from right answers alone, from wrong ones alone, or from both unequally.

Formula, for row ``i`` with reward ``r_i``, right if ``r_i > threshold`` (``[row]``)::

    positive   A_i = 1 [right]                     kept: right rows
    negative   A_i = -1 [wrong]                    kept: wrong rows
    weighted   A_i = weight [right] - 1 [wrong]    kept: all rows
    loss = - 1 / D * sum_t,i m min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A)

Denominator: ``D`` is the number of tokens of the kept rows (``kept``, as published: the last few failures still
give steps of full size) or of all rows (``all``: the step shrinks with the evidence).
Degenerate: there is no baseline, so a prompt whose draws are all right, or all wrong, has a gradient too.
Without a kept row there is no loss.

Effect on a token: for a drawn token ``y`` of a distribution ``pi`` over the vocabulary, the derivative of
``A log pi_y`` with respect to the logit of ``v`` is ``A ([v = y] - pi_v)``; that of ``A pi_y``, the form of the
paper's objective, is ``pi_y`` times that. The factor comes from averaging over draws: a single draw of an
unlikely wrong token is not pushed down weakly. The logits of the other tokens rise in proportion to their
probabilities, so of two others the likelier one gains more.
Known bias: stated in ``Objective.bias`` and proved by enumeration.
Source: Zhu et al. 2025 (2506.01347), PSR, NSR and W-REINFORCE, and the released code for credit, subsets and
the token mean. Departures: rewards that are not 0/1 are split at ``threshold``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from jaxtyping import Float

from keyturn.core.errors import UsageError, unknown
from keyturn.core.lazy import torch
from keyturn.objectives.contract import Objective, PolicyTokens, RolloutBatch, Term
from keyturn.objectives.grpo import SINGLE_UPDATE, GrpoConfig
from keyturn.objectives.grpo import loss as clipped_loss


@dataclass(frozen=True, kw_only=True)
class SignedConfig:
    """Settings of learning from signed evidence."""

    evidence: Literal["positive", "negative", "weighted"] = "weighted"
    """Right answers alone (PSR), wrong answers alone (NSR), or both (W-REINFORCE)."""
    weight: float = 0.1
    """Weight of right answers, with ``weighted`` (2506.01347: 0.1; 1 is REINFORCE)."""
    denominator: Literal["kept", "all"] = "kept"
    """Divide by the tokens of the kept rows (released code), or by those of all rows."""
    threshold: float = 0.5
    """An answer with a reward above this is right, in units of reward (2506.01347: rewards are 0 and 1)."""
    clip_low: float = 0.2
    """Lower clip range of the ratio (2506.01347)."""
    clip_high: float = 0.2
    """Upper clip range of the ratio (2506.01347)."""


def signed(config: SignedConfig = SignedConfig()) -> Objective:
    """Learning from signed evidence, with the given settings."""
    if config.evidence not in WEIGHTS:
        raise unknown("evidence", config.evidence, WEIGHTS)
    if config.denominator not in ("kept", "all"):
        raise unknown("denominator", config.denominator, ("kept", "all"))
    if config.weight < 0:
        raise UsageError(f"a weight of {config.weight} on right answers", fix="take 0 or more")
    inner = GrpoConfig(clip_low=config.clip_low, clip_high=config.clip_high, aggregation="token-mean")
    return Objective(
        name="signed",
        summary="REINFORCE without a baseline on right answers, on wrong answers, or on both unequally",
        source="Zhu et al. 2025, arXiv 2506.01347, PSR, NSR and W-REINFORCE",
        bias=(
            "With equal lengths T, n draws and success probability p the expected gradient is grad p / T "
            "times: 1 for 'positive' and for 'negative' alike with denominator 'all', 1 + weight for "
            "'weighted'; with 'kept' (1 - (1 - p)^n) / p for 'positive' and (1 - p^n) / (1 - p) for "
            "'negative': at the first update right and wrong evidence have the same direction, and differ "
            "only in step size and noise."
        ),
        credit=lambda batch: credit(batch, config),
        loss=lambda policy, batch: loss(policy, batch, inner, config),
        no_op_when_single_update=SINGLE_UPDATE,
        invariants=frozenset({"own group", "row order"}),
        config=config,
    )


WEIGHTS = {
    "positive": lambda weight: (1.0, 0.0),
    "negative": lambda weight: (0.0, -1.0),
    "weighted": lambda weight: (weight, -1.0),
}
"""Evidence -> ``weight -> (credit of a right row, credit of a wrong row)``."""


def credit(batch: RolloutBatch, config: SignedConfig) -> Float[torch.Tensor, "row token"]:
    """The signed credit of a row, on every generated token, ``[row, token]``."""
    of_right, of_wrong = WEIGHTS[config.evidence](config.weight)
    right = (batch.rewards > config.threshold).to(batch.rewards.dtype)
    return (of_right * right + of_wrong * (1 - right))[:, None] * batch.mask


def loss(
    policy: PolicyTokens, batch: RolloutBatch, inner: GrpoConfig, config: SignedConfig
) -> tuple[Term, ...]:
    """The clipped surrogate on the kept rows."""
    assert batch.credit is not None, "credit comes before loss"
    if config.denominator == "kept" and config.evidence != "weighted":
        batch = replace(batch, mask=batch.mask & (batch.credit != 0))
    return clipped_loss(policy, batch, inner)
