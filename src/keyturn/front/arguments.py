"""What the arguments of the front door's functions, by name, say together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from keyturn.policies.by_name import Loading


def loading_of(given: Mapping[str, Any]) -> Loading:
    """How models are loaded, from arguments by name; what is not among them has its default."""
    return Loading(**{one.name: given[one.name] for one in fields(Loading) if one.name in given})
