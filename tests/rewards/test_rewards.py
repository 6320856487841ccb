"""What every reward must do, what the loop refuses to take for one, and broken rewards that fail."""

import json
from dataclasses import FrozenInstanceError, asdict, fields, is_dataclass, replace

import numpy as np
import pytest
from made_graded import NAN, drawn, given, grades, select

from keyturn.core.errors import InputError, UsageError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.rewards import REWARDS
from keyturn.rewards.bernoulli import RandomConfig, bernoulli
from keyturn.rewards.by_name import default_config, reward_named
from keyturn.rewards.contract import Graded, Reward
from keyturn.rewards.label import LabelConfig, label
from keyturn.rewards.length import LengthConfig, length
from keyturn.rewards.majority import MajorityConfig, majority
from keyturn.rewards.outcome import outcome
from keyturn.rewards.overlong import OverlongConfig, overlong
from keyturn.rewards.prefix import PrefixConfig, prefix
from keyturn.rewards.process import ProcessConfig, process
from keyturn.rewards.shuffled import shuffled
from keyturn.rewards.step_similarity import StepSimilarityConfig, step_similarity
from keyturn.rewards.strategy import StrategyConfig, strategy
from keyturn.rewards.sum_of import sum_of
from keyturn.rollouts.completions import Stop

VARIANTS = {
    **{name: build() for name, build in REWARDS.items()},
    "majority, ties drawn": majority(MajorityConfig(ties="drawn")),
    "label by another fact": label(LabelConfig(fact="step")),
    "long words": length(LengthConfig(kind="long", unit="words", scale=9)),
    "near a length": length(LengthConfig(kind="target", unit="characters", target=30, scale=20)),
    "process, dense": process(ProcessConfig(dense=True, of="plan_score")),
    "process, strict": process(ProcessConfig(strict=True)),
    "strategy by name": strategy(StrategyConfig(named="BWD")),
    "prefix, all of it": prefix(PrefixConfig(boxed=False, strip=False)),
    "similar words": step_similarity(StepSimilarityConfig(level="word")),
    "shuffled random": shuffled(inner=bernoulli()),
    "shuffled process": shuffled(inner=process()),
    "punished process": overlong(OverlongConfig(limit=40, buffer=20), process()),
    "two coins": sum_of(inner_config := default_config("sum"), bernoulli(), bernoulli()),
}
TEXTS = (
    "<short> so it is 3\n#### 3",
    "<think> two and one</think> three is \\boxed{3}",
    "<think> let me use python</think> no idea: \\boxed{two}",
    "",
    "I don't know.",
    "python\n#### 2",
)
PROBLEMS = tuple(
    Problem(
        id=name,
        prompt=f"what is {name}?",
        answer="3",
        facts={"label": "2", "step": "three is 3", "continuation": "3 apples", "boundaries": "1 8"},
    )
    for name in ("a", "b", "c")
)


def made(size=42, seed=0):
    """A rollout in which everything occurs: three groups, their rows in any order."""
    dice = Streams(seed).generator("made")
    problem = np.sort(dice.integers(0, 3, size))
    draw = [int((problem[:i] == problem[i]).sum()) for i in range(size)]
    texts = dice.choice(TEXTS, size)
    stops = dice.choice([Stop.EOS, Stop.EOS, Stop.EOS, Stop.LENGTH, Stop.ERROR], size)
    right = np.where(dice.random(size) < 0.15, NAN, dice.integers(0, 2, size))
    columns = {
        "process": np.where(np.isnan(right), NAN, dice.integers(0, 5, size) / 4),
        "plan_score": np.where(dice.random(size) < 0.2, NAN, dice.random(size)),
        "strategy": list(dice.choice(["FWD", "BWD", ""], size)),
        "format": list(dice.choice(["F1", "F2"], size)),
        "lenient_answer": list(dice.choice(["3", ""], size)),
    }
    whole = Graded(
        problems=PROBLEMS,
        completions=drawn(
            PROBLEMS, list(zip(problem.tolist(), draw, map(str, texts), strict=True)), stops=stops
        ),
        grades=grades(right, list(map(str, dice.choice(["3", "3.0", "2", "4", ""], size))), **columns),
        streams=Streams(seed).child("step"),
    )
    return select(whole, dice.permutation(size))


def follows_its_rows(reward):
    """The same rows in another order, or without the other problems' rows, have the same rewards."""
    for seed in range(6):
        whole = made(size=42 if seed % 2 else 10, seed=seed)
        found = given(reward, whole)
        order = Streams(seed).generator("order").permutation(len(whole))
        np.testing.assert_array_equal(given(reward, select(whole, order)), found[order])
        for index in range(3):
            rows = np.flatnonzero(whole.completions.problem == index)
            np.testing.assert_array_equal(given(reward, select(whole, rows)), found[rows])


def keeps_ungraded_rows(reward):
    """Where nothing was said no reward, and where no verdict was given only one that does not look at it."""
    for seed in range(4):
        whole = made(seed=seed)
        missing = np.isnan(given(reward, whole))
        verdict = np.isnan(whole.grades.outcome)
        assert verdict.any()
        assert whole.silent.any()
        expected = whole.silent if reward.blind else whole.silent | verdict
        np.testing.assert_array_equal(missing, expected)


def is_as_blind_as_it_says(reward):
    """Other verdicts on the same completions change a reward exactly if it says that it looks at them."""
    changes = False
    for seed in range(4):
        whole = made(seed=seed)
        other = Streams(seed).generator("other").integers(0, 2, len(whole)).astype(np.float32)
        columns = {**whole.grades.columns, "process": other, "plan_score": other}
        also = replace(whole, grades=replace(whole.grades, outcome=other, verified=other, columns=columns))
        known = np.isfinite(whole.grades.outcome) | reward.blind
        before, after = given(reward, whole)[known], given(reward, also)[known]
        changes |= not np.array_equal(before, after, equal_nan=True)
    assert changes != reward.blind


BATTERY = (follows_its_rows, keeps_ungraded_rows, is_as_blind_as_it_says)


@pytest.mark.parametrize("check", BATTERY)
@pytest.mark.parametrize("name", VARIANTS)
def test_the_battery(name, check):
    check(VARIANTS[name])


@pytest.mark.parametrize("name", REWARDS)
def test_every_reward_gives_float32_and_says_what_it_is(name):
    reward = REWARDS[name]()
    whole = made()
    found = given(reward, whole)
    assert (reward.name, found.dtype, found.shape) == (name, np.float32, (len(whole),))
    assert reward.summary
    assert reward.source
    config = default_config(name)
    assert is_dataclass(config)
    assert reward.config == REWARDS[name](config).config
    for field in fields(config)[:1]:
        with pytest.raises(FrozenInstanceError):
            setattr(config, field.name, getattr(config, field.name))


@pytest.mark.parametrize("name", VARIANTS)
def test_the_config_of_a_reward_is_json_and_tells_what_it_is_made_of(name):
    config = VARIANTS[name].config
    assert is_dataclass(config)
    told = json.dumps(asdict(config))
    assert " at 0x" not in told
    if name == "shuffled process":
        assert told != json.dumps(asdict(VARIANTS["shuffled random"].config))
        assert '"alpha": 0.5' in told


@pytest.mark.parametrize("name", ["random", "shuffled", "majority, ties drawn"])
def test_what_is_drawn_is_drawn_anew_each_step_and_again_on_resuming(name):
    reward, changes = VARIANTS[name], False
    for seed in range(6):
        whole = made(size=10, seed=seed)
        again = replace(whole, streams=Streams(seed).child("step"))
        np.testing.assert_array_equal(given(reward, whole), given(reward, again))
        later = replace(whole, streams=Streams(seed).child("next step"))
        changes |= not np.array_equal(given(reward, whole), given(reward, later), equal_nan=True)
    assert changes


@pytest.mark.parametrize("name", REWARDS)
def test_rows_of_one_problem_and_of_none(name):
    reward = REWARDS[name]()
    assert given(reward, select(made(), np.zeros(0, dtype=int))).shape == (0,)
    alone = select(made(), [0])
    assert given(reward, alone).shape == (1,)


# Broken rewards, and the check that each of them fails.


def by_row_order(graded):
    dice = graded.streams.generator("random")
    return np.array([dice.random() < 0.5 for _ in range(len(graded))], dtype=np.float32)


def shuffled_over_groups(graded):
    value = graded.grades.outcome.copy()
    known = np.flatnonzero(np.isfinite(value) & ~graded.silent)
    value[known] = value[graded.streams.generator("shuffled").permutation(known)]
    return value


def shuffled_by_row_order(graded):
    value = graded.grades.outcome.copy()
    for index, problem in enumerate(graded.problems):
        rows = np.flatnonzero((graded.completions.problem == index) & np.isfinite(value))
        value[rows] = value[graded.streams.generator("shuffled", problem.id).permutation(rows)]
    return value


def majority_of_the_first(graded):
    paid = np.zeros(len(graded), dtype=np.float32)
    for index in range(3):
        rows = [r for r in range(len(graded)) if graded.completions.problem[r] == index]
        answers = ["" if graded.silent[r] else graded.grades.answer[r] for r in rows]
        paid[rows] = [bool(a) and a == max(answers, key=answers.count) for a in answers]
    return paid


def length_by_the_batch(graded):
    return (graded.completions.lengths / graded.completions.lengths.max()).astype(np.float32)


def ungraded_is_wrong(graded):
    return np.nan_to_num(graded.grades.outcome, nan=0.0)


@pytest.mark.parametrize(
    ("broken", "blind", "check"),
    [
        (by_row_order, True, follows_its_rows),
        (shuffled_over_groups, False, follows_its_rows),
        (shuffled_by_row_order, False, follows_its_rows),
        (majority_of_the_first, True, follows_its_rows),
        (length_by_the_batch, True, follows_its_rows),
        (ungraded_is_wrong, False, keeps_ungraded_rows),
        (ungraded_is_wrong, True, is_as_blind_as_it_says),
        (lambda graded: 0 * graded.grades.outcome, False, is_as_blind_as_it_says),
    ],
)
def test_the_battery_rejects_broken_rewards(broken, blind, check):
    with pytest.raises(AssertionError):
        check(Reward(name="broken", summary="", source="", reward=broken, blind=blind))


# The contract.


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "NoneType"),
        ("1111", "str"),
        (1.0, "float"),
        ([1.0, 0.0], "2 numbers for 4 completions"),
        ([1.0, None, 0.0, 0.0], "None"),
        ([1.0, 0.0, "1", 0.0], "'1' (str) for row 2"),
        ([1.0, 0.0, 0.0, np.bool_(True)], "row 3"),
        (np.array([1.0, 0.0, np.inf, 0.0]), "inf"),
        (np.array([1e30, 0, 0, 0]), "row 0"),
    ],
)
def test_what_is_not_a_reward_is_refused_by_name(value, says):
    reward = Reward(name="mine", summary="", source="", reward=lambda *_: value)
    with pytest.raises(InputError, match="'mine'") as refused:
        given(reward, select(made(), np.arange(4)))
    assert says in str(refused.value)


def test_a_wrapper_refuses_what_is_no_reward_by_the_name_of_the_inner_one():
    mine = Reward(name="mine", summary="", source="", reward=lambda graded: np.zeros(2))
    with pytest.raises(InputError, match="'mine' gave 2 numbers"):
        given(shuffled(inner=mine), made())


def test_groups_are_problems_in_the_order_of_their_draws():
    whole = made()
    seen = []
    for problem, rows in whole.groups():
        assert {whole.problems[i].id for i in whole.completions.problem[rows]} == {problem.id}
        assert (np.diff(whole.completions.draw[rows]) > 0).all()
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(whole)))


# By name.


@pytest.mark.parametrize("name", REWARDS)
def test_a_name_alone_is_the_default(name):
    assert reward_named(name).config == REWARDS[name]().config


def test_a_specification_nests_to_the_right():
    spec = "overlong:sum:outcome+random"
    by_hand = overlong(OverlongConfig(), sum_of(inner_config, outcome(), bernoulli()))
    assert reward_named(spec).config == by_hand.config
    np.testing.assert_array_equal(given(reward_named(spec), made()), given(by_hand, made()))
    lone = reward_named("random", RandomConfig(gamma=0.0))
    np.testing.assert_array_equal(np.nan_to_num(given(lone, made())), np.zeros(42))
    assert reward_named("shuffled:process").config == shuffled(inner=process()).config


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("proces", "process"),
        ("shuffled:proces", "process"),
        ("", "unknown reward ''"),
        ("outcome:process", "wraps no other reward"),
        ("shuffled:", "unknown reward ''"),
        ("shuffled:outcome+process", "unknown reward 'outcome\\+process'"),
        ("sum:outcome+", "unknown reward ''"),
    ],
)
def test_a_specification_that_is_none_is_refused(spec, says):
    with pytest.raises(UsageError, match=says):
        reward_named(spec)


def test_a_default_config_by_an_unknown_name():
    with pytest.raises(UsageError, match="did you mean"):
        default_config("proces")
