"""The study of hybrids with vectors: numbers from made cells, and every arm once on a real base."""

from dataclasses import replace

import numpy as np
import pytest

from keyturn.core.streams import Streams
from keyturn.experiments import vector_studies as studies
from keyturn.experiments.elicitation_studies import OTHER, RARE
from keyturn.experiments.present_and_absent import EXPERIMENT, Cell, brief
from keyturn.lab.lab import Lab

SHARES = {
    studies.FULL: 0.7,
    studies.RANDOM: 0.3,
    studies.BIAS: 0.6,
    "random places": 0.1,
    "teacher's token": 0.8,
    studies.NETWORK_FULL: 0.5,
    "network: random vectors": 0.4,
}
"""Arm -> success, of bases whose teacher has .9 and that have .1 alone."""


def cell(world, base, row, success, problems=40):
    right = np.zeros(problems)
    right[: round(success * problems)] = 1.0
    # Bases differ in which problems they solve, and a little in how many.
    right[: base + 1] = 1.0
    return Cell(world=world, base=base, row=row, control=False, success=np.roll(right, base))


def found(prompted=0.3):
    cells = []
    for world, teachers in studies.TEACHERS.items():
        for base in range(2):
            cells += [cell(world, base, "base", 0.1), cell(world, base, studies.PROMPTED, prompted)]
            for teacher in teachers:
                cells.append(cell(world, base, teacher, 0.9))
                cells += [cell(world, base, f"{teacher}: {arm}", share) for arm, share in SHARES.items()]
    return studies.Found(cells=tuple(cells), facts={}, bases=2)


def test_the_numbers_of_the_claim_are_differences_of_success(tmp_path):
    lab = Lab(tmp_path, Streams(0))
    numbers = studies.numbers_of(found(), lab)
    assert numbers["effect"].value == pytest.approx(0.4)
    assert numbers["effect"].basis == "problems", "both bases agree exactly, so the interval is over problems"
    assert numbers["effect"].low < 0.4 < numbers["effect"].high
    assert numbers["RL learns"].value == pytest.approx(0.8)
    assert numbers["the hybrid works"].value == pytest.approx(0.6)
    assert numbers["random places"].value == pytest.approx(0.0)
    assert numbers["against the prompt"].value == pytest.approx(0.4)
    assert numbers["recovered, RL"].value == pytest.approx(0.6 / 0.8)
    assert {"effect", "RL learns", "the hybrid works", "random places"} <= set(numbers)


def test_a_share_needs_a_gain_to_be_a_share_of(tmp_path):
    lab = Lab(tmp_path, Streams(0))
    lines = {(one["row"], one["seed"]): one for one in studies.lines_of(found(prompted=0.9), lab)}
    own = lines[f"RL: {studies.FULL}", 0]
    assert own["recovered"] == pytest.approx(0.75)
    assert own["recovered over prompt"] is None, "the prompt does all that the teacher does"
    assert own["gain low"] < own["gain"] < own["gain high"]


def test_an_arm_that_could_not_work_has_no_number(tmp_path):
    whole = found()
    mute = [
        replace(one, success=np.zeros(0), said="no")
        if one.row == f"RL: {studies.RANDOM}" and not one.base
        else one
        for one in whole.cells
    ]
    numbers = studies.numbers_of(replace(whole, cells=tuple(mute)), Lab(tmp_path, Streams(0)))
    assert numbers["effect"].seeds == 1


@pytest.mark.slow
def test_every_arm_runs_on_a_base(tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "TEACHERS", {RARE: ("SFT",), OTHER: ("SFT",)})
    lab, config = Lab(tmp_path, Streams(0)), brief(EXPERIMENT.profiles["demo"])
    made = list(studies.cells_of(lab, config, RARE, 0))
    rows = {one.row for one, _ in made}
    arms = {
        *studies.GRID_ARMS,
        *studies.NETWORK_ARMS,
        *studies.TOKEN_ARMS,
        "student gate",
        "vectors of clusters",
    }
    assert rows == {"base", studies.PROMPTED, "SFT", *(f"SFT: {arm}" for arm in arms)}
    facts = {one.row: own for one, own in made}
    assert {"ari", "nmi", "agreement"} <= set(facts["SFT: vectors of clusters"])
    assert all(one.costs for one, _ in made if one.row.startswith("SFT: ") and not one.said)
