"""The state of a fact follows from its readings, and that of a reading from the records."""

import math
from dataclasses import replace

import pytest

from keyturn.atlas import CLAIMS
from keyturn.atlas.collection import Reading, load_atlas
from keyturn.atlas.collection.objects import Place
from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.atlas.evidence import MINE, SHIPPED, Evidence, Origin
from keyturn.atlas.evidence import record as record_of
from keyturn.atlas.known import Known, load_known
from keyturn.atlas.readings import reading_state
from keyturn.atlas.states import all_states, counts, fact_state
from keyturn.core.measurement import Estimate
from keyturn.experiments.contract import Outcome, Subject


def study(lab, subject):
    return Outcome(numbers={}, base="", base_name="", run="", n=0)


CLAIM = Claim(
    id="made",
    version=1,
    question="?",
    statement="!",
    source="none",
    threshold=Threshold(estimand="effect", says="effect", direction=1, smallest=0.0, why=""),
    gates=(Gate(name="gate", says="something was learnt", minimum=0.0),),
    controls=(Gate(name="control", says="a placebo does nothing", maximum=0.1),),
    study=study,
    study_says="",
    refuted_if="",
)


def reading(number="effect", counts=">=", bound=0.05, how="tests", gates=None, illustrative=False):
    return Reading(
        fact="a/1",
        claim="made",
        number=number,
        counts=counts,
        bound=bound,
        how=how,
        where="in a made world",
        says="it is so",
        otherwise="it is not so",
        gates=gates,
        illustrative=illustrative,
        place=Place(file="made", line=1),
    )


def record(effect, *, gate=(1, 0.9, 1.1), control=(0, -0.05, 0.05), seed=0, base="b", origin=MINE, basis=None):
    numbers = {"effect": effect, "gate": gate, "control": control}
    return Evidence(
        claim="made",
        version=1,
        claim_hash=CLAIM.hash,
        base=base,
        base_name=base,
        seed=seed,
        numbers={name: Estimate(*map(float, ends)) for name, ends in numbers.items()},
        n=8,
        run="made",
        environment={},
        made=f"2026-01-01T00:00:0{seed}",
        origin=origin,
        basis=basis or {},
    )


def state(one, *records):
    return reading_state(one, CLAIM, Known(records={"made": records}))


@pytest.mark.parametrize(
    ("effect", "counts", "outcome"),
    [
        ((0.1, 0.06, 0.14), ">=", "holds"),
        ((0.1, 0.05, 0.15), ">=", "holds"),
        ((0.1, 0.04, 0.16), ">=", "open"),
        ((0.0, -0.04, 0.04), ">=", "fails"),
        ((0.0, -0.04, 0.04), "<=", "holds"),
        ((0.1, 0.06, 0.14), "<=", "fails"),
        ((0.1, 0.04, 0.16), "<=", "open"),
        ((0.1, 0.1, 0.1), ">=", "open"),
        ((0.1, math.nan, math.nan), ">=", "open"),
        ((math.nan, math.nan, math.nan), ">=", "not applicable"),
    ],
)
def test_the_whole_interval_decides(effect, counts, outcome):
    assert state(reading(counts=counts), record(effect)).outcome == outcome


def test_a_number_without_spread_decides_only_if_it_is_declared_exact():
    assert not state(reading(), record((0.1, 0.1, 0.1))).spread
    exact = state(reading(), record((0.1, 0.1, 0.1), basis={"effect": "exact"}))
    assert exact.outcome == "holds"


def test_controls_and_the_named_gates_come_first():
    good = (0.1, 0.06, 0.14)
    failed = state(reading(), record(good, control=(0.2, 0.1, 0.3)))
    assert failed.outcome == "invalid"
    assert "a placebo does nothing" in failed.why
    idle = record(good, gate=(0, -0.1, 0.1))
    assert state(reading(), idle).outcome == "not applicable"
    assert state(reading(gates=()), idle).outcome == "holds", "the reading does not need that gate"
    assert state(reading(gates=("gate",)), idle).outcome == "not applicable"
    assert state(reading()).outcome == "no record"
    assert state(reading("another"), record(good)).outcome == "not applicable"
    assert reading_state(reading(), None, Known(records={})).outcome == "no record"


def test_records_of_another_protocol_and_reported_numbers_do_not_count():
    reported = record((0.1, 0.06, 0.14), origin=Origin(kind="reported", whom="arXiv:1"))
    assert state(reading(), reported).outcome == "no record"
    other = replace(record((0.1, 0.06, 0.14)), claim_hash="another")
    assert state(reading(), other).outcome == "no record"


def test_ten_copies_are_one_record():
    one = record((0.1, 0.04, 0.16))
    assert state(reading(), *[one] * 10) == state(reading(), one)


def test_origins_that_contradict_each_other_split_a_reading():
    here = record((0.2, 0.15, 0.25), seed=1)
    there = record((0.0, -0.04, 0.04), seed=2, origin=Origin(kind="imported", whom="a friend"))
    found = state(reading(), here, there)
    assert found.outcome == "split"
    assert found.origins == ("mine", "imported")
    assert state(reading(), here, record((0.2, 0.1, 0.3), seed=2, origin=SHIPPED)).outcome == "holds"


def test_an_illustrative_bound_tests_once_a_new_record_comes_in():
    old = record((0.1, 0.06, 0.14), origin=SHIPPED)
    assert state(reading(illustrative=True), old).illustrates
    assert not state(reading(illustrative=True), old, record((0.1, 0.06, 0.14), seed=1)).illustrates
    assert not state(reading(), old).illustrates


def outcomes(*pairs):
    effects = {
        "holds": (0.1, 0.06, 0.14),
        "fails": (0, -0.04, 0.04),
        "open": (0.1, 0.0, 0.2),
        "flat": (1, 1, 1),
    }
    found = []
    for how, outcome in pairs:
        records = () if outcome == "none" else (record(effects[outcome]),)
        found.append(state(reading(how=how), *records))
    return found


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ((), "no reading"),
        ((("tests", "none"),), "no sound record"),
        ((("bears", "none"),), "no sound record"),
        ((("bears", "holds"),), "indication only"),
        ((("bears", "flat"),), "no sound record"),
        ((("tests", "none"), ("bears", "fails")), "indication only"),
        ((("tests", "holds"), ("bears", "fails")), "holds"),
        ((("tests", "holds"), ("tests", "none")), "holds"),
        ((("tests", "holds"), ("tests", "open")), "open"),
        ((("tests", "fails"), ("tests", "open")), "fails"),
        ((("tests", "holds"), ("tests", "fails")), "split"),
        ((("tests", "flat"),), "open"),
    ],
)
def test_the_state_of_a_fact(pairs, expected):
    assert fact_state(outcomes(*pairs)) == expected


def test_what_ships_is_in_the_states_that_the_records_give():
    """They move when a record, a reading or a rule does.

    The collection was made with 10, 6, 5 and 9: since then three seeds that agree have an interval over
    problems, by which imitating an expert of another style does lower success at first, and atoms-compose was
    run, by which RL does not only surface what the base has. Four readings of claims about elicitation came
    later: a vote over many draws stays behind, two are indications, the penalty on switching has no record yet.
    """
    atlas = load_atlas()
    found = all_states(atlas, load_known(None))
    assert counts(atlas, found) == {
        "holds": 12,
        "fails": 7,
        "split": 0,
        "open": 4,
        "indication only": 9,
        "no sound record": 13,
        "no reading": 20,
    }
    assert found.facts["latent-reasoning/1"].state == found.facts["create-or-deploy/2"].state == "holds"
    assert found.facts["when-to-think/1"].lead


def test_a_claims_colour_does_not_colour_a_fact():
    """Step rewards teach where no rollout succeeds, although imitating the steps does better still."""
    found = all_states(load_atlas(), load_known(None))
    assert found.facts["expert-steps/1"].state == "holds"
    assert found.facts["when-to-think/1"].state == "holds"
    assert found.facts["few-demonstrations/1"].state == "holds"


def test_a_reading_of_one_base_reads_the_records_of_that_base_alone():
    """The shipped records of rl-deploys are of two bases, of which one reading is about GRAPH."""
    found = all_states(load_atlas(), load_known(None)).readings
    (one,) = [state for state in found.values() if state.reading.claim == "rl-deploys"]
    assert one.reading.base == "graph"
    assert (one.outcome, len(one.records), len(one.bases)) == ("holds", 3, 1)
    anywhere = reading_state(replace(one.reading, base=""), CLAIMS["rl-deploys"], load_known(None))
    assert (len(anywhere.records), len(anywhere.bases)) == (6, 2)
    nowhere = reading_state(replace(one.reading, base="qwen"), CLAIMS["rl-deploys"], load_known(None))
    assert nowhere.outcome == "no record"
    assert "on the base qwen" in nowhere.why


def test_another_base_of_the_same_world_counts_and_another_model_does_not():
    known, claim = load_known(None), CLAIMS["one-example-nearly-suffices"]
    (shipped,) = known.of(claim.id)
    one = load_atlas().readings["one-example/1:one-example-nearly-suffices:effect"]
    other = replace(shipped, base="0123456789ab", base_name="mine", seed=1)
    cousin = replace(other, environment={**other.environment, "world": "graph"})
    for brought, bases in ((other, 1), (cousin, 2)):
        with_it = Known(records={claim.id: (shipped, brought)}, seeds=known.seeds)
        assert len(reading_state(one, claim, with_it).bases) == bases


def test_a_record_of_a_base_in_a_folder_names_its_world(tmp_path):
    from keyturn.auditing.embedded import MODELS

    made = study(None, None)
    assert record_of(CLAIM, Subject(base=str(MODELS / "chain")), made).environment["world"] == "chain"
    assert "world" not in record_of(CLAIM, Subject(base="graph"), made).environment
    assert record_of(CLAIM, Subject(), made).base_name == "made by the study"


def test_controls_that_failed_in_most_runs_leave_no_sound_record():
    """rl-narrows: two halves of the base's draws agree closely enough in one run of three on GRAPH."""
    found = all_states(load_atlas(), load_known(None)).readings
    (one,) = [state for state in found.values() if state.reading.claim == "rl-narrows"]
    assert one.outcome == "invalid"
