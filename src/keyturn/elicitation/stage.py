"""A method's work as stages: what it prepares once, then its answers in parts, each stored when it is finished.

Whether weights stayed as they were is measured, not promised: the policy's fingerprint is compared and hooks
are counted after every part.
"""

from __future__ import annotations

import io
import logging
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keyturn.core.describe import describe
from keyturn.core.errors import KeyturnError, StorageError
from keyturn.core.identity import identity
from keyturn.core.progress import progress
from keyturn.core.rundir import write_bytes
from keyturn.elicitation.contract import Asked, Costs, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.prepared_file import Given, without_preparing
from keyturn.lab.lab import Lab, Stage
from keyturn.lab.parts import drawn_before, parts_of, rows_a_part, rows_of
from keyturn.policies.local import LocalPolicy
from keyturn.policies.which_engine import engine_of
from keyturn.problems.contract import content_of
from keyturn.rollouts.store import completion_parts, read_completions, write_completions

_log = logging.getLogger("keyturn")

ROWS_A_PART = 512
"""Answers of a part, at most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Elicited:
    """What a method left in a run directory.

    Args:
        elicitation: answers and costs.
        prepared: what was made once for all problems.
        examples: problems whose gold answers the method used.
        weights: numbers in the weights of the models that answered that are not the policy's.
        stage: of the answers.
    """

    elicitation: Elicitation
    prepared: Prepared
    examples: int
    weights: int
    stage: Stage


def elicit(
    lab: Lab, method: ElicitationMethod, config: Any, asked: Asked, *, given: Given | None = None
) -> Elicited:
    """Answer every problem by a method. What is finished is read from disk.

    Args:
        lab: the run directory.
        method: the method.
        config: its settings.
        asked: policy, problems and draws.
        given: what the method prepared before; it then prepares nothing.

    Raises:
        UsageError: something that the method needs is missing.
    """
    (method if given is None else without_preparing(method)).check(asked)
    examples = method.examples(asked, config) if method.examples is not None else 0
    prepared: Prepared = {}
    parents: list[Stage] = []
    if given is not None:
        examples, prepared = given.examples, given.prepared
    fields = _fields(method, config, asked, examples)
    if given is not None:
        fields = {**fields, "development": None, "given": given.mark}
    elif method.prepare is not None:
        prepare = method.prepare
        stage, prepared = lab.arrays_kept(
            "elicit-prepare",
            fields,
            lambda folder: prepare(replace(asked, kept=folder / "kept"), config),
            label=f"prepare {method.name}",
        )
        parents = [stage]
    decides = {**fields, "draws": [asked.draws.start, asked.draws.stop]}
    decides["problems"] = content_of(asked.problems.problems)
    problems = asked.problems.problems
    answer = method.answer

    def work(folder: Path) -> None:
        rows = rows_a_part(asked.policy, problems, asked.draws, asked.limits, most=ROWS_A_PART)
        parts = parts_of(problems, asked.draws, rows)
        before = {n for n in drawn_before(folder, parts, asked.draws) if _cost_is_known(folder, n)}
        done = rows_of((parts[number] for number in before), asked.draws)
        with progress(f"{method.name}", rows_of(parts, asked.draws), done=done) as advance:
            for number, part in enumerate(parts):
                if number not in before:
                    given = untouched(asked, lambda part=part: answer(asked.of(part), config, prepared))
                    _write(folder, number, given, _policy(asked, fields))
                    write_bytes(folder / f"{number}.done", b"")
                    advance(len(part) * len(asked.draws))

    stage, found = lab.stage("elicit", decides, work, _read, parents=parents, label=method.name)
    weights = method.weights(asked, config) if method.weights is not None else 0
    return Elicited(elicitation=found, prepared=prepared, examples=examples, weights=weights, stage=stage)


def untouched(asked: Asked, work: Any) -> Any:
    """Do a piece of work and see that it left the policy as it was.

    Raises:
        KeyturnError: weights changed or a hook stayed behind: a fault of the method.
    """
    before = (asked.policy.fingerprint, hooks_on(asked))
    done = work()
    after = (asked.policy.fingerprint, hooks_on(asked))
    if before != after:
        what = (
            "a hook was left on the model"
            if before[0] == after[0]
            else "the weights of the policy were changed"
        )
        raise KeyturnError(f"{what} by a method that must leave it as it is", fix="report this as a bug")
    return done


def hooks_on(asked: Asked) -> int:
    """Forward hooks that are on the modules of the policy's model."""
    if not isinstance(asked.policy, LocalPolicy):
        return 0
    return sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in asked.policy.model.modules())


def _fields(method: ElicitationMethod, config: Any, asked: Asked, examples: int) -> dict[str, Any]:
    """Everything that decides what a method prepares."""
    development = asked.development
    path = {"streams": list(asked.streams.path)} if asked.streams.path else {}
    beside = {"teacher": asked.teacher} if "teacher" in method.needs else {}
    return {
        **path,
        **beside,
        "method": method.name,
        "settings": config,
        "policy": asked.policy,
        "engine": engine_of(asked.policy),
        "grader": asked.problems.grader,
        "development": None if development is None or method.prepare is None else development,
        "exemplars": [
            (one.problem.id, one.problem.prompt, one.problem.answer, one.solution) for one in asked.exemplars
        ],
        "examples": examples,
        "in_words": asked.in_words,
        "max_new_tokens": asked.limits.max_new_tokens,
    }


def _policy(asked: Asked, fields: Mapping[str, Any]) -> str:
    """Fingerprint of the policy as the method asks it."""
    named = {name: fields[name] for name in ("method", "max_new_tokens", "examples")}
    if "teacher" in fields:
        named["teacher"] = fields["teacher"].fingerprint
    settings = describe(fields["settings"], "settings")
    return identity({**named, "settings": settings, "policy": asked.policy.fingerprint})


def _write(folder: Path, part: int, given: Elicitation, policy: str) -> None:
    write_completions(folder, part, replace(given.completions, policy=policy))
    stream = io.BytesIO()
    facts = {f"fact {name}": np.asarray(one, dtype=np.float64) for name, one in given.facts.items()}
    np.savez(stream, **{**given.costs.columns(), **facts})  # type: ignore[arg-type]
    write_bytes(folder / f"costs-{part:05d}.npz", stream.getvalue())


def _read(folder: Path) -> Elicitation:
    completions = read_completions(folder)
    tables = [_costs(folder / f"costs-{part:05d}.npz") for part in completion_parts(folder)]
    joined = {name: np.concatenate([one[name] for one in tables]) for name in tables[0]}
    costs = Costs(**{name: joined[name] for name in Costs.nothing(0).columns()})
    facts = {name.removeprefix("fact "): one for name, one in joined.items() if name.startswith("fact ")}
    return Elicitation(completions=completions, costs=costs, facts=facts)


def _cost_is_known(folder: Path, part: int) -> bool:
    """Whether the costs of a part that was written before an interruption are still whole."""
    try:
        _costs(folder / f"costs-{part:05d}.npz")
    except StorageError as damage:
        _log.warning("a finished part is damaged and is made again: %s", damage.what)
        return False
    return True


def _costs(path: Path) -> dict[str, NDArray]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        what = f"{path} is damaged ({error})"
        raise StorageError(what, fix=f"remove {path.parent} and run the command again") from error
