"""The contracts of a study (what it is run on, and what one run of it found) and of an experiment.

A study is a function ``(lab, subject) -> outcome``. It returns numbers; whether they support a claim is decided
elsewhere, by the threshold that the claim wrote down before.

An experiment pretrains bases of its own, so it takes settings and no model; the study of a claim repeats it
over seeds and rates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from keyturn.core.measurement import Estimate, Json
from keyturn.lab.lab import Lab
from keyturn.methods.contract import MethodResult, Profile


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a study is run on.

    Args:
        base: a shipped world's base (``"graph"``, ``"chain"``) or a model folder / repository id.
        tuned: a tuned model; empty: the study trains one by RL on the base's world.
        problems: a problem file, needed where the base has no world.
        seed: root of the run's streams.
        profile: how long a study that trains is: ``short`` (minutes) or ``long`` (a night, or a GPU).
    """

    base: str = ""
    tuned: str = ""
    problems: str = ""
    seed: int = 0
    profile: Literal["short", "long"] = "short"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one run of a study found.

    Args:
        numbers: estimands, gates and controls by name.
        base: fingerprint of the base model: records of one base are not independent.
        base_name: readable name of the base.
        run: path of the run directory (relative or absolute).
        n: number of problems behind the estimand.
        rows: every run behind it, one line each.
        contrasts: comparisons over seeds, one line each, with the smallest detectable effect.
        setting: the study's setting in one sentence: base, problems, steps, learning rates.
        exact: numbers that are computed and not estimated, so that they need no interval to decide something.
        over_problems: numbers whose interval is over problems, since seeds showed no spread.
        tuned, given_problems: fingerprints of a tuned model and of problems that the subject brought.
    """

    numbers: Mapping[str, Estimate]
    base: str
    base_name: str
    run: str
    n: int
    rows: tuple[Mapping[str, Json], ...] = ()
    contrasts: tuple[Mapping[str, Json], ...] = ()
    setting: str = ""
    exact: frozenset[str] = frozenset()
    over_problems: frozenset[str] = frozenset()
    tuned: str = ""
    given_problems: str = ""


Study: TypeAlias = Callable[[Lab, Subject], Outcome]
"""``(lab, subject) -> outcome``."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Bases made for one question, and the training on them. Values live in ``experiments.EXPERIMENTS``.

    Args:
        name: key of the dictionary.
        summary: one sentence.
        source: authors, year, identifier.
        cost: cost of each profile, in words.
        profiles: its settings for each of :data:`~keyturn.methods.contract.PROFILES`.
        brief: ``(settings) -> the same with two steps of everything``: shows that it runs; nothing is learnt.
        run: ``(lab, settings) -> policies and a table``.
    """

    name: str
    summary: str
    source: str
    cost: str
    profiles: Mapping[Profile, Any]
    brief: Callable[[Any], Any]
    run: Callable[[Lab, Any], MethodResult]
