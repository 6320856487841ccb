"""Several tasks: order by transfer checked by hand, one grader for many worlds, averaged weights."""

import copy
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from made_task import shipped_task

from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.lab.fit_rows import demonstration_completions, demonstrations
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session, base_of
from keyturn.methods.omni import METHOD, hybrid, joined, tasks_of
from keyturn.methods.omni.many_tasks import (
    averaged,
    matched_temperature,
    order_by_transfer,
    predicted,
    retained,
)
from keyturn.rewards.contract import Graded

# Learning 0 raises 1 by .1 and lowers 2 by .2; learning 1 lowers 2 by .1; learning 2 lowers 0 by .3.
TRANSFER = np.array([[0.5, 0.1, -0.2], [0.0, 0.4, -0.1], [-0.3, 0.0, 0.6]])


def test_the_order_by_transfer_by_hand():
    # What comes later acts on what came before: in 2, 1, 0 that is B_12 + B_02 + B_01 = -.1 - .2 + .1.
    assert retained((2, 1, 0), TRANSFER) == pytest.approx(-0.2)
    sums = {order: retained(order, TRANSFER) for order in permutations(range(3))}
    assert sums == pytest.approx(
        {
            (0, 1, 2): -0.3,
            (0, 2, 1): -0.4,
            (1, 0, 2): -0.2,
            (1, 2, 0): -0.1,
            (2, 0, 1): -0.3,
            (2, 1, 0): -0.2,
        }
    )
    assert order_by_transfer(TRANSFER) == (1, 2, 0)


def test_the_transposed_matrix_is_told_apart():
    assert order_by_transfer(TRANSFER.T) != order_by_transfer(TRANSFER)


def test_what_an_order_is_predicted_to_end_with():
    found = predicted((1, 2, 0), np.array([0.9, 0.8, 0.7]), TRANSFER)
    # Task 1 takes B_21 + B_01 = 0 + .1, task 2 takes B_02 = -.2, task 0 comes last.
    assert found.tolist() == pytest.approx([0.9, 0.9, 0.5])


def test_many_tasks_are_inserted_one_by_one():
    # A chain: learning i + 1 after i helps, the other way round harms; the order is forced.
    size = 8
    transfer = np.array([[(1.0 if i > j else -1.0) for j in range(size)] for i in range(size)])
    assert order_by_transfer(transfer) == tuple(range(size))


def test_temperature_is_matched_between_points():
    assert matched_temperature((0.5, 1.0, 2.0), (0.2, 0.4, 0.8), 0.6) == pytest.approx(1.5)
    assert matched_temperature((2.0, 1.0, 0.5), (0.8, 0.4, 0.2), 0.3) == pytest.approx(0.75)
    assert matched_temperature((0.5, 1.0), (0.2, 0.4), 5.0) == 1.0


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    task, demo = shipped_task("chain"), METHOD.profiles["demo"]
    lab = Lab(tmp_path_factory.mktemp("lab"), Streams(0))
    tasks = tasks_of(Session(lab, task), replace(METHOD.brief(demo), worlds=demo.worlds))
    return task, tasks, joined(task, tasks)


def test_every_world_is_judged_by_its_own_grader(mixed):
    task, tasks, whole = mixed
    pairs = [pair for one in tasks.values() for pair in demonstrations(one, one.train.problems[:2], Streams(1))]
    order = np.random.default_rng(0).permutation(len(pairs))
    pairs = [pairs[i] for i in order]
    asked = tuple(problem for problem, _ in pairs)
    grades = whole.train.grader.grade(asked, demonstration_completions(task.base, pairs))
    assert grades.verified.tolist() == [1.0] * len(pairs)
    swapped = [(problem, pairs[i - 1][1]) for i, (problem, _) in enumerate(pairs)]
    broken = whole.train.grader.grade(asked, demonstration_completions(task.base, swapped))
    assert broken.verified.sum() < len(pairs) / 2
    forms = np.array(grades.columns["canonical"] != "")
    assert forms.tolist() == [problem.cell["domain"] == "create" for problem in asked]


def test_only_open_ended_problems_are_paid_by_rarity(mixed):
    task, tasks, whole = mixed
    pairs = [pair for one in tasks.values() for pair in demonstrations(one, one.train.problems[:1], Streams(1))]
    asked, drawn = tuple(problem for problem, _ in pairs), demonstration_completions(task.base, pairs)
    graded = Graded(
        problems=asked, completions=drawn, grades=whole.train.grader.grade(asked, drawn), streams=Streams(0)
    )
    # One draw a prompt: validity alone pays .5 of an open-ended one.
    assert hybrid().reward(graded).tolist() == [0.5 if p.cell["domain"] == "create" else 1.0 for p in asked]


def test_weights_are_averaged(tmp_path):
    task = shipped_task("chain")
    base = base_of(task)
    other = replace(base, policy=type(task.base)(_doubled(task.base.model), task.base.tokenizer))
    made = averaged(Session(Lab(tmp_path, Streams(0)), task), [base, other])
    for name, tensor in made.policy.model.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, 1.5 * task.base.model.state_dict()[name])


def _doubled(model):
    new = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.mul_(2)
    return new


def test_one_task_has_no_order(tmp_path):
    config = replace(METHOD.profiles["demo"], worlds=("chain",))
    with pytest.raises(UsageError) as refused:
        tasks_of(Session(Lab(tmp_path, Streams(0)), shipped_task("chain")), config)
    assert refused.value.fix
