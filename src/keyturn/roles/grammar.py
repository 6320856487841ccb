"""Roles that a grammar gives: the verifier that parsed a trace says what each of its tokens does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from keyturn.core.roles import EXECUTION, FORCED, PLANNING, Role
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.grades import Grades

NAMES: tuple[str, ...] = tuple(role.name.lower() for role in Role)
"""Names of the roles, indexed by their number."""

GROUPS: dict[str, frozenset[Role]] = {"planning": PLANNING, "execution": EXECUTION, "forced": FORCED}
"""Sets of roles that figures and tables group by."""


def token_roles(completions: Completions, grades: Grades | None) -> NDArray[np.uint8]:
    """The roles that grades carry, uint8 ``[token]``; all UNKNOWN where they carry none."""
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
    """Tokens that the text leaves no choice about, bool ``[token]``."""
    return role_mask(roles, FORCED)


def role_sets(roles: NDArray[np.uint8]) -> dict[str, NDArray[np.bool_]]:
    """The ways to group tokens that a by-role table shows: every role that occurs, and the groups.

    Args:
        roles: uint8 ``[token]``.

    Returns:
        Name -> mask ``[token]``: ``planning`` and ``execution`` where they occur, then each single role that
        occurs, in the order of their numbers. Empty where nothing is known of any token.
    """
    if not roles.any():
        return {}
    groups = {name: role_mask(roles, GROUPS[name]) for name in ("planning", "execution")}
    single = {NAMES[role]: roles == role for role in np.unique(roles).tolist()}
    return {name: mask for name, mask in {**groups, **single}.items() if mask.any()}
