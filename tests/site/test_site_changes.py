"""What a change changes: one record its own pages and nothing else; a lack a named gap and no error."""

import json
import os
import posixpath
import random
import subprocess
import sys
from dataclasses import replace

import pytest
from rendered_site import Tree, rendered

from keyturn.atlas import CLAIMS
from keyturn.atlas.collection import load_atlas
from keyturn.atlas.evidence import MINE
from keyturn.atlas.known import load_known
from keyturn.atlas.store import append, shipped
from keyturn.core.measurement import Estimate
from keyturn.site.site import build
from keyturn.site.source import Source

pytestmark = pytest.mark.slow
CLAIM = "one-example-nearly-suffices"
LISTS = {
    "index.html",
    "map.html",
    "next.html",
    "changes.html",
    "trust.html",
    "claims/index.html",
    "records/index.html",
    "topics/index.html",
    "questions/index.html",
    "states.json",
}
"""Pages about the whole, which cite every record."""


def source_of(home):
    return Source(atlas=load_atlas(home), known=load_known(home), claims=CLAIMS, home=home)


def another(seed=1, shift=-0.5):
    """A record of the claim with another seed, whose numbers all lie elsewhere."""
    old = shipped(CLAIM)[0]
    moved = {
        name: Estimate(x.value + shift, x.low + shift, x.high + shift) if name == "effect" else x
        for name, x in old.numbers.items()
    }
    return replace(old, seed=seed, numbers=moved, origin=MINE, made="2027-01-01T00:00:00+00:00")


def citing(source):
    """Pages that cite the claim's records: by a fact that reads it, a neighbour's marks, a question."""
    atlas = source.atlas
    facts = {
        fact.id
        for fact in atlas.facts.values()
        for told in atlas.told_by(fact.id)
        if any(r.claim == CLAIM for r in atlas.facts[told].readings)
    }
    notes = {fact.partition("/")[0] for fact in facts}
    near = notes | {r.source for r in atlas.relations if r.target in notes}
    near |= {r.target for r in atlas.relations if r.source in notes}
    # A list of questions shows what their answers say, a question the marks of its notes and what comes next.
    asked = {q.id for q in atlas.questions.values() if CLAIM in q.claims or set(q.notes) & near}
    asked |= {name for name, found in source.answers.items() if set(found.further) & asked}
    near |= {note for q in asked for note in atlas.questions[q].notes}
    topics = {topic for note in notes for topic in atlas.notes[note].topics}
    papers = {p.id for p in atlas.papers.values() if p.id in CLAIMS[CLAIM].source}
    papers |= {q.paper for fact in facts for q in atlas.facts[fact].quantities}
    papers |= {p for note in notes for p in atlas.notes[note].papers}
    return (
        {f"notes/{note}.html" for note in near}
        | {f"questions/{q}.html" for q in asked}
        | {f"topics/{topic.replace(' ', '-')}.html" for topic in topics}
        | {f"papers/{paper}.html" for paper in papers}
        | {f"methods/{name}.html" for name in CLAIMS[CLAIM].methods}
        | {f"claims/{CLAIM}.html"}
        | {f"records/{one.id}.html" for one in source.known.of(CLAIM)}
    )


def test_one_record_changes_the_pages_that_cite_it_and_no_other(site, tmp_path):
    append(another(), tmp_path)
    source = source_of(tmp_path)
    after = rendered(source, tmp_path)
    changed = {path for path in set(site) | set(after) if site.get(path) != after.get(path)}
    assert changed - LISTS <= citing(source)
    new = another()
    must = {
        f"records/{new.id}.html",
        f"claims/{CLAIM}.html",
        "notes/one-example.html",
        "changes.html",
        "index.html",
    }
    must |= {"map.html", "claims/index.html", "records/index.html", "next.html", "methods/one-shot.html"}
    assert must <= changed
    assert len(changed) < len(after) / 2
    assert "search.js" not in changed
    assert "places.json" not in changed


def test_what_moved_names_the_record_and_the_states(site, tmp_path):
    append(another(), tmp_path)
    source = source_of(tmp_path)
    page = Tree(rendered(source, tmp_path)["changes.html"].decode())
    first = next(e for e in page.elements if e.tag == "section" and "part" in e.attrs.get("class", ""))
    assert first.text.strip().startswith("2027-01-01")
    assert another().id[:6] in first.text
    fact = source.atlas.facts["one-example/1"]
    assert fact.says in first.text
    assert "became" in first.text
    before = Source(atlas=source.atlas, known=load_known(None), claims=CLAIMS)
    assert before.state(fact.id) in first.text
    assert source.state(fact.id) in first.text
    assert before.state(fact.id) != source.state(fact.id)


def test_the_same_records_in_another_order_give_the_same_bytes(tmp_path):
    sites = []
    for name, seeds in (("a", (1, 2)), ("b", (2, 1))):
        for seed in seeds:
            append(another(seed), tmp_path / name)
        sites.append(rendered(source_of(tmp_path / name), tmp_path / "none"))
    assert sites[0] == sites[1]


HASHED = """
import hashlib, pathlib, sys
from keyturn.site.files import files, known_places
from keyturn.site.source import load_source
from keyturn.site.views.notes import places_of
source = load_source(pathlib.Path(sys.argv[1]))
digest = hashlib.sha256()
for name, content in files(source, places_of(source, known_places(pathlib.Path(sys.argv[1])))):
    digest.update(name.encode() + content)
print(digest.hexdigest())
"""


def test_a_rebuild_is_the_same_to_the_byte_whatever_python_hashes(tmp_path):
    found = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", HASHED, str(tmp_path)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        )
        found.add(done.stdout)
    assert len(found) == 1


def without(source, kind):
    """The source without all objects of a kind."""
    atlas, known = source.atlas, source.known
    if kind == "records":
        known = replace(known, records={})
    elif kind == "relations":
        atlas = replace(atlas, relations=())
    elif kind == "readings":
        notes = {
            name: replace(note, facts=tuple(replace(fact, readings=()) for fact in note.facts))
            for name, note in atlas.notes.items()
        }
        atlas = replace(atlas, notes=notes)
    elif kind == "every second note":
        atlas = replace(atlas, notes=dict(list(atlas.notes.items())[::2]))
    elif kind == "claims":
        return replace(source, claims={})
    else:
        atlas = replace(atlas, **{kind: {}})
    return replace(source, atlas=atlas, known=known)


KINDS = ["records", "relations", "readings", "papers", "experiments", "questions", "notes", "claims"]


@pytest.mark.parametrize("kind", [*KINDS, "every second note"])
def test_without_a_kind_of_object_the_site_stands_and_no_link_is_dead(source, tmp_path, kind):
    made = rendered(without(source, kind), tmp_path)
    pages = {path: Tree(content.decode()) for path, content in made.items() if path.endswith(".html")}
    ids = {path: {e.attrs["id"] for e in page.having("id")} for path, page in pages.items()}
    for path, page in pages.items():
        for one in page.having("href"):
            file, _, place = one.attrs["href"].partition("#")
            if file.startswith(("data:", "http")):
                continue
            at = posixpath.normpath(f"{path.rpartition('/')[0]}/{file}".lstrip("/")) if file else path
            assert at in made, (path, one.attrs["href"])
            assert not place or place.startswith("topic=") or place in ids.get(at, ()), (
                path,
                one.attrs["href"],
            )
    if kind == "records":
        assert "The study was never run" in made["notes/one-example.html"].decode()
    if kind == "readings":
        assert "Nothing here measures it" in made["notes/one-example.html"].decode()


HOSTILE = """---
id: hostile
question: "<script>alert(1)</script> <img src=x onerror=alert(2)> \\u202e\\x1b[2J?"
statement: "{{7*7}} ]]> <!-- \\"quoted\\" 'too'"
kind: finding
topics: ["<b>topic</b>"]
papers: ["2504.20571"]
facts:
  - id: hostile/1
    says: "</li></ul><script>alert(3)</script>"
relations:
  - {type: tension, to: one-example, why: "<svg onload=alert(4)>"}
---
<script>alert(5)</script> [x](javascript:alert(6)) ![i](http://evil.example/i.png) [[one-example]] [[nowhere]]
"""


def test_a_hostile_note_is_shown_and_does_nothing(tmp_path):
    notes = tmp_path / "atlas" / "notes"
    notes.mkdir(parents=True)
    (notes / "hostile.md").write_text(HOSTILE, "utf-8")
    made = rendered(source_of(tmp_path), tmp_path)
    page = made["notes/hostile.html"].decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    for path in ("notes/hostile.html", "map.html", "index.html", "notes/one-example.html", "topics/index.html"):
        tree = Tree(made[path].decode())
        assert not [e for e in tree.elements if any(n.startswith("on") for n in e.attrs)], path
        assert not [e for e in tree.elements if e.tag == "script" and not e.attrs.get("src")], path
        assert not [e for e in tree.having("href") if e.attrs["href"].startswith("javascript:")], path
        assert not [e for e in tree.elements if e.tag == "img"], path
    assert b"<" not in made["search.js"]


def test_related_notes_and_papers_carry_their_cosine(source, trees):
    seen = set()
    for tree in trees.values():
        for one in tree.having("data-related"):
            a, b = one.attrs["data-related"].split()
            near = source.related if a in source.related else source.related_papers
            cosine = next(hit.cosine for hit in near[a] if hit.id == b)
            assert float(one.text) == pytest.approx(cosine, abs=0.005)
            seen.add((a, b))
    assert {a for a, _ in seen} >= set(source.atlas.papers)
    assert len(seen) > 500


def test_a_build_after_new_records_is_that_of_a_whole_build(tmp_path):
    """Records of chosen claims come and go: what was not made again is what a whole build would have made."""
    home, out = tmp_path / "home", tmp_path / "out"
    chosen = random.Random(1)
    assert len(build(home, out).written) > 400
    names = [name for name in CLAIMS if shipped(name)]
    for step in range(2):
        name, shift = chosen.choice(names), chosen.choice([-0.5, 0.0, 0.5])
        old = shipped(name)[0]
        moved = {
            key: Estimate(x.value + shift, x.low + shift, x.high + shift) for key, x in old.numbers.items()
        }
        made = f"2027-01-0{step + 1}T00:00:00+00:00"
        append(replace(old, seed=step + 1, numbers=moved, origin=MINE, made=made), home)
        if step == 1:
            (home / "evidence" / f"{name}.jsonl").unlink()
        source = source_of(home)
        whole = rendered(source, out)
        done = build(home, out)
        assert {path: (out / path).read_bytes() for path in whole} == whole
        assert len(done.written) < len(whole) / 3
    assert build(home, out).written == ()


def test_a_page_that_was_deleted_or_begun_is_made_again(tmp_path):
    home, out = tmp_path / "home", tmp_path / "out"
    build(home, out)
    page = out / "notes" / "one-example.html"
    content = page.read_bytes()
    page.unlink()
    assert build(home, out).written == ("notes/one-example.html",)
    manifest = out / ".keyturn-atlas.json"
    names = json.loads(manifest.read_text())["files"]
    # As an interrupted build leaves it: hashes and marks gone, a page of other records on the disk.
    manifest.write_text(json.dumps({"schema": 1, "marks": {}, "files": dict.fromkeys(names, "")}))
    page.write_text("another build's")
    build(home, out)
    assert page.read_bytes() == content
