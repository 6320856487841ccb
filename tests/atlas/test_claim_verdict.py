"""The verdict of a claim is a pure function of its version and its evidence."""

import dataclasses
import json
import math

import numpy as np
import pytest

from keyturn.atlas import CLAIMS, claim_named
from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.atlas.evidence import append, load, record
from keyturn.atlas.verdict import combine, verdict
from keyturn.core.errors import InputError, NewerError, NumericsError, UsageError
from keyturn.core.identity import identity
from keyturn.core.measurement import Estimate, json_number
from keyturn.core.streams import Streams
from keyturn.experiments.contract import Outcome, Subject


def study(lab, subject):
    raise AssertionError("no verdict runs a study")


CLAIM = Claim(
    id="made",
    version=1,
    question="?",
    statement="x is large",
    source="Ours.",
    threshold=Threshold(estimand="x", says="x", direction=1, smallest=0.5, why="half"),
    gates=(Gate(name="gain", says="it learnt", minimum=0.0),),
    controls=(Gate(name="null", says="the null is null", minimum=-0.1, maximum=0.1),),
    study=study,
    study_says="made",
    refuted_if="x is small",
)


def made(x=(0.8, 0.7, 0.9), gain=(0.2, 0.1, 0.3), null=(0.0, -0.05, 0.05), base="b0", seed=0, claim=CLAIM):
    numbers = {"x": Estimate(*x), "gain": Estimate(*gain), "null": Estimate(*null)}
    return record(claim, Subject(seed=seed), Outcome(numbers=numbers, base=base, base_name=base, run="r", n=30))


def three(**fields):
    return [made(base=f"b{i}", seed=i, **fields) for i in range(3)]


@pytest.mark.parametrize(
    ("x", "state"),
    [
        ((0.8, 0.7, 0.9), "supported"),
        ((0.2, 0.1, 0.3), "contradicted"),
        ((0.5, 0.3, 0.7), "undecided"),
        ((math.nan, math.nan, math.nan), "not applicable"),
    ],
)
def test_the_interval_decides(x, state):
    said = verdict(CLAIM, three(x=x))
    assert said.state == state
    assert said.preliminary == (state == "not applicable")


def test_a_claim_that_predicts_a_small_number_is_read_the_other_way_round():
    small = dataclasses.replace(
        CLAIM, threshold=dataclasses.replace(CLAIM.threshold, direction=-1, smallest=-0.02)
    )
    assert verdict(small, three(x=(-0.2, -0.3, -0.1), claim=small)).state == "supported"
    assert verdict(small, three(x=(0.2, 0.1, 0.3), claim=small)).state == "contradicted"
    assert verdict(small, three(x=(0.0, -0.1, 0.1), claim=small)).state == "undecided"


def test_no_record_is_untested():
    assert verdict(CLAIM, []).state == "untested"


def test_an_unmet_gate_is_not_applicable_and_a_failed_control_invalid():
    assert verdict(CLAIM, three(gain=(0.0, -0.1, 0.1))).state == "not applicable"
    assert verdict(CLAIM, three(null=(0.3, 0.2, 0.4))).state == "invalid"


def test_few_records_or_one_base_are_preliminary():
    assert verdict(CLAIM, three()[:2]).preliminary
    assert verdict(CLAIM, [made(seed=i) for i in range(12)]).preliminary
    assert not verdict(CLAIM, three()).preliminary


def test_an_edited_claim_does_not_inherit_evidence():
    moved = dataclasses.replace(CLAIM, threshold=dataclasses.replace(CLAIM.threshold, smallest=0.1))
    said = verdict(moved, three())
    assert said.state == "untested"
    assert dict(said.left_out) == {"another protocol of the claim": 3}


def test_twelve_seeds_of_one_base_are_not_twelve_bases():
    one = [("b0", Estimate(0.8, 0.5, 1.1))] * 12
    twelve = [(f"b{i}", Estimate(0.8, 0.5, 1.1)) for i in range(12)]
    width = lambda e: e.high - e.low  # noqa: E731
    assert width(combine(one)) == pytest.approx(0.6, rel=0.01)
    assert width(combine(twelve)) == pytest.approx(0.6 / math.sqrt(12), rel=0.01)


def test_spread_between_bases_widens_the_interval_to_its_promise():
    generator = Streams(3).generator("coverage")
    hits = []
    for _ in range(400):
        means = generator.normal(0.3, 0.1, size=4)
        records = [(f"b{i}", Estimate(m, m - 0.01, m + 0.01)) for i, m in enumerate(means)]
        found = combine(records)
        hits.append(found.low <= 0.3 <= found.high)
    assert np.mean(hits) == pytest.approx(0.95, abs=0.035)


def test_evidence_round_trips_counts_once_and_refuses_edits(tmp_path):
    evidence = made()
    path = append(evidence, tmp_path)
    append(evidence, tmp_path)
    assert load("made", tmp_path) == (evidence,)
    row = json.loads(path.read_text().splitlines()[0])
    row["numbers"]["x"]["value"] = 0.99
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match="edited"):
        load("made", tmp_path)


def test_a_run_that_is_repeated_counts_once():
    first, second, _ = three()
    again = dataclasses.replace(first, id="another", made="2031-01-01T00:00:00+00:00")
    said = verdict(CLAIM, [first, second, again])
    assert (said.records, said.preliminary) == (2, True)
    assert said.left_out == (("a run repeated, with the same numbers", 1),)


def test_records_of_other_code_count_and_are_counted(tmp_path):
    """Evidence of an earlier keyturn notes no code; it keeps its name and nothing is said of it."""
    now = CLAIM.code.hash
    codes = zip(three(), ("", now, "0" * 12), strict=True)
    records = [dataclasses.replace(one, code=code) for one, code in codes]
    said = verdict(CLAIM, records)
    assert (said.state, said.records, said.other_code) == (verdict(CLAIM, three()).state, 3, 1)
    assert said.to_json()["other_code"] == 1
    assert verdict(CLAIM, three()).other_code == 0
    assert "code" not in records[0].content()
    assert records[2].content()["code"] == "0" * 12
    noted = record(CLAIM, Subject(), Outcome(numbers={}, base="b", base_name="b", run="", n=1))
    assert noted.code == now
    append(noted, tmp_path)
    assert load(noted.claim, tmp_path) == (noted,)


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS.keys())
def test_every_claim_can_be_supported_refuted_and_left_open(claim):
    inside = {g.name: Estimate(*_inside(g)) for g in (*claim.gates, *claim.controls)}
    for shift, state in ((0.2, "supported"), (-0.2, "contradicted"), (0.0, "undecided")):
        centre = claim.threshold.smallest + claim.threshold.direction * shift
        numbers = {**inside, claim.threshold.estimand: Estimate(centre, centre - 0.1, centre + 0.1)}
        records = [
            record(claim, Subject(seed=i), Outcome(numbers=numbers, base=f"b{i}", base_name="b", run="r", n=9))
            for i in range(3)
        ]
        assert verdict(claim, records).state == state
    assert claim.refuted_if
    assert set(claim.relations) <= set(CLAIMS)


def _inside(gate):
    low = gate.minimum if math.isfinite(gate.minimum) else gate.maximum - 2
    high = gate.maximum if math.isfinite(gate.maximum) else gate.minimum + 2
    return ((low + high) / 2, low + (high - low) / 4, high - (high - low) / 4)


def test_an_unknown_claim_is_answered_with_its_neighbours():
    with pytest.raises(UsageError, match="rl-narrows"):
        claim_named("rl-narrow")


def stored(folder, **changes):
    """A record with some fields changed and its id made to agree, as another program might write it."""
    row = {**made().content(), **changes}
    path = folder / "evidence" / "made.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"id": identity(row, length=32), **row}) + "\n")


@pytest.mark.parametrize("schema", [2, 99])
def test_a_record_of_a_newer_schema_is_refused(tmp_path, schema):
    stored(tmp_path, schema=schema)
    with pytest.raises(NewerError, match=rf"line 1.*schema {schema}.*upgrade"):
        load("made", tmp_path)


WRONG = [
    (0.5, 0.9, 0.1),
    (1.5, 0.1, 0.5),
    (0.0, 0.3, 0.5),
    (math.inf, 0.1, 0.5),
    (0.5, -math.inf, 0.6),
    (0.5, math.nan, 0.6),
    (0.5, 0.1, math.nan),
    (math.nan, 0.1, 0.5),
]


@pytest.mark.parametrize("x", WRONG)
def test_an_interval_that_cannot_be_is_neither_written_nor_read(tmp_path, x):
    with pytest.raises(NumericsError, match="made gave x as"):
        made(x=x)
    numbers = {"x": {k: json_number(v) for k, v in zip(("value", "low", "high"), x, strict=True)}}
    stored(tmp_path, numbers=numbers)
    with pytest.raises(InputError, match=r"line 1: x as .*delete the line"):
        load("made", tmp_path)
    # The advice works.
    path = tmp_path / "evidence" / "made.jsonl"
    path.write_text("")
    good = made()
    append(good, tmp_path)
    assert load("made", tmp_path) == (good,)


@pytest.mark.parametrize("x", [(0.5, 0.5, 0.5), (0.09, 0.1, 0.3), (0.5, math.nan, math.nan), (math.nan,) * 3])
def test_a_number_without_an_interval_or_without_a_width_is_a_record(tmp_path, x):
    append(made(x=x), tmp_path)
    assert len(load("made", tmp_path)) == 1


@pytest.mark.parametrize("field", ["claim", "numbers", "base", "n", "environment", "made"])
def test_a_record_that_lacks_a_field_is_named_by_its_line(tmp_path, field):
    row = {k: v for k, v in made().content().items() if k != field}
    path = tmp_path / "evidence" / "made.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps({"id": identity(row, length=32), **row}) + "\n")
    with pytest.raises(InputError, match=f"line 1: the record lacks something.*{field}"):
        load("made", tmp_path)
