"""The three ways into an audit: the embedded worlds, any two models, any two sample files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from keyturn.core.errors import InputError, UsageError, unknown
from keyturn.measures.contract import Tables
from keyturn.policies.loading import load_policy, world_of
from keyturn.policies.local import LocalPolicy, Sampling
from keyturn.problems.contract import ProblemSet
from keyturn.problems.files import read_problems
from keyturn.rollouts.readers import Columns, pair, read_samples
from keyturn.studies.audit import AuditConfig, Pair, audit, conclude
from keyturn.studies.embedded import EMBEDDED, audit_embedded, fill_in_workers, world_problems
from keyturn.studies.lab import Lab
from keyturn.studies.result import AuditResult
from keyturn.studies.world_facts import WorldFacts

DEFAULT_TOKENS = 512
"""Tokens a completion may have where no world says what it needs."""


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How models are loaded and decoded."""

    device: str = "auto"
    dtype: str = "float32"
    revision: str | None = None
    trust_remote_code: bool = False
    allow_pickle: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    template: str = "auto"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which problems are asked and how they are judged."""

    problems: Path | None = None
    grader: str = "auto"
    limit: int = 0
    per_cell: int = 24


def config_of(*, k: int, n_base: int, max_new_tokens: int) -> AuditConfig:
    """An audit's draws from the command line's numbers."""
    if k < 1 or n_base < 0:
        raise UsageError("k must be at least 1 and n-base not negative", fix="leave them out for the defaults")
    return AuditConfig(k=k, n_base=n_base, max_new_tokens=max_new_tokens or DEFAULT_TOKENS)


def load(path: str, loading: Loading) -> LocalPolicy:
    """One of the two models."""
    return load_policy(
        path,
        device=loading.device,
        dtype=loading.dtype,
        revision=loading.revision,
        trust_remote_code=loading.trust_remote_code,
        allow_pickle=loading.allow_pickle,
        sampling=Sampling(temperature=loading.temperature, top_p=loading.top_p),
    ).with_template(loading.template)


def of_models(
    lab: Lab, policies: Sequence[str], asked: Asked, loading: Loading, config: AuditConfig
) -> AuditResult:
    """Audit any two causal LMs."""
    base, tuned = (load(path, loading) for path in policies)
    problem_set, facts, config = problems_of(policies[0], asked, config, loading, lab)
    made = Pair(
        name=problem_set.name,
        base=base,
        tuned=tuned,
        base_name=policies[0],
        tuned_name=policies[1],
        problems=problem_set,
        problems_name=str(asked.problems or f"test problems of the world {problem_set.name}"),
        facts=facts,
        weights=folders(policies),
    )
    return audit(lab, made, config)


def problems_of(
    base: str, asked: Asked, config: AuditConfig, loading: Loading, lab: Lab
) -> tuple[ProblemSet, WorldFacts | None, AuditConfig]:
    """The problems of a file, or those of the world that the base was made in."""
    world = world_of(base) if Path(base).expanduser().exists() else None
    if asked.problems is not None:
        problem_set = read_problems(asked.problems, grader=asked.grader)
        if asked.limit:
            problem_set = replace(problem_set, problems=problem_set.problems[: asked.limit])
        return problem_set, None, config
    if world is None:
        what = f"{base} is no model of a controlled world, so the problems must be named"
        raise UsageError(what, fix="--problems FILE")
    problem_set, tokens = world_problems(world, asked.per_cell, lab.streams)
    plain = loading.temperature == 1.0 and loading.top_p == 1.0
    return problem_set, WorldFacts(world, plain=plain), replace(config, max_new_tokens=tokens)


def folders(policies: Sequence[str]) -> tuple[Path, Path] | None:
    """Both model folders, where both are on this disk."""
    base, tuned = (Path(p).expanduser() for p in policies)
    return (base, tuned) if base.is_dir() and tuned.is_dir() else None


def of_samples(
    lab: Lab,
    files: tuple[str, str],
    columns: Sequence[str],
    grader: str,
    problems: Path | None,
    config: AuditConfig,
) -> AuditResult:
    """Audit two files of samples; no model is needed."""
    named = Columns.parse(columns)
    base, tuned = (read_samples(path, named) for path in files)
    gold = None if problems is None else read_problems(problems, grader=grader).problems
    found = pair(base, tuned, grader=grader, problems=gold)
    tables = Tables(streams=lab.streams.child("measure", "samples"), base=found.base, tuned=found.tuned)
    if not found.base.problems:
        raise InputError("the two files share no problem", fix="check the id and prompt columns with --columns")
    lab.root.mkdir(parents=True, exist_ok=True)
    result = conclude(
        lab,
        name="samples",
        base_name=files[0],
        tuned_name=files[1],
        problems_name=f"{len(found.base.problems)} problems common to both files",
        tables=tables,
        k=config.k,
    )
    return replace(result, limits=(*result.limits, *found.notes))


def of_worlds(
    lab: Lab, worlds: Sequence[str], *, per_cell: int, workers: int, config: AuditConfig
) -> list[AuditResult]:
    """The embedded default: train each shipped base by RL, audit it."""
    wanted = [EMBEDDED[name] for name in checked(worlds)]
    fill_in_workers(lab, wanted, per_cell, workers, config)
    return [audit_embedded(lab, one, per_cell, config) for one in wanted]


def checked(worlds: Sequence[str]) -> Sequence[str]:
    """Names of embedded worlds, or the error that names the near ones."""
    for name in worlds:
        if name not in EMBEDDED:
            raise unknown("embedded world", name, EMBEDDED)
    return worlds
