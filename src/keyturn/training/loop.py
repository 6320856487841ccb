"""The state of an RL run between two steps: what a checkpoint holds and what hooks may look at and change."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from keyturn.core.errors import StorageError, UsageError
from keyturn.core.lazy import torch
from keyturn.core.measurement import Json, from_json_number, json_number
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Policy
from keyturn.problems.world.worlds import World
from keyturn.training.checkpoint import (
    Snapshot,
    load_optimiser,
    load_weights,
    optimiser_tensors,
    weights_of,
)

POLICY, BASE, REFERENCE = "policy", "base", "reference"
"""Slots that every run has: the policy being trained, the policy it started from, and the penalties'
reference."""


class Hook(Protocol):
    """Looks at a run between steps and changes it through the methods of :class:`Loop`."""

    @property
    def name(self) -> str:
        """Identity, settings included; unique within a run."""
        ...

    def state(self) -> dict[str, Json]:
        """What it must remember beyond the run; stored in every checkpoint."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take a stored state back."""
        ...

    def before_rollout(self, loop: Loop) -> None:
        """Called before every rollout."""
        ...

    def after_step(self, loop: Loop, row: Mapping[str, float]) -> None:
        """Called after every step with its metrics, before its checkpoint."""
        ...


class Loop:
    """An RL run between two steps.

    Args:
        base: the policy that the run begins with; it is left as it is.
        optimiser: ``(parameters) -> optimiser``, also used to begin anew.
        hooks: with distinct names.
        others: further policies by slot, for rollout functions that need them.
    """

    def __init__(
        self,
        base: LocalPolicy,
        optimiser: Any,
        *,
        hooks: Sequence[Hook] = (),
        others: Mapping[str, Policy] | None = None,
    ) -> None:
        self.policy = duplicate(base)
        self.parameters: dict[str, torch.nn.Parameter] = {
            name: p for name, p in self.policy.model.named_parameters() if p.requires_grad
        }
        self.policies: dict[str, Policy] = {
            **(others or {}),
            BASE: base,
            REFERENCE: base,
            POLICY: self.policy,
        }
        self._base = self._reference = base
        names = [hook.name for hook in hooks]
        if len(set(names)) < len(names):
            raise UsageError("two hooks have the same name", fix="give every hook its own settings")
        self._make = optimiser
        self.optimiser: torch.optim.Optimizer = optimiser(list(self.parameters.values()))
        self.hooks = tuple(hooks)
        self.step = 0
        """Steps finished."""
        self.position = 0
        """Problems passed so far, see :func:`keyturn.training.rollout.problems_at`."""
        self.tokens = 0
        """Tokens sampled so far."""
        self.bad_in_a_row = 0
        """Non-finite updates skipped since the last good one."""
        self.lr_factor = 1.0
        """Multiplies the scheduled learning rate."""
        self.weights: dict[str, float] = {}
        """Term of the loss -> factor on its weight that hooks have set; 1 where a term is not named."""
        self.adapted: Mapping[str, float] = {}
        """Term of the loss -> factor that the objective's own schedule sets for this step."""
        self.schedule: Mapping[str, float] = {}
        """Memory of the objective's schedule."""
        self.last: Mapping[str, float] = {}
        """Metrics of the step before; empty before the first."""
        self.stopped = ""
        """Why a hook ended the run; empty while it goes on."""
        self.reference_step = -1
        """After which step the reference was last reset; -1: it is still the base."""
        self.folder: Path | None = None
        """The run directory, for hooks that write; None outside of a run."""
        self.world: World | None = None
        """The world that model folders name."""
        self.measured: dict[str, float] = {}
        """Columns that hooks add to the metrics of the step that ends; later hooks see them in its row."""

    @property
    def base(self) -> LocalPolicy:
        """What the run began with."""
        return self._base

    @property
    def reference(self) -> LocalPolicy:
        """What penalties pull towards."""
        return self._reference

    def reset_reference(self) -> None:
        """Make the reference the policy as it is now."""
        self._reference = self.policies[REFERENCE] = duplicate(self.policy)
        self.reference_step = self.step

    def reset_optimiser(self) -> None:
        """Forget moments and step counts."""
        self.optimiser = self._make(list(self.parameters.values()))

    def factor(self, term: str) -> float:
        """What the weight of a term is multiplied by in this step."""
        return self.weights.get(term, 1.0) * self.adapted.get(term, 1.0)

    def stop(self, reason: str) -> None:
        """End the run after this step."""
        self.stopped = reason

    def snapshot(self, facts: Mapping[str, Any]) -> Snapshot:
        """Everything that the next step depends on.

        Args:
            facts: what the caller must remember beside it.
        """
        tensors = {
            "weights": weights_of(self.policy.model),
            "optimiser": optimiser_tensors(self.optimiser, self.parameters),
        }
        if self.reference_step >= 0:
            tensors["reference"] = weights_of(self._reference.model)
        own = {
            "position": self.position,
            "tokens": self.tokens,
            "bad_in_a_row": self.bad_in_a_row,
            "lr_factor": self.lr_factor,
            "term_weights": dict(self.weights),
            "schedule": dict(self.schedule),
            "last": {name: json_number(value) for name, value in self.last.items()},
            "stopped": self.stopped,
            "reference_step": self.reference_step,
            "hooks": {hook.name: hook.state() for hook in self.hooks},
        }
        return Snapshot(step=self.step, tensors=tensors, facts={**facts, **own})

    def restore(self, snapshot: Snapshot) -> None:
        """Take a checkpoint back.

        Raises:
            StorageError: it lacks something, or is of another model or other hooks.
        """
        facts: Mapping[str, Any] = snapshot.facts
        try:
            load_weights(self.policy.model, snapshot.tensors["weights"])
            load_optimiser(self.optimiser, self.parameters, snapshot.tensors["optimiser"])
            self.reference_step = int(facts["reference_step"])
            if self.reference_step >= 0:
                self._reference = self.policies[REFERENCE] = duplicate(self.policy)
                load_weights(self._reference.model, snapshot.tensors["reference"])
            self.position = int(facts["position"])
            self.tokens = int(facts["tokens"])
            self.bad_in_a_row = int(facts["bad_in_a_row"])
            self.lr_factor = float(facts["lr_factor"])
            self.weights = {name: float(value) for name, value in facts["term_weights"].items()}
            self.schedule = {name: float(value) for name, value in facts["schedule"].items()}
            self.last = {name: from_json_number(value) for name, value in facts["last"].items()}
            self.stopped = str(facts["stopped"])
            for hook in self.hooks:
                hook.restore(facts["hooks"][hook.name])
        except KeyError as error:
            raise StorageError(
                f"the checkpoint of step {snapshot.step} lacks {error.args[0]!r}",
                fix="delete it and resume from an older one",
            ) from error
        self.step = snapshot.step


def duplicate(policy: LocalPolicy) -> LocalPolicy:
    """The same policy on a copy of its weights."""
    return LocalPolicy(
        copy.deepcopy(policy.model),
        policy.tokenizer,
        sampling=policy.sampling,
        hooks=policy.hooks,
        processors=policy.processors,
        chat=policy.chat,
        stops=policy.stops,
    )
