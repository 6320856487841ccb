"""Objectives and rewards by name, with some of their settings changed: what recipes' configs are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from keyturn.core.errors import UsageError, unknown
from keyturn.objectives import OBJECTIVES
from keyturn.objectives.contract import Objective
from keyturn.rewards import REWARDS
from keyturn.rewards.contract import Reward


def objective_named(name: str, **settings: Any) -> Objective:
    """An objective of ``OBJECTIVES`` at its defaults but for some settings.

    Raises:
        UsageError: there is none of that name, or it has no such setting.
    """
    return _built("objective", name, OBJECTIVES, settings)


def reward_named(name: str, **settings: Any) -> Reward:
    """A reward of ``REWARDS`` at its defaults but for some settings.

    Raises:
        UsageError: there is none of that name, or it has no such setting.
    """
    return _built("reward", name, REWARDS, settings)


def _built(kind: str, name: str, known: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    if name not in known:
        raise unknown(kind, name, known)
    usual = known[name]().config
    if not is_dataclass(usual) or isinstance(usual, type):
        raise UsageError(f"{kind} {name} has no settings", fix="take it as it is")
    mine = {field.name for field in fields(usual)}
    strange = sorted(set(settings) - mine)
    if strange:
        raise unknown(f"setting of the {kind} {name}", strange[0], mine)
    return known[name](replace(usual, **settings))
