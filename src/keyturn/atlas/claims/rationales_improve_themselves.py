"""A small catalyst teaches a policy to enrich its own rationales, and learning those raises success without
gold."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.rationales_improve_themselves import study

CLAIM = Claim(
    id="rationales-improve-themselves",
    version=1,
    question="Can a policy improve on tasks where no answer can be verified?",
    statement=(
        "From a small catalyst a policy learns to enrich rationales; rewriting its own and keeping some "
        "without gold answers improves its answers."
    ),
    source="Self-Reasoning Language Models, ACL Findings 2025, arXiv 2505.14116",
    threshold=Threshold(
        estimand="effect",
        says="share of right answers, after one round with the consistency selector minus the base",
        direction=1,
        smallest=0.025,
        why="the paper's average gain is 2.5 points",
    ),
    gates=(Gate(name="longer", says="rationales did get richer: answers grew, in tokens", minimum=0.0),),
    controls=(
        Gate(
            name="padding",
            says="a catalyst that only pads does not raise the share of right answers",
            maximum=0.05,
        ),
    ),
    study=study,
    study_says="five ways and the base on GRAPH; short: some 25 runs of 8 to 16 s",
    default=Subject(base="graph"),
    refuted_if="the interval over seeds lies below +.025",
    methods=("self-improve",),
    not_shown=(
        "The catalyst is an expert's: unless the gain is more than that of the same solutions as "
        "demonstrations, it is teaching and not self-improvement. The paper's selectors are not known to us; "
        "these are ours."
    ),
)
