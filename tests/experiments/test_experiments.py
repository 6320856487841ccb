"""Every experiment: what it says of itself, and its first steps on a base of its own."""

import pytest

from keyturn.core.streams import Streams
from keyturn.experiments import EXPERIMENTS
from keyturn.lab.lab import Lab
from keyturn.methods.contract import PROFILES
from keyturn.policies.loading import load_policy


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_says_what_it_is(name):
    one = EXPERIMENTS[name]
    assert one.name == name
    assert set(one.profiles) == set(PROFILES)
    assert all((one.summary, one.source, one.cost))
    assert len({type(config) for config in one.profiles.values()}) == 1
    for config in one.profiles.values():
        assert type(one.brief(config)) is type(config)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_first_steps_of_the_demo_run_and_are_found_again(name, tmp_path):
    one = EXPERIMENTS[name]
    config = one.brief(one.profiles["demo"])
    result = one.run(Lab(tmp_path, Streams(0)), config)
    # A base of two steps succeeds nowhere, so RL may leave its weights as they are.
    for slot in ("base", "policy"):
        assert load_policy(result.policies[slot]).fingerprint
        assert str(tmp_path) in str(result.policies[slot]), "the base is made here"
    assert result.policies["base"] != result.policies["policy"]
    assert result.rows
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.glob("stages/*/DONE"))
    again = one.run(Lab(tmp_path, Streams(0)), config)
    assert (again.policies, again.rows) == (result.policies, result.rows)
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.glob("stages/*/DONE")) == before
