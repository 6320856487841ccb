"""GEPA: an instruction before the question, rewritten by a model that reads how the policy fared with it.

``gepa`` keeps a pool of instructions. It takes one that is best on some development problem, shows a reflection
model a few questions with the policy's answers and a verdict each, and asks for a better instruction. This one
is tried on the same questions, and if more become right, on all development problems that choose. The
instruction that is right most often there stands before the questions that are asked.

Three methods differ in what the reflection model and the search are told: ``gepa`` right or wrong,
``gepa-answers`` the gold answers too, ``gepa-coins`` the faces of a coin in place of verdicts. An optimiser
that reads gold answers can write them into the instruction; on facts that no development problem holds it
must then gain nothing.

Half of the development problems are shown to the reflection model, the other half choose, so answers that were
written down do not help an instruction to be chosen; with ``apart`` off all problems do both, as in the package
where no other set is named. A *metric call* is one answer to one development problem; no search makes more than
its budget. Finished answers and replies are kept, so an interrupted search goes on where it was.

Source: Agrawal et al. 2025 (2507.19457), by the package ``gepa``; the coin: ours.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from keyturn.core.errors import KeyturnError, UsageError
from keyturn.core.extras import need
from keyturn.core.identity import identity
from keyturn.core.problem import Problem
from keyturn.core.progress import progress
from keyturn.elicitation.contract import Asked, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import costs_of
from keyturn.elicitation.instructions import Feedback, best, coin, instructed
from keyturn.elicitation.reflection import Reflection
from keyturn.policies.journal import Journal
from keyturn.problems.contract import answers

_log = logging.getLogger("keyturn")
_PART = "instruction"
SHOWN = 2000
"""Characters of an answer that the reflection model is shown."""


@dataclass(frozen=True, kw_only=True)
class GepaConfig:
    """Settings of the search for an instruction."""

    reflection: str = ""
    """Server of the model that rewrites instructions, http://host:port/v1#model; its key is read from
    KEYTURN_REFLECTION_KEY."""
    instruction: str = "Solve the problem step by step, then state the final answer."
    """The first instruction."""
    between: str = "\n\n"
    """Stands between instruction and question."""
    budget: int = 200
    """Metric calls: answers to development problems, at most; 0: the first instruction as it is."""
    apart: bool = True
    """Problems that are shown to the reflection model do not choose, and the other way round."""
    minibatch: int = 3
    """Questions that the reflection model is shown at a time."""
    longest: int = 4000
    """Characters of a usable instruction, at most."""
    reply_tokens: int = 4096
    """Tokens of a reply of the reflection model, at most."""
    retries: int = 3
    """Further attempts of a request to the reflection model."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Trial:
    """One answer to one development problem."""

    problem: Problem
    text: str
    score: float


class _Trials:
    """Answers development problems under an instruction; each answer is drawn once and kept."""

    def __init__(self, asked: Asked, config: GepaConfig, feedback: Feedback) -> None:
        self.asked, self.config = asked, config
        self.feedback: Feedback = feedback
        self.streams = asked.streams.child("elicit", "gepa")
        self.journal = Journal(None if asked.kept is None else asked.kept / "answers.jsonl")
        self.generated = self.read = 0.0
        self.failed: KeyturnError | None = None
        """``gepa`` goes on where no instruction came back; the error of ours is kept and ends the search."""

    def __call__(self, problems: Sequence[Problem], instruction: str) -> list[_Trial]:
        keys = {one.id: self._key(one, instruction) for one in problems}
        missing = [one for one in problems if self.journal.get(keys[one.id]) is None]
        if missing:
            self._draw(list({one.id: one for one in missing}.values()), instruction, keys)
        rows = {one.id: self.journal.get(keys[one.id]) or {} for one in problems}
        return [
            _Trial(problem=one, text=rows[one.id]["text"], score=self._score(one, instruction, rows[one.id]))
            for one in problems
        ]

    def _key(self, problem: Problem, instruction: str) -> str:
        return identity({"problem": problem.id, "instruction": instruction}, 32)

    def _draw(self, problems: list[Problem], instruction: str, keys: Mapping[str, str]) -> None:
        given = instructed(problems, instruction, self.config.between)
        drawn = self.asked.policy.draw(given, range(1), self.streams, self.asked.limits)
        graded = self.asked.problems.grader.grade(tuple(problems), drawn)
        right = answers("trial", tuple(problems), drawn, graded).rates()
        costs = costs_of(drawn)
        for place, one in enumerate(problems):
            row = {"text": drawn.texts[place], "right": float(np.nan_to_num(right[place]))}
            self.journal.add(keys[one.id], row)
        self.generated += float(np.nansum(costs.generated))
        self.read += float(np.nansum(costs.read))

    def _score(self, problem: Problem, instruction: str, row: Mapping[str, Any]) -> float:
        if self.feedback == "coins":
            return coin(self.streams, instruction, problem)
        return float(row["right"])


class _Adapter:
    """What ``gepa`` asks about a candidate (its ``GEPAAdapter``)."""

    propose_new_texts = None

    def __init__(self, trials: _Trials) -> None:
        self.trials = trials
        self.batch = need("gepa.core.adapter", "gepa").EvaluationBatch

    def evaluate(self, batch: list[Problem], candidate: Mapping[str, str], capture_traces: bool = False) -> Any:
        """Answers and scores of a few problems under a candidate."""
        found = self.trials(batch, candidate[_PART])
        scores = [one.score for one in found]
        return self.batch(
            outputs=[one.text for one in found], scores=scores, trajectories=found if capture_traces else None
        )

    def make_reflective_dataset(
        self, candidate: Mapping[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> Mapping[str, list[dict[str, str]]]:
        """What the reflection model is shown."""
        rows = [
            shown(one.problem, one.text, one.score, self.trials.feedback) for one in eval_batch.trajectories
        ]
        return dict.fromkeys(components_to_update, rows)


def shown(problem: Problem, text: str, score: float, feedback: Feedback) -> dict[str, str]:
    """One question as the reflection model sees it. Only ``answers`` lets it see a gold answer.

    Args:
        problem: which.
        text: the policy's answer.
        score: 1 where it is said to be right.
        feedback: what the model is told.
    """
    said = "The answer is right." if score >= 0.5 else "The answer is wrong."
    if feedback == "answers":
        said += f" The right answer is {problem.answer}."
    return {"Inputs": problem.prompt, "Generated Outputs": text[:SHOWN], "Feedback": said}


class _Quiet:
    """Sends what ``gepa`` logs to the log of this package."""

    def log(self, message: str) -> None:
        _log.debug("gepa: %s", message)


def prepare(asked: Asked, config: GepaConfig, *, feedback: Feedback) -> Prepared:
    """Search; the instructions that were tried on all problems that choose, and what the search cost."""
    if config.budget < 0 or config.minibatch < 1:
        raise UsageError(
            f"--budget {config.budget}, --minibatch {config.minibatch}", fix="0 or more, and 1 or more"
        )
    if not config.budget:
        return _found([config.instruction], [float("nan")])
    learning, choosing = _halves(asked, config)
    if not config.reflection:
        fix = "--reflection http://host:port/v1#model, or --budget 0 for the first instruction as it is"
        raise UsageError("the search needs a model that rewrites instructions", fix=fix)
    gepa = need("gepa", "prompt optimisation")
    streams = asked.streams.child("elicit", "gepa")
    reflection = Reflection(
        config.reflection,
        streams.child("reflection"),
        longest=config.longest,
        tokens=config.reply_tokens,
        retries=config.retries,
        folder=None if asked.kept is None else asked.kept / "reflection",
    )
    trials = _Trials(asked, config, feedback)
    most = len(choosing) + 2 * config.minibatch
    with progress("gepa", config.budget) as advance:
        result = gepa.optimize(
            seed_candidate={_PART: config.instruction},
            trainset=list(learning),
            valset=list(choosing),
            adapter=_Adapter(trials),
            custom_candidate_proposer=_Proposer(reflection, trials),
            reflection_minibatch_size=config.minibatch,
            stop_callbacks=[
                lambda state: trials.failed is not None or state.total_num_evals + most > config.budget
            ],
            callbacks=[_Budget(advance)],
            logger=_Quiet(),
            seed=streams.seed("search") & 0x7FFFFFFF,
            track_best_outputs=False,
        )
    if trials.failed is not None:
        raise trials.failed
    return _found(
        [one[_PART] for one in result.candidates],
        list(result.val_aggregate_scores),
        metric_calls=result.total_metric_calls or 0,
        reflections=reflection.asked,
        unusable_replies=reflection.unusable,
        generated_before=trials.generated,
        read_before=trials.read,
    )


def _halves(asked: Asked, config: GepaConfig) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Development problems that are shown, and those that choose.

    Raises:
        UsageError: there are too few, or the budget does not last for one round.
    """
    if not asked.in_words:
        what = "an instruction is words for people, and a controlled world's model knows only its own"
        raise UsageError(what, fix="prefix-search, which searches the model's own tokens")
    assert asked.development is not None, "checked before"
    problems = asked.development.problems
    learning, choosing = (problems[::2], problems[1::2]) if config.apart else (problems, problems)
    if len(choosing) < 2:
        raise UsageError(f"{len(problems)} development problems are too few to search on", fix="4 or more")
    least = 2 * (len(choosing) + config.minibatch)
    if config.budget < least:
        what = f"--budget {config.budget} does not last for one round with {len(choosing)} problems that choose"
        raise UsageError(what, fix=f"--budget {least}, or fewer development problems")
    return learning, choosing


class _Budget:
    """Shows the progress of the budget."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self.advance = advance

    def on_budget_updated(self, event: Mapping[str, Any]) -> None:
        """Called by ``gepa`` after every evaluation."""
        self.advance(int(event["metric_calls_delta"]))


class _Proposer:
    """Has an instruction rewritten."""

    def __init__(self, reflection: Reflection, trials: _Trials) -> None:
        self.reflection, self.trials = reflection, trials
        self.signature = need("gepa.strategies.instruction_proposal", "gepa").InstructionProposalSignature

    def __call__(
        self,
        candidate: Mapping[str, str],
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: list[str],
    ) -> dict[str, str]:
        """A rewritten instruction; the old one where the reply is of no use, which then wins nothing."""
        old = candidate[_PART]
        given = {"current_instruction_doc": old, "dataset_with_feedback": list(reflective_dataset[_PART])}
        try:
            text = str(self.signature.run(self.reflection.reply, given)["new_instruction"]).replace("\0", "")
            return {_PART: text if self.reflection.usable(text, old) else old}
        except KeyturnError as error:
            self.trials.failed = error
            return {_PART: old}


def _found(instructions: list[str], success: list[float], **costs: float) -> Prepared:
    numbers = {name: np.array([float(value)]) for name, value in costs.items()}
    return {"instructions": np.array(instructions), "success": np.array(success), **numbers}


def answer(asked: Asked, config: GepaConfig, prepared: Prepared) -> Elicitation:
    """Ask behind the best instruction."""
    given = instructed(asked.problems.problems, best(prepared, "instructions"), config.between)
    drawn = asked.policy.draw(given, asked.draws, asked.streams, asked.limits)
    return Elicitation(completions=drawn, costs=costs_of(drawn))


def used(asked: Asked, config: GepaConfig, *, feedback: Feedback) -> int:
    """Development problems whose answers the search used; a coin uses none."""
    if feedback == "coins" or not config.budget or asked.development is None:
        return 0
    return len(asked.development.problems)


def _method(name: str, summary: str, feedback: Feedback, control: tuple[str, ...], controls: bool) -> Any:
    return ElicitationMethod(
        name=name,
        summary=summary,
        source="Agrawal et al. 2025, arXiv 2507.19457, package gepa",
        cost="one answer behind a longer prompt; before it 200 answers and a second model's replies",
        control=control,
        controls=controls,
        needs=frozenset({"development"}),
        config=GepaConfig(),
        neutral=replace(GepaConfig(), instruction="", budget=0),
        prepare=partial(prepare, feedback=feedback),
        examples=partial(used, feedback=feedback),
        answer=answer,
        example="MODEL --problems FILE --development FILE --reflection URL#MODEL",
    )


METHOD: ElicitationMethod = _method(
    "gepa",
    "an instruction before the question, rewritten by a second model that is told right or wrong",
    "verdicts",
    ("gepa-coins", "gepa-answers"),
    False,
)
ANSWERS: ElicitationMethod = _method(
    "gepa-answers",
    "gepa whose second model reads the gold answers, and can write them down",
    "answers",
    ("gepa",),
    True,
)
COINS: ElicitationMethod = _method(
    "gepa-coins", "gepa that is told the faces of a coin in place of right or wrong", "coins", ("gepa",), True
)
