"""The stages that recipes are made of: RL, supervised fitting, draws and scores, each done once.

A :class:`Model` is a policy on disk. What a stage depends on is declared by content (fingerprints, problems,
settings), so the same piece of work is found again whoever asks for it: arms of a study share what they share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from keyturn.core.errors import UsageError
from keyturn.core.jsonl import read_jsonl
from keyturn.core.measurement import Estimate, Json, json_number
from keyturn.core.problem import Problem
from keyturn.core.statistics.bootstrap import bootstrap_mean
from keyturn.core.streams import Streams
from keyturn.lab.lab import Lab, Stage
from keyturn.lab.task import Task
from keyturn.objectives.contract import Objective
from keyturn.policies.fit import Row, epochs, fit
from keyturn.policies.loading import load_policy, save_policy
from keyturn.policies.local import LocalPolicy, Sampling
from keyturn.policies.optimise import FitConfig
from keyturn.policies.protocol import Limits, Policy
from keyturn.problems.contract import ProblemSet, answers
from keyturn.rewards.contract import Reward
from keyturn.rollouts.completions import Completions, ragged
from keyturn.rollouts.grades import Answers, Grades
from keyturn.training.collect import RoleSource
from keyturn.training.config import RLConfig
from keyturn.training.loop import Hook, duplicate
from keyturn.training.record import METRICS, MODEL, statement
from keyturn.training.rl import train_rl
from keyturn.training.rollout import RolloutFunction


@dataclass(frozen=True)
class Model:
    """A policy on disk: what a stage made, or what a recipe began with.

    Args:
        folder: a model folder or a Hub id.
        policy: loaded; changing it would change what later stages begin with, so nobody does.
        stage: what made it; None for the base.
    """

    folder: str
    policy: LocalPolicy
    stage: Stage | None = None

    @property
    def history(self) -> tuple[Mapping[str, float], ...]:
        """Metrics of the RL stage that made it, one mapping a step; empty for any other."""
        path = Path(self.folder).parent / METRICS
        return tuple(read_jsonl(path)) if self.stage is not None and path.exists() else ()  # type: ignore[arg-type]

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.folder)


def base_of(task: Task) -> Model:
    """What a recipe begins with."""
    return Model(task.folder, task.base)


def rl(
    lab: Lab,
    task: Task,
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
    label: str = "rl",
    seed: int = 0,
) -> Model:
    """A stage of RL; half-done training goes on from its last checkpoint.

    Args:
        lab: the run directory.
        task: where problems and limits come from.
        start: what is trained.
        objective: rewards to credit to loss.
        reward: graded completions to rewards.
        config: sizes and rates; a length limit of 0 takes the task's.
        problems: the task's training problems by default.
        rollout: how problems are answered.
        hooks: makes the hooks anew (they carry state).
        roles: says what tokens do.
        policies: further policies by slot.
        label: in the progress line.
        seed: replicate; a further stream of the same root.
    """
    asked = problems or task.train
    streams = lab.streams.child("rl", seed)
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
            world=task.world,
            label=label,
        )

    def read(folder: Path) -> LocalPolicy:
        read_jsonl(folder / "run" / METRICS)
        return loaded(task, folder / "run" / MODEL)

    stage, policy = lab.stage("rl", {"run": stated}, work, read, parents=_parents(start), label=label)
    return Model(str(stage.folder / "run" / MODEL), policy, stage)


def sft(
    lab: Lab,
    task: Task,
    start: Model,
    rows: Sequence[Row],
    config: FitConfig,
    *,
    label: str = "sft",
    seed: int = 0,
    steps_at: int | None = None,
) -> Model:
    """A stage of supervised fitting.

    Args:
        lab: the run directory.
        task: the world that the model folder names.
        start: what is trained.
        rows: documents with weights on what is to be predicted.
        config: schedule and sizes.
        label: in the progress line.
        seed: replicate.
        steps_at: stop after so many steps of the same schedule (a point on its curve); all by default.
    """
    if not rows:
        raise UsageError("there is nothing to fit on", fix="more draws, or easier problems")
    streams = lab.streams.child("sft", seed)
    fields = {
        "policy": start.policy.fingerprint,
        "rows": digest(rows),
        "fit": asdict(config),
        "seed": seed,
        "steps_at": steps_at,
    }

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
        save_policy(folder / MODEL, trained.model, trained.tokenizer, task.world, None, overwrite=True)
        (folder / "fit.safetensors").unlink(missing_ok=True)

    stage, policy = lab.stage(
        "sft", fields, work, lambda f: loaded(task, f / MODEL), parents=_parents(start), label=label
    )
    return Model(str(stage.folder / MODEL), policy, stage)


def drawn(
    lab: Lab,
    task: Task,
    model: Model,
    problems: ProblemSet,
    draws: int,
    *,
    name: str,
    sampling: Sampling | None = None,
    first: int = 0,
) -> tuple[Completions, Grades]:
    """Draws of a model and their grades, each a stage.

    Args:
        lab: the run directory.
        task: the length limit.
        model: who answers.
        problems: what is asked.
        draws: a problem.
        name: in the progress line.
        sampling: how it is decoded; as the model was loaded by default.
        first: number of the first draw: other draws are other randomness.
    """
    policy = model.policy if sampling is None else model.policy.having(sampling=sampling)
    limits = Limits(max_new_tokens=task.max_new_tokens)
    stage, completions = lab.draw(policy, problems.problems, range(first, first + draws), limits, name=name)
    _, grades = lab.grade(problems.grader, problems.problems, completions, stage, name=f"grade {name}")
    return completions, grades


def answered(
    lab: Lab,
    task: Task,
    model: Model,
    problems: ProblemSet,
    draws: int,
    *,
    name: str,
    sampling: Sampling | None = None,
    first: int = 0,
) -> Answers:
    """The table that measures read, from :func:`drawn`."""
    completions, grades = drawn(lab, task, model, problems, draws, name=name, sampling=sampling, first=first)
    return answers(name, problems.problems, completions, grades)


def accuracy(given: Answers, streams: Streams, *, verified: bool = True) -> Estimate:
    """Mean success over problems with its bootstrap interval; verified where traces are read and asked for."""
    rates = given.rates(None if verified else given.outcome)
    found = bootstrap_mean(rates, streams.generator("accuracy"))
    # With a handful of problems the widened interval leaves what a rate can be.
    return Estimate(found.value, max(found.low, 0.0), min(found.high, 1.0))


def row(name: str, estimate: Estimate, **more: Json) -> dict[str, Json]:
    """A line of a recipe's table."""
    return {
        "name": name,
        "value": json_number(estimate.value),
        "low": json_number(estimate.low),
        "high": json_number(estimate.high),
        **more,
    }


def scores(
    lab: Lab, task: Task, models: Mapping[str, Model], draws: int, *, problems: ProblemSet | None = None
) -> tuple[Mapping[str, Json], ...]:
    """A recipe's usual table: success of each model on the test problems, with its interval over problems.

    Args:
        lab: the run directory.
        task: whose test problems, unless others are named.
        models: by name, in the order of the table.
        draws: a problem.
        problems: others than the test problems.
    """
    asked = problems or task.test
    lines = []
    for name, model in models.items():
        given = answered(lab, task, model, asked, draws, name=f"draw {name}")
        found = accuracy(given, lab.streams.child("scores", name))
        lines.append(row(name, found, problems=len(asked.problems), draws=draws, unit=_unit(given)))
    return tuple(lines)


def _unit(given: Answers) -> str:
    return "verified answers" if given.reads_traces else "right answers"


def supervised(policy: LocalPolicy, pairs: Sequence[tuple[Problem, str]], *, weight: float = 1.0) -> list[Row]:
    """Rows that teach to answer prompts with texts: weight on the answer and its end, none on the prompt.

    Args:
        policy: whose tokenizer and prompt layout.
        pairs: problem and the text of its answer, without the end of sequence.
        weight: of every answer token.
    """
    prompts = policy.prompts([problem for problem, _ in pairs])
    rows = []
    for index, (_, text) in enumerate(pairs):
        rows.append(row_of(prompts.row(index), encoded(policy, text), weight))
    return rows


def shown(policy: LocalPolicy, pairs: Sequence[tuple[Problem, str]]) -> Completions:
    """Texts as completions, one draw a problem: demonstrations for objectives that read rows.

    Args:
        policy: whose tokenizer and prompt layout.
        pairs: problem and the text of its answer; log-probabilities and entropies are NaN: nobody drew them.
    """
    prompts = policy.prompts([problem for problem, _ in pairs])
    tokens, offsets = ragged([encoded(policy, text) for _, text in pairs])
    unknown = np.full(len(tokens), np.nan, np.float32)
    return Completions(
        policy="shown",
        prompts=prompts,
        problem=np.arange(len(pairs), dtype=np.int32),
        draw=np.zeros(len(pairs), np.int32),
        tokens=tokens,
        offsets=offsets,
        logprobs=unknown,
        entropies=unknown,
        stop=np.zeros(len(pairs), np.uint8),
        texts=tuple(text for _, text in pairs),
    )


def encoded(policy: LocalPolicy, text: str) -> list[int]:
    """The tokens of an answer, its end of sequence included once."""
    ids = list(policy.tokenizer(text, add_special_tokens=False)["input_ids"])  # type: ignore[arg-type]
    end = policy.ends[0] if policy.ends else None
    return ids if end is None or (ids and ids[-1] in policy.ends) else [*ids, end]


def imitated(completions: Completions, rows: Sequence[int]) -> list[Row]:
    """Rows that teach what was drawn, token by token, the end included."""
    return [
        row_of(completions.prompts.row(int(completions.problem[i])), completions.row(int(i)).tolist())
        for i in rows
    ]


def row_of(prompt: Sequence[int] | np.ndarray, answer: Sequence[int], weight: float = 1.0) -> Row:
    """One row: a prompt without weight, an answer with."""
    tokens = np.concatenate([np.asarray(prompt, np.int32), np.asarray(answer, np.int32)])
    weights = np.zeros(len(tokens), np.float32)
    weights[len(prompt) :] = weight
    return Row(tokens=tokens, weights=weights)


def demonstrations(task: Task, problems: Sequence[Problem], streams: Streams) -> list[tuple[Problem, str]]:
    """Problems with the expert's solutions, those without one left out.

    Raises:
        UsageError: no expert, or no solution for any problem.
    """
    if task.expert is None:
        raise UsageError(
            "these problems have no worked solutions to learn from",
            fix="a column 'solution' in the file, or a world's problems",
        )
    written = [(problem, task.expert(problem, streams)) for problem in problems]
    found = [(problem, text) for problem, text in written if text]
    if not found:
        raise UsageError("the expert solves none of these problems", fix="problems with worked solutions")
    return found


def digest(rows: Sequence[Row]) -> str:
    """Identity of rows by content."""
    mixed = hashlib.sha256()
    for item in rows:
        mixed.update(len(item.tokens).to_bytes(4, "little") + item.tokens.tobytes() + item.weights.tobytes())
    return mixed.hexdigest()[:16]


def subset(problems: ProblemSet, chosen: Sequence[Problem], name: str) -> ProblemSet:
    """Some problems under the same grader."""
    return ProblemSet(name=f"{problems.name} {name}", problems=tuple(chosen), grader=problems.grader)


def loaded(task: Task, folder: Path) -> LocalPolicy:
    """A model folder as a policy that is asked and decoded as the task's base is."""
    read = load_policy(folder, device=task.device)
    return LocalPolicy(read.model, read.tokenizer, sampling=task.base.sampling, chat=task.base.chat)


def _parents(start: Model) -> list[Stage]:
    return [start.stage] if start.stage is not None else []
