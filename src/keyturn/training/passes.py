"""The backward passes of an update: which rows each takes, and whether layers are run again for it.

Passes are cut so that each keeps no more than :func:`~keyturn.policies.kept_for_backward.may_keep`. Small
passes cost nothing where a group fits into one. Where it does not, its prompt is read once for every pass, and
a single row may be too long for any. Running the layers again (:mod:`keyturn.policies.recompute`) keeps about a
tenth of what a plain pass keeps for a token, and does the work of four forward passes for it instead of three.
So it is taken

    where a row alone would keep more than a pass may, or
    where 4 x (tokens that its passes read) < 3 x (tokens that plain passes read),

and never where everything fits as it is. Either way adds up to the same gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.policies.kept_for_backward import logit_bytes, tokens_of_a_pass
from keyturn.policies.local import LocalPolicy
from keyturn.rollouts.completions import Completions
from keyturn.training.batches import microbatches
from keyturn.training.config import UpdateConfig

_PLAIN, _AGAIN = 3, 4
"""Forward passes' worth of work for each token that is read: a backward pass is two."""

LARGE_VOCABULARY = 1 << 13
"""Words from which on logits count; below, layers take far more."""


class Passes(NamedTuple):
    """The passes of one update.

    Args:
        rows: of each pass.
        recompute: whether layers are run again.
    """

    rows: list[NDArray[np.int64]]
    recompute: bool


def passes_of(
    policy: LocalPolicy, completions: Completions, rows: NDArray[np.int64], config: UpdateConfig
) -> Passes:
    """Cut the rows of an update into passes.

    Args:
        policy: whose gradient is taken.
        completions: the rows of the batch.
        rows: which of them are learnt from.
        config: the size that is asked for, and whether layers may be run again.

    Raises:
        UsageError: layers were to be run again, and the model does not allow it.
    """
    model = policy.model
    weights = sum(parameter.nbytes for parameter in model.parameters())
    most = config.micro_tokens
    logits = _logits_kept(policy)
    size = tokens_of_a_pass(model.config, most, weights, logits=logits)
    plain = Passes(list(microbatches(completions, rows, size)), False)
    if config.recompute == "never" or (config.recompute == "auto" and size == most):
        return plain
    larger = tokens_of_a_pass(model.config, most, weights, recompute=True, logits=logits)
    again = Passes(list(microbatches(completions, rows, larger)), True)
    if config.recompute == "auto":
        read = [tokens_read(completions, some) for some in plain.rows]
        worth = _AGAIN * sum(tokens_read(completions, some) for some in again.rows) < _PLAIN * sum(read)
        if not (worth or max(read, default=0) > size):
            return plain
    if not policy.hooks and _allowed(policy):
        return again
    if config.recompute == "always":
        raise UsageError(
            f"the layers of {type(model).__name__} cannot be run again here (update.recompute is always)",
            fix="leave update.recompute at auto",
        )
    return plain


def tokens_read(completions: Completions, rows: Sequence[int] | NDArray[np.int64]) -> int:
    """Tokens that one pass over some rows reads: each prompt once, rows padded to the longest."""
    problems = np.unique(completions.problem[rows])
    prompts = np.diff(completions.prompts.offsets)[problems]
    return int(prompts.sum()) + len(rows) * int(completions.lengths[rows].max(initial=0))


def _logits_kept(policy: LocalPolicy) -> int:
    """Bytes of logits that a token keeps: none where the head is a plain linear map."""
    from keyturn.policies.head import split_head

    embedded: Any = policy.model.get_input_embeddings()
    vocabulary = embedded.weight.shape[0]
    if vocabulary < LARGE_VOCABULARY or split_head(policy.model) is not None:
        return 0
    return logit_bytes(vocabulary)


def _allowed(policy: LocalPolicy) -> bool:
    from keyturn.policies.recomputable import can_recompute

    return can_recompute(policy.model)
