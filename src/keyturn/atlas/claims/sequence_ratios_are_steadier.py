"""Importance ratios of whole sequences (GSPO) compared with token ratios and other policy gradients."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Threshold
from keyturn.atlas.objective_gates import GRPO_LEARNS
from keyturn.experiments.contract import Subject
from keyturn.experiments.sequence_ratios_are_steadier import study

CLAIM = Claim(
    id="sequence-ratios-are-steadier",
    version=1,
    question="Do variants of the policy gradient differ for a small model and a short run?",
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
    study_says="seven objectives and the base, four updates per rollout; short: about 30 runs of 5 to 20 s",
    minutes=6.2,
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +.01",
    methods=("gspo", "cispo", "rloo", "reinforce", "reinforce_pp", "grpo"),
    not_shown=(
        "GSPO is meant for mixtures of experts and long answers, where token ratios are noisy. Neither occurs "
        "here, and sampler and trainer agree up to rounding."
    ),
)
