"""The collection is read from plain files; what is refused says file, line and fix, and the rest is kept."""

import time

import pytest

from keyturn.atlas import CLAIMS
from keyturn.atlas.collection import load_atlas, read_atlas
from keyturn.atlas.collection.front_matter import MAX_BYTES, MAX_DEPTH, Refused, read_yaml
from keyturn.atlas.relation_types import INVERSE, MEANING, POLARITY, WHY_LENGTH
from keyturn.core.errors import InputError, UsageError


def test_what_ships_is_read_without_a_problem():
    atlas, problems = read_atlas()
    assert not problems
    assert len(atlas.notes) == 40
    assert len(atlas.facts) == 78
    assert len(atlas.distinct_facts) == 65
    assert len(atlas.papers) == 42
    assert len(atlas.experiments) == 30
    assert len(atlas.questions) >= 319


def test_what_ships_names_only_what_there_is():
    atlas = load_atlas()
    deciders = {*CLAIMS, *atlas.experiments}
    assert {r.source for r in atlas.relations} | {r.target for r in atlas.relations} <= set(atlas.notes)
    assert all(len(r.why) <= WHY_LENGTH for r in atlas.relations)
    assert all(r.decides in deciders for r in atlas.relations if r.polarity == "against")
    assert {one.claim for one in atlas.readings.values()} <= set(CLAIMS)
    assert {f.settled_by for f in atlas.facts.values()} - {""} <= set(atlas.experiments)
    for question in atlas.questions.values():
        assert set(question.notes) <= set(atlas.notes)
        assert set(question.claims) <= set(CLAIMS)
        assert set(question.experiments) <= set(atlas.experiments)
        assert {fact for role in question.roles for fact in role.facts} <= set(atlas.facts)


def test_claims_relate_by_the_same_closed_list():
    assert set(POLARITY) == set(MEANING) == set(INVERSE)
    assert {kind for claim in CLAIMS.values() for kind, _ in claim.relations.values()} <= set(POLARITY)


def test_a_users_note_is_read_and_a_shipped_one_cannot_be_changed(own, note):
    atlas = load_atlas(own({"notes/mine.md": note}))
    mine = atlas.notes["mine"]
    assert mine.place.origin == "mine"
    assert str(mine.facts[0].quantities[0]) == "3 to 4 points"
    assert atlas.readings["mine/1:one-example-nearly-suffices:top-base"].bound == 0.3
    assert [r.source for r in atlas.arriving["one-example"]] == ["mine"]
    taken = own({"notes/mine.md": note.replace("id: mine\n", "id: one-example\n")})
    atlas, (problem, *_) = read_atlas(taken)
    assert "'one-example' is there already" in problem.what
    assert "atlas/notes/one-example.md, line 2" in problem.fix
    assert atlas.notes["one-example"].place.origin == "shipped"
    with pytest.raises(InputError, match=r"mine\.md, line 2"):
        load_atlas(taken)


ADDITION = """---
adds-to: two-phases
facts:
  - id: two-phases/mine
    says: The order holds in my runs.
readings:
  - fact: two-phases/1
    claim: hicra-beats-grpo
    number: success at the end
    counts: ">="
    bound: 0
    how: bears
    where: in GRAPH
    says: paying planning tokens does no harm at the end
    otherwise: paying planning tokens does harm at the end
relations:
  - {type: tension, to: one-example, why: an order needs time, decides: execution-before-planning}
---
"""


def test_a_users_file_adds_to_a_shipped_note(own):
    before, after = load_atlas(), load_atlas(own({"notes/more.md": ADDITION}))
    assert [f.id for f in after.notes["two-phases"].facts[-1:]] == ["two-phases/mine"]
    assert after.facts["two-phases/1"].readings[-1].place.origin == "mine"
    assert after.notes["two-phases"].statement == before.notes["two-phases"].statement
    assert len(after.relations) == len(before.relations) + 1
    assert "two-phases/mine" not in before.facts, "what ships is not touched"


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("adds-to: two-phases", "adds-to: two-phase", 2, "unknown note 'two-phase'"),
        ("fact: two-phases/1", "fact: two-phases/9", 8, "unknown fact 'two-phases/9'"),
        ("id: two-phases/mine", "id: two-phases/1", 4, "'two-phases/1' is there already"),
    ],
)
def test_an_addition_to_what_is_not_there_is_a_problem(own, old, new, line, said):
    _, problems = read_atlas(own({"notes/more.md": ADDITION.replace(old, new)}))
    assert [p.place.line for p in problems if said in p.what and p.fix] == [line]


def test_scalars_stay_words_and_every_value_has_its_line():
    found = read_yaml("a: no\nb: 2510.07360\nc:\n  - {d: 1e3}\n  - x\n", first_line=2)
    assert found.data == {"a": "no", "b": "2510.07360", "c": [{"d": "1e3"}, "x"]}
    assert found.lines["a",] == 2
    assert found.lines["c", 0, "d"] == 5
    assert found.lines["c", 1] == 6


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "gives 'a' twice"),
        (BOMB, 1, "anchor or an alias"),
        ("a: !!python/object:os.system x\n", 1, "uses a tag"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("? [a, b]\n: c\n", 1, "key that is no text"),
        ("a: ]", 1, "is no YAML"),
        ("a: x: y\n", 1, "is no YAML"),
        ("- " * (MAX_DEPTH + 1) + "x\n", 1, "deep"),
        ("[" * 100_000, 1, "deep"),
        ("a: " + "x" * (5 * 2**20), 1, f"more than {MAX_BYTES // 1024} kB"),
    ],
)
def test_yaml_that_could_harm_is_refused_at_once(text, line, said):
    start = time.process_time()
    with pytest.raises(Refused, match=said) as refused:
        read_yaml(text)
    assert refused.value.line == line
    assert time.process_time() - start < 5


def test_unknown_names_are_answered_with_the_near_ones():
    with pytest.raises(UsageError, match=r"one-example"):
        load_atlas().note_named("one-exampel")
    with pytest.raises(UsageError, match=r"create-or-deploy"):
        load_atlas().question_named("create-or-deplo")


def test_facts_told_elsewhere_end_where_their_chain_ends(own):
    chain = "---\nadds-to: two-phases\nfacts:\n" + "".join(
        f"  - {{id: two-phases/{a}, says: As the other., same-as: [two-phases/{b}]}}\n"
        for a, b in (("x", "y"), ("y", "1"), ("p", "q"), ("q", "p"))
    )
    atlas = load_atlas(own({"notes/chain.md": chain + "---\n"}))
    assert atlas.told_by("two-phases/x") == ("two-phases/1",)
    assert atlas.told_by("two-phases/p") == (), "a circle tells nothing"
    assert atlas.told_by("latent-reasoning/7") == ("one-example/1", "one-example/2")
    assert atlas.told_by("nowhere/1") == ()
