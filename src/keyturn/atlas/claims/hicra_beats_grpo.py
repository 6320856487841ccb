"""More credit on planning tokens (HICRA) learns faster than plain group credit; where execution is in hand."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Outcome, Subject, Threshold
from keyturn.atlas.planned import planned
from keyturn.objectives.hicra import HicraConfig, hicra
from keyturn.rewards import REWARDS
from keyturn.studies.arms import (
    GRAPH_RL,
    base_arm,
    embedded_task,
    pretrained,
    rl_arm,
    sizes_for,
    steps_for,
    usual,
)
from keyturn.studies.mined import mined_roles
from keyturn.studies.plan import Arm, contrast, level, run_plan
from keyturn.training.contract import Task
from keyturn.training.lab import Lab
from keyturn.training.lesson import RoleSource

AREA = "auc"
RULES: dict[str, HicraConfig] = {
    "GRPO": HicraConfig(alpha=0.0),
    "HICRA": HicraConfig(),
    "symmetric": HicraConfig(rule="symmetric"),
    "centred": HicraConfig(rule="centred"),
    "placebo": HicraConfig(mask="placebo"),
}


def arms_on(where: str, task: Task, profile: str, grams: RoleSource) -> list[Arm]:
    """The base, all five rules on one base, and HICRA by strategic grams in place of the grammar."""
    config = steps_for(GRAPH_RL, profile)

    def arm(name: str, roles: RoleSource | None = None) -> Arm:
        return rl_arm(
            f"{name}, {where}",
            objective=hicra(RULES.get(name, HicraConfig())),
            reward=REWARDS["outcome"](),
            config=config,
            on=task,
            roles=roles,
        )

    return [base_arm(f"base, {where}", on=task), *map(arm, RULES), arm("gram mask", grams)]


def study(lab: Lab, subject: Subject) -> Outcome:
    """Six rules of credit on a base that executes well and on one that does not; random reward on one."""
    low = embedded_task(lab, subject.base)
    high = embedded_task(lab, str(pretrained(lab, "graph", "brief")))
    config = steps_for(GRAPH_RL, subject.profile)
    random = [
        rl_arm(
            f"{name}, random reward", objective=hicra(RULES[name]), reward=REWARDS["random"](), config=config
        )
        for name in ("GRPO", "HICRA")
    ]
    tasks = {"low error": low, "high error": high}
    mined = {where: mined_roles(lab, task) for where, task in tasks.items()}
    arms = [
        arm for where, task in tasks.items() for arm in arms_on(where, task, subject.profile, mined[where][0])
    ]
    ran = run_plan(
        lab, low, [*arms, *random], sizes_for(subject.profile, seeds=5), usual(16), name="HICRA against GRPO"
    )

    def against(name: str, where: str):
        return contrast(ran, f"{name}, {where}", f"GRPO, {where}", AREA)

    return planned(
        lab,
        low,
        ran,
        {
            "effect": against("HICRA", "low error"),
            "high error": against("HICRA", "high error"),
            "symmetric, low error": against("symmetric", "low error"),
            "centred, low error": against("centred", "low error"),
            "placebo, low error": against("placebo", "low error"),
            "gram mask, low error": against("gram mask", "low error"),
            "symmetric, high error": against("symmetric", "high error"),
            "centred, high error": against("centred", "high error"),
            "placebo, high error": against("placebo", "high error"),
            "gram mask, high error": against("gram mask", "high error"),
            "less placebo": contrast(ran, "HICRA, low error", "placebo, low error", AREA),
            "success at the end": contrast(ran, "HICRA, low error", "GRPO, low error", "success"),
            "random reward": contrast(ran, "HICRA, random reward", "GRPO, random reward", "success"),
            "GRPO learns": contrast(ran, "GRPO, low error", "base, low error", "success"),
            "error of the base": level(ran, "base, high error", "success"),
        },
        setting=(
            f"GRAPH at one operation; low error: the shipped base, high error: the same recipe stopped at two "
            f"fifths; {config.steps} steps of {config.prompts} x {config.draws} draws, mean-only credit, one "
            "update a rollout; planning tokens by the grammar, in the arm 'gram mask' by strategic grams "
            "mined from the base's right answers"
        ),
        more={
            f"gram mask, {what}, {where}": estimate
            for where, (_, found) in mined.items()
            for what, estimate in found.items()
        },
    )


CLAIM = Claim(
    id="hicra-beats-grpo",
    version=2,
    question="Is it the planning tokens that RL should credit?",
    statement=(
        "Amplifying credit on planning tokens learns faster than equal credit for all tokens where execution "
        "is reliable, because it is planning that remains to be learnt, and not where execution fails."
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
            says="under random reward the rule gains nothing over GRPO (a gain would be drift, not credit)",
            maximum=0.1,
        ),
    ),
    study=study,
    study_says="sixteen arms on two GRAPH bases, five seeds each; short: some 90 runs of 5 to 15 s",
    default=Subject(base="graph"),
    refuted_if="the interval over seeds lies below +.01, or a placebo mask gains as much",
    methods=("hicra",),
    not_shown=(
        "Planning here is the choice of strategy and of the next variable, a few tokens of a fixed grammar; in "
        "natural text it is phrases. The paper's learning rate, batch and clip range are not published, and "
        "its gains are single runs."
    ),
)
