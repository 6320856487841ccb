"""Roles from a grammar: the verifier that parsed a trace gives the role of each token."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from keyturn.core.roles import EXECUTION, FORCED, PLANNING, Role
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.grades import Grades

NAMES: tuple[str, ...] = tuple(role.name.lower() for role in Role)
"""Names of the roles, indexed by their number."""

GROUPS: dict[str, frozenset[Role]] = {"planning": PLANNING, "execution": EXECUTION, "forced": FORCED}
"""Sets of roles, the groups of figures and tables."""


def token_roles(completions: Completions, grades: Grades | None) -> NDArray[np.uint8]:
    """The roles in grades, uint8 ``[token]``; all UNKNOWN if there are none."""
    if grades is None or grades.roles is None:
        return np.zeros(len(completions.tokens), dtype=np.uint8)
    if len(grades.roles) != len(completions.tokens):
        raise ValueError(f"{len(grades.roles)} roles for {len(completions.tokens)} tokens")
    return grades.roles


def role_mask(roles: NDArray[np.uint8], wanted: frozenset[Role]) -> NDArray[np.bool_]:
    """Which tokens have one of the wanted roles, bool ``[token]``."""
    table = np.zeros(len(NAMES), dtype=bool)
    table[[int(role) for role in wanted]] = True
    return table[roles]


def forced_mask(roles: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tokens that the preceding text determines, bool ``[token]``."""
    return role_mask(roles, FORCED)


def role_sets(roles: NDArray[np.uint8]) -> dict[str, NDArray[np.bool_]]:
    """The groups of tokens in a table by role: every role that occurs, and sets of roles.

    Args:
        roles: uint8 ``[token]``.

    Returns:
        Name -> mask ``[token]``: ``planning`` and ``execution`` if they occur, then each single role that
        occurs, in the order of their numbers. Empty if no role is known.
    """
    if not roles.any():
        return {}
    groups = {name: role_mask(roles, GROUPS[name]) for name in ("planning", "execution")}
    single = {NAMES[role]: roles == role for role in np.unique(roles).tolist()}
    return {name: mask for name, mask in {**groups, **single}.items() if mask.any()}
