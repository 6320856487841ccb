"""RL creates: if the base knows the atoms but cannot compose them, RL on outcomes teaches composing."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.audited import audited_beyond_training
from keyturn.experiments.contract import Subject

CLAIM = Claim(
    id="atoms-compose",
    version=2,
    question="Can RL create a skill that the base does not have?",
    statement=(
        "If a base can apply each function but has never composed them, RL on short compositions brings "
        "success on longer ones, which the base solves only by chance."
    ),
    source=(
        "Yuan et al., 2025, arXiv 2509.25123 (f(g(x)): RL composes known atoms and generalises to greater "
        "depth)"
    ),
    threshold=Threshold(
        estimand="created share",
        says=(
            "share of the gain at depths beyond training that lies on problems unreachable for the base at K "
            "= 64"
        ),
        direction=1,
        smallest=0.5,
        why="'creates' means more than half of the gain",
    ),
    gates=(
        Gate(name="gain", says="RL raised success beyond its training depths (interval above 0)", minimum=0.0),
        Gate(name="atoms", says="the base applies single functions: verified success at depth 1", minimum=0.8),
    ),
    controls=(
        Gate(
            name="base at floor",
            says="exact base success at the judged depths is at the chance floor (ratio to it at most 3)",
            maximum=3.0,
        ),
    ),
    study=audited_beyond_training,
    study_says=(
        "CHAIN: GRPO on compositions of depth 2 and 3 with outcome reward, judged at depths 5 and 6; "
        "about two CPU minutes"
    ),
    minutes=2,
    default=Subject(base="chain"),
    refuted_if="the interval of the created share lies below one half while RL did raise success there",
    relations={"rl-deploys": ("tension", "the gain lies beyond the base's reach")},
)
