"""A reward from the words of a command line: its name, its settings and the rewards that it wraps.

Ours. A reward that wraps another has the other's name after a colon, and the sum has several names with plus
signs between them. Everything to the right of a colon belongs to the reward on its left::

    outcome    shuffled:process    and_not:random    overlong:sum:outcome+format

In Python the object itself is passed: ``shuffled(inner=process())``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from keyturn.core.errors import UsageError, unknown
from keyturn.rewards import REWARDS
from keyturn.rewards.contract import Reward


def reward_named(spec: str, config: object = None) -> Reward:
    """The reward of a specification.

    Args:
        spec: specification, as in the docstring of this file.
        config: settings of the outermost reward; None means its defaults.

    Raises:
        UsageError: a name is unknown, or something follows the colon of a reward that wraps no other.
    """
    name, colon, rest = spec.strip().partition(":")
    if name not in REWARDS:
        raise unknown("reward", name, REWARDS)
    build = REWARDS[name]
    settings = default_config(name) if config is None else config
    if not colon:
        return build(settings)
    takes = _takes(build)
    if not takes:
        wrappers = ", ".join(one for one, made in REWARDS.items() if _takes(made))
        raise UsageError(f"{name} wraps no other reward", fix=f"these wrap another reward: {wrappers}")
    parts = rest.split("+") if takes == "several" else [rest]
    return build(settings, *(reward_named(part) for part in parts))


def default_config(name: str) -> object:
    """The default settings of a reward, a frozen dataclass whose fields a command line may override."""
    if name not in REWARDS:
        raise unknown("reward", name, REWARDS)
    return inspect.signature(REWARDS[name]).parameters["config"].default


def _takes(build: Callable[..., Reward]) -> str:
    """How many other rewards it wraps: "" for none, "one" or "several"."""
    inner = inspect.signature(build).parameters.get("inner")
    if inner is None:
        return ""
    return "several" if inner.kind is inspect.Parameter.VAR_POSITIONAL else "one"
