"""The second half of an RL step: turn a rollout batch into new weights.

Gradient of ``sum over terms of weight * factor * sum_i / D`` where ``D`` is the term's denominator over the
whole update's rows, taken before anything is cut, so that passes over few rows add up to the exact gradient.
Rows whose credit is zero everywhere are left out of the passes where every term vanishes with the credit;
they stay in the denominators.
Degenerate: an update without such a row moves nothing (no momentum, no decay) and is counted as idle; a
non-finite loss or gradient norm skips the update, its batch is written to the run, and three in a row end it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import NumericsError, unknown
from keyturn.core.lazy import torch
from keyturn.core.streams import Streams
from keyturn.core.tensor_file import write_tensors
from keyturn.objectives.contract import Objective, PolicyTokens, RolloutBatch, Term, total
from keyturn.policies.hooks import evaluating, hooked
from keyturn.policies.local import LocalPolicy
from keyturn.rollouts.completions import Completions
from keyturn.training.batches import microbatches, minibatches, narrowed
from keyturn.training.config import UpdateConfig
from keyturn.training.loop import Loop
from keyturn.training.passes import passes_of

if TYPE_CHECKING:
    from keyturn.policies.batching import Texts
    from keyturn.policies.head import TokenScores

BAD_IN_A_ROW = 3
"""Updates that may be skipped one after another before the run ends."""


@dataclass
class _Sums:
    """What the updates of one step add up to."""

    loss: list[float] = field(default_factory=list)
    norm: list[float] = field(default_factory=list)
    terms: dict[str, list[float]] = field(default_factory=dict)
    gaps: list[torch.Tensor] = field(default_factory=list)
    norms: dict[str, float] = field(default_factory=dict)
    updates: int = 0
    used: int = 0
    skipped: int = 0
    idle: int = 0
    clipped: int = 0


def update(
    loop: Loop,
    objective: Objective,
    config: UpdateConfig,
    completions: Completions,
    batch: RolloutBatch,
    streams: Streams,
    bad: Path,
    *,
    term_norms: bool = False,
) -> dict[str, float]:
    """Take the updates of one step; returns their columns of the metrics.

    Args:
        loop: the run; its policy and optimiser are changed.
        objective: what is minimised.
        config: how many updates, and how they are cut.
        completions: the rows of ``batch``, in order.
        batch: with credit.
        streams: of this step.
        bad: folder for batches that were not finite.
        term_norms: look at the gradient norm of each term in the first update, where several have a weight.

    Raises:
        NumericsError: too many updates in a row were not finite.
    """
    from keyturn.policies.batching import Texts

    sums, texts = _Sums(), Texts.of(completions)
    for rows in minibatches(batch, config.epochs, config.minibatches, streams):
        looks = term_norms and not sums.updates
        _one_update(loop, objective, config, completions, texts, batch, rows, sums, bad, looks)
    row = {
        "updates": float(sums.updates),
        "rows/used": sums.used / max(len(batch.rewards) * config.epochs, 1),
        "skipped": float(sums.skipped),
        "idle": float(sums.idle),
        "clipped": sums.clipped / max(sums.updates, 1),
    }
    for name, values in (("loss", sums.loss), ("grad_norm", sums.norm)):
        if values:
            row[name] = math.fsum(values) / len(values)
    row |= {f"loss/{name}": math.fsum(values) / len(values) for name, values in sums.terms.items() if values}
    row |= {f"grad_norm/{name}": value for name, value in sums.norms.items()}
    if sums.gaps:
        gap = torch.cat(sums.gaps)
        row |= {"gap/mean": float(gap.mean()), "gap/max": float(gap.max())}
    return {name: value for name, value in row.items() if math.isfinite(value)}


def _one_update(
    loop: Loop,
    objective: Objective,
    config: UpdateConfig,
    completions: Completions,
    texts: Texts,
    batch: RolloutBatch,
    rows: NDArray[np.int64],
    sums: _Sums,
    bad: Path,
    looks: bool,
) -> None:
    part = (
        batch if len(rows) == len(batch.rewards) else batch.rows(torch.from_numpy(rows).to(batch.group.device))
    )
    with torch.no_grad():
        whole = objective.loss(PolicyTokens(part.behaviour_logprobs, part.entropies), part)
    denominators = {term.name: term.denominator for term in whole}
    for name in (loop.weights.keys() | loop.adapted.keys()) - denominators.keys():
        raise unknown("term of the loss (named by a hook or a schedule)", name, denominators)
    sums.updates += 1
    used = rows
    if all(term.credited for term in whole):
        assert part.credit is not None, "credit comes before loss"
        used = rows[part.credit.any(1).cpu().numpy()]
    sums.used += len(used)
    if not len(used):
        sums.idle += 1
        return
    apart = _Apart(loop) if looks and _several(_weighted(whole, loop)) else None
    loop.optimiser.zero_grad(set_to_none=True)
    values = dict.fromkeys(denominators, 0.0)
    losses: list[float] = []
    passes = passes_of(loop.policy, completions, used, config)
    for chosen in passes.rows:
        tokens, cut = _policy_on(loop.policy, texts, batch, chosen, recompute=passes.recompute)
        terms = _weighted(objective.loss(tokens, cut), loop)
        loss = total(terms, denominators)
        losses.append(float(loss.detach()))
        if apart is not None:
            apart.add(terms, denominators)
        if loss.requires_grad:
            loss.backward()
        for term in terms:
            values[term.name] += float(term.sum.detach())
        if sums.updates == 1:
            # Demonstrations were not sampled, so they are left out.
            drawn = cut.mask if cut.demonstration is None else cut.mask & ~cut.demonstration[:, None]
            if drawn.any():
                sums.gaps.append((tokens.logprobs.detach() - cut.sampled_logprobs).abs()[drawn])
    if apart is not None:
        sums.norms |= apart.norms()
    norm = float(torch.nn.utils.clip_grad_norm_(loop.parameters.values(), config.clip))
    loss = math.fsum(losses)
    if math.isfinite(loss) and math.isfinite(norm):
        loop.optimiser.step()
        loop.bad_in_a_row = 0
        sums.clipped += norm > config.clip
        sums.loss.append(loss)
        sums.norm.append(norm)
        for name, value in values.items():
            if denominators[name] > 0:
                sums.terms.setdefault(name, []).append(value / denominators[name])
        return
    sums.skipped += 1
    loop.bad_in_a_row += 1
    _dump(bad, loop.step, part, loss, norm)
    if loop.bad_in_a_row >= BAD_IN_A_ROW:
        raise NumericsError(
            f"loss or gradient not finite in {BAD_IN_A_ROW} updates in a row (last: step {loop.step})",
            fix=f"lower the learning rate, or look at the batches in {bad.name}/",
        )


def _several(terms: tuple[Term, ...]) -> bool:
    return sum(bool(term.weight) and term.denominator > 0 for term in terms) > 1


class _Apart:
    """Gradients of the terms of one update, each by itself.

    Args:
        loop: whose parameters.
    """

    def __init__(self, loop: Loop) -> None:
        self._parameters = [one for one in loop.parameters.values() if one.requires_grad]
        self._sums: dict[str, list[torch.Tensor]] = {}

    def add(self, terms: tuple[Term, ...], denominators: dict[str, float]) -> None:
        """One micro-batch; the graph is kept for the backward pass of their sum."""
        live = [t for t in terms if t.weight and denominators[t.name] > 0 and t.sum.requires_grad]
        for term in live:
            part = term.weight * term.sum / denominators[term.name]
            found = torch.autograd.grad(part, self._parameters, retain_graph=True, allow_unused=True)
            before = self._sums.setdefault(term.name, [torch.zeros_like(one) for one in self._parameters])
            for held, new in zip(before, found, strict=True):
                if new is not None:
                    held += new

    def norms(self) -> dict[str, float]:
        """Term -> norm of its gradient, weight included."""
        squares = {name: [float(g.double().square().sum()) for g in of] for name, of in self._sums.items()}
        return {name: math.sqrt(math.fsum(values)) for name, values in squares.items()}


def _policy_on(
    policy: LocalPolicy, texts: Texts, batch: RolloutBatch, rows: NDArray[np.int64], *, recompute: bool
) -> tuple[PolicyTokens, RolloutBatch]:
    """The policy's outputs for some rows, with gradient, and those rows of the batch."""
    cut = narrowed(batch, rows, int(texts.lengths[rows].max(initial=0)))
    scores = _scores(policy, texts.rows(rows, cut.tokens), recompute=recompute)
    return PolicyTokens(scores.logprobs, scores.entropies), cut


def logprobs_under(
    policy: LocalPolicy, completions: Completions, micro_tokens: int, *, tokens: torch.Tensor | None = None
) -> torch.Tensor:
    """Log-probabilities of completions under a policy at its temperature, ``[row, token]``, no gradient.

    Args:
        policy: whose.
        completions: whoever drew them.
        micro_tokens: read at once, see ``batches.microbatches``.
        tokens: of the completions, as a batch has them, ``[row, token]``; what is not given is padded anew.
    """
    from keyturn.policies.batching import Texts

    texts = Texts.of(completions)
    out = torch.zeros(len(completions), int(texts.lengths.max(initial=0)), device=policy.model.device)
    with evaluating(policy.model):
        for rows in microbatches(completions, np.arange(len(completions)), micro_tokens):
            where = torch.from_numpy(rows)
            table = None if tokens is None else tokens[where.to(tokens.device)]
            scores = _scores(policy, texts.rows(rows, table))
            out[where, : scores.logprobs.shape[1]] = scores.logprobs
    return out


def _scores(policy: LocalPolicy, texts: Texts, *, recompute: bool = False) -> TokenScores:
    from keyturn.policies.scorer import policy_tokens

    with hooked(policy.model, policy.hooks):
        temperature = policy.sampling.temperature
        return policy_tokens(policy.model, texts, temperature=temperature, recompute=recompute)


def _weighted(terms: tuple[Term, ...], loop: Loop) -> tuple[Term, ...]:
    """Terms with the factors of hooks and schedule."""
    return tuple(term._replace(weight=term.weight * loop.factor(term.name)) for term in terms)


def _dump(folder: Path, step: int, batch: RolloutBatch, loss: float, norm: float) -> None:
    """Write a batch that gave no finite update, for a person to look at."""
    tensors = {name: value for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}
    words = json.dumps({"step": step, "loss": repr(loss), "grad_norm": repr(norm)})
    write_tensors(folder / f"step-{step:06d}.safetensors", tensors, {"keyturn": words})
