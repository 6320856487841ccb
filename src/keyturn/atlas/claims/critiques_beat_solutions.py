"""Learning to criticise answers teaches answering, and teaches it better than imitating right solutions."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.critiques_beat_solutions import study

CLAIM = Claim(
    id="critiques-beat-solutions",
    version=2,
    question="Does learning to judge answers teach more than imitating right solutions?",
    statement=(
        "A model that is fitted to critiques of right and wrong answers gives better direct answers than one "
        "that is fitted to the same number of tokens of right solutions of the same problems."
    ),
    source="Wang, Yue and Chen 2025, arXiv 2501.17703; one problem: Wang et al. 2025, arXiv 2506.03295",
    threshold=Threshold(
        estimand="effect",
        says="success on test problems, critiques minus right solutions, mean over seeds",
        direction=1,
        smallest=0.02,
        why="the paper's margin over its best imitation is 4 to 10 points; two points are of interest",
    ),
    gates=(Gate(name="corrected - base", says="right solutions teach something", minimum=0.0),),
    controls=(
        Gate(
            name="critique - shuffled",
            says="a critique paired with another answer teaches less: the judgement matters",
            minimum=0.0,
        ),
    ),
    study=study,
    study_says="ten kinds of training texts and the base; short: about 40 runs of 4 to 8 s",
    minutes=4,
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +.02",
    methods=("cft",),
    not_shown=(
        "A model this small forgets how to answer unless its own answers are mixed in; large models do not. "
        "The verifier's critiques are short and of a fixed form. Like a teacher's, a critique of a wrong "
        "answer contains the whole solution, so only the arms without it separate judging from imitating. The "
        "base never saw a critique and must also learn their language."
    ),
)
