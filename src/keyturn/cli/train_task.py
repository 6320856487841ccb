"""What a method is run on, from the words of a command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.policies.loading import load_policy, world_of
from keyturn.problems.files import read_problems
from keyturn.studies.embedded import EMBEDDED, MODELS
from keyturn.training.contract import Task
from keyturn.training.tasks import file_task, world_task

FILE_TOKENS = 1024
"""Length limit of an answer to a problem of a file, tokens."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the user said beside the model's name.

    Args:
        problems: a file, or None for a world's own.
        test: a file of test problems, or None.
        grader: how answers of a file are judged.
        per_cell: training problems a cell of a world.
        max_new_tokens: length limit of an answer; 0 for the usual one.
        device: as for loading a policy.
        others: slot -> model of further policies.
    """

    problems: Path | None = None
    test: Path | None = None
    grader: str = "auto"
    per_cell: int = 112
    max_new_tokens: int = 0
    device: str = "auto"
    others: Mapping[str, str] = field(default_factory=dict)


def task_for(model: str, given: Given, streams: Streams) -> Task:
    """The task of a command.

    Args:
        model: an embedded world's name, a model folder or a Hub id.
        given: the rest.
        streams: decides a world's problems.

    Raises:
        UsageError: a model of no world without a file of problems.
    """
    folder = str(MODELS / model) if model in EMBEDDED else model
    world = world_of(folder) if Path(folder).is_dir() else None
    base = load_policy(folder, device=given.device)
    others = {slot: load_policy(name, device=given.device) for slot, name in given.others.items()}
    device = str(base.model.device)
    if given.problems is not None:
        return file_task(
            base,
            folder,
            read_problems(given.problems, grader=given.grader),
            max_new_tokens=given.max_new_tokens or FILE_TOKENS,
            test=None if given.test is None else read_problems(given.test, grader=given.grader),
            device=device,
            others=others,
        )
    if world is None:
        raise UsageError(f"{model} is no model of a world, so problems must be named", fix="--problems FILE")
    settings = EMBEDDED.get(world.domain)
    task = world_task(
        base,
        folder,
        world,
        streams,
        train=settings.train if settings else None,
        test=settings.test if settings else None,
        per_cell=given.per_cell,
        device=device,
        others=others,
    )
    return task
