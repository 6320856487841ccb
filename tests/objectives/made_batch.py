"""A rollout batch with all that an objective may need, and its loss and gradients as the loop takes them."""

from dataclasses import replace

import numpy as np
import torch

from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.objectives.contract import PolicyTokens, RolloutBatch, judged, total


def make_batch(seed=0, groups=4, draws=3, width=5, shift=0.0, demonstrations=0):
    """A batch with everything that an objective may need, and log-probabilities ``shift`` away from it.

    Demonstrations come last, each a group of its own, as the loop lays them: reward, log-probabilities and
    entropies 0, roles unknown.
    """
    rng = np.random.default_rng(seed)
    rows = groups * draws
    lengths = rng.integers(1, width + 1, rows)
    mask = torch.tensor(np.arange(width) < lengths[:, None])
    sampled = torch.tensor(-rng.exponential(1.0, (rows, width))) * mask
    rewards = torch.tensor(rng.normal(size=rows))
    rewards[:draws] = 0.1  # one silent group
    batch = RolloutBatch(
        tokens=torch.tensor(rng.integers(0, 9, (rows, width))),
        mask=mask,
        rewards=rewards,
        group=torch.arange(groups).repeat_interleave(draws),
        truncated=torch.zeros(rows, dtype=torch.bool),
        sampled_logprobs=sampled,
        entropies=torch.tensor(rng.uniform(0, 1, (rows, width))) * mask,
        max_new_tokens=width,
        reference_logprobs=(sampled + torch.tensor(rng.normal(0, 0.2, (rows, width)))) * mask,
    )
    now = (sampled + shift * torch.tensor(rng.normal(size=(rows, width)))) * mask
    batch = replace(
        batch,
        truncated=torch.tensor(rng.random(rows) < 0.25),
        roles=torch.tensor(rng.integers(0, len(Role), (rows, width))) * mask,
        streams=Streams(seed),
    )
    return _with_demonstrations(batch, now, rng, demonstrations) if demonstrations else (batch, now)


def _with_demonstrations(batch, now, rng, count):
    rows, width = batch.mask.shape
    mask = torch.tensor(np.arange(width) < rng.integers(1, width + 1, count)[:, None])
    blank = torch.zeros(count, width, dtype=torch.float64)
    shown = RolloutBatch(
        tokens=torch.tensor(rng.integers(0, 9, (count, width))),
        mask=mask,
        rewards=torch.zeros(count, dtype=torch.float64),
        group=batch.group.max() + 1 + torch.arange(count),
        truncated=torch.zeros(count, dtype=torch.bool),
        sampled_logprobs=blank,
        entropies=blank,
        max_new_tokens=width,
        reference_logprobs=torch.tensor(-rng.exponential(1.0, (count, width))) * mask,
        roles=torch.zeros(count, width, dtype=torch.long),
    )
    both = {
        name: torch.cat([value, getattr(shown, name)])
        for name, value in vars(batch).items()
        if isinstance(value, torch.Tensor)
    }
    batch = replace(batch, **both, demonstration=torch.arange(rows + count) >= rows)
    return batch, torch.cat([now, torch.tensor(-rng.exponential(1.0, (count, width))) * mask])


def batch_for(objective, **settings):
    """The made batch, with demonstrations where the objective needs them."""
    return make_batch(demonstrations=3 if "demonstration" in objective.needs else 0, **settings)


def draws_of(batch):
    """Rows that were drawn, bool ``[row]``."""
    return torch.ones_like(batch.truncated) if batch.demonstration is None else ~batch.demonstration


def take(objective, batch, logprobs, parts=None, denominators=None):
    """Loss and its gradients by log-probability and by entropy, over micro-batches given as row indices."""
    leaf, other = logprobs.clone().requires_grad_(), batch.entropies.clone().requires_grad_()
    batch = judged(objective, batch)
    if denominators is None:
        with torch.no_grad():
            terms = objective.loss(PolicyTokens(batch.behaviour_logprobs, batch.entropies), batch)
        denominators = {t.name: t.denominator for t in terms}
    losses = []
    for part in parts or [torch.arange(len(batch.mask))]:
        tokens = PolicyTokens(leaf[part], other[part])
        losses.append(total(objective.loss(tokens, batch.rows(part)), denominators))
    loss = torch.stack(losses).sum()
    if not loss.requires_grad:
        return loss, torch.zeros_like(leaf), torch.zeros_like(other)
    grads = torch.autograd.grad(loss, [leaf, other], allow_unused=True, materialize_grads=True)
    return loss.detach(), *grads


def same(a, b):
    return all(torch.allclose(x, y, rtol=1e-10, atol=1e-13) for x, y in zip(a, b, strict=True))


def reordered(taken, order):
    loss, *grads = taken
    return loss, *(grad[order] for grad in grads)
