"""A policy described in words: the form of its prompts, and the tokens and texts that end its answers."""

from __future__ import annotations

import hashlib

from keyturn.policies.client import ServerPolicy
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Policy
from keyturn.policies.vllm_engine import VllmPolicy

MOST = 6
"""Most stop tokens that are named; the others are only counted."""


def prompt_format(policy: Policy) -> str:
    """Plain text, or the chat template with the beginning of its hash; empty: not known."""
    if isinstance(policy, ServerPolicy):
        return "plain text" if policy.config.route == "completions" else "chat, by the server's template"
    if not isinstance(policy, LocalPolicy | VllmPolicy):
        return ""
    if not policy.chat:
        return "plain text"
    template = str(policy.tokenizer.chat_template)
    return f"chat template {hashlib.sha256(template.encode()).hexdigest()[:8]}"


def stop_tokens(policy: LocalPolicy) -> str:
    """The tokens and texts that end an answer, in a fixed order."""
    tokens = [str(policy.tokenizer.convert_ids_to_tokens(token)) for token in policy.ends]
    texts = [f"the text {text!r}" for text in policy.stop_texts]
    shown = tokens if len(tokens) <= MOST else [f"{len(tokens)} tokens"]
    return ", ".join([*shown, *texts]) or "none: every answer runs to the limit"
