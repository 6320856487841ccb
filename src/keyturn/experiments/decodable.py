"""Whether a direction that tells right answers from wrong ones makes answers right when it is added.

A logistic regression on mean hidden states of an answer's tokens is read off draws of training problems: its
area under the curve over folds by problem, the same with shuffled labels, and among answers without steps. A
direction is made from right and wrong draws of the same problems, as many of each, by the same regression, and
for comparison from their means. It and random directions of its length are added at every place of
:data:`PLACES` at every dose of :data:`DOSES`; validation problems choose among these ways for each direction
alone, and test problems are answered under the way that was chosen.

``effect = success under the probe's direction - mean success under the random ones``. A vector that is added
to written tokens alone cannot change the first token, which decides between the modes of this world, so places
that hold the last token of the prompt are among the ways.
Denominator: bases; of an area, the draws whose problem is in the fold that is held out. Degenerate: no draw of
one kind, or no problem with both, gives NaN.
Known bias: worked answers differ from direct ones in length and words, so a probe that tells modes apart tells
right from wrong where one mode is right.
Source: decodable and not corrected: arXiv 2605.05715, with 29 ways of steering.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError
from keyturn.core.measurement import Json, json_number
from keyturn.core.progress import progress
from keyturn.elicitation.steering import layer_of, right_and_wrong
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.elicitation_studies import RARE, config_for, difference, share
from keyturn.experiments.plan import Contrast, ShareDone, over_seeds
from keyturn.experiments.present_and_absent import PresentConfig, asked_of, task_of
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.policies.interventions import Intervention, Where
from keyturn.policies.sites import Site, layers_of
from keyturn.policies.steered import SteeredPolicy
from keyturn.policies.taps import ActivationTap, tap
from keyturn.problems.contract import ProblemSet, content_of
from keyturn.rollouts.grades import Answers

BASES = 4
PROBED = 64
"""Training problems whose draws are read."""
LAYER = 0.4
PLACES: tuple[Where, ...] = ("first_step", "generation", "all")
DOSES = (0.25, 0.5, 1.0, 2.0)
"""In mean norms of hidden states there."""
CHOOSING, ASKING = 2, 4
"""Draws per validation problem and way, and per test problem."""
RANDOMS = 3
PROBE, MEANS, PLAIN = "probe", "difference of means", "plain"


@dataclass(frozen=True, kw_only=True)
class Way:
    """A direction at a place and dose."""

    place: Where
    dose: float


WAYS = tuple(Way(place=place, dose=dose) for place, dose in product(PLACES, DOSES))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One direction on one base: test success, share of worked answers, and the way that validation chose."""

    success: float
    worked: float
    chosen: Way | None = None
    validation: float = float("nan")


@dataclass(frozen=True, kw_only=True)
class Read:
    """What is read and made of one base: areas under the curve, nats a token at the largest dose, rows."""

    area: float
    shuffled: float
    direct: float
    moved: float
    rows: Mapping[str, Row]


def site_of(session: Session) -> Site:
    """The layer that is read and steered."""
    return Site(layer=layer_of(LAYER, len(layers_of(session.task.base.model)[1])))


def areas_of(session: Session, asked: ProblemSet, draws: int) -> NDArray[np.float64]:
    """Areas of the probe, of the probe with shuffled labels, and among direct answers: ``[3]``."""
    base = session.task.base
    drawn, grades = session.draw(session.base, asked, draws, name="probe")
    site = site_of(session)
    fields = {"base": base, "problems": content_of(asked.problems), "draws": drawn.fingerprint, "site": site}

    def compute() -> dict[str, NDArray]:
        found = tap(base, drawn, ActivationTap(sites=(site,), positions="completion", reduce="mean"))
        states, right = found.states[0], grades.verified[found.row]
        problem, direct = drawn.problem[found.row], grades.columns["strategy"][found.row] == "DIR"
        mixed = session.streams.generator("decodable", "shuffled").permutation(right)
        return {
            "areas": np.array(
                [
                    area(states, right, problem),
                    area(states, mixed, problem),
                    area(states[direct], right[direct], problem[direct]),
                ]
            )
        }

    return session.lab.arrays("probe", fields, compute, label="probe")[1]["areas"]


def area(states: NDArray[Any], right: NDArray[Any], problem: NDArray[Any]) -> float:
    """Area under the curve of a logistic regression, over folds by problem; NaN without both kinds.

    Args:
        states: ``[draw, dim]``.
        right: of each draw.
        problem: of each draw; all of one problem are in one fold.
    """
    # Here and not at the top: scikit-learn takes a second, and a listing needs none of it.
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = min(5, len(set(problem.tolist())))
    if len(set(right.tolist())) < 2 or folds < 2:
        return float("nan")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    try:
        said = cross_val_predict(
            model,
            states.astype(np.float64),
            right,
            groups=problem,
            cv=GroupKFold(n_splits=folds),
            method="decision_function",
        )
    except ValueError:
        # A fold's training part holds one kind only: too few draws of the other.
        return float("nan")
    return float(roc_auc_score(right, np.asarray(said)))


def directions_of(
    session: Session, asked: ProblemSet, config: PresentConfig
) -> tuple[dict[str, NDArray[np.float64]], float]:
    """Directions of unit length by name, and the mean norm of hidden states; none without right and wrong
    draws of the same problems."""
    from keyturn.elicitation.directions import direction

    trial = replace(asked_of(session, config), problems=asked)
    drawn, grades = session.draw(session.base, asked, config.samples, name="probe")
    try:
        right, wrong, norm = right_and_wrong(trial, drawn, grades.verified, site_of(session))
    except InputError:
        return {}, float("nan")
    streams = session.streams.child("decodable", session.seed)
    out = {
        PROBE: direction("logistic", right, wrong, streams),
        MEANS: direction("mean", right, wrong, streams),
    }
    for number in range(RANDOMS):
        out[f"random {number}"] = direction("random", right, wrong, streams.child(number))
    return out, norm


def _under(
    session: Session, vector: NDArray[np.float64], norm: float, way: Way, asked: ProblemSet, draws: int
) -> Answers:
    steered = SteeredPolicy(session.task.base, [_added(session, vector, norm, way)])
    return session.answers(Model(session.task.folder, steered), asked, draws, name="steered")


def _added(session: Session, vector: NDArray[np.float64], norm: float, way: Way) -> Intervention:
    return Intervention(
        name="steering", site=site_of(session), vector=vector, coefficient=way.dose * norm, where=way.place
    )


def _row(given: Answers, **more: Any) -> Row:
    worked = float(np.mean(given.columns["strategy"] == "FWD"))
    return Row(success=float(given.rates().mean()), worked=worked, **more)


def read_and_steer(session: Session, config: PresentConfig) -> Read:
    """The probe of one base, and every direction under its best way."""
    task = session.task
    asked = replace(task.train, problems=task.train.problems[:PROBED])
    found, norm = directions_of(session, asked, config)
    rows = {PLAIN: _row(session.answers(session.base, task.test, ASKING, name="plain"))}
    for name, vector in found.items():
        scores = [
            float(_under(session, vector, norm, way, task.validation, CHOOSING).rates().mean()) for way in WAYS
        ]
        best = int(np.argmax(scores))
        given = _under(session, vector, norm, WAYS[best], task.test, ASKING)
        rows[name] = _row(given, chosen=WAYS[best], validation=scores[best])
    area, shuffled, direct = areas_of(session, asked, config.samples).tolist()
    moved = _moved(session, found[PROBE], norm) if found else float("nan")
    return Read(area=area, shuffled=shuffled, direct=direct, moved=moved, rows=rows)


def _moved(session: Session, vector: NDArray[np.float64], norm: float) -> float:
    """Nats a token by which the probe's direction moves the law of plain test draws at the largest dose."""
    drawn, _ = session.draw(session.base, session.task.test, ASKING, name="plain")
    way = Way(place="all", dose=max(DOSES))
    return float(
        SteeredPolicy(session.task.base, [_added(session, vector, norm, way)]).divergence(drawn).mean()
    )


def lines_of(found: Mapping[int, Read]) -> tuple[dict[str, Json], ...]:
    """One flat line a row."""
    return tuple(
        {
            "arm": f"{RARE}: {name}",
            "lr": None,
            "seed": base,
            "chosen": True,
            "validation": json_number(round(row.validation, 4)),
            "success": json_number(round(row.success, 4)),
            "worked": json_number(round(row.worked, 4)),
            "place": row.chosen.place if row.chosen else "",
            "dose": row.chosen.dose if row.chosen else None,
        }
        for base, read in found.items()
        for name, row in read.rows.items()
    )


def numbers_of(found: Mapping[int, Read]) -> Mapping[str, Contrast]:
    """The numbers of the claim; a base without directions has none."""

    def success(name: str) -> NDArray[np.float64]:
        return np.array([read.rows[name].success if name in read.rows else np.nan for read in found.values()])

    def worked(name: str) -> NDArray[np.float64]:
        return np.array([read.rows[name].worked if name in read.rows else np.nan for read in found.values()])

    random = np.mean([success(f"random {number}") for number in range(RANDOMS)], axis=0)
    plain = success(PLAIN)

    def read(name: str, which: str) -> Contrast:
        return share(name, np.array([getattr(one, which) for one in found.values()]))

    moved = np.array([one.moved for one in found.values()])

    return {
        "effect": difference("probe - random directions, at 5 %", success(PROBE) - random),
        "it can be read": read("area under the curve of the probe", "area"),
        "labels shuffled": read("area under the curve with shuffled labels", "shuffled"),
        "read among direct answers": read("area under the curve among direct answers", "direct"),
        "it moves the law": replace(over_seeds("nats a token at the largest dose", moved), level=True),
        "probe": difference("probe - plain, at 5 %", success(PROBE) - plain),
        "difference of means": difference("difference of means - plain, at 5 %", success(MEANS) - plain),
        "random directions": difference("random directions - plain, at 5 %", random - plain),
        "worked under the probe": difference("worked under the probe - plain", worked(PROBE) - worked(PLAIN)),
    }


def decodable(lab: Lab, subject: Subject) -> Outcome:
    """How well rightness is read off hidden states, and what steering along that direction does."""
    config = config_for(subject, (RARE,), ("plain",))
    config = replace(config, bases=max(config.bases, BASES))
    bases = list(range(config.bases))
    if lab.share is not None:
        bases = bases[lab.share[0] :: lab.share[1]]
    found: dict[int, Read] = {}
    with progress("decodable", len(bases)) as advance:
        for base in bases:
            session = Session(lab, task_of(lab, config, RARE, base), seed=base)
            found[base] = read_and_steer(session, config)
            advance(1)
    if lab.share is not None:
        raise ShareDone
    numbers, task = numbers_of(found), task_of(lab, config, RARE, 0)
    return Outcome(
        numbers={name: one.estimate for name, one in numbers.items()},
        base=task.base.fingerprint,
        base_name=RARE,
        run=str(lab.root),
        n=len(task.test.problems),
        rows=lines_of(found),
        contrasts=tuple({"key": name, **one.to_json()} for name, one in numbers.items()),
        setting=(
            f"MODES, {config.bases} bases at {RARE!r}; {config.samples} draws of {PROBED} problems are read at "
            f"the output of one layer; {len(WAYS)} ways to add a direction ({len(PLACES)} places, doses "
            f"{', '.join(f'{dose:g}' for dose in DOSES)} mean norms), chosen on validation problems for the "
            f"probe, for the difference of means and for each of {RANDOMS} random directions; {ASKING} answers "
            "to each test problem"
        ),
    )
