"""Snapshots: model folders that a run saves at given steps, and how they are found again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyturn.core.measurement import Json
from keyturn.lab.session import Model, loaded
from keyturn.lab.task import Task
from keyturn.policies.loading import save_policy
from keyturn.training.loop import Loop

KEPT = "kept"
"""Folder within the run directory; one model folder a step below it."""


@dataclass(frozen=True, kw_only=True)
class KeepAt:
    """Save the policy after given steps; a step that is repeated writes the same bytes again."""

    steps: tuple[int, ...]
    """Finished steps at which it is saved."""

    @property
    def name(self) -> str:
        """Identity with its settings."""
        return f"keep at {', '.join(map(str, self.steps))}"

    def state(self) -> dict[str, Json]:
        """Nothing: the step decides."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to take back."""

    def before_rollout(self, loop: Loop) -> None:
        """Nothing before a rollout."""

    def after_step(self, loop: Loop, row: Mapping[str, float]) -> None:
        """Write where it is due."""
        if loop.step in self.steps and loop.folder is not None:
            now = loop.policy
            folder = loop.folder / KEPT / f"step-{loop.step:06d}"
            save_policy(folder, now.model, now.tokenizer, loop.world, {"step": loop.step}, overwrite=True)


def kept_policies(task: Task, model: Model) -> dict[int, Model]:
    """The policies that the run behind a model saved on the way, by step, oldest first."""
    folder = model.path.parent / KEPT
    found = {int(path.name.split("-")[1]): path for path in folder.glob("step-*") if path.is_dir()}
    return {step: _loaded(task, model, found[step]) for step in sorted(found)}


def _loaded(task: Task, model: Model, folder: Path) -> Model:
    return Model(str(folder), loaded(task, folder), model.stage)
