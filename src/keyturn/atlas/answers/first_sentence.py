"""The first sentence of an answer, by a table over the states of the facts that answer.

A fact that holds speaks for yes, one that fails for no; a role that *denies* turns this round. Facts without a
sound test have no say.

* None has a sound test: *Nothing here measures it; n experiments would.*
* All speak for yes (for no): *Yes (No), in the worlds tried.*
* Some speak for yes, some for no: *It depends: yes where..., no where...*
* Both hold, and their notes stand against each other: *Both sides hold here.*
* The question asks what or why, and all is settled: *In the worlds tried it holds that...*
* Anything else: *Undecided: k of n facts are settled.*
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keyturn.atlas.answers.parts import Clause, Gap, Leaning
from keyturn.atlas.answers.phrases import count, listed, sentence, word
from keyturn.atlas.answers.telling import said
from keyturn.atlas.collection.atlas import Atlas
from keyturn.atlas.collection.objects import Question
from keyturn.atlas.readings import ReadingState
from keyturn.atlas.states import SETTLED, FactState

NAMED = 2
"""Most facts that a first sentence tells in their own words; more are counted."""
_TESTED = frozenset(("holds", "fails", "split", "open"))


@dataclass(frozen=True, kw_only=True)
class Vote:
    """A fact with role answer, and whether it speaks for no where it holds."""

    fact: FactState
    denies: bool

    @property
    def side(self) -> str:
        """``yes``, ``no``, or empty where the fact is not settled."""
        if self.fact.state not in SETTLED:
            return ""
        return "yes" if (self.fact.state == "holds") != self.denies else "no"


def first_sentence(
    atlas: Atlas, question: Question, votes: Sequence[Vote], gaps: Sequence[Gap]
) -> tuple[Leaning, Clause]:
    """What the answer says first, and the one word for it.

    Args:
        atlas: for relations between the notes that answer.
        question: what is asked.
        votes: its facts with role answer, each once.
        gaps: what would settle the rest.
    """
    ids = tuple(dict.fromkeys(one for vote in votes for one in _from(vote.fact)))
    if question.answerable == "outside":
        why = f" ({question.missing})" if question.missing else ""
        return "outside", Clause(text=sentence(f"Nothing in this laboratory measures it{why}"))
    tested = [vote for vote in votes if vote.fact.state in _TESTED]
    if not tested or question.answerable == "no":
        return "unmeasured", Clause(text=_unmeasured(question, votes, gaps), data_from=ids)
    leaning, text = _decided(atlas, question, votes, tested)
    return leaning, Clause(text=text, data_from=ids)


def _unmeasured(question: Question, votes: Sequence[Vote], gaps: Sequence[Gap]) -> str:
    would = len({gap.by for gap in gaps if gap.by})
    settle = f"; {count(would, 'experiment')} would" if would else ", and nobody has said what would"
    if any(vote.fact.state == "indication only" for vote in votes):
        start = "Nothing here measures it directly, and there are only indications"
    elif any(one.records for vote in votes for one in vote.fact.readings):
        start = "Nothing here measures it soundly"
    else:
        start = "Nothing here measures it"
    lacks = f" (missing: {question.missing})" if question.answerable == "no" and question.missing else ""
    return sentence(start + lacks + settle)


def _decided(
    atlas: Atlas, question: Question, votes: Sequence[Vote], tested: Sequence[Vote]
) -> tuple[Leaning, str]:
    settled = [vote for vote in tested if vote.side]
    sides = {vote.side for vote in settled}
    complete = len(settled) == len(tested)
    if question.asks == "open":
        if complete and len(settled) == len(votes):
            return "measured", _all_measured(settled)
        return "undecided", _so_far(settled, votes)
    words = {
        "yes": question.if_yes or "yes",
        "no": question.if_no or "no",
    }
    if complete and len(sides) == 1:
        side: Leaning = "yes" if "yes" in sides else "no"
        so_far = (
            "" if len(tested) == len(votes) else f"; {word(len(tested))} of {count(len(votes), 'fact')} tested"
        )
        return side, sentence(f"{words[side]}, in the worlds tried ({_basis(settled)}{so_far})")
    if len(sides) == 2:
        duel = _duel(atlas, settled)
        if duel:
            return "both", sentence(f"Both sides hold here: {duel}")
        return "depends", _depends(settled, question)
    return "undecided", _so_far(settled, votes)


def _depends(settled: Sequence[Vote], question: Question) -> str:
    """Where it is so and where not; by the facts where the scopes do not tell the two apart."""
    speaking = {side: [vote for vote in settled if vote.side == side] for side in ("yes", "no")}
    scopes = {side: _scopes(votes) for side, votes in speaking.items()}
    if set(scopes["yes"]) & set(scopes["no"]):
        return sentence(f"It depends on the case: {_cases(settled, speaking, question)}")
    yes, no = (listed(scopes[side]) for side in ("yes", "no"))
    if question.if_yes and question.if_no:
        return sentence(f"It depends: {yes}, {question.if_yes}; {no}, {question.if_no} ({_basis(settled)})")
    return sentence(f"It depends: yes {yes}, but not {no} ({_basis(settled)})")


def _cases(settled: Sequence[Vote], speaking: Mapping[str, Sequence[Vote]], question: Question) -> str:
    """The cases by their facts, where the scopes do not tell them apart."""
    if len(settled) <= NAMED + 1:
        return _named(settled)
    yes, no = (word(len(speaking[side])) for side in ("yes", "no"))
    of, plural = word(len(settled)), "s" if len(speaking["yes"]) == 1 else ""
    if question.if_yes and question.if_no:
        return f"of {of} facts {yes} say{plural} that {question.if_yes}, and {no} that {question.if_no}"
    return f"of {of} facts {yes} speak{plural} for yes and {no} for no"


def _named(settled: Sequence[Vote]) -> str:
    """Settled facts in words: ``it holds that ... and that ..., but not that ...``."""
    holding = [f"that {said(vote.fact)}" for vote in settled if vote.fact.state == "holds"]
    failing = [f"that {said(vote.fact)}" for vote in settled if vote.fact.state == "fails"]
    if not holding:
        return f"it does not hold {listed(failing, 'or')}"
    return f"it holds {listed(holding)}" + (f", but not {listed(failing, 'or')}" if failing else "")


def _all_measured(settled: Sequence[Vote]) -> str:
    hold = sum(vote.fact.state == "holds" for vote in settled)
    fail = len(settled) - hold
    if len(settled) <= NAMED:
        return sentence(f"In the worlds tried {_named(settled)} ({_basis(settled)})")
    if not fail or not hold:
        verb = "hold" if hold else "fail"
        return sentence(
            f"All {word(len(settled))} facts behind it {verb} in the worlds tried ({_basis(settled)})"
        )
    parts = [
        f"{word(hold)} {'holds' if hold == 1 else 'hold'}",
        f"{word(fail)} {'fails' if fail == 1 else 'fail'}",
    ]
    return sentence(f"Of the {word(len(settled))} facts behind it, {listed(parts)} in the worlds tried")


def _so_far(settled: Sequence[Vote], votes: Sequence[Vote]) -> str:
    if len(votes) == 1:
        return sentence("Undecided: the one fact behind it is not settled")
    verb = "is" if len(settled) < 2 else "are"
    settled_count = "neither" if len(votes) == 2 and not settled else word(len(settled))
    so_far = f"Undecided: {settled_count} of the {count(len(votes), 'fact')} behind it {verb} settled"
    if 0 < len(settled) <= NAMED:
        so_far += f"; in the worlds tried {_named(settled)}"
    return sentence(so_far)


def _basis(settled: Sequence[Vote]) -> str:
    readings = _readings(settled)
    bases = {base for one in readings for base in one.bases}
    seeds = sorted({one.seeds for one in readings})
    if not seeds:
        return "nothing shown"
    said = (
        count(seeds[0], "seed") if len(seeds) == 1 else f"{word(seeds[0])} to {count(seeds[-1], 'seed')} each"
    )
    alone = len(readings) > 1 and len(bases) > 1 and all(len(one.bases) == 1 for one in readings)
    return f"{'one base each' if alone else count(len(bases), 'base')}, {said}"


def _readings(votes: Sequence[Vote]) -> list[ReadingState]:
    return [one for vote in votes for one in vote.fact.deciding if one.sound]


def _scopes(votes: Sequence[Vote]) -> tuple[str, ...]:
    """The worlds of some facts, without the conditions within them: ``in CHAIN``."""
    return tuple(dict.fromkeys(one.reading.where.split(",")[0] for one in _readings(votes)))


def _duel(atlas: Atlas, settled: Sequence[Vote]) -> str:
    """Two notes, both of whose facts hold, of which one speaks against the other; in words."""
    holding = {vote.fact.fact.note: vote for vote in settled if vote.fact.state == "holds"}
    for relation in atlas.relations:
        if relation.polarity == "against" and {relation.source, relation.target} <= set(holding):
            return relation.why
    return ""


def _from(fact: FactState) -> tuple[str, ...]:
    readings = [one for one in fact.deciding if one.sound]
    return (fact.fact.id, *(x for one in readings for x in (one.reading.id, *one.records)))


def votes_of(question: Question, cited: Mapping[int, Sequence[FactState]]) -> tuple[Vote, ...]:
    """The facts with role answer, each once.

    Args:
        question: its roles.
        cited: index of a role -> its facts.
    """
    found: dict[tuple[str, ...], Vote] = {}
    for index, role in enumerate(question.roles):
        if role.role == "answer":
            for fact in cited.get(index, ()):
                found.setdefault(fact.told_by, Vote(fact=fact, denies=role.denies))
    return tuple(found.values())
