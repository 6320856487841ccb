"""More credit on planning tokens (HICRA) learns faster than equal credit, if the base executes reliably."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.hicra_beats_grpo import study

CLAIM = Claim(
    id="hicra-beats-grpo",
    version=3,
    question="Should RL give planning tokens more credit?",
    statement=(
        "Amplified credit on planning tokens learns faster than equal credit for all tokens if execution is "
        "reliable, because then planning remains to be learnt. It does not if execution fails."
    ),
    source="Wang et al. 2025 (HICRA), arXiv 2509.03646",
    threshold=Threshold(
        estimand="effect",
        says="area under the verified-accuracy curve, HICRA minus GRPO, on the base that executes well",
        direction=1,
        smallest=0.01,
        why="one completion in a hundred on average over training",
    ),
    gates=(Gate(name="GRPO learns", says="GRPO raises success on the test problems", minimum=0.0),),
    controls=(
        Gate(
            name="random reward",
            says=(
                "under a random reward the rule gains less than .05 of area over GRPO, as far as five seeds "
                "can show (a gain would be drift, not credit)"
            ),
            maximum=0.05,
        ),
    ),
    study=study,
    study_says="eighteen arms on two GRAPH bases, five seeds each; short: about 100 runs of 10 to 25 s",
    minutes=29,
    default=Subject(base="graph"),
    refuted_if=(
        "the interval over five seeds lies below +.01 on the base that executes well; the placebo, the other "
        "rules and the base that executes badly are also shown and do not decide"
    ),
    methods=("hicra",),
    not_shown=(
        "Planning here is the choice of strategy and of the next variable, a few tokens of a fixed grammar; "
        "in natural text it is phrases. The base that executes badly is undertrained: it was stopped at two "
        "fifths of the same recipe, and it also plans worse. The share of planning tokens falls if "
        "completions grow by other tokens, whatever the policy plans. The paper does not publish its learning "
        "rate, batch and clip range, and its gains are from single runs."
    ),
)
