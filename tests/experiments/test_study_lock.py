"""A study's code changes with its version, or with a reason; words and names of variables do not count."""

from dataclasses import replace

import pytest
import study_lock
from edited_sources import edit

from keyturn.atlas import CLAIMS

NAME = "one-example-nearly-suffices"
STUDY = "experiments/one_example_nearly_suffices.py"
RECIPE = "methods/one_shot/selection.py"
FEW = {name: CLAIMS[name] for name in (NAME, "rl-narrows")}


def test_no_study_changed_without_its_version():
    said = study_lock.message(study_lock.read(), study_lock.taken())
    assert not said, f"\n{said}"


def test_every_claim_is_locked_on_code_of_its_own():
    locked = study_lock.read()
    assert set(locked["studies"]) == set(CLAIMS)
    assert len({study["code"] for study in locked["studies"].values()}) > len(CLAIMS) / 2
    assert all(name.startswith(("experiments.", "methods.")) for name in locked["definitions"])


@pytest.fixture
def locked():
    return study_lock.lock({"studies": {}, "definitions": {}, "because": []}, study_lock.taken(FEW))


CHANGES = {
    "the study": (STUDY, "pool=64", "pool=65"),
    "its recipe": (RECIPE, "np.isnan(spread), np.inf, -spread", "np.isnan(spread), np.inf, spread"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_asks_for_a_version_and_is_locked_with_one(change, locked, monkeypatch):
    assert not study_lock.message(locked, study_lock.taken(FEW))
    edit(monkeypatch, *CHANGES[change])
    now = study_lock.taken(FEW)
    said = study_lock.message(locked, now)
    assert f"{NAME} runs on other code under the same version {FEW[NAME].version}: raise the version" in said
    assert "rl-narrows" not in said
    assert "study_lock.py --lock" in said
    assert CHANGES[change][0].removesuffix(".py").replace("/", ".") in said
    with pytest.raises(SystemExit, match="raise the version"):
        study_lock.lock(locked, now)
    # What the message says works, either way.
    raised = FEW | {NAME: replace(FEW[NAME], version=FEW[NAME].version + 1)}
    assert "another version" in study_lock.message(locked, study_lock.taken(raised))
    again = study_lock.lock(locked, study_lock.taken(raised))
    assert not study_lock.message(again, study_lock.taken(raised))
    assert again["because"] == []
    kept = study_lock.lock(locked, now, "golden runs are the same")
    assert not study_lock.message(kept, now)
    assert kept["because"] == [{"studies": [NAME], "why": "golden runs are the same"}]


HARMLESS = {
    "a local variable": (STUDY, "past", "before", 0),
    "a docstring": (
        STUDY,
        '"""Compare one example of each available kind',
        '"""Compare an example of each available kind',
        1,
    ),
    "what lies below": ("measures/pass_at_k.py", "def measure", "def measured", 1),
}


@pytest.mark.parametrize("change", HARMLESS)
def test_words_and_names_of_variables_do_not_trip_it(change, locked, monkeypatch):
    edit(monkeypatch, *HARMLESS[change])
    assert not study_lock.message(locked, study_lock.taken(FEW))


def test_another_protocol_always_asks_for_a_version(locked):
    claim = FEW[NAME]
    moved = FEW | {NAME: replace(claim, threshold=replace(claim.threshold, smallest=-0.5))}
    now = study_lock.taken(moved)
    assert "another protocol under the same version" in study_lock.message(locked, now)
    with pytest.raises(SystemExit, match="raise the version"):
        study_lock.lock(locked, now, "nobody will notice")
    said = FEW | {NAME: replace(claim, statement="In other words.", relations={}, source="elsewhere")}
    assert not study_lock.message(locked, study_lock.taken(said))


def test_new_and_lost_claims_are_named(locked):
    assert "rl-narrows is in the lock and gone" in study_lock.message(
        locked, study_lock.taken({NAME: FEW[NAME]})
    )
    more = study_lock.taken(FEW | {"hicra-beats-grpo": CLAIMS["hicra-beats-grpo"]})
    assert "hicra-beats-grpo is not in the lock" in study_lock.message(locked, more)
    assert not study_lock.message(study_lock.lock(locked, more), more)
