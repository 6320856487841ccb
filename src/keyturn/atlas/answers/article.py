"""The article: what each role of a question says, and what the records say to it, in running text.

Sentences are made by template and chosen by case; the same case met again takes the next wording, so that
nothing depends on chance. No sentence holds an id; each carries the ids that it rests on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keyturn.atlas.answers.measured import MANY, in_words, told
from keyturn.atlas.answers.parts import Clause, Gap, Tension
from keyturn.atlas.answers.phrases import count, listed, sentence, word
from keyturn.atlas.collection.objects import Question, Role
from keyturn.atlas.readings import ReadingState
from keyturn.atlas.states import FactState, State

_OPENINGS: Mapping[str, tuple[str, ...]] = {
    "answer": ("The literature answers that {}", "It says, too, that {}", "And it says that {}"),
    "support": (
        "To this it adds that {}",
        "It is also said that {}",
        "A further source has it that {}",
        "Others find that {}",
    ),
    "ground": ("Beneath it all, {}", "What this rests on is that {}"),
    "turn": ("On the other hand, {}", "Yet it is also held that {}"),
    "tension": ("One source pulls the other way: {}", "Another objects that {}"),
    "method": ("As to method, {}",),
    "frame": ("Seen more widely, {}",),
    "gap": ("What is missing is that {}",),
}
_INTRO: Mapping[State, tuple[str, ...]] = {
    "holds": ("Here that holds: {}", "The worlds tried agree: {}", "The records bear it out: {}"),
    "fails": ("Here that fails: {}", "The worlds tried disagree: {}", "The records speak against it: {}"),
    "split": ("Here one part of it holds and one does not: {}", "It holds in part: {}"),
    "open": ("The records leave it undecided: {}", "Here that is not settled: {}", "No verdict yet: {}"),
    "indication only": ("There is an indication only: {}", "One number bears on it without testing it: {}"),
}
_UNDECIDED = ("One number bears on it, itself undecided: {}", "What bears on it is itself open: {}")
_UNSOUND: Mapping[str, tuple[str, ...]] = {
    "invalid": (
        "A study of it was run, but a control failed, so that its numbers say nothing",
        "The study that tests it failed its own control",
    ),
    "not applicable": (
        "A study of it was run, but too little was learnt for it to say anything",
        "The study that tests it did not meet its own conditions",
    ),
    "no record": ("A study of it is written and has not been run", "Its study still waits to be run"),
}
_UNMEASURED = (
    "Nothing here measures that yet",
    "It is unmeasured",
    "No study here tests it",
    "That, too, is unmeasured",
)
MOST_TOLD = 2
"""Most readings that one role tells in numbers; the rest is counted. Of many facts only one is told."""
MANY_FACTS = 4
_SEEN = (
    "All bounds were set after the numbers had been seen: until a new record comes in, these readings "
    "illustrate and do not test"
)
_SOME_SEEN = (
    "The bounds of {} of the {} facts with a sound record were set after their numbers had been seen: these "
    "illustrate and do not test until a new record comes in"
)


class Voice:
    """Chooses the next wording of a case, and knows which readings were told."""

    def __init__(self) -> None:
        self.used: dict[str, int] = {}
        self.told: set[tuple[str, str]] = set()

    def say(self, case: str, wordings: Sequence[str]) -> str:
        """The next wording of a case; the first comes round again after the last."""
        at = self.used.get(case, 0)
        self.used[case] = at + 1
        return wordings[at % len(wordings)]

    def knows(self, state: ReadingState) -> bool:
        """Whether this number was told already; from now on it was."""
        number = state.reading.claim, state.reading.number
        known = number in self.told
        self.told.add(number)
        return known


def article(
    question: Question,
    first: Clause,
    cited: Mapping[int, Sequence[FactState]],
    tensions: Sequence[Tension],
    gaps: Sequence[Gap],
) -> tuple[tuple[Clause, ...], ...]:
    """Paragraphs: the answer, what supports and what turns it, what is missing.

    Args:
        question: its roles, in the order of the argument.
        first: the first sentence.
        cited: index of a role -> its facts; a fact is told in the first role that cites it.
        tensions, gaps: of the answer.
    """
    voice = Voice()
    told_already: set[tuple[str, ...]] = set()
    opening, body = [first], []
    for index, role in enumerate(question.roles):
        facts = []
        for one in cited.get(index, ()):
            if one.told_by not in told_already:
                told_already.add(one.told_by)
                facts.append(one)
        clauses = _role(role, facts, voice)
        (opening if role.role == "answer" else body).extend(clauses)
    paragraphs = [opening, body, _end(question, cited, tensions, gaps)]
    return tuple(tuple(one) for one in paragraphs if one)


def _role(role: Role, facts: Sequence[FactState], voice: Voice) -> list[Clause]:
    found = []
    if role.says:
        opening = voice.say(role.role, _OPENINGS[role.role])
        found.append(Clause(text=sentence(opening.format(role.says)), data_from=role.notes))
    if len(facts) == 1:
        found.append(_one(facts[0], voice))
    elif facts:
        found.append(_several(facts, voice, role))
    return found


def _one(fact: FactState, voice: Voice) -> Clause:
    """A fact alone: how it stands, and the one or two readings behind that."""
    if fact.state == "no reading":
        return Clause(text=sentence(voice.say("unmeasured", _UNMEASURED)), data_from=(fact.fact.id,))
    if fact.state == "no sound record":
        case = next((one.outcome for one in fact.readings if one.outcome in _UNSOUND), "invalid")
        ids = (fact.fact.id, *(one.reading.id for one in fact.readings))
        return Clause(text=sentence(voice.say(case, _UNSOUND[case])), data_from=ids)
    behind = _best(fact)
    for one in behind:
        voice.knows(one)
    case = "undecided" if fact.state == "indication only" and behind[0].outcome == "open" else fact.state
    intro = voice.say(case, _INTRO.get(fact.state, ()) if case == fact.state else _UNDECIDED)
    text = sentence(intro.format("; ".join(told(one) for one in behind)))
    return Clause(text=text, data_from=_ids(fact, behind))


def _several(facts: Sequence[FactState], voice: Voice, role: Role) -> Clause:
    """Several facts: how many stand how, and the most telling readings that were not told before."""
    lead = _counted(facts, voice, "behind that" if role.says else "cited")
    order = sorted((one for one in facts if one.state in _INTRO), key=lambda one: list(_INTRO).index(one.state))
    parts, ids = [], [one.fact.id for one in facts]
    most = MOST_TOLD if role.role == "answer" and len(facts) <= MANY_FACTS else 1
    for fact in order:
        best = _best(fact)[:1]
        if len(parts) < most and not voice.knows(best[0]):
            parts.append(told(best[0]))
        ids += _ids(fact, best)
    text = sentence(f"{lead}: {'; '.join(parts)}" if parts else lead)
    return Clause(text=text, data_from=tuple(dict.fromkeys(ids)))


def _counted(facts: Sequence[FactState], voice: Voice, which: str) -> str:
    """How many of several facts stand how."""
    many = word(len(facts))
    state = facts[0].state
    if any(one.state != state for one in facts):
        shape = voice.say("several", ("Of its {0} facts, {1}", "Of the {0} facts {2}, {1}"))
        return shape.format(many, in_words(facts), which)
    if state == "no reading":
        return f"{'Neither of its two' if len(facts) == 2 else f'None of its {many}'} facts is measured"
    return f"{'Both' if len(facts) == 2 else f'All {many}'} facts {which} {MANY[state]}"


def _best(fact: FactState) -> tuple[ReadingState, ...]:
    """The readings that a fact is told by: one, and for a split fact one of each side."""
    deciding = [one for one in fact.deciding if one.sound]
    if fact.state == "split":
        sides = [next((one for one in deciding if one.outcome == side), None) for side in ("holds", "fails")]
        both = tuple(one for one in sides if one)
        return both or tuple(deciding[:1])
    wanted = [one for one in deciding if one.outcome == fact.state and one.spread]
    return tuple((wanted or [one for one in deciding if one.spread] or deciding)[:1])


def _ids(fact: FactState, readings: Sequence[ReadingState]) -> tuple[str, ...]:
    return (fact.fact.id, *(x for one in readings for x in (one.reading.id, *one.records)))


def _end(
    question: Question,
    cited: Mapping[int, Sequence[FactState]],
    tensions: Sequence[Tension],
    gaps: Sequence[Gap],
) -> list[Clause]:
    """What sources dispute, what would settle the rest, and what to keep in mind."""
    found = [Clause(text=sentence(one), data_from=(question.id,)) for one in question.conflicts]
    if tensions:
        ids = tuple(one.relation.id for one in tensions)
        stand = "stands" if len(tensions) == 1 else "stand"
        said = f"{count(len(tensions), 'pair')} of the cited notes {stand} in tension"
        why = f": {tensions[0].relation.why}" if len(tensions) == 1 else ""
        found.append(Clause(text=sentence(said + why), data_from=ids))
    if question.missing and question.answerable in ("yes", "partly"):
        found.append(Clause(text=sentence(f"Not measured: {question.missing}"), data_from=(question.id,)))
    found += _waiting(gaps)
    facts = [one for group in cited.values() for one in group]
    sound = [one for one in facts if any(x.sound for x in one.deciding)]
    seen = [one for one in sound if one.illustrates]
    if seen:
        some = _SEEN if len(seen) == len(sound) else _SOME_SEEN.format(word(len(seen)), word(len(sound)))
        found.append(Clause(text=sentence(some), data_from=tuple(one.fact.id for one in seen)))
    return found


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
