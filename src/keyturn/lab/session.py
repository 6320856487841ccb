"""A session: one base, its problems and one seed, in a run folder. Methods and studies are written against it.

Each stage of a session is done only once. It is found again by everything that decides its result, read from
disk if it is finished, and resumed if it is not. So a plain function with ``if`` and ``for`` over a session is
resumable, and arms of a study share the stages that they have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from keyturn.core.errors import UsageError
from keyturn.core.jsonl import read_jsonl
from keyturn.core.measurement import Json
from keyturn.core.streams import Streams
from keyturn.lab.fit_rows import digest
from keyturn.lab.lab import Lab, Stage
from keyturn.lab.noted import note_run
from keyturn.lab.tables import accuracy, row
from keyturn.lab.task import Task
from keyturn.objectives.contract import Objective
from keyturn.policies.fit import Row, epochs, fit
from keyturn.policies.loading import load_policy, save_policy
from keyturn.policies.local import LocalPolicy, Sampling
from keyturn.policies.optimise import FitConfig
from keyturn.policies.protocol import Limits, Policy
from keyturn.policies.which_engine import engine_of_model
from keyturn.problems.contract import ProblemSet, answers
from keyturn.rewards.contract import Reward
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.grades import Answers, Grades
from keyturn.training.collect import RoleSource
from keyturn.training.config import RLConfig
from keyturn.training.loop import Hook, duplicate
from keyturn.training.record import METRICS, MODEL, statement
from keyturn.training.rl import train_rl
from keyturn.training.rollout import RolloutFunction


@dataclass(frozen=True)
class Model:
    """A policy on disk: the result of a stage, or the model that a method starts from.

    Args:
        folder: a model folder or a Hub id.
        policy: the loaded policy. It must not be changed, because later stages start from it.
        stage: the stage that made it; None for the base.
        beside: other policies of the same training by slot, if a method made several.
    """

    folder: str
    policy: LocalPolicy
    stage: Stage | None = None
    beside: Mapping[str, Model] = field(default_factory=dict, compare=False, repr=False)

    @property
    def history(self) -> tuple[Mapping[str, float], ...]:
        """Metrics of the RL stage that made it, one mapping per step. Empty for any other model."""
        path = Path(self.folder).parent / METRICS
        return tuple(read_jsonl(path)) if self.stage is not None and path.exists() else ()  # type: ignore[arg-type]

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.folder)


@dataclass(frozen=True, eq=False)
class Session:
    """A task in a run folder, for one replicate.

    Args:
        lab: the run folder with its cache of stages.
        task: the base, its problems and its length limit.
        seed: number of the replicate. It names only the random streams of training, so all replicates are asked
            the same problems and draw from the same streams.
    """

    lab: Lab
    task: Task
    seed: int = 0

    @property
    def streams(self) -> Streams:
        """All randomness of the run."""
        return self.lab.streams

    @property
    def base(self) -> Model:
        """The model that a method starts from."""
        return base_of(self.task)

    def on(self, task: Task) -> Session:
        """The same run and replicate on another task."""
        return replace(self, task=task)

    def replicate(self, seed: int) -> Session:
        """The same run and task with another seed."""
        return replace(self, seed=seed)

    def rl(
        self,
        start: Model,
        *,
        objective: Objective,
        reward: Reward,
        config: RLConfig,
        problems: ProblemSet | None = None,
        rollout: RolloutFunction | None = None,
        hooks: Callable[[], Sequence[Hook]] = tuple,
        roles: RoleSource | None = None,
        policies: Mapping[str, Policy] | None = None,
        streams: Streams | None = None,
        label: str = "rl",
    ) -> Model:
        """Train by RL as one stage. Interrupted training resumes from its last checkpoint.

        Args:
            start: the model that is trained.
            objective: turns rewards into credit and credit into a loss.
            reward: turns graded completions into rewards.
            config: sizes and rates; a length limit of 0 takes the task's.
            problems: the task's training problems by default.
            rollout: how problems are answered.
            hooks: creates new hooks (they carry state).
            roles: gives the roles of tokens.
            policies: further policies by slot.
            streams: all randomness of the training; those of the replicate by default.
            label: label in the progress line.
        """
        asked = problems or self.task.train
        streams = streams or self.streams.child("rl", self.seed)
        stated = statement(
            start.policy,
            asked,
            reward,
            objective,
            config,
            streams,
            rollout=rollout,
            hooks=hooks(),
            roles=roles,
            policies=policies,
        )

        world = self.task.world

        def work(folder: Path) -> None:
            train_rl(
                start.policy,
                asked,
                reward=reward,
                objective=objective,
                config=config,
                folder=folder / "run",
                streams=streams,
                rollout=rollout,
                hooks=hooks(),
                roles=roles,
                policies=policies,
                world=world,
                label=label,
            )

        def read(folder: Path) -> LocalPolicy:
            read_jsonl(folder / "run" / METRICS)
            return loaded(self.task, folder / "run" / MODEL)

        stage, policy = self.lab.stage("rl", {"run": stated}, work, read, parents=_parents(start), label=label)
        return Model(str(stage.folder / "run" / MODEL), policy, stage)

    def fit(
        self,
        start: Model,
        rows: Sequence[Row],
        config: FitConfig,
        *,
        label: str = "sft",
        steps_at: int | None = None,
    ) -> Model:
        """Fit by supervised training as one stage.

        Args:
            start: the model that is trained.
            rows: documents with weights on the tokens to predict.
            config: schedule and sizes.
            label: label in the progress line.
            steps_at: stop after this many steps of the same schedule (a point on its curve); all by default.
        """
        if not rows:
            raise UsageError("there are no rows to fit", fix="use more draws, or easier problems")
        streams = self.streams.child("sft", self.seed)
        fields = {
            "policy": start.policy,
            "engine": engine_of_model(start.policy.model),
            "rows": digest(rows),
            "fit": config,
            "seed": self.seed,
            "steps_at": steps_at,
        }

        world = self.task.world

        def work(folder: Path) -> None:
            trained = duplicate(start.policy)
            fit(
                trained.model,
                epochs(rows, config, streams.child("rows")),
                config,
                streams,
                label=label,
                checkpoint=folder / "fit.safetensors",
                checkpoint_every=max(config.steps // 4, 1),
                stop_at=steps_at,
            )
            save_policy(folder / MODEL, trained.model, trained.tokenizer, world, None, overwrite=True)
            (folder / "fit.safetensors").unlink(missing_ok=True)

        stage, policy = self.lab.stage(
            "sft", fields, work, lambda f: loaded(self.task, f / MODEL), parents=_parents(start), label=label
        )
        return Model(str(stage.folder / MODEL), policy, stage)

    def draw(
        self,
        model: Model,
        problems: ProblemSet,
        draws: int,
        *,
        name: str,
        sampling: Sampling | None = None,
        first: int = 0,
    ) -> tuple[Completions, Grades]:
        """Draws of a model and their grades, each as a stage.

        Args:
            model: the model that answers.
            problems: the problems that are asked.
            draws: draws per problem.
            name: label in the progress line.
            sampling: how the model is decoded; by default, as it was loaded.
            first: number of the first draw. Draws with other numbers use other randomness.
        """
        policy = model.policy if sampling is None else model.policy.having(sampling=sampling)
        limits = Limits(max_new_tokens=self.task.max_new_tokens)
        stage, completions = self.lab.draw(
            policy, problems.problems, range(first, first + draws), limits, name=name
        )
        _, grades = self.lab.grade(problems.grader, problems.problems, completions, stage, name=f"grade {name}")
        note_run(problems, [stage])
        return completions, grades

    def answers(
        self,
        model: Model,
        problems: ProblemSet,
        draws: int,
        *,
        name: str,
        sampling: Sampling | None = None,
        first: int = 0,
    ) -> Answers:
        """The table that measures read, made from :meth:`draw`."""
        completions, grades = self.draw(model, problems, draws, name=name, sampling=sampling, first=first)
        return answers(name, problems.problems, completions, grades)

    def scores(
        self, models: Mapping[str, Model], draws: int, *, problems: ProblemSet | None = None
    ) -> tuple[Mapping[str, Json], ...]:
        """A method's usual table: success of each model on the test problems, with its interval over problems.

        Args:
            models: by name, in the order of the table.
            draws: draws per problem.
            problems: problems to use instead of the test problems.
        """
        asked = problems or self.task.test
        lines = []
        for name, model in models.items():
            given = self.answers(model, asked, draws, name=f"draw {name}")
            found = accuracy(given, self.streams.child("scores", name))
            lines.append(row(name, found, problems=len(asked.problems), draws=draws, unit=_unit(given)))
        return tuple(lines)


def base_of(task: Task) -> Model:
    """The model that a method starts from."""
    return Model(task.folder, task.base)


def _unit(given: Answers) -> str:
    return "verified answers" if given.reads_traces else "right answers"


def loaded(task: Task, folder: Path) -> LocalPolicy:
    """A model folder as a policy that is asked and decoded like the task's base."""
    read = load_policy(folder, device=task.device)
    how = {"sampling": task.base.sampling, "chat": task.base.chat, "stops": task.base.stops}
    return LocalPolicy(read.model, read.tokenizer, **how)


def _parents(start: Model) -> list[Stage]:
    return [start.stage] if start.stage is not None else []
