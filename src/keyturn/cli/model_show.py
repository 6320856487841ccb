"""One model: parameters, context, template, what ends its answers, and the memory that work with it takes."""

from __future__ import annotations

import json as jsonlib
import math
import sys
from typing import Annotated, Literal

import tyro

from keyturn.core.rundir import SCHEMA


def run(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
    template: Literal["auto", "chat", "plain"] = "auto",
    max_new_tokens: int = 512,
    json: bool = False,
) -> int:
    """Say what a model is before anything is run with it.

    Args:
        model: a model folder, a run of keyturn, an embedded world, or a Hub id.
        template: chat: apply the tokenizer's chat template; auto: where it has one.
        max_new_tokens: length limit of an answer, for the memory of an audit.
        json: one JSON document on stdout.
    """
    from keyturn.auditing.model_facts import PROMPT, facts_of
    from keyturn.auditing.model_places import place_of
    from keyturn.auditing.planning import ESTIMATE

    found = facts_of(place_of(model), template=template, max_new_tokens=max_new_tokens)
    if json:
        document = {"schema": SCHEMA, "command": "model show", "model": found.to_json()}
        sys.stdout.write(jsonlib.dumps(document, allow_nan=False) + "\n")
        return 0
    template_says = "it has a chat template" if found.kind == "instruct" else "it has no chat template"
    pair = f"two such models in float32, prompts of {PROMPT} tokens; {ESTIMATE}"
    step = f"about {_size(found.step_bytes)} in float32"
    rows = {
        "architecture": found.architecture,
        "parameters": f"{found.parameters:,}, stored in {found.dtype}",
        "context": "not stated" if found.context is None else f"{found.context:,} tokens",
        "vocabulary": f"{found.vocabulary:,} tokens",
        "kind": f"{found.kind} ({template_says})",
        "asked by": found.prompt,
        "stops at": found.stops,
        "an audit": f"about {_size(found.audit_bytes)} ({pair})",
        "an RL step": step + _of_tokens(found.token_bytes, found.micro_tokens),
    }
    if found.source:
        rows["imported from"] = (
            f"{found.source.get('file')} ({found.source.get('licence') or 'no licence stated'})"
        )
    wide = max(map(len, rows))
    for name, value in rows.items():
        sys.stdout.write(f"{name:<{wide}}  {value}\n")
    return 0


def _of_tokens(token_bytes: float, micro_tokens: int) -> str:
    if math.isnan(token_bytes):
        return ""
    whole = f"{micro_tokens} at once: {_size(token_bytes * micro_tokens)}"
    return f", and {_size(token_bytes)} for every token of a backward pass ({whole})"


def _size(count: float) -> str:
    """Bytes in a unit that a person reads."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
