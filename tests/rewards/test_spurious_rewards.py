"""What spurious rewards must not know, what labels are, and all of it on texts that our graders judge."""

from dataclasses import replace

import numpy as np
import pytest
from made_graded import NAN, by_text, given, graded, select

from keyturn.core.errors import InputError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.problems.contract import answers
from keyturn.rewards.abstain import abstain
from keyturn.rewards.bernoulli import bernoulli
from keyturn.rewards.contract import Reward
from keyturn.rewards.format_only import format_only
from keyturn.rewards.label import label, with_labels
from keyturn.rewards.length import LengthConfig, length
from keyturn.rewards.majority import majority
from keyturn.rewards.outcome import outcome
from keyturn.rewards.shuffled import shuffled
from keyturn.rewards.strategy import strategy
from keyturn.rewards.tiered import tiered
from keyturn.rollouts.completions import Stop

GROUP = graded([1, 1, 1, 0, 0, 0, 0, NAN])


def knows_nothing_of_the_outcome(reward, steps=600):
    """Over steps, the covariance with the outcome within the group has mean 0."""
    kept = np.isfinite(GROUP.grades.outcome)
    right = GROUP.grades.outcome[kept]
    found = []
    for step in range(steps):
        value = given(reward, replace(GROUP, streams=Streams(3).child(step)))[kept]
        found.append(float(((value - value.mean()) * (right - right.mean())).mean()))
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(steps)


@pytest.mark.parametrize("reward", [bernoulli(), shuffled(), shuffled(inner=bernoulli())])
def test_random_and_shuffled_rewards_know_nothing_of_the_outcome(reward):
    knows_nothing_of_the_outcome(reward)


def swapped_once(graded):
    """Two rows exchange their rewards, whichever they are: not a shuffle."""
    value = graded.grades.outcome.copy()
    known = np.flatnonzero(np.isfinite(value))
    pair = graded.streams.generator("pair").choice(known, 2, replace=False)
    value[pair] = value[pair[::-1]]
    return value


@pytest.mark.parametrize("broken", [lambda graded: graded.grades.outcome, swapped_once])
def test_the_check_finds_a_reward_that_knows(broken):
    with pytest.raises(AssertionError):
        knows_nothing_of_the_outcome(Reward(name="broken", summary="", source="", reward=broken), steps=300)


def test_a_shuffle_is_uniform_over_all_permutations():
    of = graded([1, 0, 0], answers=["a", "b", "c"])
    place = Reward(
        name="place", summary="", source="", reward=lambda g: np.arange(3.0) if len(g) == 3 else None
    )
    counts = {}
    for step in range(600):
        seen = tuple(given(shuffled(inner=place), replace(of, streams=Streams(1).child(step))))
        counts[seen] = counts.get(seen, 0) + 1
    assert len(counts) == 6
    # Chi-square with five degrees of freedom; 20.5 has probability 0.001.
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 20.5


def test_coins_of_one_row_do_not_tell_those_of_another():
    of = graded([1] * 200)
    coins = np.array([given(bernoulli(), replace(of, streams=Streams(0).child(s))) for s in range(200)])
    for shift in (coins[:, 1:] * coins[:, :-1], coins[1:] * coins[:-1]):
        assert abs(shift.mean() - 0.25) < 0.01


# Labels.

BASE = (
    Problem(id="right", prompt="1+2", answer="3"),
    Problem(id="wrong", prompt="1+3", answer="4"),
    Problem(id="tied", prompt="1+4", answer="5"),
    Problem(id="silent", prompt="1+5", answer="6"),
)
DRAWS = [
    *((0, i, text) for i, text in enumerate(["#### 3", "#### 3.0", "#### 7", "no idea"])),
    *((1, i, text) for i, text in enumerate(["#### 5", "#### 5", "#### 4", "#### 5"])),
    *((2, i, text) for i, text in enumerate(["#### 5", "#### 6", "#### 5", "#### 6"])),
    *((3, i, "nothing") for i in range(4)),
]


def base_draws():
    of = by_text("gsm8k", BASE, DRAWS)
    return answers("base", BASE, of.completions, of.grades)


def test_labels_are_the_base_s_majority():
    found = {problem.id: problem.facts for problem in with_labels(BASE, base_draws(), wrong_only=False)}
    assert found == {
        "right": {"label": "3", "label_share": 2 / 3, "label_right": True},
        "wrong": {"label": "5", "label_share": 3 / 4, "label_right": False},
    }


def test_only_wrong_majorities_stay_and_are_what_is_paid():
    wrong = with_labels(BASE, base_draws(), wrong_only=True)
    assert [problem.id for problem in wrong] == ["wrong"]
    of = by_text("gsm8k", wrong, [(0, 0, "#### 5"), (0, 1, "#### 4"), (0, 2, "#### 5.00"), (0, 3, "5")])
    assert given(label(), of).tolist() == [1, 0, 1, 0]
    assert given(outcome(), of).tolist() == [0, 1, 0, 0]


def test_labels_do_not_depend_on_the_order_of_draws_and_keep_other_facts():
    whole = by_text("gsm8k", BASE, DRAWS)
    marked = [replace(problem, facts={"origin": "made"}) for problem in BASE]
    first = with_labels(marked, base_draws(), wrong_only=False)
    assert first[0].facts["origin"] == "made"
    for seed in range(5):
        other = select(whole, Streams(seed).generator("order").permutation(len(DRAWS)))
        table = answers("base", BASE, other.completions, other.grades)
        assert with_labels(marked, table, wrong_only=False) == first


def test_ungraded_draws_leave_it_open_whether_a_label_is_right():
    table = replace(base_draws(), outcome=np.full(len(DRAWS), NAN, np.float32))
    assert [set(p.facts) for p in with_labels(BASE, table, wrong_only=False)] == [{"label", "label_share"}] * 2
    assert with_labels(BASE, table, wrong_only=True) == ()


def test_labels_of_problems_that_were_not_drawn_are_refused():
    with pytest.raises(InputError, match="among the draws"):
        with_labels([Problem(id="new", prompt="?")], base_draws(), wrong_only=False)


# On texts, as a language model writes them.

EGGS = Problem(
    id="eggs",
    prompt="Janet's ducks lay 16 eggs a day. She eats three and bakes with four. The others bring $2 each.",
    answer="She sells 16 - 3 - 4 = <<16-3-4=9>>9 eggs.\nShe makes 9 * 2 = $<<9*2=18>>18.\n#### 18",
)
WRITTEN = [
    "She sells 16 - 3 - 4 = 9 eggs, 9 * 2 = 18 dollars.\n#### 18",
    "In python: print((16-3-4)*2)\n#### $18.00",
    "16 - 3 = 13, 13 * 2 = 26\n#### 26",
    "She makes 18 dollars a day.",
    "I don't know.",
    "16 - 3 - 4 = 9, so she",
    "",
]
ENDED = [*[Stop.EOS] * 5, Stop.LENGTH, Stop.ERROR]


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        (outcome(), [1, 1, 0, 0, 0, 0, NAN]),
        (format_only(), [1, 1, 1, 0, 0, 0, NAN]),
        (majority(), [1, 1, 0, 0, 0, 0, NAN]),
        (strategy(), [0, 1, 0, 0, 0, 0, NAN]),
        (abstain(), [1, 1, -1, -1, 0, -1, NAN]),
        (tiered(), [1, 1, 0, -0.1, -0.1, -1, NAN]),
        (length(LengthConfig(kind="target", unit="words", target=6, scale=6)), None),
    ],
)
def test_rewards_read_plain_texts(reward, expected):
    of = by_text("gsm8k", [EGGS], [(0, i, text) for i, text in enumerate(WRITTEN)], stops=ENDED)
    found = given(reward, of)
    assert np.isfinite(found).tolist() == [True] * 6 + [False]
    if expected is None:
        words = [len(text.split()) for text in WRITTEN[:6]]
        expected = [max(0.0, 1 - abs(n - 6) / 6) for n in words] + [NAN]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_votes_need_no_gold_answer():
    unsolved = replace(EGGS, answer="")
    of = by_text("gsm8k", [unsolved], [(0, i, text) for i, text in enumerate(WRITTEN)], stops=ENDED)
    assert np.isnan(given(outcome(), of)).all()
    np.testing.assert_array_equal(given(majority(), of), [1, 1, 0, 0, 0, 0, NAN])


def test_hostile_answers_do_not_vote_twice_or_break():
    texts = ["\x00", "9" * 5000, "\ud800", "3\u200d4", " 3 "]
    assert given(majority(), graded([0] * 5, answers=texts)).tolist() == [0] * 5
    # A character that is not seen makes no other answer of a number.
    assert given(majority(), graded([0] * 6, answers=[*texts, "3\u200b"])).tolist() == [0, 0, 0, 0, 1, 1]
