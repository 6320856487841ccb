"""Search over notes and questions: TF-IDF on characters, no download; an encoder may be added.

Characters 3 to 5 within words, cosine. With an encoder (:func:`keyturn.roles.encoders.mean_pooled_encoder`) the
two rankings are fused: a document's score is the sum of ``1 / (60 + rank)`` over both. Without one nothing here
is called semantic: it finds words that look alike.
Measured in docs/results/atlas_search.md. Source: Cormack, Clarke and Buettcher 2009 (reciprocal rank fusion).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.stats import rankdata

from keyturn.atlas.collection.atlas import Atlas
from keyturn.atlas.collection.objects import Note, Question
from keyturn.roles.encoders import Encoder, directions

NEAR = 0.35
"""Cosine from which a question counts as the one that was asked; below, it is the nearest and not the same."""
RELATED = 8
_FUSE = 60


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A document found.

    Args:
        id: of a note or a question.
        cosine: of characters, 0 to 1; what "near" is judged by, with an encoder too.
        score: what the hits are ordered by.
    """

    id: str
    cosine: float
    score: float


class Index:
    """Documents that can be searched.

    Args:
        texts: id -> text.
        encoder: gives vectors of texts, or None for characters alone.
    """

    def __init__(self, texts: Mapping[str, str], encoder: Encoder | None = None) -> None:
        self.ids = tuple(texts)
        self.texts = texts
        self._texts = list(texts.values())
        self._encoder = encoder
        self._vectors: np.ndarray | None = None

    @cached_property
    def _characters(self) -> tuple[Any, Any]:
        from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 - takes a second

        vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), lowercase=True)
        return vectorizer, vectorizer.fit_transform(self._texts)

    def cosines(self, query: str) -> np.ndarray:
        """Cosine of characters with each document, ``[document]``."""
        vectorizer, matrix = self._characters
        return np.asarray((matrix @ vectorizer.transform([query]).T).todense()).ravel()

    def search(self, query: str, most: int = 10) -> tuple[Hit, ...]:
        """The nearest documents, best first; those that share nothing with the query are left out."""
        if not self.ids:
            return ()
        cosines = self.cosines(query)
        scores = cosines
        if self._encoder is not None:
            if self._vectors is None:
                self._vectors = directions(self._encoder, self._texts)
            meanings = self._vectors @ directions(self._encoder, [query])[0]
            scores = 1 / (_FUSE + _ranks(cosines)) + 1 / (_FUSE + _ranks(meanings))
        order = np.argsort(-scores, kind="stable")[:most]
        found = (
            Hit(id=self.ids[i], cosine=float(cosines[i]), score=float(scores[i]))
            for i in order
            if scores[i] > 0
        )
        return tuple(found)

    def related(self) -> dict[str, tuple[Hit, ...]]:
        """For each document the nearest others by cosine of characters, at most eight."""
        if not self.ids:
            return {}
        _, matrix = self._characters
        found = {}
        for start in range(0, len(self.ids), 512):  # blocks: all pairs at once would not fit for many documents
            block = np.asarray((matrix[start : start + 512] @ matrix.T).todense())
            for row, cosines in enumerate(block):
                cosines[start + row] = 0
                order = np.argsort(-cosines, kind="stable")[:RELATED]
                found[self.ids[start + row]] = tuple(
                    Hit(id=self.ids[i], cosine=float(cosines[i]), score=float(cosines[i]))
                    for i in order
                    if cosines[i] > 0
                )
        return found


def note_index(atlas: Atlas, encoder: Encoder | None = None) -> Index:
    """The notes of an atlas: question, statement and facts; with their prose hits were fewer."""
    return Index({one.id: _note_text(one) for one in atlas.notes.values()}, encoder)


def question_index(atlas: Atlas, encoder: Encoder | None = None) -> Index:
    """The questions of an atlas with their variants."""
    return Index({one.id: _question_text(one) for one in atlas.questions.values()}, encoder)


def paper_index(atlas: Atlas) -> Index:
    """The papers of an atlas: title, and what facts report from each."""
    reports: dict[str, list[str]] = {}
    for fact in atlas.facts.values():
        for paper in {one.paper for one in fact.quantities}:
            reports.setdefault(paper, []).append(fact.says)
    return Index({one.id: " ".join((one.title, *reports.get(one.id, ()))) for one in atlas.papers.values()})


def _note_text(note: Note) -> str:
    return " ".join((note.question, note.statement, *(fact.says for fact in note.facts)))


def _question_text(question: Question) -> str:
    return " ".join((question.question, *question.variants))


def _ranks(scores: np.ndarray) -> np.ndarray:
    """1 for the largest; equal scores share the mean of their ranks, so that order decides nothing."""
    return rankdata(-scores, method="average")
