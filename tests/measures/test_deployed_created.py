from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from keyturn.core.errors import InputError, UsageError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.measures.cells import cells_of
from keyturn.measures.contract import Tables
from keyturn.measures.deployed_created import DeployedCreatedConfig, judge, measure_deployed_created
from keyturn.measures.draws import Draws, draws_of, first_stage, halves, plain_draws
from keyturn.measures.estimates import lowered_budget
from keyturn.measures.guess import guess_rates
from keyturn.measures.paired import Paired
from keyturn.measures.verdict import REACHABLE, UNDECIDED, UNREACHABLE
from keyturn.rollouts.grades import Answers, TwoStages

STREAMS = Streams(5, ("test-judge",))
RESAMPLES = 500


def graded(policy: str, success: list[np.ndarray], *, traces: bool = True, cells: int = 1) -> Answers:
    """One array of 1 / 0 / NaN a problem, in the order of the draws."""
    problems = tuple(
        Problem(id=f"p{i}", prompt="?", answer=str(i % 5), cell={"depth": i % cells})
        for i in range(len(success))
    )
    sizes = [len(row) for row in success]
    values = np.concatenate([*success, np.empty(0)]).astype(np.float32)
    return Answers(
        policy=policy,
        problems=problems,
        problem=np.repeat(np.arange(len(success)), sizes).astype(np.int32),
        draw=np.concatenate([*(np.arange(n) for n in sizes), np.empty(0)]).astype(np.int32),
        outcome=values,
        verified=values.copy() if traces else np.full(len(values), np.nan, dtype=np.float32),
        answer=tuple("x" for _ in values),
        length=np.full(len(values), 7, dtype=np.int32),
        truncated=np.zeros(len(values), dtype=bool),
    )


def drawn(policy: str, p, n: int, name: str, **options) -> Answers:
    generator = STREAMS.generator("draw", policy, name)
    return graded(policy, [(generator.random(n) < x).astype(float) for x in p], **options)


def in_two_stages(answers: Answers, first: int = 32, enough: int = 8) -> Answers:
    _, c = answers.select(answers.draw < first).counts()
    kept = answers.select((answers.draw < first) | (c[answers.problem] < enough))
    return replace(kept, two_stages=TwoStages(first=first, enough=enough, went_on=c < enough))


def thirds(size: int = 90) -> np.ndarray:
    return np.select([np.arange(size) % 3 == 0, np.arange(size) % 3 == 1], [0.6, 0.15], 0.0)


def verdict(p, q, name: str, **options):
    base = in_two_stages(drawn("base", p, 256, name))
    tuned = drawn("tuned", q, 64, name)
    return judged(base, tuned, streams=STREAMS.child(name), **options)


def judged(base: Answers, tuned: Answers, *, streams=STREAMS, clusters=None, k=64, **known):
    counts = Paired(base=base, tuned=tuned, **known).counts(clusters=clusters)
    return judge(counts, streams=streams, k=k, resamples=RESAMPLES)


def test_planted_truths_come_out():
    p = thirds(180)
    where = np.arange(180) % 3
    cases = {
        "created": np.where(where == 2, 0.4, p),
        "deployed": np.where(where == 1, 0.45, p),
        "mixed": np.where(where == 2, 0.3, np.where(where == 1, 0.45, p)),
        "narrowed": np.where((where == 1) & (np.arange(180) % 2 == 0), 0.0, p),
        "no change": p,
    }
    for label, q in cases.items():
        found = verdict(p, q, "planted")
        assert found.label == label, (label, found.why)
        parts = [found.masses[name].value for name in ("deployed", "created", "undecided")]
        assert sum(parts) == pytest.approx(found.masses["gain"].value, abs=1e-12)
        assert found.masses["gain"].value == pytest.approx(float((found.tuned_q - found.base_p).mean()))
        assert found.k == 64
        assert found.n_base == 256
        assert found.why
    assert verdict(p, cases["created"], "planted").coverage.label == "expanded"
    assert verdict(p, cases["deployed"], "planted").coverage.label == "kept"


def test_shares_exist_only_with_a_gain_and_classes_are_as_planted():
    p = thirds()
    created = verdict(p, np.where(p == 0, 0.4, p), "shares")
    assert created.shares["created"].low > 0.5
    assert (created.classes[p == 0] == UNREACHABLE).mean() > 0.95
    assert (created.classes[p > 0] == REACHABLE).all()
    still = verdict(p, p, "shares")
    assert all(math.isnan(found.value) for found in still.shares.values())
    fallen = verdict(p, np.where(p > 0.5, p - 0.2, p), "shares")
    assert fallen.label == "worse"
    assert "success fell" in fallen.why
    assert math.isnan(fallen.shares["deployed"].value)


def test_the_curve_names_where_the_label_flips():
    p = np.full(60, 0.15)
    found = verdict(p, p + 0.3, "curve")
    assert found.label == "deployed"
    ks = [row[0] for row in found.curve]
    assert ks == [2, 4, 8, 16, 32, 64, 85]
    assert found.curve[0][1] == pytest.approx(1.0, abs=0.05)
    assert found.curve[ks.index(64)][1] == pytest.approx(0.0, abs=0.05)
    assert found.flips_at == 2
    assert any("holds for K from" in note for note in found.notes)


def test_one_draw_a_problem_is_undecided_and_says_why():
    base, tuned = drawn("base", [0.2] * 200, 1, "one"), drawn("tuned", [0.6] * 200, 1, "one")
    found = judged(base, tuned)
    assert found.label == "undecided"
    assert found.coverage.label == "undecided"
    assert "one base draw per problem" in found.why
    assert "192" in found.why
    assert found.masses["gain"].low > 0.2
    assert math.isnan(found.masses["created"].value)
    assert found.to_json()["masses"]["created"] is None
    assert (found.classes == UNDECIDED).all()


def test_few_draws_lower_k_and_print_it():
    base, tuned = drawn("base", thirds(), 96, "few"), drawn("tuned", thirds(), 32, "few")
    found = judged(base, tuned)
    assert found.k == 32
    assert any("lowered from 64 to 32" in caution.text for caution in found.cautions)
    assert (found.classes[thirds() == 0] == UNREACHABLE).mean() > 0.9
    # coverage at a tuned policy's fewer draws says so, and does not lower K
    fewer = judged(base, tuned.select(tuned.draw < 8))
    assert fewer.k == 32
    assert fewer.coverage.k_max == 8
    assert any("up to k = 8" in note for note in fewer.notes)


def test_ungraded_rows_are_no_failures_and_empty_problems_are_left_out():
    rows = [np.r_[np.ones(40), np.full(216, np.nan)], np.full(256, np.nan), np.zeros(256), np.ones(256)]
    base = graded("base", rows)
    tuned = graded("tuned", [np.ones(64)] * 4)
    found = judged(base, tuned)
    assert found.problems == 3
    assert found.base_p == pytest.approx([1.0, np.nan, 0.0, 1.0], nan_ok=True)
    assert found.classes.tolist() == [REACHABLE, UNDECIDED, UNREACHABLE, REACHABLE]
    assert any("1 problems without a graded draw" in note for note in found.notes)


def test_no_problem_at_all():
    found = judged(graded("base", []), graded("tuned", []))
    assert found.label == "undecided"
    assert found.problems == 0
    assert math.isnan(found.masses["gain"].value)


def test_the_same_streams_give_the_same_verdict():
    p = thirds(30)
    one, two = (verdict(p, p + 0.1, "again") for _ in range(2))
    assert one.to_json() == two.to_json()


def test_a_certified_bound_makes_reachable():
    p = np.zeros(60)
    q = np.full(60, 0.5)
    assert verdict(p, q, "bound").label == "created"
    certified = verdict(p, q, "bound", bound=np.full(60, 0.1))
    assert certified.label == "deployed"
    assert any("60 problems are reachable by the certified" in note for note in certified.notes)


def test_elicited_problems_count_as_deployed_and_the_share_before_stands_beside():
    p, q = np.zeros(60), np.full(60, 0.5)
    found = verdict(p, q, "elicited", elicited=np.arange(60) < 50)
    assert found.label == "deployed (elicited)"
    assert found.shares["created_before_elicitation"].value == pytest.approx(1.0, abs=0.05)
    assert found.shares["created"].value == pytest.approx(1 / 6, abs=0.05)
    parts = [found.masses[name].value for name in ("deployed", "created", "undecided")]
    assert sum(parts) == pytest.approx(found.masses["gain"].value)
    assert (found.classes == UNREACHABLE).mean() > 0.9
    plain = verdict(thirds(), np.minimum(thirds() * 1.5, 1), "elicited", elicited=np.zeros(90, dtype=bool))
    assert plain.label == "deployed"


def test_a_guessers_success_is_not_reach():
    p, q = np.full(60, 0.2), np.full(60, 0.7)
    answers = {
        policy: drawn(policy, x, n, "guess", traces=False)
        for policy, x, n in (("base", p, 256), ("tuned", q, 64))
    }
    plain = judged(answers["base"], answers["tuned"])
    assert plain.label == "deployed"
    assert plain.unit == "answer"
    guessed = judged(answers["base"], answers["tuned"], guess=np.full(60, 0.2))
    assert guessed.shares["at_chance"].low > 0.9
    assert guessed.shares["deployed"].high < 0.1
    assert guessed.label == "created"
    assert "no better than by chance" in guessed.why
    assert any("luck alone succeeds at a rate of 0.2 " in note for note in guessed.notes)


def test_exact_values_are_compared_and_never_used():
    p = thirds()
    q = np.where(p == 0, 0.4, p)
    found, blind = verdict(p, q, "exact", exact=p), verdict(p, q, "exact")
    assert found.masses == blind.masses
    assert any(note.startswith("exact base success is known for 90") for note in found.notes)


def test_cells_get_their_own_labels():
    p = np.where(np.arange(120) % 2 == 0, 0.2, 0.0)
    q = np.full(120, 0.5)
    base, tuned = drawn("base", p, 256, "cells", cells=2), drawn("tuned", q, 64, "cells", cells=2)
    paired = Paired(base=in_two_stages(base), tuned=tuned)
    counts = paired.counts(cell_keys=("depth",))
    found = [
        (dict(key), judge(counts.at(index), streams=STREAMS, resamples=RESAMPLES).label)
        for key, index in cells_of(paired.problems, ("depth",))
    ]
    assert found == [({"depth": 0}, "deployed"), ({"depth": 1}, "created")]
    assert cells_of(paired.problems, ()) == []
    with pytest.raises(UsageError, match="context"):
        paired.counts(cell_keys=("context",))


def test_clusters_widen_the_interval():
    p = np.repeat(STREAMS.generator("p").uniform(0, 0.3, 12), 10)
    q = p + np.repeat(STREAMS.generator("q").uniform(0, 0.6, 12), 10)
    alone = verdict(p, q, "clusters").masses["gain"]
    together = verdict(p, q, "clusters", clusters=np.repeat(np.arange(12), 10)).masses["gain"]
    assert together.high - together.low > 1.5 * (alone.high - alone.low)
    one = verdict(p, q, "clusters", clusters=np.zeros(120))
    assert one.label == "undecided"
    assert "no interval" in one.why


def test_bad_calls_are_refused():
    base, tuned = drawn("base", thirds(9), 64, "bad"), drawn("tuned", thirds(9), 16, "bad")
    with pytest.raises(InputError, match="different lists"):
        Paired(base=base, tuned=tuned.of_problems(np.arange(8)))
    with pytest.raises(InputError, match="bound has shape"):
        Paired(base=base, tuned=tuned, bound=np.array([0.1]))
    with pytest.raises(InputError, match="clusters has shape"):
        Paired(base=base, tuned=tuned).counts(clusters=[1, 2])
    with pytest.raises(UsageError, match="K >= 2"):
        judged(base, tuned, k=1)


def test_the_two_stage_rule_is_carried_and_never_guessed():
    full = drawn("base", np.linspace(0, 0.9, 40), 256, "stages")
    assert not draws_of(full).staged
    answers = in_two_stages(full)
    staged = draws_of(answers)
    assert staged.staged
    assert staged.enough == 8
    assert (staged.n[staged.went_on] == 256).all()
    assert (staged.n[~staged.went_on] == 32).all()
    other = draws_of(in_two_stages(full, first=16, enough=4))
    assert other.enough == 4
    assert (other.first_n == 16).all()
    # The same draws of which nobody says how they were made are what they are.
    unknown = draws_of(replace(answers, two_stages=None))
    assert not unknown.staged
    assert unknown.rate == pytest.approx(unknown.c / unknown.n)
    assert set(first_stage(answers).draw) == set(range(32))
    assert len(first_stage(full)) == len(full)


def test_draws_that_look_stopped_by_success_are_said_where_nobody_states_the_rule():
    p = np.array([0.6] * 20 + [0.02] * 20)
    base, tuned = in_two_stages(drawn("base", p, 256, "said")), drawn("tuned", p, 64, "said")
    stated = judged(base, tuned).notes
    unknown = judged(replace(base, two_stages=None), tuned).notes
    assert any("drawn in two stages" in note for note in stated)
    assert not any("if drawing stopped at successes" in note for note in stated)
    assert any("every problem with 32 base draws succeeds more often" in note for note in unknown)
    lost = drawn("base", p, 256, "said")
    lost = lost.select((lost.draw < 100) | (lost.problem % 2 == 0))
    assert not any("if drawing stopped at successes" in note for note in judged(lost, tuned).notes)


def test_the_rule_follows_the_problems():
    answers = in_two_stages(drawn("base", np.linspace(0, 0.9, 40), 256, "stages"))
    chosen = np.array([30, 2, 11])
    some = answers.of_problems(chosen)
    assert [p.id for p in some.problems] == ["p30", "p2", "p11"]
    assert draws_of(some).went_on.tolist() == draws_of(answers).went_on[chosen].tolist()
    assert draws_of(some).rate == pytest.approx(draws_of(answers).rate[chosen])


@pytest.mark.parametrize(("p", "k"), [(0.9, 64), (0.1, 64)])
def test_one_rule_for_all_problems_where_all_stopped_or_all_went_on(p, k):
    answers = in_two_stages(drawn("base", np.full(20, p), 256, f"all {p}"))
    draws = draws_of(answers)
    assert draws.staged
    assert draws.went_on.all() if p < 0.5 else not draws.went_on.any()
    # Thirty-two draws of which eight or more succeeded decide a problem at every K.
    assert lowered_budget(draws, 64).k == k


def test_rates_of_problems_that_all_went_on_are_unbiased():
    generator = STREAMS.generator("unbiased")
    first, late = generator.binomial(32, 0.22, 40_000), generator.binomial(224, 0.22, 40_000)
    on = first < 8
    draws = Draws(
        n=np.where(on, 256, 32), c=np.where(on, first + late, first), first_n=np.full(40_000, 32),
        first_c=first, went_on=on, enough=8,
    )  # fmt: skip
    assert draws.rate.mean() == pytest.approx(0.22, abs=0.001)
    # Twin: pooling the draws of each problem is too high, because the lucky stop.
    assert (draws.c / draws.n).mean() > 0.225


def test_halves_are_disjoint_and_equal():
    answers = drawn("base", [0.5] * 10, 31, "halves")
    first, second = halves(answers, STREAMS.generator("halves"))
    assert not (first & second).any()
    assert (np.bincount(answers.problem[first]) == 15).all()
    assert (np.bincount(answers.problem[second]) == 15).all()


def test_masses_have_a_null_that_holds_zero():
    p = thirds(60)
    base, tuned = (
        in_two_stages(drawn("base", p, 256, "null")),
        drawn("tuned", np.where(p == 0, 0.4, p), 64, "null"),
    )
    found = measure_deployed_created(
        Tables(streams=STREAMS, paired=Paired(base=base, tuned=tuned)),
        DeployedCreatedConfig(resamples=RESAMPLES),
    )
    masses = {m.parameters["part"]: m for m in found if m.name == "deployed_created"}
    for part in ("gain", "deployed", "created", "undecided"):
        null = masses[part].null
        assert null is not None
        assert null.low <= 0 <= null.high
    assert masses["created"].low > masses["created"].null.high
    assert [m.parameters["k"] for m in found if m.name == "created_share_at_k"] == [2, 4, 8, 16, 32, 64, 85]


def test_guess_rates_are_hits_on_other_problems():
    base = graded("base", [np.array([1.0, 0.0])] * 3, traces=False)
    # gold 0, 1, 2; problem 0 says 0 and 1, problem 1 says 1 and 1, problem 2 says 2 and 0
    base = replace(base, answer=("0", "1", "1", "1", "2", "0"))
    assert guess_rates(base) == pytest.approx([1 / 4, 1 / 4, 0.0])
    alone = graded("base", [np.array([1.0])], traces=False)
    assert np.isnan(guess_rates(alone)).all()


def test_a_cell_where_every_problem_stopped_early_is_judged_at_the_k_that_was_asked():
    problems = 24
    went_on = np.zeros(problems, dtype=bool)
    first = np.full(problems, 32)
    staged = Draws(n=first, c=first, first_n=first, first_c=first, went_on=went_on, enough=8)
    assert lowered_budget(staged, 64).k == 64
    assert lowered_budget(plain_draws(first, first), 64).k == 32 // 3
