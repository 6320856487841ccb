"""Post-training methods as programs of stages, one file each."""

from __future__ import annotations

from keyturn.training.contract import Recipe
from keyturn.training.recipes import rejection, sft, sft_then_rl

RECIPES: dict[str, Recipe] = {
    "rejection": rejection.RECIPE,
    "sft": sft.RECIPE,
    "sft-then-rl": sft_then_rl.RECIPE,
}
"""Name -> the recipe."""
