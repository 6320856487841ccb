"""What other tools read: every cited paper, notes and questions with working links, numbers in tables."""

import json
import re
import sqlite3

import pytest
import yaml

from keyturn.atlas import CLAIMS
from keyturn.atlas.collection import load_atlas
from keyturn.atlas.collection.fields import File
from keyturn.atlas.collection.paper_files import read_papers
from keyturn.atlas.exports.bibtex import bibtex, cited
from keyturn.atlas.exports.tables import write_tables
from keyturn.atlas.exports.vault import vault
from keyturn.atlas.known import load_known
from keyturn.atlas.linked import script_text
from keyturn.atlas.states import all_states
from keyturn.atlas.verdict import verdict
from keyturn.cli.main import main


@pytest.fixture(scope="module")
def shipped():
    atlas, known = load_atlas(), load_known(None)
    return atlas, known, all_states(atlas, known)


def test_bibtex_is_read_back_as_it_was(shipped):
    atlas, *_ = shipped
    file = File(name="out.bib", origin="mine")
    again = {one.id: one for one in read_papers(bibtex(atlas), file)}
    assert not file.problems
    assert set(again) == {one.id for one in cited(atlas)}
    for name, one in again.items():
        there = atlas.papers[name]
        assert (one.title, one.authors, one.year, one.url) == (
            there.title,
            there.authors,
            there.year,
            there.url,
        )


def test_every_link_of_the_vault_leads_to_a_file_of_it(shipped):
    atlas, known, states = shipped
    files = vault(atlas, known)
    stems = {name.rsplit("/", 1)[-1].removesuffix(".md") for name in files}
    assert len(files) == len(stems) == len(atlas.notes) + len(atlas.questions)
    for text in files.values():
        assert set(re.findall(r"\[\[([^\]|]+)", text)) <= stems
        assert "{" not in text
    front = yaml.safe_load(files["notes/three-phases.md"].split("---\n")[1])
    assert front["states"] == {
        f"three-phases/{i}": states.facts[f"three-phases/{i}"].state for i in range(1, 5)
    }


def test_tables_hold_what_the_atlas_does(shipped, tmp_path):
    atlas, known, states = shipped
    path = tmp_path / "atlas.sqlite"
    path.write_text("an old file")
    write_tables(atlas, known, path)
    with sqlite3.connect(path) as connection:
        connection.execute("pragma foreign_keys = on")
        assert connection.execute("pragma foreign_key_check").fetchall() == []
        count = {name: connection.execute(f"select count(*) from {name}").fetchone()[0] for name in TABLES}
        held = dict(connection.execute("select id, state from facts"))
        numbers = connection.execute(
            "select value, low, high from numbers where name = 'top - base'"
        ).fetchall()
    assert count == {
        "notes": len(atlas.notes),
        "facts": len(atlas.facts),
        "readings": len(atlas.readings),
        "relations": len(atlas.relations),
        "questions": len(atlas.questions),
        "papers": len(atlas.papers),
        "claims": len(CLAIMS),
    }
    assert held == {name: one.state for name, one in states.facts.items()}
    (record,) = known.of("one-example-nearly-suffices")
    there = record.numbers["top - base"]
    assert numbers == [(there.value, there.low, there.high)]
    assert [one.name for one in tmp_path.iterdir()] == ["atlas.sqlite"], "nothing is left beside it"


TABLES = ("notes", "facts", "readings", "relations", "questions", "papers", "claims")


def test_the_verb_writes_each_kind_and_overwrites_no_vault(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("KEYTURN_HOME", str(tmp_path / "home"))
    assert main(["atlas", "export", "bibtex", str(tmp_path / "a" / "out.bib")]) == 0
    assert "@misc{2504.20571" in (tmp_path / "a" / "out.bib").read_text()
    assert main(["atlas", "export", "sqlite", str(tmp_path / "out.sqlite")]) == 0
    assert main(["atlas", "export", "obsidian", str(tmp_path / "vault")]) == 0
    assert (tmp_path / "vault" / "notes" / "one-example.md").exists()
    capsys.readouterr()
    assert main(["atlas", "export", "obsidian", str(tmp_path / "vault")]) == 2
    assert "not empty" in capsys.readouterr().err
    assert main(["atlas", "export", "sqlite", str(tmp_path)]) == 2


def test_the_document_holds_everything_and_no_folder_of_this_machine(shipped, tmp_path):
    atlas, known, states = shipped
    assert main(["atlas", "export", "json", str(tmp_path / "atlas.json")]) == 0
    text = (tmp_path / "atlas.json").read_text(encoding="utf-8")
    found = json.loads(text)
    assert set(found["notes"]) == set(atlas.notes)
    assert {name: one["state"] for name, one in found["facts"].items()} == {
        name: one.state for name, one in states.facts.items()
    }
    assert set(found["claims"]) == set(CLAIMS)
    assert len(found["records"]) == sum(len(known.of(name)) for name in CLAIMS)
    assert "place" not in found["notes"]["one-example"]
    assert "create-or-deploy" in found["questions"]


def test_a_verdict_is_a_review_whose_rating_is_a_word(shipped, tmp_path):
    _, known, _ = shipped
    assert main(["atlas", "export", "jsonld", str(tmp_path / "atlas.jsonld")]) == 0
    graph = json.loads((tmp_path / "atlas.jsonld").read_text(encoding="utf-8"))["@graph"]
    ids = {one["@id"]: one for one in graph}
    assert len(ids) == len(graph)
    for name, claim in CLAIMS.items():
        said = verdict(claim, known.of(name))
        review = ids.get(f"#review-{name}")
        assert ids[f"#claim-{name}"]["text"] == claim.statement
        if said.state not in ("supported", "contradicted", "undecided"):
            assert review is None
            continue
        rating = review["reviewRating"]
        assert rating["alternateName"].startswith(said.state)
        assert "ratingValue" not in rating
        assert ("preliminary" in rating["alternateName"]) == said.preliminary
        assert all(one["@id"] in ids for one in (review["itemReviewed"], *review["isBasedOn"]))


def test_no_text_ends_the_script_that_holds_it():
    text = script_text({"text": "</script><script>alert(1)</script> <!-- & \u2028"})
    assert "<" not in text
    assert "&" not in text
    assert json.loads(text)["text"].startswith("</script>")
