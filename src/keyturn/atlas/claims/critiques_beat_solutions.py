"""Learning to criticise answers teaches to answer, and more so than imitating right solutions."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.critiques_beat_solutions import study

CLAIM = Claim(
    id="critiques-beat-solutions",
    version=2,
    question="Does learning to judge answers teach more than imitating right ones?",
    statement=(
        "A model fitted to critiques of right and wrong answers answers better, asked directly, than one "
        "fitted to as many tokens of right solutions of the same problems."
    ),
    source="Wang, Yue and Chen 2025, arXiv 2501.17703; one problem: Wang et al. 2025, arXiv 2506.03295",
    threshold=Threshold(
        estimand="effect",
        says="success on test problems, critiques minus right solutions, mean over seeds",
        direction=1,
        smallest=0.02,
        why="the paper's margin over its best imitation is 4 to 10 points; a fiftieth is of interest",
    ),
    gates=(Gate(name="corrected - base", says="right solutions teach something", minimum=0.0),),
    controls=(
        Gate(
            name="critique - shuffled",
            says="a critique under another answer is worth less: it is the judgement that teaches",
            minimum=0.0,
        ),
    ),
    study=study,
    study_says="ten kinds of material and the base; short: some 40 runs of 4 to 8 s",
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +.02",
    methods=("cft",),
    not_shown=(
        "Without its own answers beside them a model this small forgets to answer, which large ones do not. "
        "The verifier's critiques are short and of a fixed form, and what they say of a wrong answer holds the "
        "whole solution, as teachers' do: only the arms without it tell judging from imitating. A base that "
        "never saw a critique learns their language on the way."
    ),
)
