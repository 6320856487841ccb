"""What a model is, before anything is run with it: size, context, template, ends, and the memory it takes.

The memory of an audit is that of ``keyturn audit --plan``, see :func:`~keyturn.auditing.planning.memory_bytes`.
That of an RL step is counted in float32:

    5 P + A t        P parameters: the base, its trained copy, gradients, Adam's two moments
                     t tokens of one backward pass, A numbers that a token leaves for it

with ``A`` from :mod:`keyturn.policies.kept_for_backward`, which also bounds ``t``.
Known bias: logits, buffers of the process and the writing of a checkpoint are not in it; attention that keeps
its weights takes more. It is an estimate, not a limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keyturn.auditing.audit import AuditConfig
from keyturn.auditing.model_size import folder_of, size_of
from keyturn.auditing.planning import Sampling, memory_bytes
from keyturn.core.errors import UsageError
from keyturn.core.measurement import Json, json_number
from keyturn.core.rundir import read_json
from keyturn.policies.by_name import Loading, open_model
from keyturn.policies.context import context_length
from keyturn.policies.describe import prompt_format, stop_tokens
from keyturn.policies.kept_for_backward import token_bytes, tokens_of_a_pass
from keyturn.training.config import UpdateConfig

FLOAT32 = 4
PROMPT = 256
"""Tokens of a prompt that the memory of an audit is counted for."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """One model, whole.

    Args:
        name: as it was given.
        architecture: its class.
        parameters: numbers in its weights.
        dtype: as they are stored.
        context: tokens of prompt and completion together, or None.
        vocabulary: rows of its embedding.
        kind: ``instruct`` where it has a chat template, else ``base``.
        prompt: how it is asked where nothing else is said.
        stops: what ends its answers then.
        audit_bytes: of an audit of two such models.
        step_bytes: of an RL step, without its tokens.
        token_bytes: of every token of a backward pass; NaN where the config does not say.
        micro_tokens: tokens of a backward pass by default.
        source: what it was imported from, or empty.
    """

    name: str
    architecture: str
    parameters: int
    dtype: str
    context: int | None
    vocabulary: int
    kind: str
    prompt: str
    stops: str
    audit_bytes: float
    step_bytes: float
    token_bytes: float
    micro_tokens: int
    source: Mapping[str, Any]

    def to_json(self) -> dict[str, Json]:
        """Everything, with null for what is not known."""
        numbers = {"audit_bytes", "step_bytes", "token_bytes"}
        plain = {name: value for name, value in vars(self).items() if name not in numbers}
        return {**plain, **{name: json_number(getattr(self, name)) for name in sorted(numbers)}}


def facts_of(name: str, *, template: str = "auto", max_new_tokens: int = 512) -> ModelFacts:
    """Load a model and say what it is.

    Args:
        name: a model folder, or what the Hub's cache holds.
        template: how prompts are given, see :class:`~keyturn.policies.by_name.Loading`.
        max_new_tokens: length limit that the memory of an audit is counted for.

    Raises:
        KeyturnError: there is no such model, or it cannot be read safely.
    """
    policy = open_model(name, Loading(device="cpu", dtype="auto", template=template))
    folder = folder_of(name)
    size = None if folder is None else size_of(folder)
    if folder is None or size is None:
        raise UsageError(f"the sizes of {name} are not in its files", fix="name a model folder")
    config = AuditConfig(max_new_tokens=max_new_tokens)
    asked = Sampling(tokens_per_draw=math.nan, tokens_from="", prompt_tokens=PROMPT, formats=False, scores=True)
    each = token_bytes(policy.model.config)
    parameters = sum(parameter.numel() for parameter in policy.model.parameters())
    source = folder / "import.json"
    return ModelFacts(
        name=name,
        architecture=type(policy.model).__name__,
        parameters=parameters,
        dtype=str(policy.model.dtype).removeprefix("torch."),
        context=context_length(policy.model),
        vocabulary=size.vocabulary,
        kind="instruct" if getattr(policy.tokenizer, "chat_template", None) else "base",
        prompt=prompt_format(policy),
        stops=stop_tokens(policy),
        # As many problems as fill a batch: more need no more memory.
        audit_bytes=memory_bytes([size, size], config.batch_rows, config, asked, "float32"),
        step_bytes=5.0 * size.parameters * FLOAT32,
        token_bytes=float(each) if each else math.nan,
        micro_tokens=tokens_of_a_pass(policy.model.config, UpdateConfig().micro_tokens, FLOAT32 * parameters),
        source=read_json(source) if source.is_file() else {},
    )
