"""Turns ``http://host:port/v1#model`` into a policy, after trial requests that show what the server supports.

Servers that speak one protocol differ in its extensions: chat templates, log-probabilities, several completions
per request, how their own sampling defaults are switched off. A few requests for two tokens find this out
before anything is drawn. The findings are kept with the run, so that a finished run needs no server.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from keyturn.core.errors import InputError, KeyturnError, UsageError, unknown
from keyturn.core.identity import identity
from keyturn.core.problem import Problem
from keyturn.core.progress import waiting
from keyturn.core.rundir import read_json, write_json
from keyturn.core.streams import Streams
from keyturn.policies.balance import Addresses
from keyturn.policies.client import Dialect, ServerConfig, ServerPolicy, body_of, root_of, stated
from keyturn.policies.http import Refused, Unanswered, get, post
from keyturn.policies.protocol import Limits
from keyturn.policies.reply import Route, choices_of, logprobs_of, text_of
from keyturn.policies.stop_texts import checked

KEY = "KEYTURN_SERVER_KEY"
"""Environment variable of the bearer token; it is never read from a command line, which others can see."""

_SAYS_NO = frozenset({400, 404, 405, 415, 422, 501})
"""Statuses after which a request of another form may work: unknown field, no chat template, no such route."""

_TRIAL = Problem(id="trial", prompt="1 + 1 =")
_STOP = ("\n\nQuestion:",)
_COMPARED = ("1 + 1 =", "The capital of France is", "def add(a, b):")
_LIMITS = Limits(max_new_tokens=2)
_log = logging.getLogger("keyturn")


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """How requests are sent to servers. The key is read from the environment."""

    draws_a_request: int = 8
    """Completions of one problem per request; 1 where a server gives only one."""
    concurrency: int = 8
    """Requests in flight at each address."""
    timeout_s: float = 120.0
    """Seconds for one answer."""
    retries: int = 5
    """Further attempts after rate limits, faults and time-outs."""
    logprobs: Literal["raw", "processed", "off"] = "raw"
    """The distribution of the server's log-probabilities; raw: the model at temperature 1 (vLLM's default)."""
    key_variable: str = KEY
    """Environment variable with the server's key."""


def is_server(name: str) -> bool:
    """Whether a policy's name is a server's address."""
    return name.lower().startswith(("http://", "https://"))


def connect(
    name: str,
    options: ServerOptions,
    *,
    temperature: float = 1.0,
    top_p: float = 1.0,
    template: str = "auto",
    stop: tuple[str, ...] = (),
    folder: Path | None = None,
) -> ServerPolicy:
    """A policy behind a server, after a few trial requests.

    Args:
        name: ``http://host:port/v1#model``; the model may be left out where the server has only one. For
            several servers of one model, their addresses stand before its name, separated by commas:
            ``http://a:8000/v1,http://b:8000/v1#model``.
        options: how requests are sent.
        temperature, top_p: sampling of the draws.
        template: ``chat``: the server applies its template; ``plain``: prompts as they are; ``auto``: chat
            where the server takes it.
        stop: texts that end an answer.
        folder: where drawn completions and the trials' findings are kept; without one, nothing is kept.

    Raises:
        UsageError: the address is invalid, or the server does not know the model.
        InputError: nothing answers, a key is required, the server accepts no form of a request, or servers
            under one name have different models.
    """
    (url, *others), model = _split(name)
    key = os.environ.get(options.key_variable, "")
    asked = ServerConfig(
        url=url,
        others=tuple(others),
        model=model,
        temperature=temperature,
        top_p=top_p,
        stop=checked(stop),
        logprobs=options.logprobs,
        draws_a_request=options.draws_a_request,
        concurrency=options.concurrency,
        timeout_s=options.timeout_s,
        retries=options.retries,
    )
    place = None if folder is None else folder / f"{_identity(asked, template)}.json"
    known: dict[str, Any] = read_json(place) if place is not None and place.is_file() else {}
    if known:
        config = replace(asked, **{name: known[name] for name in _FOUND if name in known})
    else:
        with waiting(f"asking {url}"):
            config = _tried(asked, template, key, options.key_variable)
    compared: list[str] = known.get("compared", [])
    new = [one for one in others if one not in compared]
    for one in new:
        with waiting(f"asking {one}"):
            compare_servers(config, one, key)
    if place is not None and (new or not known):
        place.parent.mkdir(parents=True, exist_ok=True)
        found = {name: getattr(config, name) for name in _FOUND}
        write_json(place, found | ({"compared": [*compared, *new]} if compared or new else {}))
    journal = None if place is None else place.with_suffix(".jsonl")
    return ServerPolicy(config, key=key, journal=journal)


_FOUND = ("model", "route", "dialect", "logprobs", "draws_a_request", "stops")
"""Fields of a :class:`~keyturn.policies.client.ServerConfig` that the trials decide."""


def _identity(asked: ServerConfig, template: str) -> str:
    how = ("others", "concurrency", "timeout_s", "retries", "pause_s")
    fields = {name: value for name, value in stated(asked).items() if name not in how}
    return identity({"asked": fields, "template": template})


def _split(name: str) -> tuple[list[str], str]:
    """Addresses and model of a policy's name.

    Raises:
        UsageError: it has a password, a query or no host, or names a model after each address.
    """
    addresses, model = urllib.parse.urldefrag(name)
    if ",http://" in model or ",https://" in model:
        raise UsageError("the model is named once, behind all addresses", fix="http://a/v1,http://b/v1#model")
    return list(dict.fromkeys(map(_address, addresses.split(",")))), urllib.parse.unquote(model)


def _address(address: str) -> str:
    """One address in the form that requests use."""
    try:
        parts = urllib.parse.urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"not a server address: {address}", fix="http://host:port/v1#model") from error
    if parts.username or parts.password or parts.query:
        where = f"{parts.scheme}://{parts.hostname or ''}{f':{port}' if port else ''}{parts.path}"
        what = "an address is written into reports, so no key may be in it"
        raise UsageError(what, fix=f"{where}, and export {KEY}=...")
    if not parts.hostname or not is_server(address):
        raise UsageError(f"not a server address: {address}", fix="http://host:port/v1#model")
    scheme, rest = address.split("://", 1)
    return f"{scheme.lower()}://{rest}"


def _tried(asked: ServerConfig, template: str, key: str, variable: str) -> ServerConfig:
    """The config whose requests the server accepts."""
    known = _models(asked.url, key, asked.timeout_s, variable)
    if not asked.model:
        if known is None or len(known) != 1:
            some = f"one of {', '.join(known)}" if known else "the name that the server was started with"
            raise UsageError(f"{asked.url} needs a model's name", fix=f"{asked.url}#NAME, {some}")
        asked = replace(asked, model=known[0])
    refused: Refused | None = None
    for config in _forms(asked, template):
        try:
            return _stopping(_several(_settled(config, _trial(config, key)), key), key)
        except Refused as error:
            if error.status in (401, 403):
                raise _no_entry(error, key, variable) from error
            if error.status not in _SAYS_NO:
                raise
            refused = error
        except Unanswered as error:
            what = f"{asked.url} does not answer as expected: {error}"
            raise InputError(what, fix="look at its log") from error
    assert refused is not None, "there is at least one form"
    raise _unknown_model(asked, known, refused)


def _models(url: str, key: str, timeout_s: float, variable: str) -> list[str] | None:
    """Names of the models that the server lists; None where it lists none."""
    try:
        listed = get(f"{root_of(url)}/models", key, timeout_s).get("data")
    except Refused as error:
        if error.status in (401, 403):
            raise _no_entry(error, key, variable) from error
        return None
    except Unanswered:
        return None
    rows = listed if isinstance(listed, list) else []
    return [str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row] or None


def _forms(asked: ServerConfig, template: str) -> Iterator[ServerConfig]:
    """Requests to try, those with the most fields first."""
    routes: dict[str, tuple[Route, ...]] = {"chat": ("chat",), "plain": ("completions",)}
    dialects: tuple[Dialect, ...] = ("open", "transformers", "openai")
    for route in routes.get(template, ("chat", "completions")):
        for dialect in dialects:
            for logprobs in dict.fromkeys((asked.logprobs, "off")):
                yield replace(asked, route=route, dialect=dialect, logprobs=logprobs)


def _several(config: ServerConfig, key: str) -> ServerConfig:
    """The config with as many draws a request as the server gives; llama.cpp gives one for each slot."""
    while config.draws_a_request > 2:
        try:
            several = config.draws_a_request
            if len(choices_of(_trial(config, key, several), several)) == several:
                break
        except Refused as error:
            if error.status not in _SAYS_NO:
                raise
        config = replace(config, draws_a_request=config.draws_a_request // 2)
    return config


def _trial(config: ServerConfig, key: str, most: int = 2) -> dict[str, Any]:
    plain = replace(config, stop=(), others=())
    return _asked_once(plain, body_of(plain, _TRIAL, min(config.draws_a_request, most), 1, _LIMITS), key)


def _stopping(config: ServerConfig, key: str) -> ServerConfig:
    """The config, with stop texts left out where the server fails on a request that has one.

    ``transformers serve`` (5.23) does for some tokenizers and not for others.
    """
    trial = replace(config, stop=config.stop or _STOP, retries=min(config.retries, 1), others=())
    try:
        _asked_once(trial, body_of(trial, _TRIAL, 1, 1, _LIMITS), key)
    except (Refused, Unanswered):
        return replace(config, stops=False)
    return config


def _asked_once(config: ServerConfig, body: dict[str, Any], key: str) -> dict[str, Any]:
    """A request to the first address alone."""
    to = Addresses(config.addresses[:1])
    return post(to, body, key, config, Streams(0).generator("trial"), threading.Event())


def compare_servers(config: ServerConfig, other: str, key: str) -> None:
    """Refuse a further address that serves another model, or that needs requests of another form.

    Greedy answers are compared, and a majority of them must agree: arithmetic on other hardware may break
    a tie the other way in one of them.

    Args:
        config: the settled config of the first address.
        other: the further address.
        key: bearer token.

    Raises:
        InputError: the two differ, or the further one does not answer.
    """
    there = replace(config, url=other, others=())
    try:
        settled = _settled(there, _trial(there, key))
        pairs = [(_greedy(config, prompt, key), _greedy(there, prompt, key)) for prompt in _COMPARED]
    except Unanswered as error:
        raise InputError(f"{other} does not answer as expected: {error}", fix="look at its log") from error
    changed = [name for name in _FOUND if getattr(settled, name) != getattr(config, name)]
    if changed:
        what = f"{other} is to be asked in another way than {config.url} ({', '.join(changed)})"
        raise InputError(what, fix="start all servers of a model alike")
    if 2 * sum(one == another for one, another in pairs) <= len(pairs):
        shown = f"{pairs[0][0]!r} and {pairs[0][1]!r}"
        what = f"{config.url} and {other} answer differently when greedy ({shown}): they serve different models"
        raise InputError(what, fix="name servers of one model, started alike")


def _greedy(config: ServerConfig, prompt: str, key: str) -> str:
    plain = replace(config, temperature=0.0, top_p=1.0, others=())
    body = body_of(plain, Problem(id="compared", prompt=prompt), 1, 1, Limits(max_new_tokens=16))
    return text_of(choices_of(_asked_once(plain, body, key), 1)[0], config.route)


def _settled(config: ServerConfig, reply: dict[str, Any]) -> ServerConfig:
    """The config, completed by the features that the trial's reply shows."""
    wanted = min(config.draws_a_request, 2)
    choices = choices_of(reply, wanted)
    text_of(choices[0], config.route)
    given = bool(logprobs_of(choices[0]))
    if not given:
        config = replace(config, logprobs="off")
    if len(choices) < wanted or not given:
        # Without log-probabilities a server counts the tokens of a whole request, not of each completion.
        config = replace(config, draws_a_request=1)
    if config.dialect == "openai":
        _log.warning(
            "%s takes no top-k, min-p or penalty from us: its own defaults, where it has any, shape the draws",
            config.url,
        )
    return config


def _no_entry(error: Refused, key: str, variable: str) -> KeyturnError:
    what = "does not take the key" if key else "wants a key"
    where = error.what.split(" refuses:")[0]
    return InputError(f"{where} {what} ({error.status})", fix=f"export {variable}=...")


def _unknown_model(asked: ServerConfig, known: list[str] | None, refused: Refused) -> KeyturnError:
    """The server's refusal; where it is about the model's name, an error that says so."""
    if known is not None and asked.model not in known:
        told = unknown("model of the server", asked.model, known)
        return UsageError(f"{told.what} at {asked.url}", fix=told.fix)
    if re.search(rf"['\"`]{re.escape(asked.model)}['\"`]", refused.what):
        return UsageError(refused.what, fix=f"{asked.url}#NAME, the name that the server was started with")
    return InputError(refused.what, fix=refused.fix)
