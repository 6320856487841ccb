"""Roles that a grader gave: names, masks and sets."""

import numpy as np
import pytest

from keyturn.core.problem import Problem
from keyturn.core.roles import EXECUTION, FORCED, PLANNING, Role
from keyturn.problems.contract import ProblemSet
from keyturn.roles.grammar import (
    GROUPS,
    NAMES,
    execution_mask,
    forced_mask,
    grammar_roles,
    planning_mask,
    role_names,
    role_sets,
    token_roles,
)
from keyturn.rollouts.completions import Completions, Prompts, ragged
from keyturn.rollouts.grades import Grades

EVERY = np.array([int(role) for role in Role], dtype=np.uint8)


def completions(rows):
    tokens, offsets = ragged(rows)
    return Completions(
        policy="hand",
        prompts=Prompts.build(["a"], ["a"], [[0]]),
        problem=np.zeros(len(rows), dtype=np.int32),
        draw=np.arange(len(rows), dtype=np.int32),
        tokens=tokens,
        offsets=offsets,
        logprobs=np.zeros(len(tokens), dtype=np.float32),
        entropies=np.zeros(len(tokens), dtype=np.float32),
        stop=np.zeros(len(rows), dtype=np.uint8),
        texts=("",) * len(rows),
    )


class ParityGrader:
    """Even tokens plan, odd ones compute."""

    name = "parity"
    reads_traces = True

    def grade(self, problems, completions):
        nothing = np.full(len(completions), np.nan, dtype=np.float32)
        roles = np.where(completions.tokens % 2, Role.ARITHMETIC, Role.PLAN).astype(np.uint8)
        return Grades(outcome=nothing, verified=nothing, answer=("",) * len(completions), roles=roles)


def test_roles_come_from_the_problems_own_grader():
    problems = ProblemSet(name="p", problems=(Problem(id="a", prompt="a"),), grader=ParityGrader())
    roles = grammar_roles(problems, completions([[2, 3], [5]]))
    assert role_names(roles) == ("plan", "arithmetic", "arithmetic")


def test_without_roles_all_is_unknown():
    rows = completions([[1, 2], [3]])
    nothing = np.full(2, np.nan, dtype=np.float32)
    silent = Grades(outcome=nothing, verified=nothing, answer=("", ""))
    for grades in (None, silent):
        assert role_names(token_roles(rows, grades)) == ("unknown",) * 3
    assert role_sets(token_roles(rows, None)) == {}


def test_roles_of_other_completions_are_refused():
    nothing = np.full(1, np.nan, dtype=np.float32)
    grades = Grades(outcome=nothing, verified=nothing, answer=("",), roles=EVERY)
    with pytest.raises(ValueError, match="roles for 2 tokens"):
        token_roles(completions([[1, 2]]), grades)


@pytest.mark.parametrize(
    ("mask", "members"), [(planning_mask, PLANNING), (execution_mask, EXECUTION), (forced_mask, FORCED)]
)
def test_a_mask_is_its_set(mask, members):
    assert {Role(int(r)) for r in EVERY[mask(EVERY)]} == members


def test_the_groups_do_not_share_a_role_and_every_role_has_a_name():
    together = [role for members in GROUPS.values() for role in members]
    assert len(together) == len(set(together))
    assert role_names(EVERY) == NAMES
    assert len(set(NAMES)) == len(Role)


def test_sets_name_what_occurs_and_nothing_else():
    roles = np.array([Role.PLAN, Role.GOAL, Role.ANSWER, Role.PLAN], dtype=np.uint8)
    sets = role_sets(roles)
    assert list(sets) == ["planning", "plan", "goal", "answer"]
    assert sets["planning"].tolist() == [True, True, False, True]
    assert sets["plan"].tolist() == [True, False, False, True]
