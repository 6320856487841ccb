"""A bias per layer is enough for RL, and not for SFT; and is it the bias, or would any few weights do?"""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.few_parameters_suffice_for_rl import study

CLAIM = Claim(
    id="few-parameters-suffice-for-rl",
    version=2,
    question="Is what RL brings so little that a few numbers hold it?",
    statement=(
        "Trained by RL, a vector per layer gets about as far as all parameters; trained by SFT at the same "
        "budget it falls behind."
    ),
    source="Sinii et al. 2025, arXiv 2505.18706; Morris et al. 2026 (TinyLoRA), arXiv 2602.04118",
    threshold=Threshold(
        estimand="effect",
        says="success that SFT loses by training biases only, minus what RL loses, mean over seeds",
        direction=1,
        smallest=0.05,
        why="one problem in twenty; the papers report some ten points",
    ),
    gates=(
        Gate(name="RL learns", says="RL of all parameters raises success", minimum=0.0),
        Gate(name="SFT learns", says="SFT of all parameters raises success", minimum=0.0),
    ),
    controls=(
        Gate(
            name="RL bias learns",
            says="the biases learn something by RL, so that the difference is not SFT's failure alone",
            minimum=0.0,
        ),
    ),
    study=study,
    study_says="nine arms and the base, three rates; short: some 45 runs of 4 s",
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +.05",
    methods=("small-sets",),
    not_shown=(
        "A base of 0.35M parameters has 288 numbers in its biases, one in a thousand; at 7B it is one in "
        "50,000. SFT and RL differ in their data here too (gold traces, own draws), as in the papers. The "
        "hindsight mask is found by a full run of RL and saves nothing, and a mask matched to it by matrix and "
        "size, which alone would say that its place counts, is not among the arms; nor is TinyLoRA."
    ),
)
