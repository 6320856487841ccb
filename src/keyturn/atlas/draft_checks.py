"""A draft by a model, checked sentence by sentence against the computed answer that it was given.

A sentence stays if it names what it rests on, all of which is in the answer; if every number in it is one of
what it names, at the digits shown; if it says of nothing another state than the records give it, and of no
relation another side; and if it speaks in words of the answer. Everything else is struck out, with the reason.
What the checks cannot see is sense: a sentence of the right words in the wrong order passes. So a draft is
labelled, and never on a page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keyturn.atlas.answers import Answer
from keyturn.atlas.answers.phrases import NUMBER_WORDS, decimals
from keyturn.core.measurement import Json
from keyturn.core.text import one_line

MOST_SENTENCES = 40
LONGEST = 600
"""Characters of a sentence."""
NEW_WORDS = 1 / 3
"""Largest share of a sentence's words that the answer does not have."""
_NUMBER = re.compile(r"[−-]?(?:\d[\d,]*)?\.?\d+")
_WORD = re.compile(r"[a-z]{4,}")
_MARKUP = re.compile(r"[<>]|https?:|javascript:|\]\(|```", re.IGNORECASE)
_STATES: Mapping[str, tuple[str, ...]] = {
    "holds": (
        "hold",
        "holds",
        "held",
        "confirmed",
        "confirm",
        "confirms",
        "supported",
        "true",
        "yes",
        "agree",
        "agrees",
    ),
    "fails": (
        "fail",
        "fails",
        "failed",
        "refuted",
        "contradicted",
        "false",
        "disproved",
        "no",
        "disagree",
        "disagrees",
    ),
    "open": ("open", "undecided", "unsettled", "unclear", "inconclusive"),
    "unmeasured": ("unmeasured", "untested"),
}
"""State -> words that say it. "differs" and "split" say two states at once and are no word of either."""
_FAMILY: Mapping[str, str] = {
    "holds": "holds",
    "fails": "fails",
    "open": "open",
    "split": "open",
    "indication only": "open",
    "no sound record": "unmeasured",
    "no reading": "unmeasured",
    "invalid": "unmeasured",
    "not applicable": "unmeasured",
    "no record": "unmeasured",
}
_SIDES: Mapping[str, tuple[str, ...]] = {
    "for": ("extends", "deepens", "explains", "backs"),
    "against": ("contradicts", "opposes", "tension", "against", "objects"),
    "limits": ("limits", "qualifies", "reconciles"),
}
_NOT = ("not", "never", "nor", "neither", "cannot", "without", "hardly")
_DENIAL = re.compile(rf"\b(?:{'|'.join(_NOT)}|no|none|nothing|\w+n['’]t)\b")


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A sentence of a draft.

    Args:
        text: as it was written, without signs that act on a terminal.
        data_from: what it says that it rests on.
        why: why it is struck out; "" where it stays.
    """

    text: str
    data_from: tuple[str, ...]
    why: str = ""

    def to_json(self) -> dict[str, Json]:
        """Flat."""
        return {"text": self.text, "data_from": list(self.data_from), "why": self.why}


@dataclass(frozen=True, kw_only=True)
class _Item:
    """What an id of the answer stands for.

    Args:
        numbers: as they are shown.
        state: family of its state; "" for what has none.
        side: polarity of a relation; "" for anything else.
        denies: whether a text of it has a word such as "not".
    """

    numbers: frozenset[str] = frozenset()
    state: str = ""
    side: str = ""
    denies: bool = False


def check_draft(sentences: Iterable[Any], found: Answer) -> tuple[Checked, ...]:
    """Check the sentences of a draft.

    Args:
        sentences: objects with ``text`` and ``from``, as a model gave them; anything else is struck out.
        found: the answer that the draft is of.
    """
    items, words = _items(found), frozenset(_words(_texts(found)))
    checked = [_checked(one, items, words) for one, _ in zip(sentences, range(MOST_SENTENCES), strict=False)]
    return tuple(checked)


def _checked(one: Any, items: Mapping[str, _Item], words: frozenset[str]) -> Checked:
    if not isinstance(one, Mapping) or not isinstance(one.get("text"), str) or not one["text"].strip():
        return Checked(text=one_line(str(one), 80), data_from=(), why="it is no sentence with what it rests on")
    ids = one.get("from")
    named = tuple(ids) if isinstance(ids, list) and all(isinstance(x, str) for x in ids) else ()
    text = one_line(one["text"], LONGEST)
    shown = tuple(one_line(name, 120) for name in named[:12])
    return Checked(text=text, data_from=shown, why=_why(one["text"], named, items, words))


def _why(text: str, named: tuple[str, ...], items: Mapping[str, _Item], words: frozenset[str]) -> str:
    """Why a sentence cannot stay; "" if it can."""
    if len(text) > LONGEST:
        return f"it has {len(text)} characters"
    if _MARKUP.search(text):
        return "it holds markup or an address"
    if not named:
        return "it names nothing that it rests on"
    strange = [name for name in named if name not in items]
    if strange:
        return f"it rests on {one_line(strange[0], 60)!r}, which is not in the answer"
    cited = [items[name] for name in named]
    return (
        _numbers_unbound(text, cited)
        or _states_that_differ(text, cited)
        or _sides_that_differ(text, cited)
        or _says_nothing(text)
        or _new_words(text, words)
    )


def _numbers_unbound(text: str, cited: list[_Item]) -> str:
    known = frozenset().union(*(item.numbers for item in cited))
    for match in _NUMBER.finditer(text):
        if _plain(match[0]) not in known:
            return f"its number {match[0]} is none of what it rests on"
    for word in re.findall(r"[a-z]+", text.lower()):
        if word in NUMBER_WORDS[2:] and str(NUMBER_WORDS.index(word)) not in known:
            return f"its number {word!r} is none of what it rests on"
    return ""


def _plain(number: str) -> str:
    """A number as it is compared: without thousands and a zero before its point, with one minus sign."""
    text = number.replace(",", "").replace("-", "−")
    return re.sub(r"^(−?)0(?=\.)", r"\1", text)


def _states_that_differ(text: str, cited: list[_Item]) -> str:
    states = {item.state for item in cited if item.state}
    found = list(_said(text, _STATES))
    for said, word, denied in found:
        if denied and said != "holds":
            return f"it denies {word!r}, which can mean several things"
        said = "fails" if denied else said
        if not states or states != {said}:
            return f"it says {word!r} of what is {' and '.join(sorted(states)) or 'without a state'}"
    if not found and states - {"holds"}:
        return f"it asserts what is {' and '.join(sorted(states - {'holds'}))}"
    denials = len(_DENIAL.findall(text.lower())) - sum(denied for *_, denied in found)
    if denials > 0 and not any(item.denies for item in cited):
        return "it denies what it rests on"
    return ""


def _sides_that_differ(text: str, cited: list[_Item]) -> str:
    sides = {item.side for item in cited if item.side}
    for said, word, denied in _said(text, _SIDES):
        if denied or said not in sides:
            return f"it says {word!r} of what no relation that it names says"
    return ""


def _said(text: str, families: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, str, bool]]:
    """Family and word of every word of a family, and whether it is denied by a word shortly before it."""
    every = re.findall(r"[a-z'’]+", text.lower())
    for at, word in enumerate(every):
        for family, own in families.items():
            if word in own and not (word == "no" and at):
                before = every[max(at - 3, 0) : at]
                yield family, word, any(one in _NOT or one.endswith(("n't", "n’t")) for one in before)


def _says_nothing(text: str) -> str:
    checkable = _NUMBER.search(text) or any(_said(text, _STATES)) or any(_said(text, _SIDES))
    return "" if checkable else "it has no number, no state and no relation that could be checked"


def _new_words(text: str, words: frozenset[str]) -> str:
    own = list(_words([text]))
    new = [word for word in own if word not in words]
    if own and len(new) > NEW_WORDS * len(own):
        return f"it speaks of what the answer does not: {', '.join(dict.fromkeys(new))}"[:200]
    return ""


def _words(texts: Iterable[str]) -> Iterator[str]:
    """Words of four letters and more, without their endings."""
    for text in texts:
        for word in _WORD.findall(text.lower()):
            yield re.sub(r"(?:ing|ed|es|s|ly)$", "", word)[:8]


def _texts(found: Answer) -> Iterator[str]:
    """Every text of the answer."""
    yield from (one.text for paragraph in found.article for one in paragraph)
    yield found.question.question
    for line in found.measured:
        yield from (line.sentence, line.rests_on, line.state.reading.otherwise, line.state.reading.says)
    for told in found.reported:
        yield from (told.fact.fact.says, told.fact.fact.caution, told.why)
    for tension in found.tensions:
        yield from (tension.text, tension.relation.why)
    yield from (gap.why for gap in found.gaps)
    for source in found.sources:
        yield from (source.note.question, source.note.statement)
    for family in (*_STATES.values(), *_SIDES.values()):
        yield " ".join(family)


def _denies(*texts: str) -> bool:
    return any(_DENIAL.search(text.lower()) for text in texts)


def _numbers_in(*texts: str) -> set[str]:
    """The numbers of some texts, those in words too."""
    found = {_plain(one) for text in texts for one in _NUMBER.findall(text)}
    words = {word for text in texts for word in re.findall(r"[a-z]+", text.lower())}
    return found | {str(at) for at, word in enumerate(NUMBER_WORDS) if word in words}


def _items(found: Answer) -> dict[str, _Item]:
    """Every id of an answer that a sentence may rest on."""
    items: dict[str, _Item] = {}
    for line in found.measured:
        state = line.state
        numbers = _numbers_in(line.value, line.bound, line.rests_on, line.sentence, state.says)
        numbers |= {decimals(state.reading.bound, digits) for digits in (1, 2, 3)}
        numbers |= {str(state.seeds), str(len(state.bases))}
        denies = _denies(line.sentence, state.says)
        items[state.reading.id] = _Item(numbers=frozenset(numbers), state=_FAMILY[state.outcome], denies=denies)
        items |= {f"record:{name}": items[state.reading.id] for name in state.records}
    for told in found.reported:
        values = {f"{value:g}" for one in told.quantities for value in one.values}
        items[told.fact.fact.id] = _Item(numbers=frozenset(map(_plain, values)), state=_FAMILY[told.fact.state])
    for tension in found.tensions:
        items[tension.relation.id] = _Item(
            side=tension.relation.polarity, denies=_denies(tension.text, tension.relation.why)
        )
    for gap in found.gaps:
        if gap.by:
            items.setdefault(gap.by, _Item(state="unmeasured", denies=True))
    return items
