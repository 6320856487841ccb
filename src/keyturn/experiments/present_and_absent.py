"""What elicitation brings out where the mode is known to be there, and what it "brings out" where it is not.

A base is pretrained on each world of :data:`~keyturn.experiments.mode_worlds.WORLDS_ASKED` and each seed, and
asked under every row of the battery. Success is a verified answer; ``gain = success - success of plain
draws`` on the same problems, ``recovered = gain / (success after SFT on worked solutions - plain)``. RL of
the same base is a row of its own. ``exact`` is the success of plain draws as a sum over all verified
completions, without drawing.
Denominator: the test problems of a base, which are the same in every world; intervals are a paired bootstrap
over them, and over bases Student's. Degenerate: a method that cannot work with a base (no development problem
with right and wrong draws, say) has a row that says so and no number. ``recovered`` is given only where the
interval of its denominator lies above 0, and is never clipped.
Known bias: three bases show whether an effect is stable, not how large it is elsewhere. Doses and numbers of
samples were fixed before any run, so a method may do better at others.
Source: ours; the designs that it stands on: arXiv:2510.11495 (rare long traces), 2402.10200, 2510.14901.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from keyturn.auditing.world_facts import given
from keyturn.core.errors import InputError
from keyturn.core.measurement import Estimate, Json, json_number
from keyturn.core.progress import progress
from keyturn.core.statistics.bootstrap import (
    RESAMPLES,
    bootstrap_mean,
    ratio_interval,
    resample_weights,
    resampled_means,
)
from keyturn.elicitation import ELICITATIONS
from keyturn.elicitation.contract import Asked, Exemplar
from keyturn.elicitation.stage import elicit
from keyturn.experiments.contract import Experiment
from keyturn.experiments.mode_worlds import ABSENT, PRESENT, Setting, battery, world_asked
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task
from keyturn.measures.certified import certified_bound
from keyturn.methods.contract import MethodResult
from keyturn.methods.sft import METHOD as SFT
from keyturn.methods.sft import TINY, SftConfig
from keyturn.objectives.grpo import grpo
from keyturn.policies.optimise import FitConfig
from keyturn.policies.protocol import Limits
from keyturn.pretraining.recipes import Size
from keyturn.pretraining.stage import pretrained, quick, task_in
from keyturn.problems.contract import ProblemSet, answers, content_of
from keyturn.problems.world.exact import valid_completions
from keyturn.rewards.process import ProcessConfig, process
from keyturn.rollouts.grades import Answers
from keyturn.training.config import RLConfig

RUN = RLConfig(steps=40, prompts=16, draws=8, max_new_tokens=0, batch_rows=128, lr=1e-3, kl_every=0)
"""A length of 0 is the world's own."""
REFERENCES = ("RL", "SFT")
"""Rows of tuned policies; SFT is the 100 % line."""


@dataclass(frozen=True, kw_only=True)
class PresentConfig:
    """Settings of the comparison."""

    worlds: tuple[str, ...] = (*PRESENT, "absent, other domain")
    """Names in ``WORLDS_ASKED``."""
    methods: tuple[str, ...] = ()
    """Names of rows of the battery; empty: all."""
    bases: int = 3
    """Seeds of pretraining, a base each in every world."""
    steps: int = 800
    """Pretraining steps; 43,500 texts about what is asked, of which 2,200 are worked at 5 %."""
    steps_at: Mapping[str, int] = field(default_factory=lambda: {"present 1 %": 2400})
    """World -> another number of steps. In 800 steps at 1 % a base reads 440 worked texts, too few for a skill
    to be elicited: in pilots 670 gave the facts and not their order, and 1,630 gave all."""
    batch_rows: int = 64
    """Documents per pretraining step."""
    size: Size = field(default_factory=lambda: Size(hidden=64, inner=170, layers=2))
    """Shape of the bases: 0.13M parameters."""
    problems: int = 60
    """Test problems per depth, or as many as there are (28 of two steps)."""
    draws: int = 1
    """Answers per problem and row."""
    samples: int = 16
    """Draws behind one answer, of methods that take several."""
    rl: RLConfig = RUN
    """Sizes and rate of the RL reference, which is paid for answers that are right and worked: one without
    steps earns nothing, though it is verified if it is right."""
    fit: FitConfig = field(default_factory=lambda: replace(TINY, lr=1e-3))
    """Schedule of the SFT reference."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """One row of the battery on one base.

    Args:
        world, base, row: which.
        control: the row claims nothing.
        success: of each problem, ``[problem]``; empty where the method could not work.
        worked: share of answers that are worked.
        right: share of right answers, whatever the steps.
        costs: means an answer, by name.
        examples: problems whose gold answers or solutions were used.
        said: why there is no number; "" where there is one.
        exact: success of plain draws as a sum, of the row ``plain``; NaN elsewhere.
    """

    world: str
    base: int
    row: str
    control: bool
    success: NDArray[np.float64]
    worked: float = float("nan")
    right: float = float("nan")
    costs: Mapping[str, float] = field(default_factory=dict)
    examples: int = 0
    said: str = ""
    exact: float = float("nan")


def task_of(lab: Lab, config: PresentConfig, name: str, base: int) -> Task:
    """A base of a world with its problems, pretrained once."""
    world = world_asked(name)
    steps = config.steps_at.get(name, config.steps)
    recipe = quick(world, steps=steps, size=config.size, batch_rows=config.batch_rows)
    folder = pretrained(lab, world, recipe, seed=base)
    return task_in(lab, folder, world, per_cell=128, held_out=config.problems)


def cells_of(lab: Lab, config: PresentConfig, name: str, base: int) -> Iterator[Cell]:
    """Every row of the battery on one base, then the tuned policies."""
    task = task_of(lab, config, name, base)
    session = Session(lab, task, seed=base)
    asked = asked_of(session, config)
    world = world_asked(name)
    for setting in battery(world, config.samples):
        if not config.methods or setting.name in config.methods:
            yield _cell(session, asked, setting, name, base)
    for row, model in tuned(session, config).items():
        given = session.answers(model, task.test, config.draws, name=row)
        yield _of(given, world=name, base=base, row=row, control=True)


def asked_of(session: Session, config: PresentConfig) -> Asked:
    """What methods are given: validation problems to choose on, and solutions of training problems to show."""
    task = session.task
    assert task.expert is not None, "a world writes its solutions"
    shown = [(p, task.expert(p, session.streams.child("expert", p.id))) for p in task.train.problems[:16]]
    return Asked(
        policy=task.base,
        problems=task.test,
        draws=range(config.draws),
        streams=session.streams.child("elicit"),
        limits=Limits(max_new_tokens=task.max_new_tokens),
        development=task.validation,
        exemplars=tuple(Exemplar(problem=p, solution=text) for p, text in shown if text),
        in_words=False,
    )


def tuned(session: Session, config: PresentConfig) -> dict[str, Model]:
    """The base after RL that pays right answers with all their steps, and after SFT on worked solutions."""
    rl = replace(config.rl, max_new_tokens=config.rl.max_new_tokens or session.task.max_new_tokens)
    reinforced = session.rl(
        session.base,
        objective=grpo(),
        reward=process(ProcessConfig(strict=True)),
        config=rl,
        label="RL",
    )
    shown = SFT.train(session, SftConfig(demonstrations=0, fit=config.fit))["policy"]
    return dict(zip(REFERENCES, (reinforced, shown), strict=True))


def exact_success(
    session: Session, model: Model | None = None, asked: ProblemSet | None = None
) -> NDArray[np.float64]:
    """Success of plain draws on each problem: the sum over all verified completions.

    Args:
        session: of the base.
        model: the base if none.
        asked: the test problems if none.
    """
    base = session.task.base if model is None else model.policy
    problems, world = (asked or session.task.test).problems, session.task.world
    assert world is not None

    def compute() -> Mapping[str, NDArray]:
        listed = [valid_completions(world, problem) for problem in problems]
        rows = given(base, problems, [one.ids for one in listed])
        total = certified_bound(rows, base.score(rows).logprobs, np.ones(len(rows), dtype=bool))
        total[[not one.complete for one in listed]] = np.nan
        return {"mass": total}

    fields = {"base": base, "world": world, "problems": content_of(problems)}
    return session.lab.arrays("exact", fields, compute, label="exact success")[1]["mass"]


def _cell(session: Session, asked: Asked, setting: Setting, world: str, base: int) -> Cell:
    method = ELICITATIONS[setting.method]
    which = {"world": world, "base": base, "row": setting.name, "control": setting.control}
    try:
        found = elicit(session.lab, method, setting.settings or method.config, asked)
    except InputError as error:
        return Cell(**which, success=np.zeros(0), said=error.what)
    completions, problems = found.elicitation.completions, asked.problems
    _, grades = session.lab.grade(problems.grader, problems.problems, completions, found.stage, name="grade")
    costs = {name: float(one.mean()) for name, one in found.elicitation.costs.columns().items()}
    exact = float(exact_success(session).mean()) if setting.name == "plain" else float("nan")
    given = answers(setting.name, problems.problems, completions, grades)
    return _of(given, **which, costs=costs, examples=found.examples, exact=exact)


def _of(given: Answers, **which) -> Cell:
    return Cell(
        **which,
        success=given.rates(),
        worked=float(np.mean(given.columns["strategy"] == "FWD")),
        right=float(np.nanmean(given.outcome)),
    )


def gain_of(cell: Cell, plain: Cell, lab: Lab) -> Estimate:
    """Success minus that of plain draws, with its interval over problems."""
    if cell.said or plain.said:
        return Estimate(float("nan"))
    # One stream for every row: the same problems are resampled together.
    generator = lab.streams.generator("present", "problems")
    return bootstrap_mean(cell.success - plain.success, generator, bounds=(-1.0, 1.0))


def recovered_of(cell: Cell, plain: Cell, reference: Cell, lab: Lab) -> Estimate:
    """Gain over the gain of the reference; NaN where that is not surely above 0."""
    if cell.said or gain_of(reference, plain, lab).low <= 0:
        return Estimate(float("nan"))
    over, under = cell.success - plain.success, reference.success - plain.success
    weights = resample_weights(len(over), RESAMPLES, lab.streams.generator("present", "problems"))
    means = resampled_means(np.stack([over, under], axis=1), weights)
    low, high = ratio_interval(means[:, 0], means[:, 1], len(over))
    return Estimate(float(over.mean() / under.mean()), low, high)


def row_of(cell: Cell, plain: Cell, reference: Cell, lab: Lab) -> dict[str, Json]:
    """One flat line of the record."""
    gain, recovered = gain_of(cell, plain, lab), recovered_of(cell, plain, reference, lab)
    success = float(cell.success.mean()) if len(cell.success) else float("nan")
    numbers: dict[str, float] = {
        "success": success,
        "worked": cell.worked,
        "right": cell.right,
        "gain": gain.value,
        "recovered": recovered.value,
        "generated": cell.costs.get("generated", float("nan")),
        "read": cell.costs.get("read", float("nan")),
        "examples": float(cell.examples),
        "gain low": gain.low,
        "gain high": gain.high,
        "recovered low": recovered.low,
        "recovered high": recovered.high,
        "exact": cell.exact,
    }
    return {
        "arm": f"{cell.world}: {cell.row}",
        "lr": None,
        "seed": cell.base,
        "chosen": True,
        "validation": None,
        "world": cell.world,
        "row": cell.row,
        "control": cell.control,
        **({"said": cell.said} if cell.said else {}),
        **{name: json_number(round(value, 4)) for name, value in numbers.items()},
    }


def all_rows(lab: Lab, config: PresentConfig) -> tuple[tuple[dict[str, Json], ...], tuple[Cell, ...]]:
    """Every line of every base, and the cells behind them. What is finished is read from disk."""
    bases = [(name, base) for base in range(config.bases) for name in config.worlds]
    if lab.share is not None:
        bases = bases[lab.share[0] :: lab.share[1]]
    lines, cells = [], []
    with progress("present and absent", len(bases)) as advance:
        for name, base in bases:
            own = list(cells_of(lab, config, name, base))
            by_row = {cell.row: cell for cell in own}
            lines += [row_of(cell, by_row["plain"], by_row["SFT"], lab) for cell in own]
            cells += own
            advance(1)
    return tuple(lines), tuple(cells)


def run(lab: Lab, config: PresentConfig) -> MethodResult:
    """Pretrain, elicit and tune in every world; the first base and its tuned policies are the products."""
    lines, _ = all_rows(lab, config)
    session = Session(lab, task_of(lab, config, config.worlds[0], 0))
    models = tuned(session, config)
    table = [
        {"name": f"{line['arm']}, base {line['seed']}", "value": line["success"], **line} for line in lines
    ]
    return MethodResult(
        policies={"policy": models["RL"].path, "sft": models["SFT"].path, "base": session.base.path},
        rows=tuple({key: value for key, value in line.items() if key not in _INTERNAL} for line in table),
    )


_INTERNAL = ("arm", "lr", "seed", "chosen", "validation", "world", "row", "success")


def brief(config: PresentConfig) -> PresentConfig:
    """Two steps of everything, on one base and three rows."""
    return replace(
        config,
        worlds=("present 5 %",),
        methods=("plain", "forced opener", "steering mean, right"),
        bases=1,
        steps=2,
        steps_at={},
        batch_rows=2,
        problems=2,
        draws=1,
        samples=2,
        rl=replace(config.rl, steps=2, prompts=2, draws=2),
        fit=replace(config.fit, steps=2, batch_rows=2, bucket_batches=1, warmup=0),
    )


_EVERY = (*PRESENT, *ABSENT, "cue 5 %", "four openers 5 %")

EXPERIMENT = Experiment(
    name="present-and-absent",
    summary="every elicitation method where a rare mode is in the base, and where it is known not to be",
    source="ours; rare long traces: Tsilivis et al. 2025, arXiv 2510.11495",
    cost="demo: 12 bases of 800 to 2,400 steps and 33 rows each; study: 64 bases of 3,000; real: as study",
    profiles={
        "demo": PresentConfig(),
        "study": PresentConfig(bases=8, worlds=_EVERY, steps=3000, steps_at={}, problems=112, draws=8),
        "real": PresentConfig(bases=8, worlds=_EVERY, steps=3000, steps_at={}, problems=112, draws=8),
    },
    brief=brief,
    run=run,
)
