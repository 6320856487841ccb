"""TRL's ``GRPOTrainer`` with our credit, loss, roles, records and curves, on one node.

TRL draws, batches, distributes, clips and steps; the objective defines credit and loss. Credit is computed once
on the rollouts of *all* processes, as ``advantages`` of shape ``[row, token]``. Every term is divided once by
its denominator over the rows of the whole update, over all micro-batches and processes, so the gradient is that
of our own loop however the batch is split.
Degenerate: a row without a reward leaves its group, the loss and the denominators. An update without a row with
credit is still a step of TRL's optimiser (with momentum and weight decay), which our own loop skips.
Departures from our loop: TRL's sampler and order of problems; log-probabilities and entropies of the draws come
from a scoring pass right after drawing (or from vLLM or a ``rollout_func`` if they come with the rows);
resumption is TRL's, which draws the pending rollout again.
Source: TRL 1.16 (``_generate``, ``_calculate_rewards``, ``_generate_and_score_completions``, ``_compute_loss``,
``_get_grad_norm`` are overridden; a contract test runs them).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from keyturn.core.errors import UsageError
from keyturn.core.extras import need
from keyturn.core.rundir import write_text
from keyturn.core.streams import Streams
from keyturn.engines.rows import judged_rows
from keyturn.engines.trl_record import Record, Taken, gathered, local_rows, problem_rows
from keyturn.engines.trl_settings import settings
from keyturn.objectives.contract import Objective, PolicyTokens, RolloutBatch, total
from keyturn.problems.contract import ProblemSet
from keyturn.rewards.contract import Reward
from keyturn.training.batches import narrowed, rollout_batch
from keyturn.training.collect import RoleSource

_WHY = "keyturn.engines.trl"
_trl: Any = need("trl", _WHY)
_transformers: Any = need("transformers", _WHY)

STATE = "keyturn_state.json"
"""File of a checkpoint's state besides TRL's own files."""


class _AfterUpdate(_transformers.TrainerCallback):
    """Tells the trainer that an optimiser step is over."""

    def __init__(self, trainer: ObjectiveTrainer) -> None:
        self._trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._trainer.after_update()


class ObjectiveTrainer(_trl.GRPOTrainer):
    """A ``GRPOTrainer`` that minimises one of our objectives.

    Args:
        model: a path, a name on the Hub, or a model.
        objective: the objective; refused with reasons if TRL's data cannot carry it.
        folder: folder for metrics, rollouts and grades, as in ``keyturn train``.
        args: a ``trl.GRPOConfig``; settings of TRL's own loss must stay at their defaults.
        problems: problems with their grader; None means ``train_dataset`` and ``reward_funcs``.
        reward: reward of graded completions; given together with ``problems``.
        roles: source of token roles; the grader by default.
        streams: randomness for the objective's and the reward's own draws.
        store_rollouts: keep completions and grades as Parquet parts.
        kwargs: everything else that ``GRPOTrainer`` takes.

    Raises:
        UsageError: settings that contradict the objective, or problems without a reward.
    """

    def __init__(
        self,
        model: Any,
        *,
        objective: Objective,
        folder: Path | str,
        args: Any,
        problems: ProblemSet | None = None,
        reward: Reward | None = None,
        roles: RoleSource | None = None,
        streams: Streams | None = None,
        store_rollouts: bool = True,
        **kwargs: Any,
    ) -> None:
        if (problems is None) != (reward is None):
            raise UsageError(
                "problems and a reward must be given together", fix="give both, or TRL's own reward_funcs"
            )
        if problems is not None and reward is not None:
            if "reward_funcs" in kwargs or "train_dataset" in kwargs:
                raise UsageError(
                    "problems come with their reward and rows", fix="leave out reward_funcs and train_dataset"
                )
            kwargs |= {"train_dataset": problem_rows(problems), "reward_funcs": [self._named(reward)]}
        self.objective, self.problems, self.reward, self.roles = objective, problems, reward, roles
        self._streams = streams or Streams(args.seed)
        super().__init__(model, args=settings(args, objective), **kwargs)
        if self._is_vlm or self.aux_loss_enabled:
            what = "images" if self._is_vlm else "a router loss"
            raise UsageError(
                f"{what} cannot be carried", fix="a text model; router_aux_loss_coef=0 for experts"
            )
        self.record = Record(Path(folder), self, store_rollouts=store_rollouts)
        self.add_callback(_AfterUpdate(self))
        self._drawn: Any = None
        self._taken: Taken | None = None
        self._judged: dict[bool, tuple[RolloutBatch, Tensor]] = {}
        self._denominators: dict[str, float] = {}

    def _generate(self, prompts: list[Any]) -> Any:
        """TRL's draws; their token ids are kept for the records."""
        drawn = super()._generate(prompts)
        self._drawn = drawn[:3]
        return drawn

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> Tensor:
        """Rewards of the rows of all processes, ``[row, function]``."""
        rows = local_rows(self, inputs, prompts, *self._drawn)
        streams = self._streams.child("step", self.record.step)
        self._taken = gathered(self, rows, streams.child("reward"))
        given = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self.problems is None:
            rewards = (given * self.reward_weights.to(given.device)).nansum(1)
            rewards[given.isnan().all(1)] = torch.nan
            self._taken = self._taken.rewarded(rewards.cpu().numpy().astype(np.float32))
        return given

    def _named(self, reward: Reward) -> Any:
        """The reward as a function for TRL, which returns this process's part of all rewards."""

        def given(completions: Sequence[Any], **_: Any) -> list[float]:
            assert self._taken is not None, "rows are gathered before they are rewarded"
            first = self.accelerator.process_index * len(completions)
            return self._taken.rewards[first : first + len(completions)].tolist()

        given.__name__ = reward.name
        return given

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        """TRL's batch with our credit as ``advantages [row, token]`` and each row's index among all rows."""
        out = super()._generate_and_score_completions(inputs)
        train, taken = self.model.training, self._taken
        assert taken is not None, "rows are rewarded before they are scored"
        with torch.no_grad():
            logps, entropies = self._scores(self.model, out)
        sampled = out.get("sampling_per_token_logps", logps)
        # vLLM gives no number for a token that it could not score, so the trainer's number is used.
        sampled = torch.where(sampled.isnan(), logps, sampled)
        taken = self._taken = taken.scored(sampled, entropies, out.get("ref_per_token_logps"), self.roles)
        batch = rollout_batch(
            taken.completions,
            taken.rewards,
            max_new_tokens=self.max_completion_length,
            own=taken.own,
            roles=taken.roles,
            device=logps.device,
        )
        streams = self._streams.child("step", self.record.step, "credit")
        batch = replace(batch, streams=streams, reference_logprobs=taken.reference(batch))
        whole, graded = judged_rows(self.objective, batch)
        self._judged[train] = whole, graded
        first = self.accelerator.process_index * len(logps)
        out["keyturn_row"] = torch.arange(first, first + len(logps), device=logps.device)
        credit = whole.credit
        assert credit is not None, "judged"
        out["advantages"] = credit[first : first + len(logps), : logps.shape[1]]
        if train:
            lengths = whole.mask.sum(1).clamp(min=1)
            self._logs["advantages"].extend((credit.sum(1) / lengths).tolist())
            self.record.begin(taken)
        return out

    def _scores(self, model: Any, inputs: Any) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies of the completions, ``[row, token]`` each."""
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        seen = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        width = inputs["completion_ids"].shape[1]
        rows = self.args.per_device_train_batch_size
        logps, entropies, _ = self._get_per_token_logps_and_entropies(
            model, ids, seen, width, batch_size=rows, compute_entropy=True
        )
        return logps, entropies

    def _open_update(self, inputs: Any) -> None:
        """Compute the denominators over the rows of the coming update, from all processes."""
        batches, train = [inputs], self.model.training
        if train:
            count = self.args.gradient_accumulation_steps
            if self._step % count:
                return
            start = self._step % self.args.steps_per_generation
            batches = self._buffered_inputs[start : start + count]
        rows = self.accelerator.gather(torch.cat([batch["keyturn_row"] for batch in batches]))
        judged, graded = self._judged[train]
        part = judged.rows(rows[graded[rows]])
        with torch.no_grad():
            whole = self.objective.loss(PolicyTokens(part.behaviour_logprobs, part.entropies), part)
        self._denominators = {term.name: term.denominator for term in whole}
        if train:
            self.record.open_update(part, whole)

    def _compute_loss(self, model: Any, inputs: Any) -> Tensor:
        """Our terms of this micro-batch, divided by the whole update's denominators."""
        self._open_update(inputs)
        judged, graded = self._judged[self.model.training]
        logps, entropies = self._scores(model, inputs)
        rows = inputs["keyturn_row"]
        kept = graded[rows]
        cut = narrowed(judged, rows[kept].cpu().numpy(), logps.shape[1])
        width = cut.mask.shape[1]
        cut = replace(cut, credit=inputs["advantages"][kept][:, :width])
        differentiated = "policy_entropies" in self.objective.needs
        tokens = PolicyTokens(
            logps[kept][:, :width], entropies[kept][:, :width] if differentiated else cut.entropies
        )
        factors = self.record.factors
        terms = tuple(
            term._replace(weight=term.weight * factors.get(term.name, 1.0))
            for term in self.objective.loss(tokens, cut)
        )
        loss = total(terms, self._denominators).to(logps)
        if self.model.training:
            self.record.add(terms, loss, (tokens.logprobs.detach() - cut.sampled_logprobs)[cut.mask])
        # Processes are averaged after this; the empty sum keeps the graph if no row of this process has credit.
        return loss * self.accelerator.num_processes + logps[:, :0].sum()

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        self.record.norm(norm, self.optimizer.param_groups[0]["lr"])
        return norm

    def after_update(self) -> None:
        """Close the update that TRL has just made, and the step if it was the last update of its rollout."""
        self.record.close_update(self._denominators)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
            write_text(folder / STATE, json.dumps(self.record.state()))

    def _load_optimizer_and_scheduler(self, checkpoint: Any) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and (path := Path(checkpoint) / STATE).exists():
            self.record.restore(json.loads(path.read_text(encoding="utf-8")))
