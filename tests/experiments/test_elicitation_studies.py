"""Studies of elicitation: what they read off a table, and hybrids of two policies, on known cases."""

import math
from dataclasses import replace

import numpy as np
import pytest

from keyturn.atlas import CLAIMS
from keyturn.core.errors import UsageError
from keyturn.core.measurement import Estimate
from keyturn.core.streams import Streams
from keyturn.elicitation import ELICITATIONS
from keyturn.experiments import (
    decodable,
    hybrid_studies,
    present_and_absent,
    switch_penalty,
    thirteen_numbers,
)
from keyturn.experiments import elicitation_studies as studies
from keyturn.experiments.contract import Subject
from keyturn.experiments.mode_worlds import WORLDS_ASKED, battery, world_asked
from keyturn.experiments.plan import over_seeds
from keyturn.experiments.present_and_absent import Cell, gain_of, recovered_of, row_of
from keyturn.lab.lab import Lab

PROBLEMS = 40


def cell(world, row, base, share, *, control=False, said=""):
    """A row on one base: a share of its problems is solved, the first ones."""
    success = (np.arange(PROBLEMS) < round(share * PROBLEMS)).astype(float)
    return Cell(
        world=world, base=base, row=row, control=control, worked=share,
        success=np.zeros(0) if said else success, said=said,
    )  # fmt: skip


def table(shares, bases=3):
    """A table of ``{(world, row): share}``, the same on every base but for a little."""
    cells = [
        cell(world, row, base, share + 0.025 * base, control=row in ("plain", "RL", "SFT"))
        for (world, row), share in shares.items()
        for base in range(bases)
    ]
    return studies.Table(lines=(), cells=tuple(cells))


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path, Streams(0))


def test_gains_are_paired_and_a_gap_that_is_none_has_no_share(lab):
    plain, half, whole = (cell("w", row, 0, share) for row, share in (("plain", 0.1), ("m", 0.5), ("SFT", 0.9)))
    gain, recovered = gain_of(half, plain, lab), recovered_of(half, plain, whole, lab)
    assert gain.value == pytest.approx(0.4)
    assert gain.low < 0.4 < gain.high
    assert recovered.value == pytest.approx(0.5)
    assert recovered.low < 0.5 < recovered.high
    assert math.isnan(recovered_of(half, plain, plain, lab).value), "a reference without a gain"
    worse = recovered_of(cell("w", "m", 0, 0.0), plain, whole, lab)
    assert worse.value < 0, "not clipped"


def test_a_method_that_could_not_work_has_a_reason_and_no_number(lab):
    plain, whole = cell("w", "plain", 0, 0.1), cell("w", "SFT", 0, 0.9)
    line = row_of(cell("w", "m", 0, 0, said="nothing to learn from"), plain, whole, lab)
    assert line["said"] == "nothing to learn from"
    assert line["success"] is line["gain"] is line["recovered"] is None


def test_the_central_claim_reads_the_difference_between_the_worlds(lab):
    worlds = (*studies.DOSES, *studies.ABSENT)
    rows = ("plain", "forced opener", "RL", "SFT")
    shares = {(world, row): 0.1 for world in worlds for row in rows}
    shares |= {(world, row): 0.1 for world in worlds for row in studies.RANDOM_FIRST}
    shares["present 5 %", studies.RANDOM_FIRST[0]] = 0.3
    shares["present 5 %", "forced opener"] = 0.8
    shares["present 5 %", "SFT"] = 0.9
    found = studies.skill_numbers(table(shares), lab)
    assert found["random directions give nothing"].value == pytest.approx(0.05), "mean over four"
    assert found["scrambled steps give nothing"].value == pytest.approx(0)
    few = {key: share for key, share in shares.items() if key[0] in studies.DECIDING}
    assert "forced opener, present 1 %" not in studies.skill_numbers(table(few), lab)
    assert found["effect"].value == pytest.approx(0.7)
    assert found["RL gains nothing in the twin"].value == pytest.approx(0)
    assert found["something to gain"].value == pytest.approx(0.8)


def test_the_best_other_method_is_found_and_a_verifier_does_not_count(lab):
    shares = dict.fromkeys([("present 5 %", row) for row in ("plain", "SFT", "RL")], 0.1)
    shares |= {("present 5 %", row): share for row, share in
               (("forced opener", 0.7), ("other", 0.5), ("more", 0.65), (studies.LEAKS[0], 0.95))}  # fmt: skip
    found = studies.first_token_numbers(table(shares), lab)
    assert found["effect"].value == pytest.approx(-0.05)


def test_where_all_bases_agree_problems_give_the_interval(lab):
    shares = dict.fromkeys([("present 5 %", row) for row in ("plain", "SFT", "RL")], 0.1)
    shares |= {("present 5 %", "forced opener"): 0.7, ("present 5 %", "other"): 0.7}
    effect = studies.first_token_numbers(table(shares), lab)["effect"]
    assert effect.value == 0
    assert effect.basis == "problems"
    assert effect.low < 0 < effect.high < 0.15, "40 problems that agree"
    same = studies.share_of_problems(studies.share("worked", np.full(5, 1 / 90)), 90)
    assert 0 < same.low < 1 / 90 < same.high < 0.07
    assert same.basis == "problems"
    apart = over_seeds("gain", np.array([0.1, 0.2, 0.3]))
    assert studies.of_problems(apart, np.zeros((3, 4)), lab) is apart


def test_version_two_asks_bases_that_version_one_had_not_seen():
    short = studies.second(Subject(profile="short"), (), ())
    assert short.worlds[:3] == studies.DECIDING
    assert not {0, 1, 2} & {seed for world in short.worlds for seed in short.seeds(world)}
    assert all(len(short.seeds(world)) >= 3 for world in short.worlds)
    assert short.rows(studies.RARE) == ()
    assert set(short.rows("present 1 %")) < {row.name for row in battery(world_asked("present 1 %"), 16)}
    long = studies.second(Subject(profile="long"), (), ())
    assert set(long.seeds("cue 5 %")) == set(range(3, 11))
    order = present_and_absent.bases_of(short)
    assert order[:3] == [(world, 3) for world in studies.DECIDING]
    assert len(order) == len(set(order)) == 24


@pytest.mark.parametrize(
    ("present", "absent", "said"),
    [
        ((0.7, 0.72, 0.74), [(0.0, 0.01, -0.01)], "elicits"),
        ((0.7, 0.72, 0.74), [(0.0, 0.01, -0.01), (0.6, 0.61, 0.62)], "teaches or leaks"),
        ((0.7, 0.72, 0.74), [(0.1, 0.11, 0.12)], "elicits and more"),
        ((0.1, 0.12, 0.11), [(0.0, 0.3, -0.1)], "undecided"),
        ((0.0, 0.3, -0.1), [(0.0, 0.0, 0.0)], "nothing seen"),
        ((-0.1, -0.12, -0.11), [(0.0, 0.0, 0.0)], "harms"),
        ((math.nan,) * 3, [(0.0, 0.0, 0.0)], "could not work"),
    ],
)
def test_marks(present, absent, said):
    twins = [over_seeds("twin", np.array(one)) for one in absent]
    assert studies.mark(over_seeds("gain", np.array(present)), twins) == said
    assert said in studies.MARKS


def test_every_entry_of_the_dictionary_is_in_the_battery_of_every_world():
    for name in WORLDS_ASKED:
        rows = battery(world_asked(name), 16)
        assert len({row.name for row in rows}) == len(rows)
        newest = {"tools", "abstraction", "route-benefit", "perturbed-vote", "one-feature", "power-ahead"}
        assert newest | {"steering-answer", "steering-delimiter", "steering-conditional"} <= {
            r.method for r in rows
        }
        assert {row.method for row in rows} <= set(ELICITATIONS)
        firsts = [row for row in rows if row.name in studies.RANDOM_FIRST]
        assert [row.again for row in firsts] == [0, 1, 2, 3]
        for row in rows:
            default = ELICITATIONS[row.method].config
            assert row.settings is None or type(row.settings) is type(default), row.name
    with pytest.raises(UsageError, match="unknown"):
        world_asked("present 7 %")


def test_a_share_of_the_work_is_a_share_of_the_bases(lab, monkeypatch):
    asked = []
    monkeypatch.setattr(present_and_absent, "cells_of", lambda lab, config, world, base: asked.append(base) or [
        cell(world, row, base, 0.5) for row in ("plain", "SFT")])  # fmt: skip
    config = present_and_absent.PresentConfig(worlds=("present 5 %",), bases=5)
    present_and_absent.all_rows(Lab(lab.root, Streams(0), share=(1, 2)), config)
    assert asked == [1, 3]


def test_what_a_hybrid_recovers_is_a_share_of_its_teachers_gap():
    rows = {}
    for base in range(2):
        for teacher, own in (("RL", 0.9), ("SFT", 0.12)):
            for method, success in (
                ("base", 0.1),
                ("teacher", own),
                *((m, 0.5) for m in hybrid_studies.METHODS),
            ):
                rows["present 5 %", base, teacher, method] = hybrid_studies.Row(success=success, taken=0.1)
    found = hybrid_studies.rl_numbers(rows)
    assert found["effect"].value == pytest.approx(0.5)
    assert found["share of tokens"].value == pytest.approx(0.1)
    assert not np.isfinite(hybrid_studies.recovered(rows, "present 5 %", "SFT", "hybrid-disagree")).any()


def test_an_estimate_without_a_value_is_undefined(lab):
    gone = cell("w", "m", 0, 0, said="why")
    assert math.isnan(gain_of(gone, cell("w", "plain", 0, 0.1), lab).value)
    assert isinstance(gain_of(gone, gone, lab), Estimate)


def tiny(bases=1):
    """Settings under which a whole study takes a moment; its numbers say nothing."""

    def config_for(subject, worlds, rows):
        made = present_and_absent.brief(present_and_absent.PresentConfig())
        return replace(made, worlds=tuple(worlds), methods=tuple(rows), bases=bases, samples=4)

    return config_for


def found_by(name, lab):
    claim = CLAIMS[name]
    outcome = claim.study(lab, Subject())
    decides = {claim.threshold.estimand, *(one.name for one in (*claim.gates, *claim.controls))}
    assert decides <= set(outcome.numbers)
    assert {line["key"] for line in outcome.contrasts} == set(outcome.numbers)
    return outcome


@pytest.mark.slow
def test_studies_of_one_run_folder_go_from_pretraining_to_their_numbers(lab, monkeypatch):
    for module in (hybrid_studies, thirteen_numbers, decodable):
        monkeypatch.setattr(module, "config_for", tiny())
    monkeypatch.setattr(hybrid_studies, "BASES", 1)
    monkeypatch.setattr(hybrid_studies, "METHODS", ("hybrid-disagree", "hybrid-planning", "hybrid-rerank",
                                                    "hybrid-random"))  # fmt: skip
    for field, value in {"BASES": 1, "WAYS": decodable.WAYS[::4], "PROBED": 8, "CHOOSING": 1}.items():
        monkeypatch.setattr(decodable, field, value)
    # A base of two steps has no right draws to learn from; what is behind the directions is tested here.
    axes = dict(
        zip(("probe", "difference of means", "random 0", "random 1", "random 2"), np.eye(64), strict=False)
    )
    monkeypatch.setattr(decodable, "directions_of", lambda *given: (axes, 2.0))
    assert len(found_by("few-teacher-tokens-recover-rl", lab).rows) == 2 * 6
    assert len(found_by("hybrids-recover-rl-not-distillation", lab).rows) == 2 * 2 * 6
    assert len(found_by("thirteen-numbers-deploy", lab).rows) == 2 * 4
    steered = found_by("decodable-is-not-steerable", lab)
    assert steered.rows[0]["place"] == ""
    assert all(row["dose"] in decodable.DOSES for row in steered.rows[1:])
    assert steered.numbers["it moves the law"].value > 0


@pytest.mark.slow
def test_the_study_of_the_switch_penalty_runs_to_its_numbers(lab, monkeypatch):
    few = switch_penalty.brief(switch_penalty.SwitchConfig())
    monkeypatch.setitem(switch_penalty.EXPERIMENT.profiles, "demo", few)
    outcome = switch_penalty.study(lab, Subject())
    assert outcome.numbers["effect"].value == pytest.approx(0, abs=1)
    assert outcome.numbers["left to the best time"].value > 0
    assert len(outcome.rows) == 2 * 6


def test_what_thirteen_numbers_do_is_read_against_all_and_against_a_coin():
    one = thirteen_numbers
    found = {}
    for base in range(3):
        for world, arms in (
            (studies.COMMON, {one.PLAIN: 0.3, one.ALL: 0.95, one.SMALL: 0.9, one.COIN: 0.35}),
            (studies.OTHER, {one.PLAIN: 0.1, one.ALL: 0.12, one.SMALL: 0.11, one.TAUGHT: 0.7}),
        ):
            found |= {(world, base, arm): one.Row(success=value) for arm, value in arms.items()}
    numbers = one.numbers_of(found)
    said = {name: round(number.value, 6) for name, number in numbers.items()}
    assert said == {
        "effect": -0.05, "RL learns": 0.65, "13 numbers learn": 0.6, "coin": 0.05,
        "absent": 0.01, "RL, absent": 0.02, "SFT, absent": 0.6,
    }  # fmt: skip


def test_a_probe_is_compared_with_random_directions_and_a_base_without_one_has_no_number():
    def row(success):
        return decodable.Row(success=success, worked=success / 2)

    rows = {"plain": row(0.1), "probe": row(0.4), "difference of means": row(0.3)}
    rows |= {f"random {number}": row(0.1 * number) for number in range(decodable.RANDOMS)}
    whole = decodable.Read(area=0.9, shuffled=0.5, direct=0.6, moved=1.0, rows=rows)
    none = decodable.Read(area=np.nan, shuffled=np.nan, direct=np.nan, moved=np.nan, rows={"plain": row(0.1)})
    numbers = decodable.numbers_of({0: whole, 1: whole, 2: none})
    assert numbers["effect"].value == pytest.approx(0.3)
    assert numbers["random directions"].value == pytest.approx(0.0)
    assert numbers["effect"].seeds == 2
    assert numbers["labels shuffled"].value == pytest.approx(0.5)


def test_the_area_of_a_probe_over_folds_by_problem():
    dice = np.random.default_rng(0)
    problem = np.repeat(np.arange(20), 8)
    right = dice.uniform(size=160) < 0.4
    states = dice.normal(size=(160, 6))
    assert 0.35 < decodable.area(states, right, problem) < 0.65
    states[:, 2] += 4 * right
    assert decodable.area(states, right, problem) > 0.95
    assert np.isnan(decodable.area(states, np.ones(160), problem)), "one kind"
    # What marks a problem and not its right answers is no help on other problems.
    by_problem = right[problem * 8] + 0.0
    marks = np.eye(20)[problem]
    assert decodable.area(marks, by_problem, problem) < 0.7


def test_the_ways_of_steering_reach_the_token_that_decides_between_modes():
    assert {way.place for way in decodable.WAYS} >= {"first_step", "all"}
    assert len(decodable.WAYS) == 12
