"""Under a random reward clipping moves a policy to its own habit, whatever that is; without it nothing does."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.clipping_moves_to_the_habit import study

CLAIM = Claim(
    id="clipping-moves-to-the-habit",
    version=3,
    question="Why does a random reward raise accuracy in some models?",
    statement=(
        "With several updates per rollout, clipping alone moves a policy to its dominant strategy under a "
        "reward that knows nothing: up where that strategy is good, down where it is bad."
    ),
    source="Shao et al. 2025 (Spurious rewards), arXiv 2506.10947, section 4",
    threshold=Threshold(
        estimand="effect",
        says="share of the dominant, good strategy after training on a coin with clipping, minus before",
        direction=1,
        smallest=0.05,
        why="a twentieth of all draws re-routed",
    ),
    gates=(
        Gate(name="habit before", says="the good base has the good habit", minimum=0.5),
        Gate(name="habit before, bad", says="the bad base has the bad habit", minimum=0.5),
    ),
    controls=(
        Gate(
            name="one update, good habit",
            says="with one update a rollout, where clipping does nothing, the share stays on average",
            minimum=-0.06,
            maximum=0.06,
        ),
        Gate(
            name="clip less no clip",
            says="without clipping the bases go no further towards their habits: it is not the updates alone",
            minimum=-0.03,
        ),
        Gate(
            name="bad habit",
            says="the bad base does not leave its habit: it is not the good strategy that is moved to",
            minimum=-0.1,
        ),
    ),
    study=study,
    study_says="three arms on two bases with eight seeds; short: two pretrainings, some 50 runs of 5 to 10 s",
    refuted_if=(
        "the interval over eight seeds lies below +.05 on the base whose habit is good; a bad base that leaves "
        "its habit, or no clipping that goes further than clipping, makes the run invalid"
    ),
    methods=("spurious", "random"),
    not_shown=(
        "Fifteen rollouts are few against the paper's hundreds; contamination, the rival explanation, cannot "
        "exist here, so what is seen is the optimiser's part alone. The arm of one update takes an eighth of "
        "the updates of the others. Without a visible shift of the bad base, support is for the good one."
    ),
)
