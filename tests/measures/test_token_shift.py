"""Token shifts made by hand, and what the nulls and the intervals must say of them."""

import math

import numpy as np
import pytest
from token_tables import completions_of, grades_of, shift_of, tables_of

from keyturn.core.measurement import Measurement
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.measures.by_problem import ByProblem, weighted_quantile
from keyturn.measures.token_shift import OWN_RANKS, POSITION, REPLICATE, SHUFFLED, TOKEN_SHIFT, TokenShiftConfig

FAST = TokenShiftConfig(resamples=200, curve_resamples=50, permutations=60)


def measured(config=FAST, **shift):
    found = TOKEN_SHIFT.measure(tables_of(Streams(0), shift=shift), config)
    assert all(isinstance(m, Measurement) for m in found)
    return found


def get(found, name, by="all", drawn_by="tuned", **parameters):
    (one,) = [
        m
        for m in found
        if m.name == name
        and m.parameters["by"] == by
        and m.parameters["drawn_by"] == drawn_by
        and all(m.parameters[k] == v for k, v in parameters.items())
    ]
    return one


def test_a_table_by_hand():
    completions = completions_of([[1, 2, 0], [1, 0]], [0, 1])
    shift = shift_of(
        "tuned",
        completions,
        grades_of([1, 1], roles=[Role.PLAN, Role.ARITHMETIC, Role.SYNTAX, Role.PLAN, Role.SYNTAX]),
        kl=[4.0, 0.0, 1.0, 3.0, 2.0],
        kl_reverse=[2.0, 0.0, 0.0, 0.0, -1e-9],
        base_logprobs=[-2.0, -1.0, -1.0, -3.0, 0.0],
        tuned_logprobs=[-1.0, -1.0, -2.0, -0.5, 0.0],
        base_ranks=[0, 1, 2, 3, 40],
        tuned_ranks=[0, 0, 0, 0, 1],
        flip=[False, True, False, False, False],
    )
    found = measured(tuned=shift)
    assert get(found, "token_kl").value == pytest.approx(2.0)
    assert get(found, "token_kl").n == 2
    assert get(found, "token_kl_reverse").value == pytest.approx(0.4)
    assert get(found, "token_logratio").value == pytest.approx((1 + 0 + 1 + 2.5 + 0) / 5)
    assert get(found, "token_flip").value == pytest.approx(0.2)
    assert get(found, "token_rank").value == pytest.approx(46 / 5)
    shares = [get(found, f"token_{name}").value for name in ("unshifted", "marginal", "shifted")]
    assert shares == pytest.approx([0.2, 0.4, 0.4])
    assert get(found, "token_unshifted").null.kind == OWN_RANKS
    assert get(found, "token_unshifted").null.value == pytest.approx(0.8)
    # By role: both PLAN tokens, and the groups they belong to.
    assert get(found, "token_kl", by="plan").value == pytest.approx(3.5)
    assert get(found, "token_kl", by="planning").value == pytest.approx(3.5)
    assert get(found, "token_kl", by="arithmetic").value == 0.0
    assert get(found, "token_kl", by="arithmetic").n == 1
    assert math.isnan(get(found, "token_kl", by="arithmetic").low)
    # Lorenz: 4, 3, 2, 1, 0 of 10; the top fifth holds .4, Gini .4; first flips at 1 of 3 and never.
    assert get(found, "token_kl_top", top=0.2).value == pytest.approx(0.4)
    assert get(found, "token_kl_top", top=0.1).value == pytest.approx(0.2)
    assert get(found, "token_kl_gini").value == pytest.approx(0.4)
    assert get(found, "token_first_flip").value == pytest.approx((1 / 3 + 1) / 2)


def test_ranks_are_those_of_the_policy_that_did_not_draw():
    completions = completions_of([[1, 0]], [0])
    ranks = {"base_ranks": [0, 0], "tuned_ranks": [5, 5]}
    found = measured(tuned=shift_of("tuned", completions, **ranks), base=shift_of("base", completions, **ranks))
    assert get(found, "token_shifted", drawn_by="tuned").value == 0.0
    assert get(found, "token_shifted", drawn_by="base").value == 1.0
    assert get(found, "token_shifted", drawn_by="base").null.value == 0.0


def many(kl, roles=None, problems=20, rows_each=3, length=10, drawn_by="tuned"):
    rows = problems * rows_each
    completions = completions_of(
        [[1] * (length - 1) + [0]] * rows, np.repeat(np.arange(problems), rows_each).tolist()
    )
    grades = None if roles is None else grades_of(np.ones(rows), roles=roles)
    return shift_of(drawn_by, completions, grades, kl=kl)


def test_identical_models_do_not_move_and_have_no_curve():
    found = measured(tuned=many(np.zeros(600)))
    assert get(found, "token_kl").value == 0.0
    assert get(found, "token_kl").null.value == 0.0
    assert math.isnan(get(found, "token_kl_gini").value)
    assert get(found, "token_kl_gini").n == 0
    assert get(found, "token_first_flip").value == 1.0


def test_a_role_that_carries_the_shift_leaves_its_null_and_a_placebo_does_not():
    generator = np.random.default_rng(0)
    roles = np.where(generator.random(600) < 0.3, Role.PLAN, Role.ARITHMETIC)
    noise = generator.exponential(0.1, 600)
    carried = measured(tuned=many(noise + 0.3 * (roles == Role.PLAN), roles))
    placebo = measured(tuned=many(noise, roles))
    plan, null = get(carried, "token_kl", by="plan"), get(carried, "token_kl", by="plan").null
    assert null.kind == SHUFFLED
    assert plan.value > null.high
    assert get(carried, "token_kl", by="arithmetic").value < get(carried, "token_kl", by="arithmetic").null.low
    quiet = get(placebo, "token_kl", by="plan")
    assert quiet.null.low <= quiet.value <= quiet.null.high


def test_the_null_of_roles_keeps_each_completions_own_shift():
    # Completions of one role each differ in shift; inside them the role says nothing.
    roles = np.repeat(np.where(np.arange(60) % 2, Role.PLAN, Role.ARITHMETIC), 10)
    kl = np.repeat(np.where(np.arange(60) % 2, 1.0, 0.1), 10)
    plan = get(measured(tuned=many(kl, roles)), "token_kl", by="plan")
    assert plan.value == pytest.approx(1.0, rel=1e-6)
    assert plan.null.value == pytest.approx(plan.value)
    # The twin that deals across completions would call it a property of the role.
    assert kl.mean() < 0.6


def test_concentration_that_position_explains_equals_its_null():
    position = np.tile(np.exp(-np.arange(10.0)), 60)
    found = measured(tuned=many(position))
    for top in FAST.tops:
        share = get(found, "token_kl_top", top=top)
        assert share.null.kind == POSITION
        assert share.value == pytest.approx(share.null.value)
        # Beside an equal spread it would have looked concentrated.
        assert share.value > 3 * top
    shuffled = np.random.default_rng(0).permutation(position)
    gini = get(measured(tuned=many(shuffled)), "token_kl_gini")
    assert gini.value == pytest.approx(get(found, "token_kl_gini").value)
    assert gini.null.value < gini.value / 2


def test_a_replicate_is_the_null_where_there_is_one():
    generator = np.random.default_rng(1)
    tuned, replicate = generator.exponential(1.0, 600), generator.exponential(0.01, 600)
    found = measured(tuned=many(tuned), replicate=many(replicate))
    assert {m.parameters["drawn_by"] for m in found} == {"tuned"}
    for name, by in (("token_kl", {}), ("token_kl_top", {"top": 0.1}), ("token_kl_gini", {})):
        assert get(found, name, **by).null.kind == REPLICATE
    assert get(found, "token_kl").null.high < 0.05
    assert get(found, "token_kl_gini").null.value == pytest.approx(0.5, abs=0.05)


def assert_interval_is_over_problems(width):
    """Tokens of a problem are alike: the interval is that of 20 numbers, not of 600."""
    each = np.random.default_rng(2).exponential(1.0, 20)
    expected = 2 * 1.96 * each.std(ddof=1) / math.sqrt(20)
    assert width(np.repeat(each, 30)) == pytest.approx(expected, rel=0.25)


def test_intervals_resample_problems_and_not_tokens():
    def ours(kl):
        found = get(measured(TokenShiftConfig(curve_resamples=20, permutations=2), tuned=many(kl)), "token_kl")
        return found.high - found.low

    def over_tokens(kl):
        generator = np.random.default_rng(0)
        low, high = np.quantile([generator.choice(kl, len(kl)).mean() for _ in range(500)], [0.025, 0.975])
        return high - low

    assert_interval_is_over_problems(ours)
    with pytest.raises(AssertionError):
        assert_interval_is_over_problems(over_tokens)


def test_the_interval_covers():
    truth, hits = 1.0, []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        problem = np.repeat(np.arange(40), generator.integers(1, 6, 40))
        values = generator.gamma(2.0, 0.5, 40)[problem] * generator.exponential(1.0, len(problem))
        found = ByProblem.of(problem, 40, Streams(seed), 300).mean(values).estimate
        hits.append(found.low <= truth <= found.high)
    assert 0.89 <= np.mean(hits) <= 0.985


def test_a_curve_has_an_interval_around_it():
    kl = np.random.default_rng(3).exponential(1.0, 600) * np.repeat(
        np.random.default_rng(4).exponential(1, 20), 30
    )
    share = get(measured(tuned=many(kl)), "token_kl_top", top=0.1)
    assert share.low < share.value < share.high < 1
    assert share.n == 20


def test_the_same_streams_give_the_same_numbers_and_others_do_not():
    kl = np.random.default_rng(5).exponential(1.0, 600)

    def lows(seed):
        found = TOKEN_SHIFT.measure(tables_of(Streams(seed), shift={"tuned": many(kl)}), FAST)
        return [m.to_json() for m in found]

    assert lows(1) == lows(1)
    assert lows(1) != lows(2)


def test_intervals_of_shares_are_shares():
    completions = completions_of([[1, 0], [1, 0], [1, 0]], [0, 1, 2])
    found = measured(tuned=shift_of("tuned", completions, flip=[1, 1, 1, 1, 0, 0], kl=[9, 1, 0, 0, 0, 1]))
    for m in found:
        if m.unit.startswith("share"):
            assert 0 <= m.low <= m.value <= m.high <= 1
    assert get(found, "token_kl").low >= 0


def test_no_tokens_is_not_a_number():
    empty = shift_of("tuned", completions_of([[], []], [0, 1]))
    for m in measured(tuned=empty):
        assert math.isnan(m.value)
        assert m.n == 0


def test_weighted_quantiles_follow_their_weights():
    values = np.array([3.0, 1.0, 2.0])
    assert weighted_quantile(values, np.ones(3), 0.5) == 2.0
    assert weighted_quantile(values, np.array([5.0, 1.0, 1.0]), 0.5) == 3.0
    assert math.isnan(weighted_quantile(values, np.zeros(3), 0.5))
