"""How a text is written with vectors: arms of the hybrid, and what random places and the student's gate need.

The methods are in :mod:`keyturn.elicitation.hybrid_vectors`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from keyturn.core.lazy import torch
from keyturn.elicitation.contract import Asked, Prepared
from keyturn.elicitation.gates import Disagree, Everywhere, Gate, Student
from keyturn.elicitation.hybrid_places import StudentConfig, development_of, for_student
from keyturn.elicitation.shifts import Shifts
from keyturn.elicitation.vector_fitting import VectorsConfig, checked, of_teacher, site_of, trained
from keyturn.elicitation.vector_writing import Steers
from keyturn.policies.beside import LastState, ReadsAlong, SteeredBeside
from keyturn.rollouts.completions import Completions

STUDENT_LAYER = 0.7
"""Layer of the base that the student's probe reads."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What is real in a hybrid with vectors, and what is destroyed.

    Args:
        gate: where it acts: where the two disagree, at random places, or where the base's probe fires.
        vectors: the trained ones; ``bias``: only the bias; ``random``: random directions as long as what each
            kind adds; ``random kinds``: the bias, and random directions in place of the kinds' own vectors.
        guessed: whether kinds are drawn at random.
    """

    gate: Literal["disagree", "random", "student"] = "disagree"
    vectors: Literal["trained", "bias", "random", "random kinds"] = "trained"
    guessed: bool = False


def for_random_places(asked: Asked, config: VectorsConfig) -> Prepared:
    """Vectors, and the rate at which the two disagree while the hybrid writes."""
    made = trained(asked, config)
    if not config.taking:
        return made
    _, notes = written(development_of(asked, 1), replace(config, taking=1.0), made, Arm())
    return {**made, "rate": np.array([np.concatenate(notes)[:, 0].mean()])}


def for_student_gate(asked: Asked, config: VectorsConfig) -> Prepared:
    """Vectors, and the probe of the base that predicts where the two disagree."""
    if not config.taking:
        return trained(asked, config)
    student = StudentConfig(layer=STUDENT_LAYER, trials=config.trials)
    return {**trained(asked, config), **for_student(asked, student)}


def written(
    asked: Asked, config: VectorsConfig, prepared: Prepared, arm: Arm
) -> tuple[Completions, tuple[NDArray[np.float64], ...]]:
    """Texts, and of each of their tokens whether a vector was added and the teacher's bits.

    Args:
        asked: base, teacher and problems.
        config: settings.
        prepared: vectors.
        arm: what is real.
    """
    checked(config)
    teacher, policy = of_teacher(asked), asked.model
    problems, room = asked.problems.problems, asked.limits.max_new_tokens
    table = policy.prompts(problems)
    prompts = [table.row(index) for index in range(len(problems))]
    dice = np.empty((2 * len(problems) * len(asked.draws), room))
    names = [
        (name, problem.id, draw) for name in ("hybrid", "kind") for problem in problems for draw in asked.draws
    ]
    asked.streams.uniforms(names, dice)
    told = LastState(teacher, site_of(teacher, config.teacher_layer), prompts)
    gate, probed = _gate(arm, prepared)
    states = LastState(policy, site_of(policy, STUDENT_LAYER), prompts) if probed else None
    vectors = {name: np.asarray(one) for name, one in prepared.items() if name.startswith("shift ")}
    steers = Steers(
        teacher=teacher,
        gate=gate,
        vectors=vectors,
        coefficients=_coefficients(config),
        kinds={name: np.asarray(one) for name, one in prepared.items() if name.startswith("kinds ")},
        used=np.asarray(prepared["used"], dtype=bool) if arm.vectors != "bias" else np.array([True]),
        guessed=arm.guessed,
        dice=dice.reshape(2, len(problems), len(asked.draws), room),
        taking=config.taking * (float(prepared["rate"][0]) if arm.gate == "random" else 1.0),
        first=asked.draws.start,
        shifts=_shifts(asked, vectors, arm),
        along=ReadsAlong(teacher.having(hooks=[told.hook]), prompts, room),
        beside=SteeredBeside(policy, site_of(policy, config.layer), prompts, room),
        told=told,
        states=states,
    )
    both = policy.having(processors=[steers], hooks=[states.hook] if states is not None else [])
    drawn = both.draw(problems, asked.draws, asked.streams, asked.limits)
    return drawn, steers.notes.rows(drawn.problem, drawn.draw, drawn.lengths)


def _coefficients(config: VectorsConfig) -> tuple[float, ...]:
    if config.version == "network":
        return ()
    return tuple((one + 1) / config.grid for one in range(config.grid))


def _gate(arm: Arm, prepared: Prepared) -> tuple[Gate, bool]:
    """The gate, and whether it reads the base's states."""
    if arm.gate == "student":
        threshold = float(prepared["threshold"][0])
        return Student(probe=np.asarray(prepared["probe"], dtype=np.float64), threshold=threshold), True
    return (Everywhere() if arm.gate == "random" else Disagree()), False


def _shifts(asked: Asked, arrays: Prepared, arm: Arm) -> Shifts:
    """The vectors of an arm."""
    made = Shifts.of(arrays, asked.model.model.device)
    if arm.vectors == "bias":
        return replace(made, vectors=torch.zeros_like(made.vectors[:1]))
    if arm.vectors == "trained":
        return made
    generator = asked.streams.generator("elicit", "random vectors")
    return made.random(generator, keep_bias=arm.vectors == "random kinds")
