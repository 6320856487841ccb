"""A bias per layer is enough for RL, and not for SFT; and is it the bias, or would any few weights do?"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from keyturn.atlas.contract import Claim, Gate, Outcome, Subject, Threshold
from keyturn.atlas.planned import planned
from keyturn.policies.optimise import FitConfig
from keyturn.studies.arms import CHAIN_RL, base_arm, embedded_task, sizes_for, steps_for, usual
from keyturn.studies.plan import Arm, contrast, over_seeds, run_plan, values
from keyturn.training.contract import Task
from keyturn.training.lab import Lab
from keyturn.training.recipes.sft import TINY
from keyturn.training.recipes.small_sets import Chosen, SmallSetsConfig, by_rl, by_sft
from keyturn.training.stages import Model

RATES = (3e-4, 1e-3, 1e-2)
"""Of every arm: small sets like ten times the rate of all parameters."""
FULL_RATE = 1e-3
"""Of the full run whose largest changes are the hindsight mask."""
FIT: FitConfig = replace(TINY, steps=120, weight_decay=0.0)


def by_reward(lab: Lab, task: Task, lr: float, seed: int, *, config: SmallSetsConfig) -> Model:
    """RL of a set at a rate."""
    return by_rl(lab, task, replace(config, rl=replace(config.rl, lr=lr), full_lr=FULL_RATE), seed=seed)


def by_example(lab: Lab, task: Task, lr: float, seed: int, *, config: SmallSetsConfig) -> Model:
    """SFT of a set at a rate."""
    return by_sft(lab, task, replace(config, fit=replace(config.fit, lr=lr), full_lr=FULL_RATE), seed=seed)


def study(lab: Lab, subject: Subject) -> Outcome:
    """RL of five sets and SFT of four, on one base."""
    task = embedded_task(lab, subject.base)
    config = SmallSetsConfig(rl=steps_for(CHAIN_RL, subject.profile), fit=FIT)
    rewarded: tuple[Chosen, ...] = ("full", "bias", "rank-1", "random", "hindsight")
    shown: tuple[Chosen, ...] = ("full", "bias", "rank-1", "hindsight")
    arms = [
        base_arm(),
        *[
            Arm(name=f"RL {name}", train=partial(by_reward, config=replace(config, chosen=name)))
            for name in rewarded
        ],
        *[
            Arm(name=f"SFT {name}", train=partial(by_example, config=replace(config, chosen=name)))
            for name in shown
        ],
    ]
    sizes = replace(sizes_for(subject.profile), lrs=RATES)
    ran = run_plan(lab, task, arms, sizes, usual(16), name="few parameters")

    def against(arm: str, control: str):
        return contrast(ran, arm, control, "success")

    def lost(arm: str, whole: str):
        return values(ran, arm, "success") - values(ran, whole, "success")

    def less_lost(name: Chosen):
        return over_seeds(
            f"success: (RL {name} - RL full) - (SFT {name} - SFT full)",
            lost(f"RL {name}", "RL full") - lost(f"SFT {name}", "SFT full"),
        )

    numbers = {
        "effect": less_lost("bias"),
        "rank-1": less_lost("rank-1"),
        "hindsight mask": less_lost("hindsight"),
        "RL bias learns": against("RL bias", "base"),
        "RL learns": against("RL full", "base"),
        "SFT learns": against("SFT full", "base"),
        "RL bias less RL full": against("RL bias", "RL full"),
        "SFT bias less SFT full": against("SFT bias", "SFT full"),
        "RL rank-1 less RL full": against("RL rank-1", "RL full"),
        "SFT rank-1 less SFT full": against("SFT rank-1", "SFT full"),
        "bias less any few weights": against("RL bias", "RL random"),
        "hindsight mask less any few weights": against("RL hindsight", "RL random"),
        "hindsight mask less RL full": against("RL hindsight", "RL full"),
        "SFT hindsight mask less SFT full": against("SFT hindsight", "SFT full"),
    }
    return planned(
        lab,
        task,
        ran,
        numbers,
        setting=(
            f"base {subject.base!r}; {config.rl.steps} RL steps of {config.rl.prompts} x {config.rl.draws} "
            f"draws, or {FIT.steps} steps of SFT on gold traces; masks have as many numbers as the biases, a "
            "rank-1 adapter stands at every matrix but the head; rates "
            f"{', '.join(f'{rate:g}' for rate in sizes.lrs)} for every arm"
        ),
    )


CLAIM = Claim(
    id="few-parameters-suffice-for-rl",
    version=2,
    question="Is what RL brings so little that a few numbers hold it?",
    statement=(
        "Trained by RL, a vector per layer gets about as far as all parameters; trained by SFT at the same "
        "budget it falls behind."
    ),
    source="Sinii et al. 2025, arXiv 2505.18706; Morris et al. 2026 (TinyLoRA), arXiv 2602.04118",
    threshold=Threshold(
        estimand="effect",
        says="success that SFT loses by training biases only, minus what RL loses, mean over seeds",
        direction=1,
        smallest=0.05,
        why="one problem in twenty; the papers report some ten points",
    ),
    gates=(
        Gate(name="RL learns", says="RL of all parameters raises success", minimum=0.0),
        Gate(name="SFT learns", says="SFT of all parameters raises success", minimum=0.0),
    ),
    controls=(
        Gate(
            name="RL bias learns",
            says="the biases learn something by RL, so that the difference is not SFT's failure alone",
            minimum=0.0,
        ),
    ),
    study=study,
    study_says="nine arms and the base, three rates; short: some 45 runs of 4 s",
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +.05",
    methods=("small-sets",),
    not_shown=(
        "A base of 0.35M parameters has 288 numbers in its biases, one in a thousand; at 7B it is one in "
        "50,000. SFT and RL differ in their data here too (gold traces, own draws), as in the papers. The "
        "hindsight mask is found by a full run of RL and saves nothing, and a mask matched to it by matrix and "
        "size, which alone would say that its place counts, is not among the arms; nor is TinyLoRA."
    ),
)
