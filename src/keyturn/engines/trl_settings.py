"""Settings of TRL's ``GRPOConfig``: those that TRL decides, and those that the objective decides instead.

TRL samples, batches, distributes, clips and steps. The objective decides credit and loss. A setting of these
that differs from TRL's default would have no effect, so it is refused with the name of the setting to use
instead.
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
"""Settings of TRL's credit or loss, which are not used here."""

_PLAIN = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0}
"""Sampling settings with which draws come from the distribution that is trained."""


def settings(args: Any, objective: Objective) -> Any:
    """A copy of a ``GRPOConfig`` that fits the objective.

    Args:
        args: the user's settings.
        objective: the objective.

    Raises:
        UsageError: TRL cannot carry the objective, or a setting contradicts it; the message names it.
    """
    refuse(objective, TRL)
    if args.use_liger_kernel:
        raise UsageError(
            "use_liger_kernel together with per-token credit: Liger's GRPO loss takes one advantage per row "
            "and silently misapplies a table of them; whether the flag enables it depends on the release",
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
                f"{name} is {getattr(args, name)!r}: draws must come from the model's own distribution",
                fix=f"set {name}={plain!r}",
            )
    if args.steps_per_generation % args.gradient_accumulation_steps:
        raise UsageError(
            f"{args.steps_per_generation} micro-batches per generation are not a multiple of "
            f"{args.gradient_accumulation_steps}, so the denominator of an update is not known beforehand",
            fix="make steps_per_generation a multiple of gradient_accumulation_steps",
        )
    own = copy.copy(args)
    # The ratio uses the sampler's distribution, which corrects for a sampler that differs from the trainer.
    own.vllm_importance_sampling_correction = False
    if "reference_logprobs" in objective.needs:
        own.beta = 1.0  # TRL keeps a reference if this is not 0; the objective decides the weight
    return own
