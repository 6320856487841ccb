"""Print problems of a controlled world, each with a trace and the role of every token."""

from __future__ import annotations

import json as jsonlib
import sys
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.text import Text

from keyturn.core.errors import UsageError, unknown
from keyturn.core.problem import Problem
from keyturn.core.roles import Role
from keyturn.core.rundir import SCHEMA
from keyturn.core.streams import Streams
from keyturn.problems.world import World, demonstrate, problems, world_named
from keyturn.problems.world.document import Document
from keyturn.problems.world.verify import read_completion, read_prompt
from keyturn.problems.world.vocabulary import WORDS, words_of

_LOOKS: dict[Role, tuple[str, str, str]] = {
    Role.STRATEGY: ("GS", "bold magenta", "strategy and format"),
    Role.PLAN: ("PL", "bold blue", "which variable next"),
    Role.GOAL: ("ND", "blue", "goal list"),
    Role.COPY: ("CP", "cyan", "definition copied"),
    Role.LOOKUP: ("LK", "green", "value looked up"),
    Role.ARITHMETIC: ("XC", "bold yellow", "result of an operation"),
    Role.VERIFY: ("VF", "magenta", "check"),
    Role.BACKTRACK: ("BK", "bold red", "taken back"),
    Role.WRONG: ("WR", "red strike", "wrong step, taken back"),
    Role.ANSWER: ("AN", "bold reverse", "answer"),
    Role.REPEAT: ("ar", "dim", "forced repetition"),
    Role.SYNTAX: ("", "dim", "syntax"),
}
"""Role -> code under the token, style, meaning. The code tells roles apart without colour."""


def run(
    world: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[WORLD]")] = "graph",
    n: int = 3,
    depth: int | None = None,
    split: str = "test",
    strategy: str | None = None,
    format: str | None = None,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Print problems of a controlled world.

    Args:
        world: name of the world: graph, chain... (an unknown name lists similar ones).
        n: number of problems of each difficulty.
        depth: needed operations (graph), maps (chain), bits (par)...; by default all that are evaluated.
        split: pretrain, rl, validation or test.
        strategy: FWD, BWD, SCAN, DIR, CHK, RET, FILL or WRNG in graph; for worlds with several strategies.
        format: F1, F2 or F3 in graph; for worlds with several formats.
        seed: another seed gives other problems.
        json: one JSON document on stdout instead of text.
    """
    chosen = world_named(world)
    for what, given in (("strategy", strategy), ("format", format)):
        names = chosen.manners.get(what, ())
        if given and not names:
            raise UsageError(f"{chosen.domain} has no choice of {what}", fix=f"leave out --{what}")
        if given and given not in names:
            raise unknown(what, given, names)
    if depth is not None and depth < 1:
        raise UsageError(f"--depth is {depth}", fix="at least 1, or leave it out")
    cells = None if depth is None else [{"domain": chosen.domain, chosen.level: depth}]
    streams = Streams(seed).child("world show")
    shown: list[tuple[Problem, Document]] = [
        (problem, demonstrate(chosen, problem, streams, strategy=strategy, format=format))
        for problem in problems(chosen, split, cells, n, streams)
    ]
    if json:
        found = [_record(chosen, problem, document) for problem, document in shown]
        document = {"schema": SCHEMA, "command": "world show", "world": chosen.name, "problems": found}
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return
    console = Console(highlight=False)
    for problem, document in shown:
        console.print(_view(problem, document, console.width))
    console.print(_legend({Role(role) for _, document in shown for role in document.roles}))


def _record(world: World, problem: Problem, document: Document) -> dict[str, Any]:
    reading = read_completion(read_prompt(world, list(document.prompt)), list(document.completion))
    return {
        "id": problem.id,
        "prompt": problem.prompt,
        "answer": problem.answer,
        "cell": dict(problem.cell),
        "split": problem.split,
        "skills": sorted(problem.skills),
        "facts": dict(problem.facts),
        "tokens": list(words_of(document.completion)),
        "roles": [Role(role).name.lower() for role in document.roles],
        "choices": {str(at): list(words_of(ids)) for at, ids in document.choices.items()},
        "outcome": reading.outcome,
        "verified": reading.verified,
    }


def _view(problem: Problem, document: Document, width: int) -> Text:
    """Prompt, then the trace with a line of role codes under each line of words."""
    cell = " ".join(f"{name}={value}" for name, value in problem.cell.items())
    out = Text(f"{problem.id}  {cell}  answer {problem.answer}\n", style="bold")
    out.append(problem.prompt + "\n")
    above, below = Text(), Text()
    for token, role in zip(document.completion, document.roles, strict=True):
        code, style, _ = _LOOKS[Role(role)]
        size = max(len(WORDS[token]), len(code)) + 1
        if above.cell_len + size > width and above.cell_len:
            out = out + above + "\n" + below + "\n"
            above, below = Text(), Text()
        above.append(WORDS[token].ljust(size - 1), style).append(" ")
        below.append(code.ljust(size), "dim")
    return out + above + "\n" + below + "\n"


def _legend(present: set[Role]) -> Text:
    out = Text()
    for role, (code, style, meaning) in _LOOKS.items():
        if role in present:
            out.append(code or "(none)", style).append(f" {meaning}   ")
    return out
