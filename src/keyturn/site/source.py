"""What all pages are made of: the collection, the claims, the records, and what follows from them; all by id.

Everything here is looked up and nothing is drawn. Views ask the source and know no file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from keyturn.atlas import CLAIMS
from keyturn.atlas.answers import Answer, answer
from keyturn.atlas.collection import Atlas, Fact, Note, Relation, load_atlas
from keyturn.atlas.contract import Claim
from keyturn.atlas.evidence import Evidence, merged
from keyturn.atlas.known import Known, load_known
from keyturn.atlas.relation_types import INVERSE
from keyturn.atlas.states import States, all_states
from keyturn.atlas.store import shipped_runs
from keyturn.atlas.verdict import ClaimVerdict, verdict
from keyturn.site import paths

FORWARD: Mapping[str, str] = {
    "instance-of": "is an instance of",
    "evidence-for": "is evidence for",
    "mechanism-of": "is the mechanism of",
    "tension": "is in tension with",
    "contradicts-in-part": "contradicts in part",
    "part-of": "is part of",
    "measured-by": "is measured by",
}
"""How a relation reads from its source, where its name is no verb."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Everything that pages show.

    Args:
        atlas: the collection.
        known: every record that may count.
        claims: id -> claim.
    """

    atlas: Atlas
    known: Known
    claims: Mapping[str, Claim]

    @cached_property
    def states(self) -> States:
        """The state of every fact and reading."""
        return all_states(self.atlas, self.known, self.claims)

    @cached_property
    def verdicts(self) -> Mapping[str, ClaimVerdict]:
        """Claim -> verdict."""
        return {name: verdict(claim, self.known.of(name)) for name, claim in self.claims.items()}

    @cached_property
    def records(self) -> Mapping[str, Evidence]:
        """Id -> record, those of another protocol of their claim too."""
        return {one.id: one for name in self.claims for one in self.known.of(name)}

    @cached_property
    def details(self) -> Mapping[str, Mapping[str, Any]]:
        """Id of a shipped record -> its setting, contrasts and rows."""
        return {one.id: behind for name in self.claims for one, behind in shipped_runs(name)}

    def counting(self, claim: Claim) -> tuple[Evidence, ...]:
        """The records of a claim that its verdict is made of: of its protocol, controls and gates held."""
        return tuple(
            one
            for one in merged([e for e in self.known.of(claim.id) if e.claim_hash == claim.hash])
            if all(g.holds(one.deciding(g.name)) for g in (*claim.controls, *claim.gates))
            and not math.isnan(one.deciding(claim.threshold.estimand).value)
        )

    @cached_property
    def answers(self) -> Mapping[str, Answer]:
        """Question -> its computed answer."""
        return {
            name: answer(one, self.atlas, self.known, states=self.states, claims=self.claims)
            for name, one in self.atlas.questions.items()
        }

    def answer(self, question: str) -> Answer:
        """The answer to a question."""
        return self.answers[question]

    def decides(self, relation: Relation) -> tuple[str, str] | None:
        """What decides between two notes in tension: (page, words)."""
        if relation.decides in self.claims:
            return paths.claim(relation.decides), "what decides between them"
        if relation.decides in self.atlas.experiments:
            return paths.experiment(relation.decides), "what would decide between them"
        return None

    def state(self, fact: str) -> str:
        """The state of a fact."""
        return self.states.facts[fact].state

    def marks(self, note: Note) -> tuple[str, ...]:
        """The states of a note's facts, in their order."""
        return tuple(self.state(fact.id) for fact in note.facts)

    def note_state(self, note: Note) -> str:
        """The state that a note's facts make together."""
        return together(self.marks(note))

    def facts_of_claim(self, claim: str) -> tuple[Fact, ...]:
        """Facts that a claim's numbers test or bear on."""
        ids = dict.fromkeys(one.fact for one in self.atlas.readings_of.get(claim, ()))
        return tuple(self.atlas.facts[name] for name in ids if name in self.atlas.facts)

    def around(self, note: str) -> tuple[tuple[Relation, Note, str], ...]:
        """Relations of a note with the neighbour and how the neighbour stands to it, in words."""
        found = []
        for one in self.atlas.arriving.get(note, ()):
            if one.source in self.atlas.notes and one.source != note:
                found.append((one, self.atlas.notes[one.source], forward(one.type)))
        for one in self.atlas.leaving.get(note, ()):
            if one.target in self.atlas.notes and one.target != note:
                found.append((one, self.atlas.notes[one.target], INVERSE[one.type]))
        return tuple(found)


def together(states: Iterable[str]) -> str:
    """One state for several facts: settled ones first, and split where they disagree."""
    seen = set(states)
    if "split" in seen or {"holds", "fails"} <= seen:
        return "split"
    order = ("fails", "open", "holds", "indication only", "no sound record", "no reading")
    return next((one for one in order if one in seen), "no reading")


def forward(kind: str) -> str:
    """How a relation reads from its source."""
    return FORWARD.get(kind, kind)


def load_source(home: Path) -> Source:
    """The shipped atlas with what a home adds.

    Raises:
        InputError: a note or a record cannot be read.
    """
    return Source(atlas=load_atlas(home), known=load_known(home), claims=CLAIMS)
