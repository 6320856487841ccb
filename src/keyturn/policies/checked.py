"""The first draws are scored again by a plain forward pass, which must give the recorded numbers.

This is a last line of defence behind ``runners.cache_is_whole``. It uses real prompts at their real length and
in their real batch, where windows fill up, rows are dropped and kernels for large batches run.
"""

from __future__ import annotations

import numpy as np
from transformers import PreTrainedModel

from keyturn.core.errors import NumericsError
from keyturn.policies.batching import Texts
from keyturn.policies.runners import NARROW, Decoded, Rows
from keyturn.policies.sampling import Sampling
from keyturn.policies.scorer import score_rows

MOST_APART = 1e-3
"""Largest mean distance over one row, in nats per token, that rounding in float32 explains."""

MOST_APART_NARROW = 0.06
"""The same limit for 16-bit numbers."""


def check_drawn(
    model: PreTrainedModel, rows: Rows, drawn: Decoded, sampling: Sampling, *, shaped: bool
) -> None:
    """Score a few rows of a batch alone, without cache or padding, and compare.

    The caller holds evaluation mode and the policy's hooks. Recorded entropies belong to the model's own
    distribution under any sampling. Log-probabilities are compared too where they belong to it.

    Args:
        model: the model that drew.
        rows: the prompts and limits of the batch.
        drawn: the decoded tokens and their record.
        sampling: temperature and truncation of the draws.
        shaped: whether processors changed the logits.

    Raises:
        NumericsError: the record differs from a plain forward pass.
    """
    prompts = np.array([len(prompt) for prompt in rows.prompts])[rows.prompt]
    full = np.flatnonzero(drawn.lengths > 0)
    if not len(full):
        return
    ends = (drawn.lengths[full].argmax(), prompts[full].argmin(), prompts[full].argmax(), len(full) - 1)
    limit = MOST_APART_NARROW if model.dtype in NARROW else MOST_APART
    for row in sorted({int(full[place]) for place in ends}):
        size = int(drawn.lengths[row])
        prompt = np.asarray(rows.prompts[rows.prompt[row]], dtype=np.int32)
        texts = Texts.build([prompt], [drawn.tokens[row, :size]])
        logprobs, entropies, _ = score_rows(model, texts, share=False)
        apart = np.abs(entropies - drawn.entropies[row, :size])
        if sampling.plain and not shaped:
            apart = np.maximum(apart, np.abs(logprobs - drawn.logprobs[row, :size]))
        if apart.mean() > limit:
            raise NumericsError(
                f"{type(model).__name__} draws from other probabilities than it scores with: the first draws "
                f"are up to {apart.max():.2g} nats per token off a plain forward pass",
                fix="load it in float32; if that does not help, the architecture keeps state that keyturn does "
                "not see, and only samples drawn elsewhere can be audited (--samples)",
            )
