"""Theory of mind over model sizes: RL rewards right answers about beliefs. Do the belief traces survive it?

Bases of several widths are pretrained on BELIEF (:mod:`keyturn.problems.world.belief`). Most of its texts track
beliefs line by line, and some answer directly. Each base is trained by RL with the reward ``reward``:
``outcome`` pays for the answer alone; ``process``, the control, pays for the trace too.
Formula: accuracy = share of right answers; trace F1 = F1 between the beliefs that a text states and the true
ones (place of the line, chain of agents, believed place), 0 for an answer without a trace; ``direct`` = share
of direct answers. Each is also given by order of belief; order 3 is deeper than any pretraining text.
Denominator: draws of each test problem, then problems.
Degenerate: a policy that never answers has accuracy 0 and F1 0; a width not divisible by the heads is refused.
Known bias: a direct answer is worth the guess rate of the world, ``1 / (moves + 1)``. F1 measures what a trace
states, not whether the answer depends on it: ``right without its trace`` is the share of right answers among
those whose trace has an F1 below 1.
Source: Lu et al. 2025, ToM-RL (2504.01698): accuracy rises at every size, up to 3e9 parameters the reasoning
text collapses. Departures: a world whose traces can be judged; widths instead of checkpoints of one family; no
format reward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from keyturn.core.errors import UsageError
from keyturn.core.measurement import Json, json_number
from keyturn.experiments.contract import Experiment
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task
from keyturn.methods.contract import MethodResult
from keyturn.methods.control_words import controlled
from keyturn.objectives.grpo import grpo
from keyturn.pretraining.recipes import Probe, Size
from keyturn.pretraining.stage import pretrained, quick, task_in
from keyturn.problems.world.worlds import world_named
from keyturn.rewards.by_name import reward_named
from keyturn.rollouts.grades import Answers
from keyturn.training.config import RLConfig

RUN = RLConfig(steps=30, prompts=8, draws=8, max_new_tokens=64, batch_rows=64, lr=1e-3, kl_every=0)
TRACE = "trace_f1"
HEADS = 4
GLANCE = Probe(documents=32, every=0, problems=1, draws=2)
"""Small probe during pretraining: BELIEF has many cells and long traces, and the experiment measures on its
own."""


@dataclass(frozen=True, kw_only=True)
class TomConfig:
    """Settings of the theory-of-mind experiment over sizes."""

    world: str = "belief"
    """Name of a BELIEF world."""
    widths: tuple[int, ...] = (32, 64, 96)
    """Channels of the bases, multiples of 8. Each base gives one policy; that of the last width is the
    product."""
    layers: int = 3
    """Transformer blocks of every base."""
    steps: int = 650
    """Steps of pretraining."""
    reward: str = "outcome"
    """How verdicts become rewards; ``process`` also pays for traces."""
    rl: RLConfig = RUN
    """Sizes and learning rate of RL; the length limit is the world's."""
    per_cell: int = 64
    """Training problems per cell."""
    held_out: int = 8
    """Validation and test problems per cell, each."""
    draws: int = 8
    """Draws per test problem."""


def size_of(width: int, layers: int) -> Size:
    """A model shape of the given width.

    Raises:
        UsageError: the width is not divisible by the number of heads.
    """
    if width < 2 * HEADS or width % (2 * HEADS):
        raise UsageError(
            f"a width of {width} cannot be split into {HEADS} heads of even width",
            fix=f"a multiple of {2 * HEADS}",
        )
    return Size(hidden=width, inner=4 * round(width * 2 / 3), layers=layers, heads=HEADS)


def task_of(lab: Lab, config: TomConfig, width: int, *, seed: int = 0) -> Task:
    """A base of one width and its problems; validation grades answers alone, so that it favours no trace."""
    world = world_named(config.world)
    if TRACE not in world.columns:
        raise UsageError(
            f"{config.world} has no beliefs to track", fix="a BELIEF world: belief, belief-natural"
        )
    recipe = quick(world, steps=config.steps, size=size_of(width, config.layers), batch_rows=16)
    recipe = replace(recipe, probe=GLANCE)
    folder = pretrained(lab, world, recipe, seed=seed)
    # There are so few stories with one move that a split may hold none of them.
    test = [cell for cell in world.cells("test") if int(cell["moves"]) > 1]
    task = task_in(lab, folder, world, test=test, per_cell=config.per_cell, held_out=config.held_out)
    return replace(task, validation=controlled(task.validation, (), ()))


def trained(session: Session, config: TomConfig) -> Model:
    """RL on the session's base."""
    return session.rl(
        session.base,
        objective=grpo(),
        reward=reward_named(config.reward),
        config=replace(config.rl, max_new_tokens=session.task.max_new_tokens),
        label=f"RL {config.reward}",
    )


def traced(given: Answers) -> dict[str, float]:
    """Accuracy, trace F1, share of direct answers, right answers without a right trace, and the same by
    order."""
    found = np.asarray(given.columns[TRACE], dtype=np.float64)
    short = given.columns["strategy"].astype(str) == "DIR"
    orders = np.array([int(problem.cell["order"]) for problem in given.problems])[given.problem]
    right, poor = given.outcome == 1, found < 1
    out = {
        "accuracy": _mean(given, given.outcome),
        "trace F1": _mean(given, found),
        "verified": _mean(given, given.verified),
        "direct": _mean(given, short),
        "right without its trace": float(right[poor].mean()) if poor.any() else float("nan"),
        "length": _mean(given, given.length),
    }
    for order in sorted(set(orders.tolist())):
        own = given.select(orders == order)
        out[f"accuracy order {order}"] = _mean(own, own.outcome)
        out[f"trace F1 order {order}"] = _mean(own, np.asarray(own.columns[TRACE], dtype=np.float64))
    return out


def _mean(given: Answers, column: np.ndarray) -> float:
    """Mean over problems of the mean over their draws, ungraded draws left out."""
    value = np.asarray(column, dtype=np.float64)
    known = np.isfinite(value)
    n = np.bincount(given.problem[known], minlength=len(given.problems))
    total = np.bincount(given.problem[known], weights=value[known], minlength=len(given.problems))
    return float((total[n > 0] / n[n > 0]).mean()) if (n > 0).any() else float("nan")


def run(lab: Lab, config: TomConfig) -> MethodResult:
    """Pretrain a base of every width, train it by RL, and measure answers and traces before and after."""
    if not config.widths:
        raise UsageError("no width was given", fix="one or more, such as 32, 64, 96")
    lines: list[Mapping[str, Json]] = []
    policies = {}
    for width in config.widths:
        session = Session(lab, task_of(lab, config, width))
        tests = session.task.test
        models = {"base": session.base, "RL": trained(session, config)}
        parameters = sum(p.numel() for p in session.task.base.model.parameters())
        for name, model in models.items():
            given = session.answers(model, tests, config.draws, name=f"beliefs {width} {name}")
            for number, value in traced(given).items():
                lines.append(
                    {
                        "name": f"width {width}, {name}: {number}",
                        "value": json_number(value),
                        "parameters": parameters,
                        "problems": len(tests.problems),
                        "draws": config.draws,
                    }
                )
        policies |= {
            "policy": models["RL"].path,
            "base": models["base"].path,
            f"width-{width}": models["RL"].path,
        }
    return MethodResult(policies=policies, rows=tuple(lines))


def brief(config: TomConfig) -> TomConfig:
    """The same settings with two steps of everything, at one width."""
    return replace(
        config,
        widths=config.widths[:1],
        steps=2,
        rl=replace(config.rl, steps=2, prompts=2, draws=2),
        per_cell=2,
        held_out=1,
        draws=1,
    )


EXPERIMENT = Experiment(
    name="tom",
    summary="RL on theory of mind over model widths: answers, and whether traces of beliefs survive",
    source="Lu et al. 2025 (ToM-RL), arXiv 2504.01698",
    cost="demo: three bases of 650 steps and 30 RL steps each; study: four of 2,000 and 300; real: wider",
    profiles={
        "demo": TomConfig(),
        "study": TomConfig(
            widths=(32, 64, 96, 128),
            steps=2000,
            rl=replace(RUN, steps=300),
            per_cell=256,
            held_out=24,
            draws=32,
        ),
        "real": TomConfig(
            widths=(64, 128, 256, 512),
            layers=6,
            steps=4000,
            rl=replace(RUN, steps=300, lr=3e-4),
            per_cell=512,
            held_out=24,
            draws=32,
        ),
    },
    brief=brief,
    run=run,
)
