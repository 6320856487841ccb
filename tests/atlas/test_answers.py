"""An answer is computed: sentences from the states of facts, numbers from records, and no id in the text."""

import dataclasses
import re
from dataclasses import replace

import pytest
from test_states import CLAIM, reading, record

from keyturn.atlas import CLAIMS
from keyturn.atlas.answers import answer, question_of_note
from keyturn.atlas.answers.phrases import count, decimals, listed, sentence, shown
from keyturn.atlas.answers.turning import MOST_SEEDS, seeds_to_decide
from keyturn.atlas.collection import Atlas, Fact, Note, Question, Relation, Role, load_atlas
from keyturn.atlas.collection.objects import Place
from keyturn.atlas.known import Known, load_known
from keyturn.atlas.states import all_states
from keyturn.core.measurement import Estimate

HERE = Place(file="made", line=1)
EFFECTS = {"holds": (0.1, 0.06, 0.14), "fails": (0.0, -0.04, 0.04), "open": (0.1, 0.0, 0.2)}


@pytest.fixture(scope="module")
def shipped():
    atlas, known = load_atlas(), load_known(None)
    return atlas, known, all_states(atlas, known)


@pytest.fixture(scope="module")
def answers(shipped):
    atlas, known, states = shipped
    return {one.id: answer(one, atlas, known, states=states) for one in atlas.questions.values()}


def test_every_question_is_answered_and_every_sentence_says_where_it_comes_from(answers, shipped):
    atlas, known, _ = shipped
    records = {one.id for claim in CLAIMS for one in known.of(claim)}
    there = {
        *atlas.notes,
        *atlas.facts,
        *atlas.readings,
        *atlas.questions,
        *atlas.experiments,
        *CLAIMS,
        *records,
    }
    there |= {one.id for one in atlas.relations}
    assert set(answers) == set(atlas.questions)
    for found in answers.values():
        assert not found.absent
        assert found.article[0][0] == found.sentence
        for clause in (one for paragraph in found.article for one in paragraph):
            assert set(clause.data_from) <= there
            assert clause.text[0].isupper() or clause.text[0].isdigit()
            assert clause.text[-1] in ".?!"


def test_no_id_and_no_stutter_stands_in_running_text(answers, shipped):
    atlas, *_ = shipped
    ids = {one for one in (*atlas.notes, *atlas.experiments, *CLAIMS) if "-" in one and one.count("-") > 1}
    ids |= {*atlas.facts, *atlas.readings}
    for name, found in answers.items():
        assert not [one for one in ids if one in found.text], name
        assert not re.search(r"\b(\w+) \1\b", found.text), (name, found.text)
        assert "  " not in found.text
        assert "none is" not in found.text
        assert not re.search(r"\b(?:that|whether|and|or) A ", found.text), (name, found.text)
        assert not re.search(r"[;,:.][;,:.]|\(\)|: *\.", found.text), (name, found.text)


def test_answers_are_as_long_as_an_article_and_no_longer(answers):
    longest = max(answers.values(), key=lambda one: len(one.text.split()))
    assert len(longest.text.split()) <= 300, longest.text
    for found in answers.values():
        if found.leaning not in ("outside", "unmeasured"):
            assert len(found.text.split()) >= 40, found.text


def test_a_number_is_told_once(answers):
    for name, found in answers.items():
        numbers = re.findall(r"\([−.\d]+ \[[^\]]*\], [^)]*\)", found.text)
        assert len(numbers) == len(set(numbers)), (name, found.text)


def test_the_numbers_of_the_text_are_those_of_the_readings(answers, shipped):
    _, records, states = shipped
    for found in answers.values():
        told = re.findall(r"\(([−.\d]+ \[[^\]]*\]), (\w+ seeds?)\b[^)]*\)", found.text)
        assert len(told) == found.text.count("["), "every number says over how many seeds it is"
        ids = {one for paragraph in found.article for clause in paragraph for one in clause.data_from}
        known = set()
        for one in (states.readings[name] for name in ids & set(states.readings)):
            seeds = sum(records.seeds_behind(record, one.reading.number) for record in one.records)
            known.add((shown(one.number, one.reading.bound), count(seeds, "seed")))
        assert set(told) <= known
        for line in found.measured:
            assert line.state == states.readings[line.state.reading.id]


def test_what_the_collection_says_of_each_question_is_what_the_answer_begins_with(answers):
    for found in answers.values():
        asked = found.question.answerable
        assert (found.leaning == "outside") == (asked == "outside")
        if asked == "no":
            assert found.leaning == "unmeasured"
        if found.leaning in ("yes", "no", "depends", "both"):
            assert found.question.asks == "whether", "nobody has said what would be yes"


WORKED = ("early-and-late-skills", "procedure-then-strategy", "surface-and-regime")


@pytest.mark.parametrize("name", WORKED)
def test_the_worked_questions_tell_their_whole_argument(name, answers):
    found = answers[name]
    for role in found.question.roles:
        assert sentence(role.says)[1:-1] in found.text
    for conflict in found.question.conflicts:
        assert conflict in found.text
    assert found.gaps
    assert found.tensions or name == "procedure-then-strategy"
    assert 150 < len(found.text.split()) < 290


def test_the_flagship_question_depends_on_the_world(answers):
    found = answers["create-or-deploy"]
    assert found.leaning == "depends"
    assert found.sentence.text == (
        "It depends: in PAR and in GRAPH, RL deploys what the base has; "
        "in CHAIN, RL creates what the base lacks (one base each, three seeds)."
    )


def made(*outcomes, asks="whether", denies=(), tension=False, answerable="yes", missing=""):
    """An atlas of one note a fact, and the question that they answer; ``None`` for a fact without a reading."""
    notes, records, roles = {}, [], []
    for index, outcome in enumerate(outcomes):
        own = replace(reading(f"n{index}"), fact=f"note{index}/1", where=f"in world {index}")
        fact = Fact(
            id=f"note{index}/1",
            note=f"note{index}",
            says="It is so.",
            readings=(own,) if outcome else (),
            settled_by="" if outcome else "an-experiment",
            place=HERE,
        )
        notes[f"note{index}"] = Note(
            id=f"note{index}",
            question=f"Is it so, {index}?",
            statement="It is.",
            kind="finding",
            topics=("made",),
            papers=(),
            facts=(fact,),
            body="",
            place=HERE,
        )
        roles.append(Role(role="answer", says="it is so", notes=(f"note{index}",), denies=index in denies))
        if outcome and outcome != "never run":
            records.append(outcome)
    numbers = {f"n{i}": Estimate(*EFFECTS[one]) for i, one in enumerate(outcomes) if one in EFFECTS}
    one = record(EFFECTS["holds"])
    one = replace(one, numbers={**one.numbers, **numbers})
    relations = ()
    if tension:
        why = "one cannot hold with the other"
        relations = (Relation(source="note0", target="note1", type="tension", why=why, place=HERE),)
    question = Question(
        id="asked",
        question="Is it so?",
        topic="made",
        asks=asks,
        answerable=answerable,
        missing=missing,
        roles=tuple(roles),
        claims=("made",),
        place=HERE,
    )
    atlas = Atlas(notes=notes, questions={"asked": question}, experiments={}, papers={}, relations=relations)
    known = Known(records={"made": (one,) if records else ()}, seeds={(one.id, ""): 3})
    return answer(question, atlas, known, claims={"made": CLAIM})


@pytest.mark.parametrize(
    ("outcomes", "more", "leaning", "said"),
    [
        (("holds",), {}, "yes", "Yes, in the worlds tried (one base, three seeds)."),
        (("fails",), {}, "no", "No, in the worlds tried (one base, three seeds)."),
        (("holds",), {"denies": (0,)}, "no", "No, in the worlds tried (one base, three seeds)."),
        (("holds", "fails"), {"denies": (1,)}, "yes", "Yes, in the worlds tried (one base, three seeds)."),
        (
            ("holds", None),
            {},
            "yes",
            "Yes, in the worlds tried (one base, three seeds; one of two facts tested).",
        ),
        (("holds", "fails"), {}, "depends", "It depends: yes in world 0, but not in world 1 ("),
        (
            ("holds", "holds"),
            {"denies": (1,), "tension": True},
            "both",
            "Both sides hold here: one cannot hold with the other.",
        ),
        (
            ("holds", "open"),
            {},
            "undecided",
            "Undecided: one of the two facts behind it is settled; in the worlds tried it holds that it",
        ),
        (("open",), {}, "undecided", "Undecided: the one fact behind it is not settled."),
        ((None,), {}, "unmeasured", "Nothing here measures it; two experiments would."),
        (("never run",), {}, "unmeasured", "Nothing here measures it; one experiment would."),
        (
            ("holds",),
            {"asks": "open"},
            "measured",
            "In the worlds tried it holds that it is so (one base",
        ),
        (("open", "open"), {}, "undecided", "Undecided: neither of the two facts behind it is settled."),
        (
            ("holds", "fails"),
            {"asks": "open"},
            "measured",
            "In the worlds tried it holds that it is so, but not that it is so",
        ),
        (
            ("holds", None),
            {"asks": "open"},
            "undecided",
            "Undecided: one of the two facts behind it is settled; in the worlds tried it holds that it",
        ),
        (("holds",), {"answerable": "no", "missing": "all of it"}, "unmeasured", "Nothing here measures it"),
        (("holds",), {"answerable": "outside", "missing": "dreams"}, "outside", "Nothing in this laboratory"),
    ],
)
def test_the_first_sentence_follows_the_table(outcomes, more, leaning, said):
    found = made(*outcomes, **more)
    assert found.leaning == leaning
    assert found.sentence.text.startswith(said)


def test_gaps_name_the_command_and_the_next_seed(answers):
    gaps = {gap.by: gap for gap in answers["q087"].gaps}
    one = gaps["one-example-nearly-suffices"]
    assert one.command == "keyturn claim run one-example-nearly-suffices --seed 1"
    assert one.minutes > 1
    assert "no spread" in one.why
    unwritten = [gap for found in answers.values() for gap in found.gaps if not gap.written]
    assert unwritten
    assert not any(gap.command for gap in unwritten)


def test_literature_is_compared_in_direction_only(answers):
    lines = {line.fact.fact.id: line for found in answers.values() for line in found.reported}
    assert lines["one-example/1"].agreement == "agrees"
    assert lines["create-or-deploy/4"].agreement == "differs"
    assert lines["create-or-deploy/1"].agreement == "not comparable"
    assert lines["create-or-deploy/1"].papers == ("2510.07364",)
    assert {str(q) for q in lines["create-or-deploy/1"].quantities} >= {"91%", "12%"}


def test_seeds_that_would_decide_follow_the_rule_of_the_studies(shipped):
    *_, states = shipped
    found = states.readings["two-phases/3:hicra-beats-grpo:effect"]
    seeds = seeds_to_decide(found)
    half = (found.number.high - found.number.low) / 2
    assert found.seeds == 5 < seeds < MOST_SEEDS
    from scipy import stats

    deviation = half * 5**0.5 / stats.t.ppf(0.975, 4)
    reach = [
        (stats.t.ppf(0.975, n - 1) + stats.t.ppf(0.8, n - 1)) * deviation / n**0.5 for n in (seeds - 1, seeds)
    ]
    distance = abs(found.number.value - found.reading.bound)
    assert reach[0] > distance >= reach[1]


def test_every_claim_says_what_it_costs():
    assert {name: claim.minutes for name, claim in CLAIMS.items() if not 1 <= claim.minutes <= 60} == {}


def test_a_notes_own_question_is_answered_by_its_facts(shipped):
    atlas, known, states = shipped
    for note in atlas.notes.values():
        found = answer(question_of_note(atlas, note), atlas, known, states=states)
        assert not found.absent
        assert {line.fact.fact.id for line in found.reported} >= {
            f.id for f in note.facts
        } or note.id in atlas.questions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (decimals(0.05, 2), ".05"),
        (decimals(-0.0249, 3), "−.025"),
        (decimals(1.0, 2), "1.00"),
        (shown(Estimate(0.5, 0.4, 0.6)), ".50 [.40, .60]"),
        (shown(Estimate(0.5, 0.4999, 0.6), 0.5), ".5000 [.4999, .6000]"),
        (shown(Estimate(0.0)), ".00, without an interval"),
        (shown(Estimate(float("nan"))), "undefined"),
        (count(1, "base"), "one base"),
        (count(2, "study", "studies"), "two studies"),
        (count(0, "record"), "no record"),
        (count(14, "fact"), "14 facts"),
        (listed(["a"]), "a"),
        (listed(["a", "b", "c"]), "a, b and c"),
        (sentence("in GRAPH it is so"), "In GRAPH it is so."),
    ],
)
def test_words_for_numbers(text, expected):
    assert text == expected


@pytest.mark.parametrize("kind", ["record", "reading", "note", "claim", "experiment"])
def test_what_is_taken_out_is_a_gap_that_is_named(shipped, kind):
    """One object goes: the answer stands, and says what it now lacks."""
    atlas, known, _ = shipped
    claims, claim = CLAIMS, "one-example-nearly-suffices"
    question = next(
        one
        for one in atlas.questions.values()
        if claim in one.claims and one.experiments and "one-example" in one.notes
    )
    if kind == "record":
        known = dataclasses.replace(known, records={**known.records, claim: ()})
    elif kind == "reading":
        notes = {
            name: dataclasses.replace(
                note, facts=tuple(dataclasses.replace(fact, readings=()) for fact in note.facts)
            )
            for name, note in atlas.notes.items()
        }
        atlas = dataclasses.replace(atlas, notes=notes)
    elif kind == "note":
        notes = {name: one for name, one in atlas.notes.items() if name != "one-example"}
        atlas = dataclasses.replace(atlas, notes=notes)
    elif kind == "claim":
        claims = {name: one for name, one in CLAIMS.items() if name != claim}
    else:
        atlas = dataclasses.replace(atlas, experiments={})
    found = answer(question, atlas, known, claims=claims)
    assert found.text
    if kind == "record":
        assert f"keyturn claim run {claim} --seed 0" in {gap.command for gap in found.gaps}
    elif kind == "reading":
        assert not found.measured
        assert found.gaps
    else:
        gone = {"note": "one-example", "claim": claim, "experiment": question.experiments[0]}[kind]
        assert gone in found.absent
