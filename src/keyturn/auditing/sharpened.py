"""How much of the distance between a base and a tuned model is sharpening, for two models that are both here.

Draws of both, the base's likely answers, and the base's tempered tokens under the tuned model's draws are put
together for :mod:`keyturn.measures.sharpening`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.lab.session import Model, Session
from keyturn.measures.certified import row_logprobs
from keyturn.measures.sharpening import EXPONENTS, Explained, divergences, explained, normaliser
from keyturn.policies.compare import compare
from keyturn.policies.laws import likely, log_partitions
from keyturn.problems.contract import ProblemSet, content_of

LEAST = 1e-3


@dataclass(frozen=True, kw_only=True)
class Sharpened:
    """One pair.

    Args:
        answers: sharpening of whole answers.
        tokens: tempering token by token, the control.
        listed: mean share of the base's mass that lies on its listed answers.
    """

    answers: Explained
    tokens: Explained
    listed: float


def sharpened(
    session: Session, tuned: Model, problems: ProblemSet, *, draws: int, least: float = LEAST
) -> Sharpened:
    """Draw from both, list, and compare.

    Args:
        session: of the base.
        tuned: the other model.
        problems: that are asked.
        draws: of each model per problem.
        least: the base's answers from this probability on are all listed.
    """
    base, count = session.task.base, len(problems.problems)
    own, _ = session.draw(session.base, problems, draws, name="base for sharpening")
    theirs, _ = session.draw(tuned, problems, draws, name="tuned for sharpening")
    scores = base.score(own)
    said = row_logprobs(own, scores.logprobs)
    spread = row_logprobs(own, scores.entropies)
    entropy = np.bincount(own.problem, weights=spread, minlength=count) / draws
    pair = compare(base, tuned.policy, theirs)
    # Expectations over the next token instead of the one that was drawn: less noise, and never below 0.
    tuned_log = row_logprobs(theirs, -pair.tuned_entropies)
    base_log = row_logprobs(theirs, -pair.tuned_entropies.astype(np.float64) - pair.kl)
    listed = _listed(session, problems, least)
    partition = normaliser(listed, (own.problem, said), entropy, least=least, problems=count)
    mass = np.bincount(listed[0], weights=np.exp(listed[1]), minlength=count)

    def per_problem(values: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = np.bincount(theirs.problem, minlength=count)
        return np.bincount(theirs.problem, weights=values, minlength=count) / rows

    terms = per_problem(tuned_log), per_problem(base_log)
    streams = session.streams.child("sharpening")
    length = float(theirs.lengths.mean())
    low, value, high = (divergences(*terms, one) for one in (partition.low, partition.value, partition.high))
    tempered = log_partitions(base, theirs, EXPONENTS)
    tokens = np.stack(
        [
            per_problem(np.bincount(theirs.token_row, weights=one, minlength=len(theirs)).astype(np.float64))
            for one in tempered
        ]
    )
    return Sharpened(
        answers=explained(value, streams, low=low, high=high, tokens=length),
        tokens=explained(divergences(*terms, tokens), streams, tokens=length),
        listed=float(mass.mean()),
    )


def _listed(
    session: Session, problems: ProblemSet, least: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Problem and log-probability of the base's likely answers. What is finished is read from disk."""
    base, longest = session.task.base, session.task.max_new_tokens

    def compute() -> dict[str, NDArray]:
        found = likely(base, problems.problems, least=least, longest=longest)
        return {"problem": found.problem, "logprob": found.logprob}

    fields = {"base": base, "problems": content_of(problems.problems), "least": least, "longest": longest}
    read = session.lab.arrays("likely", fields, compute, label="likely answers")[1]
    return read["problem"], read["logprob"]
