"""What would the same gain have cost without training? Elicitation methods on one chart, beside training."""

from __future__ import annotations

import inspect
import json as jsonlib
import math
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from keyturn.auditing.opening import PER_CELL
from keyturn.core.describe import describe
from keyturn.core.errors import UsageError
from keyturn.core.identity import identity
from keyturn.core.rundir import SCHEMA, write_text
from keyturn.policies.connect import ServerOptions

if TYPE_CHECKING:
    from keyturn.auditing.frontier_plan import Planned
    from keyturn.front.frontiers import Frontier


def run(
    base: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[BASE]")] = "",
    problems: Path | None = None,
    tuned: str = "",
    methods: tuple[str, ...] = (),
    development: Path | None = None,
    train: Path | None = None,
    draws: int = 4,
    limit: int = 0,
    per_cell: int = PER_CELL,
    grader: str = "auto",
    max_new_tokens: int = 0,
    template: Literal["auto", "chat", "plain"] = "auto",
    profile: Literal["demo", "study", "real"] = "demo",
    worlds: tuple[str, ...] = ("graph", "chain"),
    workers: int = 0,
    device: str = "auto",
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32",
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    server: ServerOptions = ServerOptions(),  # noqa: B008
    seed: int = 0,
    out: Path | None = None,
    plan: bool = False,
    json: bool = False,
) -> int:
    """Measure what elicitation and training gain over a base on the same problems, and what each costs.

    Args:
        base: an embedded world, a folder, a Hub id, http://host:port/v1#model; none: the embedded worlds.
        problems: JSONL or Parquet with prompts and answers; a model of a world brings its own.
        tuned: the reference model, the 100 % line; an embedded world trains its own.
        methods: elicit and train methods, maybe as NAME:SETTING=VALUE,...; none: most elicitation methods.
        development: other problems with answers for choices; none: some of --problems are held out.
        train: problems that training methods learn from; a world brings its own.
        draws: answers per problem of every way.
        limit: judge only the first so many problems of the file; 0 means all.
        per_cell: test problems per cell, if a world makes them.
        grader: how answers to problems from a file are graded.
        max_new_tokens: maximum number of tokens in an answer; 0: what the world needs, or 512.
        template: chat: apply the tokenizer's chat template; auto: where it has one.
        profile: sizes of training methods.
        worlds: embedded worlds if no base is given.
        workers: processes for the embedded worlds, one thread each; 0 uses the free cores.
        device: auto, cpu, cuda, cuda:1.
        dtype: float32, bfloat16, float16 or auto (as stored).
        revision: of a Hub repository.
        trust_remote_code: run model code that comes with weights; needs a pinned revision.
        allow_pickle: read pytorch_model.bin where there are no safetensors.
        server: how policies behind a server are asked.
        seed: root of all randomness.
        out: run directory; the same command finds its own again, and further methods can be added to it.
        plan: ask every way a few problems, print what the whole will cost, and stop.
        json: one JSON document on stdout.
    """
    started = time.monotonic()
    options = {name: value for name, value in locals().items() if name not in ("started", "plan", "json")}
    root = out or Path("runs") / f"frontier-{asked_for(options)}"
    if plan:
        return _plan(options, root, json=json)
    results = _measured(options, root)
    _publish(results, root, json=json, seconds=time.monotonic() - started)
    return 0


DECIDES = (
    "base",
    "problems",
    "development",
    "draws",
    "limit",
    "per_cell",
    "grader",
    "max_new_tokens",
    "template",
    "worlds",
    "dtype",
    "revision",
    "server",
    "seed",
)
"""Options that name the run directory. Methods and the tuned model are not among them: they can be added."""


def asked_for(options: Mapping[str, Any]) -> str:
    """The hash by which the same command finds its directory again."""
    said = {name: options[name] for name in DECIDES}
    for name in ("problems", "development"):
        said[name] = None if said[name] is None else str(said[name])
    return identity({"asked": describe(said, "frontier")}, length=8)


def _measured(options: Mapping[str, Any], root: Path) -> Sequence[Frontier]:
    from keyturn.front import frontiers

    if not options["base"]:
        _only_of_worlds(options)
        known = inspect.signature(frontiers.frontier_worlds).parameters
        return frontiers.frontier_worlds(
            **{n: v for n, v in options.items() if n in known and n != "out"}, out=root
        )
    return [frontiers.frontier(**_of_one(options, root))]


def _of_one(options: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Arguments of a frontier of one base."""
    from keyturn.front import frontiers

    known = inspect.signature(frontiers.frontier).parameters
    return {**{n: v for n, v in options.items() if n in known}, "tuned": options["tuned"] or None, "out": root}


def _only_of_worlds(options: Mapping[str, Any]) -> None:
    """Refuse options that the embedded worlds do not read."""
    usual = inspect.signature(run).parameters
    unread = ("problems", "tuned", "development", "train", "limit", "grader", "max_new_tokens", "template")
    for name in (*unread, "device", "dtype", "revision", "trust_remote_code", "allow_pickle", "server"):
        if options[name] != usual[name].default:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{option} would do nothing without a base", fix=f"keyturn frontier BASE {option} ..."
            )


def _plan(options: Mapping[str, Any], root: Path, *, json: bool) -> int:
    """Print what every way will cost."""
    from keyturn.front import frontiers

    names = [options["base"]] if options["base"] else list(options["worlds"])
    plans: dict[str, Sequence[Planned]] = {}
    for name in names:
        folder = root if options["base"] else root / name
        plans[name] = frontiers.planned(**{**_of_one(options, folder), "base": name})
    if json:
        told = {name: [one.to_json() for one in plan] for name, plan in plans.items()}
        document = {"schema": SCHEMA, "command": "frontier --plan", "plans": told}
        sys.stdout.write(jsonlib.dumps(document, allow_nan=False) + "\n")
        return 0
    for name, plan in plans.items():
        sys.stdout.write(f"{name}\n")
        for one in plan:
            sys.stdout.write(f"  {one.name:<24} {_planned(one)}\n")
        known = sum(one.seconds for one in plan if math.isfinite(one.seconds))
        sys.stdout.write(f"  at most about {known:.0f} s for what can be told before, without training\n")
    return 0


def _planned(one: Planned) -> str:
    if one.why:
        return f"left out: {one.why}"
    if math.isnan(one.generated):
        return one.cost
    return f"{one.generated:.0f} tokens an answer, {one.tokens:,.0f} in all, at most about {one.seconds:.0f} s"


def _publish(results: Sequence[Frontier], root: Path, *, json: bool, seconds: float) -> None:
    """Write the page and the documents, and print one of them."""
    from keyturn.report.frontier_page import write_frontier
    from keyturn.report.frontier_rows import way_table
    from keyturn.report.tables import markdown

    command = "keyturn " + " ".join(shlex.quote(word) for word in sys.argv[1:])
    page = write_frontier(results, root / "report.html", command=command, seconds=seconds)
    document = {
        "schema": SCHEMA,
        "command": "frontier",
        "call": command,
        "report": str(page),
        "seconds": seconds,
        "frontiers": [one.to_json() for one in results],
    }
    write_text(root / "points.json", jsonlib.dumps(document, allow_nan=False))
    tables = "\n\n".join(markdown(way_table(one)) for one in results) + "\n"
    write_text(root / "points.md", tables)
    if json:
        sys.stdout.write(jsonlib.dumps(document, allow_nan=False) + "\n")
        return
    for one in results:
        sys.stdout.write(f"{one.name}: {one.sentence}\n")
        for caution in one.cautions:
            sys.stdout.write(f"  ! {caution}\n")
        sys.stdout.write(
            "\n" + markdown(way_table(one, costs=("generated", "examples", "weights", "seconds"))) + "\n"
        )
        for name, why in one.left_out.items():
            sys.stdout.write(f"  left out: {name}: {why}\n")
        sys.stdout.write("\n")
    sys.stdout.write(f"report  {page}\n")
