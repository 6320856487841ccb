"""RL on outcome rewards learns to compose known atoms; imitating one's own successes does not go beyond."""

from __future__ import annotations

from dataclasses import replace

from keyturn.atlas.contract import Claim, Gate, Outcome, Subject, Threshold
from keyturn.atlas.planned import planned
from keyturn.objectives import OBJECTIVES
from keyturn.rewards import REWARDS
from keyturn.studies.arms import CHAIN_RL, base_arm, embedded_task, rl_arm, sizes_for, steps_for, usual
from keyturn.studies.plan import Arm, contrast, level, run_plan
from keyturn.training.contract import Task
from keyturn.training.lab import Lab
from keyturn.training.recipes.rejection import RejectionConfig, iterate
from keyturn.training.recipes.sft import TINY
from keyturn.training.stages import Model

DEEP = "success depth 5"


def rejection_arm(name: str, rounds: int, draws: int, steps: int, says: str) -> Arm:
    """Rejection fine-tuning with the draws of the RL arm, dealt over rounds."""

    def train(lab: Lab, task: Task, lr: float, seed: int) -> Model:
        settings = RejectionConfig(
            rounds=rounds, problems=0, draws=draws, keep=4, fit=replace(TINY, steps=steps, lr=lr)
        )
        return iterate(lab, task, settings, seed=seed)[0]

    return Arm(name=name, train=train, says=says)


def study(lab: Lab, subject: Subject) -> Outcome:
    """RL against one round and five rounds of rejection fine-tuning at about equal draws."""
    task = embedded_task(lab, subject.base)
    config = steps_for(CHAIN_RL, subject.profile, 4)
    total = config.steps * config.prompts * config.draws
    each = max(total // len(task.train.problems), 1)
    arms = [
        base_arm(),
        rl_arm("RL", objective=OBJECTIVES["grpo"](), reward=REWARDS["outcome"](), config=config),
        rejection_arm("RFT, 1 round", 1, each, 200, f"{each} draws of every problem, 200 steps"),
        rejection_arm("RFT, 5 rounds", 5, max(each // 5, 1), 80, "the same draws in five rounds of 80 steps"),
    ]
    ran = run_plan(lab, task, arms, sizes_for(subject.profile), usual(16), name="RL against RFT")
    return planned(
        lab,
        task,
        ran,
        {
            "effect": contrast(ran, "RL", "RFT, 1 round", DEEP),
            "against five rounds": contrast(ran, "RL", "RFT, 5 rounds", DEEP),
            "RL - base": contrast(ran, "RL", "base", DEEP),
            "RFT works where it was trained": contrast(ran, "RFT, 1 round", "base", "success depth 2"),
            "base": level(ran, "base", DEEP),
        },
        setting=(
            f"base {subject.base}; learnt from depths 2 and 3, judged at depth 5; {config.steps} RL steps of "
            f"{config.prompts} x {config.draws} draws, as many draws for rejection fine-tuning"
        ),
    )


CLAIM = Claim(
    id="rl-composes-rft-does-not",
    version=1,
    question="Does RL create a skill that imitating one's own successes does not?",
    statement=(
        "A model that knows functions one by one learns to compose them from outcome rewards, and goes on "
        "beyond the depths it was trained at; rejection fine-tuning on the same successes does not."
    ),
    source="Yuan et al. 2025, From f(x) and g(x) to f(g(x)), arXiv 2509.25123",
    threshold=Threshold(
        estimand="effect",
        says="success at depth 5, RL minus one round of rejection fine-tuning, mean over seeds",
        direction=1,
        smallest=0.1,
        why="a tenth of the problems two depths beyond training",
    ),
    gates=(
        Gate(name="RL - base", says="RL learnt something at that depth", minimum=0.0),
        Gate(name="base", says="the base does not compose already", maximum=0.2),
    ),
    controls=(
        Gate(
            name="RFT works where it was trained",
            says="rejection fine-tuning raises success at depth 2, so that it is not simply broken",
            minimum=0.0,
        ),
    ),
    study=study,
    study_says="four arms on the shipped base 'chain'; short: some 20 runs of 4 to 8 s",
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +0.1",
    methods=("rejection", "grpo"),
    not_shown=(
        "One base of 0.35M parameters stands for all; traces here show every step, where the paper's model "
        "must compose in text of its own."
    ),
)
