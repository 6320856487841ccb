"""Distillation works through the form of traces: wrong numbers in the right form teach about as well."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.form_carries_distillation import study

CLAIM = Claim(
    id="form-carries-distillation",
    version=1,
    question="Must the traces that a student imitates be right?",
    statement=(
        "A student learns the form of traces: traces with invalid steps, or traces of another problem, teach "
        "right answers about as well as valid ones."
    ),
    source="Stechly et al. 2025, arXiv 2505.13775; for prompts: Wang et al. 2023, arXiv 2212.10001",
    threshold=Threshold(
        estimand="effect",
        says="share of right answers, valid traces minus invalid traces with the same right answers",
        direction=-1,
        smallest=0.05,
        why=(
            "one answer in twenty; the paper's valid and invalid arms differ by less, or in the other direction"
        ),
    ),
    gates=(Gate(name="valid - base", says="valid traces teach something", minimum=0.0),),
    controls=(
        Gate(
            name="valid - filler",
            says="a valid trace teaches more than filler of its length, so validity could matter",
            minimum=0.0,
        ),
    ),
    study=study,
    study_says="six kinds of solutions and the base; short: about 25 runs of 2 to 5 s",
    minutes=1.5,
    default=Subject(base="chain"),
    refuted_if="the interval over seeds of valid minus invalid lies above +.05",
    methods=("distill",),
    not_shown=(
        "Here the answer ends the trace; in the paper's mazes a plan follows the record of a search. The "
        "numbers of an invalid trace are random and do not follow from one error. Experts are programs, not "
        "models."
    ),
)
