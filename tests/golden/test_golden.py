"""Short trainings and audits give what they gave when the golden file was made.

In the environment of the golden file nothing may differ, not one bit; elsewhere numbers may by a tolerance.
Where a change is wanted: ``python tests/golden/make.py`` says what changed and takes the reason.
"""

import copy
import json

import golden_file
import pytest

KEPT = golden_file.read()


@pytest.fixture(scope="module")
def taken():
    return golden_file.take()


@pytest.mark.slow
@pytest.mark.parametrize("name", KEPT["runs"])
def test_a_run_gives_what_it_gave(taken, name):
    exact = taken["environment"] == KEPT["environment"]
    changed = list(golden_file.differences(KEPT["runs"][name], taken["runs"][name], exact))
    shown = "\n".join(changed[:20])
    assert not changed, f"{len(changed)} differences ({'exact' if exact else 'with a tolerance'}):\n{shown}"


@pytest.fixture(scope="module")
def taken_natively():
    return golden_file.take(native=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", KEPT["runs"])
def test_the_native_engine_gives_it_too(taken, taken_natively, name):
    """The same draws, token for token, and numbers within the tolerance."""
    ours, theirs = taken_natively["runs"][name], taken["runs"][name]
    assert not list(golden_file.differences(KEPT["runs"][name], ours, False))
    assert ours["drawn"] == theirs["drawn"]
    if name in ("grpo", "rloo", "hicra"):
        assert ours["weights"] != theirs["weights"]  # or torch has answered


@pytest.mark.slow
def test_no_run_is_missing(taken):
    assert list(taken["runs"]) == list(KEPT["runs"])


def first(name):
    return copy.deepcopy(KEPT["runs"][name])


@pytest.mark.parametrize("exact", [True, False])
def test_the_comparison_sees_a_loss_of_the_other_sign_a_moved_interval_and_a_lost_row(exact):
    kept = first("grpo")
    assert not list(golden_file.differences(kept, first("grpo"), exact))
    flipped = first("grpo")
    flipped["steps"][0]["loss"] *= -1
    assert len(list(golden_file.differences(kept, flipped, exact))) == 1
    shorter = first("grpo")
    shorter["steps"].pop()
    assert list(golden_file.differences(kept, shorter, exact))
    kept = first("audit of samples")
    moved = first("audit of samples")
    moved["verdict"]["masses"]["deployed"]["low"] += 0.002
    assert len(list(golden_file.differences(kept, moved, exact))) == 1
    renamed = first("audit of samples")
    renamed["verdict"]["label"] = "created"
    assert len(list(golden_file.differences(kept, renamed, exact))) == 1


def test_only_the_same_environment_compares_to_the_bit():
    kept, other = first("grpo"), first("grpo")
    other["weights"] = "0" * 16
    other["steps"][0]["loss"] += 1e-9
    assert len(list(golden_file.differences(kept, other, True))) == 2
    assert not list(golden_file.differences(kept, other, False))


def test_the_golden_runs_teach_something_and_the_audit_decides():
    """A golden run in which nothing happens would pass whatever the code does."""
    for name in ("grpo", "rloo", "hicra", "sft-then-rl"):
        steps = KEPT["runs"][name]["steps"]
        assert any(row["groups/mixed"] > 0 and row["grad_norm"] > 0 for row in steps), name
    assert KEPT["runs"]["audit of samples"]["verdict"]["label"] == "deployed"


def test_the_file_is_written_as_make_writes_it():
    text = golden_file.KEPT.read_text(encoding="utf-8")
    assert text == golden_file.text(json.loads(text)) + "\n"
