"""Distillation works by the form of traces: wrong numbers in the right form serve about as well."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.form_carries_distillation import study

CLAIM = Claim(
    id="form-carries-distillation",
    version=1,
    question="Must the traces that a student imitates be right?",
    statement=(
        "What a student gains from traces is their form: traces that are invalid step by step, or another "
        "problem's, teach right answers about as well as valid ones."
    ),
    source="Stechly et al. 2025, arXiv 2505.13775; of prompts: Wang et al. 2023, arXiv 2212.10001",
    threshold=Threshold(
        estimand="effect",
        says="share of right answers, valid traces minus invalid ones under the same right answers",
        direction=-1,
        smallest=0.05,
        why="one answer in twenty; valid and invalid arms of the paper lie closer than that, or the other way",
    ),
    gates=(Gate(name="valid - base", says="valid traces teach something", minimum=0.0),),
    controls=(
        Gate(
            name="valid - filler",
            says="a valid trace is worth more than its length, so that validity could matter at all",
            minimum=0.0,
        ),
    ),
    study=study,
    study_says="six kinds of solutions and the base; short: some 25 runs of 2 to 5 s",
    default=Subject(base="chain"),
    refuted_if="the interval over seeds of valid minus invalid lies above +.05",
    methods=("distill",),
    not_shown=(
        "Here the answer is the end of the trace; in the paper's mazes a plan follows a record of a search. "
        "The numbers of an invalid trace are drawn, not carried on from an error. Experts are programs, not "
        "models."
    ),
)
