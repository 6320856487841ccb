"""A searched prefix: a few tokens that begin the answer, or stand before the question, found by hill climbing.

This is prompt optimisation for models that follow no instructions. The search starts from nothing. In every
round it tries one token more (those that the policy finds likeliest next on development problems, and random
ones), one token fewer, and one token exchanged, each on all development problems, and moves to the best if that
is better. It ends where two rounds in a row bring nothing, or where the budget does. ``forced-opener`` tries
single openers once and is its control; a prefix of several tokens must beat it.

What the search is told of a trial differs: ``prefix-search`` right or wrong, ``prefix-search-answers`` also the
gold answers of what it got wrong, which it tries as tokens, ``prefix-search-coins`` the faces of a coin.

Source: ours; the miniature of Agrawal et al. 2025 (2507.19457).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.core.problem import Problem
from keyturn.core.progress import progress
from keyturn.elicitation.contract import Asked, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import Drafts
from keyturn.elicitation.first_tokens import likeliest_first_tokens
from keyturn.elicitation.instructions import Feedback, best, coin, instructed
from keyturn.problems.contract import answers

PATIENCE = 2
"""Rounds without a better prefix after which the search ends."""


@dataclass(frozen=True, kw_only=True)
class PrefixConfig:
    """Settings of the search for a prefix."""

    place: Literal["answer", "question"] = "answer"
    """Where the prefix stands: it begins the answer, or stands before the question."""
    longest: int = 4
    """Tokens of a prefix, at most."""
    likely: int = 6
    """Tokens tried next that the policy finds likeliest there."""
    random: int = 6
    """Tokens tried next that are drawn from the whole vocabulary."""
    trials: int = 1
    """Answers to every development problem for a prefix."""
    budget: int = 4000
    """Answers to development problems, at most; 0: no prefix."""


class _Search:
    """The prefixes that were tried and what came of them."""

    def __init__(self, asked: Asked, config: PrefixConfig, feedback: Feedback) -> None:
        assert asked.development is not None, "checked before"
        self.config, self.feedback = config, feedback
        self.streams = asked.streams.child("elicit", "prefix")
        own = {"problems": asked.development, "draws": range(config.trials), "streams": self.streams}
        self.trial = replace(asked, **own)
        self.tokenizer = asked.model.tokenizer
        self.gap = "" if asked.in_words else " "
        self.success: dict[tuple[int, ...], float] = {}
        self.missed: tuple[Problem, ...] = ()
        self.calls = 0

    def text(self, prefix: tuple[int, ...]) -> str:
        """A prefix as words."""
        return str(self.tokenizer.decode(list(prefix))) if prefix else ""

    @property
    def left(self) -> bool:
        """Whether the budget lasts for one more prefix."""
        return self.calls + len(self.trial.problems.problems) * self.config.trials <= self.config.budget

    def measure(self, prefix: tuple[int, ...]) -> float:
        """Success of a prefix on development problems, as this arm is told of it."""
        problems, text = self.trial.problems.problems, self.text(prefix)
        drafts = drafted(self.trial, text, self.config.place, self.gap)
        self.calls += len(drafts)
        completions = drafts.completions()
        graded = self.trial.problems.grader.grade(problems, completions)
        right = np.nan_to_num(answers("trial", problems, completions, graded).rates())
        if self.feedback == "coins":
            found = np.array([coin(self.streams, text, problem) for problem in problems])
        else:
            found = right
        if self.feedback == "answers":
            self.missed = tuple(one for one, rate in zip(problems, right.tolist(), strict=True) if rate < 0.5)
        self.success[prefix] = float(found.mean())
        return self.success[prefix]

    def near(self, prefix: tuple[int, ...], dice: np.random.Generator) -> Iterator[tuple[int, ...]]:
        """Prefixes that differ in one place, each once, none that was tried."""
        tokens = self._tokens(prefix, dice)
        found = [(*prefix, *more) for more in tokens]
        if prefix:
            place = int(dice.integers(len(prefix)))
            found += [(*prefix[:place], *more, *prefix[place + 1 :]) for more in tokens]
            found.append((*prefix[:place], *prefix[place + 1 :]))
        for one in dict.fromkeys(found):
            if one not in self.success and len(one) <= self.config.longest:
                yield one

    def _tokens(self, prefix: tuple[int, ...], dice: np.random.Generator) -> list[tuple[int, ...]]:
        """What is tried as the next token; a gold answer may be several."""
        model, config = self.trial.model, self.config
        begun = placed(self.trial.problems.problems, self.text(prefix), config.place, self.gap)
        likely = likeliest_first_tokens(model, begun, config.likely) if config.likely else []
        ids = [tuple(self.tokenizer(word, add_special_tokens=False)["input_ids"]) for word in likely]  # type: ignore[operator]
        embeddings: Any = model.model.get_input_embeddings()
        size = int(embeddings.weight.shape[0])
        drawn = [(int(token),) for token in dice.permutation(size)[: config.random]]
        ids += [one for one in drawn if one[0] not in model.ends and self.text(one).strip()]
        if self.feedback == "answers" and self.missed:
            gold = self.missed[int(dice.integers(len(self.missed)))].answer
            ids.append(tuple(self.tokenizer(gold, add_special_tokens=False)["input_ids"]))  # type: ignore[operator]
        return [one for one in ids if one]


def placed(problems: tuple[Problem, ...], prefix: str, place: str, gap: str) -> tuple[Problem, ...]:
    """Problems as texts with the prefix where it stands, for a look at what comes next."""
    if place == "question":
        return instructed(problems, prefix, gap)
    return tuple(replace(one, prompt=f"{one.prompt}{gap}{prefix}") for one in problems) if prefix else problems


def drafted(asked: Asked, prefix: str, place: str, gap: str) -> Drafts:
    """Answers under a prefix."""
    if place == "question":
        asked = asked.of(instructed(asked.problems.problems, prefix, gap))
    drafts = Drafts(asked)
    if place == "answer":
        drafts.write(prefix)
    drafts.grow()
    return drafts


def prepare(asked: Asked, config: PrefixConfig, *, feedback: Feedback) -> Prepared:
    """Search; every prefix that was tried with its success."""
    if min(config.longest, config.trials) < 1 or min(config.likely, config.random, config.budget) < 0:
        raise UsageError("a size of the search is below its least", fix="sizes of 1 or more")
    if config.place not in ("answer", "question"):
        raise UsageError(f"--place is {config.place!r}", fix="answer or question")
    if not config.budget:
        return {"prefixes": np.array([""]), "success": np.array([np.nan]), "answers_drawn": np.array([0.0])}
    search = _Search(asked, config, feedback)
    least = 2 * len(search.trial.problems.problems) * config.trials
    if config.budget < least:
        raise UsageError(
            f"--budget {config.budget} does not last for one step", fix=f"--budget {least} or more"
        )
    now: tuple[int, ...] = ()
    best_yet, idle, rounds = search.measure(now), 0, 0
    with progress("prefix search", config.budget) as advance:
        advance(search.calls)
        while idle < PATIENCE and search.left and best_yet < 1.0:
            start, rounds = now, rounds + 1
            for one in search.near(start, search.streams.generator("round", rounds)):
                if not search.left:
                    break
                before = search.calls
                found = search.measure(one)
                advance(search.calls - before)
                if found > best_yet:
                    now, best_yet = one, found
            idle = idle + 1 if now == start else 0
    return {
        "prefixes": np.array([search.text(one) for one in search.success]),
        "success": _scores(search),
        "answers_drawn": np.array([float(search.calls)]),
    }


def _scores(search: _Search) -> NDArray[np.float64]:
    return np.array(list(search.success.values()))


def answer(asked: Asked, config: PrefixConfig, prepared: Prepared) -> Elicitation:
    """Answer with the best prefix."""
    gap = "" if asked.in_words else " "
    drafts = drafted(asked, best(prepared, "prefixes"), config.place, gap)
    return Elicitation(completions=drafts.completions(), costs=drafts.costs)


def used(asked: Asked, config: PrefixConfig, *, feedback: Feedback) -> int:
    """Development problems whose answers the search used; a coin uses none."""
    if feedback == "coins" or not config.budget or asked.development is None:
        return 0
    return len(asked.development.problems)


def _method(name: str, summary: str, feedback: Feedback, control: tuple[str, ...], **more: Any) -> Any:
    return ElicitationMethod(
        name=name,
        summary=summary,
        source="ours; the miniature of Agrawal et al. 2025, arXiv 2507.19457",
        cost="one answer; before it up to 4,000 answers to development problems",
        control=control,
        needs=frozenset({"model", "development"}),
        config=PrefixConfig(),
        neutral=PrefixConfig(budget=0),
        prepare=partial(prepare, feedback=feedback),
        examples=partial(used, feedback=feedback),
        answer=answer,
        **more,
    )


METHOD: ElicitationMethod = _method(
    "prefix-search",
    "a few tokens that begin the answer, found by hill climbing on development problems",
    "verdicts",
    ("prefix-search-coins", "forced-opener"),
)
ANSWERS: ElicitationMethod = _method(
    "prefix-search-answers",
    "prefix-search that also tries the gold answers of development problems as tokens",
    "answers",
    ("prefix-search",),
    controls=True,
)
COINS: ElicitationMethod = _method(
    "prefix-search-coins",
    "prefix-search that is told the faces of a coin in place of right or wrong",
    "coins",
    ("prefix-search",),
    controls=True,
)
