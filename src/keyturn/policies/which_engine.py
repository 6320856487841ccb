"""Which engine draws for a policy, as plain data: part of what a run is, since last bits depend on it."""

from __future__ import annotations

from typing import Any


def engine_of(policy: Any) -> str:
    """``torch``, or ``native`` and the hash of what it computes; ``elsewhere`` where no model is here.

    Args:
        policy: anything that answers.
    """
    return _chosen(policy)[0]


def why_not_native(policy: Any) -> str:
    """Why torch draws for a policy; empty where the native engine does."""
    return _chosen(policy)[1]


def _chosen(policy: Any) -> tuple[str, str]:
    from keyturn.policies.local import LocalPolicy
    from keyturn.policies.native.fits import chosen

    if not isinstance(policy, LocalPolicy):
        return "elsewhere", "its model is not in this process"
    if policy.hooks:
        return "torch", "the policy has hooks"
    found = chosen(policy.model, sampling=policy.sampling, processors=policy.processors)
    return ("torch", found.why) if found.engine is None else (f"native {found.engine.library.key}", "")
