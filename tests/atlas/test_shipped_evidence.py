"""The evidence that ships: read-only, of the claims as they stand, with what is behind every number."""

import math

import pytest

from keyturn.atlas import CLAIMS
from keyturn.atlas.evidence import SHIPPED
from keyturn.atlas.store import ASSETS, load, parsed, shipped, shipped_document, shipped_runs
from keyturn.auditing.embedded import MODELS
from keyturn.core.rundir import read_json

FILES = sorted(path.stem for path in ASSETS.glob("*.json"))


def test_every_file_is_of_a_claim():
    assert set(FILES) <= set(CLAIMS)
    assert len(FILES) >= 27


@pytest.mark.parametrize("name", FILES)
def test_shipped_records_are_of_the_protocol_as_it_stands(name):
    claim, records = CLAIMS[name], shipped(name)
    for one in records:
        assert (one.claim, one.version, one.claim_hash, one.origin) == (
            name, claim.version, claim.hash, SHIPPED,
        )  # fmt: skip
        assert one.base or one.base_made, "a base that was brought has a fingerprint"
        assert claim.threshold.estimand in one.numbers
        assert {gate.name for gate in (*claim.gates, *claim.controls)} <= set(one.numbers)
        assert {"commit", "keyturn", "torch"} <= set(one.environment)
        assert not one.run
    assert len({one.id for one in records}) == len(records)


@pytest.mark.parametrize("name", FILES)
def test_a_shipped_number_is_that_of_its_contrast(name):
    for one, details in shipped_runs(name):
        lines = {line["key"]: line for line in details["contrasts"]}
        for key, line in lines.items():
            assert line["value"] is None or math.isclose(one.numbers[key].value, line["value"], abs_tol=1e-12)
        assert bool(details["rows"]) == bool(CLAIMS[name].methods)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_what_its_records_write(name):
    document = read_json(ASSETS / f"{name}.json")
    assert shipped_document(name, shipped_runs(name)) == {k: document[k] for k in ("claim", "records")}


def test_a_fresh_home_knows_what_ships_and_nothing_writes_there(tmp_path):
    assert load("one-example-nearly-suffices", tmp_path) == shipped("one-example-nearly-suffices")
    assert list(tmp_path.iterdir()) == []
    assert load("no-such-claim", tmp_path) == ()


def test_the_fingerprints_are_those_of_the_shipped_bases():
    from keyturn.policies.loading import load_policy

    known = {name: load_policy(MODELS / name).fingerprint for name in ("chain", "graph")}
    named = {(one.base_name, one.base) for name in FILES for one in shipped(name) if one.base_name in known}
    assert named == set(known.items())


def test_rows_of_an_asset_are_parsed_as_strictly_as_any_other():
    row = dict(read_json(ASSETS / f"{FILES[0]}.json")["records"][0])
    row.pop("details")
    assert parsed(row, "here", SHIPPED).claim == FILES[0]
