"""The article: what each role of a question says, and what the records say to it, in running text.

Three paragraphs: the answer; what supports and what turns it, with numbers; what nobody has measured and what
sources dispute. What to keep in mind stands apart. No sentence holds an id; each carries the ids that it rests
on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keyturn.atlas.answers.parts import Clause, Gap, Leaning, Source, Tension
from keyturn.atlas.answers.phrases import count, listed, sentence, word
from keyturn.atlas.answers.telling import (
    MOST_NAMED,
    TOLD,
    Voice,
    number_alone,
    remainder,
    said,
    statement,
    unmeasured,
)
from keyturn.atlas.collection.objects import Question, Role
from keyturn.atlas.states import STATES, FactState

MOST_OF_ROLE = 2
"""Most facts that a role without a statement of its own tells one by one; the rest is counted."""
MOST_TOLD = 5
"""Most facts told with numbers where no role has a statement of its own."""
_SEEN = "All bounds were set after the numbers were known, so that these readings illustrate and do not test"
_SOME_SEEN = (
    "Of the {} sound readings behind it {} had {} bound set after the number was known; {} and {} not test"
)


class Argument:
    """The sentences of an article as they come, and what is left to be taken together at its end."""

    def __init__(self, first: Clause) -> None:
        self.first = first.text
        self.voice = Voice()
        self.heard: set[tuple[str, ...]] = set()
        self.pending: list[tuple[str, Sequence[FactState]]] = []
        self.rest: list[FactState] = []
        self.numbers = 0

    def new(self, facts: Sequence[FactState]) -> list[FactState]:
        """Facts that no role before has told."""
        found = []
        for one in facts:
            if one.told_by not in self.heard:
                self.heard.add(one.told_by)
                found.append(one)
        return found

    def role(self, role: Role, facts: Sequence[FactState], leaning: Leaning) -> list[Clause]:
        """The sentences of one role; what has no number waits for the end, unless it is the answer."""
        facts = self.new(facts)
        if not role.says:
            return self._facts(role, facts)
        if len(facts) == 1 and said(facts[0]) in self.first:
            return number_alone(self.voice, facts[0])
        if role.role == "answer" and leaning == "unmeasured" and not any(one.state in TOLD for one in facts):
            facts_shown = [one for one in facts if one.state == "no sound record"]
            return [statement(self.voice, role.role, role.says, facts_shown)]
        if facts and role.role != "answer" and not any(one.state in TOLD for one in facts):
            self.pending.append((role.says, facts))
            return []
        found = statement(self.voice, role.role, role.says, facts)
        return [Clause(text=found.text, data_from=found.data_from or role.notes)]

    def _facts(self, role: Role, facts: Sequence[FactState]) -> list[Clause]:
        order = sorted(facts, key=lambda one: STATES.index(one.state))
        found = []
        for one in order:
            if one.state not in TOLD:
                self.pending.append((said(one), (one,)))
            elif len(found) < MOST_OF_ROLE and self.numbers < MOST_TOLD:
                named = said(one) in self.first
                found += (
                    number_alone(self.voice, one)
                    if named
                    else [statement(self.voice, "fact", said(one), (one,))]
                )
                self.numbers += 1
            else:
                self.rest.append(one)
        return found


def article(
    question: Question,
    leaning: Leaning,
    first: Clause,
    cited: Mapping[int, Sequence[FactState]],
    tensions: Sequence[Tension],
    sources: Sequence[Source],
) -> tuple[tuple[Clause, ...], ...]:
    """Paragraphs: the answer, what supports and what turns it, what is missing.

    Args:
        question: its roles, in the order of the argument.
        leaning: what the first sentence says.
        first: the first sentence.
        cited: index of a role -> its facts; a fact is told in the first role that cites it.
        tensions, sources: of the answer.
    """
    if leaning == "outside":
        return tuple((one,) for one in (first, *_nearest(sources)))
    told, opening, body = Argument(first), [first], []
    for index, role in enumerate(question.roles):
        clauses = told.role(role, cited.get(index, ()), leaning)
        (opening if role.role == "answer" else body).extend(clauses)
    named = told.pending[: 2 * MOST_NAMED]
    uncounted = [one for _, facts in told.pending[2 * MOST_NAMED :] for one in facts]
    body += remainder(told.rest + uncounted)
    lacks = unmeasured(named)
    if question.missing and question.answerable in ("yes", "partly"):
        text = f"{'Missing besides' if lacks else 'Not measured'}: {question.missing}"
        lacks.append(Clause(text=sentence(text), data_from=(question.id,)))
    paragraphs = [opening, body, lacks + _disputes(question, tensions)]
    return tuple(tuple(one) for one in paragraphs if one)


def _nearest(sources: Sequence[Source]) -> list[Clause]:
    """What the collection has nearest to a question that lies outside."""
    if not sources:
        return []
    note, states = sources[0].note, sources[0].states
    facts = f"; of its {count(len(note.facts), 'fact')}, {states}" if len(note.facts) > 1 else ""
    text = f"The nearest note of the collection asks “{note.question}”{facts}"
    return [Clause(text=sentence(text), data_from=(note.id,))]


def _disputes(question: Question, tensions: Sequence[Tension]) -> list[Clause]:
    """What sources dispute."""
    found = [Clause(text=sentence(one), data_from=(question.id,)) for one in question.conflicts]
    if tensions:
        ids = tuple(one.relation.id for one in tensions)
        text = f"Two of the cited notes stand in tension: {tensions[0].relation.why}"
        if len(tensions) > 1:
            text = f"Of the cited notes, {count(len(tensions), 'pair')} stand in tension"
        found.append(Clause(text=sentence(text), data_from=ids))
    return found


def cautions(cited: Mapping[int, Sequence[FactState]], gaps: Sequence[Gap]) -> tuple[Clause, ...]:
    """What to keep in mind: what the open part waits for, and bounds that were set after the numbers.

    Args:
        cited: index of a role -> its facts.
        gaps: of the answer.
    """
    found = _waiting(gaps)
    facts = {one.told_by: one for group in cited.values() for one in group}
    sound = [(fact, one) for fact in facts.values() for one in fact.deciding if one.sound]
    seen = [fact.fact.id for fact, one in sound if one.illustrates]
    if seen:
        form = ("its", "it illustrates", "does") if len(seen) == 1 else ("their", "they illustrate", "do")
        some = _SEEN if len(seen) == len(sound) else _SOME_SEEN.format(word(len(sound)), word(len(seen)), *form)
        found.append(Clause(text=sentence(some), data_from=tuple(dict.fromkeys(seen))))
    return tuple(found)


def _waiting(gaps: Sequence[Gap]) -> list[Clause]:
    """What would settle the rest, counted."""
    written = sorted({gap.by for gap in gaps if gap.by and gap.written})
    unwritten = sorted({gap.by for gap in gaps if gap.by and not gap.written})
    parts = []
    if written:
        parts.append(f"a further run of {count(len(written), 'study', 'studies')}")
    if unwritten:
        parts.append(f"{count(len(unwritten), 'experiment')} not written yet")
    if not parts:
        return []
    text = sentence(f"What is open here waits for {listed(parts)}")
    return [Clause(text=text, data_from=(*written, *unwritten))]
