"""What a method is run on: a model and problems, by name or as objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from keyturn.auditing.embedded import EMBEDDED
from keyturn.auditing.sides import Side, problems_in, side_of
from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.lab.task import Task, file_task, world_task
from keyturn.policies.by_name import Loading
from keyturn.policies.connect import is_server
from keyturn.policies.local import LocalPolicy
from keyturn.policies.prompting import MOST_UNKNOWN, unreadable
from keyturn.problems.contract import ProblemSet
from keyturn.problems.examples import with_examples

FILE_TOKENS = 1024
"""Maximum number of tokens in an answer to a problem from a file."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the user specified apart from the model.

    Args:
        problems: what :func:`~keyturn.auditing.sides.problems_in` takes, or None for a world's own.
        test: the same for test problems, or None.
        grader: how answers to problems from a file are graded.
        examples: problems with worked solutions in front of every problem, or None.
        template: how prompts are given to the model, see :class:`~keyturn.policies.by_name.Loading`.
        stop: texts that end an answer.
        per_cell: training problems per cell of a world.
        max_new_tokens: length limit of an answer; 0 for the usual one.
        device: as for loading a policy.
        others: slot -> model, for further policies.
    """

    problems: Any = None
    test: Any = None
    grader: str = "auto"
    examples: Any = None
    template: str = "auto"
    stop: tuple[str, ...] = ()
    per_cell: int = 112
    max_new_tokens: int = 0
    device: str = "auto"
    others: Mapping[str, Any] = field(default_factory=dict)


def task_for(model: Any, given: Given, streams: Streams) -> Task:
    """The task of a training.

    Args:
        model: what :func:`~keyturn.auditing.sides.side_of` takes.
        given: everything else that the user specified.
        streams: random streams that decide a world's problems.

    Raises:
        UsageError: the model has no world, and no file of problems was given.
    """
    if given.max_new_tokens < 0:
        raise UsageError(
            f"max_new_tokens is {given.max_new_tokens}", fix="a positive number, or 0 for the default"
        )
    subject = trainable(model, "model")
    others = {slot: trainable(one, slot) for slot, one in given.others.items()}
    world = subject.world
    asked = None if given.problems is None else problems_in(given.problems, given.grader)
    if asked is None:
        _refuse_idle(given, subject.name, world is not None)
    elif given.per_cell != Given().per_cell:
        raise UsageError("--per-cell would do nothing: the problems are those of a file", fix="leave it out")
    test = None if given.test is None else problems_in(given.test, given.grader)
    if asked is not None and given.examples is not None:
        examples = problems_in(given.examples).problems
        asked = with_examples(asked, examples)
        test = None if test is None else with_examples(test, examples)
    loading = Loading(device=given.device, template=given.template, stop=given.stop)
    base = _in_this_process(subject, loading)
    policies = {slot: _in_this_process(one, loading) for slot, one in others.items()}
    device = str(base.model.device)
    if asked is not None:
        _readable(base, asked)
        return file_task(
            base,
            subject.place,
            asked,
            max_new_tokens=given.max_new_tokens or FILE_TOKENS,
            test=test,
            device=device,
            others=policies,
        )
    assert world is not None, "checked before anything was loaded"
    settings = EMBEDDED.get(world.domain)
    task = world_task(
        base,
        subject.place,
        world,
        streams,
        train=settings.train if settings else None,
        test=settings.test if settings else None,
        per_cell=given.per_cell,
        device=device,
        others=policies,
    )
    return replace(task, max_new_tokens=given.max_new_tokens) if given.max_new_tokens else task


def called(model: Any) -> str:
    """What a run calls its model."""
    return side_of(model, "model").name


def trainable(model: Any, slot: str) -> Side:
    """A model that can be trained. It is identified, but not yet loaded.

    Raises:
        UsageError: the model is behind a server.
    """
    subject = side_of(model, slot)
    if is_server(subject.place) or not isinstance(subject.policy, LocalPolicy | type(None)):
        what = f"{subject.name} is behind a server, and training needs its weights"
        raise UsageError(what, fix="the folder or the Hub name of the model")
    return subject


def _in_this_process(subject: Side, loading: Loading) -> LocalPolicy:
    policy = subject.open(loading, None)
    assert isinstance(policy, LocalPolicy), "what is behind a server was refused before"
    return policy


def _refuse_idle(given: Given, model: str, world: bool) -> None:
    """Raise an error if problems are missing, or if an option would have no effect."""
    if not world:
        what = f"{model} was not made in a controlled world, so it brings no problems of its own"
        raise UsageError(what, fix="--problems FILE")
    for option, said in (
        ("--test", given.test is not None),
        ("--examples", given.examples is not None),
        ("--grader", given.grader != "auto"),
    ):
        if said:
            raise UsageError(
                f"a world brings its own problems and grader; {option} is for problems from a file",
                fix="add --problems FILE",
            )


def _readable(base: LocalPolicy, asked: ProblemSet) -> None:
    """Refuse prompts whose words the tokenizer does not know.

    Raises:
        InputError: more than a tenth of the words are unknown.
    """
    share = base.unknown_words(asked.problems[:64])
    if share > MOST_UNKNOWN:
        raise unreadable(share, "this model's tokenizer")
