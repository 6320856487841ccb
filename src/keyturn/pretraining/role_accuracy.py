"""Teacher-forced accuracy by role: which part of reasoning a model has learnt, without sampling.

``accuracy[role] = mean over tokens of that role of [argmax_v p(v | the text so far) = token]``; for tokens
with several right choices also the share whose most likely token is one of them (``<role> valid``).
Denominator: the completion tokens of the role. Degenerate: a role that does not occur is left out.
Known bias: the text so far is right by construction, so it says nothing of recovery from own errors.
Source: the pilot measurements of the world; probing alike in Physics of Language Models 2.1 (arXiv:2407.20311).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from keyturn.core.lazy import torch
from keyturn.core.roles import Role
from keyturn.policies.fit import Row, pad_rows
from keyturn.policies.hooks import evaluating
from keyturn.problems.world.document import Document

_BATCH_ROWS = 64


def role_accuracy(model: torch.nn.Module, documents: Sequence[Document]) -> dict[str, float]:
    """Accuracy by role name in lower case, over all documents.

    Args:
        model: any causal LM of the world's vocabulary.
        documents: with roles; fresh ones, not those it was trained on.
    """
    right: Counter[str] = Counter()
    count: Counter[str] = Counter()
    ordered = sorted(documents, key=lambda document: len(document.ids))
    for start in range(0, len(ordered), _BATCH_ROWS):
        part = ordered[start : start + _BATCH_ROWS]
        for document, guesses in zip(part, _most_likely(model, part), strict=True):
            for place, (token, role) in enumerate(zip(document.completion, document.roles, strict=True)):
                name = Role(role).name.lower()
                count[name] += 1
                right[name] += int(guesses[place]) == token
                if place in document.choices:
                    count[f"{name} valid"] += 1
                    right[f"{name} valid"] += int(guesses[place]) in document.choices[place]
    return {name: right[name] / count[name] for name in sorted(count)}


def _most_likely(model: torch.nn.Module, documents: Sequence[Document]) -> list[np.ndarray]:
    rows = [
        Row(tokens=np.array(d.ids, dtype=np.int32), weights=np.ones(len(d.ids), dtype=np.float32))
        for d in documents
    ]
    tokens, _ = pad_rows(rows)
    device = next(model.parameters()).device
    with evaluating(model), torch.no_grad():
        guesses = model(input_ids=tokens[:, :-1].to(device), use_cache=False).logits.argmax(-1).cpu().numpy()
    return [
        guesses[index, len(d.prompt) - 1 : len(d.prompt) - 1 + len(d.completion)]
        for index, d in enumerate(documents)
    ]
