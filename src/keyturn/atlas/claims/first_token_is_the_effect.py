"""Do methods that elicit do more than choose the first token?"""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.elicitation_studies import first_token

CLAIM = Claim(
    id="first-token-is-the-effect",
    version=2,
    question="Do methods that elicit do more than choose the first token?",
    statement="No method that changes no weight beats the best forced opener.",
    source=(
        "Wang and Zhou 2024, arXiv 2402.10200; He et al. 2026, arXiv 2601.08058; Sinii et al. 2025, "
        "arXiv 2509.06608: all act on the first token"
    ),
    threshold=Threshold(
        estimand="effect",
        says=(
            "success of the best other method of each base minus success of the forced opener, at 5 % worked, "
            "mean over bases; a method that asks a verifier about the answer does not count"
        ),
        direction=-1,
        smallest=0.05,
        why="one problem in twenty; the best of many is chosen after the fact, which is against the claim",
    ),
    gates=(Gate(name="the opener works", says="the forced opener raises success", minimum=0.0),),
    study=first_token,
    study_says="five bases under every row, RL and SFT of each; short: about 5 CPU minutes",
    minutes=5,
    refuted_if="the interval over bases (over problems where all bases agree) of the difference lies above .05",
    relations={"elicitation-needs-the-skill": ("extends", "what is in the base is reached by one token")},
    methods=("present-and-absent",),
    not_shown=(
        "Here the mode is chosen by the first token by construction. So the study shows how much else the "
        "methods do where the first token can do all; it cannot show that nothing else exists elsewhere."
    ),
)
