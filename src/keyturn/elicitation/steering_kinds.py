"""Steering vectors of other makes: from answer tokens, at delimiters only, or only for prompts of one kind.

``steering-answer`` (contrastive activation addition): with the gold answer ``y`` of a development problem ``x``
and the gold answer ``y'`` of another one, ``v = mean[h(x lead y) - h(x lead y')]`` at the last token of the
answer. ``steering-delimiter`` (SEAL): every piece of a development text between two delimiters is an execution
piece, or a reflection or transition piece if it holds one of their words; with the states at the delimiter
before each piece, ``v = mean(execution) - mean(reflection and transition)``, added at delimiters alone.
``steering-conditional`` steers only problems whose prompt is like those that the policy fails at::

    cos(h(x) - c, w) > threshold,   w = mean h(failed) - mean h(solved),   c half way between the two

with ``h(x)`` the mean state of the prompt's tokens. ``steering-unconditional`` steers the other
problems instead. Doses are as in :mod:`keyturn.elicitation.steering`.

Source: Rimsky et al. 2023 (2312.06681); SEAL: Chen et al. 2025 (2504.07986); conditional: Lee et al. 2024
(2409.05907), whose condition is a projection on a principal axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError, UsageError
from keyturn.core.lazy import torch
from keyturn.elicitation.contract import Asked, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import Drafts
from keyturn.elicitation.steering import (
    VectorConfig,
    drawn_under,
    graded,
    last_states,
    right_and_wrong,
    site_of,
    trial_of,
    vector_of,
)
from keyturn.policies.interventions import Where
from keyturn.policies.local import LocalPolicy
from keyturn.policies.sites import Places, Site, width_of
from keyturn.policies.taps import ActivationTap, tap
from keyturn.problems.contract import ProblemSet
from keyturn.rollouts.completions import Completions

Contrast = tuple[NDArray[np.float64], NDArray[np.float64], float]


@dataclass(frozen=True, kw_only=True)
class AnswerConfig(VectorConfig):
    """Settings of the vector from answer tokens."""

    lead: str = " "
    """Stands between prompt and answer."""
    where: Where = "generation"
    """Tokens that are steered: prompt, first_step, generation or all."""


@dataclass(frozen=True, kw_only=True)
class DelimiterConfig(VectorConfig):
    """Settings of steering at delimiters."""

    delimiters: tuple[str, ...] = ("\n\n",)
    """A token that holds one of these, or is one apart from spaces, ends a piece of a text."""
    transition: tuple[str, ...] = (
        "alternatively",
        "think differently",
        "another way",
        "another approach",
        "another method",
        "another solution",
        "another strategy",
        "another technique",
    )
    """Words of a piece that goes another way."""
    reflection: tuple[str, ...] = (
        "wait",
        "verify",
        "make sure",
        "hold on",
        "think again",
        "'s correct",
        "'s incorrect",
        "let me check",
        "seems right",
    )
    """Words of a piece that looks back."""
    trials: int = 8
    """Texts per development problem."""


@dataclass(frozen=True, kw_only=True)
class ConditionalConfig(VectorConfig):
    """Settings of steering by a condition."""

    threshold: float = 0.0
    """Cosine above which a prompt is one of those that are steered."""
    trials: int = 16
    """Draws per development problem, of which right and wrong ones are told apart."""


@dataclass(frozen=True, kw_only=True)
class AtTokens:
    """Written tokens of some kinds.

    Args:
        tokens: their ids.
    """

    tokens: tuple[int, ...]
    only_written: ClassVar[bool] = True

    def __call__(self, places: Places) -> Any:
        """bool ``[row, token]``."""
        kinds = torch.tensor(self.tokens, dtype=torch.long, device=places.token.device)
        return torch.isin(places.token, kinds) & (places.position >= places.prompt)


@dataclass(frozen=True, kw_only=True)
class OfProblems:
    """Written tokens of some problems.

    Args:
        problems: their numbers.
    """

    problems: tuple[int, ...]
    only_written: ClassVar[bool] = True

    def __call__(self, places: Places) -> Any:
        """bool ``[row, token]``."""
        those = torch.tensor(self.problems, dtype=torch.long, device=places.problem.device)
        return torch.isin(places.problem, those) & (places.position >= places.prompt)


def for_answer(asked: Asked, config: AnswerConfig) -> Prepared:
    """From another problem's answer to the right one, at the answer's last token."""

    def states() -> Contrast:
        trial, site = trial_of(asked, 1), site_of(asked, config)
        right, wrong = answer_pairs(trial.problems)
        kept = trial.of([trial.problems.problems[index] for index in right])
        golds = [trial.problems.problems[index].answer or "" for index in right]
        others = [trial.problems.problems[index].answer or "" for index in wrong]
        found = [last_states(kept, [config.lead + word for word in words], site) for words in (golds, others)]
        return found[0], found[1], float(np.linalg.norm(np.concatenate(found), axis=1).mean())

    return vector_of("mean", asked, config, states, config.where)


def answer_pairs(problems: ProblemSet) -> tuple[list[int], list[int]]:
    """Problems with an answer, and for each the next problem whose answer is another one.

    Raises:
        InputError: fewer than two problems have one.
    """
    several, right, wrong = problems.problems, list[int](), list[int]()
    for index, one in enumerate(several):
        good = {one.answer, *one.also}
        later = [(index + step) % len(several) for step in range(1, len(several))]
        other = next(
            (place for place in later if several[place].answer and several[place].answer not in good), None
        )
        if one.answer and other is not None:
            right.append(index)
            wrong.append(other)
    if len(right) < 2:
        what = (
            f"{len(right)} development problems have an answer that another one lacks, and a vector needs two"
        )
        raise InputError(what, fix="development problems with different answers")
    return right, wrong


def for_delimiter(asked: Asked, config: DelimiterConfig) -> Prepared:
    """From reflection and transition to execution, at the delimiter before them."""
    kinds = delimiter_tokens(asked.model, config.delimiters)

    def states() -> Contrast:
        trial, site = trial_of(asked, config.trials), site_of(asked, config)
        drawn = trial.model.draw(trial.problems.problems, trial.draws, trial.streams, trial.limits)
        return pieces_of(trial.model, drawn, config, kinds, site)

    made = vector_of("mean", asked, config, states, AtTokens(tokens=kinds))
    return {**made, "delimiters": np.array(kinds, dtype=np.int64)}


def delimiter_tokens(policy: LocalPolicy, delimiters: Sequence[str]) -> tuple[int, ...]:
    """Ids of the tokens that end a piece of a text.

    Raises:
        InputError: the tokenizer has none.
    """
    size = len(policy.tokenizer)  # type: ignore[arg-type]
    said = [str(policy.tokenizer.decode([token], skip_special_tokens=True)) for token in range(size)]
    blank, words = [d for d in delimiters if d and d.isspace()], [d for d in delimiters if d.strip()]
    found = [
        token
        for token, text in enumerate(said)
        if text.strip(" ") in words or any(one in text for one in blank)
    ]
    if not found:
        what = f"no token of this tokenizer is one of the delimiters {', '.join(map(repr, delimiters))}"
        raise InputError(what, fix="--delimiters WORD, one of its tokens")
    return tuple(found)


def pieces_of(
    policy: LocalPolicy, drawn: Completions, config: DelimiterConfig, kinds: Sequence[int], site: Site
) -> Contrast:
    """States at the delimiters before execution pieces and before the others, and the mean norm there."""
    words = [one.casefold() for one in (*config.reflection, *config.transition) if one]
    prompts = np.diff(drawn.prompts.offsets)[drawn.problem]
    turns: dict[tuple[int, int], bool] = {}
    for row in range(len(drawn)):
        own = drawn.row(row)
        places = np.flatnonzero(np.isin(own, kinds)).tolist()
        for place, end in zip(places, [*places, len(own)][1:], strict=True):
            said = str(
                policy.tokenizer.decode(own[place + 1 : end].tolist(), skip_special_tokens=True)
            ).casefold()
            if said.strip():
                turns[row, int(prompts[row]) + place] = any(word in said for word in words)
    if len(set(turns.values())) < 2:
        count = sum(turns.values())
        what = f"{count} of {len(turns)} pieces of the development texts reflect or change course: no contrast"
        raise InputError(what, fix="--reflection and --transition words that the model uses, or more --trials")
    found = tap(
        policy, drawn, ActivationTap(sites=(site,), positions=AtTokens(tokens=tuple(kinds)), reduce="none")
    )
    states = found.states[0].astype(np.float64)
    keys = list(zip(found.row.tolist(), found.position.tolist(), strict=True))
    kept = np.array([key in turns for key in keys])
    away = np.array([turns.get(key, False) for key in keys])
    return states[kept & ~away], states[kept & away], float(np.linalg.norm(states, axis=1).mean())


def at_delimiters(asked: Asked, config: DelimiterConfig, prepared: Prepared) -> Elicitation:
    """Draw with the vector added at delimiters."""
    kinds = tuple(int(one) for one in prepared["delimiters"])
    return drawn_under(asked, config, prepared, AtTokens(tokens=kinds))


def by_answer(asked: Asked, config: AnswerConfig, prepared: Prepared) -> Elicitation:
    """Draw with the vector added."""
    return drawn_under(asked, config, prepared, config.where)


def for_condition(asked: Asked, config: ConditionalConfig) -> Prepared:
    """The vector from wrong to right draws, and the condition: from prompts of solved problems to those of
    failed ones."""
    none = np.zeros(width_of(asked.model.model))
    condition = {"condition": none, "middle": none}

    def states() -> Contrast:
        trial, site = trial_of(asked, config.trials), site_of(asked, config)
        drawn, success = graded(trial)
        size = len(trial.problems.problems)
        rates = np.nan_to_num([success[drawn.problem == index].mean() for index in range(size)])
        prompts = prompt_states(trial, site)
        failed = rates < np.median(rates) if rates.min() < np.median(rates) else rates <= np.median(rates)
        if failed.all():
            what = "the policy solves all development problems equally often: there is no condition"
            raise InputError(what, fix="development problems of different difficulty, or steering-mean")
        hard, easy = prompts[failed].mean(axis=0), prompts[~failed].mean(axis=0)
        condition.update(condition=hard - easy, middle=(hard + easy) / 2)
        return right_and_wrong(trial, drawn, success, site)

    return {**vector_of("mean", asked, config, states, "generation"), **condition}


def prompt_states(asked: Asked, site: Site) -> NDArray[np.float64]:
    """Mean state of the tokens of every problem's prompt, ``[problem, dim]``."""
    texts = Drafts(replace(asked, draws=range(1))).completions()
    what = ActivationTap(sites=(site,), positions="prompt", reduce="mean", sinks=0)
    return tap(asked.model, texts, what).states[0].astype(np.float64)


def like_failed(asked: Asked, config: ConditionalConfig, prepared: Prepared) -> NDArray[np.bool_]:
    """Problems whose prompt meets the condition, ``[problem]``."""
    away = prompt_states(asked, site_of(asked, config)) - prepared["middle"]
    lengths = np.linalg.norm(away, axis=1) * np.linalg.norm(prepared["condition"])
    cosine = (away @ prepared["condition"]) / np.where(lengths > 0, lengths, 1.0)
    return cosine > config.threshold


def conditional(asked: Asked, config: ConditionalConfig, prepared: Prepared) -> Elicitation:
    """Steer problems that meet the condition."""
    return _where(asked, config, prepared, other=False)


def unconditional(asked: Asked, config: ConditionalConfig, prepared: Prepared) -> Elicitation:
    """Steer problems that do not."""
    return _where(asked, config, prepared, other=True)


def _where(asked: Asked, config: ConditionalConfig, prepared: Prepared, *, other: bool) -> Elicitation:
    if not -1 <= config.threshold <= 1:
        raise UsageError(f"--threshold is {config.threshold}", fix="a cosine from -1 to 1")
    met = like_failed(asked, config, prepared) != other
    those = OfProblems(problems=tuple(np.flatnonzero(met).tolist()))
    found = drawn_under(asked, config, prepared, those)
    # The prompt is read once more, whole, to see whether it meets the condition.
    costs = replace(found.costs, passes=found.costs.passes + 1)
    return replace(found, costs=costs, facts={"met": met[found.completions.problem].astype(np.float64)})


def used(asked: Asked, config: VectorConfig) -> int:
    """Development problems whose answers the vector was made from."""
    return len(asked.development.problems) if config.dose and asked.development is not None else 0


ANSWER = ElicitationMethod(
    name="steering-answer",
    summary="the difference of hidden states between the right answer's token and another one's is added",
    source="Rimsky et al. 2023, arXiv 2312.06681 (contrastive activation addition)",
    cost="one answer; two prompts with an answer per development problem are read before",
    control=("steering-random", "steering-other"),
    needs=frozenset({"model", "development"}),
    config=AnswerConfig(),
    neutral=AnswerConfig(dose=0.0),
    prepare=for_answer,
    examples=used,
    answer=by_answer,
)
DELIMITER = replace(
    ANSWER,
    name="steering-delimiter",
    summary="at delimiters alone, hidden states are moved from reflection and transition towards execution",
    source="SEAL: Chen et al. 2025, arXiv 2504.07986",
    cost="one answer; 8 draws per development problem before",
    config=DelimiterConfig(),
    neutral=DelimiterConfig(dose=0.0),
    prepare=for_delimiter,
    examples=None,
    answer=at_delimiters,
)
CONDITIONAL = replace(
    ANSWER,
    name="steering-conditional",
    summary="a difference of means is added only where the prompt is like those of failed problems",
    source="after Lee et al. 2024, arXiv 2409.05907",
    cost="one answer behind a prompt that is read twice; 16 draws per development problem before",
    control=("steering-unconditional", "steering-mean", "steering-random"),
    config=ConditionalConfig(),
    neutral=ConditionalConfig(dose=0.0),
    prepare=for_condition,
    answer=conditional,
)
UNCONDITIONAL = replace(
    CONDITIONAL,
    name="steering-unconditional",
    summary="the same vector where the prompt is not like those of failed problems",
    source="ours",
    control=("steering-conditional",),
    controls=True,
    answer=unconditional,
)
