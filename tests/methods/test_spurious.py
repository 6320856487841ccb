"""Arms of the spurious-reward battery: what is paid, labels of the base, clipping that does nothing or
something."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from made_task import shipped_task

from keyturn.core.errors import InputError, UsageError
from keyturn.core.streams import Streams
from keyturn.experiments.habit_bases import BAD, GOOD, habit_world
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session, base_of
from keyturn.methods.sft_then_rl import TINY_RL
from keyturn.methods.spurious import (
    SPURIOUS,
    SpuriousConfig,
    arm_name,
    habits,
    labelled,
    reward_of,
    train,
)
from keyturn.problems.world.corpus import block

CONFIG = SpuriousConfig(
    rl=replace(TINY_RL, steps=2, prompts=8, draws=4, max_new_tokens=16, lr=1e-3), updates=4, label_draws=8
)


@pytest.fixture(scope="module")
def chain():
    return shipped_task("chain")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return Lab(tmp_path_factory.mktemp("spurious"), Streams(0))


def test_every_reward_is_what_its_name_says(chain):
    found = {name: reward_of(chain, replace(CONFIG, reward=name)) for name in SPURIOUS}
    assert found["truth"].name == "outcome"
    assert found["majority"].name == found["incorrect"].name == "label"
    assert found["random"].config.gamma == 0.5
    assert found["random-not-strategy"].config.inner[0][0] == "random"
    assert found["strategy"].config.named == "FWD"
    bare = reward_of(replace(chain, world=None), replace(CONFIG, reward="strategy", strategy="a+b"))
    assert (bare.config.named, bare.config.pattern) == ("", r"a\+b")
    with pytest.raises(UsageError, match="lucky"):
        reward_of(chain, replace(CONFIG, reward="lucky"))
    assert arm_name(replace(CONFIG, clip=False, stretch=8)) == "random, no clip, U=4, 8 x steps"


def test_labels_are_the_bases_and_the_incorrect_ones_are_wrong(chain, lab):
    assert labelled(Session(lab, chain), CONFIG) is chain.train
    every = labelled(Session(lab, chain), replace(CONFIG, reward="majority")).problems
    wrong = labelled(Session(lab, chain), replace(CONFIG, reward="incorrect")).problems
    assert 0 < len(wrong) < len(every) <= len(chain.train.problems)
    assert all(problem.facts["label"] != problem.answer for problem in wrong)
    right = [problem for problem in every if problem.facts["label"] == problem.answer]
    assert {problem.id for problem in right}.isdisjoint(problem.id for problem in wrong)
    easy = replace(chain, train=replace(chain.train, problems=tuple(right[:1])))
    with pytest.raises(InputError, match="wrong majority"):
        labelled(Session(lab, easy), replace(CONFIG, reward="incorrect"))


def test_habits_are_means_over_each_problems_draws(lab):
    task = shipped_task("graph")
    found = habits(Session(lab, task), base_of(task), 4, "FWD")
    assert set(found) == {"success", "share of FWD", "token probability"}
    assert all(values.shape == (len(task.test.problems),) for values in found.values())
    assert set(np.unique(found["share of FWD"] * 4)) <= set(range(5))
    assert ((found["token probability"] > 0) & (found["token probability"] <= 1)).all()
    # Where nobody names strategies, a string is looked for.
    text = replace(task, test=replace(task.test, grader=Nameless(task.test.grader)))
    named = habits(Session(Lab(lab.root / "text", lab.streams), text), base_of(task), 4, "FWD")
    np.testing.assert_array_equal(named["share of FWD"], found["share of FWD"])


@dataclass(frozen=True)
class Nameless:
    """A grader that does not name strategies."""

    inner: object
    name: str = "nameless"
    reads_traces: bool = True

    def grade(self, problems, completions):
        return replace(self.inner.grade(problems, completions), columns={})


@pytest.mark.slow
def test_clipping_does_nothing_at_one_update_and_something_at_four(chain, lab):
    def end(**changes):
        return train(Session(lab, chain), replace(CONFIG, **changes))["policy"].policy.fingerprint

    assert end(updates=1) == end(updates=1, clip=False)
    assert end(updates=4) != end(updates=4, clip=False)
    long = train(Session(lab, chain), replace(CONFIG, updates=1, stretch=2))["policy"]
    assert [row["updates"] for row in long.history] == [1.0] * 4
    assert [row["updates"] for row in train(Session(lab, chain), CONFIG)["policy"].history] == [4.0] * 2


@pytest.mark.parametrize("share", [0.7, 0.9])
def test_the_habits_of_the_bases_are_the_shares_of_their_corpora(share):
    for habit, expected in (("good", share), ("bad", 1 - share), ("none", 0.5)):
        documents = block(habit_world(habit, share), Streams(0), 0, 400)
        good = np.mean([document.component.startswith(GOOD) for document in documents])
        assert good == pytest.approx(expected, abs=0.08)
        assert all(document.component.split()[0] in (GOOD, BAD) for document in documents)
    with pytest.raises(UsageError, match="habit"):
        habit_world("ugly")
