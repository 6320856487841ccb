"""A small catalyst teaches a policy to enrich its rationales; learning those raises success without gold
answers."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.rationales_improve_themselves import study

CLAIM = Claim(
    id="rationales-improve-themselves",
    version=1,
    question="Can a policy improve on tasks whose answers cannot be verified?",
    statement=(
        "A policy learns from a small catalyst to enrich rationales. Rewriting its own and keeping some of "
        "them, chosen without gold answers, improves its answers."
    ),
    source="Self-Reasoning Language Models, ACL Findings 2025, arXiv 2505.14116",
    threshold=Threshold(
        estimand="effect",
        says="share of right answers, after one round with the consistency selector minus the base",
        direction=1,
        smallest=0.025,
        why="the paper's average gain is 2.5 points",
    ),
    gates=(Gate(name="longer", says="rationales got richer: completions grew, in tokens", minimum=0.0),),
    controls=(
        Gate(
            name="padding",
            says="a catalyst that only adds padding does not raise the share of right answers",
            maximum=0.05,
        ),
    ),
    study=study,
    study_says="five variants and the base on GRAPH; short: about 25 runs of 8 to 16 s",
    minutes=5,
    default=Subject(base="graph"),
    refuted_if="the interval over seeds lies below +.025",
    methods=("self-improve",),
    not_shown=(
        "An expert wrote the catalyst: unless the gain exceeds that of the same solutions as demonstrations, "
        "it is teaching and not self-improvement. The paper does not describe its selectors; these are ours."
    ),
)
