"""RL extends a skill only from problems at the edge of the base's competence."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.rl_needs_the_edge import study

CLAIM = Claim(
    id="rl-needs-the-edge",
    version=2,
    question="How hard must RL's problems be to extend what the base can do?",
    statement=(
        "RL on problems at the edge of competence carries over to harder ones; RL on mastered ones does not."
    ),
    source="Zhang, Neubig and Yue 2025, arXiv 2512.07783",
    threshold=Threshold(
        estimand="effect",
        says="verified success at depth 3 after RL on edge problems minus the better of mastered and hard ones",
        direction=1,
        smallest=0.03,
        why="the audit's margin of no change",
    ),
    gates=(
        Gate(name="in is mastered", says="the base masters depth 1", minimum=0.9),
        Gate(
            name="edge is an edge",
            says="depth 2 is neither mastered nor out of reach",
            minimum=0.02,
            maximum=0.7,
        ),
        Gate(name="hard is hard", says="depth 4 is out of reach", maximum=0.02),
        Gate(name="edge learns", says="RL at the edge raises success there", minimum=0.0),
    ),
    controls=(
        Gate(
            name="context unseen",
            says="RL in one context does not teach a context that pretraining never showed",
            maximum=0.1,
        ),
    ),
    study=study,
    study_says="ten arms on three bases; short: one pretraining, about 35 runs of 5 to 20 s",
    minutes=7.8,
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +.03",
    methods=("edge",),
    not_shown=(
        "All draws of a mastered problem get the same reward, so RL on such problems does nothing here by "
        "construction; a large model hardly masters any problem so fully. Contexts and mid-training are "
        "studied on GRAPH, where the base does not master its easy zone, at two exposures and one share."
    ),
)
