"""Every reward against numbers worked out by hand."""

import time
from dataclasses import replace
from difflib import SequenceMatcher

import numpy as np
import pytest
from hypothesis import given as over
from hypothesis import strategies as some
from made_graded import NAN, given, graded

from keyturn.core.errors import InputError, UsageError
from keyturn.rewards.abstain import AbstainConfig, abstain
from keyturn.rewards.and_not import AndNotConfig, and_not
from keyturn.rewards.bernoulli import RandomConfig, bernoulli
from keyturn.rewards.format_only import FormatConfig, format_only
from keyturn.rewards.inverted import InvertedConfig, inverted
from keyturn.rewards.label import label
from keyturn.rewards.length import LengthConfig, length
from keyturn.rewards.majority import MajorityConfig, majority
from keyturn.rewards.matching import matched
from keyturn.rewards.mode_priced import ModePricedConfig, mode_priced
from keyturn.rewards.outcome import OutcomeConfig, outcome
from keyturn.rewards.overlong import OverlongConfig, overlong
from keyturn.rewards.process import ProcessConfig, process
from keyturn.rewards.rarity import RarityConfig, rarity
from keyturn.rewards.shuffled import shuffled
from keyturn.rewards.step_similarity import StepSimilarityConfig, similarity, step_similarity
from keyturn.rewards.strategy import StrategyConfig, strategy
from keyturn.rewards.sum_of import SumConfig, sum_of
from keyturn.rewards.tiered import TieredConfig, tiered
from keyturn.rollouts.completions import Stop

TRACES = graded(
    [1, 1, 0, 0, NAN],
    process=[1.0, 0.5, 0.75, NAN, NAN],
    plan_score=[1.0, NAN, 0.5, 0.25, NAN],
    exec_score=[1.0, 1.0, 0.0, 0.5, NAN],
)
RIGHT_OR_NOT = graded([1, 0, 1, 0, NAN], texts=["a python", "a Python", "b", "c", "python"])
CUT = [Stop.EOS, Stop.EOS, Stop.EOS, Stop.LENGTH, Stop.LENGTH, Stop.UNKNOWN]
SAID = [
    "<short> 3",
    "\n <think> 3",
    "3 <short>",
    "<short> 2",
    "<think> 2",
    "<short> 3",
]


@pytest.mark.parametrize(
    ("reward", "of", "expected"),
    [
        (outcome(), TRACES, [1, 1, 0, 0, NAN]),
        (outcome(OutcomeConfig(wrong=-1.0)), TRACES, [1, 1, -1, -1, NAN]),
        (process(), TRACES, [1, 0.75, 0.375, 0, NAN]),
        (process(ProcessConfig(alpha=0.2)), TRACES, [1, 0.6, 0.6, 0, NAN]),
        (process(ProcessConfig(alpha=1.0)), TRACES, [1, 1, 0, 0, NAN]),
        (process(ProcessConfig(strict=True)), TRACES, [1, 0, 0, 0, NAN]),
        (process(ProcessConfig(dense=True)), TRACES, [1, 0.5, 0.75, 0, NAN]),
        (process(ProcessConfig(dense=True, of="plan_score")), TRACES, [1, 0, 0.5, 0.25, NAN]),
        (process(ProcessConfig(strict=True, of="exec_score")), TRACES, [1, 1, 0, 0, NAN]),
        (inverted(), TRACES, [0, 0, 1, 1, NAN]),
        (inverted(InvertedConfig(low=-1.0), outcome(OutcomeConfig(wrong=-1.0))), TRACES, [-1, -1, 1, 1, NAN]),
        (inverted(inner=inverted()), TRACES, [1, 1, 0, 0, NAN]),
        (strategy(), RIGHT_OR_NOT, [1, 0, 0, 0, 1]),
        (strategy(StrategyConfig(pattern="(?i)python|b")), RIGHT_OR_NOT, [1, 1, 1, 0, 1]),
        (and_not(), RIGHT_OR_NOT, [0, 0, 1, 0, NAN]),
        (and_not(AndNotConfig(otherwise=-1.0, pattern="(?i)python")), RIGHT_OR_NOT, [-1, -1, 1, 0, NAN]),
        (and_not(inner=bernoulli(RandomConfig(gamma=1.0))), RIGHT_OR_NOT, [0, 1, 1, 1, 0]),
        (sum_of(SumConfig(weights=(2, -0.5)), outcome(), strategy()), RIGHT_OR_NOT, [1.5, 0, 2, 0, NAN]),
    ],
)
def test_by_hand(reward, of, expected):
    np.testing.assert_allclose(given(reward, of), expected, rtol=1e-6)


def test_columns_of_a_world_name_strategy_and_format():
    of = graded([1, 0, 1], answers=["3", "", "3"], strategy=["BWD", "BWD", "FWD"], format=["F2", "F2", "F1"])
    assert given(strategy(StrategyConfig(named="BWD")), of).tolist() == [1, 1, 0]
    assert given(and_not(AndNotConfig(named="BWD")), of).tolist() == [0, 0, 1]
    assert given(format_only(FormatConfig(named="F2")), of).tolist() == [1, 0, 0]


def test_format_is_what_was_extracted_or_a_pattern():
    of = graded(
        [1, 0, NAN],
        texts=["\\boxed{3}", "it is 3", ""],
        answers=["3", "", ""],
        lenient_answer=["3", "3", ""],
    )
    assert given(format_only(), of).tolist() == [1, 0, 0]
    assert given(format_only(FormatConfig(lenient=True, wrong=-1.0)), of).tolist() == [1, 1, -1]
    assert given(format_only(FormatConfig(pattern=r"\bis\b", right=2.0)), of).tolist() == [0, 2, 0]


def test_the_sum_with_both_signs_is_the_reward_of_tom_rl():
    tom = sum_of(
        SumConfig(), format_only(FormatConfig(wrong=-1.0)), outcome(OutcomeConfig(right=2.0, wrong=-2.0))
    )
    of = graded([1, 0, 0], answers=["3", "2", ""])
    assert given(tom, of).tolist() == [3, -1, -3]


def test_a_coin_at_both_ends_and_its_mean():
    of = graded([1] * 4000)
    assert given(bernoulli(RandomConfig(gamma=0.0)), of).sum() == 0
    assert given(bernoulli(RandomConfig(gamma=1.0)), of).sum() == 4000
    share = given(bernoulli(RandomConfig(gamma=0.3)), of).mean()
    assert abs(share - 0.3) < 4 * np.sqrt(0.21 / 4000)


def test_shuffled_keeps_the_rewards_of_a_group_and_leaves_a_lone_row():
    of = graded([1, 1, 0, 0, NAN, 0])
    for root in range(20):
        found = given(shuffled(), replace(of, streams=of.streams.child(root)))
        assert sorted(found[[0, 1, 2, 3, 5]]) == [0, 0, 0, 1, 1]
        assert np.isnan(found[4])
    assert given(shuffled(), graded([1])).tolist() == [1]


@pytest.mark.parametrize(
    ("answers", "none", "everyone"),
    [
        (["3", "3.0", "2", ""], [1, 1, 0, 0], [1, 1, 0, 0]),
        (["3", "2", "3", "2"], [0, 0, 0, 0], [1, 1, 1, 1]),
        (["3", "2", "", ""], [0, 0, 0, 0], [1, 1, 0, 0]),
        (["", "", "", ""], [0, 0, 0, 0], [0, 0, 0, 0]),
        (["x  y", "x y", "3", ""], [1, 1, 0, 0], [1, 1, 0, 0]),
    ],
)
def test_majority_and_its_ties(answers, none, everyone):
    of = graded([NAN, 0, 1, 1], answers=answers)
    assert given(majority(), of).tolist() == none
    assert given(majority(MajorityConfig(ties="all")), of).tolist() == everyone


def test_a_tie_by_lot_pays_one_of_the_leading_answers_each_about_as_often():
    of = graded([1, 0, 1, 0, 0], answers=["3", "2", "3", "2", "4"])
    reward = majority(MajorityConfig(ties="drawn"))
    found = [tuple(given(reward, replace(of, streams=of.streams.child(step)))) for step in range(200)]
    assert set(found) == {(1, 0, 1, 0, 0), (0, 1, 0, 1, 0)}
    assert 60 < found.count((1, 0, 1, 0, 0)) < 140


def test_a_row_of_which_nothing_came_has_no_vote():
    of = graded([1, 0, 0], answers=["3", "2", "2"], stops=[Stop.EOS, Stop.EOS, Stop.ERROR])
    np.testing.assert_array_equal(given(majority(), of), [0, 0, NAN])


def test_label_pays_for_the_label_and_not_for_the_truth():
    of = graded([1, 0, NAN, 0], answers=["3", "2", "2.0", ""], facts={"label": "2"})
    assert given(label(), of).tolist() == [0, 1, 1, 0]
    assert np.isnan(given(label(), graded([1, 0], answers=["3", "2"]))).all()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (LengthConfig(scale=10), [1.0, 0.6, 0.0, 0.0]),
        (LengthConfig(scale=10, kind="long"), [0.0, 0.4, 1.0, 1.0]),
        (LengthConfig(scale=10, kind="target", target=8), [0.2, 0.6, 0.8, 0.0]),
        (LengthConfig(scale=10, kind="long", unit="words"), [0.0, 0.2, 0.1, 0.6]),
        (LengthConfig(scale=20, kind="long", unit="characters"), [0.0, 0.2, 0.5, 1.0]),
    ],
)
def test_length(config, expected):
    texts = ["", "a bc", "abcdefghij", "a b c d e fghijklmnopqrst"]
    np.testing.assert_allclose(given(length(config), graded([NAN, 0, 1, 1], texts=texts)), expected, atol=1e-6)


def test_overlong_is_the_soft_punishment_of_dapo():
    sizes = [1, 6, 7, 8, 9, 10, 11, 30]
    of = graded([1, 1, 1, 0, NAN, 0, 1, 1], tokens=[[0] * size for size in sizes])
    found = given(overlong(OverlongConfig(limit=10, buffer=4)), of)
    np.testing.assert_allclose(found, [1, 1, 0.75, -0.5, NAN, -1, 0, 0], rtol=1e-6)
    half = given(overlong(OverlongConfig(limit=10, buffer=4, weight=0.5), inverted()), of)
    np.testing.assert_allclose(half, [0, 0, -0.125, 0.75, NAN, 0.5, -0.5, -0.5], rtol=1e-6)


def test_abstaining_is_between_right_and_wrong():
    texts = ["3", "2", "I don't know", "I do not know, so 2", "I DON’T KNOW", "ANS CTL9"]
    of = graded([1, 0, 0, 0, NAN, 0], texts=texts, answers=["3", "2", "", "2", "", ""])
    np.testing.assert_array_equal(given(abstain(), of), [1, -1, 0, -1, NAN, 0])
    priced = AbstainConfig(right=2.0, abstained=0.5, wrong=-3.0, marker="CTL9")
    np.testing.assert_array_equal(given(abstain(priced), of), [2, -3, -3, -3, NAN, 0.5])


def test_abstaining_is_right_where_there_is_no_answer():
    texts = ["unknown", "3", "3", "unknown"]
    of = graded([NAN, NAN, 0, 0], texts=texts, answers=["", "3", "3", ""], facts={"answerable": False})
    assert given(abstain(AbstainConfig(marker="unknown")), of).tolist() == [1, -1, -1, 0]
    # A world's verifier says so itself: abstaining has the outcome 1.
    assert given(abstain(), graded([1, 0], texts=["CTL9", "3"], answers=["CTL9", "3"])).tolist() == [1, -1]


def test_a_text_that_was_cut_does_not_abstain():
    of = graded([0, 0], texts=["I don't know if", "I don't know"], stops=[Stop.LENGTH, Stop.EOS])
    assert given(abstain(), of).tolist() == [-1, 0]


def test_rarity_counts_valid_twins_among_the_graded_draws():
    of = graded([1, 1, 1, 0, 0, NAN], canonical=["x", "x", "y", "y", "z", "x"])
    half = given(rarity(), of)
    np.testing.assert_allclose(half, [0.8, 0.8, 0.9, 0, 0, NAN], rtol=1e-6)
    np.testing.assert_allclose(given(rarity(RarityConfig(alpha=0)), of), [0.6, 0.6, 0.8, 0, 0, NAN], rtol=1e-6)
    np.testing.assert_allclose(given(rarity(RarityConfig(alpha=1)), of), [1, 1, 1, 0, 0, NAN])
    assert given(rarity(), graded([1], canonical=["x"])).tolist() == [0.5]
    by_answer = graded([1, 1, 1, 1], answers=["1/2", "0.5", "a b", "a  b"])
    np.testing.assert_allclose(given(rarity(RarityConfig(alpha=0)), by_answer), [0.5] * 4)


def test_modes_are_priced_by_how_the_text_begins_or_by_the_first_token():
    of = graded([1, 1, 1, 0, 0, NAN], texts=SAID)
    np.testing.assert_array_equal(given(mode_priced(), of), [1, 0.5, -1, -1, -1, NAN])
    dear = given(mode_priced(ModePricedConfig(gamma=0.9, wrong=0.0)), of)
    np.testing.assert_allclose(dear, [1, 0.1, 0, 0, 0, NAN], rtol=1e-5)
    unseen = graded([1, 1, 1, 1], tokens=[[7, 1], [8, 7], [1, 7], []])
    by_token = mode_priced(ModePricedConfig(short_token=7, think_token=8))
    assert given(by_token, unseen).tolist() == [1, 0.5, -1, -1]


def test_tiers_of_a_wrong_answer():
    of = graded([1, 0, 0, 0, 0, NAN], texts=SAID, answers=["3", "2", "", "", "2", ""], stops=CUT)
    np.testing.assert_allclose(given(tiered(), of), [1, 0, -0.1, -1, 0, NAN], rtol=1e-6)
    by_pattern = given(tiered(TieredConfig(pattern="<think>", malformed=-0.5)), of)
    np.testing.assert_allclose(by_pattern, [1, 0, -0.5, -1, 0, NAN], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "character", "word"),
    [
        ("thinking</think> add 1 to x", 1.0, 1.0),
        ("add 1 to x, no</think>add 1 to x\n", 1.0, 1.0),
        ("t</think> qqqqqqqqqq", 0.0, 0.0),
        ("t</think> add 1", 2 * 5 / (5 + 10), 2 * 2 / (2 + 4)),
        ("t</think> add 1 to y", 2 * 9 / 20, 2 * 3 / 8),
        ("add 1 to x", -1, -1),
        ("t</think>", -1, -1),
        ("t</think> \n", -1, -1),
        ("t</think>add 1 to x</think>add 1 to x", -1, -1),
        ("", -1, -1),
        ("t</think>" + "x" * 2001, -1, -1),
    ],
)
def test_step_similarity(text, character, word):
    of = graded([NAN], texts=[text], facts={"step": "add 1 to x"})
    assert given(step_similarity(), of)[0] == pytest.approx(character)
    assert given(step_similarity(StepSimilarityConfig(level="word")), of)[0] == pytest.approx(word)


def test_step_similarity_is_not_symmetric_and_keeps_frequent_characters():
    # The example of difflib's documentation: the order of arguments is part of the reward.
    for step, target, expected in (("tide", "diet", 0.25), ("diet", "tide", 0.5)):
        of = graded([0], texts=[f"</think>{step}"], facts={"step": target})
        assert given(step_similarity(), of)[0] == expected
    # With autojunk a character that fills a text of 200 is dropped, and two equal steps would match nowhere.
    same = graded([0], texts=["</think>" + "ab" * 150], facts={"step": "ab" * 150})
    assert given(step_similarity(), same)[0] == 1


@over(some.text("ab c", max_size=30), some.text("ab c", max_size=30))
def test_matching_is_that_of_difflib(a, b):
    blocks = SequenceMatcher(a=a, b=b, autojunk=False).get_matching_blocks()
    assert matched(a, b) == sum(block.size for block in blocks)
    assert similarity(a, b) == SequenceMatcher(a=a, b=b, autojunk=False).ratio()
    words = SequenceMatcher(a=a.split(), b=b.split(), autojunk=False).ratio()
    assert similarity(a, b, "word") == words


def test_a_policy_that_repeats_itself_does_not_stall_matching():
    # difflib takes half a minute for this pair: every block is one character long.
    started = time.process_time()
    assert similarity("a" * 1000, "ab" * 500) == 0.5
    assert time.process_time() - started < 10


def test_step_similarity_without_a_monologue_or_a_target():
    whole = step_similarity(StepSimilarityConfig(marker="", malformed=-2.0, longest=4))
    np.testing.assert_allclose(given(whole, graded([0, 0, 0], texts=["3", "", "33333"])), [1, -2, -2])
    assert np.isnan(given(whole, graded([1], texts=["3"], facts={"step": ""}))).all()


@pytest.mark.parametrize(
    "build",
    [
        lambda: process(ProcessConfig(alpha=1.5)),
        lambda: process(ProcessConfig(strict=True, dense=True)),
        lambda: bernoulli(RandomConfig(gamma=1.01)),
        lambda: majority(MajorityConfig(ties="first")),  # pyright: ignore[reportArgumentType]
        lambda: length(LengthConfig(scale=0)),
        lambda: length(LengthConfig(kind="longer")),  # pyright: ignore[reportArgumentType]
        lambda: length(LengthConfig(unit="bytes")),  # pyright: ignore[reportArgumentType]
        lambda: overlong(OverlongConfig(limit=5, buffer=6)),
        lambda: overlong(OverlongConfig(buffer=0)),
        lambda: strategy(StrategyConfig(pattern="(")),
        lambda: strategy(StrategyConfig(pattern="")),
        lambda: and_not(AndNotConfig(pattern="[")),
        lambda: format_only(FormatConfig(pattern="*")),
        lambda: format_only(FormatConfig(pattern="x", lenient=True)),
        lambda: tiered(TieredConfig(pattern="(")),
        lambda: abstain(AbstainConfig(marker="")),
        lambda: abstain(AbstainConfig(abstained=2.0)),
        lambda: rarity(RarityConfig(alpha=-0.1)),
        lambda: mode_priced(ModePricedConfig(short="<think>")),
        lambda: mode_priced(ModePricedConfig(short_token=3)),
        lambda: step_similarity(StepSimilarityConfig(level="token")),  # pyright: ignore[reportArgumentType]
        lambda: step_similarity(StepSimilarityConfig(longest=0)),
        lambda: sum_of(SumConfig(weights=(1.0,)), outcome(), process()),
    ],
)
def test_settings_that_make_no_sense_are_refused(build):
    with pytest.raises(UsageError) as refused:
        build()
    assert refused.value.fix


@pytest.mark.parametrize(
    ("reward", "column"),
    [
        (process(), "process"),
        (process(ProcessConfig(of="plan_score")), "plan_score"),
        (strategy(StrategyConfig(named="BWD")), "strategy"),
        (and_not(AndNotConfig(named="BWD")), "strategy"),
        (format_only(FormatConfig(named="F1")), "format"),
        (format_only(FormatConfig(lenient=True)), "lenient_answer"),
        (rarity(RarityConfig(column="shape")), "shape"),
    ],
)
def test_a_reward_names_the_column_that_the_grader_does_not_give(reward, column):
    with pytest.raises(InputError, match=f"'{column}'"):
        given(reward, graded([1, 0]))
