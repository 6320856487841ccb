"""How to read each number, one sentence each."""

from __future__ import annotations

from keyturn.measures import MEASURES
from keyturn.measures.contract import Measure

VERDICT: dict[str, str] = {
    "K": "The budget: what the base does within K draws, it could already do.",
    "gain": "Mean success of the tuned policy less that of the base.",
    "deployed": "The part of the gain on problems that the base reaches within K draws.",
    "created": "The part of the gain on problems that the base does not reach within K draws.",
    "undecided": "The part of the gain on problems of which the base's draws do not say whether it reaches "
    "them.",
    "gross gain, gross loss": "Rises and falls of single problems summed apart; their difference is the gain.",
    "share": "A mass divided by the gain; it exists only where the gain's interval excludes 0.",
    "at chance": "The part of the gain on problems that the base solves no more often than luck does: never "
    "deployed, and created only where the success is surely mostly luck.",
    "coverage": "Where the band of tuned less base pass@k lies above or below 0, over all k that the draws "
    "allow: expanded, narrowed, crossing (above at some k, below at others), kept, or undecided.",
    "interval": "In brackets: 95 %, by a bootstrap over problems; it speaks of these problems, this "
    "training run and this base.",
    "null": "What the same number is when nothing happened; a value within its null's range says nothing.",
}
"""Words of the verdict."""

ACCURACY = "accuracy"
"""The one measurement of an audit that no measure makes: its few-shot arm does."""


def reading(name: str) -> str:
    """How to read a measurement; empty where nothing is known of it."""
    if name == ACCURACY:
        return "Success at one draw under strict, lenient and few-shot-format scoring."
    measure = _measure_of(name)
    return "" if measure is None else measure.readings.get(name, measure.summary)


def family(name: str) -> str:
    """The heading that a measurement is listed under."""
    if name == ACCURACY:
        return "Format against capability"
    measure = _measure_of(name)
    return "Other" if measure is None else measure.title


def _measure_of(name: str) -> Measure | None:
    """The measure that makes a measurement."""
    return next((m for m in MEASURES.values() if name == m.name or name in m.readings), None)
