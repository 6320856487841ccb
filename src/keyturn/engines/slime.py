"""slime: our credit and loss as its two hooks, without a patch.

A file of yours, on the import path of the trainers::

    # my_hooks.py
    from keyturn.objectives.dr_grpo import dr_grpo
    from keyturn.engines.slime import hooks
    advantages, loss = hooks(dr_grpo())

and the flags ``--custom-advantage-function-path my_hooks.advantages --loss-type custom_loss
--custom-loss-function-path my_hooks.loss --disable-rewards-normalization``.

Layout: ``rollout_data`` holds one entry per row of this data-parallel rank: ``tokens`` (prompt and response),
``response_lengths``, ``loss_masks``, ``log_probs``, ``rollout_log_probs`` and ``ref_log_probs`` (``[response]``
each), ``rewards``, ``sample_indices``, ``truncated``. A group's rows may be on several ranks, so rows are
gathered before credit. The loss gets a micro-batch with packed logits ``[1, token, vocabulary]``.
Denominator: slime divides by ``global_batch_size`` (rows), or with ``--calculate-per-token-loss`` by the tokens
of the update; an objective that divides by the other is refused with that sentence.
Degenerate: context parallelism splits rows and is refused. A row without tokens that count has credit 0.
Source: slime 0.3 (``compute_advantages_and_returns``, ``loss_function``). Departures: none in the numbers;
schedules and marks do not reach its loss, so objectives with them are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from keyturn.core.errors import UsageError
from keyturn.core.extras import need
from keyturn.core.streams import Streams
from keyturn.engines.contract import EVERYTHING, Divisor, Engine, divisors, refuse
from keyturn.engines.rows import Decode, judged_rows, loss_rows, loss_sum, rows_of, table
from keyturn.objectives.contract import Objective
from keyturn.training.batches import padded, rollout_batch
from keyturn.training.collect import RoleSource

_WHY = "keyturn.engines.slime"
_LOSS = "slime.backends.megatron_utils.loss"


def engine(per_token: bool) -> Engine:
    """What slime can carry.

    Args:
        per_token: whether ``--calculate-per-token-loss`` is set.
    """
    return Engine(
        name="slime with --calculate-per-token-loss" if per_token else "slime",
        credit=EVERYTHING - {"entropies"},
        loss=frozenset({"tokens", "reference_logprobs", "policy_entropies"}),
        divides=frozenset({"tokens"}) if per_token else frozenset({"rows", "limit"}),
        stepwise=False,
    )


class Hooks(NamedTuple):
    """The two functions that slime calls."""

    advantages: Callable[[Any, dict[str, Any]], None]
    loss: Callable[[Any, dict[str, Any], Tensor, Any], tuple[Tensor, dict[str, Tensor]]]


def hooks(
    objective: Objective,
    *,
    roles: RoleSource | None = None,
    decode: Decode | None = None,
    streams: Streams | None = None,
    gather: Callable[[Any], list[Any]] | None = None,
) -> Hooks:
    """slime's hooks for an objective.

    Args:
        objective: what is minimised.
        roles: source of token roles, for objectives that need it.
        decode: token ids to text, for role sources that read text.
        streams: randomness for the objective's own draws; the same on every rank.
        gather: function that collects objects of all data-parallel ranks in order; Megatron's group by default.
    """
    own, kinds = streams or Streams(0), divisors(objective)
    checked: set[bool] = set()
    steps = iter(range(1 << 62))

    def advantages(args: Any, rollout_data: dict[str, Any]) -> None:
        _check(objective, args, checked)
        parts = (gather or _gathered)(_rows(args, rollout_data))
        rank = next(
            index for index, (identity, _) in enumerate(parts) if identity == rollout_data["sample_indices"]
        )
        rows = {name: [row for _, part in parts for row in part[name]] for name in parts[0][1]}
        credit = _credit(objective, args, rows, roles, decode, own.child("step", next(steps), "credit"))
        first = sum(len(identity) for identity, _ in parts[:rank])
        lengths, like = rollout_data["response_lengths"], _old(args, rollout_data)[0]
        mine = [credit[first + i, :length].to(like) for i, length in enumerate(lengths)]
        rollout_data["advantages"] = mine
        rollout_data["returns"] = mine

    def loss(
        args: Any, batch: dict[str, Any], logits: Tensor, sum_of_sample_mean: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        _check(objective, args, checked)
        logprobs, entropies = _scores(args, batch, logits)
        old = _old(args, batch)
        lengths = batch["response_lengths"]
        tokens = [row[-length:] for row, length in zip(batch["unconcat_tokens"], lengths, strict=True)]
        anchors = batch.get("ref_log_probs")
        given = loss_rows(
            mask=table(batch["loss_masks"]).bool(),
            credit=table(batch["advantages"]),
            old=table(old or [row.detach() for row in logprobs]),
            limit=args.rollout_max_response_len,
            tokens=table(tokens),
            reference=None if anchors is None else table(anchors),
        )
        limit = float(args.rollout_max_response_len)
        counts: dict[Divisor, float] = {"rows": 1.0, "tokens": 1.0, "limit": limit}
        value, shares = loss_sum(objective, table(logprobs), table(entropies), given, counts, kinds)
        log = {"loss": value.detach(), **{name: value.new_tensor(share) for name, share in shares.items()}}
        return value, log

    return Hooks(advantages, loss)


def _check(objective: Objective, args: Any, checked: set[bool]) -> None:
    per_token = bool(args.calculate_per_token_loss)
    if per_token not in checked:
        refuse(objective, engine(per_token))
        checked.add(per_token)
    if getattr(args, "rewards_normalization", False):
        raise UsageError(
            "slime standardises rewards before credit sees them", fix="add --disable-rewards-normalization"
        )
    if getattr(args, "context_parallel_size", 1) > 1:
        raise UsageError("context parallelism splits sequences", fix="set --context-parallel-size 1")


def _old(args: Any, data: dict[str, Any]) -> Any:
    """The old log-probabilities of the ratio."""
    return data["rollout_log_probs"] if args.use_rollout_logprobs else data.get("log_probs")


def _rows(args: Any, data: dict[str, Any]) -> tuple[list[int], dict[str, list[Any]]]:
    """This rank's rows as plain lists, with their identities."""
    lengths = data["response_lengths"]
    identity = list(data["sample_indices"])
    old = _old(args, data)
    rows: dict[str, list[Any]] = {
        "prompt": [row[:-length].tolist() for row, length in zip(data["tokens"], lengths, strict=True)],
        "response": [row[-length:].tolist() for row, length in zip(data["tokens"], lengths, strict=True)],
        "own": [mask.bool().tolist() for mask in data["loss_masks"]],
        "group": [index // args.n_samples_per_prompt for index in identity],
        "reward": list(data["rewards"]),
        "truncated": [bool(cut) for cut in data["truncated"]],
        "sampled": [row.tolist() for row in data.get("rollout_log_probs") or old],
        "old": [row.tolist() for row in old],
    }
    if data.get("ref_log_probs") is not None:
        rows["reference"] = [row.tolist() for row in data["ref_log_probs"]]
    return identity, rows


def _credit(
    objective: Objective,
    args: Any,
    rows: dict[str, list[Any]],
    roles: RoleSource | None,
    decode: Decode | None,
    streams: Streams,
) -> Tensor:
    completions = rows_of(
        rows["prompt"],
        rows["response"],
        group=rows["group"],
        truncated=rows["truncated"],
        logprobs=rows["sampled"],
        decode=decode,
        policy="slime",
    )
    batch = rollout_batch(
        completions,
        np.array(rows["reward"], dtype=np.float32),
        max_new_tokens=args.rollout_max_response_len,
        own=np.concatenate([np.array(row, dtype=bool) for row in rows["own"]]),
        roles=None if roles is None else roles(completions),
    )

    def flat(name: str) -> Tensor:
        values = np.array([value for row in rows[name] for value in row], dtype=np.float32)
        return torch.from_numpy(padded(completions, values))

    anchors = flat("reference") if "reference" in rows else None
    batch = replace(batch, old_logprobs=flat("old"), reference_logprobs=anchors, streams=streams)
    judged, _ = judged_rows(objective, batch)
    assert judged.credit is not None, "judged"
    return judged.credit


def _gathered(rows: Any) -> list[Any]:
    """Objects of all data-parallel ranks, or only this one's if nothing is distributed."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return [rows]
    group = need("megatron.core.mpu", _WHY).get_data_parallel_group()
    parts: list[Any] = [None] * distributed.get_world_size(group)
    distributed.all_gather_object(parts, rows, group=group)
    return parts


def _scores(args: Any, batch: dict[str, Any], logits: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """slime's own log-probabilities and entropies, which support its tensor parallelism."""
    given = need(_LOSS, _WHY).get_log_probs_and_entropy(
        logits,
        args=args,
        unconcat_tokens=batch["unconcat_tokens"],
        total_lengths=batch["total_lengths"],
        response_lengths=batch["response_lengths"],
        with_entropy=True,
    )
    found = given[-1] if isinstance(given, tuple) else given
    return found["log_probs"], found["entropy"]
