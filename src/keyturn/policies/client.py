"""A policy behind an OpenAI-compatible server: vLLM, SGLang, llama.cpp, ``transformers serve``.

A request asks for one completion, with a seed from the draw's own stream, so that a draw does not depend on
which others are drawn with it. Where the server can, a request asks for several completions of one problem,
with a seed of their own. An interrupted run continues where it stopped. Rate limits, server faults and
time-outs are retried with growing pauses, at another address where a model has several. A request that still
fails becomes a row with ``Stop.ERROR``, never a wrong answer. This module needs only the standard library.
"""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError, UsageError
from keyturn.core.identity import identity
from keyturn.core.problem import Problem
from keyturn.core.progress import progress
from keyturn.core.streams import Streams
from keyturn.policies.balance import Addresses
from keyturn.policies.http import Refused, Unanswered, post
from keyturn.policies.journal import Journal
from keyturn.policies.protocol import Limits, TokenTable
from keyturn.policies.reply import (
    NOTHING,
    UNKNOWN_TOKEN,
    Answer,
    choices_of,
    logprobs_of,
    stop_of,
    text_of,
    tokens_until,
)
from keyturn.policies.stop_texts import before_any, checked
from keyturn.rollouts.completions import Completions, Prompts, Stop, ragged

__all__ = ["UNKNOWN_TOKEN", "ServerConfig", "ServerPolicy", "body_of"]

_log = logging.getLogger("keyturn")

Dialect = Literal["open", "transformers", "openai"]


class TextTokenizer(Protocol):
    """The part of a Hugging Face tokenizer that this module uses."""

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
    others: tuple[str, ...] = ()
    """Base addresses of further servers of the same model. The first address alone identifies the policy, so
    finished draws stay valid when these change."""
    route: Literal["completions", "chat"] = "completions"
    """``completions`` sends the prompt as it is, ``chat`` as messages for the server's template."""
    temperature: float = 1.0
    """Sampling temperature."""
    top_p: float = 1.0
    """Nucleus sampling; 1 is off."""
    top_k: int = 0
    """Top-k sampling; 0 is off. It is sent only when it is on, since plain OpenAI servers do not know it."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer. Text that a server returns beyond one is cut off here."""
    stops: bool = True
    """Send them. Some servers fail on every request that has any; the answers are then only cut here."""
    dialect: Dialect = "openai"
    """How the server's own defaults (many take a model's ``generation_config.json``: top-k 20, a penalty) are
    switched off. ``open``: by the fields of vLLM, SGLang and llama.cpp. ``transformers``: by a whole generation
    config. ``openai``: not at all, nothing is sent that OpenAI's own server does not know."""
    logprobs: Literal["raw", "processed", "off"] = "raw"
    """The distribution of the server's log-probabilities. ``raw`` (vLLM's default) is the model at temperature
    1, which is the sampling distribution only at temperature 1 without truncation; elsewhere they are recorded
    as unknown."""
    token_ids: bool = False
    """Ask for token ids too (vLLM's ``return_token_ids``; servers that do not know it may refuse)."""
    draws_a_request: int = 1
    """Completions of one problem per request, where the server can give several."""
    concurrency: int = 8
    """Requests in flight at each address."""
    timeout_s: float = 120.0
    """Seconds for one answer."""
    retries: int = 5
    """Further attempts after the first."""
    pause_s: float = 0.5
    """First pause before a further attempt; doubled each time, with jitter, at most 30 s."""

    def __post_init__(self) -> None:
        for url in (self.url, *self.others):
            if not url.startswith(("http://", "https://")):
                raise UsageError(f"not a server address: {url}", fix="http://host:port")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UsageError(f"temperature {self.temperature} is not a number >= 0", fix="0 is greedy, 1 plain")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p {self.top_p} is not in (0, 1]", fix="1 keeps all tokens")
        if min(self.draws_a_request, self.concurrency) < 1 or self.retries < 0 or not self.timeout_s > 0:
            what = f"{self.draws_a_request} draws per request, {self.concurrency} requests in flight"
            raise UsageError(f"{what}, {self.retries} retries, {self.timeout_s} s", fix="numbers of 1 or more")

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.temperature == 0

    @property
    def addresses(self) -> tuple[str, ...]:
        """The URL that completions are requested from."""
        path = "completions" if self.route == "completions" else "chat/completions"
        return tuple(dict.fromkeys(f"{root_of(url)}/{path}" for url in (self.url, *self.others)))


@dataclass(frozen=True)
class _Job:
    """The draws of one problem that one request asks for, by their row in the whole result."""

    problem: Problem
    draws: tuple[int, ...]


class ServerPolicy:
    """Answers prompts by asking a server.

    Args:
        config: the server's address and the form of requests.
        key: bearer token, sent and never written anywhere.
        tokenizer: the model's tokenizer, where it is available; it gives token ids and lengths. Without it,
            ids are the server's where it sends them, else :data:`UNKNOWN_TOKEN` for each token it counted.
        journal: a JSON-lines file of finished draws, which are not asked for again.
    """

    def __init__(
        self,
        config: ServerConfig,
        *,
        key: str = "",
        tokenizer: TextTokenizer | None = None,
        journal: Path | None = None,
    ) -> None:
        self.config = config
        self._key = key
        self._tokenizer = tokenizer
        self._journal = journal
        self._addresses = Addresses(config.addresses)
        how = ("others", "concurrency", "timeout_s", "retries", "pause_s", "token_ids")
        self._asked = {name: value for name, value in stated(config).items() if name not in how}

    def having(self, *, stops: Sequence[str]) -> ServerPolicy:
        """The same policy with these further stop texts."""
        config = replace(self.config, stop=checked((*self.config.stop, *stops)))
        return ServerPolicy(config, key=self._key, tokenizer=self._tokenizer, journal=self._journal)

    @property
    def fingerprint(self) -> str:
        """Hash of address, model name and decoding; a server does not show its weights."""
        return identity({"server": self._asked})

    def at(self, temperature: float) -> ServerPolicy:
        """The same server and model, asked at another temperature."""
        config = replace(self.config, temperature=temperature)
        return ServerPolicy(config, key=self._key, tokenizer=self._tokenizer, journal=self._journal)

    def draw(self, problems: Sequence[Problem], draws: range, streams: Streams, limits: Limits) -> Completions:
        """Draw completions ``draws`` of every problem; row order is problem-major, draw-minor.

        Raises:
            InputError: the server refuses the request itself (no such model, bad key), or answers no request.
        """
        size = self.config.draws_a_request
        blocks = [tuple(draws[start : start + size]) for start in range(0, len(draws), size)]
        jobs = [_Job(problem, block) for problem in problems for block in blocks]
        failures: list[str] = []
        halt = threading.Event()
        answers: list[Answer] = []
        journal = Journal(self._journal)
        with (
            ThreadPoolExecutor(self.config.concurrency * len(self._addresses)) as pool,
            progress(f"ask {self.config.model}", len(problems) * len(draws)) as advance,
        ):
            try:
                for found in pool.map(
                    lambda job: self._ask(job, streams, limits, journal, failures, halt), jobs
                ):
                    answers.extend(found)
                    advance(len(found))
            finally:
                halt.set()
        if failures:
            _log.warning("%d of %d draws unanswered, last: %s", len(failures), len(answers), failures[-1])
        if answers and len(failures) == len(answers):
            what = f"{self.config.url} answered none of {len(answers)} requests: {failures[-1]}"
            raise InputError(what, fix=_look(failures[-1], problems))
        return self._completions(problems, [(job.problem, n) for job in jobs for n in job.draws], answers)

    def _ask(
        self,
        job: _Job,
        streams: Streams,
        limits: Limits,
        journal: Journal,
        failures: list[str],
        halt: threading.Event,
    ) -> list[Answer]:
        name = (job.problem.id, *job.draws)
        # 31 bits: some servers hold seeds in a C int.
        body = body_of(
            self.config, job.problem, len(job.draws), streams.seed("sample", *name) & 0x7FFFFFFF, limits
        )
        keys = [
            identity({"server": self._asked, "body": body, "problem": job.problem.id, "draw": draw}, 32)
            for draw in job.draws
        ]
        kept = [journal.get(key) for key in keys]
        if all(row is not None for row in kept):
            return [_restored(row) for row in kept if row is not None]
        if halt.is_set():
            return [NOTHING] * len(job.draws)
        try:
            pauses = streams.generator("pause", *name)
            reply = post(self._addresses, body, self._key, self.config, pauses, halt)
            answers = self._read(reply, len(job.draws), limits)
        except Refused as error:
            # No other request will fare better: waiting threads stop, and map raises the error.
            halt.set()
            what = f"{error.what} (problem {job.problem.id})"
            raise Refused(what, fix=error.fix, status=error.status) from error
        except Unanswered as error:
            failures.extend([str(error)] * len(job.draws))
            return [NOTHING] * len(job.draws)
        for key, draw, answer in zip(keys, job.draws, answers, strict=True):
            if answer.stop == Stop.ERROR:
                failures.append("the server gave up on it (or gave fewer completions than it was asked for)")
            else:
                journal.add(key, {**asdict(answer), "problem": job.problem.id, "draw": draw})
        return answers

    def score(self, completions: Completions) -> TokenTable:
        """Refused: servers give neither entropies nor ranks over the whole vocabulary."""
        raise UsageError(
            "a server cannot score given text over its whole vocabulary",
            fix="load the model locally for measures that look inside",
        )

    def _read(self, reply: Mapping[str, Any], wanted: int, limits: Limits) -> list[Answer]:
        """The answers in a reply, as many as were asked for; missing ones become errors."""
        choices = choices_of(reply, wanted)
        usage = reply.get("usage")
        # Counted over all choices: of one completion only where there is one.
        counted = usage.get("completion_tokens") if isinstance(usage, Mapping) and len(choices) == 1 else 0
        found = [self._answer(choice, int(counted or 0), limits.max_new_tokens) for choice in choices]
        return found + [NOTHING] * (wanted - len(found))

    def _answer(self, choice: Mapping[str, Any], counted: int, limit: int) -> Answer:
        whole = text_of(choice, self.config.route)
        logprobs = logprobs_of(choice)
        stop = stop_of(choice, len(logprobs) or counted, limit)
        if stop == Stop.ERROR:
            return NOTHING
        text = before_any(whole, self.config.stop)
        kept: int | None = None
        if text != whole:
            # A server that does not know stop texts goes on behind them, and some give the text itself.
            kept = tokens_until(choice, self.config.stop)
            counted, stop = counted if stop == Stop.EOS else 0, Stop.EOS
            logprobs = logprobs[:kept] if kept is not None else []
        exact = self.config.temperature == 1 and self.config.top_p == 1 and not self.config.top_k
        if self.config.logprobs != "processed" and not exact:
            logprobs = [math.nan] * len(logprobs)
        if choice.get("token_ids"):
            tokens = [int(token) for token in choice["token_ids"]][:kept]
        elif self._tokenizer is not None:
            tokens = self._tokenizer.encode(text, add_special_tokens=False)
        else:
            tokens = [UNKNOWN_TOKEN] * (len(logprobs) or counted)
        # Another tokenisation of the same text has other log-probabilities: none rather than shifted ones.
        fit = logprobs if len(logprobs) == len(tokens) else [math.nan] * len(tokens)
        return Answer(text=text, stop=stop, tokens=tuple(tokens), logprobs=tuple(fit))

    def _completions(
        self, problems: Sequence[Problem], jobs: Sequence[tuple[Problem, int]], answers: Sequence[Answer]
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


def _look(why: str, problems: Sequence[Problem]) -> str:
    """Where to look after requests that were not answered."""
    if not why.startswith("status 5"):
        return "check that the server runs and is reachable"
    longest = max(len(problem.prompt) for problem in problems)
    return (
        "look at the server's log; some fail like this on a prompt that is empty or longer than the model's "
        f"context (the longest one here has {longest} characters)"
    )


def stated(config: ServerConfig) -> dict[str, Any]:
    """The settings of a server's requests as plain data; what is said of stop texts only where it matters."""
    usual = {"stop": (), "stops": True}
    return {name: value for name, value in asdict(config).items() if name not in usual or value != usual[name]}


def root_of(url: str) -> str:
    """The address with ``/v1``, to which OpenAI's paths are appended."""
    base = url.rstrip("/")
    return base if base.endswith("/v1") else f"{base}/v1"


def body_of(config: ServerConfig, problem: Problem, count: int, seed: int, limits: Limits) -> dict[str, Any]:
    """The request for ``count`` completions of a problem."""
    body: dict[str, Any] = {
        "model": config.model,
        "max_tokens": limits.max_new_tokens,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "seed": seed,
        "n": count,
        "stream": False,
    }
    if config.stop and config.stops:
        body["stop"] = list(config.stop)
    if config.dialect == "open":
        body |= {"top_k": config.top_k or -1, "min_p": 0.0, "repetition_penalty": 1.0}
    elif config.dialect == "transformers":
        body["generation_config"] = json.dumps(_whole(config, limits))
    elif config.top_k:
        body["top_k"] = config.top_k
    if config.token_ids:
        body["return_token_ids"] = True
    wants = config.logprobs != "off"
    if config.route == "completions":
        return {**body, "prompt": problem.prompt} | ({"logprobs": 1} if wants else {})
    messages = [{"role": role, "content": text} for role, text in problem.turns]
    return {**body, "messages": messages} | ({"logprobs": True} if wants else {})


def _whole(config: ServerConfig, limits: Limits) -> dict[str, Any]:
    """A generation config for ``transformers serve``, which decodes greedily a model that has none."""
    drawn = {"do_sample": True, "temperature": config.temperature, "top_p": config.top_p, "top_k": config.top_k}
    how = {"do_sample": False} if config.greedy else drawn
    return {**how, "max_new_tokens": limits.max_new_tokens, "repetition_penalty": 1.0}


def _restored(row: Mapping[str, Any]) -> Answer:
    return Answer(
        text=str(row["text"]),
        stop=Stop(row["stop"]),
        tokens=tuple(row["tokens"]),
        logprobs=tuple(math.nan if value is None else float(value) for value in row["logprobs"]),
    )
