"""Records of a TRL run: the rows of every process as our completions, and our curves of every step."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from keyturn.core.extras import need
from keyturn.core.jsonl import append_jsonl, cut
from keyturn.core.measurement import from_json_number, json_number
from keyturn.core.problem import Problem
from keyturn.core.rundir import write_json
from keyturn.core.streams import Streams
from keyturn.engines.rows import draws, rows_of
from keyturn.objectives.contract import RolloutBatch, Term
from keyturn.problems.contract import ProblemSet
from keyturn.rewards.contract import Graded, rewards_of
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.grades import Grades
from keyturn.rollouts.store import write_completions, write_grades
from keyturn.training.batches import padded
from keyturn.training.collect import RoleSource
from keyturn.training.curves import cell_keys, rollout_columns
from keyturn.training.record import CONFIG, ENVIRONMENT, METRICS, ROLLOUTS, drop_later, environment

_WHY = "keyturn.engines.trl"


@dataclass(frozen=True, kw_only=True, eq=False)
class Taken:
    """The rollout of one step, with rows of all processes in their order; the same object in every process.

    Args:
        problems: the problems of ``completions.prompts``, in order.
        completions: the draws.
        grades: the grades; NaN without a grader.
        rewards: float32 ``[row]``, NaN if there is none.
        own: False on tokens that the policy did not choose, bool ``[token]``, or None.
        roles: uint8 ``[token]``, or None.
        anchors: log-probabilities under the reference, float32 ``[token]``, or None.
    """

    problems: tuple[Problem, ...]
    completions: Completions
    grades: Grades
    rewards: NDArray[np.float32]
    own: NDArray[np.bool_] | None = None
    roles: NDArray[np.uint8] | None = None
    anchors: NDArray[np.float32] | None = None

    def rewarded(self, rewards: NDArray[np.float32]) -> Taken:
        """The rollout with the rewards of TRL's own functions."""
        return replace(self, rewards=rewards, grades=replace(self.grades, columns={"reward": rewards}))

    def scored(
        self, sampled: Tensor, entropies: Tensor, reference: Tensor | None, roles: RoleSource | None
    ) -> Taken:
        """The rollout with the trainer's numbers per token, gathered from all processes.

        Args:
            sampled: log-probabilities under the sampler, ``[row, token]`` of this process.
            entropies: entropies in the same form.
            reference: log-probabilities under the reference in the same form, or None.
            roles: source of token roles; the grader by default.
        """
        tables = [sampled, entropies] if reference is None else [sampled, entropies, reference]
        stacked = torch.stack([table.detach().float() for table in tables], dim=-1)
        parts = need("accelerate.utils", _WHY).gather_object([stacked.cpu().numpy()])
        flat = _flat(parts, self.completions.lengths)
        completions = replace(self.completions, logprobs=flat[:, 0], entropies=flat[:, 1])
        said = self.grades.roles if roles is None else roles(completions)
        anchors = None if reference is None else flat[:, 2]
        return replace(self, completions=completions, roles=said, anchors=anchors)

    def reference(self, batch: RolloutBatch) -> Tensor | None:
        """The reference's log-probabilities as ``[row, token]``."""
        if self.anchors is None:
            return None
        return torch.from_numpy(padded(self.completions, self.anchors)).to(batch.mask.device)


def _flat(parts: Sequence[NDArray], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
    """Padded tables of all processes, ``[row, token, column]`` each, as ``[token, column]``."""
    rows = [row for part in parts for row in part]
    return np.concatenate([row[:length] for row, length in zip(rows, lengths, strict=True)]).astype(np.float32)


def problem_rows(problems: ProblemSet) -> Any:
    """The data set for TRL: prompts, and each problem's number."""
    asked = problems.problems
    columns = {"prompt": [p.prompt for p in asked], "problem": list(range(len(asked)))}
    return need("datasets", _WHY).Dataset.from_dict(columns)


def local_rows(
    trainer: Any,
    inputs: Sequence[Mapping[str, Any]],
    prompts: Sequence[Any],
    prompt_ids: Sequence[Sequence[int]],
    completion_ids: Sequence[Sequence[int]],
    own: Sequence[Sequence[int]] | None,
) -> tuple[tuple[Problem, ...], Completions, Grades, NDArray[np.bool_] | None]:
    """The rows of this process: problems, completions without log-probabilities, grades, own tokens."""
    if trainer.problems is not None:
        asked = [trainer.problems.problems[row["problem"]] for row in inputs]
    else:
        asked = [_problem(prompt) for prompt in prompts]
    ends = {*trainer.eos_token_ids, trainer._tokenizer.pad_token_id}
    completions = rows_of(
        prompt_ids,
        completion_ids,
        group=[problem.id for problem in asked],
        truncated=[row[-1] not in ends for row in completion_ids],
        decode=lambda row: trainer._tokenizer.decode(row, skip_special_tokens=True),
        policy="trl",
    )
    by_id = {problem.id: problem for problem in asked}
    problems = tuple(by_id[name] for name in completions.prompts.ids)
    texts = tuple(problem.prompt for problem in problems)
    completions = replace(completions, prompts=replace(completions.prompts, texts=texts))
    if trainer.problems is not None:
        grades = trainer.problems.grader.grade(problems, completions)
    else:
        unknown = np.full(len(completions), np.nan, dtype=np.float32)
        grades = Grades(outcome=unknown, verified=unknown, answer=("",) * len(completions))
    chosen = None if own is None else np.concatenate([np.asarray(row, dtype=bool) for row in own])
    return problems, completions, grades, chosen


def _problem(prompt: Any) -> Problem:
    """A problem from a row of TRL's own data set: its text, or its messages as text."""
    text = prompt if isinstance(prompt, str) else "\n".join(str(m.get("content", "")) for m in prompt)
    return Problem(id=hashlib.sha256(text.encode()).hexdigest()[:12], prompt=text)


def gathered(trainer: Any, rows: tuple[Any, ...], streams: Streams) -> Taken:
    """The rows of all processes, and their rewards if there are problems.

    Args:
        trainer: this process's trainer.
        rows: rows from :func:`local_rows`.
        streams: randomness for random rewards.
    """
    parts = need("accelerate.utils", _WHY).gather_object([rows])
    completions = Completions.join([part[1] for part in parts])
    # Each process numbered its own draws, but a problem's draws may be in several processes.
    completions = replace(completions, draw=draws(completions.problem))
    grades = Grades.concat([part[2] for part in parts])
    known = {problem.id: problem for part in parts for problem in part[0]}
    problems = tuple(known[name] for name in completions.prompts.ids)
    owns = [part[3] for part in parts if part[3] is not None]
    rewards = np.full(len(completions), np.nan, dtype=np.float32)
    if trainer.reward is not None:
        graded = Graded(problems=problems, completions=completions, grades=grades, streams=streams)
        rewards = rewards_of(trainer.reward, graded)
    return Taken(
        problems=problems,
        completions=completions,
        grades=grades,
        rewards=rewards,
        own=np.concatenate(owns) if owns else None,
    )


@dataclass
class _Sums:
    """Sums over the updates of one rollout."""

    loss: list[float] = field(default_factory=list)
    terms: dict[str, list[float]] = field(default_factory=dict)
    norms: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    largest: float = 0.0
    used: int = 0
    rows: int = 0
    clipped: int = 0
    lr: float = 0.0


class Record:
    """The curves of a run: every process counts, and the first one writes.

    Args:
        folder: the run's directory.
        trainer: the run's trainer.
        store_rollouts: whether to keep completions and grades.
    """

    def __init__(self, folder: Path, trainer: Any, *, store_rollouts: bool) -> None:
        self.folder, self._trainer, self._store = folder, trainer, store_rollouts
        self.step = 0
        """Rollouts that are or were used for training."""
        self.factors: Mapping[str, float] = {}
        """Factor of the objective's schedule on each named term."""
        self._schedule: Mapping[str, float] = {}
        self._last: dict[str, float] = {}
        self._tokens = 0
        self._row: dict[str, float] = {}
        self._sums = _Sums()
        self._open: dict[str, float] = {}
        self._gap: list[Tensor] = []
        args = trainer.args
        self._updates = args.steps_per_generation * trainer.num_iterations // args.gradient_accumulation_steps
        problems = trainer.problems
        self._cells = cell_keys(problems.problems) if problems is not None else ()
        if trainer.accelerator.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / CONFIG, {"run": self._statement()})
            write_json(folder / ENVIRONMENT, environment())

    def _statement(self) -> dict[str, Any]:
        trainer, args = self._trainer, self._trainer.args
        version = need("trl", _WHY).__version__
        sizes = (
            "learning_rate",
            "per_device_train_batch_size",
            "gradient_accumulation_steps",
            "num_generations",
        )
        return {
            "engine": f"trl {version}",
            "objective": {"name": trainer.objective.name, "config": repr(trainer.objective.config)},
            "reward": trainer.reward.name if trainer.reward else trainer.reward_func_names,
            "problems": trainer.problems.name if trainer.problems else "a data set of TRL",
            "processes": trainer.accelerator.num_processes,
            "max_new_tokens": trainer.max_completion_length,
            "updates": self._updates,
            "draws": trainer.num_generations,
            **{name: getattr(args, name) for name in sizes},
        }

    def begin(self, taken: Taken) -> None:
        """Begin a step: record the rollout's columns and parts."""
        objective = self._trainer.objective
        if objective.adapt is not None:
            self._schedule, self.factors = objective.adapt(self._schedule, self.step, self._last)
        self._tokens += len(taken.completions.tokens)
        self._sums = _Sums()
        self._row = {"step": float(self.step)} | {f"factor/{n}": f for n, f in self.factors.items()}
        grades = replace(taken.grades, roles=taken.roles)
        self._row |= rollout_columns(taken.problems, taken.completions, grades, taken.rewards, self._cells)
        self._row["tokens"] = float(self._tokens)
        if self._store and self._trainer.accelerator.is_main_process:
            write_completions(self.folder / ROLLOUTS, self.step, taken.completions)
            write_grades(self.folder / ROLLOUTS, self.step, grades)

    def open_update(self, part: RolloutBatch, whole: Sequence[Term]) -> None:
        """Begin an update of these rows."""
        assert part.credit is not None, "judged"
        credited = all(term.credited for term in whole)
        self._sums.rows += len(part.mask)
        self._sums.used += int(part.credit.any(1).sum()) if credited else len(part.mask)
        self._open = {"loss": 0.0} | {term.name: 0.0 for term in whole}
        self._gap = []

    def add(self, terms: Sequence[Term], loss: Tensor, gap: Tensor) -> None:
        """Add a micro-batch of this process."""
        self._open["loss"] += float(loss.detach())
        for term in terms:
            self._open[term.name] += float(term.sum.detach())
        self._gap.append(gap.abs())

    def norm(self, norm: Any, lr: float) -> None:
        """Record the gradient's norm before clipping and the learning rate of the coming step."""
        value = float(norm) if norm is not None else math.nan
        self._sums.norms.append(value)
        self._sums.clipped += value > self._trainer.args.max_grad_norm > 0
        self._sums.lr = lr

    def close_update(self, denominators: Mapping[str, float]) -> None:
        """Close an update after the optimiser's step; after the last update of a rollout write its line."""
        sums, gap = self._sums, torch.cat(self._gap) if self._gap else torch.zeros(0)
        own = [float(gap.sum()), float(len(gap)), *self._open.values()]
        device = self._trainer.accelerator.device
        everyone = self._trainer.accelerator.gather(
            torch.tensor([[*own, float(gap.max()) if len(gap) else 0.0]]).to(device)
        )
        added = everyone.double().sum(0).tolist()
        values = dict(zip(self._open, added[2:-1], strict=True))
        sums.loss.append(values.pop("loss"))
        for name, value in values.items():
            if denominators[name] > 0:
                sums.terms.setdefault(name, []).append(value / denominators[name])
        if not sums.gaps and added[1]:
            sums.gaps.append(added[0] / added[1])
            sums.largest = float(everyone[:, -1].max())
        if len(sums.loss) == self._updates:
            self._finish()

    def _finish(self) -> None:
        sums = self._sums
        row = self._row | {
            "updates": float(len(sums.loss)),
            "rows/used": sums.used / max(sums.rows, 1),
            "clipped": sums.clipped / len(sums.loss),
            "lr": sums.lr,
            "loss": math.fsum(sums.loss) / len(sums.loss),
            "grad_norm": math.fsum(sums.norms) / max(len(sums.norms), 1),
        }
        row |= {f"loss/{name}": math.fsum(values) / len(values) for name, values in sums.terms.items()}
        if sums.gaps:
            row |= {"gap/mean": sums.gaps[0], "gap/max": sums.largest}
        self._last = {name: value for name, value in row.items() if math.isfinite(value)}
        if self._trainer.accelerator.is_main_process:
            append_jsonl(self.folder / METRICS, {name: json_number(v) for name, v in self._last.items()})
        self.step += 1

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        metrics = self.folder / METRICS
        return {
            "step": self.step,
            "tokens": self._tokens,
            "schedule": dict(self._schedule),
            "last": {name: json_number(value) for name, value in self._last.items()},
            "metrics_bytes": metrics.stat().st_size if metrics.exists() else 0,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the state of a checkpoint; everything written after it is cut."""
        self.step, self._tokens = int(state["step"]), int(state["tokens"])
        self._schedule = {name: float(value) for name, value in state["schedule"].items()}
        self._last = {name: from_json_number(value) for name, value in state["last"].items()}
        if self._trainer.accelerator.is_main_process:
            cut(self.folder / METRICS, int(state["metrics_bytes"]))
            drop_later(self.folder, self.step)
