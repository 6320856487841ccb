"""The three ways into an audit: the embedded worlds, any two models, any two sample files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from keyturn.auditing import counted_once, setup
from keyturn.auditing.audit import AuditConfig, Pair, audit, conclude
from keyturn.auditing.embedded import (
    EMBEDDED,
    MODELS,
    audit_embedded,
    audit_trained,
    settings_for,
    world_problems,
)
from keyturn.auditing.naming import place_of
from keyturn.auditing.result import AuditResult
from keyturn.auditing.world_facts import WorldFacts
from keyturn.core.errors import UsageError, unknown
from keyturn.core.problem import Problem
from keyturn.core.rundir import storage
from keyturn.core.streams import Streams
from keyturn.lab.lab import Lab
from keyturn.lab.workers import free_cores, run_together
from keyturn.measures.contract import Tables
from keyturn.measures.estimates import SMALLEST_K
from keyturn.measures.paired import Paired
from keyturn.policies.connect import ServerOptions, connect, is_server
from keyturn.policies.loading import load_policy, world_of
from keyturn.policies.local import LocalPolicy, Sampling
from keyturn.policies.protocol import Policy
from keyturn.problems.contract import ProblemSet
from keyturn.problems.files import choose_grader, grade_samples, read_problems
from keyturn.problems.graders import GRADERS
from keyturn.rollouts.readers import Columns, Samples, pair, read_samples

DEFAULT_TOKENS = 512
"""Tokens a completion may have where no world says what it needs."""
PER_CELL = 24
"""Test problems a cell (design section 5)."""


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
    server: ServerOptions = field(default_factory=ServerOptions)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which problems are asked and how they are judged."""

    problems: Path | None = None
    grader: str = "auto"
    limit: int = 0
    per_cell: int = PER_CELL


def config_of(*, k: int, n_base: int, max_new_tokens: int) -> AuditConfig:
    """An audit's draws from the command line's numbers."""
    if k < SMALLEST_K or n_base < 0:
        what = f"k must be at least {SMALLEST_K} (at K = 1 nothing can be classified) and n-base not negative"
        raise UsageError(what, fix="leave them out for the defaults")
    return AuditConfig(k=k, n_base=n_base, max_new_tokens=max_new_tokens or DEFAULT_TOKENS)


def load(path: str, loading: Loading, kept: Path | None = None) -> Policy:
    """One of the two policies.

    Args:
        path: a model, or the address of a server.
        loading: how it is loaded, asked and decoded.
        kept: where what a server gave is kept.
    """
    if is_server(path):
        return connect(
            path,
            loading.server,
            temperature=loading.temperature,
            top_p=loading.top_p,
            template=loading.template,
            folder=kept,
        )
    policy = load_policy(
        path,
        device=loading.device,
        dtype=loading.dtype,
        revision=loading.revision,
        trust_remote_code=loading.trust_remote_code,
        allow_pickle=loading.allow_pickle,
        sampling=Sampling(temperature=loading.temperature, top_p=loading.top_p),
    )
    has_template = bool(getattr(policy.tokenizer, "chat_template", None))
    chat = loading.template == "chat" or (loading.template == "auto" and has_template)
    return LocalPolicy(policy.model, policy.tokenizer, sampling=policy.sampling, chat=chat)


def of_models(
    lab: Lab, policies: Sequence[str], asked: Asked, loading: Loading, config: AuditConfig
) -> AuditResult:
    """Audit any two policies: causal LMs, or what a server answers."""
    places = tuple(place_of(name) for name in policies)
    problem_set, facts, config = problems_of(places[0], asked, config, loading, lab)
    base, tuned = (load(place, loading, lab.root / "servers") for place in places)
    made = Pair(
        name=problem_set.name,
        base=base,
        tuned=tuned,
        base_name=policies[0],
        tuned_name=policies[1],
        problems=problem_set,
        problems_name=str(asked.problems or f"test problems of the world {problem_set.name}"),
        facts=facts,
        weights=folders(places),
        form="" if asked.problems is None else getattr(problem_set.grader, "form", ""),
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
        what = f"{base} was made in no controlled world, so it brings no problems of its own"
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
    columns: Columns,
    grader: str,
    problems: Path | None,
    config: AuditConfig,
    *,
    independent: bool = False,
) -> AuditResult:
    """Audit two files of samples; no model is needed."""
    asked = () if problems is None else read_problems(problems, grader=grader).problems
    read = [read_samples(path, columns) for path in files]
    judges = tuple(judge_of(samples, grader, asked) for samples in read)
    base, tuned = (graded(samples, judge, asked) for samples, judge in zip(read, judges, strict=True))
    base, tuned, copies = counted_once.of_files(base, tuned, independent=independent)
    found = pair(base, tuned)
    with storage(lab.root):
        lab.root.mkdir(parents=True, exist_ok=True)
    result = conclude(
        lab,
        name="samples",
        base_name=files[0],
        tuned_name=files[1],
        problems_name=f"{len(found.problems)} problems common to both files",
        tables=Tables(
            streams=lab.streams.child("measure", "samples"),
            paired=Paired(base=found.base, tuned=found.tuned),
            copies=copies,
        ),
        k=config.k,
    )
    base_judge, tuned_judge = (GRADERS[name].name if name else "the file's own verdicts" for name in judges)
    said = setup.of_files(files, (found.base, found.tuned), (base_judge, tuned_judge), seed=lab.streams.root)
    return replace(result, limits=(*result.limits, *found.notes), settings=said)


def judge_of(samples: Samples, grader: str, asked: Sequence[Problem]) -> str:
    """The grader that is named or that fits; empty where the file's own verdicts are taken."""
    if grader == "auto":
        return "" if np.isfinite(samples.success).any() else choose_grader(asked or samples.problems())
    if grader not in GRADERS:
        raise unknown("grader", grader, GRADERS)
    return grader


def graded(samples: Samples, judge: str, asked: Sequence[Problem]) -> Samples:
    """Samples as their file graded them, or by a grader."""
    return grade_samples(samples, GRADERS[judge], asked) if judge else samples


def of_worlds(
    lab: Lab, worlds: Sequence[str], *, per_cell: int, workers: int, config: AuditConfig
) -> list[AuditResult]:
    """The embedded default: train each shipped base by RL, audit it."""
    for name in worlds:
        if name not in EMBEDDED:
            raise unknown("embedded world", name, EMBEDDED)
    folders = {name: lab.root / name for name in worlds}
    count = workers or min(len(worlds), free_cores())
    if count > 1 and len(worlds) > 1:
        jobs = {name: (_fill, (folders[name], lab.streams.root, name, per_cell, config)) for name in worlds}
        run_together(jobs, folders)
    return [_world(folders[name], lab.streams.root, name, per_cell, config) for name in worlds]


def _world(root: Path, seed: int, name: str, per_cell: int, config: AuditConfig) -> AuditResult:
    return audit_embedded(Lab(root, Streams(seed)), EMBEDDED[name], per_cell, config)


def _fill(root: Path, seed: int, name: str, per_cell: int, config: AuditConfig) -> None:
    _world(root, seed, name, per_cell, config)


def audit_subject(lab: Lab, base: str, tuned: str = "", problems: str = "") -> tuple[AuditResult, str]:
    """Audit what a claim names, training the tuned policy where none is given.

    Args:
        lab: the run directory.
        base: an embedded world, a model folder or a Hub id.
        tuned: a model; empty: the base is trained by RL in its world.
        problems: a problem file; empty: the base's world has some.

    Returns:
        The audit, and the fingerprint of the base.
    """
    config = config_of(k=64, n_base=0, max_new_tokens=0)
    if tuned:
        found = of_models(
            lab, (base, tuned), Asked(problems=Path(problems) if problems else None), Loading(), config
        )
        return found, load(place_of(base), Loading(), lab.root / "servers").fingerprint
    if base in EMBEDDED:
        return audit_embedded(lab, EMBEDDED[base], PER_CELL, config), load_policy(MODELS / base).fingerprint
    folder = Path(place_of(base)).expanduser()
    if not folder.is_dir():
        raise UsageError(
            f"no model folder {base}, and no embedded world of that name", fix="name a folder, or --tuned"
        )
    return (
        audit_trained(lab, settings_for(folder), folder, PER_CELL, config, base_name=base),
        load_policy(folder).fingerprint,
    )
