"""Which engine draws for a policy, as plain data: part of a run's identity, since last bits depend on it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


def engine_of(policy: Any) -> str:
    """``torch``; ``native`` with the hash of its computation; or ``elsewhere`` without a model in this process.

    Args:
        policy: any policy.
    """
    return _chosen(policy)[0]


def engine_of_model(model: Any) -> str:
    """Which engine a supervised fit of a model uses, said as :func:`engine_of` says it.

    Args:
        model: any module; what is not a language model is torch's.
    """
    from keyturn.policies.native.fits import chosen

    found = chosen(model).engine
    return "torch" if found is None else f"native {found.library.key}"


def why_not_native(policy: Any) -> str:
    """Why torch draws for a policy; empty where the native engine does."""
    return _chosen(policy)[1]


def _chosen(policy: Any) -> tuple[str, str]:
    from keyturn.policies.local import LocalPolicy
    from keyturn.policies.native.fits import chosen

    if not isinstance(policy, LocalPolicy):
        return "elsewhere", "its model is not in this process"
    if policy.hooks or getattr(policy, "interventions", ()):
        return "torch", "the policy has hooks"
    found = chosen(policy.model, sampling=policy.sampling, processors=policy.processors)
    return ("torch", found.why) if found.engine is None else (f"native {found.engine.library.key}", "")


@contextlib.contextmanager
def remembered(policy: Any) -> Iterator[None]:
    """In this block the gradient of a policy's own draws may reuse the activations that drawing kept.

    Args:
        policy: a ``LocalPolicy``; nothing changes where torch answers.
    """
    from keyturn.policies.native.fits import chosen
    from keyturn.policies.native.memory import remembered as in_memory

    engine = None if policy.hooks else chosen(policy.model, sampling=policy.sampling).engine
    if engine is None:
        yield
        return
    with in_memory(engine, policy.model):
        yield
