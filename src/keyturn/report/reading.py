"""How to read each number, in one sentence each."""

from __future__ import annotations

from keyturn.measures import MEASURES
from keyturn.measures.contract import Measure

VERDICT: dict[str, str] = {
    "K": "The budget: the base counts as able to do what it does within K draws.",
    "gain": "Mean success of the tuned policy minus that of the base.",
    "deployed": "The part of the gain on problems that the base reaches within K draws.",
    "created": "The part of the gain on problems that the base does not reach within K draws.",
    "undecided": "The part of the gain on problems for which the base's draws do not show whether it reaches "
    "them.",
    "gross gain, gross loss": "Rises and falls of problems, summed separately; the gain is their difference.",
    "share": "A mass divided by the gain; it exists only where the gain's interval excludes 0.",
    "at chance": "The part of the gain on problems that the base solves no more often than luck would: never "
    "deployed, and created only where the success is surely mostly luck.",
    "coverage": "Where the band of tuned minus base pass@k lies above or below 0, over all k that the draws "
    "allow: expanded, narrowed, crossing (above at some k, below at others), kept, or undecided.",
    "interval": "In brackets: 95 %, by a bootstrap over problems; it holds for problems like these, this "
    "training run and this base.",
    "null": "What the same number is if nothing happened; a value within its null's range shows nothing.",
}
"""Words of the verdict."""

ACCURACY = "accuracy"
"""The one measurement of an audit that comes from its few-shot arm and not from a measure."""


def reading(name: str) -> str:
    """How to read a measurement; empty if it is unknown."""
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
