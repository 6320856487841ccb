"""What is seen while a policy decodes: a second model that reads along, the decoded model's own states, and
what it would say if one of them were another.

All are for logit processors. A row is known by its problem and draw, so rows may be dropped while they are
decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError
from keyturn.core.lazy import torch
from keyturn.policies.context import context_length
from keyturn.policies.hooks import ForwardHook, SoFar, evaluating, hooked
from keyturn.policies.local import LocalPolicy
from keyturn.policies.sites import Site, residual
from keyturn.policies.vocabularies import check_words


def check_reads_along(writer: LocalPolicy, reader: LocalPolicy, longest: int) -> None:
    """Refuse a second model to which the same token ids mean something else, or whose context is too short.

    Args:
        writer: whose tokens are read.
        reader: who reads them.
        longest: tokens of the longest prompt and answer together.

    Raises:
        InputError: it cannot read along.
    """
    fix = "a teacher with the base's tokenizer"
    sizes = [len(one.tokenizer) for one in (writer, reader)]  # type: ignore[arg-type]
    check_words(writer, reader, np.arange(min(sizes)), called="teacher", fix=fix)
    if sizes[0] > (known := _embedded(reader)):
        what = f"the base writes {sizes[0]} tokens, and the teacher has embeddings of {known}"
        raise InputError(what, fix=fix)
    own, other = context_length(writer.model), context_length(reader.model)
    needed = longest if own is None else min(longest, own)
    if other is not None and other < needed:
        raise InputError(
            f"the teacher's context of {other} tokens is shorter than prompt and answer ({needed})",
            fix="a smaller --max-new-tokens, or another teacher",
        )


def _embedded(policy: LocalPolicy) -> int:
    """Token ids that a model can read."""
    weight: Any = getattr(policy.model.get_input_embeddings(), "weight", None)
    return int(policy.model.config.get_text_config().vocab_size if weight is None else weight.shape[0])


class ReadsAlong:
    """A second model that reads what another one writes, with a cache of its own.

    Args:
        policy: the second model; its sampling and processors do not matter here, its hooks act.
        prompts: tokens of every problem's prompt.
        room: most tokens of an answer.
    """

    def __init__(self, policy: LocalPolicy, prompts: Sequence[NDArray[np.int32]], room: int) -> None:
        self.policy, self.prompts, self.room = policy, prompts, room
        self._runner: Any = None
        self._rows: list[tuple[int, int]] = []

    def logits(self, so_far: SoFar) -> torch.Tensor:
        """Its logits of the next token, ``[row, vocab]``, in float32 or wider.

        Called once for every token, from the first one of a batch on.
        """
        with evaluating(self.policy.model), hooked(self.policy.model, self.policy.hooks):
            self._follow(so_far)
            found = self._runner.logits()
        return _wide(found).to(so_far.tokens.device)

    def _follow(self, so_far: SoFar) -> None:
        """Read the last token of every row, or the prompts."""
        rows = list(zip(so_far.problem.tolist(), so_far.draw.tolist(), strict=True))
        device = self.policy.model.device
        if so_far.tokens.shape[1] == so_far.start:
            self._runner = self._begin(rows)
        else:
            if rows != self._rows:
                place = {row: index for index, row in enumerate(self._rows)}
                self._runner.keep(torch.tensor([place[row] for row in rows], device=device))
            self._runner.feed(so_far.tokens[:, -1].to(device))
        self._rows = rows

    def _begin(self, rows: Sequence[tuple[int, int]]) -> Any:
        from keyturn.policies.runners import Cached, Uncached, cache_is_whole

        model = self.policy.model
        return (Cached if cache_is_whole(model) else Uncached)(model, _batch(rows, self.prompts, self.room))


def _batch(rows: Sequence[tuple[int, int]], prompts: Sequence[NDArray[np.int32]], room: int) -> Any:
    """Rows of a batch that another model writes, by problem and draw."""
    from keyturn.policies.runners import Rows

    problem = np.array([row[0] for row in rows], dtype=np.int64)
    distinct, which = np.unique(problem, return_inverse=True)
    return Rows(
        prompts=[prompts[index] for index in distinct.tolist()],
        prompt=which.astype(np.int64),
        uniforms=np.zeros((len(rows), room)),
        limits=np.full(len(rows), room, dtype=np.int64),
        problem=problem,
        draw=np.array([row[1] for row in rows], dtype=np.int64),
    )


def _wide(logits: Any) -> Any:
    """Logits in float32 or wider."""
    return logits if logits.dtype == torch.float64 else logits.float()


class SteeredBeside(ReadsAlong):
    """The writing model once more, asked what it would say if the hidden state of the last token were another.

    It has a cache of its own, which never holds a changed token: what is tried is forgotten.

    Args:
        policy: the policy that writes.
        site: layer and side of the change.
        prompts: tokens of every problem's prompt.
        room: most tokens of an answer.
    """

    def __init__(
        self, policy: LocalPolicy, site: Site, prompts: Sequence[NDArray[np.int32]], room: int
    ) -> None:
        super().__init__(policy, prompts, room)
        self._hook = site.hook(policy.model, "steered beside", self._act)
        self._change: Callable[[Any], Any] | None = None

    def follow(self, so_far: SoFar) -> None:
        """Read on. Called once for every token, from the first one of a batch on."""
        with evaluating(self.policy.model), hooked(self.policy.model, self.policy.hooks):
            self._follow(so_far)

    def logits(self, so_far: SoFar, change: Callable[[Any], Any] | None = None) -> torch.Tensor:
        """Logits of the next token under a change, ``[row, vocab]``, as often as is wanted for one token.

        Args:
            so_far: what was followed last.
            change: ``state [row, dim] -> state``, of the last token of every row; None changes nothing.
        """
        model = self.policy.model
        self._change = change
        try:
            with evaluating(model), hooked(model, (*self.policy.hooks, self._hook)):
                found = self._runner.tried()
        finally:
            self._change = None
        return _wide(found).to(so_far.tokens.device)

    def _act(self, hidden: Any) -> Any:
        if self._change is None:
            return None
        at = self._runner.last(hidden)
        rows = torch.arange(len(at), device=hidden.device)
        changed = hidden.clone()
        changed[rows, at] = self._change(residual(hidden[rows, at])).to(hidden.dtype)
        return changed

    def _begin(self, rows: Sequence[tuple[int, int]]) -> Any:
        from keyturn.policies.runners import cache_is_whole
        from keyturn.policies.steered_readers import TryingCached, TryingUncached, forgets

        model = self.policy.model
        short = any(len(self.prompts[problem]) < 2 for problem, _ in rows)
        cached = cache_is_whole(model) and forgets(model) and not short
        return (TryingCached if cached else TryingUncached)(model, _batch(rows, self.prompts, self.room))


class LastState:
    """The hidden state of the decoded model at the last token of every row, from which the next one is drawn.

    Args:
        policy: the decoded policy, drawing from prompts.
        site: layer and side.
        prompts: tokens of every problem's prompt.
    """

    def __init__(self, policy: LocalPolicy, site: Site, prompts: Sequence[NDArray[np.int32]]) -> None:
        from keyturn.policies.runners import cache_is_whole

        self.prompts = prompts
        self.hook: ForwardHook = site.hook(policy.model, "last state", self._see)
        self._cached = cache_is_whole(policy.model)
        self._seen: Any = None

    def _see(self, hidden: Any) -> None:
        self._seen = hidden.detach()

    def states(self, so_far: SoFar) -> torch.Tensor:
        """Hidden states, float64 ``[row, dim]``."""
        hidden, rows = self._seen, len(so_far.problem)
        step = so_far.tokens.shape[1] - so_far.start
        if not self._cached:
            # Whole rows, padded on the right.
            lengths = torch.tensor([len(self.prompts[index]) for index in so_far.problem.tolist()])
            place = (lengths + step - 1).clamp_max(hidden.shape[1] - 1).to(hidden.device)
            return hidden[torch.arange(rows, device=hidden.device), place].double()
        if step:
            return hidden[:, -1].double()
        # Each distinct prompt is read once, padded on the left.
        which = torch.unique(so_far.problem, return_inverse=True)[1]
        return hidden[:, -1][which.to(hidden.device)].double()
