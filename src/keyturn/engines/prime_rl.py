"""prime-rl: our credit as an ``Algorithm`` of its orchestrator, our loss as its custom loss.

Credit: ``algorithm(objective)`` makes the class. prime-rl has no import path for algorithms, so register it
with its own (``ALGORITHM_CLASSES`` and the union of configs). Loss, in the trainer's TOML::

    [trainer.loss]
    type = "custom"
    import_path = "my_loss.loss"      # my_loss.py: loss = keyturn.engines.prime_rl.loss(objective)

Layout: a *trace* has ``nodes`` with ``token_ids``, ``mask`` (True on sampled tokens) and ``logprobs``, and a
``reward``; credit is one number per sampled token in their order. The loss gets one sequence, ``[token]``
tensors ``trainer_logprobs``, ``inference_logprobs``, ``advantages``, ``loss_mask``.
Denominator: prime-rl divides the sum over sequences by the tokens of the update; an objective that divides by
rows or by the length limit is refused with that sentence (``aggregation="token-mean"`` makes GRPO carry).
Degenerate: a trace without sampled tokens has no credit. Credit gets one group at a time, so an objective whose
credit depends on the whole batch is refused.
Source: prime-rl 0.8 (``Algorithm.score_group``, ``assign_advantages``, ``LossInputs``). Departures: the ratio
uses the sampler's log-probabilities, which its trainer gets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from keyturn.core.extras import need
from keyturn.core.streams import Streams
from keyturn.engines.contract import EVERYTHING, Divisor, Engine, divisors, refuse
from keyturn.engines.rows import Decode, judged_rows, loss_rows, loss_sum, rows_of
from keyturn.objectives.contract import Objective
from keyturn.training.batches import rollout_batch
from keyturn.training.collect import RoleSource

_WHY = "keyturn.engines.prime_rl"

PRIME_RL = Engine(
    name="prime-rl",
    credit=EVERYTHING - {"entropies", "reference_logprobs"},
    loss=frozenset(),
    divides=frozenset({"tokens"}),
    whole=False,
    stepwise=False,
)
"""What prime-rl can carry."""


def group_credit(
    objective: Objective,
    traces: Sequence[Any],
    *,
    max_new_tokens: int,
    roles: RoleSource | None = None,
    decode: Decode | None = None,
    truncated: Callable[[Any], bool] = lambda trace: bool(getattr(trace, "is_truncated", False)),
    streams: Streams | None = None,
) -> list[list[float]]:
    """Credit of one group of traces: one list per trace, one number per sampled token.

    Args:
        objective: the objective whose credit is computed.
        traces: of one group.
        max_new_tokens: maximum number of tokens in a completion.
        roles: source of token roles.
        decode: token ids to text, for role sources that read text.
        truncated: whether a trace was cut at the limit.
        streams: randomness for the objective's own draws.
    """
    split = [_split(trace) for trace in traces]
    some = [index for index, (_, tokens, _, _) in enumerate(split) if tokens]
    out: list[list[float]] = [[] for _ in traces]
    if not some:
        return out
    completions = rows_of(
        [split[i][0] for i in some],
        [split[i][1] for i in some],
        group=[0] * len(some),
        truncated=[truncated(traces[i]) for i in some],
        logprobs=[split[i][3] for i in some],
        decode=decode,
        policy="prime-rl",
    )
    batch = rollout_batch(
        completions,
        np.array([traces[i].reward for i in some], dtype=np.float32),
        max_new_tokens=max_new_tokens,
        own=np.concatenate([np.array(split[i][2], dtype=bool) for i in some]),
        roles=None if roles is None else roles(completions),
    )
    batch = replace(batch, streams=streams or Streams(0))
    judged, _ = judged_rows(objective, batch)
    assert judged.credit is not None, "judged"
    for row, index in enumerate(some):
        own = torch.tensor(split[index][2])
        out[index] = judged.credit[row, : len(own)][own].tolist()
    return out


def _split(trace: Any) -> tuple[list[int], list[int], list[bool], list[float]]:
    """Prompt, the tokens after it, which of them were sampled, and their log-probabilities (0 if not
    sampled)."""
    trainable = {id(node) for branch in trace.branches if branch.trainable for node in branch.nodes}
    tokens: list[int] = []
    own: list[bool] = []
    logprobs: list[float] = []
    for node in trace.nodes:
        if id(node) in trainable:
            tokens += node.token_ids
            own += node.mask
            sampled = iter(node.logprobs)
            logprobs += [next(sampled) if mine else 0.0 for mine in node.mask]
    first = own.index(True) if True in own else len(own)
    return tokens[:first], tokens[first:], own[first:], logprobs[first:]


def algorithm(
    objective: Objective, *, max_new_tokens: int, roles: RoleSource | None = None, decode: Decode | None = None
) -> type:
    """A subclass of prime-rl's ``Algorithm`` with our credit.

    Args:
        objective: the objective whose credit is computed.
        max_new_tokens: maximum number of tokens in a completion.
        roles: source of token roles.
        decode: token ids to text, for role sources that read text.

    Raises:
        UsageError: prime-rl cannot carry the objective.
    """
    refuse(objective, PRIME_RL)
    base = need("prime_rl.orchestrator.algo.base", _WHY)
    routing = need("prime_rl.orchestrator.algo.routing", _WHY)

    class Credit(base.Algorithm):
        """Our credit, one number per sampled token."""

        async def score_group(self, episodes: Sequence[Any]) -> None:
            traces = [trace for _, trace in base.iter_trainable_traces(episodes)]
            found = group_credit(objective, traces, max_new_tokens=max_new_tokens, roles=roles, decode=decode)
            for trace, values in zip(traces, found, strict=True):
                routing.assign_advantages(trace, values)

    return Credit


def loss(objective: Objective, *, max_new_tokens: int = 1) -> Callable[[Any], Any]:
    """prime-rl's custom loss for an objective: ``LossInputs`` of one sequence to ``LossOutputs``.

    Args:
        objective: what is minimised.
        max_new_tokens: tokens that a completion may have (no loss that prime-rl can carry divides by it).

    Raises:
        UsageError: prime-rl cannot carry the objective.
    """
    refuse(objective, PRIME_RL)
    kinds = divisors(objective)

    def sequence_loss(inputs: Any) -> Any:
        outputs = need("prime_rl.trainer.rl.loss", _WHY).LossOutputs
        given = loss_rows(
            mask=inputs.loss_mask[None].bool(),
            credit=inputs.advantages[None],
            old=inputs.inference_logprobs[None],
            limit=max_new_tokens,
        )
        counts: dict[Divisor, float] = {"rows": 1.0, "tokens": 1.0, "limit": 1.0}
        value, shares = loss_sum(objective, inputs.trainer_logprobs[None], None, given, counts, kinds)
        return outputs(loss=value, metrics={name: value.new_tensor(share) for name, share in shares.items()})

    return sequence_loss
