"""A bias per layer is enough for RL but not for SFT. Is it the bias, or would any few weights do?"""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.few_parameters_suffice_for_rl import study

CLAIM = Claim(
    id="few-parameters-suffice-for-rl",
    version=2,
    question="Can RL's gain be stored in a few parameters?",
    statement=(
        "RL on one vector per layer gets about as far as RL on all parameters; SFT on the same vectors falls "
        "behind SFT on all parameters."
    ),
    source="Sinii et al. 2025, arXiv 2505.18706; Morris et al. 2026 (TinyLoRA), arXiv 2602.04118",
    threshold=Threshold(
        estimand="effect",
        says="success that SFT loses by training biases only, minus the success that RL loses, mean over seeds",
        direction=1,
        smallest=0.05,
        why="one problem in twenty; the papers report about ten points",
    ),
    gates=(
        Gate(name="RL learns", says="RL of all parameters raises success", minimum=0.0),
        Gate(name="SFT learns", says="SFT of all parameters raises success", minimum=0.0),
    ),
    controls=(
        Gate(
            name="RL bias learns",
            says="RL on biases raises success, so the difference is not SFT's failure alone",
            minimum=0.0,
        ),
    ),
    study=study,
    study_says="nine arms and the base, three rates; short: about 45 runs of 4 s",
    minutes=3,
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +.05",
    methods=("small-sets",),
    not_shown=(
        "The biases of a base with 0.35M parameters have 288 numbers, one in a thousand; at 7B it is one in "
        "50,000. As in the papers, SFT and RL also differ in their data (gold traces, own draws). The "
        "hindsight mask needs a full run of RL and saves nothing. Only a random mask of the same size in each "
        "matrix could show that its places matter, and that arm is missing; so is TinyLoRA."
    ),
)
