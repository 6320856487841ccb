"""Label: pays for a fixed answer that need not be right.

Formula: ``r_i = [a_i = l]``, ``[row]``, with ``a_i`` the extracted answer and ``l`` the fact ``label`` of the
problem. :func:`with_labels` makes labels: the most frequent answer among many draws of the base, computed once
before training. With ``wrong_only`` only problems whose most frequent answer is wrong stay, so only errors are
rewarded.
Denominator: none; one number per completion.
Degenerate: all rows of a problem without a label are ungraded (NaN); a completion without an answer gets 0. The
verdict is not used, so a row that the verifier left ungraded has a reward.
Known bias: towards the base's most frequent answer. A wrong label still rewards the format, and nearly right
answers.
Source: Shao et al. 2025 (2506.10947), section 2: majority of 64 base samples, offline, and its incorrect
subset. Departures: ``keyturn.rewards.wording`` decides whether two answers are equal; a problem with a tied
vote has no label (the paper takes the first one).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError
from keyturn.core.problem import Problem
from keyturn.rewards.contract import Graded, Reward
from keyturn.rewards.wording import form, modes
from keyturn.rollouts.grades import Answers


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """Settings of the label reward."""

    fact: str = "label"
    """Name of the problem's fact that is the label; :func:`with_labels` writes ``label``."""


def label(config: LabelConfig = LabelConfig()) -> Reward:
    """The label reward with the given settings."""
    return Reward(
        name="label",
        summary="1 for a fixed answer, the label, e.g. the base's wrong majority",
        source="Shao et al. 2025, arXiv 2506.10947, section 2",
        reward=lambda graded: label_reward(graded, config),
        config=config,
        blind=True,
    )


def label_reward(graded: Graded, config: LabelConfig) -> NDArray[np.float32]:
    """Agreement with the problem's label, float32 ``[row]``; NaN if there is none."""
    labels = [form(str(problem.facts.get(config.fact, ""))) for problem in graded.problems]
    agrees = [
        float(form(answer) == labels[index]) if labels[index] else float("nan")
        for index, answer in zip(graded.completions.problem.tolist(), graded.grades.answer, strict=True)
    ]
    return np.array(agrees, dtype=np.float32)


def with_labels(problems: Sequence[Problem], answers: Answers, *, wrong_only: bool) -> tuple[Problem, ...]:
    """The problems that have a majority answer, which becomes their fact ``label``; others are left out.

    They also get the facts ``label_share`` (share of the label among draws with an answer) and, if the draws
    were graded, ``label_right``.

    Args:
        problems: the problems, matched to the draws by id.
        answers: graded draws of the base; its ``outcome`` says whether the majority answer is right.
        wrong_only: keep only problems whose majority answer is known to be wrong.

    Raises:
        InputError: none of the problems was drawn.
    """
    place = {problem.id: index for index, problem in enumerate(answers.problems)}
    if not any(problem.id in place for problem in problems):
        raise InputError("none of the problems is among the draws", fix="draw from the same problems")
    rows: dict[int, list[int]] = {}
    for row, index in enumerate(answers.problem.tolist()):
        rows.setdefault(index, []).append(row)
    labelled: list[Problem] = []
    for problem in problems:
        found = _majority(answers, rows.get(place.get(problem.id, -1), []))
        if found is not None and not (wrong_only and found.get("label_right") is not False):
            labelled.append(replace(problem, facts={**problem.facts, **found}))
    return tuple(labelled)


def _majority(answers: Answers, rows: Sequence[int]) -> dict[str, str | float | bool] | None:
    """The facts of one problem; None if no single answer leads."""
    forms = {row: form(answers.answer[row]) for row in rows}
    leading = modes(forms.values())
    if len(leading) != 1:
        return None
    agreeing = [row for row in rows if forms[row] == leading[0]]
    answering = sum(bool(one) for one in forms.values())
    facts: dict[str, str | float | bool] = {
        # One of several spellings, chosen independently of the order of rows.
        "label": min(answers.answer[row] for row in agreeing),
        "label_share": len(agreeing) / answering,
    }
    verdicts = answers.outcome[agreeing]
    verdicts = verdicts[np.isfinite(verdicts)]
    if len(verdicts):
        # An answer that was right once is right: other rows may have been wrong because of their form.
        facts["label_right"] = bool(verdicts.max() > 0)
    return facts
