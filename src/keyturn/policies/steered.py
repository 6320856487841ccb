"""A policy that writes under interventions on its hidden states, in batches and with a cache.

Hooks are put on for one batch and removed after it. Before every forward pass the reader tells them the place
of every token. Under a transient intervention a token is read twice: once for the next token's distribution,
once for the cache. Where a cache cannot forget its last token, or does not hold the model's whole state, every
token is drawn from a forward pass over the whole row, in which the same definitions hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from keyturn.core.describe import describe
from keyturn.core.errors import UsageError
from keyturn.core.identity import identity
from keyturn.core.lazy import torch
from keyturn.policies.hooks import ForwardHook, evaluating, hooked
from keyturn.policies.interventions import Intervention
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import TokenTable
from keyturn.policies.sites import Places, residual
from keyturn.rollouts.completions import Completions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from keyturn.policies.runners import Cached, Decoded, Rows, Uncached


class SteeredPolicy(LocalPolicy):
    """A policy under interventions.

    Args:
        policy: gives the model, tokenizer, sampling, hooks and processors.
        interventions: they act in this order.

    Raises:
        UsageError: one does not fit the model.
    """

    def __init__(self, policy: LocalPolicy, interventions: Sequence[Intervention]) -> None:
        super().__init__(
            policy.model,
            policy.tokenizer,
            sampling=policy.sampling,
            hooks=policy.hooks,
            processors=policy.processors,
            chat=policy.chat,
            stops=policy.stops,
        )
        own = policy.interventions if isinstance(policy, SteeredPolicy) else ()
        self.interventions = (*own, *interventions)
        weights = self._weights_hash() if any(one.made_for for one in self.interventions) else ""
        for one in self.interventions:
            one.check(self.model, weights)

    def having(self, **changes: Any) -> LocalPolicy:
        """The same model and interventions with other decoding, see :meth:`LocalPolicy.having`."""
        return SteeredPolicy(super().having(**changes), self.interventions)

    @property
    def fingerprint(self) -> str:
        """Hash of the policy without interventions, and of these."""
        return identity(
            {"policy": super().fingerprint, "interventions": describe(self.interventions, "interventions")}
        )

    def decode(self, batch: Rows, *, compact: bool = True, reader: Any = None) -> Decoded:
        """Decode one batch under the interventions. The caller holds evaluation mode and the policy's hooks."""
        control = Control(self.model, self.interventions)
        with hooked(self.model, control.hooks()):
            return super().decode(batch, compact=compact, reader=lambda _, rows: control.reader(rows))

    def _check(self, batch: Rows, drawn: Decoded) -> None:
        """Checks nothing: a plain forward pass of the model gives another distribution."""

    def score(self, completions: Completions, *, advance: Any = None) -> TokenTable:
        """Teacher-forced log-probabilities under persistent interventions, one forward pass per batch of rows.

        Raises:
            UsageError: an intervention is transient: every token would need a forward of its own.
        """
        from keyturn.policies.steered_readers import scored

        if not all(one.persistent for one in self.interventions):
            what = "texts cannot be scored under a transient intervention"
            raise UsageError(what, fix="a persistent one, or score with the policy alone")
        self.check_fits(completions)
        control = Control(self.model, self.interventions)
        with evaluating(self.model), hooked(self.model, (*self.hooks, *control.hooks())):
            table = scored(self.model, control, completions, advance=advance)
        return TokenTable(policy=self.fingerprint, logprobs=table[0], entropies=table[1], ranks=table[2])

    def divergence(self, completions: Completions) -> NDArray[np.float64]:
        """``KL(steered || plain)`` in nats at every token of given texts, ``[token]``, at temperature 1.

        Raises:
            UsageError: an intervention is transient: every token would need a forward of its own.
        """
        from keyturn.policies.steered_readers import divergences

        if not all(one.persistent for one in self.interventions):
            what = "the effect of a transient intervention on whole texts cannot be measured"
            raise UsageError(what, fix="a persistent one")
        self.check_fits(completions)
        control = Control(self.model, self.interventions)
        with evaluating(self.model), hooked(self.model, (*self.hooks, *control.hooks())):
            return divergences(self.model, control, completions)


class Control:
    """Tells hooks the places of the tokens in the next forward pass.

    Args:
        model: the model that carries the hooks.
        interventions: the interventions that the hooks apply.
    """

    def __init__(self, model: PreTrainedModel, interventions: Sequence[Intervention]) -> None:
        self.model = model
        self.interventions = tuple(interventions)
        self._places: Places | None = None
        self._only: tuple[Any, ...] = ()

    @property
    def transient(self) -> bool:
        """Whether any intervention is."""
        return not all(one.persistent for one in self.interventions)

    def hooks(self) -> list[ForwardHook]:
        """One hook per intervention, which acts while places are set."""
        return [self._hook(number, one) for number, one in enumerate(self.interventions)]

    def _hook(self, number: int, one: Intervention) -> ForwardHook:
        def change(hidden: Any) -> Any:
            if self._places is None or self._only[number] is None:
                return None
            active, coefficient = self._only[number]
            wide = residual(hidden)
            return one.applied(wide, active, coefficient.to(wide.dtype), self._places).to(hidden.dtype)

        return one.site.hook(self.model, one.name, change)

    def set(self, places: Places, *, drawing: Any = None) -> bool:
        """Set the places of the next forward pass's tokens; returns whether an intervention acts on them.

        Args:
            places: places of the tokens.
            drawing: bool ``[row, token]``, tokens whose distribution is sampled: transient interventions act
                there too. None: nowhere.
        """
        only: list[Any] = []
        for one in self.interventions:
            active, coefficient = one.strength(places, torch.float64)
            if not one.persistent:
                active = active & drawing if drawing is not None else torch.zeros_like(active)
            only.append((active, coefficient) if bool(active.any()) else None)
        self._places, self._only = places, tuple(only)
        return any(one is not None for one in only)

    def twice(self, places: Places, drawing: Any) -> bool:
        """Whether a transient intervention acts on a token that is drawn from."""
        return any(
            not one.persistent and bool((one.strength(places, torch.float64)[0] & drawing).any())
            for one in self.interventions
        )

    def clear(self) -> None:
        """Leave the next forward pass without interventions."""
        self._places, self._only = None, ()

    def reader(self, rows: Rows) -> Cached | Uncached:
        """The reader of rows under the interventions."""
        from keyturn.policies.runners import cache_is_whole
        from keyturn.policies.steered_readers import SteeredCached, SteeredUncached, forgets, own_prompts

        if any(one.by_place and one.on_prompts for one in self.interventions):
            rows = own_prompts(rows)
        cached = cache_is_whole(self.model) and (not self.transient or forgets(self.model))
        return (SteeredCached if cached else SteeredUncached)(self, rows)


def steered_tokens(completions: Completions, interventions: Sequence[Intervention]) -> np.ndarray:
    """Number of tokens of each text drawn from a distribution that an intervention changed directly, ``[row]``.

    A persistent intervention changes later tokens through the cache; these are not counted.
    """
    prompts = np.diff(completions.prompts.offsets)
    count = np.zeros(len(completions))
    for row in range(len(completions)):
        size, prompt = int(completions.lengths[row]), int(prompts[completions.problem[row]])
        # Token t of an answer is drawn at the place before it.
        position = torch.arange(prompt - 1, prompt - 1 + size)[None]
        before = [*completions.prompts.row(int(completions.problem[row]))[-1:], *completions.row(row)[:-1]]
        places = Places(
            position=position,
            prompt=torch.tensor([[prompt]]),
            token=torch.tensor([before])[:, :size],
            real=torch.ones_like(position, dtype=torch.bool),
            problem=torch.tensor([[int(completions.problem[row])]]),
            draw=torch.tensor([[int(completions.draw[row])]]),
        )
        acts = torch.zeros_like(places.real)
        for one in interventions:
            active, coefficient = one.strength(places, torch.float64)
            still = one.mode == "add" and (one.vector is None or not np.any(one.vector))
            acts |= active & (coefficient != 0) & (not still)
        count[row] = int(acts.sum())
    return count
