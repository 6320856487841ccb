"""Post-training methods as programs of stages, one file each."""

from __future__ import annotations

from keyturn.training.contract import Recipe
from keyturn.training.recipes import (
    cft,
    distill,
    edge,
    formats,
    new_domain,
    one_shot,
    prorl,
    rejection,
    sft,
    sft_then_rl,
)

RECIPES: dict[str, Recipe] = {
    "cft": cft.RECIPE,
    "distill": distill.RECIPE,
    "edge": edge.RECIPE,
    "formats": formats.RECIPE,
    "new-domain": new_domain.RECIPE,
    "one-shot": one_shot.RECIPE,
    "prorl": prorl.RECIPE,
    "rejection": rejection.RECIPE,
    "sft": sft.RECIPE,
    "sft-then-rl": sft_then_rl.RECIPE,
}
"""Name -> the recipe."""
