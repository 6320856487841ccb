"""Importance ratios of whole sequences (GSPO) against those of tokens, and the other policy gradients."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Threshold
from keyturn.atlas.objective_gates import GRPO_LEARNS
from keyturn.experiments.contract import Subject
from keyturn.experiments.sequence_ratios_are_steadier import study

CLAIM = Claim(
    id="sequence-ratios-are-steadier",
    version=1,
    question="Do the variants of the policy gradient differ where a model is small and a run is short?",
    statement="A ratio of the whole sequence, clipped as a whole, trains faster than clipped ratios of tokens.",
    source="Zheng et al. 2025 (GSPO), arXiv 2507.18071",
    threshold=Threshold(
        estimand="effect",
        says="area under the verified-accuracy curve, GSPO minus GRPO",
        direction=1,
        smallest=0.01,
        why="one completion in a hundred on average over training",
    ),
    gates=(GRPO_LEARNS,),
    study=study,
    study_says="seven objectives and the base at four updates per rollout; short: some 30 runs of 5 to 20 s",
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +.01",
    methods=("gspo", "cispo", "rloo", "reinforce", "reinforce_pp", "grpo"),
    not_shown=(
        "GSPO is argued for mixtures of experts and long answers, where token ratios are noisy; there are "
        "neither here, and sampler and trainer agree to rounding."
    ),
)
