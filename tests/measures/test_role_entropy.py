"""Entropies by role above their floors, by hand, and what each null must say."""

import math

import numpy as np
import pytest
from token_tables import completions_of, grades_of, shift_of, tables_of

from keyturn.core.roles import FORCED, Role
from keyturn.core.streams import Streams
from keyturn.measures.role_curves import half_way, role_curves
from keyturn.measures.role_entropy import FLIPPED, OWN, ROLE_ENTROPY, SAME, RoleEntropyConfig
from keyturn.roles.grammar import NAMES

FAST = RoleEntropyConfig(resamples=300)


def measured(history=(), **shift):
    return ROLE_ENTROPY.measure(tables_of(Streams(0), shift=shift, history=history), FAST)


def get(found, name, by="all", policy="tuned", drawn_by="tuned"):
    wanted = {"by": by, "policy": policy, "drawn_by": drawn_by}
    (one,) = [m for m in found if m.name == name and {k: m.parameters.get(k) for k in wanted} == wanted]
    return one


ROLES = [Role.PLAN, Role.ARITHMETIC, Role.SYNTAX, Role.PLAN, Role.REPEAT, Role.LOOKUP]


def by_hand(drawn_by="tuned"):
    completions = completions_of([[1, 2, 0], [1, 2, 0]], [0, 1])
    grades = grades_of(
        [1, 0],
        roles=ROLES,
        floor=np.array([math.log(2), 0, 0, math.log(3), np.nan, 0], dtype=np.float32),
        error=[False, True, True, True, False, False],
    )
    return shift_of(
        drawn_by,
        completions,
        grades,
        base_entropies=[1.0, 0.5, 9.0, 1.5, 9.0, 0.1],
        tuned_entropies=[0.9, 0.3, 9.0, 1.2, 9.0, 0.1],
        base_logprobs=np.log([0.5, 0.25, 1, 0.75, 1, 0.5]),
        tuned_logprobs=np.log([0.5, 0.75, 1, 0.75, 1, 0.5]),
    )


def test_a_table_by_hand():
    found = measured(tuned=by_hand())
    floor = (math.log(2) + math.log(3)) / 2
    assert get(found, "role_entropy", "plan", "base").value == pytest.approx(1.25 - floor)
    assert get(found, "role_entropy", "plan").value == pytest.approx(1.05 - floor)
    assert get(found, "role_entropy", "plan").null.kind == SAME
    assert get(found, "role_entropy", "plan").null.value == pytest.approx(1.25 - floor)
    assert get(found, "role_entropy", "execution").value == pytest.approx(0.2)
    assert get(found, "role_entropy_change", "plan", "tuned - base").value == pytest.approx(-0.2)
    assert get(found, "role_probability", "arithmetic", "base").value == pytest.approx(0.25)
    assert get(found, "role_probability", "arithmetic").value == pytest.approx(0.75)
    assert get(found, "role_error", "plan").value == pytest.approx(0.5)
    assert get(found, "role_error", "arithmetic").value == 1.0


def test_forced_roles_are_in_no_average():
    found = measured(tuned=by_hand())
    assert not {m.parameters["by"] for m in found} & {NAMES[role] for role in FORCED}
    # The four free tokens; with the forced ones it would be above 3 nats.
    floor = math.log(2) + math.log(3)
    assert get(found, "role_entropy", "all", "base").value == pytest.approx((1.0 + 0.5 + 1.5 + 0.1 - floor) / 4)
    assert get(found, "role_error", "all").value == pytest.approx(2 / 4)


def test_a_policy_at_its_floor_has_no_entropy_of_its_own():
    choices = np.random.default_rng(0).integers(1, 5, 200)
    completions = completions_of([[1, 0]] * 100, list(range(100)))
    grades = grades_of(np.ones(100), roles=np.full(200, Role.PLAN), floor=np.log(choices))
    shift = shift_of("tuned", completions, grades, tuned_entropies=np.log(choices))
    value = get(measured(tuned=shift), "role_entropy", "plan").value
    assert value == pytest.approx(0.0, abs=1e-6)
    # Without the floor the planning tokens would look undecided.
    assert np.log(choices).mean() > 0.5


def test_without_grades_all_tokens_count_and_the_note_says_so():
    completions = completions_of([[1, 0], [1, 0]], [0, 1])
    found = measured(tuned=shift_of("tuned", completions, tuned_entropies=[1, 2, 3, 4]))
    assert {m.parameters["by"] for m in found} == {"all"}
    entropy = get(found, "role_entropy")
    assert entropy.value == pytest.approx(2.5)
    assert "no floor" in entropy.note
    assert "role_error" not in {m.name for m in found}


def test_errors_are_each_policys_own():
    base = by_hand("base")
    worse = grades_of([0, 0], roles=ROLES, error=[True] * 6)
    base = shift_of("base", base.completions, worse)
    found = measured(base=base, tuned=by_hand())
    assert get(found, "role_error", "plan", "base", "base").value == 1.0
    assert get(found, "role_error", "plan").null.kind == OWN
    assert get(found, "role_error", "plan").null.value == 1.0
    pairs = {(m.parameters["policy"], m.parameters["drawn_by"]) for m in found if m.name == "role_error"}
    assert pairs == {("base", "base"), ("tuned", "tuned")}


def test_entropies_are_told_on_either_policys_completions():
    found = measured(base=by_hand("base"), tuned=by_hand())
    pairs = {(m.parameters["policy"], m.parameters["drawn_by"]) for m in found if m.name == "role_entropy"}
    assert pairs == {(policy, drawn) for policy in ("base", "tuned") for drawn in ("base", "tuned")}


def changed(shift_by, seed, problems=30):
    """Tuned entropies that differ from the base's by noise per problem and a common shift."""
    generator = np.random.default_rng(seed)
    completions = completions_of([[1, 1, 0]] * problems, list(range(problems)))
    base = generator.exponential(1.0, 3 * problems)
    tuned = base + np.repeat(generator.normal(0, 0.2, problems), 3) + shift_by
    return shift_of("tuned", completions, base_entropies=base, tuned_entropies=tuned)


def test_a_change_leaves_the_null_and_noise_does_not_more_often_than_stated():
    def outside(shift_by, seed):
        m = get(measured(tuned=changed(shift_by, seed)), "role_entropy_change", "all", "tuned - base")
        assert m.null.kind == FLIPPED
        return not m.null.low <= m.value <= m.null.high

    assert np.mean([outside(0.0, seed) for seed in range(60)]) < 0.15
    assert all(outside(0.3, seed) for seed in range(10))


def test_pairing_makes_the_change_sharper_than_two_intervals():
    found = measured(tuned=changed(0.1, 1))
    change = get(found, "role_entropy_change", "all", "tuned - base")
    tuned = get(found, "role_entropy")
    assert change.high - change.low < 0.6 * (tuned.high - tuned.low)


def history_of(steps, **columns):
    return tuple(
        {"step": s, **{k.replace("__", "/"): float(f(s)) for k, f in columns.items()}} for s in range(steps)
    )


def logistic(middle):
    return lambda s: 1 / (1 + math.exp((s - middle) / 3))


def test_training_tells_which_role_was_learnt_first():
    history = history_of(
        100, entropy__arithmetic=logistic(25), entropy__plan=logistic(70), entropy__copy=lambda s: 0.3
    )
    found = {
        (m.name, m.parameters["by"], m.parameters.get("when")): m
        for m in measured(history, tuned=by_hand())
        if m.parameters["policy"] == "training"
    }
    assert found["role_half_step", "arithmetic", None].value == pytest.approx(25, abs=2)
    assert found["role_half_step", "plan", None].value == pytest.approx(70, abs=2)
    assert math.isnan(found["role_half_step", "copy", None].value)
    assert found["role_half_step", "copy", None].n == 0
    assert found["role_training", "plan", "start"].value == pytest.approx(1.0, abs=0.01)
    assert found["role_training", "plan", "end"].value == pytest.approx(0.0, abs=0.01)


def test_noise_without_a_trend_has_no_half_way_step():
    generator = np.random.default_rng(0)
    nowhere = []
    for _ in range(100):
        values = iter(generator.normal(0.5, 0.1, 100))
        (curve,) = role_curves(history_of(100, error__plan=lambda s, values=values: next(values)))
        nowhere.append(math.isnan(half_way(curve)))
    assert np.mean(nowhere) > 0.88


def test_curves_subtract_their_floor_and_skip_what_is_missing():
    history = (
        {"step": 0, "entropy/plan": 1.0, "floor/plan": 0.4, "loss": 2.0},
        {"step": 1, "loss": 1.0},
        {"step": 2, "entropy/plan": 0.9, "floor/plan": 0.5, "error/plan": 0.25, "floor/copy": 0.0},
        {"step": 3, "entropy/plan": math.nan},
    )
    curves = {(c.quantity, c.role): c for c in role_curves(history)}
    assert set(curves) == {("entropy", "plan"), ("error", "plan")}
    np.testing.assert_allclose(curves["entropy", "plan"].values, [0.6, 0.4])
    np.testing.assert_allclose(curves["entropy", "plan"].steps, [0, 2])
    assert math.isnan(half_way(curves["entropy", "plan"]))


def test_no_tokens_is_not_a_number():
    empty = shift_of("tuned", completions_of([[], []], [0, 1]))
    for m in measured(tuned=empty):
        assert math.isnan(m.value)
        assert m.n == 0
