"""Two homes that exchange bundles both ways end with equal states and with sites that are equal to the byte."""

from dataclasses import replace

from rendered_site import rendered

from keyturn.atlas import CLAIMS
from keyturn.atlas.bundle import Bundle, read_bundle, write_bundle
from keyturn.atlas.changes import snapshot
from keyturn.atlas.checking import check
from keyturn.atlas.collection import Atlas, load_atlas
from keyturn.atlas.imported import add, trust
from keyturn.atlas.known import load_known
from keyturn.atlas.store import append, behind, keep_name, mine, shipped_runs
from keyturn.core.measurement import Estimate
from keyturn.site.source import Source

CLAIM = "one-example-nearly-suffices"
NOTES = ("one-example", "create-or-deploy", "three-phases")


def source_of(home):
    """A small collection, with all of the claim's records in a home."""
    whole = load_atlas()
    notes = {name: whole.notes[name] for name in NOTES}
    asked = [q for q in whole.questions.values() if CLAIM in q.claims][:3]
    papers = {p for note in notes.values() for p in note.papers}
    atlas = Atlas(
        notes=notes,
        questions={q.id: q for q in asked},
        experiments={},
        papers={name: one for name, one in whole.papers.items() if name in papers},
        relations=tuple(one for one in whole.relations if {one.source, one.target} <= set(notes)),
    )
    return Source(atlas=atlas, known=load_known(home), claims={CLAIM: CLAIMS[CLAIM]}, home=home)


def run_in(home, seed, shift, day):
    ((one, details),) = shipped_runs(CLAIM)
    moved = {name: Estimate(x.value + shift, x.low + shift, x.high + shift) for name, x in one.numbers.items()}
    made = f"2027-01-{day:02d}T00:00:00+00:00"
    rows = [] if shift else details["rows"]  # numbers that were moved do not follow from its rows
    append(replace(one, seed=seed, numbers=moved, made=made), home, {**details, "rows": rows, "contrasts": []})


def give(giver, taker, path, name):
    records = mine(CLAIM, giver)
    found = {one.digest: behind(one, giver) for one in records}
    keep_name(name, giver)
    bundle = read_bundle(write_bundle(Bundle(whom=name, records=records, behind=found), path))
    checked = check(bundle)
    assert not [said for one in checked for said in one.wrong]
    add(bundle, taker, checked=checked)
    trust(name, taker)


def test_sites_of_two_homes_are_equal_to_the_byte_after_an_exchange(tmp_path):
    ada, ben = tmp_path / "ada", tmp_path / "ben"
    run_in(ada, 1, 0.0, 1)
    run_in(ada, 2, 0.01, 3)
    run_in(ben, 3, -0.6, 2)
    run_in(ben, 1, 0.002, 4)  # the same declared run as one of ada's, with other numbers
    before = [rendered(source_of(home), tmp_path / "nothing") for home in (ada, ben)]
    assert before[0] != before[1]
    give(ada, ben, tmp_path / "ada.zip", "ada")
    give(ben, ada, tmp_path / "ben.zip", "ben")
    sources = [source_of(home) for home in (ada, ben)]
    states = [snapshot(one.atlas, one.known, one.states).to_json() for one in sources]
    assert states[0] == states[1]
    sites = [rendered(one, tmp_path / "nothing") for one in sources]
    assert sites[0].keys() == sites[1].keys()
    assert [name for name in sites[0] if sites[0][name] != sites[1][name]] == []
    assert sites[0] != before[0]
    page = sites[0]["records/index.html"].decode()
    assert "from ada and from ben" in page
    assert "from ben" in page


def test_a_home_without_a_name_says_mine(tmp_path):
    run_in(tmp_path, 1, 0.0, 1)
    found = rendered(source_of(tmp_path), tmp_path / "nothing")
    record = mine(CLAIM, tmp_path)[0]
    assert b"was made on this machine" in found[f"records/{record.id}.html"]
