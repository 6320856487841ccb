"""One RL run in this process: its steps, its checkpoints, its end. Its directory is the product."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from keyturn.core.errors import StorageError
from keyturn.core.jsonl import append_jsonl, cut, damage_within
from keyturn.core.lazy import torch
from keyturn.core.measurement import json_number
from keyturn.core.rundir import mark_done, remove_leftovers
from keyturn.core.streams import Streams
from keyturn.objectives.contract import Objective, RolloutBatch, judged
from keyturn.objectives.surrogate import k3
from keyturn.policies.loading import save_policy
from keyturn.policies.which_engine import remembered
from keyturn.problems.contract import ProblemSet
from keyturn.problems.world.worlds import World
from keyturn.rewards.contract import Reward
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.store import write_completions, write_grades
from keyturn.training.checkpoint import Snapshot, newest_checkpoint, write_checkpoint
from keyturn.training.collect import RoleSource, RolloutRound, collect_rollouts, joined_rounds, lesson_batch
from keyturn.training.config import RLConfig
from keyturn.training.curves import cell_keys, rollout_columns
from keyturn.training.loop import Loop
from keyturn.training.record import BAD, CHECKPOINTS, METRICS, MODEL, ROLLOUTS, TIMES, drop_later
from keyturn.training.rollout import RolloutFunction
from keyturn.training.update import logprobs_under, update


@dataclass
class Run:
    """One run in this process."""

    loop: Loop
    problems: ProblemSet
    reward: Reward
    objective: Objective
    config: RLConfig
    folder: Path
    streams: Streams
    draw: RolloutFunction
    identity: str
    roles: RoleSource | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cells = cell_keys(self.problems.problems)

    def step(self) -> dict[str, float]:
        """One step, written down; a checkpoint where it is due."""
        loop, config = self.loop, self.config
        self.seconds = {}
        for hook in loop.hooks:
            hook.before_rollout(loop)
        rate = config.lr * loop.lr_factor * min(1.0, (loop.step + 1) / max(config.warmup, 1))
        for group in loop.optimiser.param_groups:
            group["lr"] = rate
        if self.objective.adapt is not None:
            loop.schedule, loop.adapted = self.objective.adapt(loop.schedule, loop.step, loop.last)
        row: dict[str, float] = {"step": loop.step, "lr": rate}
        row |= {f"factor/{name}": factor for name, factor in loop.adapted.items()}
        with remembered(loop.policy):
            row |= self._learn(self.streams.child("step", loop.step))
        loop.step += 1
        row["tokens"] = loop.tokens
        loop.last = row
        loop.measured = {}
        for hook in loop.hooks:
            hook.after_step(loop, row)
            row |= loop.measured
        append_jsonl(self.folder / METRICS, {name: json_number(value) for name, value in row.items()})
        if loop.step % config.checkpoint_every == 0 and loop.step < config.steps:
            with self._timed("save"):
                self.save()
        times = {name: round(value, 6) for name, value in self.seconds.items()}
        append_jsonl(self.folder / TIMES, {"step": loop.step - 1, **times})
        return row

    def _learn(self, streams: Streams) -> dict[str, float]:
        loop, config = self.loop, self.config
        rounds = collect_rollouts(
            loop,
            self.problems,
            self.reward,
            config,
            self.draw,
            self.streams.child("problems"),
            streams,
            self._timed,
        )
        row = self._columns(rounds)
        if config.store_rollouts:
            with self._timed("save"):
                _, completions, grades, _ = joined_rounds(rounds)
                write_completions(self.folder / ROLLOUTS, loop.step, completions)
                write_grades(self.folder / ROLLOUTS, loop.step, grades)
        with self._timed("update"):
            kept, batch = lesson_batch(
                rounds, config.max_new_tokens, self.roles, loop.policy.model.device, streams.child("credit")
            )
            batch, kl = self._anchored(kept, batch)
            batch = judged(self.objective, batch)
            bad = self.folder / BAD
            looks = bool(config.term_norms_every) and loop.step % config.term_norms_every == 0
            return (
                row
                | kl
                | update(loop, self.objective, config.update, kept, batch, streams, bad, term_norms=looks)
            )

    def _columns(self, rounds: list[RolloutRound]) -> dict[str, float]:
        """The curves of everything that was drawn, whether it is learnt from or not."""
        problems, completions, grades, rewards = joined_rounds(rounds)
        row = rollout_columns(problems, completions, grades, rewards, self.cells)
        if self.config.rounds > 1:
            row |= {"rounds": float(len(rounds)), "groups/kept": float(sum(t.groups for t in rounds))}
        return row

    def _anchored(self, completions: Completions, batch: RolloutBatch) -> tuple[RolloutBatch, dict[str, float]]:
        """The batch with the reference's log-probabilities where they are needed, and the KL to the base."""
        loop, config = self.loop, self.config
        row: dict[str, float] = {}
        passes = config.update.micro_tokens
        base: torch.Tensor | None = None
        if config.kl_every and loop.step % config.kl_every == 0:
            base = logprobs_under(loop.base, completions, passes, tokens=batch.tokens)
            gap = (batch.sampled_logprobs - base)[batch.mask].double()
            if len(gap):
                row["kl/base"] = float(k3(gap).mean())
        if "reference_logprobs" not in self.objective.needs:
            return batch, row
        if base is None or loop.reference is not loop.base:
            base = logprobs_under(loop.reference, completions, passes, tokens=batch.tokens)
        return replace(batch, reference_logprobs=base), row

    def save(self) -> None:
        """Write a checkpoint of this moment."""
        metrics = self.folder / METRICS
        facts = {
            "run": self.identity,
            "streams": [self.streams.root, *self.streams.path],
            "metrics_bytes": metrics.stat().st_size if metrics.exists() else 0,
        }
        write_checkpoint(
            self.folder / CHECKPOINTS, self.loop.snapshot(facts), keep=self.config.keep_checkpoints
        )

    def resume(self) -> None:
        """Go back to the newest whole checkpoint, or to the beginning, and cut what was written after it."""
        found = newest_checkpoint(self.folder / CHECKPOINTS, usable=self._metrics_reach)
        facts: Mapping[str, Any] = found.facts if found else {"metrics_bytes": 0}
        if found:
            wanted = {"run": self.identity, "streams": [self.streams.root, *self.streams.path]}
            other = [name for name, value in wanted.items() if facts.get(name) != value]
            if other or "metrics_bytes" not in facts:
                what = ", ".join(other) or "metrics_bytes"
                raise StorageError(
                    f"the checkpoint of step {found.step} belongs to another run ({what})",
                    fix="resume with the same settings, or choose another directory",
                )
            self.loop.restore(found)
        remove_leftovers(self.folder)
        cut(self.folder / METRICS, int(facts["metrics_bytes"]))
        drop_later(self.folder, self.loop.step)

    def _metrics_reach(self, found: Snapshot) -> str:
        """What keeps a run from going on at a checkpoint: the metrics up to it must be there, whole."""
        size = found.facts.get("metrics_bytes")
        if found.facts.get("run") != self.identity or not isinstance(size, int):
            return ""  # it belongs to another run, which is refused, not skipped
        return damage_within(self.folder / METRICS, size)

    def finish(self, world: World | None, card: Mapping[str, Any] | None) -> None:
        """Write the tuned model, then say that everything is there."""
        facts = {
            **(card or {}),
            "rl": {
                "run": self.identity,
                "steps": self.loop.step,
                "tokens": self.loop.tokens,
                "objective": self.objective.name,
                "reward": self.reward.name,
                "stopped": self.loop.stopped,
            },
        }
        tuned = self.loop.policy
        save_policy(self.folder / MODEL, tuned.model, tuned.tokenizer, world, facts, overwrite=True)
        mark_done(self.folder)

    @contextlib.contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.monotonic() - started
