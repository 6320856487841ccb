"""Objectives by name, with some of their settings changed, for configs of methods."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from keyturn.core.errors import UsageError, unknown
from keyturn.objectives import OBJECTIVES
from keyturn.objectives.contract import Objective


def objective_named(name: str, **settings: Any) -> Objective:
    """An objective of ``OBJECTIVES`` with its default settings, except for the given ones.

    Raises:
        UsageError: there is none of that name, or it has no such setting.
    """
    if name not in OBJECTIVES:
        raise unknown("objective", name, OBJECTIVES)
    if not settings:
        return OBJECTIVES[name]()
    usual = OBJECTIVES[name]().config
    if not is_dataclass(usual) or isinstance(usual, type):
        raise UsageError(f"objective {name} has no settings", fix="give no settings")
    mine = {field.name for field in fields(usual)}
    strange = sorted(set(settings) - mine)
    if strange:
        raise unknown(f"setting of the objective {name}", strange[0], mine)
    return OBJECTIVES[name](replace(usual, **settings))
