"""The inputs of an audit: each side is a policy or samples, given by name or as an object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyturn.auditing.model_places import place_of
from keyturn.auditing.side_kinds import TAKEN, is_policy, model_of
from keyturn.core.errors import UsageError
from keyturn.core.problem import Problem
from keyturn.policies.by_name import Loading, open_policy, with_template
from keyturn.policies.client import ServerPolicy
from keyturn.policies.loading import world_of
from keyturn.policies.local import LocalPolicy, Sampling
from keyturn.policies.protocol import Policy
from keyturn.problems.contract import ProblemSet
from keyturn.problems.files import choose_grader, known_grader, problem_set, read_problems
from keyturn.problems.world.worlds import World
from keyturn.rollouts.readers import Columns, Samples, read_samples, records_in, samples_of

ASKED = ("sampling", "hooks", "processors", "chat", "stops")
"""Attributes that distinguish two policies of the same model."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """One of the two policies of an audit. It is identified, but not yet loaded.

    Args:
        name: what a report calls it.
        place: where it is loaded from: a folder, a Hub name or a server's address; empty for an object.
        model, tokenizer: a model that was given as an object.
        policy: a policy that was given as an object.
    """

    name: str
    place: str = ""
    model: Any = None
    tokenizer: Any = None
    policy: Policy | None = None

    def open(self, loading: Loading, kept: Path | None) -> Policy:
        """Load the policy.

        Args:
            loading: how a name is loaded and a model is asked. A policy object is used as it is.
            kept: where a server's answers are kept.
        """
        if self.policy is not None:
            return self.policy
        if self.model is not None:
            return with_template(self.model, self.tokenizer, loading)
        return open_policy(self.place, loading, kept)

    @property
    def folder(self) -> Path | None:
        """The local folder of its weights. None if there is none, or if they may have changed since loading."""
        path = Path(self.place).expanduser()
        return path if self.place and path.is_dir() else None

    @property
    def world(self) -> World | None:
        """The controlled world that the model was made in. None for other models, or if no folder is known."""
        model = self.policy.model if isinstance(self.policy, LocalPolicy) else self.model
        place = self.place or str(getattr(model, "name_or_path", "") or "")
        return world_of(place) if place and Path(place).expanduser().exists() else None


def side_of(value: Any, side: str) -> Side:
    """A policy of an audit, from any of the accepted forms.

    Args:
        value: a name, a loaded model with its tokenizer, or a policy.
        side: ``base`` or ``tuned``, for messages.

    Raises:
        UsageError: a model without a tokenizer, or what :func:`~keyturn.auditing.model_places.place_of` raises.
    """
    if is_policy(value):
        return Side(name=_called(value), policy=value)
    pair = model_of(value)
    if pair is None:
        return Side(name=str(value), place=place_of(str(value)))
    model, tokenizer = pair
    if tokenizer is None:
        raise UsageError(f"{side} is a model without its tokenizer", fix=f"{side}=(model, tokenizer)")
    return Side(name=_named(model), model=model, tokenizer=tokenizer)


def refuse_one_model(base: Policy, tuned: Policy) -> None:
    """Refuse a model that is given twice. A model that was trained in place has no base left to compare with.

    Raises:
        UsageError: both sides are the same weights in memory, decoded in the same way.
    """
    same = base is tuned
    if isinstance(base, LocalPolicy) and isinstance(tuned, LocalPolicy) and base.model is tuned.model:
        same = all(getattr(base, name) == getattr(tuned, name) for name in ASKED)
    if same:
        raise UsageError(
            "base and tuned are one model in memory",
            fix="load the base again, or give a copy from before the training (copy.deepcopy)",
        )


def draws_plainly(policy: Policy, loading: Loading) -> bool:
    """Whether a policy samples from its model's own distribution: temperature 1, nothing cut or reshaped."""
    if isinstance(policy, LocalPolicy):
        return policy.sampling == Sampling() and not policy.processors
    return loading.sampling == Sampling()


def _called(policy: Policy) -> str:
    """What a report calls a policy that was given as an object."""
    if isinstance(policy, LocalPolicy):
        acting = [*(hook.name for hook in policy.hooks), *(p.name for p in policy.processors)]
        return _named(policy.model) + (f" under {', '.join(acting)}" if acting else "")
    if isinstance(policy, ServerPolicy):
        return f"{','.join((policy.config.url, *policy.config.others))}#{policy.config.model}"
    return type(policy).__name__


def _named(model: Any) -> str:
    """A loaded model's class, and where the model was loaded from."""
    origin = str(getattr(model, "name_or_path", "") or "")
    return f"{type(model).__name__} in memory" + (f", loaded from {origin}" if origin else "")


def samples_in(value: Any, columns: Columns, side: str, *, unjudged: bool = False) -> Samples:
    """Samples, from any of the accepted forms.

    Args:
        value: a file (``file#which``), samples that were read already, or records of any kind that
            :func:`~keyturn.rollouts.readers.memory.records_in` accepts.
        columns: column names, for samples that do not use the known ones.
        side: what messages call records in memory: ``base`` or ``tuned``.
        unjudged: the samples may lack both verdicts and gold answers, because the problems provide them.
    """
    if isinstance(value, Samples):
        return value
    if isinstance(value, str | Path):
        return read_samples(value, columns, unjudged=unjudged)
    records = records_in(value, side)
    if records is None:
        raise UsageError(f"{side} is of type {type(value).__name__}", fix=TAKEN)
    return samples_of(records, side, columns, unjudged=unjudged)


def problems_in(value: Any, grader: str = "auto") -> ProblemSet:
    """Problems, from any of the accepted forms.

    Args:
        value: a file, a set of problems, problems, or records: a data frame, a list of mappings, a data set.
        grader: name of the grader; ``auto`` chooses it by the gold answers.

    Raises:
        UsageError: the value is none of these, or a grader was given for a set that has its own.
    """
    if isinstance(value, ProblemSet):
        if grader != "auto":
            raise UsageError(
                f"the problems bring a grader of their own, {value.grader.name}", fix="leave --grader out"
            )
        return value
    if isinstance(value, str | Path):
        return read_problems(value, grader=grader)
    if isinstance(value, list | tuple) and value and all(isinstance(one, Problem) for one in value):
        name = choose_grader(value) if grader == "auto" else grader
        return ProblemSet(name="problems", problems=tuple(value), grader=known_grader(name))
    records = None if isinstance(value, Mapping) else records_in(value, "problems")
    if records is None:
        raise UsageError(
            f"problems are of type {type(value).__name__}",
            fix="a file, a data frame, a list of {prompt, answer}, or a ProblemSet",
        )
    return problem_set(records.rows, name="problems", grader=grader)


def problems_called(value: Any, found: ProblemSet) -> str:
    """What a report calls the problems."""
    return str(value) if isinstance(value, str | Path) else found.name
