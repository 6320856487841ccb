"""CoT-decoding: begin with each of the k likeliest first tokens, go on greedily, trust the surest answer.

Formula, for branch ``b`` whose answer stands at the tokens ``A_b``::

    Delta_b = (1 / |A_b|) sum_{t in A_b} [ p(x_t^1 | x_<t) - p(x_t^2 | x_<t) ]
    max:        the branch with the largest Delta_b
    sum:        the answer with the largest sum of Delta_b over the branches that give it
    majority:   the answer that most branches give (the control: no Delta at all)

where ``x^1`` and ``x^2`` are the two likeliest tokens at a place. A branch whose answer is not found in its
text has a Delta of 0; ``spans`` says in what share of branches it was found. Of equal ones the branch with the
likelier first token wins. The branches of a problem share its prompt. Everything is greedy, so all draws of a
problem are the same answer. With one branch nothing is forced.

Source: Wang and Zhou 2024 (2402.10200).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from keyturn.core.lazy import torch
from keyturn.elicitation.choosing import majority, positive, taken
from keyturn.elicitation.contract import Asked, Costs, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import costs_of
from keyturn.elicitation.first_tokens import FirstByRank
from keyturn.policies.continuing import Noted, go_on
from keyturn.policies.local import LocalPolicy
from keyturn.rollouts.completions import Completions

Choose: TypeAlias = Callable[[NDArray[np.float64], Sequence[str]], int]

_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:/\d+)?")


@dataclass(frozen=True, kw_only=True)
class BranchConfig:
    """Settings of CoT-decoding and its control."""

    k: int = 10
    """First tokens, a branch each; with 1 nothing is forced."""
    temperature: float = 0.0
    """Of everything behind the first token; 0 is greedy."""
    span: Literal["answer", "number", "appended"] = "answer"
    """Where the answer stands: the last place of what the grader extracts, the last number, or the last place
    of what the policy writes behind ``ask``."""
    ask: str = "\nSo the answer is:"
    """Put behind a branch where the span is ``appended``."""
    ask_tokens: int = 8
    """Tokens of what it writes there."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Branches:
    """The branches of all problems and draws, in groups of k.

    Args:
        drawn: the branches.
        answers: what each answers, ``""`` where that is unknown.
        delta: of each.
        found: whether its answer was found in its text.
        costs: of each.
    """

    drawn: Completions
    answers: tuple[str, ...]
    delta: NDArray[np.float64]
    found: NDArray[np.bool_]
    costs: Costs


def by_max(asked: Asked, config: BranchConfig, prepared: Prepared) -> Elicitation:
    """The surest branch."""
    return _chosen(asked, config, lambda delta, answers: int(delta.argmax()))


def by_sum(asked: Asked, config: BranchConfig, prepared: Prepared) -> Elicitation:
    """The answer with the largest sum of Delta."""
    return _chosen(asked, config, lambda delta, answers: majority(answers, delta.tolist())[0])


def by_majority(asked: Asked, config: BranchConfig, prepared: Prepared) -> Elicitation:
    """The answer that most branches give."""
    return _chosen(asked, config, lambda delta, answers: majority(answers)[0])


def _chosen(asked: Asked, config: BranchConfig, choose: Choose) -> Elicitation:
    found = branches(asked, config)
    size = config.k
    groups = range(0, len(found.drawn), size)
    chosen = [choose(found.delta[g : g + size], found.answers[g : g + size]) for g in groups]
    facts = {
        "spans": found.found.reshape(-1, size).mean(axis=1),
        "delta": found.delta.reshape(-1, size)[np.arange(len(chosen)), chosen],
    }
    return taken(asked, found.drawn, np.array(chosen, dtype=np.int64), found.costs.grouped(size), **facts)


def branches(asked: Asked, config: BranchConfig) -> Branches:
    """Draw the branches and say how sure each is of its answer."""
    positive(config.k, "--k")
    many = asked.many(config.k)
    noted = Noted(name="margin of the two likeliest tokens", of=margin)
    force = [FirstByRank(k=config.k)] if config.k > 1 else []
    sampling = replace(asked.model.sampling, temperature=config.temperature)
    # The margin is of the policy's own distribution, so it is taken before a token is forced.
    policy = asked.model.having(sampling=sampling, processors=[noted, *force])
    drawn = policy.draw(many.problems.problems, many.draws, many.streams, many.limits)
    margins = noted.rows(drawn.problem, drawn.draw, drawn.lengths)
    costs = costs_of(drawn)
    answers: Sequence[str]
    if config.span == "appended":
        answers, more = _appended(many, drawn, config)
        costs = costs + more
    elif config.span == "number":
        answers = [["", *_NUMBER.findall(text)][-1] for text in drawn.texts]
    else:
        answers = asked.answers(drawn)
    delta, found = np.zeros(len(drawn)), np.zeros(len(drawn), dtype=np.bool_)
    for row, answer in enumerate(answers):
        span = place_of(asked.model, drawn.row(row), drawn.texts[row], answer)
        if span is not None:
            delta[row], found[row] = float(margins[row][span].mean()), True
    return Branches(drawn=drawn, answers=tuple(answers), delta=delta, found=found, costs=costs)


def margin(logits: torch.Tensor) -> torch.Tensor:
    """Probability of the likeliest token minus that of the second, ``[row]``."""
    two = logits.softmax(-1).topk(2, dim=-1).values
    return two[:, 0] - two[:, 1]


def place_of(policy: LocalPolicy, tokens: NDArray[np.int32], text: str, answer: str) -> slice | None:
    """The tokens of the last place where an answer stands in a text; None where it does not.

    Args:
        policy: whose tokenizer it is.
        tokens: of the text, ``[token]``.
        text: what they say.
        answer: looked for as whole words; empty is nowhere.
    """
    found = list(re.finditer(rf"(?<![\w.]){re.escape(answer)}(?!\w)", text)) if answer else []
    if not found:
        return None
    start, stop = found[-1].span()

    def reaching(length: int) -> int:
        """The fewest tokens that say more than ``length`` characters."""
        low, high = 1, len(tokens)
        while low < high:
            middle = (low + high) // 2
            said = str(policy.tokenizer.decode(tokens[:middle].tolist(), skip_special_tokens=True))
            low, high = (low, middle) if len(said) > length else (middle + 1, high)
        return low

    return slice(reaching(start) - 1, reaching(stop - 1))


def _appended(asked: Asked, drawn: Completions, config: BranchConfig) -> tuple[list[str], Costs]:
    """What the policy writes behind the question for its answer, greedily: the first words of each branch."""
    positive(config.ask_tokens, "--ask-tokens")
    policy = asked.model.having(sampling=replace(asked.model.sampling, temperature=0.0))
    ids = list(policy.tokenizer(config.ask, add_special_tokens=False)["input_ids"])  # type: ignore[operator]
    begun = []
    for row in range(len(drawn)):
        own = drawn.row(row)
        own = own[:-1] if len(own) and own[-1] in policy.ends else own
        begun.append(np.concatenate([drawn.prompts.row(int(drawn.problem[row])), own, ids]).astype(np.int32))
    names = [("asked", row) for row in range(len(drawn))]
    found = go_on(policy, begun, names, [config.ask_tokens] * len(drawn), asked.streams)
    texts = [
        str(policy.tokenizer.decode(one.tolist(), skip_special_tokens=True)).strip() for one in found.tokens
    ]
    answers = [(text.splitlines() or [""])[0].strip(" .") for text in texts]
    written = np.array([len(one) for one in found.tokens], dtype=np.float64)
    read = np.array([len(one) for one in begun], dtype=np.float64)
    return answers, replace(Costs.nothing(len(drawn)), generated=written, passes=written.copy(), read=read)


MAX = ElicitationMethod(
    name="cot-decoding",
    summary="begin with each likely first token, go on greedily, give the branch that is surest of its answer",
    source="Wang and Zhou 2024, arXiv 2402.10200",
    cost="10 greedy answers that share their prompt",
    control=("cot-branches-vote", "forced-opener"),
    needs=frozenset({"model"}),
    config=BranchConfig(),
    neutral=BranchConfig(k=1, temperature=1.0),
    answer=by_max,
)
SUM = replace(
    MAX,
    name="cot-decoding-sum",
    summary="CoT-decoding that gives the answer of which its branches together are surest",
    answer=by_sum,
)
VOTE = replace(
    MAX,
    name="cot-branches-vote",
    summary="the branches of CoT-decoding, of which the most frequent answer is given",
    control=("cot-decoding-sum", "self-consistency"),
    controls=True,
    answer=by_majority,
)
