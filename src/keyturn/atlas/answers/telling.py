"""The sentences of an article: what a source says and what the records say to it, in one breath.

Wordings are chosen by case, and the same case met again takes the next one, so that nothing depends on chance.
A sentence opens with the role that its statement has in the argument and closes with what the records say of
the facts behind it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from keyturn.atlas.answers.measured import ALONE, MANY, in_words, told
from keyturn.atlas.answers.parts import Clause
from keyturn.atlas.answers.phrases import count, listed, lowered, sentence, word
from keyturn.atlas.collection.objects import RoleName
from keyturn.atlas.readings import ReadingState
from keyturn.atlas.states import SETTLED, STATES, FactState

_THAT = ""
"""An opening that begins with the statement itself: *That ... holds here*."""
_OPENINGS: Mapping[RoleName | str, tuple[str, ...]] = {
    "answer": ("The literature answers that {}", "It answers as well that {}", "It says besides that {}"),
    "fact": ("The literature says that {}", _THAT, "It is also said that {}", _THAT, "Others find that {}"),
    "support": ("It is also said that {}", _THAT, "Others find that {}", _THAT),
    "ground": ("Beneath this lies the view that {}", "It rests on the view that {}"),
    "turn": ("Against this it is held that {}", "Others reply that {}"),
    "tension": ("One source pulls the other way and holds that {}", "Another objects that {}"),
    "method": ("As to method, it is held that {}",),
    "frame": ("Seen more widely, {}",),
    "gap": ("What is missing is that {}",),
}
_TAILS: Mapping[str, tuple[str, ...]] = {
    "holds": (", and here that holds: {}", "; the worlds tried agree: {}", ", which the records bear out: {}"),
    "fails": ("; here that fails: {}", ", but the worlds tried disagree: {}", "; the records deny it: {}"),
    "split": ("; here that holds in part: {}", ", of which the worlds tried bear out a part: {}"),
    "open": ("; {}", ", but {}"),
    "indication only": (
        "; nothing here tests that, and the nearest number says that {}",
        ", which is untested here; what bears on it is that {}",
    ),
    "undecided": (
        "; nothing here tests that, and what comes nearest is open: {}",
        ", which is untested here; what bears on it is undecided: {}",
    ),
}
_THATS: Mapping[str, tuple[str, ...]] = {
    "holds": ("That {} holds here: {}", "That {} is borne out: {}"),
    "fails": ("That {} does not hold here: {}", "That {} is not borne out: {}"),
    "split": ("That {} holds in part: {}",),
    "open": ("Whether {} is not settled; {}",),
    "indication only": ("That {} is not tested here; the nearest number says that {}",),
    "undecided": ("That {} is not tested here, and what comes nearest is open: {}",),
}
_UNSOUND: Mapping[str, tuple[str, str, str]] = {
    "invalid": (
        "a study of it failed its own control",
        "{} was studied, but the study failed its own control",
        "{} were studied, but the studies failed their own controls",
    ),
    "not applicable": (
        "in the study of it too little was learnt to say anything",
        "{} was studied, but too little was learnt to say anything",
        "{} were studied, but too little was learnt to say anything",
    ),
    "no record": (
        "its study is written and has not been run",
        "A study of {} is written and has not been run",
        "Studies of {} are written and have not been run",
    ),
}
"""What a study without a sound record did: after a statement, of one statement by itself, of several."""
_GIVEN: Mapping[str, str] = {
    "holds": ", and here that holds, by a number given above",
    "fails": "; here that fails, by a number given above",
    "split": "; here that holds in part, by numbers given above",
    "open": ", which a number given above leaves open",
    "indication only": ", on which a number given above bears",
    "undecided": ", on which a number given above bears that is itself undecided",
}
"""How a statement goes on whose number was told before."""
_LOOSE = re.compile(r", (?:only|since|so that|told|which|as|and) ")
"""A statement with a part that hangs on it, after which the sentence goes on behind a comma."""
TOLD = frozenset(("holds", "fails", "split", "open", "indication only"))
"""States behind which there is a number to tell."""
MOST_NAMED = 3
"""Most statements named in one sentence of what is not measured, if they are short; else one less."""
SHORT = 15
"""Words of a short statement at most."""


class Voice:
    """Chooses the next wording of a case, and knows which numbers were told."""

    def __init__(self) -> None:
        self.used: dict[str, int] = {}
        self.told: set[tuple[str, str]] = set()

    def say(self, case: str, wordings: Sequence[str]) -> str:
        """The next wording of a case; the first comes round again after the last."""
        at = self.used.get(case, 0)
        self.used[case] = at + 1
        return wordings[at % len(wordings)]

    def knows(self, one: ReadingState) -> bool:
        """Whether this number was told already."""
        return (one.reading.claim, one.reading.number) in self.told

    def tell(self, one: ReadingState, *, plain: bool = False) -> str:
        """A reading in words with its number; plain where the words before say that it is open."""
        self.told.add((one.reading.claim, one.reading.number))
        return told(one, plain=plain)


def statement(voice: Voice, role: str, says: str, facts: Sequence[FactState]) -> Clause:
    """What a source says, and what the records say to it.

    Args:
        voice: of the article.
        role: of the statement, or ``fact``.
        says: the statement, a clause.
        facts: those behind it; the most settled one is told. Without any the statement stands alone.
    """
    order = sorted(facts, key=lambda one: STATES.index(one.state))
    ids = tuple(dict.fromkeys(x for one in order for x in _ids(one)))
    lead = order[0] if order and order[0].state in TOLD else None
    if lead is None:
        return Clause(text=sentence(_opening(voice, role, says) + _unsound(order)), data_from=ids)
    behind = _best(voice, lead)
    case = "undecided" if lead.state == "indication only" and behind[0].outcome == "open" else lead.state
    if all(voice.knows(one) for one in behind):
        return Clause(text=sentence(_opening(voice, role, says) + _GIVEN[case]), data_from=ids)
    new = [one for one in behind if not voice.knows(one)]
    number = "; ".join(voice.tell(one, plain=case == "undecided") for one in new)
    if len(order) > 1 and lead.state in SETTLED:
        text = f"{sentence(_opening(voice, role, says))} {_several(voice, order, number)}"
    else:
        text = _joined(voice, role, case, says, number)
    return Clause(text=sentence(text), data_from=ids)


def number_alone(voice: Voice, fact: FactState) -> list[Clause]:
    """The number of a fact that the first sentence told in words."""
    behind = [one for one in _best(voice, fact) if not voice.knows(one)]
    if not behind:
        return []
    return [Clause(text=sentence("; ".join(voice.tell(one) for one in behind)), data_from=_ids(fact))]


def _opening(voice: Voice, role: str, says: str) -> str:
    """The opening of a statement that says more after it; never the statement alone."""
    wordings = tuple(one for one in _OPENINGS[role] if one != _THAT)
    return voice.say(f"opening {role}", wordings).format(says)


def _several(voice: Voice, order: Sequence[FactState], number: str) -> str:
    """How many of several facts are settled how, with the number of the first and one of the other side."""
    known = [one for one in order if one.state in TOLD]
    parts = [number]
    against = next((one for one in known if known[0].state == "holds" and one.state == "fails"), None)
    if against:
        parts += [voice.tell(one) for one in _best(voice, against) if not voice.knows(one)]
    settled = [one.state for one in known if one.state in SETTLED]
    if len(settled) == len(order):
        stand = in_words(order)
    else:
        counts = [(settled.count(state), state) for state in ("holds", "fails") if state in settled]
        stand = listed([f"{word(n)} {ALONE[state] if n == 1 else MANY[state]}" for n, state in counts])
    shape = voice.say("several", ("Of the {} facts behind it, {}: {}", "Of its {} facts, {}: {}"))
    return shape.format(word(len(order)), stand, ", but ".join(parts))


def _joined(voice: Voice, role: str, case: str, says: str, number: str) -> str:
    wanted = voice.say(role, _OPENINGS[role])
    if wanted != _THAT or ":" in says or ";" in says:
        return _opening(voice, role, says) + voice.say(case, _TAILS[case]).format(number)
    closed = f"{says}," if _LOOSE.search(says) else says
    return voice.say(f"that {case}", _THATS[case]).format(closed, number)


def _unsound(facts: Sequence[FactState]) -> str:
    """How a statement goes on that has a study and no sound record."""
    if not facts or facts[0].state != "no sound record":
        return ""
    return f"; {_UNSOUND[_failing(facts[0])][0]}"


def _failing(fact: FactState) -> str:
    return next((one.outcome for one in fact.readings if one.outcome in _UNSOUND), "invalid")


def unmeasured(pending: Sequence[tuple[str, Sequence[FactState]]]) -> list[Clause]:
    """What no sound record says anything of, taken together by the reason.

    Args:
        pending: (statement, the facts behind it), none of which has a number.
    """
    groups: dict[str, list[tuple[str, Sequence[FactState]]]] = {}
    for says, facts in pending:
        states = {one.state for one in facts}
        case = (
            "unmeasured"
            if "no sound record" not in states
            else _failing(next(one for one in facts if one.state == "no sound record"))
        )
        groups.setdefault(case, []).append((says, facts))
    return [_together(case, groups[case]) for case in ("unmeasured", *_UNSOUND) if case in groups]


def _together(case: str, group: Sequence[tuple[str, Sequence[FactState]]]) -> Clause:
    most = MOST_NAMED if all(len(says.split()) <= SHORT for says, _ in group) else MOST_NAMED - 1
    named = [f"whether {says}" for says, _ in group[:most]]
    if len(group) > most:
        named.append(count(len(group) - most, "further statement"))
    ids = tuple(dict.fromkeys(x for _, facts in group for one in facts for x in _ids(one)))
    if case == "unmeasured":
        text = f"Nobody here has measured {listed(named, 'or')}"
    else:
        text = _UNSOUND[case][1 if len(group) == 1 else 2].format(listed(named))
    return Clause(text=sentence(text), data_from=ids)


def remainder(facts: Sequence[FactState]) -> list[Clause]:
    """How the facts stand that were cited and not told."""
    if not facts:
        return []
    stand = in_words(facts)
    text = (
        f"Of {word(len(facts))} further facts cited, {stand}"
        if len(facts) > 1
        else f"The other fact cited {stand}"
    )
    return [Clause(text=sentence(text), data_from=tuple(x for one in facts for x in _ids(one)))]


def said(fact: FactState) -> str:
    """What a fact says, as a clause."""
    return lowered(fact.fact.says).rstrip(".")


def _best(voice: Voice, fact: FactState) -> tuple[ReadingState, ...]:
    """The readings that a fact is told by: one that is new, and for a split fact one of each side."""
    deciding = [one for one in fact.deciding if one.sound]
    if fact.state == "split":
        sides = [next((one for one in deciding if one.outcome == side), None) for side in ("holds", "fails")]
        both = tuple(one for one in sides if one)
        return both or tuple(deciding[:1])
    wanted = [one for one in deciding if one.outcome == fact.state and (one.spread or fact.state == "open")]
    among = wanted or [one for one in deciding if one.spread] or deciding
    return tuple(([one for one in among if not voice.knows(one)] or among)[:1])


def _ids(fact: FactState) -> tuple[str, ...]:
    sound = [one for one in fact.deciding if one.sound] if fact.state in TOLD else list(fact.readings)
    return (fact.fact.id, *(x for one in sound for x in (one.reading.id, *one.records)))
