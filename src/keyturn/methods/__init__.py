"""Post-training methods: how a model is trained and what is reported of it, a file or a folder each."""

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
from keyturn.methods.contract import Method

METHODS: dict[str, Method] = {
    "cft": cft.METHOD,
    "distill": distill.METHOD,
    "few-demos": few_demos.METHOD,
    "omni": omni.METHOD,
    "one-shot": one_shot.METHOD,
    "precision": precision.METHOD,
    "prorl": prorl.METHOD,
    "rejection": rejection.METHOD,
    "rpt": rpt.METHOD,
    "self-improve": self_improve.METHOD,
    "rlad": rlad.METHOD,
    "sft": sft.METHOD,
    "sft-then-rl": sft_then_rl.METHOD,
    "small-sets": small_sets.METHOD,
    "spurious": spurious.METHOD,
    "srl": srl.METHOD,
    "thinkless": thinkless.METHOD,
}
"""Name -> the method."""
