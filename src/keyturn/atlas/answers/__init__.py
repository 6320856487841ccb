"""Answers: a pure function of a question, the atlas and the records.

:func:`answer` gives an :class:`Answer`; nothing in it is written by hand but the words of the collection and
the templates of this package, and every sentence names what it rests on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keyturn.atlas import CLAIMS
from keyturn.atlas.answers.article import article, cautions
from keyturn.atlas.answers.first_sentence import first_sentence, votes_of
from keyturn.atlas.answers.gaps import gaps_of
from keyturn.atlas.answers.measured import measured_lines, reported_lines, sources_of, tensions_of
from keyturn.atlas.answers.parts import Answer, Clause, Gap, Measured, Reported, Source, Tension, Turning
from keyturn.atlas.answers.phrases import lowered
from keyturn.atlas.answers.turning import turning_of
from keyturn.atlas.collection.atlas import Atlas
from keyturn.atlas.collection.objects import Note, Question, Role
from keyturn.atlas.contract import Claim
from keyturn.atlas.known import Known
from keyturn.atlas.states import FactState, States, all_states

__all__ = [
    "Answer",
    "Clause",
    "Gap",
    "Measured",
    "Reported",
    "Source",
    "Tension",
    "Turning",
    "answer",
    "question_of_note",
]
FURTHER = 5
"""Questions to go on to."""


def answer(
    question: Question,
    atlas: Atlas,
    known: Known,
    *,
    states: States | None = None,
    claims: Mapping[str, Claim] = CLAIMS,
) -> Answer:
    """The answer to a question.

    Args:
        question: of the atlas, or made of a note by :func:`question_of_note`.
        atlas: the collection; what the question names and the collection lacks is listed as absent.
        known: the records.
        states: of this atlas and these records, where they are at hand.
        claims: by id.
    """
    states = states or all_states(atlas, known, claims)
    cited = {}
    if question.answerable != "outside":
        cited = {index: _facts(atlas, states, question, role) for index, role in enumerate(question.roles)}
    facts = tuple({one.fact.id: one for group in cited.values() for one in group}.values())
    gaps = gaps_of(atlas, known, facts, question, claims)
    tensions = tensions_of(atlas, states, question.notes)
    leaning, first = first_sentence(atlas, question, votes_of(question, cited), gaps)
    sources = sources_of(atlas, states, question.notes)
    behind = [one for fact in facts for one in fact.readings]
    return Answer(
        question=question,
        leaning=leaning,
        sentence=first,
        article=article(question, leaning, first, cited, tensions, sources),
        cautions=cautions(cited, gaps),
        measured=measured_lines(behind),
        reported=reported_lines(atlas, facts),
        tensions=tensions,
        gaps=gaps,
        turning=turning_of({one.reading.id: one for one in behind}.values()),
        absent=_absent(atlas, question, claims),
        sources=sources,
        further=_further(atlas, question),
    )


def question_of_note(atlas: Atlas, note: Note) -> Question:
    """A note's own question: its facts answer, and the notes that speak for, limit and oppose it are told
    after.

    Where the collection has a question of the same id, that one.
    """
    if note.id in atlas.questions:
        return atlas.questions[note.id]
    roles = [Role(role="answer", says="", notes=(note.id,), facts=tuple(fact.id for fact in note.facts))]
    claims = {
        one.claim: None
        for fact in note.facts
        for name in atlas.told_by(fact.id)
        for one in atlas.facts[name].readings
    }
    for relation in atlas.arriving.get(note.id, ()):
        if relation.polarity in ("against", "limits") and relation.source in atlas.notes:
            other = atlas.notes[relation.source]
            says = lowered(other.statement)
            roles.append(Role(role="turn", says=says.rstrip("."), notes=(other.id,)))
    experiments = dict.fromkeys(fact.settled_by for fact in note.facts if fact.settled_by)
    return Question(
        id=note.id,
        question=note.question,
        topic=note.topics[0] if note.topics else "",
        answerable="partly",
        roles=tuple(roles),
        claims=tuple(claims),
        experiments=tuple(experiments),
        place=note.place,
    )


def _facts(atlas: Atlas, states: States, question: Question, role: Role) -> tuple[FactState, ...]:
    """The facts that a role cites: those it names, else those of its notes; an answer that says nothing of its
    own is about those that the question's claims read."""
    if role.facts:
        return states.of(role.facts)
    own = [fact.id for note in role.notes if note in atlas.notes for fact in atlas.notes[note].facts]
    every = states.of(own)
    if role.role != "answer" or role.says:
        return every
    read = [one for one in every if {x.reading.claim for x in one.readings} & set(question.claims)]
    return tuple(read) or every


def _absent(atlas: Atlas, question: Question, claims: Mapping[str, Claim]) -> tuple[str, ...]:
    lists: tuple[tuple[Sequence[str], Mapping[str, object]], ...] = (
        (question.notes, atlas.notes),
        ([fact for role in question.roles for fact in role.facts], atlas.facts),
        (question.claims, claims),
        (question.experiments, atlas.experiments),
    )
    return tuple(dict.fromkeys(one for ids, there in lists for one in ids if one not in there))


def _further(atlas: Atlas, question: Question) -> tuple[str, ...]:
    """Questions that share most notes and claims, in the order of the collection where they share the same."""
    mine = {*question.notes, *question.claims}
    scored = []
    for other, theirs in atlas.cited_by.items():
        if other != question.id and mine & theirs:
            scored.append((-len(mine & theirs) / len(mine | theirs), len(scored), other))
    return tuple(one for _, _, one in sorted(scored)[:FURTHER])
