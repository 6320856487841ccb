"""Post-training methods as programs of stages, one file each."""

from __future__ import annotations

from keyturn.methods import (
    cft,
    distill,
    few_demos,
    omni,
    one_shot,
    precision,
    prorl,
    rejection,
    rlad,
    rpt,
    self_improve,
    sft,
    sft_then_rl,
    small_sets,
    spurious,
    srl,
    thinkless,
)
from keyturn.methods.contract import Recipe

RECIPES: dict[str, Recipe] = {
    "cft": cft.RECIPE,
    "distill": distill.RECIPE,
    "few-demos": few_demos.RECIPE,
    "omni": omni.RECIPE,
    "one-shot": one_shot.RECIPE,
    "precision": precision.RECIPE,
    "prorl": prorl.RECIPE,
    "rejection": rejection.RECIPE,
    "rpt": rpt.RECIPE,
    "self-improve": self_improve.RECIPE,
    "rlad": rlad.RECIPE,
    "sft": sft.RECIPE,
    "sft-then-rl": sft_then_rl.RECIPE,
    "small-sets": small_sets.RECIPE,
    "spurious": spurious.RECIPE,
    "srl": srl.RECIPE,
    "thinkless": thinkless.RECIPE,
}
"""Name -> the recipe."""
