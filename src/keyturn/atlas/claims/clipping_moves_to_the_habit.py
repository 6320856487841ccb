"""Under a random reward, clipping moves a policy towards its habit, good or bad; without clipping nothing
does."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.clipping_moves_to_the_habit import study

CLAIM = Claim(
    id="clipping-moves-to-the-habit",
    version=3,
    question="Why does a random reward raise accuracy in some models?",
    statement=(
        "With several updates per rollout and a random reward, clipping alone moves a policy towards its "
        "dominant strategy. Accuracy rises if that strategy is good and falls if it is bad."
    ),
    source="Shao et al. 2025 (Spurious rewards), arXiv 2506.10947, section 4",
    threshold=Threshold(
        estimand="effect",
        says=(
            "share of the dominant, good strategy after training on coin-flip rewards with clipping, minus "
            "before"
        ),
        direction=1,
        smallest=0.05,
        why="one draw in twenty changes its strategy",
    ),
    gates=(
        Gate(name="habit before", says="the good base has the good habit", minimum=0.5),
        Gate(name="habit before, bad", says="the bad base has the bad habit", minimum=0.5),
    ),
    controls=(
        Gate(
            name="one update, good habit",
            says="with one update per rollout, where clipping has no effect, the share stays on average",
            minimum=-0.06,
            maximum=0.06,
        ),
        Gate(
            name="clip less no clip",
            says="without clipping the bases move no further towards their habits: clipping is the cause",
            minimum=-0.03,
        ),
        Gate(
            name="bad habit",
            says="the bad base does not leave its habit: the move is not towards the good strategy",
            minimum=-0.1,
        ),
    ),
    study=study,
    study_says="three arms on two bases with eight seeds; short: two pretrainings, about 50 runs of 5 to 10 s",
    minutes=7.2,
    refuted_if=(
        "the interval over eight seeds lies below +.05 on the base whose habit is good; the run is invalid if "
        "the bad base leaves its habit, or if training without clipping moves further than with it"
    ),
    methods=("spurious", "random"),
    not_shown=(
        "Fifteen rollouts are few compared with the paper's hundreds. Contamination, the rival explanation, "
        "cannot occur here, so the study shows the optimiser's part alone. The arm with one update per rollout "
        "makes an eighth of the updates of the others. If the bad base shows no shift, only the good base "
        "supports the claim."
    ),
)
