"""``keyturn elicit METHOD MODEL --serve``: a method with its policy behind an endpoint on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keyturn.auditing.opening import PER_CELL
from keyturn.auditing.sides import side_of
from keyturn.core.errors import UsageError
from keyturn.core.problem import Problem
from keyturn.core.progress import waiting
from keyturn.elicitation.contract import ElicitationMethod
from keyturn.front.eliciting import elicitation_of, opened
from keyturn.front.endpoint import Endpoint
from keyturn.front.served import served
from keyturn.policies.connect import ServerOptions
from keyturn.problems.contract import ProblemSet
from keyturn.problems.files import known_grader

PORT = 8348
"""Where an elicited policy is served unless another port is named."""


def endpoint(
    method: str | ElicitationMethod,
    model: Any,
    problems: Any = None,
    *,
    settings: Any = None,
    development: Any = None,
    teacher: Any = None,
    vector: str | Path | None = None,
    grader: str = "auto",
    max_new_tokens: int = 0,
    template: str = "auto",
    device: str = "auto",
    dtype: str = "float32",
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    server: ServerOptions = ServerOptions(),  # noqa: B008
    seed: int = 0,
    port: int = PORT,
) -> Endpoint:
    """Open a policy, let the method prepare, and take a port; ``serve_forever`` then answers.

    Args:
        method, model, problems, settings, development, teacher, vector, max_new_tokens, template: as for
            :func:`keyturn.elicit`; problems are needed only for what a method prepares on them.
        device, dtype, revision, trust_remote_code, allow_pickle, server: as for :func:`keyturn.elicit`.
        grader: finds the answer in a text, for methods that vote; by default that of the world or the problems,
            else the last number.
        seed: of what the method prepares; a request brings its own.
        port: 0 takes any that is free.

    Raises:
        KeyturnError: the method cannot be served, or cannot work with this policy.
    """
    given = {**locals(), "draws": 1, "limit": 0, "per_cell": PER_CELL}
    chosen = elicitation_of(method)
    if chosen.unserved:
        raise UsageError(f"{chosen.name} cannot be served: {chosen.unserved}", fix="self-consistency, or so")
    side = side_of(model, "model")
    if problems is None and side.world is None:
        given |= {"problems": _any(grader), "grader": "auto"}
    found = opened(given, side=side)
    if found.given is not None:
        prepared = found.given.prepared
    else:
        with waiting(f"prepare {chosen.name}"):
            prepared = chosen.prepare(found.asked, found.config) if chosen.prepare is not None else {}
    return Endpoint(served(chosen, found.config, found.asked, prepared), port=port)


def _any(grader: str) -> ProblemSet:
    """A set for its grader alone."""
    name = "numeric" if grader == "auto" else grader
    one = Problem(id="none", prompt="1 + 1 =", answer="2")
    return ProblemSet(name="served", problems=(one,), grader=known_grader(name))
