"""Ways of asking: what is the form of an answer worth to the base, and what to the policy after RL?

The same sums of three numbers are asked behind worked examples and without them, in plain text and through the
chat template, and read strictly (the number behind ``####``) and leniently (the last number). What the base
gains by another way of asking is form, for no weight has changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import tasks
from arms import STOPS, TOKENS

from keyturn.core.problem import Problem
from keyturn.policies.local import LocalPolicy, Sampling
from keyturn.problems.contract import ProblemSet
from keyturn.problems.examples import solved, with_examples
from keyturn.problems.graders import GRADERS

TOLD = "{question} Work step by step. End with #### and the number."
ASKED, DRAWS = 16, 4


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way of asking.

    Args:
        name: in files and tables.
        says: what the policy sees.
        examples: behind worked examples.
        chat: through the chat template.
        temperature: of the sampling.
        tokens: length limit.
    """

    name: str
    says: str
    examples: bool
    chat: bool
    temperature: float = 1.0
    tokens: int = TOKENS


WAYS = (
    Way(name="few-shot", says="four worked examples, as in training", examples=True, chat=False),
    Way(name="cooler", says="the same at temperature 0.3", examples=True, chat=False, temperature=0.3),
    Way(name="bare", says="`Question: ... Answer:` alone", examples=False, chat=False),
    Way(name="chat-few-shot", says="the examples as turns of a chat", examples=True, chat=True),
    Way(name="chat", says="the chat template, and told the form", examples=False, chat=True, tokens=64),
)


def policy_of(way: Way, read: Any) -> LocalPolicy:
    """A loaded model that is asked in this way."""
    sampling = Sampling(temperature=way.temperature)
    stops = () if way.chat else STOPS
    return LocalPolicy(read.model, read.tokenizer, sampling=sampling, chat=way.chat, stops=stops)


def problems_of(way: Way, problems: tuple[Problem, ...]) -> ProblemSet:
    """Problems without worked examples, as this way asks them."""
    plain = tuple(replace(one, prompt=one.id, messages=()) for one in problems)
    asked = ProblemSet(name=way.name, problems=plain, grader=GRADERS["gsm8k"])
    if way.examples:
        return with_examples(asked, tasks.EXAMPLES)
    form = TOLD.format(question="{}") if way.chat else solved("{}", "")
    return replace(asked, problems=tuple(replace(one, prompt=form.format(one.id)) for one in plain))
