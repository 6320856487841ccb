"""Token roles without access to a grammar: strategic grams mined from the base's right answers."""

from __future__ import annotations

from typing import cast

import numpy as np

from keyturn.core.measurement import Estimate
from keyturn.core.roles import PLANNING
from keyturn.core.statistics.bootstrap import bootstrap_mean
from keyturn.lab.session import Session
from keyturn.policies.offsets import Decodes, GramRoles
from keyturn.problems.contract import answers
from keyturn.roles.strategic_grams import MiningConfig, mine
from keyturn.training.collect import RoleSource

WORLD_WORDS = MiningConfig(words="spaces", digits=True)
"""How the worlds' text is split into words."""


def mined_roles(
    session: Session, draws: int = 4, config: MiningConfig = WORLD_WORDS
) -> tuple[RoleSource, dict[str, Estimate]]:
    """Strategic grams of the base's successful draws on training problems, as a source of roles.

    Args:
        lab: the run directory.
        task: base, problems and grader.
        draws: per training problem.
        config: settings of the mining.

    Returns:
        The source and, if the grader knows the roles of tokens, ``precision`` (share of marked tokens that are
        planning tokens), ``density`` (share of planning tokens: the precision of a random mask) and
        ``recall``. All are means over problems with bootstrap intervals.
    """
    completions, grades = session.draw(session.base, session.task.train, draws, name="draws for grams")
    right = np.flatnonzero(answers("grams", session.task.train.problems, completions, grades).success == 1)
    texts = [completions.texts[row] for row in right]
    problems = [session.task.train.problems[completions.problem[row]].id for row in right]
    grams = mine(texts, streams=session.streams.child("grams"), problems=problems, config=config)
    source = GramRoles(grams, cast(Decodes, session.task.base.tokenizer))
    if grades.roles is None:
        return source, {}
    planning = [int(role) for role in PLANNING]
    truth, marked = np.isin(grades.roles, planning), np.isin(source(completions), planning)
    owner = np.repeat(completions.problem, completions.lengths)
    size = len(session.task.train.problems)

    def share(part: np.ndarray, whole: np.ndarray, name: str) -> Estimate:
        some, of = (np.bincount(owner[mask], minlength=size) for mask in (part & whole, whole))
        rates = np.where(of > 0, some / np.maximum(of, 1), np.nan)
        return bootstrap_mean(rates, session.streams.generator("grams", name))

    return source, {
        "precision": share(truth, marked, "precision"),
        "density": share(truth, np.ones_like(truth), "density"),
        "recall": share(marked, truth, "recall"),
    }
