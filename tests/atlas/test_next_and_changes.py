"""What to run next follows from what waits; what moved names its record, updates apart from amendments."""

import dataclasses

import pytest

from keyturn.atlas import CLAIMS
from keyturn.atlas.changes import changes, read_snapshot, snapshot
from keyturn.atlas.collection import load_atlas
from keyturn.atlas.evidence import MINE
from keyturn.atlas.known import Known, load_known
from keyturn.atlas.next_runs import next_runs
from keyturn.atlas.states import SETTLED, all_states
from keyturn.core.errors import InputError
from keyturn.core.measurement import Estimate
from keyturn.core.rundir import write_json


@pytest.fixture(scope="module")
def shipped():
    return load_atlas(), load_known(None)


def test_what_waits_is_ranked_by_facts_and_questions_a_minute(shipped):
    atlas, known = shipped
    found = next_runs(atlas, known)
    states = all_states(atlas, known)
    assert [one.worth for one in found] == sorted((one.worth for one in found), reverse=True)
    assert len({one.by for one in found}) == len(found)
    for one in found:
        assert not {states.facts[fact].state for fact in one.facts} & SETTLED
        assert bool(one.command) == one.written == (one.by in CLAIMS)
        asking = [q for q in atlas.questions.values() if one.by in (*q.experiments, *q.claims)]
        assert set(one.questions) <= {q.id for q in asking}
    by = {one.by: one for one in found}
    # The counts of the specification, and the worked and flagship questions that were added since.
    assert 20 <= len(by["hybrid-recovers-the-gap"].questions) <= 23
    assert 22 <= len(by["long-rl-on-new-tasks"].questions) <= 25
    assert len(by["imitation-hollows-steps"].questions) == 15


def moved(known, claim, number, estimate):
    """The records and one of mine, in which a number is another one."""
    old = known.of(claim)[0]
    new = dataclasses.replace(
        old, seed=77, origin=MINE, numbers={**old.numbers, number: Estimate(*estimate)}, made="2030-01-01"
    )
    return Known(records={**known.records, claim: (new,)}, seeds=known.seeds), new


def test_a_fact_that_has_come_to_hold_no_longer_waits(shipped):
    atlas, known = shipped
    before = {one.by: one for one in next_runs(atlas, known)}
    assert "two-phases/3" in before["hicra-beats-grpo"].facts
    more, _ = moved(known, "hicra-beats-grpo", "effect", (0.1, 0.09, 0.11))
    after = {one.by: one for one in next_runs(atlas, more)}
    assert "hicra-beats-grpo" not in after or "two-phases/3" not in after["hicra-beats-grpo"].facts


def test_what_moved_names_the_record(shipped):
    atlas, known = shipped
    more, record = moved(known, "hicra-beats-grpo", "effect", (0.1, 0.09, 0.11))
    (one,) = changes(snapshot(atlas, known), snapshot(atlas, more))
    assert (one.fact, one.before, one.after, one.kind) == ("two-phases/3", "open", "holds", "update")
    assert one.records == (record.id, f"-{known.of('hicra-beats-grpo')[0].id}")
    assert changes(snapshot(atlas, known), snapshot(atlas, known)) == ()


def test_a_bound_that_moved_is_an_amendment(shipped):
    atlas, known = shipped
    note = atlas.notes["two-phases"]
    facts = []
    for fact in note.facts:
        readings = tuple(dataclasses.replace(one, bound=-0.5) for one in fact.readings)
        facts.append(dataclasses.replace(fact, readings=readings))
    other = dataclasses.replace(
        atlas, notes={**atlas.notes, note.id: dataclasses.replace(note, facts=tuple(facts))}
    )
    found = {one.fact: one for one in changes(snapshot(atlas, known), snapshot(other, known))}
    assert found["two-phases/3"].kind == "amendment"
    assert found["two-phases/3"].amended == ("two-phases/3:hicra-beats-grpo:effect",)
    assert found["two-phases/3"].records == ()


def test_a_fact_that_came_or_went_is_an_amendment(shipped, own, note):
    atlas, known = shipped
    more = load_atlas(own({"notes/mine.md": note}))
    (came,) = changes(snapshot(atlas, known), snapshot(more, known))
    assert (came.fact, came.before, came.kind) == ("mine/1", "absent", "amendment")
    (went,) = changes(snapshot(more, known), snapshot(atlas, known))
    assert (went.fact, went.after) == ("mine/1", "absent")


def test_a_snapshot_survives_its_file(shipped, tmp_path):
    atlas, known = shipped
    now = snapshot(atlas, known)
    write_json(tmp_path / "states.json", now.to_json())
    assert changes(now, read_snapshot(tmp_path / "states.json")) == ()
    write_json(tmp_path / "other.json", {"schema": now.to_json()["schema"]})
    with pytest.raises(InputError, match="holds no states"):
        read_snapshot(tmp_path / "other.json")
