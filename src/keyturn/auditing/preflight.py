"""What can be known about a pair before anything is drawn: what must be refused, and what must be reported.

These checks are ours. A pair that fails them would otherwise fail after hours of sampling. Or worse, it would
get a verdict on prompts that a model cannot read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from keyturn.core.errors import InputError, NumericsError, UsageError
from keyturn.core.problem import Problem
from keyturn.measures.verdict import Caution
from keyturn.policies.context import context_length
from keyturn.policies.describe import prompt_format, stop_tokens
from keyturn.policies.local import LocalPolicy
from keyturn.policies.prompting import MOST_UNKNOWN, unknown_words, unreadable
from keyturn.policies.protocol import Limits, Policy


def check_pair(policies: Mapping[str, Policy], problems: Sequence[Problem]) -> None:
    """Refuse problems whose answers cannot be judged, and prompts that a policy cannot take or cannot read.

    Args:
        policies: by name, ``base`` and ``tuned``.
        problems: the problems that will be asked.

    Raises:
        InputError: a template refuses a prompt; a prompt fills the context, has tokens without an embedding, or
            has more unknown words than :data:`~keyturn.policies.prompting.MOST_UNKNOWN`; or a forward pass
            fails.
        NumericsError: a forward pass gives logits that are not numbers.
        UsageError: no problem has a gold answer.
    """
    if problems and not any(
        answer.strip() for problem in problems for answer in (problem.answer, *problem.also)
    ):
        raise UsageError(
            f"none of the {len(problems)} problems has an answer, so that nothing can be judged",
            fix="a column 'answer' in the file of problems",
        )
    for name, policy in policies.items():
        if not isinstance(policy, LocalPolicy):
            continue
        try:
            policy.prompts(problems)
            for problem in problems[:1]:
                policy.try_out(problem)
        except (InputError, NumericsError) as error:
            raise type(error)(f"{name}: {error.what}", fix=error.fix) from error
        share = policy.unknown_words(problems)
        if share > MOST_UNKNOWN:
            raise unreadable(share, f"the tokenizer of the {name} model")


def preflight_cautions(
    policies: Mapping[str, Policy], problems: Sequence[Problem], limits: Limits
) -> tuple[Caution, ...]:
    """How two policies differ apart from their weights, and what may impair their answers."""
    found = list(_between(policies))
    for name, policy in policies.items():
        if isinstance(policy, LocalPolicy):
            found += _of_one(name, policy, problems, limits)
    return tuple(Caution(kind=kind, text=text) for kind, text in found)


def _between(policies: Mapping[str, Policy]) -> list[tuple[str, str]]:
    """Prompts and end tokens that differ between the two policies."""
    found = []
    formats = {name: prompt_format(policy) for name, policy in policies.items()}
    if len(set(formats.values())) > 1:
        told = " and ".join(f"{name} {said}" for name, said in formats.items())
        found.append(("prompt format", f"the policies are asked differently: {told}"))
    local = {name: policy for name, policy in policies.items() if isinstance(policy, LocalPolicy)}
    ends = {name: stop_tokens(policy) for name, policy in local.items()}
    if len(set(ends.values())) > 1:
        told = "; ".join(f"{name} at {said}" for name, said in ends.items())
        found.append(("stop tokens", f"answers end differently: {told}"))
    return found


def _of_one(
    name: str, policy: LocalPolicy, problems: Sequence[Problem], limits: Limits
) -> list[tuple[str, str]]:
    found = []
    if policy.turn.unknown:
        what = f"where a turn of the {name} model ends is not known ({policy.turn.unknown}): answers may run on"
        found.append(("turn end", what))
    with_roles = sum(_own_roles(problem) for problem in problems)
    if with_roles and not policy.chat:
        what = f"{with_roles} of {len(problems)} prompts have roles, and the {name} model is asked without a "
        found.append(("roles", what + "chat template: their texts are joined by line breaks"))
    share = policy.unknown_words(problems)
    if share > 0:
        what = f"{share_of(share)} of the words of the prompts are unknown to the tokenizer of the {name} model"
        found.append(("unknown words", what))
    golds = [gold for problem in problems for gold in problem.golds[:1]]
    unsayable = sum(unknown_words(policy.tokenizer, [gold]) > 0 for gold in golds)
    if unsayable:
        what = f"{unsayable} of {len(golds)} gold answers hold words that the {name} model cannot write"
        found.append(("unknown words", what))
    context = context_length(policy.model)
    if context is not None:
        room = context - np.diff(policy.prompts(problems).offsets)
        short = int((room < limits.max_new_tokens).sum())
        if short:
            what = (
                f"{short} of {len(problems)} prompts leave the {name} model fewer than {limits.max_new_tokens} "
            )
            found.append(("context", what + f"tokens to answer in (the least {int(room.min())})"))
    return found


def _own_roles(problem: Problem) -> bool:
    """Whether a problem came with roles, apart from the turns that worked examples become in a chat."""
    shown = 2 * int(problem.facts.get("examples", 0))
    return len(problem.messages) > shown + 1 or (bool(problem.messages) and not shown)


def share_of(share: float) -> str:
    """A share in words. A share above 0 is never shown as 0."""
    return "0%" if share == 0 else f"{share:.1%}" if share >= 0.001 else "under 0.1%"
