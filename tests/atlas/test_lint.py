"""Bad input is one line that names file, line and fix; what is taken away leaves a named gap and no error."""

import dataclasses
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.atlas.answers import answer, question_of_note
from keyturn.atlas.checks import lint
from keyturn.atlas.collection import Atlas, load_atlas
from keyturn.atlas.known import Known, load_known
from keyturn.atlas.prose import pieces
from keyturn.atlas.states import all_states


def problems(own, files):
    """What is wrong in a user's own files, and nothing in the shipped ones."""
    found = lint(own(files))
    assert all(one.place.origin == "mine" for one in found), found
    return found


def test_nothing_is_wrong_in_what_ships():
    assert [str(one) for one in lint(None)] == []


def test_a_good_note_has_no_problem(own, note):
    assert problems(own, {"notes/mine.md": note}) == ()


BAD = [
    ("id: mine\n", "id: Mine\n", 2, "no kebab case"),
    ("id: mine\n", "id: one-example\n", 2, "is there already"),
    ("id: mine\n", "id: mine\nid: mine\n", 3, "gives 'id' twice"),
    ("kind: finding", "kind: find", 5, "kind is 'find'"),
    ("topics: [tests]", "topics: [tests", 7, "is no YAML"),
    ("topics: [tests]", "topics: &a [tests, *a]", 6, "anchor or an alias"),
    ("statement: It is one.", "statment: It is one.", 4, "unknown key 'statment'"),
    ('papers: ["2504.20571"]', 'papers: ["9999.99999"]', 2, "unknown paper '9999.99999'"),
    ("id: mine/1", "id: yours/1", 9, "does not carry its note's id"),
    ("bound: 0.3", "bound: nan", 17, "is no finite number"),
    ("bound: 0.3", "bound: no", 17, "is no finite number"),
    ('counts: ">="', 'counts: ">"', 16, "counts is '>'"),
    ("claim: one-example-nearly-suffices", "claim: one-example", 14, "unknown claim 'one-example'"),
    ("number: top - base", "number: top - bass", 14, "unknown number of one-example-nearly-suffices"),
    ("how: tests", "how: tests\n        gates: [no such]", 14, "unknown gate"),
    ("\n        base: graph", "", 14, "names no base"),
    ("to: one-example,", "to: one-exampel,", 24, "unknown note 'one-exampel'"),
    ("to: one-example,", "to: mine,", 24, "is related to itself"),
    ("type: extends", "type: resembles", 24, "type is 'resembles'"),
    ("why: it asks for more", f"why: {'more ' * 40}", 24, "the reason has"),
    ("One example gave {gain}", "One example gave 37 points", 26, "the number 37 in the prose"),
    ("One example gave {gain}", "\n\nOne example gave {gian}", 28, "the number 'gian'"),
    ("compare [[one-example]]", "compare [[one]]", 26, "the note 'one'"),
    ("statement: It is one.", "statement: It is one of 40.", 2, "the number 40 in the statement"),
    (
        "raises success by .3 or more",
        "raises success by .4 or more",
        14,
        "the number 0.4 in a reading's sentence",
    ),
    ("says: It holds one fact.", "says: It <b>holds</b> one fact.", 9, "HTML"),
    ("compare", "<script>alert(1)</script> compare", 26, "HTML"),
    ("compare", "[see](javascript:alert) compare", 26, "an address that runs something"),
    ("compare", "[see](http://example.org) compare", 26, "a link to 'http://example.org'"),
    ("question: Is this a note?", 'question: "Is \\x1b[2Jthis a note?"', 2, "control, bidirectional"),
    ("question: Is this a note?", "question: Is \u202ethis a note?", 2, "control, bidirectional"),
    ("---\nid", "id", 1, "does not begin with front matter"),
    ("---\nOne", "One", 1, "front matter does not end"),
    ("statement: It is one.", f"statement: {'x' * 300_000}", 1, "more than 256 kB"),
]


@pytest.mark.parametrize(("old", "new", "line", "said"), BAD, ids=[said for *_, said in BAD])
def test_bad_input_is_one_line_with_file_line_and_fix(own, note, old, new, line, said):
    assert old in note
    found = problems(own, {"notes/mine.md": note.replace(old, new, 1)})
    told = [one for one in found if said in one.what]
    assert told, [str(one) for one in found]
    assert told[0].place.line == line
    text = str(told[0])
    assert "\n" not in text
    assert re.search(r"notes/mine\.md, line \d+: .+ \(fix: .+\)$", text)


def test_five_megabytes_of_front_matter_are_not_even_read(own, note):
    (one,) = problems(own, {"notes/mine.md": note.replace("It is one.", "x" * 5 * 2**20)})
    assert "more than 256 kB" in one.what


def test_bytes_that_are_no_text(own, note):
    home = own({"notes/mine.md": note})
    (home / "atlas" / "notes" / "mine.md").write_bytes(b"---\nid: \xff\n---\n")
    (one,) = lint(home)
    assert "no UTF-8" in one.what


def test_two_notes_that_differ_by_case_alone(own, note):
    other = note.replace("id: mine\n", "id: Mine\n").replace("mine/1", "Mine/1")
    found = problems(own, {"notes/mine.md": note, "notes/mine-2.md": other})
    assert any("differ by case alone" in one.what for one in found)


def plain(name, relations):
    said = "".join(f"  - {{type: {kind}, to: {to}, why: a reason}}\n" for kind, to in relations)
    head = f"id: {name}\nquestion: Is it {name}?\nstatement: It is.\nkind: hub\ntopics: [tests]\n"
    return f"---\n{head}facts:\nrelations:\n{said}---\n"


@pytest.mark.parametrize("kind", ["part-of", "supersedes"])
def test_circles_of_parts_and_of_what_supersedes(own, kind):
    ring = {"a": "b", "b": "c", "c": "a"}
    found = problems(own, {f"notes/{x}.md": plain(x, [(kind, y)]) for x, y in ring.items()})
    assert [one.what for one in found] == [f"{kind} runs in a circle: a -> b -> c -> a"]
    both = {f"notes/{x}.md": plain(x, [("part-of", y), ("supersedes", y)]) for x, y in ("ab", "bc")}
    assert problems(own, {**both, "notes/c.md": plain("c", [("extends", "a")])}) == ()


def test_a_fact_told_elsewhere_points_to_where_it_is_told(own):
    chain = "---\nadds-to: two-phases\nfacts:\n" + "".join(
        f"  - {{id: two-phases/{a}, says: As the other., same-as: [two-phases/{b}]}}\n"
        for a, b in (("x", "y"), ("y", "1"), ("p", "q"), ("q", "p"))
    )
    found = {one.what: one.fix for one in problems(own, {"notes/chain.md": chain + "---\n"})}
    assert found["'two-phases/y' is told elsewhere itself"] == "same-as: [two-phases/1]"
    assert "has to tell it" in found["'two-phases/q' is told elsewhere itself"]


def test_questions_experiments_and_papers_are_checked_too(own):
    files = {
        "questions/mine.yaml": "topic: tests\nquestions:\n"
        "  - {id: q-mine, question: Is it?, answerable: no, asks: whether, claims: [nothing]}\n",
        "experiments.yaml": "experiments:\n  - {id: e, says: s, exists: x, lacks: y, kind: k, minutes: soon}\n",
        "papers.bib": "@misc{1,\n title={<i>A</i>},\n year={2025}\n}\n@misc{2,\n title={B},\n year={soon}\n}\n",
    }
    said = [str(one) for one in problems(own, files)]
    assert any("unknown claim 'nothing'" in one and "mine.yaml, line 3" in one for one in said)
    assert any("asks whether, and no role answers" in one for one in said)
    assert any("'minutes' is no finite number" in one and "experiments.yaml, line 2" in one for one in said)
    assert any("HTML" in one and "papers.bib, line 1" in one for one in said)
    assert any("the year of '2' is 'soon'" in one and "papers.bib, line 5" in one for one in said)


def test_prose_is_shown_with_its_numbers_looked_up(own, note):
    text = note.replace(
        "One example gave {gain}", "Here {one-example/1:one-example-nearly-suffices:effect} and {gain}"
    )
    atlas = load_atlas(own({"notes/mine.md": text}))
    states = all_states(atlas, load_known(None))
    found = {one.kind: one for one in pieces(atlas.notes["mine"], atlas.notes, states) if one.kind != "text"}
    assert found["note"].of == "one-example"
    numbers = [one.text for one in pieces(atlas.notes["mine"], atlas.notes, states) if one.kind == "number"]
    assert numbers == ["−.025 [−.049, .000]", "3 to 4 points"]


@pytest.fixture(scope="module")
def shipped():
    return load_atlas(), load_known(None)


def without(atlas, kind, key):
    """The atlas less one reading, relation, fact, note, paper, experiment or question."""
    if kind == "relation":
        return dataclasses.replace(atlas, relations=tuple(one for one in atlas.relations if one.id != key))
    if kind in ("paper", "experiment", "question", "note"):
        field = f"{kind}s"
        return dataclasses.replace(
            atlas, **{field: {name: one for name, one in getattr(atlas, field).items() if name != key}}
        )
    notes = {}
    for note in atlas.notes.values():
        facts = [
            dataclasses.replace(fact, readings=tuple(one for one in fact.readings if one.id != key))
            for fact in note.facts
            if fact.id != key
        ]
        notes[note.id] = dataclasses.replace(note, facts=tuple(facts))
    return dataclasses.replace(atlas, notes=notes)


def everything(atlas: Atlas):
    yield from (("reading", one) for one in atlas.readings)
    yield from (("relation", one.id) for one in atlas.relations)
    for kind in ("fact", "note", "paper", "experiment", "question"):
        yield from ((kind, one) for one in getattr(atlas, f"{kind}s"))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_taken_away_leaves_everything_working_and_is_named(shipped, data):
    atlas, known = shipped
    kind, key = data.draw(st.sampled_from(sorted(everything(atlas))))
    less = without(atlas, kind, key)
    states = all_states(less, known)
    citing = [one for one in less.questions.values() if key in (*one.notes, *one.experiments)]
    citing += [one for one in less.questions.values() if any(key in role.facts for role in one.roles)]
    for one in citing or list(less.questions.values())[::40]:
        found = answer(one, less, known, states=states)
        assert found.text
        assert not citing or kind in ("paper", "question") or key in found.absent
    for note in less.notes.values():
        assert answer(question_of_note(less, note), less, known, states=states).text
    if kind == "reading":
        fact = atlas.readings[key].fact
        assert key not in {one.reading.id for one in states.facts[fact].readings}


@pytest.mark.slow
@settings(max_examples=31, deadline=None)
@given(data=st.data())
def test_a_record_that_is_taken_away_leaves_a_gap_with_its_command(shipped, data):
    atlas, known = shipped
    claim = data.draw(st.sampled_from(sorted(name for name in known.records if atlas.readings_of.get(name))))
    less = Known(records={**known.records, claim: ()}, seeds=known.seeds)
    states = all_states(atlas, less)
    readings = atlas.readings_of[claim]
    assert all(states.readings[one.id].outcome == "no record" for one in readings)
    for one in (q for q in atlas.questions.values() if claim in q.claims and q.answerable != "outside"):
        found = answer(one, atlas, less, states=states)
        assert any(gap.by == claim and gap.command.endswith("--seed 0") for gap in found.gaps)


def test_an_id_that_cannot_name_a_file_says_so_once(own, note):
    home = own({"notes/long.md": note.replace("mine", "m" * 300)})
    (problem, *others) = [one for one in lint(home, load_known(home)) if "characters" in one.what]
    assert (problem.place.line, problem.fix) == (2, "at most 80")
    assert len(str(problem)) < 300
    assert not others
    home = own({"notes/long.md": note.replace("id: mine\n", "id: ../../etc/passwd\n")})
    said = [one.what for one in lint(home, load_known(home)) if one.place.line == 2]
    assert said == ["the id '../../etc/passwd' is no kebab case"]


def test_what_acts_in_prose_is_named_with_its_own_line(own, note):
    home = own({"notes/mine.md": note + "\nA second line.\n\n[x](javascript:alert) <b>bold</b>\n"})
    found = {one.what: one.place.line for one in lint(home, load_known(home))}
    last = len((note + "\nA second line.\n\nx").split("\n"))
    assert found["HTML in a text"] == last
    assert found["an address that runs something (javascript:)"] == last
