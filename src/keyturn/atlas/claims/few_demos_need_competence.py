"""A few dozen good demonstrations suffice, but only for a base that already masters the parts."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.few_demos_need_competence import study

CLAIM = Claim(
    id="few-demos-need-competence",
    version=2,
    question="Do a few good demonstrations suffice?",
    statement=(
        "A few dozen curated demonstrations bring a large gain only if the base is already competent: a base "
        "that half knows the parts gains little from them."
    ),
    source="Xiao et al. 2025 (LIMI), arXiv 2509.17567",
    threshold=Threshold(
        estimand="effect",
        says="gain in verified answers from 78 demonstrations on the weak base, mean over seeds",
        direction=-1,
        smallest=0.1,
        why="the paper's gains are 25 points on its strongest base and 3 to 4 on 4B to 8B models",
    ),
    gates=(
        Gate(name="gain on the strong base", says="78 demonstrations help the strong base much", minimum=0.2),
        Gate(
            name="competence", says="the strong base knows single maps better than the weak one", minimum=0.05
        ),
        Gate(name="weak base", says="the weak base does not solve these problems already", maximum=0.5),
        Gate(name="strong base", says="the strong base does not either", maximum=0.5),
    ),
    controls=(
        Gate(
            name="78 good - 78 a tenth wrong",
            says="right solutions are not worse than the same number with a tenth wrong",
            minimum=-0.05,
        ),
    ),
    study=study,
    study_says="count x quality on two CHAIN bases; short: about 55 runs of 3 s, one pretraining of 30 s",
    minutes=3.2,
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies above +.1",
    methods=("few-demos", "sft"),
    not_shown=(
        "Competence here means how well single maps are known. In the paper it is the competence of models "
        "with 4B to 355B parameters, and one group made benchmark and data. Answers have one turn and are not "
        "an agent's trajectory."
    ),
)
