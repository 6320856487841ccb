"""How long a study takes, read from the text of its claim: about 28 runs of 8 to 16 s."""

from __future__ import annotations

import re

from keyturn.atlas.answers.phrases import NUMBER_WORDS
from keyturn.atlas.contract import Claim

_RUNS = re.compile(r"about (\d+) (?:runs|stages|fits) of (\d+)(?: to (\d+))? s\b")
_PRETRAININGS = re.compile(r"(\w+) pretrainings?(?: of (\d+) s\b)?")
_MINUTES = re.compile(r"about (\w+) CPU minutes")
PRETRAINING_SECONDS = 30.0
"""Of a short profile, where the claim does not say."""


def minutes_of(claim: Claim) -> float:
    """Rough minutes of the study's short profile on one core; 0 where its words do not say."""
    said = claim.study_says.split("short:")[-1]
    found = _MINUTES.search(said)
    if found:
        return float(_number(found[1]))
    seconds = 0.0
    for runs, low, high in _RUNS.findall(said):
        seconds += int(runs) * (int(low) + int(high or low)) / 2
    for how_many, each in _PRETRAININGS.findall(said):
        seconds += _number(how_many) * float(each or PRETRAINING_SECONDS)
    return seconds / 60


def _number(text: str) -> int:
    return int(text) if text.isdigit() else NUMBER_WORDS.index(text) if text in NUMBER_WORDS else 1
