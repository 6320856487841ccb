"""Post-training methods as programs of stages, one file each."""

from __future__ import annotations

from keyturn.training.contract import Recipe
from keyturn.training.recipes import one_shot, prorl, rejection, sft, sft_then_rl

RECIPES: dict[str, Recipe] = {
    "one-shot": one_shot.RECIPE,
    "prorl": prorl.RECIPE,
    "rejection": rejection.RECIPE,
    "sft": sft.RECIPE,
    "sft-then-rl": sft_then_rl.RECIPE,
}
"""Name -> the recipe."""
