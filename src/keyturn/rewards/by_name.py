"""A reward by the words of a command line: its name, its settings and what it is made of.

Ours. A reward that is made of another takes the other's name after a colon, and the sum takes several with a
plus between them; all to the right of a colon belongs to what stands left of it::

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
        spec: as in the docstring of this file.
        config: settings of the outermost reward; its defaults where None.

    Raises:
        UsageError: an unknown name, or something after the colon of a reward that is made of nothing.
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
        raise UsageError(f"{name} is made of no other reward", fix=f"of others are made: {wrappers}")
    parts = rest.split("+") if takes == "several" else [rest]
    return build(settings, *(reward_named(part) for part in parts))


def default_config(name: str) -> object:
    """The default settings of a reward, a frozen dataclass whose fields a command line may override."""
    if name not in REWARDS:
        raise unknown("reward", name, REWARDS)
    return inspect.signature(REWARDS[name]).parameters["config"].default


def _takes(build: Callable[..., Reward]) -> str:
    """Of how many other rewards it is made: "" none, "one" or "several"."""
    inner = inspect.signature(build).parameters.get("inner")
    if inner is None:
        return ""
    return "several" if inner.kind is inspect.Parameter.VAR_POSITIONAL else "one"
