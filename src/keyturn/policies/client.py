"""A policy behind an OpenAI-compatible server: vLLM, SGLang, llama.cpp, ``transformers serve``.

One request a completion, each with its own seed from its own stream, so that a draw is the same whoever
else is drawn with it and a run can go on where it stopped (servers share the prefill of equal prompts
themselves). Rate limits, server faults and time-outs are tried again with growing pauses; what still
fails is a row with ``Stop.ERROR``, never a wrong answer. Standard library only.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError, UsageError
from keyturn.core.problem import Problem
from keyturn.core.progress import progress
from keyturn.core.rundir import identity
from keyturn.core.streams import Streams
from keyturn.policies.http import Refused, Unanswered, post
from keyturn.policies.journal import Journal
from keyturn.policies.protocol import Limits, Need, TokenTable
from keyturn.rollouts.completions import Completions, Prompts, Stop, ragged

_log = logging.getLogger("keyturn")

UNKNOWN_TOKEN = -1
"""Stands for a token of which only the text is known."""


class TextTokenizer(Protocol):
    """The part of a Hugging Face tokenizer that is used here."""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Text to ids."""
        ...


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Where the server is and how it is asked."""

    url: str
    """Base address, with or without ``/v1``."""
    model: str
    """Name under which the server knows the model."""
    route: Literal["completions", "chat"] = "completions"
    """``completions`` sends the prompt as it is, ``chat`` as messages for the server's template."""
    temperature: float = 1.0
    """Of the sampling distribution."""
    top_p: float = 1.0
    """Nucleus; 1 is off."""
    top_k: int = 0
    """0 is off; sent only when on, since plain OpenAI servers do not know it."""
    logprobs: Literal["raw", "processed", "off"] = "raw"
    """What the server's log-probabilities are of. ``raw`` (vLLM's default) is the model at temperature 1, which
    is the sampling distribution only at temperature 1 without truncation; elsewhere they are left unknown."""
    token_ids: bool = False
    """Ask for token ids too (vLLM's ``return_token_ids``; servers that do not know it may refuse)."""
    concurrency: int = 8
    """Requests in flight."""
    timeout_s: float = 120.0
    """Seconds for one answer."""
    retries: int = 5
    """Further attempts after the first."""
    pause_s: float = 0.5
    """First pause before a further attempt; doubled each time, with jitter, at most 30 s."""


@dataclass(frozen=True, kw_only=True)
class _Answer:
    text: str
    stop: Stop
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]


_NOTHING = _Answer(text="", stop=Stop.ERROR, tokens=(), logprobs=())


class ServerPolicy:
    """Answers prompts by asking a server.

    Args:
        config: where and how.
        key: bearer token, sent and never written anywhere.
        tokenizer: the model's tokenizer, where it is at hand: gives token ids and lengths. Without it
            ids are the server's where it sends them, else :data:`UNKNOWN_TOKEN` as often as it counted.
        journal: a JSON-lines file of finished draws; what stands there is not asked again.
    """

    can: frozenset[Need] = frozenset()

    def __init__(
        self,
        config: ServerConfig,
        *,
        key: str = "",
        tokenizer: TextTokenizer | None = None,
        journal: Path | None = None,
    ) -> None:
        if not config.url.startswith(("http://", "https://")):
            raise UsageError(f"not a server address: {config.url}", fix="http://host:port")
        self.config = config
        self._key = key
        self._tokenizer = tokenizer
        self._journal = journal
        asked = ("url", "model", "route", "temperature", "top_p", "top_k", "logprobs")
        self._asked = {name: value for name, value in asdict(config).items() if name in asked}

    @property
    def fingerprint(self) -> str:
        """Hash of address, model name and decoding; a server does not show its weights."""
        return identity({"server": self._asked})

    def draw(self, problems: Sequence[Problem], draws: range, streams: Streams, limits: Limits) -> Completions:
        """Draw completions ``draws`` of every problem; row order is problem-major, draw-minor.

        Raises:
            InputError: the server refuses the request itself (no such model, bad key), or answers none.
        """
        jobs = [(problem, draw) for problem in problems for draw in draws]
        failures: list[str] = []
        halt = threading.Event()
        answers: list[_Answer] = []
        journal = Journal(self._journal)
        with (
            ThreadPoolExecutor(self.config.concurrency) as pool,
            progress(f"ask {self.config.model}", len(jobs)) as advance,
        ):
            try:
                for answer in pool.map(
                    lambda job: self._ask(job, streams, limits, journal, failures, halt), jobs
                ):
                    answers.append(answer)
                    advance(1)
            finally:
                halt.set()
        if failures:
            _log.warning("%d of %d requests unanswered, last: %s", len(failures), len(jobs), failures[-1])
        if jobs and len(failures) == len(jobs):
            raise InputError(
                f"{self.config.url} answered none of {len(jobs)} requests: {failures[-1]}",
                fix="check that the server runs and is reachable",
            )
        return self._completions(problems, jobs, answers)

    def _ask(
        self,
        job: tuple[Problem, int],
        streams: Streams,
        limits: Limits,
        journal: Journal,
        failures: list[str],
        halt: threading.Event,
    ) -> _Answer:
        problem, draw = job
        body = self._body(problem, draw, streams, limits)
        key = identity({"server": self._asked, "body": body, "problem": problem.id, "draw": draw}, 32)
        kept = journal.get(key)
        if kept is not None:
            return _restored(kept)
        if halt.is_set():
            return _NOTHING
        try:
            pauses = streams.generator("pause", problem.id, draw)
            answer = self._read(post(self._address(), body, self._key, self.config, pauses, halt))
        except Refused as error:
            # No other request will fare better: whoever waits stops, and map hands the error on.
            halt.set()
            raise Refused(f"{error.what} (problem {problem.id})", fix=error.fix) from error
        except Unanswered as error:
            failures.append(str(error))
            return _NOTHING
        journal.add(key, {**asdict(answer), "problem": problem.id, "draw": draw})
        return answer

    def score(self, completions: Completions) -> TokenTable:
        """Refused: servers give neither entropies nor ranks over the whole vocabulary."""
        raise UsageError(
            "a server cannot score given text over its whole vocabulary",
            fix="load the model locally for measures that look inside",
        )

    def _address(self) -> str:
        base = self.config.url.rstrip("/")
        base = base if base.endswith("/v1") else f"{base}/v1"
        return f"{base}/completions" if self.config.route == "completions" else f"{base}/chat/completions"

    def _body(self, problem: Problem, draw: int, streams: Streams, limits: Limits) -> dict[str, Any]:
        config = self.config
        body: dict[str, Any] = {
            "model": config.model,
            "max_tokens": limits.max_new_tokens,
            "temperature": config.temperature,
            "top_p": config.top_p,
            # 31 bits: some servers hold seeds in a C int.
            "seed": streams.seed("sample", problem.id, draw) & 0x7FFFFFFF,
            "n": 1,
            "stream": False,
        }
        if config.top_k:
            body["top_k"] = config.top_k
        if config.token_ids:
            body["return_token_ids"] = True
        wants = config.logprobs != "off"
        if config.route == "completions":
            return {**body, "prompt": problem.prompt} | ({"logprobs": 1} if wants else {})
        messages = [{"role": role, "content": text} for role, text in problem.turns]
        return {**body, "messages": messages} | ({"logprobs": True} if wants else {})

    def _read(self, reply: Mapping[str, Any]) -> _Answer:
        try:
            choice = reply["choices"][0]
            text = choice["text"] if self.config.route == "completions" else choice["message"]["content"]
            text = "" if text is None else str(text)
            tokens, logprobs = self._tokens(choice, text, reply.get("usage") or {})
            stop = Stop.LENGTH if choice.get("finish_reason") == "length" else Stop.EOS
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise Unanswered(f"the reply has not the expected form ({type(error).__name__})") from error
        return _Answer(text=text, stop=stop, tokens=tuple(tokens), logprobs=tuple(logprobs))

    def _tokens(
        self, choice: Mapping[str, Any], text: str, usage: Mapping[str, Any]
    ) -> tuple[list[int], list[float]]:
        logprobs = _logprobs(choice.get("logprobs"), self.config.route)
        exact = self.config.temperature == 1 and self.config.top_p == 1 and not self.config.top_k
        if self.config.logprobs != "processed" and not exact:
            logprobs = [math.nan] * len(logprobs)
        if choice.get("token_ids"):
            tokens = [int(token) for token in choice["token_ids"]]
        elif self._tokenizer is not None:
            tokens = self._tokenizer.encode(text, add_special_tokens=False)
        else:
            tokens = [UNKNOWN_TOKEN] * (len(logprobs) or int(usage.get("completion_tokens") or 0))
        # Another tokenisation of the same text has other log-probabilities: none rather than shifted ones.
        fit = logprobs if len(logprobs) == len(tokens) else [math.nan] * len(tokens)
        return tokens, fit

    def _completions(
        self, problems: Sequence[Problem], jobs: Sequence[tuple[Problem, int]], answers: Sequence[_Answer]
    ) -> Completions:
        place = {problem.id: index for index, problem in enumerate(problems)}
        asked = [self._tokenizer.encode(p.prompt) if self._tokenizer is not None else [] for p in problems]
        tokens, offsets = ragged([answer.tokens for answer in answers])
        logprobs = np.array([x for answer in answers for x in answer.logprobs], dtype=np.float32)
        unknown: NDArray[np.float32] = np.full(len(tokens), np.nan, dtype=np.float32)
        return Completions(
            policy=self.fingerprint,
            prompts=Prompts.build([p.id for p in problems], [p.prompt for p in problems], asked),
            problem=np.array([place[problem.id] for problem, _ in jobs], dtype=np.int32),
            draw=np.array([draw for _, draw in jobs], dtype=np.int32),
            tokens=tokens,
            offsets=offsets,
            logprobs=logprobs,
            entropies=unknown,
            stop=np.array([answer.stop for answer in answers], dtype=np.uint8),
            texts=tuple(answer.text for answer in answers),
        )


def _logprobs(block: object, route: str) -> list[float]:
    if not isinstance(block, Mapping):
        return []
    if isinstance(block.get("content"), list):
        values = [item.get("logprob") for item in block["content"]]
    else:
        values = block.get("token_logprobs") or []
    return [math.nan if value is None else float(value) for value in values]


def _restored(row: Mapping[str, Any]) -> _Answer:
    return _Answer(
        text=str(row["text"]),
        stop=Stop(row["stop"]),
        tokens=tuple(row["tokens"]),
        logprobs=tuple(math.nan if value is None else float(value) for value in row["logprobs"]),
    )
