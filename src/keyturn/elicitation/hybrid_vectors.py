"""Hybrid with vectors: the base writes, and where a tuned model would go on otherwise, a vector that was
trained in the base is added to its last hidden state.

The claim behind it is that a tuned model knows *when* and the base knows *how*. Vectors
(:mod:`keyturn.elicitation.vector_training`) stand for kinds of the tuned model's sentences
(:mod:`keyturn.elicitation.sentences`); how a text is written with them and what the teacher tells thereby is in
:mod:`keyturn.elicitation.vector_writing`::

    teacher bits = T H2(n / T) + n log2 kinds + sum log2 candidates

for ``n`` steered of ``T`` tokens: the first part only where the gate looks at the teacher, the second only
where the teacher tells the kind, the third only where it chooses among the candidates of a grid. What the
vectors themselves hold was told in training and is counted as ``weights``, the trained numbers.

Controls: the bias alone; random directions as long as what each kind adds; kinds drawn at random; random
places, as many as where the two disagree; the coefficient alone, with random directions and kinds; places that
a probe of the base finds. ``hybrid-disagree`` and ``hybrid-rerank`` are the same without vectors: the teacher's
own token, or its choice among the base's likeliest.

Differences from the authors' code: vectors act where they were trained (there they are trained where a layer
begins and used where it ends); states are prepared for the clusters as in their training; the window of the
vector is the last token; nothing is written for the base and no end is suppressed.

Source: Venhoff et al. 2025 (2510.07364), two versions of its code; random directions for the bias too: ours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keyturn.elicitation.contract import Asked, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import costs_of
from keyturn.elicitation.gates import gate_bits
from keyturn.elicitation.vector_fitting import VectorsConfig, trained, trained_numbers
from keyturn.elicitation.vector_places import Arm, for_random_places, for_student_gate, written

NETWORK = VectorsConfig(version="network")


def _answered(asked: Asked, config: VectorsConfig, prepared: Prepared, arm: Arm) -> Elicitation:
    """Answers with their costs."""
    drawn, notes = written(asked, config, prepared, arm)
    flat = np.concatenate([np.zeros((0, 2)), *notes])

    def of_rows(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.bincount(drawn.token_row, weights=values, minlength=len(drawn)).astype(np.float64)

    steered, told = of_rows(flat[:, 0]), of_rows(flat[:, 1])
    lengths = drawn.lengths.astype(np.float64)
    gate = gate_bits(steered, lengths) if arm.gate == "disagree" else np.zeros(len(drawn))
    tries = config.grid if config.version == "grid" else 1
    costs = costs_of(drawn)
    # The teacher and the base beside read every token, and the base reads a steered one once per candidate.
    passes = costs.passes + 2 * lengths + tries * steered
    costs = replace(costs, steered=steered, teacher_bits=told + gate, passes=passes)
    return Elicitation(completions=drawn, costs=costs, facts={"gate_bits": gate})


def full(asked: Asked, config: VectorsConfig, prepared: Prepared) -> Elicitation:
    """Vectors of the teacher's kinds where the two disagree."""
    return _answered(asked, config, prepared, Arm())


def bias_alone(asked: Asked, config: VectorsConfig, prepared: Prepared) -> Elicitation:
    """The bias where the two disagree."""
    return _answered(asked, config, prepared, Arm(vectors="bias"))


def random_vectors(asked: Asked, config: VectorsConfig, prepared: Prepared) -> Elicitation:
    """Random directions where the two disagree."""
    return _answered(asked, config, prepared, Arm(vectors="random"))


def random_kind_vectors(asked: Asked, config: VectorsConfig, prepared: Prepared) -> Elicitation:
    """The bias and random directions of kinds where the two disagree."""
    return _answered(asked, config, prepared, Arm(vectors="random kinds"))


def random_kinds(asked: Asked, config: VectorsConfig, prepared: Prepared) -> Elicitation:
    """Vectors of random kinds where the two disagree."""
    return _answered(asked, config, prepared, Arm(guessed=True))


def coefficient_alone(asked: Asked, config: VectorsConfig, prepared: Prepared) -> Elicitation:
    """Random directions of random kinds where the two disagree."""
    return _answered(asked, config, prepared, Arm(vectors="random", guessed=True))


def random_places(asked: Asked, config: VectorsConfig, prepared: Prepared) -> Elicitation:
    """Vectors of the teacher's kinds at random places."""
    return _answered(asked, config, prepared, Arm(gate="random"))


def student_places(asked: Asked, config: VectorsConfig, prepared: Prepared) -> Elicitation:
    """Vectors of the teacher's kinds where a probe of the base fires."""
    return _answered(asked, config, prepared, Arm(gate="student"))


FULL = ElicitationMethod(
    name="hybrid-vectors",
    summary="the base writes, and a vector trained in it moves its next token where a tuned model differs",
    source="Venhoff et al. 2025, arXiv 2510.07364",
    cost="one answer, read along by the teacher and by the base, which tries 10 coefficients where they differ",
    control=(
        "hybrid-vectors-bias",
        "hybrid-vectors-random",
        "hybrid-vectors-random-kind",
        "hybrid-vectors-random-places",
        "hybrid-vectors-coefficient",
        "hybrid-vectors-student",
        "hybrid-disagree",
        "hybrid-rerank",
    ),
    needs=frozenset({"model", "teacher", "development"}),
    config=VectorsConfig(),
    neutral=VectorsConfig(taking=0.0),
    prepare=trained,
    weights=trained_numbers,
    answer=full,
)
LATER = replace(
    FULL,
    name="hybrid-vectors-network",
    summary="the same, with a network that gives the vectors their coefficients",
    source="the later code of Venhoff et al. 2025, arXiv 2510.07364",
    cost="one answer, read along by the teacher and by the base again",
    config=NETWORK,
    neutral=replace(NETWORK, taking=0.0),
)
BIAS = replace(
    FULL,
    name="hybrid-vectors-bias",
    summary="one vector for all kinds of sentences where a tuned model differs",
    source="an arm of the authors' code of arXiv 2510.07364",
    control=("hybrid-vectors",),
    controls=True,
    answer=bias_alone,
)
RANDOM = replace(
    BIAS,
    name="hybrid-vectors-random",
    summary="random directions of the vectors' lengths where a tuned model differs",
    answer=random_vectors,
)
RANDOM_OF_KINDS = replace(
    BIAS,
    name="hybrid-vectors-random-above-bias",
    summary="the one vector for all kinds, and random directions of the lengths of the kinds' own",
    answer=random_kind_vectors,
)
RANDOM_KIND = replace(
    BIAS,
    name="hybrid-vectors-random-kind",
    summary="the vector of a kind that is drawn at random, where a tuned model differs",
    answer=random_kinds,
)
COEFFICIENT = replace(
    BIAS,
    name="hybrid-vectors-coefficient",
    summary="random directions of random kinds, so that only the coefficients are what they were",
    answer=coefficient_alone,
)
RANDOM_PLACES = replace(
    BIAS,
    name="hybrid-vectors-random-places",
    summary="the vectors at random places, as many as where a tuned model differs",
    prepare=for_random_places,
    answer=random_places,
)
STUDENT = replace(
    BIAS,
    name="hybrid-vectors-student",
    summary="the vectors where a probe on the base alone predicts that a tuned model differs",
    source="ours",
    prepare=for_student_gate,
    answer=student_places,
)
