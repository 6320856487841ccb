"""What a tuned policy's tokens at few places recover, and whether that depends on how it was tuned.

The hybrids are those of ``keyturn elicit`` (:mod:`keyturn.elicitation.hybrid`), with a policy tuned by RL and
with one that was distilled from worked solutions as teacher. ``recovered = (hybrid - base) / (teacher -
base)`` of mean success over the test problems, one value per base. Base and teacher are not drawn from: their
success is an exact sum over the verified completions. The hybrid's is drawn.
Denominator: bases. Degenerate: a base whose teacher gains no more than .05 has no share, and the gate on the
gain says that there is such a base.
Known bias: a teacher's token at *every* place where it disagrees comes near to the teacher itself, so the
share means something only beside the number of tokens, beside as many at random places, and beside a teacher
that taught something new.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError
from keyturn.core.measurement import Json, json_number
from keyturn.core.progress import progress
from keyturn.elicitation import ELICITATIONS
from keyturn.elicitation.stage import elicit
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.elicitation_studies import OTHER, RARE, config_for, difference
from keyturn.experiments.plan import Contrast, ShareDone, over_seeds
from keyturn.experiments.present_and_absent import PresentConfig, asked_of, exact_success, task_of, tuned
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.problems.contract import answers

GATED, PLANNED, RANDOM = "hybrid-disagree", "hybrid-planning", "hybrid-random"
METHODS = (
    GATED,
    "hybrid-divergence",
    "hybrid-entropy",
    PLANNED,
    "hybrid-student",
    "hybrid-rerank",
    "hybrid-backwards",
    RANDOM,
)
LEAST_GAP = 0.05
BASES = 4
"""Fewest bases in each world: a share over three has an interval that decides little."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One hybrid on one base: mean success, share of the tokens that were taken, teacher bits a token."""

    success: float
    taken: float = 0.0
    bits: float = 0.0
    said: str = ""


Found = Mapping[tuple[str, int, str, str], Row]
"""(world, base, teacher, method) -> its row; the methods ``base`` and ``teacher`` are the two alone."""


def hybrids_of(lab: Lab, config: PresentConfig, world: str, base: int) -> dict[tuple[str, int, str, str], Row]:
    """Every hybrid of one base with both teachers."""
    session = Session(lab, task_of(lab, config, world, base), seed=base)
    asked, test = asked_of(session, config), session.task.test
    out: dict[tuple[str, int, str, str], Row] = {}
    alone = exact_success(session).mean()
    for teacher, model in tuned(session, config).items():
        out[world, base, teacher, "base"] = Row(success=float(alone))
        own = exact_success(session, model).mean()
        out[world, base, teacher, "teacher"] = Row(success=float(own), taken=1.0)
        for name in METHODS:
            method, taught = ELICITATIONS[name], replace(asked, teacher=model.policy)
            try:
                found = elicit(lab, method, method.config, taught)
            except InputError as error:
                out[world, base, teacher, name] = Row(success=float("nan"), said=error.what)
                continue
            completions, costs = found.elicitation.completions, found.elicitation.costs
            _, grades = lab.grade(test.grader, test.problems, completions, found.stage, name="grade")
            written = float(costs.generated.sum())
            out[world, base, teacher, name] = Row(
                success=float(answers(name, test.problems, completions, grades).rates().mean()),
                taken=float(costs.steered.sum()) / written,
                bits=float(costs.teacher_bits.sum()) / written,
            )
    return out


def lines_of(found: Found) -> tuple[dict[str, Json], ...]:
    """One flat line a row."""
    return tuple(
        {
            "arm": f"{world}: {teacher}, {method}",
            "lr": None,
            "seed": base,
            "chosen": True,
            "validation": None,
            "success": json_number(round(row.success, 4)),
            "taken": json_number(round(row.taken, 4)),
            "teacher bits": json_number(round(row.bits, 4)),
            **({"said": row.said} if row.said else {}),
        }
        for (world, base, teacher, method), row in found.items()
    )


def _values(found: Found, world: str, teacher: str, method: str) -> NDArray[np.float64]:
    """Mean success, ``[base]``."""
    bases = 1 + max(base for _, base, _, _ in found)
    return np.array([found[world, base, teacher, method].success for base in range(bases)])


def gap(found: Found, world: str, teacher: str) -> NDArray[np.float64]:
    """Success of the teacher minus that of the base, ``[base]``."""
    return _values(found, world, teacher, "teacher") - _values(found, world, teacher, "base")


def recovered(found: Found, world: str, teacher: str, method: str) -> NDArray[np.float64]:
    """Share of the teacher's gap that a hybrid recovers, ``[base]``; NaN without a gap."""
    wide = gap(found, world, teacher)
    over = _values(found, world, teacher, method) - _values(found, world, teacher, "base")
    return np.divide(over, wide, out=np.full(len(wide), np.nan), where=wide > LEAST_GAP)


def _noted(found: Found, world: str, teacher: str, method: str, what: str) -> NDArray[np.float64]:
    """Share of tokens taken, or teacher bits a token, ``[base]``."""
    bases = 1 + max(base for _, base, _, _ in found)
    return np.array([getattr(found[world, base, teacher, method], what) for base in range(bases)])


def rl_numbers(found: Found) -> Mapping[str, Contrast]:
    """Of the claim that RL's tokens at few places recover its gain."""

    def share(method: str) -> Contrast:
        return over_seeds(f"recovered of RL's gain by {method}", recovered(found, RARE, "RL", method))

    def noted(name: str, method: str, what: str) -> Contrast:
        return replace(over_seeds(name, _noted(found, RARE, "RL", method, what)), level=True)

    return {
        "effect": share(GATED),
        "RL learns": difference("RL - base, at 5 %", gap(found, RARE, "RL")),
        "random places": share(RANDOM),
        "share of tokens": noted("share of RL's tokens", GATED, "taken"),
        "share at random places": noted("share of RL's tokens at random places", RANDOM, "taken"),
        "teacher bits": noted("bits of the teacher per token", GATED, "bits"),
        **{method: share(method) for method in METHODS if method not in (GATED, RANDOM)},
    }


def distilled_numbers(found: Found) -> Mapping[str, Contrast]:
    """Of the claim that a hybrid recovers less of what distillation changed."""
    ours, theirs = recovered(found, RARE, "RL", GATED), recovered(found, RARE, "SFT", GATED)

    def share(name: str, world: str, method: str) -> Contrast:
        return over_seeds(name, recovered(found, world, "SFT", method))

    def taken(name: str, world: str, teacher: str) -> Contrast:
        return replace(over_seeds(name, _noted(found, world, teacher, GATED, "taken")), level=True)

    return {
        "effect": over_seeds("recovered: RL teacher - distilled teacher, at 5 %", ours - theirs),
        "RL learns": difference("RL - base, at 5 %", gap(found, RARE, "RL")),
        "distillation learns": difference("SFT - base, at 5 %", gap(found, RARE, "SFT")),
        "distillation teaches": difference("SFT - base, other domain", gap(found, OTHER, "SFT")),
        "distilled": over_seeds("recovered from the distilled teacher, at 5 %", theirs),
        "distilled, absent": share("recovered from the distilled teacher, other domain", OTHER, GATED),
        "planning, distilled": share("its planning tokens only, at 5 %", RARE, PLANNED),
        "planning, absent": share("its planning tokens only, other domain", OTHER, PLANNED),
        "reranked, absent": share("its choice in the base's top 5, other domain", OTHER, "hybrid-rerank"),
        "tokens taken, RL": taken("share of RL's tokens, at 5 %", RARE, "RL"),
        "tokens taken, distilled": taken("share of the distilled teacher's tokens, at 5 %", RARE, "SFT"),
        "tokens taken, absent": taken("share of the distilled teacher's tokens, other domain", OTHER, "SFT"),
    }


def _study(lab: Lab, subject: Subject, *, distilled: bool) -> Outcome:
    worlds = (RARE, OTHER) if distilled else (RARE,)
    config = config_for(subject, worlds, ())
    config = replace(config, bases=max(config.bases, BASES))
    bases = [(world, base) for base in range(config.bases) for world in config.worlds]
    if lab.share is not None:
        bases = bases[lab.share[0] :: lab.share[1]]
    found: dict[tuple[str, int, str, str], Row] = {}
    with progress("hybrids", len(bases)) as advance:
        for world, base in bases:
            found |= hybrids_of(lab, config, world, base)
            advance(1)
    if lab.share is not None:
        raise ShareDone
    numbers = distilled_numbers(found) if distilled else rl_numbers(found)
    task = task_of(lab, config, RARE, 0)
    return Outcome(
        numbers={name: one.estimate for name, one in numbers.items()},
        base=task.base.fingerprint,
        base_name=RARE,
        run=str(lab.root),
        n=len(task.test.problems),
        rows=lines_of(found),
        contrasts=tuple({"key": name, **one.to_json()} for name, one in numbers.items()),
        setting=(
            f"MODES, {config.bases} bases {' and as many '.join(f'at {world!r}' for world in worlds)}; RL of "
            f"{config.rl.steps} steps and SFT of {config.fit.steps} steps as teachers; the hybrids of "
            f"`keyturn elicit` at their defaults, {config.draws} text(s) a problem; success of base and "
            "teacher is an exact sum"
        ),
    )


def few_tokens(lab: Lab, subject: Subject) -> Outcome:
    """What RL's tokens at few places recover."""
    return _study(lab, subject, distilled=False)


def distilled_tokens(lab: Lab, subject: Subject) -> Outcome:
    """Whether that holds for a distilled teacher too."""
    return _study(lab, subject, distilled=True)
