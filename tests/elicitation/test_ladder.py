"""The causal ladder: nothing is claimed above a rung that fails, and a probe on its own problems is refused."""

from dataclasses import replace

import made_asked
import numpy as np
import pytest

from keyturn.core.errors import InputError
from keyturn.core.measurement import Measurement
from keyturn.core.streams import Streams
from keyturn.elicitation import ladder
from keyturn.elicitation.directions import direction
from keyturn.elicitation.ladder import Ladder, Rung, climb
from keyturn.elicitation.ladder_climb import Direction
from keyturn.elicitation.ladder_controls import (
    Patched,
    alike,
    areas_within,
    axes_apart,
    parts_of_donors,
    shuffled_areas,
)
from keyturn.lab.lab import Lab
from keyturn.policies.interventions import Intervention
from keyturn.policies.sites import Site
from keyturn.policies.steered import SteeredPolicy
from keyturn.policies.taps import ActivationTap, tap

WORD = "w7"


def says(drawn, _):
    return np.array([WORD in text.split() for text in drawn.texts])


def towards_a_word(asked, length):
    """The direction that raises one word's logit, at the last layer."""
    model = asked.policy.model
    head = model.get_output_embeddings().weight.detach().double().numpy()
    row = head[asked.policy.tokenizer.convert_tokens_to_ids(WORD)]
    last = len(model.model.layers) - 1
    return Direction(
        vector=row / np.linalg.norm(row),
        length=length,
        site=Site(layer=last),
        where="all",
        made_from=frozenset(),
    )


class Straight:
    """Draws at once, and keeps nothing."""

    def __init__(self, asked):
        self.streams = asked.streams

    def draw(self, policy, problems, draws, limits, *, name):
        return None, policy.draw(problems, draws, self.streams, limits)


def measured(value=1.0):
    return Measurement(name="x", value=value, n=2, unit="rate")


def test_nothing_is_claimed_above_the_first_rung_that_does_not_hold():
    rungs = [Rung(name=str(number), found=measured(), passes=True, why="") for number in range(4)]
    rungs[1] = replace(rungs[1], passes=False)
    found = Ladder(rungs=tuple(rungs))
    assert found.highest == 1
    assert found.states == ("holds", "does not hold", "not claimed", "not claimed")
    rungs[1] = replace(rungs[1], found=None, why="no dose")
    assert Ladder(rungs=tuple(rungs)).states[1:3] == ("not measured", "not claimed")
    assert Ladder(rungs=tuple(rungs[2:])).highest == 2
    record = Ladder(rungs=tuple(rungs)).to_json()
    assert record["rungs"][0]["state"] == "holds"
    assert record["rungs"][1]["measured"] is None


def test_areas_are_taken_within_problems():
    score, problem = np.array([5.0, 6.0, 1.0, 2.0, 2.0, 9.0]), np.array([0, 0, 1, 1, 1, 2])
    shown = np.array([False, True, False, True, False, True])
    assert areas_within(score, shown, problem, 3)[:2].tolist() == [1.0, 0.75]
    assert np.isnan(areas_within(score, shown, problem, 3)[2])


def test_a_probe_reads_noise_on_its_own_problems_and_not_on_others():
    dice = np.random.default_rng(2)
    states, problem = dice.normal(size=(96, 40)), np.repeat(np.arange(24), 4)
    shown = np.tile([True, False, True, False], 24)
    fitted = problem < 12
    probe = direction("logistic", states[fitted & shown], states[fitted & ~shown], Streams(0))
    score = states @ probe
    null = shuffled_areas(score[~fitted], shown[~fitted], problem[~fitted] - 12, 12, dice)
    own = np.mean(areas_within(score[fitted], shown[fitted], problem[fitted], 12))
    other = np.mean(areas_within(score[~fitted], shown[~fitted], problem[~fitted] - 12, 12))
    low, high = np.quantile(null, [0.025, 0.975])
    assert own > high + 0.1, "scored where it was fitted, a probe reads what is not there"
    assert low < other < high


def test_a_direction_made_from_the_problems_that_are_asked_is_refused(tmp_path):
    asked = made_asked.made(draws=range(2))
    given = replace(towards_a_word(asked, 1.0), made_from=frozenset([asked.problems.problems[1].prompt]))
    with pytest.raises(InputError, match="1 of the problems") as refused:
        climb(Lab(tmp_path, Streams(0)), asked, given, says)
    assert "other problems" in refused.value.fix
    assert not (tmp_path / "stages").exists()


def test_control_directions_have_the_moment_of_the_vector_and_none_of_it():
    dice = np.random.default_rng(3)
    states = dice.normal(size=(400, 12)) * np.linspace(0.2, 3.0, 12)
    vector = np.eye(12)[6]
    found = alike(states, vector, 4, dice)
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    assert np.allclose(found @ vector, 0, atol=1e-9)
    assert ((states @ found.T) ** 2).mean(axis=0) == pytest.approx(((states @ vector) ** 2).mean(), rel=1e-6)
    assert np.ptp(found, axis=0).max() > 0.1, "they differ"
    axes = axes_apart(states, vector, 3)
    assert axes.shape == (3, 12)
    assert np.allclose(axes @ vector, 0, atol=1e-9)
    assert abs(axes[0, 11]) > 0.8
    assert len(axes_apart(states, vector, 30)) == 11


def test_patching_a_run_with_its_own_part_changes_nothing_and_with_anothers_does():
    asked = made_asked.made(draws=range(1), tokens=4)
    given = towards_a_word(asked, 1.0)
    problems = asked.problems.problems
    plain = asked.policy.draw(problems, asked.draws, asked.streams, asked.limits)
    what = ActivationTap(sites=(given.site,), positions="completion", reduce="none", sinks=0)
    found = tap(asked.policy, plain, what)
    place = found.position - np.diff(plain.prompts.offsets)[plain.problem][found.row]
    parts = found.states[0].astype(float) @ given.vector

    def drawn(table):
        change = Patched(vector=given.vector, table=table)
        one = Intervention(name="patch", site=given.site, function=change, mode="function")
        return SteeredPolicy(asked.policy, [one]).draw(problems, asked.draws, asked.streams, asked.limits)

    own = parts_of_donors(parts, found.row, place, np.arange(3))
    assert drawn(own).tokens.tolist() == plain.tokens.tolist()
    assert drawn(own + 50.0).tokens.tolist() != plain.tokens.tolist()


@pytest.fixture
def few(monkeypatch):
    for name, value in {"RANDOMS": 2, "OTHERS": 1, "PROJECTIONS": 1, "DOSES": (2.0,), "FLUENT": 50.0}.items():
        monkeypatch.setattr(ladder, name, value)


def test_a_planted_direction_moves_its_word_and_nothing_is_claimed_without_reading_it(few):
    asked = made_asked.made(draws=range(4), tokens=4, lengths=(4, 6, 5, 3))
    found = climb(Straight(asked), asked, towards_a_word(asked, 8.0), says)
    passed = {one.name: one.passes for one in found.rungs}
    assert passed["moves"]
    assert passed["specific"]
    assert not passed["accuracy"], "the word is no right answer"
    assert not passed["decodes"], "no draw of this model is long enough to tell"
    assert found.highest == 0
    assert found.states[1:3] == ("not claimed", "not claimed")


def test_what_cannot_be_measured_says_why(few, monkeypatch):
    monkeypatch.setattr(ladder, "FLUENT", -50.0)
    asked = made_asked.made(draws=range(2), tokens=2)
    never = climb(Straight(asked), asked, towards_a_word(asked, 1.0), lambda _, right: right > 2)
    assert set(never.states) == {"not measured"}
    assert [one.why for one in never.rungs][2:4] == [
        "no dose keeps texts fluent",
        "no plain draw shows the behaviour",
    ]
    assert "nats a token" in never.rungs[1].why
