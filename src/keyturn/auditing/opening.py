"""The three kinds of audit: of the embedded worlds, of any two policies, and of any two tables of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keyturn.auditing import audit_settings
from keyturn.auditing.audit import AuditConfig, AuditPair, audit, conclude
from keyturn.auditing.elicited_problems import counting_ways
from keyturn.auditing.embedded import (
    EMBEDDED,
    audit_embedded,
    audit_trained,
    settings_for,
    world_problems,
)
from keyturn.auditing.result import AuditResult
from keyturn.auditing.sample_pair import drawn_too_seldom, sample_pair
from keyturn.auditing.side_kinds import SIDES
from keyturn.auditing.sides import (
    Side,
    draws_plainly,
    problems_called,
    problems_in,
    refuse_one_model,
    side_of,
)
from keyturn.auditing.world_facts import WorldFacts
from keyturn.core.errors import UsageError, unknown
from keyturn.core.rundir import storage_errors
from keyturn.core.streams import Streams
from keyturn.lab.elsewhere import Opening, SharedLab
from keyturn.lab.lab import Lab
from keyturn.lab.workers import Executor, Job
from keyturn.measures.contract import Tables
from keyturn.measures.estimates import SMALLEST_K
from keyturn.measures.paired import Paired
from keyturn.policies.by_name import Loading
from keyturn.policies.connect import is_server
from keyturn.policies.vllm_engine import is_vllm
from keyturn.problems.contract import ProblemSet
from keyturn.problems.examples import with_examples
from keyturn.problems.world.worlds import World
from keyturn.rollouts.readers import Columns

DEFAULT_TOKENS = 512
"""Maximum number of tokens in a completion where no world says how many it needs."""
PER_CELL = 24
"""Test problems per cell."""
LARGEST_K = 1 << 16
"""Largest budget that may be requested. Every draw is stored and graded, and each problem can take 4K draws."""


@dataclass(frozen=True, kw_only=True)
class ProblemChoice:
    """Which problems are asked and how answers are graded."""

    problems: Any = None
    """What :func:`~keyturn.auditing.sides.problems_in` takes; None: the problems of the base's world."""
    grader: str = "auto"
    examples: Any = None
    """Problems with worked solutions in front of every problem, or None."""
    limit: int = 0
    per_cell: int = PER_CELL


def config_of(*, k: int, n_base: int, max_new_tokens: int, elicit: Sequence[Any] = ()) -> AuditConfig:
    """The audit's configuration, from the numbers on the command line and the names of elicitation methods."""
    if elicit:
        counting_ways(elicit)
    if k < SMALLEST_K or n_base < 0:
        what = f"k must be at least {SMALLEST_K} (at K = 1 nothing can be classified) and n-base not negative"
        raise UsageError(what, fix="leave them out for the defaults")
    if max(k, n_base // 4) > LARGEST_K:
        what = f"k is {k} and n-base {n_base}: at most {LARGEST_K} and 4 x {LARGEST_K} are allowed"
        raise UsageError(what, fix="choose a smaller K: the base makes 4K draws for every problem")
    tokens = max_new_tokens or DEFAULT_TOKENS
    return AuditConfig(k=k, n_base=n_base, max_new_tokens=tokens, elicit=tuple(elicit))


def audit_models(
    lab: Lab,
    policies: tuple[Any, Any],
    asked: ProblemChoice,
    loading: Loading,
    config: AuditConfig,
    *,
    executor: Executor | None = None,
) -> AuditResult:
    """Audit any two policies.

    Args:
        lab: the run directory.
        policies: base and tuned; each is what :func:`~keyturn.auditing.sides.side_of` takes.
        asked: the problems.
        loading: how models are loaded, asked and decoded.
        config: how many draws are taken.
        executor: workers that draw and grade; None: this process.
    """
    base, tuned = (side_of(one, side) for one, side in zip(policies, SIDES, strict=True))
    problem_set, world, config = problems_of(base, asked, config, lab)
    one, other = (subject.open(loading, lab.root / "servers") for subject in (base, tuned))
    refuse_one_model(one, other)
    if executor is not None:
        places = {policy.fingerprint: side.place for policy, side in ((one, base), (other, tuned))}
        lab = SharedLab(
            lab.root,
            lab.streams,
            lab.seconds,
            executor=executor,
            openings={
                mark: Opening(place=_seen_by_all(place), loading=loading)
                for mark, place in places.items()
                if place and not is_server(place) and not is_vllm(place)
            },
        )
    folders = (base.folder, tuned.folder)
    plain = draws_plainly(one, loading) and draws_plainly(other, loading)
    in_world = f"test problems of the world {problem_set.name}"
    made = AuditPair(
        name=problem_set.name,
        base=one,
        tuned=other,
        base_name=base.name,
        tuned_name=tuned.name,
        problems=problem_set,
        problems_name=in_world if asked.problems is None else problems_called(asked.problems, problem_set),
        facts=None if world is None else WorldFacts(world, plain=plain),
        weights=None if folders[0] is None or folders[1] is None else (folders[0], folders[1]),
        form=_form(asked, problem_set),
    )
    result = audit(lab, made, config)
    return replace(result, limits=(*result.limits, *problem_set.notes))


def _form(asked: ProblemChoice, problem_set: ProblemSet) -> str:
    """What the few-shot format arm shows; nothing where a world or worked examples show a format already."""
    shown = asked.problems is None or asked.examples is not None
    return "" if shown else getattr(problem_set.grader, "form", "")


def _seen_by_all(place: str) -> str:
    """A model's place for a worker, whose working directory is another one."""
    path = Path(place).expanduser()
    return str(path.resolve()) if path.exists() else place


def problems_of(
    base: Side, asked: ProblemChoice, config: AuditConfig, lab: Lab
) -> tuple[ProblemSet, World | None, AuditConfig]:
    """The problems that were given, or those of the world that the base was made in, and that world."""
    if asked.problems is not None:
        problem_set = problems_in(asked.problems, asked.grader)
        if asked.limit:
            problem_set = replace(problem_set, problems=problem_set.problems[: asked.limit])
        if asked.examples is not None:
            problem_set = with_examples(problem_set, problems_in(asked.examples).problems)
        return problem_set, None, config
    world = base.world
    if world is None:
        what = (
            f"{base.place or base.name} was not made in a controlled world, so it brings no problems of its own"
        )
        raise UsageError(what, fix="--problems FILE")
    problem_set, tokens = world_problems(world, asked.per_cell, lab.streams)
    return problem_set, world, replace(config, max_new_tokens=tokens)


def audit_samples(
    lab: Lab,
    sources: tuple[Any, Any],
    columns: Columns,
    grader: str,
    problems: Any,
    config: AuditConfig,
    *,
    independent: bool = False,
) -> AuditResult:
    """Audit two tables of samples. This needs no model.

    Args:
        lab: the run directory.
        sources: base and tuned; each is what :func:`~keyturn.auditing.sides.samples_in` takes.
        columns: column names, for samples that do not use the known ones.
        grader: how answers are graded; ``auto``: as the samples say, or else by their gold answers.
        problems: problems with the gold answers, if the samples lack them; or None.
        config: the configuration, of which only the budget K is used.
        independent: count every draw, even where draws look like copies of each other.
    """
    read = sample_pair(sources, columns=columns, grader=grader, problems=problems, independent=independent)
    found = read.found
    with storage_errors(lab.root):
        lab.root.mkdir(parents=True, exist_ok=True)
    result = conclude(
        lab,
        name="samples",
        base_name=read.sources[0],
        tuned_name=read.sources[1],
        problems_name=f"{len(found.problems)} problems common to both files",
        tables=Tables(
            streams=lab.streams.child("measure", "samples"),
            paired=Paired(base=found.base, tuned=found.tuned),
            copies=read.copies,
        ),
        k=config.k,
    )
    said = audit_settings.settings_of_files(
        read.fingerprints, (found.base, found.tuned), read.graders, seed=lab.streams.root
    )
    cautions = (*drawn_too_seldom(found.base, config.k), *result.cautions)
    return replace(result, limits=(*result.limits, *found.notes), settings=said, cautions=cautions)


def audit_worlds(
    lab: Lab,
    worlds: Sequence[str],
    *,
    per_cell: int,
    config: AuditConfig,
    executor: Executor,
) -> list[AuditResult]:
    """The embedded default: train each shipped base by RL and audit it."""
    for name in worlds:
        if name not in EMBEDDED:
            raise unknown("embedded world", name, EMBEDDED)
    folders = {name: lab.root / name for name in worlds}
    if executor.slots > 1 and len(worlds) > 1:
        folders = {name: folder.resolve() for name, folder in folders.items()}
        jobs = {
            name: Job(function=_fill, arguments=(folders[name], lab.streams.root, name, per_cell, config))
            for name in worlds
        }
        executor.run(jobs, folders=folders)
    return [_world(folders[name], lab.streams.root, name, per_cell, config) for name in worlds]


def _world(root: Path, seed: int, name: str, per_cell: int, config: AuditConfig) -> AuditResult:
    return audit_embedded(Lab(root, Streams(seed)), EMBEDDED[name], per_cell, config)


def _fill(root: Path, seed: int, name: str, per_cell: int, config: AuditConfig) -> None:
    _world(root, seed, name, per_cell, config)


def audit_base(lab: Lab, base: Any, *, per_cell: int, config: AuditConfig) -> AuditResult:
    """Train a base of a controlled world by RL, and audit the pair.

    Args:
        lab: the run directory.
        base: an embedded base, or another model of a world.
        per_cell: test problems per cell.
        config: how many draws are taken.
    """
    if isinstance(base, str) and base in EMBEDDED:
        return audit_embedded(lab, EMBEDDED[base], per_cell, config)
    subject = side_of(base, "base")
    if subject.folder is None:
        raise UsageError(
            f"no model folder {subject.name}, and no embedded world of that name",
            fix="name a folder, or --tuned",
        )
    settings = settings_for(subject.folder)
    return audit_trained(lab, settings, subject.folder, per_cell, config, base_name=subject.name)


def audit_subject(lab: Lab, base: str, tuned: str = "", problems: str = "") -> tuple[AuditResult, str]:
    """Audit the models that a claim names. If it names no tuned policy, train one.

    Args:
        lab: the run directory.
        base: an embedded world, a model folder or a Hub id.
        tuned: a model; if empty, the base is trained by RL in its world.
        problems: a problem file; if empty, the base's world provides the problems.

    Returns:
        The audit, and the fingerprint of the base.
    """
    config = config_of(k=64, n_base=0, max_new_tokens=0)
    if tuned:
        asked = ProblemChoice(problems=Path(problems) if problems else None)
        found = audit_models(lab, (base, tuned), asked, Loading(), config)
    else:
        found = audit_base(lab, base, per_cell=PER_CELL, config=config)
    return found, side_of(base, "base").open(Loading(), lab.root / "servers").fingerprint
