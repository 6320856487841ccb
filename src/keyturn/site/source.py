"""What all pages are made of: the collection, the claims, the records, and what follows from them; all by id.

Everything here is looked up and nothing is drawn. Views ask the source and know no file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from keyturn.atlas import CLAIMS
from keyturn.atlas.answers import Answer, answer
from keyturn.atlas.collection import Atlas, Fact, Note, Relation, load_atlas
from keyturn.atlas.contract import Claim
from keyturn.atlas.evidence import Evidence, merged
from keyturn.atlas.imported import carried
from keyturn.atlas.known import Known, load_known
from keyturn.atlas.next_runs import Candidate, next_runs
from keyturn.atlas.relation_types import INVERSE
from keyturn.atlas.reported import Reported, reported
from keyturn.atlas.search import Hit, note_index, paper_index
from keyturn.atlas.states import States, all_states
from keyturn.atlas.store import behind, imported_from, load, maker
from keyturn.atlas.verdict import ClaimVerdict, verdict
from keyturn.site import paths
from keyturn.site.page import UNCHANGED, Page

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
        home: where records and what is behind them lie; None for what ships alone.
        wanted: pages to make, where others are known to be as an earlier build left them; None: all.
    """

    atlas: Atlas
    known: Known
    claims: Mapping[str, Claim]
    home: Path | None = None
    wanted: Callable[[str], bool] | None = None

    def limited(self, wanted: Callable[[str], bool]) -> Source:
        """The same with fewer pages to make; what was computed stays."""
        made = replace(self, wanted=wanted)
        made.__dict__.update({name: value for name, value in vars(self).items() if name not in vars(made)})
        return made

    def page(self, path: str, make: Callable[..., Page], *given: Any) -> Page:
        """A page of one object, made of what ``make`` is given, or left as it is."""
        wanted = self.wanted is None or self.wanted(path)
        return make(*given) if wanted else Page(path=path, template=UNCHANGED, title="")

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
        """Id -> record, those of another protocol of their claim and those that do not count here too."""
        others = {one.id: one for name in self.claims for one in self.of(name)}
        return others | {one.id: one for name in self.claims for one in self.known.of(name)}

    def of(self, claim: str) -> tuple[Evidence, ...]:
        """Every record of a claim: those that count, then those that were imported and do not."""
        counting = tuple(self.known.of(claim))
        ids = {one.id for one in counting}
        others = self.everything.of(claim) if self.everything else ()
        return (*counting, *(one for one in others if one.id not in ids))

    def counts(self, record: Evidence) -> bool:
        """Whether a record may count in verdicts here."""
        return any(one.id == record.id for one in self.known.of(record.claim))

    def made_by(self, record: Evidence) -> str:
        """Where a record comes from, in the same words in every home: ``shipped``, ``mine``, ``from ada``; of
        a run that several made, all of them."""
        found = {self._origin(part) for part in record.parts or (record,)}
        return " and ".join(sorted(found))

    def _origin(self, record: Evidence) -> str:
        whom = maker(record, self.home)
        return f"from {whom}" if whom else record.origin.kind

    def carried(self, record: Evidence) -> str:
        """What stands behind a record that somebody gave or may give; "" for what ships or nobody has named."""
        return carried(record, self.home) if self.home and maker(record, self.home) else ""

    @cached_property
    def everything(self) -> Known | None:
        """What is known if everything imported counts; None where nothing was imported."""
        if self.home is None or not imported_from(self.home):
            return None
        records = {name: load(name, self.home, everything=True) for name in self.claims}
        return Known(records=records, seeds=self.known.seeds)

    @cached_property
    def _with_everything(self) -> States | None:
        return all_states(self.atlas, self.everything, self.claims) if self.everything else None

    def otherwise(self, fact: str) -> str:
        """The state of a fact if everything imported counted, where that differs."""
        if self._with_everything is None:
            return ""
        state = self._with_everything.facts[fact].state
        return state if state != self.state(fact) else ""

    def details(self, record: Evidence) -> Mapping[str, Any]:
        """What is behind a record: setting, contrasts, rows; of a repeated run, those of its first time."""
        return behind(record.parts[0] if record.parts else record, self.home)

    def reported(self, claim: str) -> tuple[Reported, ...]:
        """Published numbers of a claim that were written down here."""
        return reported(claim, self.home) if self.home else ()

    @cached_property
    def related(self) -> Mapping[str, tuple[Hit, ...]]:
        """Note -> the notes whose text is nearest, with the cosine."""
        return note_index(self.atlas).related()

    @cached_property
    def related_papers(self) -> Mapping[str, tuple[Hit, ...]]:
        """Paper -> the papers whose text is nearest, with the cosine."""
        return paper_index(self.atlas).related()

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

    @cached_property
    def next_runs(self) -> tuple[Candidate, ...]:
        """What would settle most a minute."""
        return next_runs(self.atlas, self.known, states=self.states, claims=self.claims)

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
    return Source(atlas=load_atlas(home), known=load_known(home), claims=CLAIMS, home=home)
