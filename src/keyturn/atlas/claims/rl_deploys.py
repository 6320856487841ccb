"""RL deploys what the base could already do and does not create: its gain lies on reachable problems."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.audited import audited
from keyturn.experiments.contract import Subject

CLAIM = Claim(
    id="rl-deploys",
    version=1,
    question="Does RL create reasoning, or deploy what the base model already has?",
    statement="Most of the gain of RL lies on problems that the base solves by itself within 64 draws.",
    source=(
        "Yue et al., 2025, arXiv 2504.13837; Wu et al., 2025, arXiv 2507.14843 "
        "(RL sharpens inside the base's support)"
    ),
    threshold=Threshold(
        estimand="deployed share",
        says="share of the gain that lies on problems reachable for the base at K = 64",
        direction=1,
        smallest=0.5,
        why="'most' means more than half",
    ),
    gates=(Gate(name="gain", says="RL worked: pass@1 rose (interval above 0)", minimum=0.0),),
    controls=(
        Gate(
            name="replicate gain",
            says="one half of the base's draws compared with the other shows no gain",
            minimum=-0.05,
            maximum=0.05,
        ),
    ),
    study=audited,
    study_says=(
        "trains the base by GRPO on its world (or takes your tuned model) and audits the pair on test "
        "problems; about two CPU minutes on an embedded world"
    ),
    minutes=2,
    default=Subject(base="graph"),
    refuted_if="the interval of the deployed share lies below one half",
    relations={
        "rl-narrows": ("extends", "a gain that is only deployed cannot widen coverage"),
        "atoms-compose": ("tension", "a base that knows atoms but cannot compose is the stated exception"),
    },
)
