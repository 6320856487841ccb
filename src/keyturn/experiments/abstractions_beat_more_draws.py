"""Drawing abstractions and a few solutions of each beats drawing as many solutions without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from keyturn.experiments.arms import Cells, embedded_task, sizes_for, steps_for
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.plan import Arm, contrast, run_plan
from keyturn.experiments.planned import planned
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task, subset
from keyturn.methods.rlad import RUN, RladConfig, hinted, measured, prepared, started, trained
from keyturn.objectives.grpo import grpo
from keyturn.rewards import REWARDS

SETTINGS = RladConfig(rl=RUN)
ARMS: dict[str, RladConfig] = {
    "RLAD": SETTINGS,
    "random abstractions": replace(SETTINGS, arm="random"),
    "all prompts paid": replace(SETTINGS, arm="unzeroed"),
}
"""Arm -> its settings."""
PASS = "pass"
CELLS = Cells(train=(1, 2), test=(1, 2), per_cell=24, held_out=16)


def hinted_validation(session: Session, config: RladConfig) -> Task:
    """Validation problems each with a word drawn evenly, the same for every arm that is given words."""
    picks = session.streams.generator("validation words").integers(
        len(config.words), size=len(session.task.validation.problems)
    )
    chosen = [hinted(p, config.words[i]) for p, i in zip(session.task.validation.problems, picks, strict=True)]
    return replace(session.task, validation=subset(session.task.validation, chosen, "given words"))


class Pairs:
    """Arms whose solver is remembered with its generator, so that a look finds both."""

    def __init__(self, run_steps: RladConfig) -> None:
        self._run = run_steps
        self._made: dict[str, tuple[Model, RladConfig, bool]] = {}

    @property
    def steps(self) -> int:
        """RL steps of a round."""
        return self._run.rl.steps

    def arm(self, name: str, config: RladConfig) -> Arm:
        """Solver and generator in turn."""

        def train(session: Session, lr: float) -> Model:
            own = replace(config, rl=replace(self._run.rl, lr=lr))
            solver, generator = trained(
                session,
                own,
            )
            self._made[solver.folder] = (generator, own, True)
            return solver

        return Arm(name=name, train=train)

    def plain(self, on: Task) -> Arm:
        """RL without abstractions, as many steps; its rate too is chosen without."""

        def train(session: Session, lr: float) -> Model:
            solver, generator = started(session, SETTINGS)
            steps = self._run.rl.steps * SETTINGS.rounds
            settings = replace(self._run.rl, lr=lr, steps=steps, max_new_tokens=session.task.max_new_tokens)
            made = session.rl(
                solver,
                objective=grpo(),
                reward=REWARDS["outcome"](),
                config=settings,
                label="RL without abstractions",
            )
            self._made[made.folder] = (generator, SETTINGS, False)
            return made

        return Arm(name="RL without abstractions", train=train, task=on)

    def start(self) -> Arm:
        """The fits alone."""

        def train(session: Session, lr: float) -> Model:
            solver, generator = started(session, SETTINGS)
            self._made[solver.folder] = (generator, SETTINGS, True)
            return solver

        return Arm(name="start", train=train, says="no RL", tuned=False)

    def look(self, session: Session, model: Model) -> Mapping[str, float]:
        """Success and pass@k; ``pass`` is with abstractions where the arm has them."""
        generator, config, given = self._made[model.folder]
        found = measured(session, model, generator, config)
        return {**found, PASS: found["pass given" if given else "pass without"]}


def study(lab: Lab, subject: Subject) -> Outcome:
    """RLAD, its two controls and plain RL, at equal draws."""
    pairs = Pairs(replace(SETTINGS, rl=steps_for(RUN, subject.profile, 6)))
    plain = prepared(embedded_task(lab, subject.base, CELLS))
    task = hinted_validation(Session(lab, plain), SETTINGS)
    arms = [pairs.start(), *(pairs.arm(name, config) for name, config in ARMS.items()), pairs.plain(plain)]
    ran = run_plan(Session(lab, task), arms, sizes_for(subject.profile), pairs.look, name="abstractions")
    return planned(
        Session(lab, task),
        ran,
        {
            "effect": contrast(ran, "RLAD", "RL without abstractions", PASS),
            "against random abstractions": contrast(ran, "RLAD", "random abstractions", PASS),
            "against all prompts paid": contrast(ran, "RLAD", "all prompts paid", PASS),
            "RLAD learns": contrast(ran, "RLAD", "start", "success given"),
            "abstractions are followed": contrast(ran, "RLAD", "all prompts paid", "adherence"),
        },
        setting=(
            f"GRAPH at one and two operations; z names one of {len(SETTINGS.words)} strategies; "
            f"{SETTINGS.rounds} rounds of {pairs.steps} RL steps of {RUN.prompts} x {RUN.draws} draws; pass@"
            f"{SETTINGS.abstractions * SETTINGS.solutions} of {SETTINGS.abstractions} abstractions; rates by "
            "validation with a word where an arm is given words, without where it is not"
        ),
    )
