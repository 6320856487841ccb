"""Long traces that emerge under an outcome reward were within the base's reach."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.emergent_traces_were_there import study

CLAIM = Claim(
    id="emergent-traces-were-there",
    version=2,
    question="Do long traces that appear under a simple reward come out of nothing?",
    statement="Traces that emerge under an outcome reward are ones that the base gave within a budget already.",
    source="Zeng et al. 2025 (SimpleRL-Zoo), arXiv 2503.18892; mixtures of traces, arXiv 2510.11495",
    threshold=Threshold(
        estimand="effect",
        says="share of the tuned policy's distinct verified traces that the base gives with p > 1/64",
        direction=1,
        smallest=0.5,
        why="the larger part",
    ),
    gates=(
        Gate(name="success, par", says="RL raises verified success", minimum=0.0),
        Gate(name="greedy, par", says="greedy answers of the base hide the traces", maximum=0.05),
    ),
    controls=(
        Gate(
            name="absent",
            says="where pretraining shows no long trace, none emerges",
            minimum=-0.05,
            maximum=0.05,
        ),
    ),
    study=study,
    study_says="two arms on each of three bases; short: three pretrainings, some 24 runs of 5 to 15 s",
    refuted_if="the interval over seeds lies below one half",
    methods=("new-domain",),
    not_shown=(
        "PAR has one valid trace a problem, and what RL asks is no longer than pretraining: RL can raise the "
        "choice of writing the trace, and only the tests of 10 and 12 bits could have shown one that was not "
        "there. A trace may be unlikely word by word and its kind likely: the share is a lower bound."
    ),
)
