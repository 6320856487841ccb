"""The 128 words of the controlled world, one id each, the same in every world and model.

A prompt or a trace is words joined by single spaces. ``BOS`` and ``EOS`` are written out like any other word,
and a tokenizer adds nothing. Shipped models depend on the ids: append nothing and reorder nothing. New methods
use one of the 16 reserved control words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

SPECIALS: tuple[str, ...] = ("PAD", "BOS", "EOS", "UNK")
CONTROLS: tuple[str, ...] = tuple(f"CTL{i}" for i in range(16))
"""Reserved for methods to come (tools, budgets, abstention...)."""
VALUES: tuple[str, ...] = tuple(str(i) for i in range(11))
OPERATIONS: tuple[str, ...] = ("+", "-", "*")
_NOUNS = """
apple pear plum fig quince cherry lemon lime olive grape melon peach
cod eel crab squid whale seal shark ray tuna clam krill gull
saw drill vice file awl chisel plane clamp lathe rasp mallet wrench
ridge peak glacier scree cairn gorge ledge cliff summit pass moraine saddle
"""
NOUNS: tuple[tuple[str, ...], ...] = tuple(tuple(line.split()) for line in _NOUNS.split("\n") if line)
"""Twelve names for each of the four contexts; arithmetic is the same in all of them."""
CONTEXTS: tuple[str, ...] = ("C1", "C2", "C3", "C4")
FORMATS: tuple[str, ...] = ("F1", "F2", "F3")
STRATEGIES: tuple[str, ...] = ("FWD", "BWD", "SCAN", "DIR", "CHK", "RET", "FILL", "WRNG")
MAPS: tuple[str, ...] = ("f", "g", "h", "i", "j", "k", "l", "m")
"""Names of the unary maps of CHAIN."""
STRUCTURE: tuple[str, ...] = (
    *("CH", "ASK", "?", ";", "=", "DO", "EX", "ANS", "NEED", "VF", "OK", "BK"),
    *("~", ":=", "->"),
)
PROSE: tuple[str, ...] = ("to", "find", "take", "since", "is", "and", "so", ".")

WORDS: tuple[str, ...] = (
    *SPECIALS,
    *CONTROLS,
    *VALUES,
    *OPERATIONS,
    *(noun for nouns in NOUNS for noun in nouns),
    *CONTEXTS,
    *FORMATS,
    *STRATEGIES,
    *MAPS,
    *STRUCTURE,
    *PROSE,
)
"""Every word; a word's index is its id."""

ID: dict[str, int] = {word: index for index, word in enumerate(WORDS)}

PAD, BOS, EOS, UNK = (ID[word] for word in SPECIALS)
VALUE = ID["0"]
"""Id of the value 0; the value v has the id ``VALUE + v``."""
NOUN = ID[NOUNS[0][0]]
"""Id of the first noun; the j-th noun of the c-th context (from 0) has the id ``NOUN + 12 c + j``."""
NOUNS_EACH = len(NOUNS[0])
MAP = ID[MAPS[0]]
"""Id of the first map; the j-th has the id ``MAP + j``."""
PLUS, MINUS, TIMES = (ID[word] for word in OPERATIONS)
CHAIN, ASK, QUERY, END, EQUALS, DO, EX, ANS, NEED, VERIFY, OK, BACK, FILLER, DEFINE, ARROW = (
    ID[word] for word in STRUCTURE
)


def encode(text: str) -> list[int]:
    """Ids of the words of a text; an unknown word becomes ``UNK``."""
    return [ID.get(word, UNK) for word in text.split()]


def decode(ids: Iterable[int], *, skip_special: bool = False) -> str:
    """The text of ids; a number that is not an id of the vocabulary becomes ``UNK``.

    Args:
        ids: token ids.
        skip_special: leave out ``PAD``, ``BOS``, ``EOS`` and ``UNK``.
    """
    words = (WORDS[i] if 0 <= i < len(WORDS) else "UNK" for i in ids)
    return " ".join(word for word in words if not (skip_special and word in SPECIALS))


def words_of(ids: Sequence[int]) -> tuple[str, ...]:
    """One word per id."""
    return tuple(WORDS[i] if 0 <= i < len(WORDS) else "UNK" for i in ids)
