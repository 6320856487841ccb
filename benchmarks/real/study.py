"""The study of a real pretrained model: RL and its rivals from one base, each run kept and found again.

``python benchmarks/real/study.py MODEL --out runs/real``: MODEL is a folder that ``keyturn model import`` made.
Everything is a stage of the run folder, so the same command goes on where it was interrupted. Arms come in the
order of what they are worth: the base, RL over its seeds, then what RL must beat.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import tasks

from keyturn.core.problem import Problem
from keyturn.core.rundir import write_text
from keyturn.core.streams import Streams
from keyturn.experiments.plan import Arm, ArmRun, PlanSizes, run_plan
from keyturn.lab.fit_rows import demonstrations, supervised
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task, subset
from keyturn.methods.one_shot.selection import copies_of
from keyturn.methods.rejection import RejectionConfig
from keyturn.methods.rejection import train as rejection
from keyturn.objectives.by_name import objective_named
from keyturn.policies.loading import load_policy
from keyturn.policies.local import LocalPolicy
from keyturn.policies.optimise import FitConfig
from keyturn.problems.contract import ProblemSet
from keyturn.problems.examples import with_examples
from keyturn.problems.graders import GRADERS
from keyturn.rewards.by_name import reward_named
from keyturn.training.config import RLConfig, UpdateConfig

STOPS = ("Question:", "\n\n")
"""What ends an answer: the next example of a few-shot prompt, or the blank line before it."""
TOKENS = 48
"""Length limit: the longest worked solution (five numbers) has 48 tokens with the blank line behind it."""
RL = RLConfig(
    steps=6,
    prompts=8,
    draws=8,
    max_new_tokens=28,
    batch_rows=64,
    lr=3e-5,
    kl_every=0,
    checkpoint_every=6,
    keep_checkpoints=1,
    update=UpdateConfig(micro_tokens=1024),
)
FIT = FitConfig(
    steps=12,
    batch_rows=8,
    micro_rows=4,
    lr=3e-5,
    warmup=2,
    betas=(0.9, 0.999),
    weight_decay=0.0,
    bucket_batches=1,
)
DRAWS = 4
"""Draws per problem for every measured policy, and of the base on training problems."""


def task_of(base: LocalPolicy, folder: str, streams: Streams) -> Task:
    """Sums of three numbers to learn from; sums of three, four and five and word problems to report."""
    three = tasks.sums(3, 96 + 20 + 16, streams)
    held_out = [*tasks.sums(4, 8, streams), *tasks.sums(5, 4, streams)]
    told = behind("stories", tasks.stories(8, streams), tasks.STORIES)
    asked = behind("test", [*three[96:116], *held_out], tasks.EXAMPLES)
    return Task(
        base=base,
        folder=folder,
        train=behind("train", three[:96], tasks.EXAMPLES),
        validation=behind("validation", three[116:], tasks.EXAMPLES),
        test=replace(asked, problems=(*asked.problems, *told.problems)),
        max_new_tokens=TOKENS,
        expert=solution,
    )


def behind(name: str, problems: list[Problem], examples: tuple[Problem, ...]) -> ProblemSet:
    """Problems behind their worked examples, judged as GSM8K's."""
    return with_examples(ProblemSet(name=name, problems=tuple(problems), grader=GRADERS["gsm8k"]), examples)


def solution(problem: Problem, streams: Streams) -> str:
    """The worked solution, as it stands behind ``Answer:``."""
    return str(problem.facts["solution"])


def on_train(session: Session) -> tuple[ProblemSet, np.ndarray]:
    """The training problems that the base is asked, and its success on each: rejection fine-tuning's draws."""
    asked = subset(session.task.train, session.task.train.problems[:64], "first")
    return asked, session.answers(session.base, asked, DRAWS, name="round 1").rates()


def reinforced(reward: str, steps: int = RL.steps):
    """Training by RL with a reward."""

    def train(session: Session, lr: float) -> Model:
        return session.rl(
            session.base,
            objective=objective_named("rloo"),
            reward=reward_named(reward),
            config=replace(RL, lr=lr, steps=steps),
            label=f"RL {reward} {session.seed}",
        )

    return train


def one_example(session: Session, lr: float) -> Model:
    """RL on copies of one problem: the one whose rewards vary most among the base's draws."""
    asked, rates = on_train(session)
    best = int(np.argmax(rates * (1 - rates)))
    return session.rl(
        session.base,
        objective=objective_named("rloo"),
        reward=reward_named("outcome"),
        config=replace(RL, lr=lr),
        problems=subset(asked, copies_of(asked.problems[best : best + 1], RL.prompts), "one"),
        label="RL one example",
    )


def imitated(session: Session, lr: float) -> Model:
    """SFT on worked solutions."""
    pairs = demonstrations(session.task, session.task.train.problems, session.streams.child("expert"))
    return session.fit(session.base, supervised(session.task.base, pairs), replace(FIT, lr=lr), label="SFT")


def rejected(session: Session, lr: float) -> Model:
    """Rejection fine-tuning: SFT on the base's own right answers."""
    config = RejectionConfig(train_problems=64, draws=DRAWS, success="outcome", fit=replace(FIT, lr=lr))
    return rejection(session, config)["policy"]


ARMS = {
    "base": Arm(name="base", train=lambda session, lr: session.base, tuned=False),
    "RL": Arm(name="RL", train=reinforced("outcome")),
    "random reward": Arm(name="random reward", train=reinforced("random")),
    "one example": Arm(name="one example", train=one_example),
    "SFT": Arm(name="SFT", train=imitated),
    "rejection": Arm(name="rejection", train=rejected),
    "format reward": Arm(name="format reward", train=reinforced("format")),
}
SEEDS = {"RL": 3}
"""Replicates of an arm; one where none are named."""


def measured(session: Session, model: Model) -> Mapping[str, float]:
    """Success on test problems by kind, strictly and leniently read, and how often an answer was cut."""
    given = session.answers(model, session.task.test, DRAWS, name="test")
    lenient = np.asarray(given.columns["lenient"], dtype=np.float32)
    kinds = np.array([f"{p.cell['domain']} {p.cell['depth']}" for p in session.task.test.problems])
    found: dict[str, float] = {}
    for kind in dict.fromkeys(kinds):
        rows = kinds[given.problem] == kind
        found[f"success {kind}"] = float(np.nanmean(given.outcome[rows]))
        found[f"success lenient {kind}"] = float(np.nanmean(lenient[rows]))
    return {**found, "cut": float(given.truncated.mean()), "tokens": float(given.length.mean())}


def last_reward(session: Session, model: Model) -> float:
    """There is one rate and nothing to choose; what is noted is the reward of the last steps."""
    rewards = [row.get("outcome", math.nan) for row in model.history[-3:]]
    return float(np.mean(rewards)) if rewards else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--out", type=Path, default=Path("runs/real"))
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", type=int, default=0, help="replicates of RL; 0: three")
    said = parser.parse_args()
    streams = Streams(0)
    read = load_policy(said.model)
    base = LocalPolicy(read.model, read.tokenizer, stops=STOPS)
    session = Session(Lab(said.out, streams), task_of(base, said.model, streams.child("problems")))
    runs: list[ArmRun] = []
    for name in said.arms:
        seeds = said.seeds or SEEDS.get(name, 1) if name == "RL" else 1
        sizes = PlanSizes(seeds=seeds, lrs=(RL.lr,))
        runs += run_plan(session, [ARMS[name]], sizes, measured, name=name, score=last_reward)
        lines = "".join(json.dumps(run.to_json()) + "\n" for run in runs)
        write_text(said.out / "arms.jsonl", lines)
        print(lines.splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
