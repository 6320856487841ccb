"""A policy learns when to think if its control word has a separate loss, but not with one mean over all
tokens."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.degrpo_learns_when_to_think import study

CLAIM = Claim(
    id="degrpo-learns-when-to-think",
    version=2,
    question="Does RL learn when to think, and does the control word need a separate loss for it?",
    statement=(
        "With a separate loss for the control word a policy learns when to think: it loses less reward than "
        "with one mean over all tokens, and less than by always or never thinking."
    ),
    source="Fang et al. 2025 (Thinkless), arXiv 2505.13379",
    threshold=Threshold(
        estimand="effect",
        says=(
            "regret against the best routing, in units of reward: the smallest regret of vanilla GRPO, always "
            "thinking and never thinking, minus that of DeGRPO (alpha 1/1000)"
        ),
        direction=1,
        smallest=0.05,
        why="a tenth of the price of thinking; a choice that ignores difficulty never beats the better mode",
    ),
    gates=(
        Gate(name="regret of the warm-up", says="there is something to route", minimum=0.05),
        Gate(
            name="short mode after the warm-up",
            says="some problems are answered in short mode",
            minimum=0.15,
            maximum=0.85,
        ),
        Gate(name="thinking after the warm-up", says="with thinking most answers are right", minimum=0.5),
    ),
    controls=(
        Gate(
            name="when, not how",
            says="training the control word alone raises regret by less than half the price of thinking",
            minimum=-0.25,
        ),
    ),
    study=study,
    study_says="five arms on CHAIN after a two-mode warm-up; short: one warm-up, about 17 runs of 10 s",
    minutes=2.8,
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +.05",
    methods=("thinkless", "degrpo", "token_subset", "mode_priced"),
    not_shown=(
        "Answers have a dozen tokens, so the control word is one token in twelve and not one in ten thousand. "
        "Adam cancels a common factor of the loss. Long reasoning of large models is not tried."
    ),
)
