"""The pages of the shipped atlas: links, numbers and what may run are checked one by one."""

import itertools
import json
import posixpath
import re
from urllib.parse import unquote

import pytest

from keyturn.atlas.answers import answer
from keyturn.atlas.answers.phrases import shown
from keyturn.atlas.answers.turning import turning_of
from keyturn.atlas.evidence import merged
from keyturn.atlas.readings import reading_state
from keyturn.atlas.verdict import combine
from keyturn.core import numbers
from keyturn.site.figures import plain
from keyturn.site.page import POLICY
from keyturn.site.views.front import to_run

pytestmark = pytest.mark.slow
INTERVAL = re.compile(r"[−-]?\d*\.\d+ \[[^\]]*\]")


def test_no_link_is_dead_and_none_leaves_but_to_papers(site, trees):
    ids = {path: {one.attrs["id"] for one in tree.having("id")} for path, tree in trees.items()}
    dead, foreign = [], set()
    for path, tree in trees.items():
        for one in tree.elements:
            for name in ("href", "src"):
                target = one.attrs.get(name)
                if target is None or target.startswith("data:"):
                    continue
                if re.match(r"https?:", target):
                    foreign.add((one.tag, target.split("/")[2]))
                    continue
                file, _, place = target.partition("#")
                assert not file.startswith("/"), "every link is relative"
                at = (
                    posixpath.normpath(posixpath.join(posixpath.dirname(path), unquote(file))) if file else path
                )
                filters = place.startswith("topic=")
                if at not in site or (place and not filters and unquote(place) not in ids.get(at, {place})):
                    dead.append((path, target))
    assert not dead
    assert {tag for tag, _ in foreign} <= {"a"}


def test_everything_of_the_collection_has_its_page(source, site):
    atlas = source.atlas
    for folder, names in (
        ("notes", atlas.notes),
        ("questions", atlas.questions),
        ("papers", atlas.papers),
        ("claims", source.claims),
        ("records", source.records),
    ):
        assert {f"{folder}/{name}.html" for name in names} <= set(site), folder
    for fact in atlas.facts.values():
        assert fact.says.split("'")[0].split("“")[0][:30].encode() in site[f"notes/{fact.note}.html"]


def test_nothing_runs_and_nothing_loads_but_what_lies_beside(trees):
    for path, tree in trees.items():
        policy = [
            e.attrs["content"] for e in tree.elements if e.attrs.get("http-equiv") == "Content-Security-Policy"
        ]
        assert policy == [POLICY], path
        for one in tree.elements:
            assert one.tag not in {
                "iframe",
                "object",
                "embed",
                "form",
                "base",
                "img",
                "style",
                "foreignobject",
            }, path
            assert not [name for name in one.attrs if name.startswith("on") or name == "style"], (
                path,
                one.attrs,
            )
            if one.attrs.get("type") == "application/ld+json":
                assert set(json.loads(one.text)) >= {"@context"}, path  # data, which no browser runs
            elif one.tag == "script":
                assert one.attrs.get("src"), path
                assert not one.text.strip(), path


def test_ids_are_unique_and_headings_do_not_skip(trees):
    for path, tree in trees.items():
        ids = [one.attrs["id"] for one in tree.having("id")]
        assert len(ids) == len(set(ids)), (path, {x for x in ids if ids.count(x) > 1})
        levels = [int(one.tag[1]) for one in tree.elements if re.fullmatch(r"h[1-6]", one.tag)]
        assert levels[0] == 1, path
        assert levels.count(1) == 1, path
        assert all(b - a <= 1 for a, b in itertools.pairwise(levels)), (path, levels)


# Numbers, each computed again from the records by another way than the page took.


def recomputed(source, one):
    """What a number with ``data-number`` must read."""
    origin, name = one.attrs["data-from"].split(), one.attrs["data-number"]
    records = [source.records[ref.removeprefix("record:")] for ref in origin]
    bound = float(one.attrs.get("data-bound", "nan"))
    if len(records) == 1:
        number = records[0].numbers[name]
        texts = {shown(number, bound)}
        if number.low == number.high:
            texts.add(shown(type(number)(number.value), bound))
        texts.add(shown(records[0].deciding(name), bound))
        texts.add(shown(combine([(records[0].base, records[0].deciding(name))]), bound))
        return texts
    return {shown(combine([(r.base, r.deciding(name)) for r in merged(records)]), bound)}


def test_every_number_is_what_its_record_holds(source, trees):
    seen = 0
    for path, tree in trees.items():
        for one in tree.having("data-number"):
            assert one.text in recomputed(source, one), (path, one.attrs, one.text)
            seen += 1
    assert seen > 500


def test_every_number_of_the_literature_is_a_quantity(source, trees):
    quantities = {f"{f.id}/{q.id}": str(q) for f in source.atlas.facts.values() for q in f.quantities}
    seen = set()
    for tree in trees.values():
        for one in tree.having("data-from"):
            if one.attrs["data-from"].startswith("quantity:"):
                name = one.attrs["data-from"].removeprefix("quantity:")
                assert one.text == quantities[name]
                seen.add(name)
    assert seen == set(quantities)


def test_every_bound_is_the_one_that_is_written_down(source, trees):
    seen = 0
    for path, tree in trees.items():
        for one in tree.having("data-from"):
            kind, _, name = one.attrs["data-from"].partition(":")
            if kind == "reading":
                values = [source.atlas.readings[name].bound]
            elif kind == "claim":
                values = [source.claims[name].threshold.smallest]
            elif kind == "gate":
                claim, _, gate = name.partition(":")
                found = next(
                    g for g in (*source.claims[claim].gates, *source.claims[claim].controls) if g.name == gate
                )
                values = [found.minimum, found.maximum]
            else:
                continue
            assert one.text in {plain(v) for v in values}, path
            seen += 1
    assert seen > 200


def test_every_sentence_of_an_answer_says_what_its_readings_say(source, trees):
    """Each number with an interval in running text is that of a reading which the sentence names."""
    known = 0
    for path, tree in trees.items():
        for one in tree.having("data-from"):
            if "c" not in one.attrs.get("class", "").split():
                continue
            readings = [r for r in one.attrs["data-from"].split() if r in source.atlas.readings]
            states = [
                reading_state(
                    source.atlas.readings[r], source.claims.get(source.atlas.readings[r].claim), source.known
                )
                for r in readings
            ]
            for number in INTERVAL.findall(one.text):
                assert number in {shown(s.number, s.reading.bound) for s in states}, (path, one.text)
                known += 1
    assert known > 50


def test_the_rows_of_a_record_are_those_of_its_run(source, trees):
    seen = 0
    for name, record in source.records.items():
        tree, rows = trees[f"records/{name}.html"], source.details(record).get("rows", ())
        inside = [e for e in tree.elements if e.within(lambda at: at.attrs.get("data-table") == "rows")]
        cells = [e.text for e in inside if e.tag in ("td", "th")]
        if not rows:
            assert cells == []
            continue
        names = list(dict.fromkeys(key for row in rows for key in row))
        assert cells[: len(names)] == names
        wanted = [row.get(key) for row in rows for key in names]
        assert len(cells) == len(names) + len(wanted)
        for text, value in zip(cells[len(names) :], wanted, strict=True):
            if isinstance(value, float):
                assert float(text.replace("−", "-").replace(",", "")) == pytest.approx(
                    value, abs=6e-4, rel=0.06
                )
            elif not isinstance(value, bool):
                assert text == ("" if value is None else str(value))
            seen += 1
    assert seen > 3000


def test_no_interval_stands_without_its_origin(trees):
    for path, tree in trees.items():
        for inside, text in tree.texts:
            drawn_or_data = inside is None or inside.within(lambda e: e.tag in ("svg", "script"))
            if INTERVAL.search(text) and not drawn_or_data:
                assert inside.within(lambda e: "data-from" in e.attrs), (path, text)


def test_linked_data_say_what_the_records_say(source, trees):
    seen = 0
    for name in source.claims:
        tree = trees[f"claims/{name}.html"]
        (script,) = (one for one in tree.elements if one.attrs.get("type") == "application/ld+json")
        for node in json.loads(script.text)["@graph"]:
            if node["@type"] == "ClaimReview":
                assert node["reviewRating"]["alternateName"].startswith(source.verdicts[name].state)
            for value in node.get("variableMeasured", ()):
                number = source.records[node["identifier"]].numbers[value["name"]]
                assert value["value"] == number.value
                seen += 1
    assert seen > 200


def test_what_would_change_a_reading_is_computed(source, trees):
    seen = 0
    for tree in trees.values():
        for one in tree.having("data-from"):
            if one.attrs["data-from"].startswith("turning:"):
                state = source.states.readings[one.attrs["data-from"].removeprefix("turning:")]
                assert one.text.lower().rstrip(".") == turning_of([state])[0].text.lower().rstrip(".")
                seen += 1
    assert seen > 20


def waiting(source, kind, by):
    """Questions, or facts, that wait for a study or an experiment."""
    atlas, found = source.atlas, set()
    for name, said in source.answers.items():
        asked = atlas.questions[name]
        for gap in said.gaps:
            if gap.by != by or asked.answerable == "outside":
                continue
            if kind == "questions" and by in asked.experiments + asked.claims:
                found.add(name)
            if kind == "facts":
                told = [one for fact in gap.facts for one in atlas.told_by(fact)]
                found |= {one for one in told if source.state(one) not in ("holds", "fails")}
    return found


def test_every_count_is_counted(source, trees):
    atlas, states = source.atlas, source.states
    tests = [r for r in states.readings.values() if r.reading.how == "tests" and r.sound]
    counts = {
        "notes": len(atlas.notes),
        "facts": len([f for f in atlas.facts.values() if not f.same_as]),
        "claims": len(source.claims),
        "questions": len(atlas.questions),
        "papers": len(atlas.papers),
        "records": len(source.records),
        "sound tests": len(tests),
        "decided tests": sum(r.outcome in ("holds", "fails") for r in tests),
        "illustrative tests": sum(r.illustrates for r in tests),
        "false by chance": numbers.number(0.025 * len(tests), digits=1),
    }
    for key in ("yes", "partly", "no", "outside"):
        counts[key] = sum(q.answerable == key for q in atlas.questions.values())
        counts[f"families:{key}"] = sum(q.answerable == key and not q.added for q in atlas.questions.values())
    counts["added"] = sum(q.added for q in atlas.questions.values())
    counts["families"] = len(atlas.questions) - counts["added"]
    seen = set()
    for path, tree in trees.items():
        for one in tree.having("data-count"):
            what = one.attrs["data-count"]
            if what.startswith("facts:"):
                wanted = sum(
                    states.facts[f.id].state == what[6:] for f in atlas.facts.values() if not f.same_as
                )
            elif what.startswith("waiting-"):
                wanted = len(waiting(source, *what.removeprefix("waiting-").split(":")))
            else:
                wanted = counts[what]
            assert one.text == str(wanted), (path, what)
            seen.add(what)
    assert set(counts) <= seen | {"records"}


def test_families_of_questions_are_those_of_the_lists_and_each_says_why(source, trees):
    questions = source.atlas.questions.values()
    families = [q for q in questions if not q.added]
    found = {key: sum(q.answerable == key for q in families) for key in ("yes", "partly", "no", "outside")}
    assert found == {"yes": 21, "partly": 97, "no": 132, "outside": 69}
    for one in questions:
        if one.answerable in ("no", "outside"):
            assert one.missing, one.id
        if one.missing:
            assert one.missing in trees[f"questions/{one.id}.html"].elements[0].text, one.id


def test_the_plans_are_ranked_by_what_waits_per_minute(source):
    plans = to_run(source)
    assert [p["worth"] for p in plans] == sorted((p["worth"] for p in plans), reverse=True)
    assert all(p["command"].startswith("keyturn claim run ") for p in plans if p["written"])


def test_answers_of_the_pages_are_those_of_the_terminal(source, site):
    for name in ("create-or-deploy", "early-and-late-skills", "procedure-then-strategy", "surface-and-regime"):
        found = answer(source.atlas.questions[name], source.atlas, source.known)
        page = site[f"questions/{name}.html"].decode()
        for paragraph in found.article:
            for sentence in paragraph:
                text = sentence.text.replace("&", "&amp;").replace("'", "&#39;").replace('"', "&#34;")
                assert text.replace("<", "&lt;").replace(">", "&gt;") in page


def test_a_question_names_under_its_answer_what_to_run_first(source, trees):
    shown = 0
    for name, found in source.answers.items():
        command = next((gap.command for gap in found.gaps if gap.command), "")
        there = [
            one.text for one in trees[f"questions/{name}.html"].elements if one.attrs.get("id") == "first-run"
        ]
        assert there == ([command] if command else []), name
        shown += bool(command)
    assert shown > 50
