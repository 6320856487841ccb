"""RL with a verifiable reward narrows coverage: at a large budget the base solves more than the tuned model."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.audited import audited
from keyturn.experiments.contract import Subject

CLAIM = Claim(
    id="rl-narrows",
    version=1,
    question="Does RL with verifiable rewards enlarge the set of problems that a model can solve?",
    statement=(
        "RL raises success at one draw and lowers it at many: within K = 64 draws the base solves at least as "
        "many problems as the model that RL made of it."
    ),
    source="Yue et al., 2025, arXiv 2504.13837 (pass@k of base and RL-trained models cross at large k)",
    threshold=Threshold(
        estimand="pass@K tuned - base",
        says="tuned minus base verified pass@64, mean over problems",
        direction=-1,
        smallest=-0.02,
        why="one problem in fifty, more than a replicate of the base moves by itself",
    ),
    gates=(
        Gate(name="gain", says="RL worked: pass@1 rose (interval above 0)", minimum=0.0),
        Gate(name="base pass@K", says="the base solves something within K draws", minimum=0.05),
    ),
    controls=(
        Gate(
            name="replicate pass@K",
            says="two halves of the base's own draws differ by less than the effect of interest allows",
            minimum=-0.08,
            maximum=0.08,
        ),
    ),
    study=audited,
    study_says=(
        "trains the base by GRPO on its world (or takes your tuned model) and audits the pair on test "
        "problems; about two CPU minutes on an embedded world"
    ),
    minutes=2,
    default=Subject(base="graph"),
    refuted_if="the interval of tuned minus base pass@K lies above -0.02 while RL did raise pass@1",
    relations={"atoms-compose": ("tension", "coverage grows there, because the base composes only by chance")},
)
