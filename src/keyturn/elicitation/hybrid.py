"""Token-level hybrids: one model writes, and another one's token is taken at chosen places, without vectors.

With the base's law ``b`` and the law ``t`` of a tuned model, the teacher, both after the same tokens::

    forward     x_t ~ t where the gate fires, else b
    backwards   x_t ~ b where the gate fires, else t

Gates are defined in :mod:`keyturn.elicitation.gates`. Thresholds are quantiles over the base's own texts on
development problems, whose gold answers are not read. Controls: ``hybrid-random`` takes the teacher's token at
random places, at the rate of another gate on development problems; ``hybrid-rerank`` lets the teacher choose
only among the base's likeliest tokens; ``hybrid-student`` fires where a probe on the base's own hidden state
predicts disagreement, so that the teacher does not tell the place.

The information of the teacher is counted as the length of a code with which it could be sent::

    teacher bits = sum over taken tokens of -log2 b(x_t) + T H2(n / T)

for ``n`` taken of ``T`` tokens; the second part only where the gate looks at the teacher. ``b`` is at
temperature 1. ``in_top5`` counts the taken tokens that are among the base's five likeliest.

Source: teacher tokens as the control of vectors: Venhoff et al. 2025 (2510.07364) has none; at places of high
divergence, and by the base's own entropy: 2605.06241; nudging: Fei et al. 2024 (2410.09300). Bits: ours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keyturn.elicitation.choosing import positive
from keyturn.elicitation.contract import Asked, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import costs_of
from keyturn.elicitation.gates import Disagree, Everywhere, gate_bits
from keyturn.elicitation.hybrid_places import (
    BackwardsConfig,
    HybridConfig,
    PlanningConfig,
    RandomConfig,
    RerankConfig,
    ShareConfig,
    StudentConfig,
    Written,
    for_backwards,
    for_divergence,
    for_planning,
    for_random,
    for_student,
    for_uncertainty,
    gate_of,
    site_of,
    written,
)

TOP = 5
"""Likeliest tokens of the base among which a taken token is looked for."""


def _answered(asked: Asked, found: Written) -> Elicitation:
    """Answers with their costs: the teacher's choices are found again under the base's own law."""
    drawn, gate = found.drawn, found.swap.gate
    taught = np.concatenate([np.zeros(0), *(one[:, 0] for one in found.notes)]) > 0
    scores = asked.model.score(drawn)
    lengths = drawn.lengths.astype(np.float64)

    def of_rows(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.bincount(drawn.token_row, weights=values * taught, minlength=len(drawn)).astype(np.float64)

    taken = of_rows(np.ones(len(taught)))
    bits = of_rows(-scores.logprobs.astype(np.float64) / np.log(2.0))
    told = gate_bits(taken, lengths) if gate.asks_teacher else np.zeros(len(drawn))
    costs = costs_of(drawn)
    costs = replace(costs, steered=taken, teacher_bits=bits + told, passes=costs.passes + lengths)
    top = of_rows((scores.ranks < TOP).astype(np.float64))
    return Elicitation(
        completions=drawn, costs=costs, facts={"taken": taken, "in_top5": top, "gate_bits": told}
    )


def by_disagreement(asked: Asked, config: HybridConfig, prepared: Prepared) -> Elicitation:
    """The teacher's token where the two likeliest ones differ."""
    return _answered(asked, written(asked, Disagree(), taking=config.taking))


def by_divergence(asked: Asked, config: ShareConfig, prepared: Prepared) -> Elicitation:
    """The teacher's token where the laws are far apart."""
    gate = gate_of("divergence", config, prepared)
    return _answered(asked, written(asked, gate, taking=config.taking))


def by_uncertainty(asked: Asked, config: ShareConfig, prepared: Prepared) -> Elicitation:
    """The teacher's token where the base is unsure."""
    gate = gate_of("uncertain", config, prepared)
    return _answered(asked, written(asked, gate, taking=config.taking))


def by_planning(asked: Asked, config: PlanningConfig, prepared: Prepared) -> Elicitation:
    """The teacher's token where it plans."""
    gate = gate_of("planning", config, prepared)
    return _answered(asked, written(asked, gate, taking=config.taking))


def by_rerank(asked: Asked, config: RerankConfig, prepared: Prepared) -> Elicitation:
    """The teacher's choice among the base's likeliest tokens, where the two disagree."""
    positive(config.k, "--k")
    return _answered(asked, written(asked, Disagree(), taking=config.taking, within=config.k))


def by_student(asked: Asked, config: StudentConfig, prepared: Prepared) -> Elicitation:
    """The teacher's token where the base's probe fires."""
    gate = gate_of("student", config, prepared)
    return _answered(asked, written(asked, gate, taking=config.taking, site=site_of(asked, config)))


def at_random(asked: Asked, config: RandomConfig, prepared: Prepared) -> Elicitation:
    """The teacher's token at random places."""
    rate = float(prepared["rate"][0])
    return _answered(asked, written(asked, Everywhere(), taking=config.taking * rate))


def backwards(asked: Asked, config: BackwardsConfig, prepared: Prepared) -> Elicitation:
    """The teacher writes, and the base's token is taken."""
    gate = gate_of(config.gate, config, prepared)
    return _answered(asked, written(asked, gate, taking=config.taking, backwards=True))


DISAGREE = ElicitationMethod(
    name="hybrid-disagree",
    summary="the base writes, and a tuned model's token is taken wherever their likeliest tokens differ",
    source="Fei et al. 2024, arXiv 2410.09300; the control that 2510.07364 lacks",
    cost="one answer, read along by the teacher, which tells bits at every token it writes",
    control=("hybrid-random", "hybrid-rerank", "hybrid-student"),
    needs=frozenset({"model", "teacher"}),
    config=HybridConfig(),
    neutral=HybridConfig(taking=0.0),
    answer=by_disagreement,
)
DIVERGENCE = replace(
    DISAGREE,
    name="hybrid-divergence",
    summary="the base writes, and a tuned model's token is taken where their distributions are far apart",
    source="after 2605.06241",
    needs=DISAGREE.needs | {"development"},
    control=("hybrid-random", "hybrid-entropy"),
    config=ShareConfig(),
    neutral=ShareConfig(taking=0.0),
    prepare=for_divergence,
    answer=by_divergence,
)
ENTROPY = replace(
    DIVERGENCE,
    name="hybrid-entropy",
    summary="the base writes, and a tuned model's token is taken where the base's own entropy is high",
    source="arXiv 2605.06241",
    control=("hybrid-random", "hybrid-divergence"),
    prepare=for_uncertainty,
    answer=by_uncertainty,
)
PLANS = replace(
    DISAGREE,
    name="hybrid-planning",
    summary="the base writes, and a tuned model's token is taken where that model would plan",
    source="ours; planning tokens as in 2509.03646",
    needs=DISAGREE.needs | {"development"},
    control=("hybrid-random", "hybrid-entropy"),
    config=PlanningConfig(),
    neutral=PlanningConfig(taking=0.0),
    prepare=for_planning,
    answer=by_planning,
)
BACKWARDS = replace(
    DIVERGENCE,
    name="hybrid-backwards",
    summary="a tuned model writes, and the base's token is taken at chosen places",
    source="ours; the other direction of every hybrid",
    cost="one answer of the teacher; all tokens but the base's are its",
    control=("hybrid-disagree", "plain"),
    config=BackwardsConfig(),
    neutral=BackwardsConfig(gate="everywhere"),
    prepare=for_backwards,
    answer=backwards,
)
RANDOM = replace(
    DIVERGENCE,
    name="hybrid-random",
    summary="a tuned model's token is taken at random places, as often as where the two disagree",
    source="ours",
    control=("hybrid-disagree",),
    controls=True,
    config=RandomConfig(),
    neutral=RandomConfig(taking=0.0),
    prepare=for_random,
    answer=at_random,
)
RERANK = replace(
    DISAGREE,
    name="hybrid-rerank",
    summary="a tuned model chooses among the base's likeliest tokens where the two disagree",
    source="ours; the same places, without words the base would not say",
    control=("hybrid-disagree",),
    controls=True,
    config=RerankConfig(),
    neutral=RerankConfig(taking=0.0),
    answer=by_rerank,
)
STUDENT = replace(
    DIVERGENCE,
    name="hybrid-student",
    summary="a tuned model's token is taken where a probe on the base alone predicts that the two disagree",
    source="ours",
    control=("hybrid-disagree",),
    controls=True,
    config=StudentConfig(),
    neutral=StudentConfig(taking=0.0),
    prepare=for_student,
    answer=by_student,
)
