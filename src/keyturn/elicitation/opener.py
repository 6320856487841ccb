"""Forced opener: the answer begins with words that were best on development problems.

Every candidate is prefilled and goes on as the policy does; the one with the highest success on development
problems is taken, the earliest of equal ones. Candidates are given, or are the first tokens that the policy
itself finds likeliest there. It is the control of everything that acts on the first generated tokens: a
feature, a vector or a mode counts as more only if it beats the best opener.

Source: ours; first tokens as the effect of trained vectors: Sinii et al. 2025 (2509.06608).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from keyturn.core.errors import UsageError
from keyturn.elicitation.contract import Asked, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import Drafts
from keyturn.elicitation.first_tokens import likeliest_first_tokens
from keyturn.problems.contract import answers


@dataclass(frozen=True, kw_only=True)
class OpenerConfig:
    """Settings of forced openers."""

    openers: tuple[str, ...] = (" To", " Let", " First", " Step 1:", " We")
    """Candidates; an empty one begins nothing. A controlled world has other words: there the first tokens
    are."""
    first_tokens: int = 0
    """Further candidates: this many first tokens that the policy finds likeliest on development problems; 0 in
    a
    controlled world with the usual openers: 5."""
    trials: int = 4
    """Draws per development problem and candidate."""


def prepare(asked: Asked, config: OpenerConfig) -> Prepared:
    """The candidates and their success on development problems."""
    own = not asked.in_words and config.openers == OpenerConfig.openers
    words, firsts = ([], config.first_tokens or 5) if own else (list(config.openers), config.first_tokens)
    development = asked.development
    if len(words) < 2 and not firsts:
        return {"openers": np.array(words or [""]), "success": np.full(max(len(words), 1), np.nan)}
    if development is None:
        raise UsageError("several openers need development problems to choose on", fix="--development FILE")
    if config.trials < 1:
        raise UsageError(f"--trials is {config.trials}", fix="a number of 1 or more")
    if firsts:
        words += likeliest_first_tokens(asked.model, development.problems, firsts)
    words = list(dict.fromkeys(words))
    trial = replace(
        asked,
        problems=development,
        draws=range(config.trials),
        streams=asked.streams.child("elicit", "openers"),
    )
    return {"openers": np.array(words), "success": np.array([_success(trial, word) for word in words])}


def answer(asked: Asked, config: OpenerConfig, prepared: Prepared) -> Elicitation:
    """Begin with the best opener and go on."""
    drafts = Drafts(asked)
    drafts.write(best(prepared))
    drafts.grow()
    return Elicitation(completions=drafts.completions(), costs=drafts.costs)


def best(prepared: Prepared) -> str:
    """The opener with the highest success, the earliest of equal ones; unknown success counts least."""
    success = np.nan_to_num(prepared["success"], nan=-1.0)
    return str(prepared["openers"][int(success.argmax())])


def used(asked: Asked, config: OpenerConfig) -> int:
    """Development problems whose answers chose the opener."""
    chooses = len(config.openers) > 1 or config.first_tokens
    return len(asked.development.problems) if chooses and asked.development is not None else 0


def _success(trial: Asked, opener: str) -> float:
    drafts = Drafts(trial)
    drafts.write(opener)
    drafts.grow()
    return success_of(trial, drafts)


def success_of(asked: Asked, drafts: Drafts) -> float:
    """Mean success over problems of what was drafted, as the grader judges it; NaN where nothing was graded."""
    completions = drafts.completions()
    grades = asked.problems.grader.grade(asked.problems.problems, completions)
    rates = answers("trial", asked.problems.problems, completions, grades).rates()
    return float(np.nanmean(rates)) if np.isfinite(rates).any() else float("nan")


METHOD = ElicitationMethod(
    name="forced-opener",
    summary="the answer begins with words that were best on development problems",
    source="ours; first tokens as the effect of trained vectors: Sinii et al. 2025, arXiv 2509.06608",
    cost="one answer; 4 answers per candidate and development problem before",
    control=("plain",),
    needs=frozenset({"development"}),
    config=OpenerConfig(),
    neutral=OpenerConfig(openers=("",)),
    prepare=prepare,
    examples=used,
    answer=answer,
)
