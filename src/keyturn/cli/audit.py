"""What did post-training change? Audit two policies, two sample files, or the embedded worlds."""

from __future__ import annotations

import inspect
import json as jsonlib
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from keyturn.cli.options import unescaped
from keyturn.cli.saved import say_next
from keyturn.core.describe import describe
from keyturn.core.errors import UsageError
from keyturn.core.identity import identity
from keyturn.core.rundir import SCHEMA, write_text
from keyturn.front.options import refuse_idle
from keyturn.front.planning import PlanOptions
from keyturn.policies.connect import ServerOptions
from keyturn.rollouts.readers import Columns, read_samples

if TYPE_CHECKING:
    from keyturn.auditing.result import AuditResult


def run(
    policies: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[BASE TUNED]")] = (),
    problems: Path | None = None,
    samples: tuple[str, str] | None = None,
    seed: int = 0,
    out: Path | None = None,
    json: bool = False,
    k: int = 64,
    n_base: int = 0,
    limit: int = 0,
    per_cell: int = 24,
    max_new_tokens: int = 0,
    temperature: float = 1.0,
    top_p: float = 1.0,
    template: Literal["auto", "chat", "plain"] = "auto",
    stop: tuple[str, ...] = (),
    examples: Path | None = None,
    grader: str = "auto",
    worlds: tuple[str, ...] = ("graph", "chain"),
    workers: int = 0,
    executor: str = "processes",
    device: str = "auto",
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32",
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    elicit: tuple[str, ...] = (),
    draws_independent: bool = False,
    columns: Columns = Columns(),  # noqa: B008
    server: ServerOptions = ServerOptions(),  # noqa: B008
    planning: Annotated[PlanOptions, tyro.conf.arg(name="")] = PlanOptions(),  # noqa: B008
) -> int:
    """Audit two policies, two sample files, or (no arguments) the embedded worlds.

    Args:
        policies: base and tuned: folders, runs, Hub ids, http://host:port/v1#model; none: the embedded worlds.
        problems: JSONL or Parquet with prompts and answers; a model of a world brings its own.
        samples: two files of samples already drawn; no model is needed. FILE#MODEL picks one model of a file.
        seed: root of all randomness.
        out: run directory. The same command finds its directory again and continues where it stopped.
        json: print one JSON document on stdout.
        k: budget K: the base is able to do what it does within K draws. Also the tuned draws per problem.
        n_base: base draws per problem; 0 means 4K: 32 for every problem, the rest if successes are rare.
        limit: audit only this many problems from the start of the file; 0 means all.
        per_cell: test problems per cell, if a world makes them.
        max_new_tokens: maximum number of tokens in a completion; 0 takes what the world needs, or 512.
        temperature: sampling temperature of both policies; 0 is greedy and allows one draw for each problem.
        top_p: nucleus sampling of both policies; 1 keeps everything.
        template: chat applies the tokenizer's chat template; auto applies it if there is one.
        stop: texts that end an answer, e.g. Question: after worked examples; \\n is a line break.
        examples: a file of problems with worked solutions that come before every problem.
        grader: how answers are judged; auto chooses by the gold answers.
        worlds: which embedded worlds to audit if no model is given.
        workers: workers for the embedded worlds, one thread each; 0 uses the free cores.
        executor: processes, ray, or ray://host:port: who draws and grades (a cluster that sees --out).
        device: auto, cpu, cuda, cuda:1.
        dtype: float32, bfloat16, float16 or auto (as stored).
        revision: revision of the Hub repositories.
        trust_remote_code: run model code that comes with the weights; needs a pinned revision.
        allow_pickle: read pytorch_model.bin if there are no safetensors.
        elicit: elicitation methods to try where the base's draws do not reach; each draws as much as the audit.
        draws_independent: count every draw of the sample files, even if some look like copies of others.
        columns: names of a sample file's columns, if keyturn does not know them.
        server: how to send requests to policies behind a server.
        planning: what a plan is asked, and what it assumes.
    """
    started = time.monotonic()
    stop = unescaped(stop)
    options = {name: value for name, value in locals().items() if name not in ("started", "planning")}
    way = _way_in(policies, samples, problems)
    if planning.plan:
        return _plan(way, options, planning)
    refuse_idle(options, run, way, policies)
    root = out or Path("runs") / f"audit-{asked_for(options)}"
    _audit_and_publish(way, options, root, started)
    for world in () if policies or samples or json else worlds:
        say_next("audit it on all problems of its world", "audit", world, root / world)
    return 0


def _plan(way: str, options: Mapping[str, Any], planning: PlanOptions) -> int:
    """Print what the audit would need. Without models it is the design alone."""
    from keyturn.cli.audit_plan import print_plan
    from keyturn.front.planning import plan

    if way == "samples":
        raise UsageError(
            "--plan: samples are drawn already", fix="leave --samples out to plan an audit of models"
        )
    if options["elicit"]:
        raise UsageError("--plan says nothing of --elicit", fix="keyturn frontier BASE --plan tells its costs")
    if way == "embedded" and options["problems"] is not None:
        raise UsageError("--problems without models", fix="name base and tuned, or --limit for the number")
    refuse_idle(options, run, "file" if way == "embedded" else way, options["policies"])
    known = set(inspect.signature(plan).parameters) - {"asked", "problems"}
    passed = {name: value for name, value in options.items() if name in known}
    base, tuned = options["policies"] or ("", "")
    made = plan(base, tuned, options["problems"], asked=planning, **passed)
    if options["json"]:
        document = {"schema": SCHEMA, "command": "audit --plan", "plan": made.to_json()}
        sys.stdout.write(jsonlib.dumps(document, allow_nan=False) + "\n")
    else:
        print_plan(made, sys.argv[1:], named=bool(options["policies"]))
    return 0


DECIDES = (
    "policies",
    "problems",
    "samples",
    "seed",
    "k",
    "n_base",
    "limit",
    "per_cell",
    "max_new_tokens",
    "temperature",
    "top_p",
    "template",
    "stop",
    "examples",
    "grader",
    "worlds",
    "device",
    "dtype",
    "revision",
    "trust_remote_code",
    "allow_pickle",
    "elicit",
    "draws_independent",
    "columns",
    "server",
)
"""Arguments that decide the audit's result; the others set its output and the number of processes."""


def asked_for(options: Mapping[str, Any]) -> str:
    """The hash of the arguments of an audit, by which the same command finds its directory again."""
    said = {
        name: options[name] for name in DECIDES if options[name] or name not in ("stop", "examples", "elicit")
    }
    # Only paths are hashed here. The stages in the directory tell apart what the files hold.
    for name in ("problems", "examples"):
        if name in said:
            said[name] = None if said[name] is None else str(said[name])
    return identity({"asked": describe(said, "audit")}, length=8)


def _audit_and_publish(way: str, options: Mapping[str, Any], root: Path, started: float) -> None:
    """Audit, write the report, and keep what the audits say of claims about RL, with where their draws lie."""
    from keyturn.atlas.from_audit import keep
    from keyturn.lab.noted import noting

    with noting() as drawn:
        results = _audited(way, options, root)
    _publish(results, root, json=options["json"], seconds=time.monotonic() - started)
    keep(results, root, seed=options["seed"], brought=way != "embedded", files=way == "samples", drawn=drawn)


def _audited(way: str, options: Mapping[str, Any], root: Path) -> Sequence[AuditResult]:
    """Run :func:`keyturn.audit`, or audit the embedded worlds."""
    from keyturn.front import audits

    function = audits.audit_worlds if way == "embedded" else audits.audit
    known = set(inspect.signature(function).parameters) - {"problems", "columns", "out"}
    passed: dict[str, Any] = {name: value for name, value in options.items() if name in known}
    if way == "embedded":
        return audits.audit_worlds(out=root, **passed)
    base, tuned = options["samples"] or options["policies"]
    if way == "samples":
        # The option decides that the name is a file's, whatever else has that name.
        unjudged = options["problems"] is not None
        base, tuned = (read_samples(name, options["columns"], unjudged=unjudged) for name in (base, tuned))
    return [audits.audit(base, tuned, options["problems"], out=root, **passed)]


def _way_in(policies: tuple[str, ...], samples: tuple[str, str] | None, problems: Path | None) -> str:
    """Which of :data:`~keyturn.front.options.WAYS` the arguments ask for; refuse none and two."""
    if samples is not None and policies:
        raise UsageError("--samples and models exclude each other", fix="give either two files or two models")
    if len(policies) not in (0, 2):
        given = "1 model" if len(policies) == 1 else f"{len(policies)} models"
        raise UsageError(f"{given} given", fix="give base and tuned, or neither for the embedded worlds")
    if samples is not None:
        return "samples"
    return "embedded" if not policies else "file" if problems is not None else "world"


def _publish(results: Sequence[AuditResult], root: Path, *, json: bool, seconds: float) -> None:
    """Write the report, and print the JSON document or the table."""
    from keyturn.report import markdown_table, terminal, write_report

    command = "keyturn " + " ".join(shlex.quote(word) for word in sys.argv[1:])
    path = write_report(results, root / "report.html", command=command, seconds=seconds)
    document = {
        "schema": SCHEMA,
        "command": "audit",
        "report": str(path),
        "seconds": seconds,
        "audits": [result.to_json() for result in results],
    }
    write_text(root / "audit.json", jsonlib.dumps(document, allow_nan=False))
    write_text(root / "audit.md", markdown_table(results))
    if json:
        sys.stdout.write(jsonlib.dumps(document, allow_nan=False) + "\n")
    else:
        terminal(results, report=path)
