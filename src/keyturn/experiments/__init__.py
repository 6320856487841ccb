"""Studies run plans over arms, seeds and learning rates; experiments pretrain their own bases."""

from __future__ import annotations

from keyturn.experiments import (
    competence_edge,
    competing_formats,
    meta_cot,
    new_domain,
    present_and_absent,
    switch_penalty,
    theory_of_mind,
)
from keyturn.experiments.contract import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    "edge": competence_edge.EXPERIMENT,
    "formats": competing_formats.EXPERIMENT,
    "meta-cot": meta_cot.EXPERIMENT,
    "new-domain": new_domain.EXPERIMENT,
    "present-and-absent": present_and_absent.EXPERIMENT,
    "switch-penalty": switch_penalty.EXPERIMENT,
    "tom": theory_of_mind.EXPERIMENT,
}
"""Name -> the experiment."""
