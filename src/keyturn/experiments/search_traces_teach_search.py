"""Search texts with their dead ends teach more than the optimal path. Does it still hold with shuffled
lines?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from keyturn.experiments.arms import base_arm, sizes_for
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.meta_cot import (
    EXPERIMENT,
    TEXTS,
    MetaCotConfig,
    fine_tuned,
    reinforced,
    search_numbers,
    task_of,
)
from keyturn.experiments.plan import Arm, contrast, level, run_plan
from keyturn.experiments.study import outcome_of
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.problems.world.nim_text import Linearised

DEEP, KNOWN = "success heaps 4", "success heaps 3"
RATES = (1e-3, 3e-3)
"""Learning rates of the fits, larger than RL's because a search is a new kind of text."""
AFTER_RL: tuple[Linearised, ...] = ("search", "optimal", "answer")


def by_text(session: Session, lr: float, *, kind: Linearised, config: MetaCotConfig, more: bool) -> Model:
    """Fine-tuning on one kind of text, followed by RL if ``more``."""
    tuned = fine_tuned(
        session,
        kind,
        replace(config, fit=replace(config.fit, lr=lr)),
    )
    return (
        reinforced(
            session,
            tuned,
            kind,
            config,
        )
        if more
        else tuned
    )


def evaluate(session: Session, model: Model) -> Mapping[str, float]:
    """Right answers by number of heaps, valid traces, nodes and tokens."""
    return search_numbers(session, model, 8)


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare four kinds of text at equal tokens on one base that saw no search, and RL after three of them."""
    config: MetaCotConfig = EXPERIMENT.profiles["study" if subject.profile == "long" else "demo"]
    task = task_of(lab, config, seed=subject.seed)
    arms = [base_arm()]
    for kind in TEXTS:
        train = partial(by_text, kind=kind, config=config, more=False)
        arms.append(Arm(name=kind, train=train, says="SFT at equal tokens"))
    for kind in AFTER_RL:
        train = partial(by_text, kind=kind, config=config, more=True)
        arms.append(Arm(name=f"{kind}, then RL", train=train, says="the same, then RL"))
    sizes = replace(sizes_for(subject.profile), lrs=RATES)
    runs = run_plan(Session(lab, task), arms, sizes, evaluate, name="search traces")
    numbers = {
        "effect": contrast(runs, "search", "optimal", KNOWN),
        "effect deeper": contrast(runs, "search", "optimal", DEEP),
        "order of the lines": contrast(runs, "search", "shuffled", KNOWN),
        "against answers": contrast(runs, "search", "answer", KNOWN),
        "against the base's rule": contrast(runs, "search", "base", KNOWN),
        "effect after RL": contrast(runs, "search, then RL", "optimal, then RL", KNOWN),
        "against answers after RL": contrast(runs, "search, then RL", "answer, then RL", KNOWN),
        "RL adds to search": contrast(runs, "search, then RL", "search", KNOWN),
        "nodes saved by RL": contrast(runs, "search", "search, then RL", "nodes"),
        "search is valid": level(runs, "search", "valid"),
        "base": level(runs, "base", "success"),
    }
    return outcome_of(
        Session(lab, task),
        runs,
        numbers,
        setting=(
            f"NIM, a base of {config.steps} steps on the rule's arithmetic and on answers alone; "
            f"{config.fit.steps} steps of some {config.tokens} completion tokens about 2 and 3 heaps at rates "
            f"{RATES[0]:g} and {RATES[1]:g}, then {config.rl.steps} RL steps of {config.rl.prompts} x "
            f"{config.rl.draws} draws; judged by right answers at 3 heaps, deeper: at 4"
        ),
    )
