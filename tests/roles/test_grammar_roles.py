"""Roles that a grader gave: names, masks and sets."""

import numpy as np
import pytest
from hand_made import completions

from keyturn.core.roles import FORCED, Role
from keyturn.roles.grammar import (
    GROUPS,
    NAMES,
    forced_mask,
    role_sets,
    token_roles,
)
from keyturn.rollouts.grades import Grades

EVERY = np.array([int(role) for role in Role], dtype=np.uint8)


def test_without_roles_all_is_unknown():
    rows = completions([[1, 2], [3]])
    nothing = np.full(2, np.nan, dtype=np.float32)
    silent = Grades(outcome=nothing, verified=nothing, answer=("", ""))
    for grades in (None, silent):
        assert token_roles(rows, grades).tolist() == [Role.UNKNOWN] * 3
    assert role_sets(token_roles(rows, None)) == {}


def test_roles_of_other_completions_are_refused():
    nothing = np.full(1, np.nan, dtype=np.float32)
    grades = Grades(outcome=nothing, verified=nothing, answer=("",), roles=EVERY)
    with pytest.raises(ValueError, match="roles for 2 tokens"):
        token_roles(completions([[1, 2]]), grades)


def test_a_mask_is_its_set():
    assert {Role(int(r)) for r in EVERY[forced_mask(EVERY)]} == FORCED
    for name, mask in role_sets(EVERY).items():
        if name in GROUPS:
            assert {Role(int(r)) for r in EVERY[mask]} == GROUPS[name]


def test_the_groups_do_not_share_a_role_and_every_role_has_a_name():
    together = [role for members in GROUPS.values() for role in members]
    assert len(together) == len(set(together))
    assert len(NAMES) == len(set(NAMES)) == len(Role)


def test_sets_name_what_occurs_and_nothing_else():
    roles = np.array([Role.PLAN, Role.GOAL, Role.ANSWER, Role.PLAN], dtype=np.uint8)
    sets = role_sets(roles)
    assert list(sets) == ["planning", "plan", "goal", "answer"]
    assert sets["planning"].tolist() == [True, True, False, True]
    assert sets["plan"].tolist() == [True, False, False, True]
