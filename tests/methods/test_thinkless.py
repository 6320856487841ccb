"""Thinkless: regret and AUC by hand, control words stripped before grading, and the mode forced."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_task import shipped_task

from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.lab.fit_rows import demonstration_completions
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.lab.task import subset
from keyturn.methods.control_words import Force, control_ids, first_tokens, having_words, without_control
from keyturn.methods.thinkless import (
    ThinklessConfig,
    auc_of,
    halves,
    mode_values,
    objective_of,
    prepared,
    regret_of,
)
from keyturn.policies.protocol import Limits


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return Lab(tmp_path_factory.mktemp("lab"), Streams(0))


def test_auc_counts_pairs_and_halves_ties():
    score = np.array([0.9, 0.5, 0.5, 0.1])
    # Pairs (hard, easy): .9 > .5, .9 > .1, .5 = .5, .5 > .1.
    assert auc_of(score, np.array([True, True, False, False])) == pytest.approx(3.5 / 4)
    assert np.isnan(auc_of(score, np.ones(4, bool)))


def test_auc_is_the_share_of_pairs_in_the_right_order():
    generator = np.random.default_rng(3)
    for size in (2, 5, 40):
        score, positive = generator.integers(0, 6, size) / 6, generator.integers(0, 2, size) == 1
        positive[:2] = True, False
        difference = score[positive][:, None] - score[~positive][None, :]
        pairs = ((difference > 0) + 0.5 * (difference == 0)).mean()
        assert auc_of(score, positive) == pytest.approx(pairs, abs=1e-12)


def test_thinking_pays_where_the_reward_says():
    quick, slow = mode_values(np.array([1.0, 0.2]), np.array([1.0, 1.0]), 0.5, -1.0)
    assert quick.tolist() == pytest.approx([1.0, -0.6])
    assert slow.tolist() == pytest.approx([0.5, 0.5])


def in_sample(share, short, think, gamma, wrong):
    """The broken twin: the better mode is chosen on the draws that value it."""
    quick, slow = mode_values(short, think, gamma, wrong)
    best = np.maximum(quick, slow).mean(1)
    return float((best - share * slow.mean(1) - (1 - share) * quick.mean(1)).mean())


def test_regret_by_hand():
    # An easy problem (short 1, thinking 1) and a hard one (0 and 1): the better values are 1 and .5.
    short, think = np.array([[1.0, 1.0], [0.0, 0.0]]), np.ones((2, 2))
    assert regret_of(np.array([0.0, 1.0]), short, think, 0.5, -1.0) == pytest.approx(0.0)
    # Always short: loses .5 - (-1) on the hard one; always thinking: 1 - .5 on the easy one.
    assert regret_of(np.zeros(2), short, think, 0.5, -1.0) == pytest.approx(0.75)
    assert regret_of(np.ones(2), short, think, 0.5, -1.0) == pytest.approx(0.25)
    assert regret_of(np.array([0.5, 0.5]), short, think, 0.5, -1.0) == pytest.approx(0.5)


def test_choosing_on_noise_does_not_raise_regret():
    generator = np.random.default_rng(0)
    # Both modes are worth the same: s = .5 is worth 0, t = 2/3 is worth 0.
    short = generator.binomial(2, 0.5, (4000, 2)) / 2
    think = generator.binomial(2, 2 / 3, (4000, 2)) / 2
    share = np.full(4000, 0.5)
    assert abs(regret_of(share, short, think, 0.5, -1.0)) < 0.03
    assert in_sample(share, short, think, 0.5, -1.0) > 0.2


def test_a_control_word_is_cut_before_the_verdict_and_only_there(lab):
    task, modes = prepared(Session(lab, shipped_task("chain")), ThinklessConfig())
    problem = task.test.problems[0]
    right = f"ANS {problem.answer}"
    texts = [
        f"CTL0 {right}",
        f"CTL1 {right}",
        right,
        f"CTL0 CTL0 {right}",
        f"CTL0 ANS {(int(problem.answer) + 1) % 7}",
    ]
    drawn = demonstration_completions(task.base, [(problem, text) for text in texts])
    assert first_tokens(drawn).tolist()[:2] == list(modes)
    bare = without_control(drawn, modes, ("CTL0", "CTL1"))
    assert bare.texts[0] == right
    assert bare.row(0).tolist() == drawn.row(2).tolist()
    assert bare.lengths.tolist() == [n - 1 for n in drawn.lengths[:2]] + [drawn.lengths[2]] + [
        n - 1 for n in drawn.lengths[3:]
    ]
    asked = tuple(problem for _ in texts)
    grades = task.test.grader.grade(asked, drawn)
    assert grades.outcome.tolist()[:2] == [1.0, 1.0]
    assert grades.outcome[4] == 0
    assert np.isnan(grades.verified).all()


@pytest.mark.parametrize("most", [0, 3])
def test_what_the_warm_up_imitates_rl_does_not_ask(lab, most):
    task = shipped_task("chain")
    warm, asked = halves(Session(lab, task), ThinklessConfig(demonstrations=most))
    one, other = ({problem.id for problem in part.problems} for part in (warm, asked))
    assert not one & other
    assert one | other == {problem.id for problem in task.train.problems}
    if most:
        assert len(one) == most
        return
    for depth in (1, 2):
        counts = [sum(p.cell["depth"] == depth for p in part.problems) for part in (warm, asked)]
        assert abs(counts[0] - counts[1]) <= 1, "every cell is halved"
    for few in (1, 2, 3):
        some = replace(task, train=subset(task.train, task.train.problems[:few], "few"))
        assert all(part.problems for part in halves(Session(lab, some), ThinklessConfig())), (
            "neither half is empty"
        )


def test_the_mode_is_forced_and_nothing_else(lab):
    task, modes = prepared(Session(lab, shipped_task("chain")), ThinklessConfig())
    asked = task.test.problems[:3]
    limits = Limits(max_new_tokens=6)
    for token in modes:
        forced = task.base.having(processors=(Force(token=token),)).draw(asked, range(4), Streams(0), limits)
        assert set(first_tokens(forced).tolist()) == {token}
        assert len({forced.row(i)[1:].tobytes() for i in range(len(forced))}) > 1
    free = task.base.draw(asked, range(4), Streams(0), limits)
    assert not set(first_tokens(free).tolist()) & set(modes)


def test_words_that_a_base_lacks_are_added_and_nothing_else_changes(lab):
    task = shipped_task("chain")
    assert having_words(Session(lab, task), ("CTL0", "CTL1")) is task
    more = having_words(Session(lab, task), ("CTL0", "<think>"))
    old, new = control_ids(more.base, ("CTL0", "<think>"))
    assert old == control_ids(task.base, ("CTL0",))[0]
    before, after = (one.base.model.get_input_embeddings().weight for one in (task, more))
    torch.testing.assert_close(after[: len(before)], before)
    assert new >= len(before)
    torch.testing.assert_close(after[new], before.mean(0))
    prompts = task.test.problems[:2]
    assert more.base.prompts(prompts).tokens.tolist() == task.base.prompts(prompts).tokens.tolist()


def test_words_that_are_no_token_or_the_same_are_refused():
    base = shipped_task("chain").base
    for words in (("<short>", "CTL1"), ("CTL0", "CTL0")):
        with pytest.raises(UsageError) as refused:
            control_ids(base, words)
        assert refused.value.fix


def test_arms_are_different_objectives():
    names = [objective_of(replace(ThinklessConfig(), arm=arm)).name for arm in ("vanilla", "degrpo", "control")]
    assert names == ["grpo", "degrpo", "token_subset"]
