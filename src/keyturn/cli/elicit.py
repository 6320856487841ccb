"""Let a policy answer under an elicitation method: its weights stay as they are, and every cost is counted.

The answers become a sample file that `keyturn audit --samples` reads.
"""

from __future__ import annotations

import functools
import json as jsonlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from keyturn.auditing.opening import PER_CELL
from keyturn.cli.options import Method, Model, positional, switches, typed
from keyturn.cli.saved import say_next
from keyturn.core.errors import UsageError
from keyturn.core.measurement import from_json_number
from keyturn.core.rundir import SCHEMA
from keyturn.elicitation import ELICITATIONS
from keyturn.front.climbing import LADDER, climb_ladder
from keyturn.front.elicited import PREPARED, Elicited
from keyturn.front.eliciting import elicit, elicitation_of
from keyturn.front.serving import endpoint
from keyturn.policies.connect import ServerOptions


@dataclass(frozen=True, kw_only=True)
class Common:
    """Options that every method takes."""

    problems: Path | None = None
    """JSONL or Parquet with prompts and answers; a model of a world brings its own."""
    development: Path | None = None
    """Other problems with answers, on which a method makes its choices; column `solution`: worked solutions."""
    teacher: str = ""
    """A tuned model with the same tokenizer, for methods that look at one while the base answers."""
    vector: Path | None = None
    """A vector (or opener, or probe) that an earlier run of this method wrote: OUT/prepared.safetensors."""
    draws: int = 8
    """Answers per problem."""
    limit: int = 0
    """Ask only the first so many problems of the file; 0 means all."""
    per_cell: int = PER_CELL
    """Test problems per cell, if a world makes them."""
    grader: str = "auto"
    """How answers to problems from a file are graded."""
    max_new_tokens: int = 0
    """Maximum number of tokens in an answer; 0: what the world needs, or 512."""
    template: Literal["auto", "chat", "plain"] = "auto"
    """chat: apply the tokenizer's chat template; auto: where it has one."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1."""
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    """float32, bfloat16, float16 or auto (as stored)."""
    revision: str | None = None
    """Of a Hub repository."""
    trust_remote_code: bool = False
    """Run model code that comes with weights; needs a pinned revision."""
    allow_pickle: bool = False
    """Read pytorch_model.bin where there are no safetensors."""
    server: ServerOptions = field(default_factory=ServerOptions)
    """How a policy behind a server is asked."""
    seed: int = 0
    """Root of all randomness."""
    out: Path | None = None
    """Run directory; the same command finds its own again and goes on from what is finished."""
    serve: bool = False
    """Serve the elicited policy on this machine, as an OpenAI-compatible endpoint; Ctrl-C ends it."""
    ladder: str = ""
    """Climb the causal ladder with the method's vector, in place of answering: `right`, or a word that texts
    with the behaviour contain."""
    port: int = 8348
    """Of --serve, on 127.0.0.1; 0 takes any that is free."""
    json: bool = False
    """One JSON document on stdout."""


def runner(words: Sequence[str]) -> Callable[..., None]:
    """The function that a command line calls. Its method decides which settings exist.

    Raises:
        UsageError: no method was given, or there is none of that name.
    """
    named = (*positional(words, every_switch()), "")
    if not named[0]:
        return no_method
    return typed(by_method, settings=elicitation_of(named[0]).config)


@functools.cache
def every_switch() -> frozenset[str]:
    """The switches of all methods: a command line is read for its method before that method's own are known."""
    found = switches(no_method)
    for method in ELICITATIONS.values():
        found |= switches(typed(by_method, settings=method.config))
    return found


def no_method(common: Annotated[Common, tyro.conf.arg(name="")] = Common()) -> None:
    """Let a policy answer under a method: keyturn elicit METHOD MODEL. `keyturn elicit ls` lists the methods.

    Args:
        common: options that every method takes.
    """
    raise UsageError(
        "no method named", fix="keyturn elicit METHOD MODEL, e.g. keyturn elicit self-consistency graph"
    )


def by_method(
    method: Method,
    model: Model = "",
    common: Annotated[Common, tyro.conf.arg(name="")] = Common(),
    settings: Annotated[Any, tyro.conf.arg(name="")] = None,
) -> None:
    """Let a policy answer under an elicitation method.

    Args:
        method: as `keyturn elicit ls` lists it.
        model: an embedded world (graph, chain), a model folder, a Hub id, or http://host:port/v1#model.
        common: options that every method takes.
        settings: settings of the method.
    """
    if not model:
        raise UsageError("no model named", fix=f"keyturn elicit {method} MODEL, e.g. graph or a model folder")
    chosen = ELICITATIONS[method]
    sys.stderr.write(f"{chosen.name}: {chosen.summary} ({chosen.source})\n")
    said = {one.name: getattr(common, one.name) for one in fields(common) if one.name not in _HERE}
    said["teacher"] = common.teacher or None
    if common.serve and common.ladder:
        raise UsageError("--ladder and --serve are two things to do", fix="leave one of them out")
    if common.serve:
        return _serve(method, model, settings, common, said)
    if common.port != Common().port:
        raise UsageError("--port would do nothing without --serve", fix="add --serve, or leave --port out")
    if common.ladder:
        return _climb(method, model, settings, common, said)
    done = elicit(method, model, settings=settings, **said)
    if common.json:
        document = {"schema": SCHEMA, "command": "elicit", **done.to_json()}
        sys.stdout.write(jsonlib.dumps(document, allow_nan=False) + "\n")
        return
    _tell(done)
    if chosen.control:
        say_next("its control", "elicit", chosen.control[0], model, *_again(common))


_HERE = ("json", "serve", "port", "ladder")
"""Options that the library's function does not take."""


def _serve(method: str, model: str, settings: Any, common: Common, said: dict[str, Any]) -> None:
    """Serve until Ctrl-C."""
    usual = Common()
    for name in ("draws", "limit", "per_cell", "out"):
        if said.pop(name) != getattr(usual, name):
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{option} would do nothing: requests say what is asked", fix=f"leave {option} out"
            )
    with endpoint(method, model, settings=settings, port=common.port, **said) as server:
        document = {"schema": SCHEMA, "command": "elicit --serve", "url": server.url}
        sys.stdout.write(f"{jsonlib.dumps(document) if common.json else server.url}\n")
        sys.stdout.flush()
        sys.stderr.write("Ctrl-C ends it\n")
        server.serve_forever()


def _climb(method: str, model: str, settings: Any, common: Common, said: dict[str, Any]) -> None:
    """The causal ladder, rung by rung."""
    done = climb_ladder(method, model, behaviour=common.ladder, settings=settings, **said)
    if common.json:
        document = {"schema": SCHEMA, "command": "elicit --ladder", **done.to_json()}
        sys.stdout.write(jsonlib.dumps(document, allow_nan=False) + "\n")
        return
    ladder = done.ladder
    for number, (rung, state) in enumerate(zip(ladder.rungs, ladder.states, strict=True), start=1):
        sys.stdout.write(f"{number} {rung.name}: {state} ({rung.why})\n")
        if (found := rung.found) is not None:
            shown = f"{found.value:.3g} [{found.low:.3g}, {found.high:.3g}] over {found.n} problems"
            if (null := found.null) is not None:
                edges = f" [{null.low:.3g}, {null.high:.3g}]" if null.low == null.low else ""
                shown += f"; {null.kind}: {null.value:.3g}{edges}"
            sys.stdout.write(f"    {found.name}: {shown}\n")
    sys.stdout.write(f"highest rung that holds: {ladder.highest}\nrecord: {done.folder / LADDER}\n")
    chosen = ELICITATIONS[method].control[0]
    say_next("its control", "elicit", chosen, model, *_again(common))


def _again(common: Common) -> list[str]:
    """The options that were given, for the same questions to another method."""
    usual, words = Common(), list[str]()
    for one in fields(common):
        value = getattr(common, one.name)
        if one.name in ("out", "json", "server", "vector", "serve", "port") or value == getattr(
            usual, one.name
        ):
            continue
        option = f"--{one.name.replace('_', '-')}"
        words += [option] if value is True else [option, str(value)]
    return words


def _tell(done: Elicited) -> None:
    """Success, costs and the file, in words."""
    found, cost = done.success, done.cost()
    sys.stdout.write(f"{done.method}: {found.value:.3f} [{found.low:.3f}, {found.high:.3f}] {done.unit}\n")
    if done.answers.reads_traces:
        sys.stdout.write(f"  right answers, whatever their traces are: {done.right:.3f}\n")
    for name, value in cost.items():
        number = None if value is None else from_json_number(value)  # type: ignore[arg-type]
        shown = "unknown" if number is None else f"{number:.4g}"
        sys.stdout.write(f"  {name.replace('_', ' ')}: {shown}\n")
    for name, value in done.to_json()["prepared"].items():  # type: ignore[union-attr]
        sys.stdout.write(f"  {name}: {value}\n")
    if done.prepared:
        sys.stdout.write(f"prepared: {done.folder / PREPARED} (--vector takes it)\n")
    sys.stdout.write(f"samples: {done.samples}\n")
