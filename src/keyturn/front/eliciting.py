"""``keyturn.elicit``: answers of a policy under a method that leaves its weights as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from keyturn.auditing.embedded import EMBEDDED, world_problems
from keyturn.auditing.opening import DEFAULT_TOKENS, PER_CELL
from keyturn.auditing.sides import Side, problems_in, side_of
from keyturn.core.describe import describe
from keyturn.core.errors import UsageError, unknown
from keyturn.core.identity import identity
from keyturn.core.streams import Streams
from keyturn.elicitation import ELICITATIONS
from keyturn.elicitation.contract import Asked, ElicitationMethod, Exemplar
from keyturn.elicitation.stage import elicit as by_stages
from keyturn.front.elicited import Elicited
from keyturn.front.method_of import settled
from keyturn.front.run_folder import ELICITED, hold_to
from keyturn.lab.lab import Lab
from keyturn.lab.task import world_expert
from keyturn.policies.by_name import Loading
from keyturn.policies.connect import ServerOptions
from keyturn.policies.local import LocalPolicy
from keyturn.policies.prompting import MOST_UNKNOWN, unreadable
from keyturn.policies.protocol import Limits
from keyturn.problems.contract import ProblemSet, answers
from keyturn.problems.world.worlds import World
from keyturn.problems.world.worlds import problems as world_split

SHOWN = 64
"""Most worked solutions that are taken from development problems."""
HELD_OUT = 8
"""Development problems per cell of a world."""


def elicit(
    method: str | ElicitationMethod,
    model: Any,
    problems: Any = None,
    *,
    settings: Any = None,
    draws: int = 8,
    development: Any = None,
    grader: str = "auto",
    limit: int = 0,
    per_cell: int = PER_CELL,
    max_new_tokens: int = 0,
    template: str = "auto",
    device: str = "auto",
    dtype: str = "float32",
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    server: ServerOptions = ServerOptions(),  # noqa: B008
    seed: int = 0,
    out: str | Path | None = None,
) -> Elicited:
    """Let a policy answer under an elicitation method. No weight is changed.

    Args:
        method: its name (``keyturn elicit ls``), or an ElicitationMethod.
        model: what answers: an embedded base, a model folder, ``owner/name`` on the Hub, the address of a
            server, ``(model, tokenizer)`` of transformers, or a policy.
        problems: a file, a data frame, a list of ``{prompt, answer}``, a data set. A model of a controlled
            world brings its own.
        settings: settings of the method: its config, or a dict of the fields that differ from its defaults.
        draws: answers per problem; a method may take several draws for each.
        development: other problems with answers, on which a method makes its choices, with worked solutions
            where it shows them. A controlled world brings its own.
        grader: how answers are graded; ``auto``: by the layout of the problems.
        limit: ask only this many problems, from the first on; 0 means all.
        per_cell: test problems per cell, if a world makes them.
        max_new_tokens: maximum number of tokens in an answer; 0: what the world needs, or 512.
        template: ``chat``: apply the tokenizer's chat template; ``plain``: do not; ``auto``: where there is
            one.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, for models that are loaded by name.
        dtype: ``float32``, ``bfloat16``, ``float16`` or ``auto`` (as stored).
        revision: revision of a Hub repository.
        trust_remote_code: run model code that comes with the weights; needs a pinned revision.
        allow_pickle: read pytorch_model.bin if there are no safetensors.
        server: how a policy behind a server is asked.
        seed: root of all randomness.
        out: run directory, in which finished stages are found again. None: a separate folder under ``runs``,
            which the same call finds again.

    Returns:
        The answers with their success and costs; ``.samples`` is a file that :func:`keyturn.audit` reads.

    Raises:
        KeyturnError: the method cannot work with this. The message is one sentence with its fix.
    """
    given = dict(locals())
    chosen = elicitation_of(method)
    config = settled(chosen.config, settings, chosen.name)
    loading = Loading(**{one.name: given[one.name] for one in fields(Loading) if one.name in given})
    request = Request(
        problems=problems,
        development=development,
        grader=grader,
        limit=limit,
        per_cell=per_cell,
        max_new_tokens=max_new_tokens,
        draws=draws,
    )
    request.check()
    side = side_of(model, "model")
    folder = None if out is None else Path(out).expanduser()
    asked = asked_of(side, request, loading, Streams(seed), kept=None if folder is None else folder / "servers")
    chosen.check(asked)
    return _elicited(chosen, config, asked, side, seed, folder)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user specified apart from method and model."""

    problems: Any
    development: Any
    grader: str
    limit: int
    per_cell: int
    max_new_tokens: int
    draws: int

    def check(self) -> None:
        """Refuse numbers below their minimum."""
        for name, least in (("limit", 0), ("per_cell", 1), ("max_new_tokens", 0), ("draws", 1)):
            if getattr(self, name) < least:
                option = f"--{name.replace('_', '-')}"
                raise UsageError(f"{option} is {getattr(self, name)}", fix=f"a number of {least} or more")


def elicitation_of(method: str | ElicitationMethod) -> ElicitationMethod:
    """The method by its name, or the object itself.

    Raises:
        UsageError: the name is unknown, or is the name of a model.
    """
    if isinstance(method, ElicitationMethod):
        return method
    if method in ELICITATIONS:
        return ELICITATIONS[method]
    if method in EMBEDDED or "/" in method:
        what = f"the method comes first, then the model: {method!r} is a model"
        raise UsageError(what, fix=f"keyturn elicit self-consistency {method}")
    raise unknown("elicitation method", method, ELICITATIONS)


def asked_of(side: Side, request: Request, loading: Loading, streams: Streams, *, kept: Path | None) -> Asked:
    """Policy, problems and development problems as methods are given them.

    Raises:
        UsageError: the model has no world, and no problems were given.
    """
    world = side.world
    if request.problems is None and world is None:
        what = (
            f"{side.place or side.name} was not made in a controlled world, so it brings no problems of its own"
        )
        raise UsageError(what, fix="--problems FILE")
    if request.problems is None and (request.grader != "auto" or request.limit):
        raise UsageError("a world brings its own problems and grader", fix="leave --grader and --limit out")
    asked, tokens = _problems(request, world, streams)
    development, exemplars = _development(request, world, asked, streams)
    policy = side.open(loading, kept)
    if isinstance(policy, LocalPolicy):
        share = policy.unknown_words(asked.problems[:64])
        if share > MOST_UNKNOWN:
            raise unreadable(share, "this model's tokenizer")
    return Asked(
        policy=policy,
        problems=asked,
        draws=range(request.draws),
        streams=streams,
        limits=Limits(max_new_tokens=tokens),
        development=development,
        exemplars=exemplars,
        in_words=world is None,
    )


def _problems(request: Request, world: World | None, streams: Streams) -> tuple[ProblemSet, int]:
    """What is asked, and the tokens that an answer may have."""
    if request.problems is not None:
        found = problems_in(request.problems, request.grader)
        if request.limit:
            found = replace(found, problems=found.problems[: request.limit])
        return found, request.max_new_tokens or DEFAULT_TOKENS
    assert world is not None, "checked before"
    found, tokens = world_problems(world, request.per_cell, streams)
    return found, request.max_new_tokens or tokens


def _development(
    request: Request, world: World | None, asked: ProblemSet, streams: Streams
) -> tuple[ProblemSet | None, tuple[Exemplar, ...]]:
    """Problems on which choices are made, none of which is asked, and worked solutions of such problems."""
    if request.development is not None:
        found = problems_in(request.development, request.grader)
        ids = {problem.id for problem in asked.problems}
        both = [problem.id for problem in found.problems if problem.id in ids]
        if both:
            what = f"{len(both)} development problems are among those that are asked, e.g. {both[0]}"
            raise UsageError(what, fix="other problems for --development")
        solved = [p for p in found.problems if p.facts.get("solution")][:SHOWN]
        return found, tuple(Exemplar(problem=p, solution=str(p.facts["solution"])) for p in solved)
    if world is None or request.problems is not None:
        return None, ()
    expert = world_expert(world)
    held_out = world_split(world, "validation", None, HELD_OUT, streams.child("problems"))
    shown = world_split(world, "rl", None, HELD_OUT, streams.child("problems"))
    told = [(p, expert(p, streams.child("expert", p.id))) for p in shown[:SHOWN]]
    development = replace(asked, name=f"{world.name} validation", problems=held_out)
    return development, tuple(Exemplar(problem=p, solution=text) for p, text in told if text)


def _elicited(
    method: ElicitationMethod, config: Any, asked: Asked, side: Side, seed: int, folder: Path | None
) -> Elicited:
    decides: Mapping[str, object] = {
        "method": method.name,
        "settings": config,
        "policy": asked.policy,
        "problems": asked.problems,
        "development": asked.development,
        "draws": len(asked.draws),
        "max_new_tokens": asked.limits.max_new_tokens,
        "seed": seed,
    }
    if folder is None:
        key = identity({name: describe(value, name) for name, value in decides.items()}, length=8)
        folder = Path("runs") / f"elicit-{method.name}-{key}"
    hold_to(folder, ELICITED, decides, method.answer)
    lab = Lab(folder, asked.streams)
    found = by_stages(lab, method, config, asked)
    completions = found.elicitation.completions
    problems = asked.problems
    _, grades = lab.grade(problems.grader, problems.problems, completions, found.stage, name="grade")
    table = answers(method.name, problems.problems, completions, grades)
    return Elicited.of(folder, method, side.name, found, grades, table, asked)
