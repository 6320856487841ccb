"""Objectives: pure functions from rewards to credit to loss, on tensors, one file each."""

from __future__ import annotations

from collections.abc import Callable

from keyturn.objectives.chord import chord
from keyturn.objectives.cispo import cispo
from keyturn.objectives.clip_cov import clip_cov
from keyturn.objectives.contract import Objective
from keyturn.objectives.dapo import dapo
from keyturn.objectives.degrpo import degrpo
from keyturn.objectives.dr_grpo import dr_grpo
from keyturn.objectives.grpo import grpo
from keyturn.objectives.gspo import gspo
from keyturn.objectives.hicra import hicra
from keyturn.objectives.kl_cov import kl_cov
from keyturn.objectives.passk_grpo import passk_grpo
from keyturn.objectives.reinforce import reinforce
from keyturn.objectives.reinforce_pp import reinforce_pp
from keyturn.objectives.rloo import rloo
from keyturn.objectives.signed import signed
from keyturn.objectives.token_subset import token_subset

OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "grpo": grpo,
    "reinforce": reinforce,
    "rloo": rloo,
    "cispo": cispo,
    "dapo": dapo,
    "dr_grpo": dr_grpo,
    "gspo": gspo,
    "passk_grpo": passk_grpo,
    "reinforce_pp": reinforce_pp,
    "hicra": hicra,
    "chord": chord,
    "degrpo": degrpo,
    "signed": signed,
    "kl_cov": kl_cov,
    "clip_cov": clip_cov,
    "token_subset": token_subset,
}
"""Name -> function that builds the objective from its config (by default the default config)."""
