"""An elicited policy as a server asks it: what a request may say, the answers, and the reply in OpenAI's form.

The method decides how the policy samples, so requests ask at temperature 1 and get an error where they ask for
something else. What an answer cost stands in the reply beside the usual usage.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

import numpy as np

from keyturn.core.errors import InputError, UsageError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.elicitation.contract import Asked, Elicitation, ElicitationMethod, Prepared
from keyturn.policies.client import ServerPolicy
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Limits
from keyturn.problems.contract import Grader
from keyturn.rollouts.completions import Completions, Stop
from keyturn.rollouts.grades import Grades

PROMPTS, DRAWS = 64, 128
"""Most prompts and completions of a request."""
FIXED = {"temperature": (1,), "top_p": (1,), "top_k": (-1, 0), "min_p": (0,), "repetition_penalty": (1,)}
"""Fields of sampling, and what they may be: the method samples as it does."""
KNOWN = {
    *FIXED,
    "model",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "seed",
    "stream",
    "stream_options",
    "logprobs",
    "stop",
    "user",
}
"""Fields that a request may have."""


class Wrong(Exception):
    """A request that is not answered: the status, and why."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


@dataclass(frozen=True)
class Answers:
    """Finds the answer in a text and judges nothing: whose answer nobody knows, nobody can judge.

    Args:
        grader: of the problems that the method was prepared on.
    """

    grader: Grader

    @property
    def name(self) -> str:
        """Of the grader."""
        return self.grader.name

    @property
    def reads_traces(self) -> bool:
        """It does not say whether a trace is valid."""
        return False

    def grade(self, problems: tuple[Problem, ...], completions: Completions) -> Grades:
        """The answers alone; none where the grader cannot read the question."""
        nothing = np.full(len(completions), np.nan, dtype=np.float32)
        try:
            found = self.grader.grade(problems, completions).answer
        except InputError:
            found = ("",) * len(completions)
        return Grades(outcome=nothing, verified=nothing, answer=found)


@dataclass(frozen=True, kw_only=True, eq=False)
class Served:
    """What is served.

    Args:
        method: how answers are elicited.
        config: its settings.
        prepared: what it made once.
        asked: policy, grader, worked solutions and the length limit of an answer.
        name: the model's name in requests.
    """

    method: ElicitationMethod
    config: Any
    prepared: Prepared
    asked: Asked
    name: str

    @property
    def chat(self) -> bool:
        """Whether prompts go through a chat template."""
        policy = self.asked.policy
        if isinstance(policy, ServerPolicy):
            return policy.config.route == "chat"
        return isinstance(policy, LocalPolicy) and policy.chat

    def answer(
        self, problems: tuple[Problem, ...], count: int, seed: int, tokens: int, stops: tuple[str, ...]
    ) -> tuple[Elicitation, Completions]:
        """Answers to problems, and their completions with names of the policy.

        Args:
            problems: what is asked.
            count: answers per problem.
            seed: of their random numbers.
            tokens: most tokens of an answer.
            stops: texts that end it.
        """
        policy = self.asked.policy
        if stops and isinstance(policy, LocalPolicy | ServerPolicy):
            policy = policy.having(stops=stops)
        asked = replace(
            self.asked,
            policy=policy,
            problems=replace(
                self.asked.problems, problems=problems, grader=Answers(self.asked.problems.grader)
            ),
            draws=range(count),
            streams=Streams(seed),
            limits=Limits(max_new_tokens=min(tokens, self.asked.limits.max_new_tokens)),
            development=None,
        )
        found = self.method.answer(asked, self.config, self.prepared)
        return found, found.completions


def served(method: ElicitationMethod, config: Any, asked: Asked, prepared: Prepared, name: str = "") -> Served:
    """A method with its policy, ready to be served.

    Raises:
        UsageError: the method cannot answer questions whose answer nobody knows.
    """
    if method.unserved:
        raise UsageError(f"{method.name} cannot be served: {method.unserved}", fix="another method")
    return Served(method=method, config=config, prepared=prepared, asked=asked, name=name or method.name)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a request asks for."""

    problems: tuple[Problem, ...]
    count: int
    tokens: int
    seed: int
    logprobs: bool
    stops: tuple[str, ...]
    stream: bool

    @staticmethod
    def read(body: Mapping[str, Any], policy: Served, *, chat: bool) -> Request:
        """Check every field.

        Raises:
            Wrong: one is missing, unknown or out of its range.
        """
        extra = set(body) - KNOWN - {"messages" if chat else "prompt"}
        if extra:
            raise Wrong(HTTPStatus.BAD_REQUEST, f"unknown fields {', '.join(sorted(map(str, extra)))}")
        if body.get("model", policy.name) != policy.name:
            raise Wrong(HTTPStatus.NOT_FOUND, f"The model `{body['model']}` does not exist.")
        for name, allowed in FIXED.items():
            if body.get(name) is not None and body[name] not in allowed:
                what = f"{name} is {body[name]!r}: {policy.method.name} decides how answers are sampled"
                raise Wrong(HTTPStatus.BAD_REQUEST, f"{what}; ask for {name} {allowed[0]}")
        stop = body.get("stop") or []
        stops = [stop] if isinstance(stop, str) else stop
        if not isinstance(stops, list) or len(stops) > 8 or not all(isinstance(s, str) and s for s in stops):
            raise Wrong(HTTPStatus.BAD_REQUEST, "stop is a text, or up to 8 of them")
        most = body.get("max_completion_tokens") if chat else None
        return Request(
            problems=_messages(body) if chat else _prompts(body),
            count=_whole(body, "n", 1, 1, DRAWS),
            tokens=_whole({"max_tokens": most or body.get("max_tokens")}, "max_tokens", 1 << 30, 1, 1 << 30),
            seed=_whole(body, "seed", secrets.randbits(62), -(1 << 63), 1 << 63),
            logprobs=bool(body.get("logprobs")),
            stops=tuple(stops),
            stream=bool(body.get("stream")),
        )


def _whole(body: Mapping[str, Any], name: str, usual: int, least: int, most: int) -> int:
    value = body.get(name)
    if value is None:
        return usual
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise Wrong(HTTPStatus.BAD_REQUEST, f"{name} is a whole number from {least} to {most}")
    return value


def _prompts(body: Mapping[str, Any]) -> tuple[Problem, ...]:
    prompt = body.get("prompt")
    texts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(texts, list) or not texts or not all(isinstance(one, str) and one for one in texts):
        raise Wrong(HTTPStatus.BAD_REQUEST, "prompt is a text, or a list of texts")
    if len(texts) > PROMPTS:
        raise Wrong(HTTPStatus.BAD_REQUEST, f"at most {PROMPTS} prompts")
    return tuple(Problem(id=f"{place}-{_mark(text)}", prompt=text) for place, text in enumerate(texts))


def _messages(body: Mapping[str, Any]) -> tuple[Problem, ...]:
    found = body.get("messages")
    if not isinstance(found, list) or not found:
        raise Wrong(HTTPStatus.BAD_REQUEST, "messages is a list of {role, content}")
    turns = []
    for one in found:
        role, text = (one.get(key) if isinstance(one, dict) else None for key in ("role", "content"))
        if role not in ("system", "user", "assistant") or not isinstance(text, str):
            raise Wrong(HTTPStatus.BAD_REQUEST, "a message has a role and a text")
        turns.append((role, text))
    if turns[-1][0] != "user":
        raise Wrong(HTTPStatus.BAD_REQUEST, "the last message is the user's")
    mark = _mark(json.dumps(turns))
    return (Problem(id=f"0-{mark}", prompt=turns[-1][1], messages=tuple(turns)),)


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def document(
    policy: Served, request: Request, given: Elicitation, drawn: Completions, *, chat: bool
) -> dict[str, Any]:
    """The reply, with what each answer cost."""
    choices = []
    for row in range(len(drawn)):
        choice: dict[str, Any] = {
            "index": row,
            "finish_reason": "length" if drawn.stop[row] == Stop.LENGTH else "stop",
        }
        text = drawn.texts[row]
        choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        choices.append(choice | _logprobs(policy, request, drawn, row, chat=chat))
    costs = {
        name: [None if math.isnan(one) else float(one) for one in column.tolist()]
        for name, column in given.costs.columns().items()
    }
    written, read = (
        int(drawn.lengths.sum()),
        int(sum(len(drawn.prompts.row(p)) for p in drawn.problem.tolist())),
    )
    return {
        "id": f"keyturn-{_mark(str(request.seed))}",
        "object": "chat.completion" if chat else "text_completion",
        "created": int(time.time()),
        "model": policy.name,
        "choices": choices,
        "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
        "keyturn_costs": costs,
    }


def events(reply: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A reply as the events of a stream: one whole answer each, since a method may discard what it wrote. The
    last one has the usage and the costs."""
    choices = reply["choices"]
    chat = reply["object"] == "chat.completion"
    head = {name: reply[name] for name in ("id", "created", "model")}
    head["object"] = "chat.completion.chunk" if chat else reply["object"]
    for place, choice in enumerate(choices, start=1):
        piece = {"delta" if name == "message" else name: value for name, value in choice.items()}
        counted = {name: reply[name] for name in ("usage", "keyturn_costs")} if place == len(choices) else {}
        yield {**head, "choices": [piece], **counted}


def _logprobs(policy: Served, request: Request, drawn: Completions, row: int, *, chat: bool) -> dict[str, Any]:
    """Log-probabilities where they are asked for and known of every token."""
    span = slice(int(drawn.offsets[row]), int(drawn.offsets[row + 1]))
    values = drawn.logprobs[span].astype(float).tolist()
    model = policy.asked.policy
    if (
        not request.logprobs
        or not values
        or not isinstance(model, LocalPolicy)
        or not np.isfinite(values).all()
    ):
        return {}
    words = [str(model.tokenizer.decode([one])) for one in drawn.tokens[span].tolist()]
    if chat:
        rows = [{"token": word, "logprob": value} for word, value in zip(words, values, strict=True)]
        return {"logprobs": {"content": rows}}
    return {"logprobs": {"tokens": words, "token_logprobs": values}}
