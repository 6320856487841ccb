"""The contract of an objective: rewards -> credit -> loss, as pure functions on tensors.

Credit is computed once, on the whole rollout batch, without gradient. The loss gets a micro-batch of rows and
returns *sums* with their denominators. The training loop divides once by the denominator of the whole batch, so
micro-batching is exact by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from jaxtyping import Bool, Float, Int

from keyturn.core.describe import PROSE
from keyturn.core.errors import UsageError
from keyturn.core.lazy import torch
from keyturn.core.streams import Streams


@dataclass(frozen=True, kw_only=True, eq=False)
class RolloutBatch:
    """Completions with rewards, right-padded to the longest; padding carries ``mask`` False.

    Args:
        tokens: generated tokens, ``[row, token]``.
        mask: True on generated tokens up to and including the end of sequence, ``[row, token]``.
        rewards: ``[row]``.
        group: index of a row's prompt; rows of one group are its draws, ``[row]``.
        truncated: whether a row was cut at the length limit, ``[row]``.
        sampled_logprobs: log-probabilities under the sampling distribution, ``[row, token]``.
        entropies: entropies at sampling time in nats, ``[row, token]``.
        max_new_tokens: the length limit of the rollout (the constant of Dr. GRPO).
        old_logprobs: log-probabilities under the policy before the updates of this rollout step; None if that
            is the sampler.
        reference_logprobs: log-probabilities under the reference policy; None if there is none.
        roles: ``keyturn.core.roles.Role`` per token; None if unknown.
        credit: the result of :attr:`Objective.credit`; None before.
        demonstration: True on rows that are demonstrations and not draws, each in its own group with reward 0;
            None if there are none.
        marked: the result of :attr:`Objective.mark`; None before, or if nothing is marked.
        streams: randomness of this step, for random choices (a placebo mask); None outside a run.
    """

    tokens: Int[torch.Tensor, "row token"]
    mask: Bool[torch.Tensor, "row token"]
    rewards: Float[torch.Tensor, " row"]
    group: Int[torch.Tensor, " row"]
    truncated: Bool[torch.Tensor, " row"]
    sampled_logprobs: Float[torch.Tensor, "row token"]
    entropies: Float[torch.Tensor, "row token"]
    max_new_tokens: int
    old_logprobs: Float[torch.Tensor, "row token"] | None = None
    reference_logprobs: Float[torch.Tensor, "row token"] | None = None
    roles: Int[torch.Tensor, "row token"] | None = None
    credit: Float[torch.Tensor, "row token"] | None = None
    demonstration: Bool[torch.Tensor, " row"] | None = None
    marked: Bool[torch.Tensor, "row token"] | None = None
    streams: Streams | None = None

    @property
    def behaviour_logprobs(self) -> Float[torch.Tensor, "row token"]:
        """The denominator of the importance ratio: old log-probs, or the sampler's if they are the same."""
        return self.sampled_logprobs if self.old_logprobs is None else self.old_logprobs

    def rows(self, index: Int[torch.Tensor, " chosen"]) -> RolloutBatch:
        """Some rows, in the order given."""
        chosen = {name: value[index] for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return replace(self, **chosen)


class PolicyTokens(NamedTuple):
    """Numbers of the trained policy for the batch's tokens.

    ``logprobs`` have a gradient; ``entropies`` have one if the objective needs ``policy_entropies``, else they
    are the sampler's.
    """

    logprobs: Float[torch.Tensor, "row token"]
    entropies: Float[torch.Tensor, "row token"]


class Term(NamedTuple):
    """One summand of a loss: ``weight * sum / denominator``, the denominator being that of the whole batch.

    ``credited`` says that a row whose credit is zero everywhere adds neither value nor gradient to ``sum`` (it
    still counts in ``denominator``); the loop leaves such rows out of the backward pass. A term of weight 0 is
    never differentiated; with it an objective reports a share (clipped tokens...) in addition to its loss.
    """

    name: str
    sum: Float[torch.Tensor, ""]
    denominator: float
    weight: float = 1.0
    credited: bool = False


class Adapted(NamedTuple):
    """The result of a schedule before a step: its state, and the factor on the weight of each named term."""

    state: Mapping[str, float]
    weights: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A training objective. ``Objective`` values live in ``objectives.OBJECTIVES``, built by config.

    Args:
        name: key of the dictionary.
        summary: one sentence.
        source: authors, year, identifier, equation.
        bias: the declared bias in one sentence, proved by exact enumeration in the tests.
        needs: fields of :class:`RolloutBatch` beyond the always present ones (``reference_logprobs``...), and
            ``policy_entropies`` if the loss differentiates entropies.
        credit: ``(batch) -> [row, token]``; zero outside the mask.
        loss: ``(policy tokens, batch with credit and marks) -> terms``.
        mark: ``(batch with credit) -> bool [row, token]``, once on the whole batch: a choice of tokens that the
            loss must know (by a quantile, a covariance); None if it needs none.
        adapt: ``(state, step, metrics of the previous step) -> Adapted``, called before every step, for
            coefficients that follow a schedule or the run. First state and metrics are ``{}``.
        no_op_when_single_update: settings without effect at a single update per rollout, as a sentence; ``""``
            if there are none.
        invariants: keys of :data:`INVARIANTS`: the common invariants that this objective has. The test battery
            checks each that is named, and finds a counterexample of each that is not.
        config: the frozen config dataclass that made it. A run's identity depends on it, so an objective whose
            functions were made inside another one must have it.
    """

    name: str
    summary: str = field(metadata=PROSE)
    source: str = field(metadata=PROSE)
    bias: str = field(metadata=PROSE)
    needs: frozenset[str] = frozenset()
    credit: Callable[[RolloutBatch], Float[torch.Tensor, "row token"]]
    loss: Callable[[PolicyTokens, RolloutBatch], tuple[Term, ...]]
    mark: Callable[[RolloutBatch], Bool[torch.Tensor, "row token"]] | None = None
    adapt: Callable[[Mapping[str, float], int, Mapping[str, float]], Adapted] | None = None
    no_op_when_single_update: str = field(default="", metadata=PROSE)
    invariants: frozenset[str]
    config: object = None


INVARIANTS = {
    "equal rewards": "if all draws of the batch have equal rewards, credit is exactly 0",
    "silent groups": "if all draws of a prompt have equal rewards, their credit is exactly 0",
    "shift": "adding a constant to every reward of the batch changes neither loss nor gradient",
    "prompt shift": "adding a constant to the rewards of one prompt changes neither loss nor gradient",
    "own group": "a prompt's credit depends on no other prompt",
    "row order": "the order of rows and the names of groups change neither loss nor gradient",
}
"""Name of an invariant -> its meaning."""


def judged(objective: Objective, batch: RolloutBatch) -> RolloutBatch:
    """The batch with the objective's credit and marks of a whole rollout, without gradient.

    Args:
        objective: the objective whose credit is computed.
        batch: the whole rollout.

    Raises:
        UsageError: the batch lacks a field that the objective needs; the message says how to provide it.
    """
    for name in sorted(objective.needs & _SOURCES.keys()):
        if getattr(batch, name) is None:
            raise UsageError(f"the objective {objective.name!r} needs {name}", fix=_SOURCES[name])
    with torch.no_grad():
        batch = replace(batch, credit=objective.credit(batch))
        return batch if objective.mark is None else replace(batch, marked=objective.mark(batch))


_SOURCES = {
    "reference_logprobs": "name a reference policy",
    "roles": "problems whose grader gives roles, or roles from strategic grams (--roles FILE)",
    "demonstration": "give demonstrations (--demonstrations FILE, or a world's problems)",
}
"""Field of the batch that an objective may need -> how a user provides it."""


def total(terms: tuple[Term, ...], denominators: dict[str, float]) -> torch.Tensor:
    """The scalar to differentiate: each term divided by its global denominator.

    Args:
        terms: terms of one micro-batch.
        denominators: denominators of the whole batch, by term name; a term with denominator or weight 0 adds
            nothing.
    """
    parts = [t.weight * t.sum / denominators[t.name] for t in terms if t.weight and denominators[t.name] > 0]
    if parts:
        return torch.stack(parts).sum()
    return terms[0].sum.new_zeros(()) if terms else torch.zeros(())
