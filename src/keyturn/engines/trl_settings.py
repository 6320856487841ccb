"""Which settings of TRL's ``GRPOConfig`` are its own to decide, and which the objective decides instead.

TRL samples, batches, distributes, clips and steps. What shapes credit or loss is the objective's: a value there
that is not TRL's default would be read by nobody, so it is refused with the name of what to set instead.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

from keyturn.core.errors import UsageError
from keyturn.engines.contract import Engine, refuse
from keyturn.objectives.contract import Objective

TRL = Engine(name="TRL")
"""Its data can carry everything but demonstrations, and keyturn divides there itself."""

_OBJECTIVES = (
    *("beta", "epsilon", "epsilon_high", "delta", "loss_type", "importance_sampling_level", "scale_rewards"),
    *("top_entropy_quantile", "entropy_coef", "use_adaptive_entropy", "mask_truncated_completions"),
    *("multi_objective_aggregation", "off_policy_mask_threshold", "use_bias_correction_kl"),
    *("sync_ref_model",),
)
"""Settings that shape TRL's credit or loss, which are not used here."""

_PLAIN = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0}
"""Sampling under which the drawn distribution and the trained one are the same."""


def settings(args: Any, objective: Objective) -> Any:
    """A copy of a ``GRPOConfig`` that fits the objective.

    Args:
        args: what the user gave.
        objective: what is minimised.

    Raises:
        UsageError: TRL cannot carry the objective, or a setting contradicts it; the message names it.
    """
    refuse(objective, TRL)
    if args.use_liger_kernel:
        raise UsageError(
            "use_liger_kernel together with per-token credit: Liger's GRPO loss takes one advantage a row and "
            "spreads a table of them wrongly without a word; whether the flag brings it depends on the release",
            fix="leave use_liger_kernel off; Hub kernels (model_init_kwargs use_kernels) speed layers up",
        )
    usual = {item.name: item.default for item in dataclasses.fields(args)}
    given = [name for name in _OBJECTIVES if name in usual and getattr(args, name) != usual[name]]
    if given:
        raise UsageError(
            f"settings of TRL's own loss that the objective decides: {', '.join(given)}",
            fix=f"leave them at their defaults and configure the objective {objective.name!r}",
        )
    for name, plain in _PLAIN.items():
        if getattr(args, name) != plain:
            raise UsageError(
                f"{name} is {getattr(args, name)!r}: draws must be of the model's own distribution",
                fix=f"take {name}={plain!r}",
            )
    if args.steps_per_generation % args.gradient_accumulation_steps:
        raise UsageError(
            f"{args.steps_per_generation} micro-batches a generation do not make whole updates of "
            f"{args.gradient_accumulation_steps}, so that no denominator is known beforehand",
            fix="make steps_per_generation a multiple of gradient_accumulation_steps",
        )
    own = copy.copy(args)
    # The ratio is taken against the distribution that drew, which corrects for a sampler that differs.
    own.vllm_importance_sampling_correction = False
    if "reference_logprobs" in objective.needs:
        own.beta = 1.0  # TRL keeps a reference where this is not 0; the weight is the objective's
    return own
