"""Bundles: the same records make the same bytes, merging is a union, and a hostile file gives one line."""

import dataclasses
import hashlib
import io
import json
import stat
import struct
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.atlas import CLAIMS
from keyturn.atlas import bundle as bundles
from keyturn.atlas.bundle import Bundle, bundle_bytes, read_bundle, write_bundle
from keyturn.atlas.checking import check
from keyturn.atlas.evidence import record
from keyturn.atlas.imported import add, level, trust
from keyturn.atlas.store import (
    append,
    behind,
    counts,
    imported,
    imported_from,
    load,
    mine,
    origins_of,
    shipped,
    shipped_runs,
)
from keyturn.atlas.verdict import verdict
from keyturn.core.errors import InputError, KeyturnError, NewerError, UsageError
from keyturn.core.measurement import Estimate
from keyturn.experiments.contract import Outcome, Subject

CLAIM = CLAIMS["rl-narrows"]


def made(seed=1, x=-0.1, base="base", claim=CLAIM):
    named = {
        "pass@K tuned - base": (x, x - 0.02, x + 0.02),
        "gain": (0.2, 0.1, 0.3),
        "base pass@K": (0.5, 0.4, 0.6),
        "replicate pass@K": (0.0, -0.02, 0.02),
    }
    numbers = {name: Estimate(*ends) for name, ends in named.items()}
    outcome = Outcome(numbers=numbers, base=base, base_name=base, run="r", n=90)
    one = record(claim, Subject(base=base, seed=seed), outcome)
    return dataclasses.replace(one, made="2026-01-01", environment={"keyturn": "0.1.0", "torch": "2"})


def bundle(*records, whom="ada", behind=None):
    return Bundle(whom=whom, records=records, behind=behind or {})


def written(path, *records, **more):
    return write_bundle(bundle(*records, **more), path)


def test_the_same_records_make_the_same_bytes(tmp_path):
    one, two = made(1), made(2)
    data = bundle_bytes(bundle(one, two))
    assert data == bundle_bytes(bundle(two, one, two))
    assert data != bundle_bytes(bundle(one))
    found = read_bundle(written(tmp_path / "a.zip", two, one))
    assert bundle_bytes(found) == data
    assert {dataclasses.replace(x, origin=one.origin).digest for x in found.records} == {one.digest, two.digest}
    assert found.whom == "ada"


def test_what_ships_survives_the_way_and_its_numbers_follow_from_its_rows(tmp_path):
    runs = [run for claim in CLAIMS for run in shipped_runs(claim)]
    behind_all = {one.digest: details for one, details in runs}
    path = written(tmp_path / "all.zip", *(one for one, _ in runs), behind=behind_all)
    found = read_bundle(path)
    assert {x.digest for x in found.records} == set(behind_all)
    for digest, details in behind_all.items():
        assert found.behind[digest]["rows"] == list(details["rows"])
        assert found.behind[digest]["contrasts"] == list(details["contrasts"])
    checked = check(found)
    assert not [said for one in checked for said in one.wrong]
    assert sum(len(one.followed) for one in checked) > 250
    assert all(one.protocol for one in checked)


def test_a_number_that_its_rows_do_not_give_is_named(tmp_path):
    ((one, details),) = shipped_runs("one-example-nearly-suffices")
    for moved in (Estimate(0.4, 0.3, 0.5), Estimate(one.numbers["effect"].value, -0.03, -0.02)):
        forged = dataclasses.replace(one, numbers={**one.numbers, "effect": moved})
        path = written(tmp_path / "forged.zip", forged, behind={forged.digest: details})
        (found,) = check(read_bundle(path))
        assert len(found.wrong) == 1
        assert found.wrong[0].startswith("effect is ")
        assert "effect" not in found.followed


def test_an_import_is_seen_counts_only_where_trusted_and_twice_is_once(tmp_path):
    path = written(tmp_path / "a.zip", *(made(seed, base=f"b{seed}") for seed in range(3)))
    home = tmp_path / "home"
    done = add(read_bundle(path), home)
    assert (done.whom, done.new, done.known, done.counts) == ("ada", 3, 0, False)
    before = {file: file.read_bytes() for file in home.rglob("*.jsonl")}
    again = add(read_bundle(path), home)
    assert (again.new, again.known) == (0, 3)
    assert {file: file.read_bytes() for file in home.rglob("*.jsonl")} == before
    assert load(CLAIM.id, home) == shipped(CLAIM.id)
    assert origins_of(load(CLAIM.id, home, everything=True))["imported"] == 3
    trust("ada", home)
    assert counts("ada", home)
    assert origins_of(load(CLAIM.id, home))["imported"] == 3
    trust("ada", home, yes=False)
    assert load(CLAIM.id, home) == shipped(CLAIM.id)
    with pytest.raises(UsageError, match="ada"):
        trust("adda", home)


def test_what_was_seen_of_an_imported_record(tmp_path):
    ((one, details),) = shipped_runs("one-example-nearly-suffices")
    bare, full, own = (dataclasses.replace(one, seed=seed) for seed in (7, 8, 9))
    path = written(tmp_path / "a.zip", bare, full, own, behind={full.digest: details, own.digest: details})
    home = tmp_path / "home"
    add(read_bundle(path), home)
    append(own, home)
    found = {x.seed: level(x, home) for x in imported(one.claim, home, "ada")}
    assert found == {7: "numbers only", 8: "rows", 9: "run again here"}
    kept = next(x for x in imported(one.claim, home, "ada") if x.seed == 8)
    assert behind(kept, home)["rows"] == list(details["rows"])


def test_two_homes_that_exchange_bundles_both_ways_end_with_equal_records_and_verdicts(tmp_path):
    homes = {name: tmp_path / name for name in ("ada", "ben")}
    for seed in range(4):
        append(made(seed, base=f"b{seed % 2}"), homes["ada"])
        append(made(seed, x=-0.2, base=f"c{seed}"), homes["ben"])
    append(made(0, x=-0.14, base="b0"), homes["ben"])  # the same run as one of ada's, with other numbers
    for giver, taker in (("ada", "ben"), ("ben", "ada")):
        written(tmp_path / f"{giver}.zip", *mine(CLAIM.id, homes[giver]), whom=giver)
        add(read_bundle(tmp_path / f"{giver}.zip"), homes[taker])
        trust(giver, homes[taker])
    found = [load(CLAIM.id, home) for home in homes.values()]
    numbers = [{x.id: (x.numbers, x.repeats) for x in records} for records in found]
    assert numbers[0] == numbers[1]
    assert verdict(CLAIM, found[0]) == verdict(CLAIM, found[1])
    assert max(x.repeats for x in found[0]) == 2


RECORDS = [made(seed, x, base) for seed in (1, 2) for x in (-0.1, -0.2) for base in ("a", "b")]
SETS = st.lists(st.frozensets(st.sampled_from(range(len(RECORDS)))), min_size=1, max_size=4)


def state(home):
    """All that a home holds of imported records, as bytes and as what counts."""
    files = {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*.jsonl")}
    return files, load(CLAIM.id, home, everything=True)


@settings(max_examples=15, deadline=None)
@given(sets=SETS, order=st.randoms(use_true_random=False), again=st.integers(0, 3))
def test_merging_is_commutative_associative_and_idempotent(sets, order, again):
    with tempfile.TemporaryDirectory() as folder:
        one, other, whole = (Path(folder) / name for name in ("one", "other", "whole"))
        bundles = [bundle(*(RECORDS[at] for at in sorted(chosen))) for chosen in sets]
        for given_one in bundles:
            add(given_one, one)
        shuffled = [*bundles, *bundles[:again]]
        order.shuffle(shuffled)
        for given_one in shuffled:
            add(given_one, other)
        union = sorted(frozenset().union(*sets))
        add(bundle(*(RECORDS[at] for at in union)), whole)
        assert state(one) == state(other)
        assert state(one)[1] == state(whole)[1]


def zipped(path, files, **how):
    """A ZIP file of name -> bytes (or a ZipInfo with its bytes)."""
    with zipfile.ZipFile(path, "w", **how) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return path


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def link(name):
    member = zipfile.ZipInfo(name)
    member.create_system = 3
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


def bomb(path, sound):
    """Ten gigabytes declared in the directory of a small file."""
    data = bytearray(sound)
    at = data.rfind(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 4_294_967_294)
    path.write_bytes(data)


HOSTILE = {
    "a name with two dots": ("../outside.json", "outside of the bundle"),
    "an absolute name": ("/etc/passwd", "outside of the bundle"),
    "a name with a drive": ("C:/x.json", "outside of the bundle"),
    "a name with a backslash": ("runs\\x.json", "outside of the bundle|no file of a bundle"),
    "a name that nobody knows": ("notes.txt", "no file of a bundle"),
    "a folder of no record": (f"runs/{'0' * 32}/rows.json", "not in its manifest"),
}


def refused(path, match, kind=InputError):
    """One line that names the file and a way out."""
    with pytest.raises(kind, match=match) as error:
        read_bundle(path)
    said = str(error.value)
    assert "\n" not in said
    assert len(said) < 400
    assert path.name in said
    assert "(fix: " in said


@pytest.mark.parametrize(("name", "said"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_name_is_refused_with_one_line(tmp_path, name, said):
    sound = members(written(tmp_path / "a.zip", made()))
    member = zipfile.ZipInfo()
    member.filename = name
    refused(zipped(tmp_path / "b.zip", [*sound.items(), (member, b"[]")]), said)
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip", "b.zip"}


def test_links_bombs_lies_and_copies_are_refused_with_one_line(tmp_path, monkeypatch):
    sound = written(tmp_path / "a.zip", made())
    files = members(sound)
    digest = made().digest
    refused(
        zipped(tmp_path / "link.zip", [*files.items(), (link(f"runs/{digest}/rows.json"), b"/etc")]), "link"
    )
    bomb(tmp_path / "bomb.zip", sound.read_bytes())
    refused(tmp_path / "bomb.zip", "GB unpacked")
    spaces = [*files.items(), (f"runs/{digest}/rows.json", b" " * (4 << 20))]
    small = zipped(tmp_path / "real.zip", spaces, compression=zipfile.ZIP_DEFLATED)
    assert small.stat().st_size < 1 << 14
    monkeypatch.setattr(bundles, "LARGEST_TEXT", 1 << 20)
    refused(small, "GB unpacked")
    with pytest.warns(UserWarning, match="Duplicate"):
        zipped(tmp_path / "twice.zip", [*files.items(), ("records.jsonl", files["records.jsonl"])])
    refused(tmp_path / "twice.zip", "twice")
    for name, data in (("empty.zip", b""), ("text.zip", b"hello"), ("torn.zip", sound.read_bytes()[:-200])):
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, "no sound ZIP")
    refused(tmp_path / "gone.zip", "no file")
    refused(
        zipped(tmp_path / "other.zip", [("manifest.json", b'{"kind": "x"}'), ("records.jsonl", b"")]),
        "no bundle",
    )


def remade(path, files):
    """A bundle whose manifest agrees with its files, as a careful forger makes it."""
    manifest = json.loads(files["manifest.json"])
    for name in manifest["files"]:
        manifest["files"][name]["sha256"] = hashlib.sha256(files[name]).hexdigest()
    return zipped(path, (files | {"manifest.json": json.dumps(manifest).encode()}).items())


def test_edited_newer_and_impossible_records_are_refused_with_one_line(tmp_path):
    files = members(written(tmp_path / "a.zip", made()))
    edited = files["records.jsonl"].replace(b"-0.1,", b"-0.3,").replace(b"-0.1}", b"-0.3}")
    assert edited != files["records.jsonl"]
    refused(
        zipped(tmp_path / "b.zip", (files | {"records.jsonl": edited}).items()), "records.jsonl was changed"
    )
    refused(remade(tmp_path / "c.zip", files | {"records.jsonl": edited}), "line 1: ")
    row = json.loads(files["records.jsonl"])
    newer = json.dumps({**row, "schema": 99}).encode()
    refused(remade(tmp_path / "d.zip", files | {"records.jsonl": newer}), "newer keyturn", NewerError)
    manifest = json.dumps({**json.loads(files["manifest.json"]), "schema": 99}).encode()
    refused(
        zipped(tmp_path / "e.zip", (files | {"manifest.json": manifest}).items()), "newer keyturn", NewerError
    )
    row["numbers"]["gain"]["value"] = float("nan")
    refused(remade(tmp_path / "f.zip", files | {"records.jsonl": json.dumps(row).encode()}), "no finite number")
    missing = {name: data for name, data in files.items() if not name.endswith("config.json")}
    refused(zipped(tmp_path / "g.zip", missing.items()), "listed and missing")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x" * 65, "a b", "nul\0"])
def test_a_name_that_cannot_be_a_folder_is_refused_or_replaced(tmp_path, name):
    found = bundle(made(), whom=name)
    if not name:
        assert add(found, tmp_path).whom.startswith("bundle-")
        return
    with pytest.raises(UsageError, match="--from NAME"):
        add(found, tmp_path)
    assert not imported_from(tmp_path)
    assert add(found, tmp_path, whom="ok").whom == "ok"


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_damage_is_refused_with_one_line_or_changes_nothing(data):
    """A byte of a bundle is changed, or some are cut: an error of ours, or the very same records."""
    sound = bundle_bytes(bundle(made(1), made(2)))
    at = data.draw(st.integers(0, len(sound) - 1))
    raw = bytearray(sound)
    raw[at] ^= data.draw(st.integers(1, 255))
    end = data.draw(st.sampled_from([len(sound), len(sound) - 1, at]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.zip"
        path.write_bytes(bytes(raw[:end]))
        found, said = None, ""
        try:
            found = read_bundle(path)
        except KeyturnError as error:
            said = str(error)
        assert "\n" not in said
        assert bool(said) != bool(found)
        if found:
            assert {x.digest for x in found.records} == {made(1).digest, made(2).digest}


def test_a_crate_describes_every_file_and_every_run(tmp_path):
    files = members(written(tmp_path / "a.zip", made(1), made(2)))
    graph = json.loads(files["ro-crate-metadata.json"])["@graph"]
    ids = {node["@id"]: node for node in graph}
    assert {part["@id"] for part in ids["./"]["hasPart"]} == set(files) - {
        "manifest.json",
        "ro-crate-metadata.json",
    }
    assert all(part["@id"] in ids for part in ids["./"]["hasPart"])
    runs = [node for node in graph if node["@type"] == "CreateAction"]
    assert len(runs) == 2
    assert all(
        other["@id"] in ids for run in runs for other in (*run["object"], *run["result"], run["instrument"])
    )
    assert str(Path.home()) not in json.dumps(graph)
    assert ids["ro-crate-metadata.json"]["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.3"}
    for node in graph:
        if node["@type"] == "File":
            assert node["sha256"] == hashlib.sha256(files[node["@id"]]).hexdigest()
            assert node["contentSize"] == str(len(files[node["@id"]]))
    assert ids["#maker"]["name"] == "ada"


def test_the_library_of_ro_crate_reads_the_crate(tmp_path):
    from rocrate.rocrate import ROCrate

    with zipfile.ZipFile(written(tmp_path / "a.zip", made(1), made(2))) as archive:
        archive.extractall(tmp_path / "crate")
    crate = ROCrate(tmp_path / "crate")
    assert crate.version == "1.3"
    assert crate.root_dataset["conformsTo"].id == "https://w3id.org/ro/wfrun/process/0.5"
    runs = [one for one in crate.get_entities() if one.type == "CreateAction"]
    assert len(runs) == 2
    for one in runs:
        assert one["instrument"]["name"] == "keyturn"
        assert one["agent"]["name"] == "ada"
        assert all((tmp_path / "crate" / part.id).is_file() for part in one["result"])
    assert {one.id for one in crate.data_entities} >= {"records.jsonl"}


def test_bytes_hold_no_folder_of_this_machine(tmp_path):
    data = bundle_bytes(bundle(made()))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert all(member.date_time == (1980, 1, 1, 0, 0, 0) for member in archive.infolist())
        assert all(member.compress_type == zipfile.ZIP_STORED for member in archive.infolist())
    assert str(Path.home()).encode() not in data
