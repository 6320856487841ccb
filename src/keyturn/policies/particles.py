"""Sequential Monte Carlo decoding: groups of weighted rows that are resampled while they are written.

The rows of a group answer the same prompt. After each token every row gains an increment of its log-weight.
Where a group's effective sample size falls too low, its rows are resampled (systematic resampling) together
with their caches, and their weights are made equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.core.lazy import torch
from keyturn.policies.context import context_length
from keyturn.policies.hooks import evaluating, hooked
from keyturn.policies.local import LocalPolicy, Sampling
from keyturn.policies.sampling import choose

if TYPE_CHECKING:
    from keyturn.policies.runners import Cached, Uncached


@dataclass(frozen=True, kw_only=True, eq=False)
class Particles:
    """The written rows, group-major: ``[group * size]`` rows.

    Args:
        tokens: padded on the right, int32 ``[row, token]``.
        logprobs: under the proposal, float32 ``[row, token]``.
        entropies: nats at temperature 1, float32 ``[row, token]``.
        lengths: tokens of each row.
        ended: whether each row gave an end of sequence.
        logweights: log-weight of each row, float64, up to a constant per group.
        loglikelihood: ``log p`` of each row at temperature 1, float64.
        generated: number of tokens sampled in each group, including those of rows that were dropped.
        resampled: how often each group was resampled.
    """

    tokens: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    entropies: NDArray[np.float32]
    lengths: NDArray[np.int64]
    ended: NDArray[np.bool_]
    logweights: NDArray[np.float64]
    loglikelihood: NDArray[np.float64]
    generated: NDArray[np.int64]
    resampled: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Exponents of a sequence of targets ``p(x_<=t) ^ a_t`` that ends in ``p(x) ^ alpha``.

    Args:
        alpha: the last exponent.
        bridge: tokens over which the exponent grows from 1; 0: it is ``alpha`` from the first token on.
    """

    alpha: float
    bridge: int = 0

    def at(self, token: int) -> float:
        """The exponent after ``token`` tokens (at least 1)."""
        return self.alpha if token >= self.bridge else 1.0 + (self.alpha - 1.0) * token / self.bridge


def particles(
    policy: LocalPolicy,
    prompts: Sequence[NDArray[np.int32]],
    size: int,
    schedule: Schedule,
    uniforms: NDArray[np.float64],
    dice: NDArray[np.float64],
    *,
    threshold: float,
) -> Particles:
    """Write ``size`` rows for each prompt under a sequence of sharpened targets.

    The proposal at token ``t`` is ``p ^ a_t``, normalised at each place. A row that continues therefore gains
    ``(a_t - a_(t-1)) log p(x_<t) + log Z_t(a_t)``, and a row that has ended gains ``(a_t - a_(t-1)) log p(x)``.

    Args:
        policy: its hooks apply; its own sampling settings do not.
        prompts: one per group.
        size: rows per group.
        schedule: the exponents.
        uniforms: random numbers that choose tokens, ``[group * size, token]``; their width limits the length.
        dice: random numbers for resampling, ``[group, token]``.
        threshold: a group is resampled where its effective sample size falls below this share of ``size``.

    Raises:
        UsageError: the policy has processors or interventions, which this loop would silently ignore.
    """
    from keyturn.policies.runners import Cached, Rows, Uncached, cache_is_whole
    from keyturn.policies.steered import SteeredPolicy

    if policy.processors or isinstance(policy, SteeredPolicy):
        what = "particles are written by the model alone, and this policy has processors or interventions"
        raise UsageError(what, fix="take a method that draws chains (power), or the policy without them")
    groups, steps = len(prompts), uniforms.shape[1]
    which = np.repeat(np.arange(groups), size)
    lengths = np.array([len(one) for one in prompts], dtype=np.int64)[which]
    context = context_length(policy.model)
    limits = np.full(len(which), steps) if context is None else np.minimum(steps, context - lengths)
    # Groups that share a prompt read it once.
    place: dict[bytes, int] = {}
    own = np.array([place.setdefault(one.tobytes(), len(place)) for one in prompts], dtype=np.int64)
    distinct = [prompts[int(np.flatnonzero(own == index)[0])] for index in range(len(place))]
    rows = Rows(
        prompts=distinct, prompt=own[which], uniforms=uniforms, limits=limits, problem=which, draw=which * 0
    )
    whole = cache_is_whole(policy.model)  # tried out before hooks are on
    with evaluating(policy.model), hooked(policy.model, policy.hooks):
        state = _State(policy, (Cached if whole else Uncached)(policy.model, rows), groups, size, limits, steps)
        previous = 1.0 if schedule.bridge else schedule.alpha
        for step in range(int(limits.max(initial=0))):
            exponent = schedule.at(step + 1)
            token = state.write(step, exponent, previous, uniforms[:, step])
            previous = exponent
            if bool(state.done.all()):
                break
            # Rows change places before their new tokens are read, since a reading does not move with its row.
            state.runner.feed(state.resample(token, dice[:, step], threshold))
        state.finish(schedule.alpha - previous)
    return state.result()


class _State:
    """The rows while they are written."""

    def __init__(
        self,
        policy: LocalPolicy,
        runner: Cached | Uncached,
        groups: int,
        size: int,
        limits: NDArray[np.int64],
        steps: int,
    ) -> None:
        rows, device = groups * size, policy.model.device
        self.runner, self.groups, self.size = runner, groups, size
        self.ends = torch.tensor(sorted(policy.ends), dtype=torch.long, device=device)
        self.tokens = torch.zeros((rows, steps), dtype=torch.long, device=device)
        self.logprobs = torch.full((rows, steps), torch.nan, device=device)
        self.entropies = torch.full((rows, steps), torch.nan, device=device)
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self.ended = torch.zeros(rows, dtype=torch.bool, device=device)
        self.limits = torch.from_numpy(limits).to(device)
        self.done = self.limits <= 0
        self.logweights = torch.zeros(rows, dtype=torch.float64, device=device)
        self.likelihood = torch.zeros(rows, dtype=torch.float64, device=device)
        self.generated = np.zeros(groups, dtype=np.int64)
        self.resampled = np.zeros(groups, dtype=np.int64)

    def write(self, step: int, exponent: float, previous: float, uniform: NDArray[np.float64]) -> torch.Tensor:
        """Choose a token for every row and update the weights; returns the tokens."""
        logits = self.runner.logits()
        logits = logits if logits.dtype == torch.float64 else logits.float()
        numbers = torch.from_numpy(uniform).to(logits.device)
        chosen = choose(logits, numbers, Sampling(temperature=1.0 / exponent))
        own = logits.double().log_softmax(-1)
        live = ~self.done
        partition = (exponent * own).logsumexp(-1)
        self.logweights += (exponent - previous) * self.likelihood + torch.where(live, partition, 0.0)
        self.likelihood += torch.where(live, own.gather(1, chosen.token[:, None])[:, 0], 0.0)
        for table, value in (
            (self.tokens, chosen.token),
            (self.logprobs, chosen.logprob),
            (self.entropies, chosen.entropy),
        ):
            table[live, step] = value[live].to(table.dtype)
        self.lengths += live
        self.generated += live.view(self.groups, self.size).sum(1).cpu().numpy()
        self.ended |= live & torch.isin(chosen.token, self.ends)
        self.done = self.ended | (self.limits <= step + 1)
        return chosen.token

    def resample(self, token: torch.Tensor, dice: NDArray[np.float64], threshold: float) -> torch.Tensor:
        """Resample the rows of groups whose weights are too uneven; returns the rows' last tokens."""
        if self.size == 1:
            return token
        weights = self.logweights.view(self.groups, self.size).softmax(1).cpu().numpy()
        poor = 1.0 / (weights**2).sum(1) < threshold * self.size
        if not poor.any():
            return token
        source = np.arange(self.groups * self.size).reshape(self.groups, self.size)
        mean = self.logweights.view(self.groups, self.size).logsumexp(1) - np.log(self.size)
        for group in np.flatnonzero(poor).tolist():
            points = (dice[group] + np.arange(self.size)) / self.size
            own = np.searchsorted(np.cumsum(weights[group]), points, side="right")
            source[group] = group * self.size + np.minimum(own, self.size - 1)
            self.logweights.view(self.groups, self.size)[group] = mean[group]
        self.resampled += poor
        index = torch.from_numpy(source.reshape(-1)).to(self.tokens.device)
        self.runner.keep(index)
        for name in ("tokens", "logprobs", "entropies", "lengths", "ended", "done", "likelihood"):
            setattr(self, name, getattr(self, name)[index])
        return token[index]

    def finish(self, rest: float) -> None:
        """Apply the remaining growth of the exponent where all rows ended before it was complete."""
        self.logweights += rest * self.likelihood

    def result(self) -> Particles:
        """Everything as numpy."""
        return Particles(
            tokens=self.tokens.cpu().numpy().astype(np.int32),
            logprobs=self.logprobs.cpu().numpy(),
            entropies=self.entropies.cpu().numpy(),
            lengths=self.lengths.cpu().numpy(),
            ended=self.ended.cpu().numpy(),
            logweights=self.logweights.cpu().numpy(),
            loglikelihood=self.likelihood.cpu().numpy(),
            generated=self.generated,
            resampled=self.resampled,
        )
