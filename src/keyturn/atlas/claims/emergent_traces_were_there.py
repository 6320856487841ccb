"""Long traces that emerge under an outcome reward were within the base's reach."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.emergent_traces_were_there import study

CLAIM = Claim(
    id="emergent-traces-were-there",
    version=2,
    question="Are long traces that appear under a simple reward new?",
    statement=(
        "Traces that emerge under an outcome reward are ones that the base already gives within its budget."
    ),
    source="Zeng et al. 2025 (SimpleRL-Zoo), arXiv 2503.18892; mixtures of traces, arXiv 2510.11495",
    threshold=Threshold(
        estimand="effect",
        says="share of the tuned policy's distinct verified traces that the base draws with p > 1/64",
        direction=1,
        smallest=0.5,
        why="more than half",
    ),
    gates=(
        Gate(name="success, par", says="RL raises verified success", minimum=0.0),
        Gate(name="greedy, par", says="the base's greedy answers do not show the traces", maximum=0.05),
    ),
    controls=(
        Gate(
            name="absent",
            says="no long trace emerges if pretraining contains none",
            minimum=-0.05,
            maximum=0.05,
        ),
    ),
    study=study,
    study_says="two arms on each of three bases; short: three pretrainings, about 24 runs of 5 to 15 s",
    minutes=5.5,
    refuted_if="the interval over seeds lies below one half",
    methods=("new-domain",),
    not_shown=(
        "PAR has one valid trace per problem, and RL's problems are no longer than those of pretraining. So "
        "RL can raise how often the trace is written, and only the tests with 10 and 12 bits could have shown "
        "a new one. A trace may be unlikely token by token although its kind is likely: the share is a lower "
        "bound."
    ),
)
