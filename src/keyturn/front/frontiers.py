"""``keyturn.frontier``: what the same gain costs without training; the command line calls it too."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyturn.auditing.asking import check_sizes
from keyturn.auditing.embedded import EMBEDDED
from keyturn.auditing.frontier import run_frontier
from keyturn.auditing.frontier_plan import Planned, plan_frontier
from keyturn.auditing.frontier_result import FrontierResult
from keyturn.auditing.frontier_setting import FrontierRequest, Setting, setting_of
from keyturn.auditing.frontier_ways import Chosen, chosen_ways
from keyturn.auditing.opening import PER_CELL
from keyturn.core.describe import describe
from keyturn.core.errors import UsageError, unknown
from keyturn.core.extras import need
from keyturn.core.identity import identity
from keyturn.core.measurement import Estimate
from keyturn.core.streams import Streams
from keyturn.core.text import one_line
from keyturn.elicitation.contract import ElicitationMethod
from keyturn.front.arguments import loading_of
from keyturn.front.result import called
from keyturn.front.run_folder import FRONTIER, hold_to, vacant
from keyturn.front.trained import Training
from keyturn.lab.lab import Lab
from keyturn.lab.workers import Job, executor_named, free_cores
from keyturn.methods.contract import PROFILES, Profile
from keyturn.policies.connect import ServerOptions
from keyturn.report.frontier_page import write_frontier

if TYPE_CHECKING:
    import pandas

WORLDS = ("graph", "chain")
"""The embedded worlds of the default frontier."""
DRAWS = FrontierRequest.draws
"""Answers per problem of every way."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Frontier(FrontierResult):
    """The complete result of one frontier: ``.frontier.points``, ``.sentence`` and the other fields of
    :class:`~keyturn.auditing.frontier_result.FrontierResult`.

    Args:
        call: the call that made it.
    """

    call: str = ""

    @classmethod
    def of(cls, found: FrontierResult, call: str) -> Frontier:
        """The same as a :class:`Frontier`."""
        return cls(**{one.name: getattr(found, one.name) for one in fields(FrontierResult)}, call=call)

    def report(self, path: str | Path | None = None, *, command: str = "") -> Path:
        """Write the page: one HTML file that opens from disk and loads nothing else.

        Args:
            path: path of the file, or a folder; ``report.html`` in the run directory by default.
            command: the command that made the frontier; the call by default.

        Returns:
            The absolute path of the file.

        Raises:
            StorageError: the file cannot be written.
        """
        place = Path(self.run if path is None else path).expanduser()
        if place.is_dir() or path is None:
            place /= "report.html"
        return write_frontier([self], place, command=command or self.call, seconds=self.seconds)

    def to_frame(self) -> pandas.DataFrame:
        """One row a way: its success, gain and shares with intervals, its call, and every cost.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        rows = []
        for one in self.frontier.points:
            row: dict[str, Any] = {"way": one.name, "kind": one.kind, "call": one.call}
            for name, found in (
                ("success", one.success),
                ("gain", one.gain),
                ("recovered", one.recovered),
                ("share", one.share),
            ):
                row |= _ends(name, found)
            rows.append({**row, **one.costs})
        return need("pandas", "a data frame").DataFrame(rows)

    def __repr__(self) -> str:
        return f"Frontier({one_line(self.name, 60)}: {one_line(self.sentence, 300)})"


def _ends(name: str, found: Estimate) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def frontier(
    base: Any,
    tuned: Any = None,
    problems: Any = None,
    *,
    methods: Sequence[str | ElicitationMethod] = (),
    draws: int = DRAWS,
    development: Any = None,
    train: Any = None,
    profile: str = "demo",
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
) -> Frontier:
    """Measure what elicitation (and training) gain over a base on the same problems, and what each costs.

    Args:
        base: an embedded base (``"graph"``, ``"chain"``; its tuned model is trained here), or what
            :func:`keyturn.audit` takes as a policy.
        tuned: the reference model, the 100 % line; or what :func:`keyturn.train` returned. None: there is none.
        problems: the judged problems: a file, a data frame, a list of ``{prompt, answer}``, a data set. A model
            of a controlled world brings its own.
        methods: elicitation methods (``keyturn elicit ls``) and training methods (``keyturn train ls``), each
            by its name, maybe with settings (``"self-consistency:samples=64"``); none: every elicitation
            method.
        draws: answers per problem of every way.
        development: other problems with answers, on which methods make their choices, with worked solutions
            where they show them. None: some problems of the file are held out for that.
        train: problems that training methods learn from; a world brings its own.
        profile: sizes of training methods: ``demo``, ``study`` or ``real``.
        grader, limit, per_cell, max_new_tokens, template, device, dtype, revision, trust_remote_code,
            allow_pickle, server, seed: as for :func:`keyturn.audit`.
        out: run directory, in which finished stages are found again; further methods can be added to it. None:
            a separate folder under ``runs``, which the same base, problems and seed find again.

    Returns:
        The frontier: ``.sentence``, ``.frontier.points``; ``.to_frame()``.

    Raises:
        KeyturnError: base or tuned model cannot be asked. A method that cannot work here is left out and named
            in ``.left_out``.
    """
    given = dict(locals())
    lab, setting, ways = _opened(given)
    return Frontier.of(run_frontier(lab, setting, ways), called("keyturn.frontier", frontier, given))


def planned(base: Any, tuned: Any = None, problems: Any = None, **options: Any) -> tuple[Planned, ...]:
    """What :func:`frontier` will cost, by asking every way a few problems. Nothing is trained.

    Args:
        base, tuned, problems, options: as for :func:`frontier`.
    """
    usual = {name: one.default for name, one in _parameters().items()}
    lab, setting, ways = _opened({**usual, **options, "base": base, "tuned": tuned, "problems": problems})
    return plan_frontier(lab, setting, ways)


def frontier_worlds(
    worlds: Sequence[str] = WORLDS,
    *,
    out: Path,
    methods: Sequence[str] = (),
    draws: int = DRAWS,
    profile: str = "demo",
    per_cell: int = PER_CELL,
    workers: int = 0,
    seed: int = 0,
) -> list[Frontier]:
    """The frontier of each embedded world: the default of the command line.

    Args:
        worlds: their names.
        out: the run directory. Each world has its own folder in it.
        methods, draws, profile, per_cell, seed: as for :func:`frontier`.
        workers: processes, one thread each; 0: chosen by the number of free cores.
    """
    for name in worlds:
        if name not in EMBEDDED:
            raise unknown("embedded world", name, EMBEDDED)
    options = {
        "methods": tuple(methods),
        "draws": draws,
        "profile": profile,
        "per_cell": per_cell,
        "seed": seed,
    }
    chosen_ways(methods, _profile(profile))
    folders = {name: (out / name).resolve() for name in worlds}
    count = workers or min(len(worlds), free_cores())
    if count > 1 and len(worlds) > 1:
        jobs = {name: Job(function=_fill, arguments=(name, folders[name], options)) for name in worlds}
        executor_named("processes", workers=count).run(jobs, folders=folders)
    return [frontier(name, out=folders[name], **options) for name in worlds]


def _fill(name: str, folder: Path, options: Mapping[str, Any]) -> None:
    """Make every stage of one world's frontier, in a process of its own."""
    usual = {one: parameter.default for one, parameter in _parameters().items()}
    lab, setting, ways = _opened({**usual, **options, "base": name, "out": folder})
    run_frontier(lab, setting, ways, quiet=True)


def _parameters() -> Mapping[str, Any]:
    return inspect.signature(frontier).parameters


def _profile(name: str) -> Profile:
    for one in PROFILES:
        if one == name:
            return one
    raise unknown("profile", name, PROFILES)


def _opened(given: Mapping[str, Any]) -> tuple[Lab, Setting, tuple[Chosen, ...]]:
    """The run directory, what the frontier is run on, and the ways."""
    check_sizes(given)
    ways = chosen_ways(given["methods"], _profile(given["profile"]))
    training = any(way.trains is not None for way in ways)
    request = FrontierRequest(**{one.name: _policy(given[one.name]) for one in fields(FrontierRequest)})
    if request.train is not None and not training:
        raise UsageError("--train would do nothing: no training method was chosen", fix="--methods sft, or so")
    folder = _folder(given)
    vacant(folder)
    lab = Lab(folder, Streams(given["seed"]))
    setting = setting_of(lab, request, loading_of(given), training=training)
    decides = {
        "base": setting.asked.policy,
        "problems": setting.asked.problems,
        "development": setting.asked.development,
        "max_new_tokens": setting.asked.limits.max_new_tokens,
        "seed": given["seed"],
    }
    hold_to(folder, FRONTIER, decides, run_frontier)
    return lab, setting, ways


def _policy(value: Any) -> Any:
    """A training stands for the policy that it made."""
    return value.policies["policy"] if isinstance(value, Training) else value


def _folder(given: Mapping[str, Any]) -> Path:
    if given["out"] is not None:
        return Path(given["out"]).expanduser()
    named = {}
    for name in ("base", "problems", "development"):
        value = given[name]
        named[name] = str(value) if isinstance(value, str | Path | type(None)) else type(value).__name__
    numbers = {name: given[name] for name in ("limit", "per_cell", "max_new_tokens", "grader", "seed")}
    key = identity({"asked": describe({**named, **numbers}, "frontier")}, length=8)
    return Path("runs") / f"frontier-{key}"
