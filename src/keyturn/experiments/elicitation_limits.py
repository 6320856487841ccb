"""Two limits of elicitation: what thirteen trained numbers do, and whether what can be read can be steered.

``thirteen``: RL of a TinyLoRA with 13 numbers against RL of all parameters, on bases that have the mode and
on twins that lack it. Each arm is tried at the same rates, and validation problems choose.

``decodable``: a logistic regression on mean hidden states of an answer's tokens tells right draws from wrong
ones (area under the curve, folds by problem), and the same direction is then added to hidden states.
Denominator: the draws whose problem is in the fold that is held out. Degenerate: no draw of one kind gives
NaN.
Known bias: answers that are worked differ from direct ones in length and words, so a probe that tells modes
apart tells right from wrong where one mode is right.
Source: Morris et al. 2026 (2602.04118); decodable and not corrected: 2605.05715.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from keyturn.core.progress import progress
from keyturn.elicitation.steering import layer_of
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.elicitation_studies import (
    COMMON,
    OTHER,
    RARE,
    Table,
    config_for,
    difference,
    outcome_from,
    share,
)
from keyturn.experiments.mode_worlds import RIGHT
from keyturn.experiments.plan import Contrast, ShareDone, over_seeds
from keyturn.experiments.present_and_absent import PresentConfig, all_rows, task_of
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.methods.small_sets import METHOD as SMALL_SETS
from keyturn.methods.small_sets import SmallSetsConfig
from keyturn.policies.sites import Site, layers_of
from keyturn.policies.taps import ActivationTap, tap
from keyturn.problems.contract import content_of

NUMBERS = 13
RATES = (3e-3, 3e-2)
"""Learning rates of the 13 numbers; small sets need about ten times the rate of full training."""
PROBED = 64
"""Training problems whose draws a probe learns from."""
LEARNT, READ, RANDOM = "steering mean, right", "steering logistic, right", "steering random, right"


def _small(session: Session, config: PresentConfig) -> Model:
    """RL of 13 numbers, at the rate that validation chooses."""
    rl = replace(config.rl, max_new_tokens=config.rl.max_new_tokens or session.task.max_new_tokens)
    tried = [
        SMALL_SETS.train(
            session,
            SmallSetsConfig(chosen="tinylora", budget=NUMBERS, rl=replace(rl, lr=rate), reward="outcome"),
        )["policy"]
        for rate in RATES
    ]
    scores = [
        session.answers(model, session.task.validation, 8, name="validation").rates().mean() for model in tried
    ]
    return tried[int(np.argmax(scores))]


def thirteen(lab: Lab, subject: Subject) -> Outcome:
    """RL of 13 numbers and of all, where the mode is and where it is not."""
    config = config_for(subject, (COMMON, OTHER), ("plain",))
    lines, cells = all_rows(lab, config)
    bases = [(world, base) for base in range(config.bases) for world in config.worlds]
    if lab.share is not None:
        bases = bases[lab.share[0] :: lab.share[1]]
    found: dict[tuple[str, int], float] = {}
    rows = list(lines)
    with progress("thirteen numbers", len(bases)) as advance:
        for world, base in bases:
            session = Session(lab, task_of(lab, config, world, base), seed=base)
            model = _small(session, config)
            given = session.answers(model, session.task.test, config.draws, name="RL of 13 numbers")
            found[world, base] = float(given.rates().mean())
            arm = {"arm": f"{world}: RL of {NUMBERS} numbers", "lr": None, "seed": base, "chosen": True}
            rows.append({**arm, "validation": None, "success": round(found[world, base], 4)})
            advance(1)
    if lab.share is not None:
        raise ShareDone
    table = Table(lines=tuple(rows), cells=cells)

    def small(world: str) -> NDArray[np.float64]:
        return np.array([found[world, base] for base in range(config.bases)])

    numbers = {
        "effect": difference("RL of 13 numbers - RL, at 20 %", small(COMMON) - table.success(COMMON, "RL")),
        "RL learns": difference("RL - plain, at 20 %", table.gain(COMMON, "RL")),
        "absent": difference(
            "RL of 13 numbers - plain, other domain", small(OTHER) - table.success(OTHER, "plain")
        ),
        "13 numbers learn": difference(
            "RL of 13 numbers - plain, at 20 %", small(COMMON) - table.success(COMMON, "plain")
        ),
        "RL, absent": difference("RL - plain, other domain", table.gain(OTHER, "RL")),
        "SFT, absent": difference("SFT - plain, other domain", table.gain(OTHER, "SFT")),
    }
    return outcome_from(lab, config, table, numbers)


def decodable(lab: Lab, subject: Subject) -> Outcome:
    """How well rightness is read off hidden states, and what steering along that direction does."""
    config = config_for(subject, (RARE,), (LEARNT, READ, RANDOM))
    lines, cells = all_rows(lab, config)
    if lab.share is not None:
        raise ShareDone
    table = Table(lines=lines, cells=cells)
    area = np.array(
        [
            readable(Session(lab, task_of(lab, config, RARE, base), seed=base), config)
            for base in range(config.bases)
        ]
    )
    numbers: Mapping[str, Contrast] = {
        "effect": difference("steering along the probe - plain, at 5 %", table.gain(RARE, READ)),
        "it can be read": share("area under the curve of the probe", area),
        "difference of means": difference("steering by means - plain, at 5 %", table.gain(RARE, LEARNT)),
        "random direction": difference("random direction - plain, at 5 %", table.gain(RARE, RANDOM)),
        "share of worked answers under the probe": over_seeds(
            "worked answers under the probe - plain", table.worked(RARE, READ) - table.worked(RARE, "plain")
        ),
    }
    return outcome_from(lab, config, table, numbers)


def readable(session: Session, config: PresentConfig) -> float:
    """Area under the curve of a probe that tells right draws from wrong ones, over folds of problems."""
    task = session.task
    asked = replace(task.train, problems=task.train.problems[:PROBED])
    drawn, grades = session.draw(session.base, asked, config.samples, name="probe")
    layer = layer_of(RIGHT.layer, len(layers_of(task.base.model)[1]))
    fields = {"base": task.base, "problems": content_of(asked.problems), "draws": drawn.fingerprint}

    def compute() -> dict[str, NDArray]:
        what = ActivationTap(sites=(Site(layer=layer, side=RIGHT.side),), positions="completion", reduce="mean")
        found = tap(task.base, drawn, what)
        rows = found.row
        return {"area": np.array([_area(found.states[0], grades.verified[rows], drawn.problem[rows])])}

    return float(session.lab.arrays("probe", {**fields, "layer": layer}, compute, label="probe")[1]["area"][0])


def _area(states: NDArray, right: NDArray, problem: NDArray) -> float:
    # Here and not at the top: scikit-learn takes a second, and a listing needs none of it.
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(set(right.tolist())) < 2:
        return float("nan")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = GroupKFold(n_splits=min(5, len(set(problem.tolist()))))
    said = cross_val_predict(
        model, states.astype(np.float64), right, groups=problem, cv=folds, method="decision_function"
    )
    return float(roc_auc_score(right, np.asarray(said)))
