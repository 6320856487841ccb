"""The verdict of a claim is a pure function of its version and its evidence."""

import dataclasses
import json
import math

import numpy as np
import pytest

from keyturn.atlas import CLAIMS, claim_named, store
from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.atlas.evidence import RECORD_SCHEMA, SHIPPED, Origin, digest_of, merged, record
from keyturn.atlas.store import append, line_of, load
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
    default=Subject(base="graph"),
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
    again = dataclasses.replace(first, made="2031-01-01T00:00:00+00:00", run="elsewhere", code="0" * 12)
    said = verdict(CLAIM, [first, second, again])
    assert (said.records, said.preliminary) == (2, True)
    assert said.left_out == (("a run repeated", 1),)


def test_records_of_other_code_count_and_are_counted(tmp_path):
    """Evidence of an earlier keyturn notes no code; it keeps its name and nothing is said of it."""
    now = CLAIM.code.hash
    codes = zip(three(), ("", now, "0" * 12), strict=True)
    records = [dataclasses.replace(one, code=code) for one, code in codes]
    said = verdict(CLAIM, records)
    assert (said.state, said.records, said.other_code) == (verdict(CLAIM, three()).state, 3, 1)
    assert said.to_json()["other_code"] == 1
    assert verdict(CLAIM, three()).other_code == 0
    assert records[0].content()["code"] == ""
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


GONE = object()


def stored(folder, **changes):
    """A record with some fields changed and its id made to agree, as another program might write it."""
    row = {**made().content(), **changes}
    write(folder, {name: value for name, value in row.items() if value is not GONE})


def write(folder, *rows):
    """Rows as a file of a home, each with the digest of what it says."""
    path = folder / "evidence" / "made.jsonl"
    path.parent.mkdir(exist_ok=True)
    lines = [json.dumps({"digest": digest_of(json.dumps(row, sort_keys=True)), **row}) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize("schema", [RECORD_SCHEMA + 1, 99])
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
    with pytest.raises(InputError, match=r"line 1: .*x.* (as|holds) .*delete the line"):
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


@pytest.mark.parametrize("field", ["claim", "numbers", "base", "n", "environment", "made", "profile", "seed"])
def test_a_record_that_lacks_a_field_is_named_by_its_line(tmp_path, field):
    stored(tmp_path, **{field: GONE})
    with pytest.raises(InputError, match=f"made.jsonl, line 1: the record lacks {field}.*delete the line"):
        load("made", tmp_path)


STRANGE = [
    ({"n": -1}, "n is -1"),
    ({"n": 1.5}, "n is 1.5"),
    ({"n": True}, "n is True"),
    ({"version": 0}, "version is 0"),
    ({"seed": "0"}, "seed is '0'"),
    ({"base": 3}, "base is no text"),
    ({"profile": "brief"}, "profile is 'brief'"),
    ({"run": "/home/me/runs/x"}, "no name within a home"),
    ({"run": "../x"}, "no name within a home"),
    ({"environment": {"python": 3}}, "environment"),
    ({"numbers": []}, "numbers is no object"),
    ({"numbers": {"x": 0.5}}, "'x' is not a value"),
    ({"numbers": {"x": {"value": 0.5, "low": 0.1}}}, "'x' is not a value"),
    ({"numbers": {"x": {"value": "0.5", "low": None, "high": None}}}, "'x' holds '0.5'"),
    ({"numbers": {"x": {"value": math.nan, "low": None, "high": None}}}, "'x' holds nan"),
    ({"numbers": {"x": {"value": 0.5, "low": 0.1, "high": math.inf}}}, "'x' holds inf"),
    ({"numbers": {"x": {"value": 0.5, "low": 0.1, "high": 0.6, "basis": "faith"}}}, "rests on 'faith'"),
    ({"weight": 2}, "unknown field 'weight'"),
    ({"base_made": 1}, "base_made"),
]


@pytest.mark.parametrize(("changes", "said"), STRANGE, ids=[said for _, said in STRANGE])
def test_what_cannot_be_is_refused_with_file_line_and_fix(tmp_path, changes, said):
    write(tmp_path, made(seed=7).content(), {**made().content(), **changes})
    with pytest.raises(InputError, match=r"made.jsonl, line 2: .*\(fix: ") as error:
        load("made", tmp_path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_record_is_its_declared_run_and_not_its_clock_folder_machine_or_code():
    one = made()
    for beside in ({"made": "2031"}, {"run": "other"}, {"environment": {}}, {"code": "c"}, {"base_name": "b"}):
        assert dataclasses.replace(one, **beside).id == one.id
    others = [{"base": "b1"}, {"seed": 1}, {"profile": "long"}, {"tuned": "t"}, {"problems": "p"}]
    ids = {dataclasses.replace(one, **other).id for other in [*others, {"claim_hash": "h"}, {"claim": "c"}]}
    assert len(ids | {one.id}) == 8
    assert len(one.id) == 16


def test_of_a_base_that_the_study_makes_the_declared_run_names_none():
    one = made(claim=dataclasses.replace(CLAIM, default=Subject()))
    assert one.base_made
    assert one.id == dataclasses.replace(one, base="trained elsewhere").id
    assert not made().base_made


def test_another_number_of_the_same_run_makes_one_record_that_keeps_the_spread():
    low, high = made(x=(0.7, 0.6, 0.8)), made(x=(0.9, 0.7, 1.1))
    copy = dataclasses.replace(high, made="2031", origin=SHIPPED)
    forms = [merged(order) for order in ([low, high, copy], [copy, low, high], [high, copy, low])]
    assert forms[0] == forms[1] == forms[2]
    (one,) = forms[0]
    assert one.numbers["x"] == Estimate(pytest.approx(0.8), pytest.approx(0.65), pytest.approx(0.95))
    assert one.reproduction("x") == (0.7, 0.9)
    assert one.repeats == 2
    assert one.to_json()["reproduction"]["spread"]["x"] == [0.7, 0.9]
    assert one.id == low.id
    assert merged(merged([low, high])) == merged([low, high])
    said = verdict(CLAIM, [low, high, copy, *three()[1:]])
    assert (said.records, dict(said.left_out)) == (3, {"a run repeated": 2})


def test_ten_copies_change_no_verdict():
    """Ten times the same run, ten clocks, and ten repetitions with other numbers: none is more than one run."""
    once = verdict(CLAIM, three())
    copies = [dataclasses.replace(one, made=str(i), run=str(i)) for one in three() for i in range(10)]
    said = verdict(CLAIM, copies)
    assert (said.state, said.effect, said.records, said.bases) == (
        once.state, once.effect, once.records, once.bases,
    )  # fmt: skip
    noisy = [made(x=(0.8 + i / 100, 0.7, 0.95)) for i in range(10)]
    assert verdict(CLAIM, noisy).records == 1
    assert verdict(CLAIM, noisy).preliminary


def test_what_a_paper_reports_enters_no_verdict():
    told = [dataclasses.replace(one, origin=Origin(kind="reported", whom="arXiv:1")) for one in three()]
    assert verdict(CLAIM, told) == verdict(CLAIM, [])


def test_no_record_names_a_folder_of_this_machine(tmp_path):
    numbers = {"x": Estimate(0.5, 0.4, 0.6)}
    for run, kept in ((tmp_path / "claims" / "made", "claims/made"), ("/elsewhere/of/mine", "mine")):
        outcome = Outcome(numbers=numbers, base="b", base_name="b", run=str(run), n=1)
        one = record(CLAIM, Subject(), outcome, home=tmp_path)
        assert one.run == kept
        assert str(tmp_path) not in json.dumps(line_of(one))


def test_records_of_the_first_schema_are_read(tmp_path):
    """Their id was a hash of everything, clock and folder with it."""
    path = tmp_path / "evidence" / "made.jsonl"
    path.parent.mkdir()
    old = {
        "schema": 1, "claim": "made", "version": 1, "claim_hash": CLAIM.hash, "base": "b0", "base_name": "b0",
        "seed": 3, "n": 30, "run": "/home/me/runs/claims/made-b0-3-long", "environment": {}, "made": "2026",
        "numbers": {"x": {"value": 0.8, "low": 0.7, "high": 0.9}},
    }  # fmt: skip
    again = {**old, "made": "2027", "run": "/mnt/made-b0-3-long"}
    lines = [{"id": identity(row, length=32), **row} for row in (old, again)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (one,) = load("made", tmp_path)
    assert (one.seed, one.profile, one.run, one.numbers["x"]) == (
        3, "long", "made-b0-3-long", Estimate(0.8, 0.7, 0.9),
    )  # fmt: skip
    path.write_text(json.dumps({**lines[0], "seed": 4}) + "\n")
    with pytest.raises(InputError, match="line 1: the record was edited"):
        load("made", tmp_path)


def test_a_line_that_another_program_laid_out_is_the_same_record(tmp_path):
    one = made()
    path = append(one, tmp_path)
    row = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(row.items())), separators=(",", ":")) + "\n")
    assert load("made", tmp_path) == (one,)


def test_each_line_is_hashed_and_parsed_once_and_a_copy_is_not_parsed_again(tmp_path, monkeypatch):
    asked = {"digests": 0, "parsed": 0}
    digest, parse = store.digest_of, store.parsed

    def hashed(text):
        asked["digests"] += 1
        return digest(text)

    def read(*args):
        asked["parsed"] += 1
        return parse(*args)

    rows = [dataclasses.replace(made(), seed=i).content() for i in range(40)]
    write(tmp_path, *rows, *rows)
    path = tmp_path / "evidence" / "made.jsonl"
    rewritten = [json.dumps(line_of(one)) for one in load("made", tmp_path)]
    path.write_text("".join(f"{line}\n" for line in (*rewritten, *rewritten)))
    monkeypatch.setattr(store, "digest_of", hashed)
    monkeypatch.setattr(store, "parsed", read)
    monkeypatch.setattr(Claim, "hash", None)  # reading asks no claim
    assert len(load("made", tmp_path)) == 40
    assert asked == {"digests": 80, "parsed": 40}


def test_the_verdict_of_many_records_hashes_the_claim_once(monkeypatch):
    """Counted and not timed: the hash of the protocol once, each gate once a record."""
    asked = {"hash": 0, "gates": 0}
    plain, holds = Claim.hash.fget, Gate.holds

    def hashed(claim):
        asked["hash"] += 1
        return plain(claim)

    def held(gate, number):
        asked["gates"] += 1
        return holds(gate, number)

    records = [dataclasses.replace(made(), seed=i, base=f"b{i % 7}") for i in range(500)]
    monkeypatch.setattr(Claim, "hash", property(hashed))
    monkeypatch.setattr(Gate, "holds", held)
    assert verdict(CLAIM, records).records == 500
    assert asked == {"hash": 1, "gates": 2 * 500}


FLAT = {"agreed": (0.9, 0.9, 0.9), "no interval": (0.9, math.nan, math.nan)}


@pytest.mark.parametrize("x", FLAT.values(), ids=FLAT.keys())
def test_a_number_without_a_spread_decides_nothing_unless_it_is_declared_exact(x):
    said = verdict(CLAIM, three(x=x))
    assert said.state == "undecided"
    assert "without an interval" in said.why
    exact = [dataclasses.replace(one, basis={"x": "exact"}) for one in three(x=x)]
    assert verdict(CLAIM, exact).state == "supported"


@pytest.mark.parametrize("flat", FLAT.values(), ids=FLAT.keys())
def test_a_gate_or_a_control_without_a_spread_does_not_hold(flat):
    assert verdict(CLAIM, three(gain=flat)).state == "not applicable"
    null = (0.0, *(end - 0.9 for end in flat[1:]))
    assert verdict(CLAIM, three(null=null)).state == "invalid"
    exact = [dataclasses.replace(one, basis={"null": "exact", "gain": "exact"}) for one in three(gain=flat)]
    assert verdict(CLAIM, exact).state == "supported"


def test_an_outcome_says_what_its_numbers_rest_on(tmp_path):
    numbers = {name: Estimate(0.5, 0.4, 0.6) for name in ("x", "y", "z")}
    outcome = Outcome(
        numbers=numbers,
        base="b",
        base_name="b",
        run="r",
        n=1,
        exact=frozenset("x"),
        over_problems=frozenset("y"),
    )
    one = record(CLAIM, Subject(), outcome)
    assert one.basis == {"x": "exact", "y": "problems"}
    append(one, tmp_path)
    assert load("made", tmp_path) == (one,)
    assert one.deciding("x") == Estimate(0.5, 0.5, 0.5)
    assert one.deciding("y") == Estimate(0.5, 0.4, 0.6)


def test_where_most_runs_fail_their_control_the_few_that_hold_it_decide_nothing():
    """Of records that hold a control by luck alone, those that do say no more than the others."""
    good, *bad = (made(base=f"b{i}", seed=i, null=(0.0, -0.05 - i / 10, 0.05 + i / 10)) for i in range(4))
    said = verdict(CLAIM, [good, *bad])
    assert (said.state, said.records) == ("invalid", 0)
    assert dict(said.left_out) == {
        "a control did not hold": 3,
        "the controls held, as they did in less than half of the runs": 1,
    }
    assert "the null is null" in said.why
    assert verdict(CLAIM, [good, bad[0]]).state == "supported"
