"""Draws in a bundle are graded again: what was edited is found, and what cannot be graded says so."""

import dataclasses
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_task import shipped_task

from keyturn.atlas import CLAIMS
from keyturn.atlas.bundle import Bundle, bundle_bytes, read_bundle, write_bundle
from keyturn.atlas.checking import check
from keyturn.atlas.draws import draws_path, keep_noted, noted, packed
from keyturn.atlas.evidence import record
from keyturn.atlas.imported import add, level
from keyturn.atlas.store import append, behind
from keyturn.auditing.audit import AuditConfig, AuditPair, audit
from keyturn.core.errors import InputError, NewerError
from keyturn.core.measurement import Estimate
from keyturn.core.streams import Streams
from keyturn.experiments.arms import base_arm, numbers_on_test
from keyturn.experiments.audited import outcome_of_audit
from keyturn.experiments.contract import Subject
from keyturn.experiments.plan import Arm, PlanSizes, contrast, run_plan
from keyturn.experiments.study import outcome_of
from keyturn.lab.lab import Lab
from keyturn.lab.noted import noting
from keyturn.lab.session import Model, Session
from keyturn.policies.local import Sampling

CLAIM = CLAIMS["one-example-nearly-suffices"]
COLD = Sampling(temperature=0.3)


def cold_arm():
    def train(session, lr):
        return Model(session.task.folder, session.task.base.having(sampling=COLD))

    return Arm(name="cold", train=train, tuned=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with one record of a study that trains nothing, and its draws."""
    folder = tmp_path_factory.mktemp("home")
    lab = Lab(folder / "claims" / "study", Streams(0))
    session = Session(lab, shipped_task())
    with noting() as drawn:
        sizes = PlanSizes(seeds=1, lrs=(1e-3,), draws=2)
        runs = run_plan(session, [base_arm(), cold_arm()], sizes, numbers_on_test(4))
        found = contrast(runs, "cold", "base", "success")
        outcome = outcome_of(session, runs, {"effect": found}, setting="two temperatures")
    one = record(CLAIM, Subject(base="chain"), outcome, home=folder)
    details = {"setting": outcome.setting, "contrasts": list(outcome.contrasts), "rows": list(outcome.rows)}
    keep_noted(one, noted(drawn, lab.root), folder)
    append(one, folder, details)
    return folder, one


@pytest.fixture
def exported(home):
    """The bundle with its draws."""
    folder, one = home
    details = behind(one, folder)
    put = packed(one, details, folder)
    assert put.said == ""
    return Bundle(whom="ada", records=(one,), behind={one.digest: details}, draws={one.digest: put.files})


def checked(bundle, tmp_path):
    (found,) = check(read_bundle(write_bundle(bundle, tmp_path / "x.zip")))
    return found


def test_draws_are_graded_again_and_the_number_follows_from_them(exported, home, tmp_path):
    found = checked(exported, tmp_path)
    assert not found.wrong
    assert not found.ungraded
    assert found.draws == 2 * 8 * 4
    assert found.regraded == ("effect",)
    assert bundle_bytes(exported) == bundle_bytes(exported)
    other = tmp_path / "other"
    add(read_bundle(tmp_path / "x.zip"), other, checked=[found])
    assert level(home[1], other) == "draws graded again here"
    add(read_bundle(tmp_path / "x.zip"), tmp_path / "third")
    assert level(home[1], tmp_path / "third") == "rows"


def edited(bundle, name, change):
    """The same with one file of draws changed, and with hashes that agree, as a careful forger makes it."""
    ((digest, files),) = bundle.draws.items()
    assert name in files
    return dataclasses.replace(bundle, draws={digest: {**files, name: change(files[name])}})


def table_edited(data, column, change):
    table = pq.read_table(io.BytesIO(data))
    at = table.schema.get_field_index(column)
    kind = table.schema.field(at).type
    table = table.set_column(at, table.schema.field(at), pa.array(change(table[column].to_pylist()), kind))
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def test_an_edited_draw_is_found(exported, tmp_path):
    def all_alike(rows):
        return [rows[0]] * len(rows)

    forged = edited(
        exported, "001/completions-00000.parquet", lambda data: table_edited(data, "tokens", all_alike)
    )
    found = checked(forged, tmp_path)
    assert found.wrong or found.ungraded
    assert "effect" not in found.regraded


def test_an_edited_verdict_is_found(exported, tmp_path):
    def flipped(rows):
        return [1 - rows[0], *rows[1:]]

    forged = edited(exported, "000/grades-00000.parquet", lambda data: table_edited(data, "verified", flipped))
    assert "1 of 32 verdicts of base, seed 0 are not what its grader says" in checked(forged, tmp_path).wrong


def test_a_figure_that_was_edited_with_its_rows_is_found(exported, home, tmp_path):
    _, one = home
    details = exported.behind[one.digest]
    rows = [{**row, "success": 0.9} if row["arm"] == "cold" else row for row in details["rows"]]
    base = next(row["success"] for row in rows if row["arm"] == "base")
    number = dataclasses.replace(one.numbers["effect"], value=0.9 - base)
    number = dataclasses.replace(number, low=number.value - 0.1, high=number.value + 0.1)
    forged = dataclasses.replace(one, numbers={"effect": number})
    files = exported.draws[one.digest]
    bundle = Bundle(
        whom="eve",
        records=(forged,),
        behind={forged.digest: {**details, "rows": rows}},
        draws={forged.digest: files},
    )
    found = checked(bundle, tmp_path)
    assert any(said.startswith("success of cold, seed 0 is 0.9 in its row") for said in found.wrong)
    assert not found.regraded


def test_gold_answers_that_were_edited_are_found(exported, tmp_path):
    def other(data):
        document = json.loads(data)
        for row in document["problems"]:
            row["prompt"] = document["problems"][0]["prompt"]
        return json.dumps(document).encode()

    found = checked(edited(exported, "asked-00.json", other), tmp_path)
    assert found.wrong or found.ungraded


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("draws.json", lambda data: b"[]", "no JSON object"),
        ("draws.json", lambda data: data.replace(b'"schema": 1', b'"schema": 99'), "newer keyturn"),
        ("draws.json", lambda data: data.replace(b'"sets": [', b'"sets": [7,'), "does not say whose"),
    ],
)
def test_draws_that_cannot_be_are_refused_with_one_line(exported, tmp_path, name, change, said):
    with pytest.raises((InputError, NewerError), match=said) as error:
        checked(edited(exported, name, change), tmp_path)
    assert "\n" not in str(error.value)
    assert "(fix: " in str(error.value)


UNGRADED = {
    "another version of the grader": ("asked-00.json", b"verifier 1", b"verifier 0", "this keyturn has"),
    "a grader that nobody knows": ("asked-00.json", b'"kind": "world"', b'"kind": "mine"', "no grader here"),
    "a table that is torn": ("000/grades-00000.parquet", b"PAR1", b"PAR0", "no Parquet file"),
    "problems that are none": ("asked-00.json", b'"prompt"', b'"prompd"', "is no problem"),
}


@pytest.mark.parametrize(("name", "old", "new", "said"), UNGRADED.values(), ids=UNGRADED.keys())
def test_what_cannot_be_graded_again_says_so(exported, tmp_path, name, old, new, said):
    found = checked(edited(exported, name, lambda data: data.replace(old, new)), tmp_path)
    assert said in found.ungraded[0]
    assert not found.regraded


def test_a_table_that_declares_too_much_is_not_read(exported, tmp_path, monkeypatch):
    from keyturn.atlas import regrading

    monkeypatch.setattr(regrading, "MOST_DRAWS", 31)
    found = checked(exported, tmp_path)
    assert "declares 32 rows" in found.ungraded[0]


def test_a_record_without_noted_draws_says_how_to_get_them(home, tmp_path):
    folder, one = home
    other = dataclasses.replace(one, seed=9)
    assert "keyturn claim run one-example-nearly-suffices" in packed(other, {}, folder).said
    assert "--seed 9" in packed(other, {}, folder).said
    draws = json.loads(draws_path(one, folder).read_text())
    path = draws_path(other, folder)
    path.write_text(json.dumps({**draws, "run": str(tmp_path / "gone")}))
    assert "its draws are gone" in packed(other, behind(one, folder), folder).said


def test_draws_of_numbers_that_a_study_computes_in_its_own_way_are_not_claimed(home):
    folder, one = home
    details = behind(one, folder)
    rows = [{"arm": row["arm"], "seed": row["seed"], "chosen": True, "own": 1.0} for row in details["rows"]]
    put = packed(one, {**details, "rows": rows}, folder)
    assert not put.files
    assert "no number of it follows from draws alone" in put.said


def test_a_bundle_holds_no_log_probabilities_and_no_folder_of_this_machine(exported, home):
    ((_, files),) = exported.draws.items()
    table = pq.read_table(io.BytesIO(files["000/completions-00000.parquet"]))
    assert np.isnan(np.concatenate([np.array(x, dtype=float) for x in table["logprobs"].to_pylist()])).all()
    assert not any(str(home[0]).encode() in data for data in files.values())


def test_a_draw_of_no_problem_is_not_graded(exported, tmp_path):
    def strange(rows):
        return [99, *rows[1:]]

    forged = edited(
        exported, "000/completions-00000.parquet", lambda data: table_edited(data, "problem", strange)
    )
    found = checked(forged, tmp_path)
    assert "answers no problem" in found.ungraded[0] or "damaged" in found.ungraded[0]


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """A home with the record of an audit: a base against itself, colder."""
    folder = tmp_path_factory.mktemp("audited")
    task, lab = shipped_task(), Lab(folder / "audit", Streams(5))
    pair = AuditPair(
        name="two temperatures",
        base=task.base,
        tuned=task.base.having(sampling=COLD),
        base_name="base",
        tuned_name="cold",
        problems=task.test,
        problems_name="eight",
    )
    with noting() as drawn:
        result = audit(
            lab, pair, AuditConfig(k=4, first=8, enough=3, max_new_tokens=task.max_new_tokens, token_draws=1)
        )
    outcome = outcome_of_audit(result, brought=True)
    one = record(CLAIMS["rl-narrows"], Subject(base="chain", tuned="cold", seed=5), outcome, home=folder)
    keep_noted(one, noted(drawn, lab.root, k=4), folder)
    append(one, folder, {"setting": "", "contrasts": [], "rows": []})
    return folder, one


def test_the_numbers_of_an_audit_follow_from_its_draws_and_an_edited_one_does_not(audited, tmp_path):
    folder, one = audited
    put = packed(one, behind(one, folder), folder)
    assert put.said == ""
    found = checked(Bundle(whom="ada", records=(one,), draws={one.digest: put.files}), tmp_path)
    assert not found.wrong
    assert {"pass@K tuned - base", "base pass@K", "replicate pass@K"} <= set(found.regraded)
    assert found.draws > 8 * (8 + 4)  # some problems went on to the second stage
    moved = {**one.numbers, "base pass@K": Estimate(0.5, 0.4, 0.6)}
    forged = dataclasses.replace(one, numbers=moved)
    found = checked(Bundle(whom="eve", records=(forged,), draws={forged.digest: put.files}), tmp_path)
    assert found.wrong == ("base pass@K does not follow from the draws",)
    assert "base pass@K" not in found.regraded
