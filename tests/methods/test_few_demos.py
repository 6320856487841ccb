"""Few demonstrations: how many, how many of them right, and what lies beyond; replicates choose anew."""

from dataclasses import replace

import pytest
from made_task import shipped_task

from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.lab.fit_rows import encoded
from keyturn.lab.task import world_task
from keyturn.methods.few_demos import FewDemosConfig, beyond, chosen_demonstrations


@pytest.fixture(scope="module")
def task():
    return shipped_task("chain")


def right_of(task, demos):
    world = task.world
    return [
        world.reader(encoded(task.base, one.problem.prompt)[:-1])(
            encoded(task.base, one.text), ended=True
        ).verified
        for one in demos
    ]


@pytest.mark.parametrize(("quality", "right"), [(1.0, 8), (0.5, 4), (0.0, 0)])
def test_the_share_of_right_ones_is_what_was_asked_for(task, quality, right):
    demos = chosen_demonstrations(task, FewDemosConfig(count=8, quality=quality), Streams(0))
    assert sum(right_of(task, demos)) == right
    assert len({one.problem.id for one in demos}) == 8
    # A twin that replaces answers instead would be caught: answers stay right.
    gold = {problem.id: problem.answer for problem in task.train.problems}
    assert all(one.answer.split()[1] == gold[one.problem.id] for one in demos)


def test_counts_are_nested_in_one_choice_and_replicates_choose_anew(task):
    few, more = (
        [one.problem.id for one in chosen_demonstrations(task, FewDemosConfig(count=count), Streams(0))]
        for count in (4, 8)
    )
    assert more[:4] == few
    other = [one.problem.id for one in chosen_demonstrations(task, FewDemosConfig(count=4), Streams(0), seed=1)]
    assert set(other) != set(few)
    every = chosen_demonstrations(task, FewDemosConfig(count=0), Streams(0))
    assert len(every) == len(task.train.problems)


def test_what_lies_beyond_is_of_levels_that_were_not_learnt_from(task):
    assert beyond(task) == ()
    cells = [{"domain": "chain", "depth": depth} for depth in (1, 2)]
    assert task.world is not None
    other = world_task(
        task.base, task.folder, task.world, Streams(0), train=cells[:1], test=cells, per_cell=8, held_out=4
    )
    assert {problem.cell["depth"] for problem in beyond(other)} == {2}
    assert beyond(replace(other, world=None)) == ()


def test_a_quality_that_is_no_share_is_refused(task):
    with pytest.raises(UsageError, match="quality"):
        chosen_demonstrations(task, FewDemosConfig(quality=1.5), Streams(0))
