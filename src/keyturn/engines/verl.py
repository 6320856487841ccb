"""verl: our credit as a trainer subclass (or as an estimator if rewards suffice), and our loss, both
registered.

``trainer(objective)`` registers a subclass of a trainer of verl's second generation (``trainer.use_v1``) with
our ``_compute_advantage``, which gets token ids and entropies; verl's estimators do not.
``estimator(objective)`` registers an estimator, for objectives whose credit reads only rewards.
``policy_loss(objective)`` registers the loss, chosen with ``actor.policy_loss.loss_mode=keyturn``.

Layout: ``responses``, ``response_mask``, ``rm_scores``, ``old_log_probs``... as nested rows of the transfer
queue (``[row][response]``), with a group's name per row in ``uid``; the loss gets padded micro-batches
``[row, token]``.
Denominator: ``batch_num_tokens`` or ``global_batch_size`` of ``config.global_batch_info``, over ``dp_size``, as
in verl's ``agg_loss``; without them the micro-batch's own counts, as there.
Degenerate: rows that verl adds as padding have an empty ``response_mask``; they have credit 0 and do not belong
to a group.
Source: verl 0.9 (``v1/trainer_base.py``, ``core_algos.py``). Departures: KL and entropy are verl's own terms
(``use_kl_loss``, ``entropy_coeff``). Its policy loss gets neither, so objectives with them are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from keyturn.core.extras import need
from keyturn.core.streams import Streams
from keyturn.engines.contract import Divisor, Engine, divisors, refuse
from keyturn.engines.rows import Decode, judged_rows, loss_rows, loss_sum, rows_of
from keyturn.objectives.contract import Objective
from keyturn.training.batches import padded, rollout_batch
from keyturn.training.collect import RoleSource

_WHY = "keyturn.engines.verl"
_DIVIDES: frozenset[Divisor] = frozenset({"rows", "tokens", "limit"})

TRAINER = Engine(name="verl's trainer", loss=frozenset(), divides=_DIVIDES, stepwise=False)
"""What a trainer subclass can carry."""

ESTIMATOR = Engine(
    name="verl's advantage estimators",
    credit=frozenset({"rewards", "group"}),
    loss=frozenset(),
    divides=_DIVIDES,
    stepwise=False,
)
"""What a registered estimator can carry; it gets rewards, mask and group."""

FIELDS = ("uid", "prompts", "responses", "response_mask", "rm_scores", "old_log_probs")
OPTIONAL = ("rollout_log_probs", "ref_log_prob", "entropy")
"""Fields that the trainer subclass requests from the queue."""


def nested_credit(
    objective: Objective,
    data: Mapping[str, Any],
    *,
    max_new_tokens: int,
    roles: RoleSource | None = None,
    decode: Decode | None = None,
    streams: Streams | None = None,
) -> list[Tensor]:
    """Credit of the rows of a step, one ``[response]`` tensor per row.

    Args:
        objective: the objective whose credit is computed.
        data: rows by field: :data:`FIELDS`, and the existing ones of :data:`OPTIONAL`.
        max_new_tokens: maximum number of tokens in a response; a response of this length counts as cut.
        roles: source of token roles.
        decode: token ids to text, for role sources that read text.
        streams: randomness for the objective's own draws.
    """
    masks = [row.bool() for row in _rows(data["response_mask"])]
    real = [index for index, mask in enumerate(masks) if bool(mask.any())]
    given = {name: _rows(data[name]) for name in (*FIELDS[1:], *OPTIONAL) if name in data}
    names = list(data["uid"].tolist() if hasattr(data["uid"], "tolist") else data["uid"])
    sampled = given.get("rollout_log_probs", given["old_log_probs"])
    completions = rows_of(
        [given["prompts"][i].tolist() for i in real],
        [given["responses"][i].tolist() for i in real],
        group=[names[i] for i in real],
        truncated=[len(given["responses"][i]) >= max_new_tokens for i in real],
        logprobs=[sampled[i].tolist() for i in real],
        entropies=[given["entropy"][i].tolist() for i in real] if "entropy" in given else None,
        decode=decode,
        policy="verl",
    )
    batch = rollout_batch(
        completions,
        np.array([float(given["rm_scores"][i].sum()) for i in real], dtype=np.float32),
        max_new_tokens=max_new_tokens,
        own=np.concatenate([masks[i].cpu().numpy() for i in real]),
        roles=None if roles is None else roles(completions),
    )

    def flat(rows: Sequence[Tensor]) -> Tensor:
        values = torch.cat([rows[i].float().cpu() for i in real]).numpy()
        return torch.from_numpy(padded(completions, values))

    anchors = flat(given["ref_log_prob"]) if "ref_log_prob" in given else None
    batch = replace(batch, old_logprobs=flat(given["old_log_probs"]), reference_logprobs=anchors)
    judged, _ = judged_rows(objective, replace(batch, streams=streams or Streams(0)))
    assert judged.credit is not None, "judged"
    out = [torch.zeros(len(mask)) for mask in masks]
    for row, index in enumerate(real):
        out[index] = judged.credit[row, : len(masks[index])]
    return out


def _rows(values: Any) -> list[Tensor]:
    """Rows of a nested tensor, or of anything that holds one tensor per row."""
    return list(values.unbind()) if isinstance(values, Tensor) else list(values)


def trainer(
    objective: Objective,
    *,
    max_new_tokens: int,
    name: str = "keyturn",
    of: str = "sync",
    roles: RoleSource | None = None,
    decode: Decode | None = None,
    streams: Streams | None = None,
) -> type:
    """Register a trainer whose credit is ours; choose it with ``trainer.v1.trainer_mode=keyturn``.

    Args:
        objective: the objective whose credit is computed.
        max_new_tokens: maximum number of tokens in a response.
        name: name under which it is registered.
        of: the registered trainer that it extends (``sync``, ``colocate_async``, ``separate_async``).
        roles: source of token roles.
        decode: token ids to text, for role sources that read text.
        streams: randomness for the objective's own draws.

    Raises:
        UsageError: verl cannot carry the objective.
    """
    refuse(objective, TRAINER)
    base = need("verl.trainer.ppo.v1.trainer_base", _WHY)
    queue = need("transfer_queue", _WHY)
    own = streams or Streams(0)

    class Credit(base.get_trainer_cls(of)):
        """Our credit, computed on all rows of the step."""

        def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
            wanted = [*FIELDS, *OPTIONAL]
            place = {"keys": batch.keys, "partition_id": batch.partition_id}
            data = queue.kv_batch_get(**place, select_fields=wanted)
            credit = nested_credit(
                objective,
                {field: data[field] for field in wanted if field in data},
                max_new_tokens=max_new_tokens,
                roles=roles,
                decode=decode,
                streams=own.child("step", self.global_steps, "credit"),
            )
            metrics["keyturn/credit"] = float(torch.cat(credit).abs().mean())
            nested = torch.nested.as_nested_tensor(credit, layout=torch.jagged)
            fields = need("tensordict", _WHY).TensorDict(
                {"advantages": nested, "returns": nested.clone()}, batch_size=len(credit)
            )
            return queue.kv_batch_put(**place, fields=fields)

    return base.register_trainer(name)(Credit)


def credit_of_rewards(
    objective: Objective,
) -> Callable[..., tuple[Tensor, Tensor]]:
    """An advantage estimator: rewards, mask and group names to advantages and returns ``[row, token]``.

    Raises:
        UsageError: the objective's credit reads more than that.
    """
    refuse(objective, ESTIMATOR)

    def advantages(
        token_level_rewards: Tensor, response_mask: Tensor, index: Any, config: Any = None, **_: Any
    ) -> tuple[Tensor, Tensor]:
        mask = response_mask.bool()
        given = {
            "uid": list(index),
            "prompts": [torch.zeros(1, dtype=torch.long)] * len(mask),
            "responses": [torch.zeros(mask.shape[1], dtype=torch.long)] * len(mask),
            "response_mask": list(mask),
            "rm_scores": list(token_level_rewards * mask),
            "old_log_probs": [torch.zeros(mask.shape[1])] * len(mask),
        }
        credit = torch.stack(nested_credit(objective, given, max_new_tokens=mask.shape[1] + 1))
        credit = credit.to(token_level_rewards)
        return credit, credit

    return advantages


def estimator(objective: Objective, *, name: str = "keyturn") -> Callable[..., tuple[Tensor, Tensor]]:
    """Register :func:`credit_of_rewards`; choose it with ``algorithm.adv_estimator=keyturn``.

    Args:
        objective: the objective whose credit is computed.
        name: name under which it is registered.
    """
    return need("verl.trainer.ppo.core_algos", _WHY).register_adv_est(name)(credit_of_rewards(objective))


def micro_loss(objective: Objective, *, max_new_tokens: int) -> Callable[..., tuple[Tensor, dict[str, float]]]:
    """A policy loss of verl: padded micro-batch to ``(loss, metrics)``.

    Args:
        objective: what is minimised.
        max_new_tokens: maximum number of tokens in a response.

    Raises:
        UsageError: verl cannot carry the objective.
    """
    refuse(objective, TRAINER)
    kinds = divisors(objective)

    def loss(
        old_log_prob: Tensor,
        log_prob: Tensor,
        advantages: Tensor,
        response_mask: Tensor,
        loss_agg_mode: str = "token-mean",
        config: Any = None,
        rollout_is_weights: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, float]]:
        info = dict(getattr(config, "global_batch_info", None) or {})
        share = float(info.get("dp_size") or 1)
        rows = float(info.get("global_batch_size") or len(response_mask)) / share
        tokens = float(info.get("batch_num_tokens") or response_mask.sum()) / share
        weights = 1.0 if rollout_is_weights is None else rollout_is_weights
        given = loss_rows(
            mask=response_mask.bool(), credit=advantages * weights, old=old_log_prob, limit=max_new_tokens
        )
        counts: dict[Divisor, float] = {"rows": rows, "tokens": tokens, "limit": rows * max_new_tokens}
        value, shares = loss_sum(objective, log_prob, None, given, counts, kinds)
        return value, {f"actor/{name}": number for name, number in shares.items()}

    return loss


def policy_loss(
    objective: Objective, *, max_new_tokens: int, name: str = "keyturn"
) -> Callable[..., tuple[Tensor, dict[str, float]]]:
    """Register :func:`micro_loss`; choose it with ``actor.policy_loss.loss_mode=keyturn``.

    Args:
        objective: what is minimised.
        max_new_tokens: maximum number of tokens in a response.
        name: name under which it is registered.
    """
    register = need("verl.trainer.ppo.core_algos", _WHY).register_policy_loss(name)
    return register(micro_loss(objective, max_new_tokens=max_new_tokens))
