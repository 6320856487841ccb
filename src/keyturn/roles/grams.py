"""Frozen sets of planning phrases: each phrase with its role and origin, and a file of them.

A gram set is data: it is made once (mined, or from our lexicon), written, and read by everything that assigns
roles, so that every policy of a study is judged by the same phrases. The file contains its identity, and a file
that was edited or damaged is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from keyturn.core.errors import InputError, UsageError
from keyturn.core.identity import identity
from keyturn.core.measurement import Json
from keyturn.core.roles import Role
from keyturn.core.rundir import SCHEMA, write_json
from keyturn.roles.words import WORD_KINDS, WordKind, phrase

KIND = "strategic grams"
MAX_BYTES = 64 << 20
MAX_GRAMS = 500_000
MAX_WORDS = 12
"""Maximum number of words of a phrase; published ones have at most 5, ours at most 6."""


@dataclass(frozen=True, kw_only=True)
class Gram:
    """One phrase.

    Args:
        text: its words in the form for comparison, joined by single spaces.
        role: role of a token inside it.
        kind: a category of the lexicon, or the mined cluster (``"c17"``).
        documents: number of solutions in which it was found; 0 if it was written and not mined.
        occurrences: total number of occurrences.
    """

    text: str
    role: Role = Role.PLAN
    kind: str = ""
    documents: int = 0
    occurrences: int = 0


@dataclass(frozen=True, kw_only=True)
class StrategicGrams:
    """A frozen set of phrases.

    Args:
        entries: the phrases; a match refers to a phrase by its index.
        words: the kind of words in them.
        source: how they were made, in a few words.
        settings: settings with which they were made.
        counts: how many grams each step of the mining kept.
    """

    entries: tuple[Gram, ...]
    words: WordKind = "letters"
    source: str = ""
    settings: Mapping[str, Json] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def identity(self) -> str:
        """A short hash of everything that decides roles, and of the set's origin."""
        return identity(self.document())

    def document(self) -> dict[str, Any]:
        """The set as JSON, without schema and identity."""
        rows = [[g.text, g.role.name.lower(), g.kind, g.documents, g.occurrences] for g in self.entries]
        return {
            "kind": KIND,
            "source": self.source,
            "words": self.words,
            "settings": dict(self.settings),
            "counts": dict(self.counts),
            "columns": ["text", "role", "kind", "documents", "occurrences"],
            "grams": rows,
        }


def checked(grams: StrategicGrams) -> StrategicGrams:
    """The same set, after checking that every phrase can match and none occurs twice.

    Raises:
        InputError: a phrase can never match, or occurs twice.
    """
    if grams.words not in WORD_KINDS:
        raise InputError(f"grams of words {grams.words!r}", fix=f"words: {' or '.join(WORD_KINDS)}")
    seen: set[str] = set()
    for number, gram in enumerate(grams.entries):
        words = phrase(gram.text, grams.words)
        if not 1 <= len(words) <= MAX_WORDS or " ".join(words) != gram.text:
            raise InputError(
                f"gram {number}, {gram.text[:60]!r}, can never match",
                fix=f"1 to {MAX_WORDS} lower-case words separated by single spaces",
            )
        if gram.text in seen:
            raise InputError(f"gram {number}, {gram.text[:60]!r}, occurs twice", fix="keep one of them")
        seen.add(gram.text)
    return grams


def dropped(grams: StrategicGrams, share: float, generator: np.random.Generator) -> StrategicGrams:
    """The set without a random share of its phrases, for a robustness check.

    Args:
        grams: the whole set.
        share: share of phrases to drop, in [0, 1); the paper's check drops 0.3.
        generator: randomness.
    """
    if not 0 <= share < 1:
        raise UsageError(
            f"cannot drop a share {share} of the grams", fix="choose a share of at least 0 and below 1"
        )
    keep = np.sort(generator.permutation(len(grams))[: len(grams) - round(share * len(grams))])
    return replace(
        grams,
        entries=tuple(grams.entries[i] for i in keep.tolist()),
        source=f"{grams.source}; {share:g} dropped at random",
    )


def written_by_hand(
    phrases: Sequence[str], *, role: Role = Role.PLAN, kind: str = "given", words: WordKind = "letters"
) -> StrategicGrams:
    """A set of the user's own phrases; phrases that fold to the same words count once.

    Args:
        phrases: the phrases, in any spelling.
        role: role of a token inside them.
        kind: name of their category.
        words: the kind of words.

    Raises:
        InputError: a phrase can never match (no word, too many words, or more than one clause).
    """
    forms: dict[str, None] = {}
    for text in phrases:
        form = " ".join(phrase(text, words))
        if not form:
            raise InputError(f"the phrase {text[:60]!r} can never match", fix="words of one clause")
        forms.setdefault(form)
    entries = tuple(Gram(text=form, role=role, kind=kind) for form in forms)
    return checked(StrategicGrams(entries=entries, words=words, source="phrases given by the user"))


def write_grams(path: Path, grams: StrategicGrams) -> None:
    """Write a set to a file, completely or not at all.

    Args:
        path: path of the JSON file.
        grams: the set.
    """
    write_json(path, {"identity": checked(grams).identity, **grams.document()})


def read_grams(path: Path) -> StrategicGrams:
    """Read a set that :func:`write_grams` wrote.

    Raises:
        UsageError: there is no such file.
        InputError: it is not such a file, damaged, edited, or of a newer schema.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _bad(path, f"is larger than {MAX_BYTES >> 20} MiB")
        document = json.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", fix="name a file of grams") from error
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"is not a JSON document ({type(error).__name__})") from error
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise _bad(path, "is not a file of strategic grams")
    schema = document.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool):
        raise _bad(path, "has no schema number")
    if schema > SCHEMA:
        raise InputError(f"{path} was written by a newer keyturn", fix="upgrade keyturn")
    try:
        grams = checked(_parsed(document))
        known = grams.identity
    except InputError as error:
        raise _bad(path, error.what) from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise _bad(path, f"is damaged ({type(error).__name__}: {error})") from error
    if known != document.get("identity"):
        raise InputError(f"{path} was changed after it was written", fix="mine it again, or restore the file")
    return grams


def _bad(path: Path, why: str) -> InputError:
    return InputError(f"{path} {why}", fix="give a file that write_grams or `keyturn grams` wrote")


def _parsed(document: Mapping[str, Any]) -> StrategicGrams:
    rows, settings, counts = document["grams"], document["settings"], document["counts"]
    if not isinstance(rows, list) or len(rows) > MAX_GRAMS:
        raise ValueError(f"grams is not a list of at most {MAX_GRAMS}")
    if not isinstance(settings, dict) or not isinstance(counts, dict):
        raise TypeError("settings and counts are objects")
    entries = []
    for row in rows:
        text, role, kind, *numbers = row
        if not (isinstance(text, str) and isinstance(role, str) and isinstance(kind, str)):
            raise TypeError("text, role and kind are strings")
        if len(numbers) != 2 or not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError("documents and occurrences are counts")
        entries.append(
            Gram(text=text, role=Role[role.upper()], kind=kind, documents=numbers[0], occurrences=numbers[1])
        )
    return StrategicGrams(
        entries=tuple(entries),
        words=document["words"],
        source=str(document["source"]),
        settings=settings,
        counts={str(name): int(count) for name, count in counts.items()},
    )
