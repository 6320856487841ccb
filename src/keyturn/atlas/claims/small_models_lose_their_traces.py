"""RL on theory of mind raises accuracy at every size; small models lose their belief traces, large ones do
not."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.small_models_lose_their_traces import study

CLAIM = Claim(
    id="small-models-lose-their-traces",
    version=2,
    question="Does RL on answers about beliefs teach tracking beliefs, or answering without tracking?",
    statement=(
        "RL raises accuracy on theory of mind at every size, but the trace of beliefs collapses in small "
        "models and survives in large ones."
    ),
    source="Lu et al. 2025 (ToM-RL), arXiv 2504.01698",
    threshold=Threshold(
        estimand="effect",
        says="change of trace F1 by RL, smallest width minus largest, mean over seeds",
        direction=-1,
        smallest=-0.1,
        why="one in ten of the beliefs that a trace states",
    ),
    gates=(
        Gate(name="accuracy gained, small", says="RL raises accuracy at the smallest width", minimum=0.0),
        Gate(name="trace F1 before, small", says="the smallest base has traces to lose", minimum=0.2),
    ),
    controls=(
        Gate(
            name="traces paid, small",
            says="a reward for traces keeps them: the smallest model is able to write them",
            minimum=-0.1,
        ),
    ),
    study=study,
    study_says="seven arms on three bases; short: three pretrainings of 650 steps, about 19 runs of 10 s",
    minutes=4.7,
    refuted_if="the interval over seeds lies above -.1",
    methods=("tom", "process"),
    not_shown=(
        "Widths of 32 to 96 channels stand for 0.5e9 to 7e9 parameters. The paper's format reward, which pays "
        "for a trace's tags and not its content, is missing."
    ),
)
