"""Hybrids of two policies, token by token: one writes, and at some places the other's token is put in.

A row is written by ``writer``; at a place that ``rule`` chooses the token is drawn from ``other`` instead.
Rules: ``first`` (the first token, which is the planning token of MODES), ``kl`` (``KL(other || writer)``
above a threshold), ``entropy`` (the writer's own entropy above a threshold, for which no other policy is
needed), ``random`` (a place in so many) and ``none``. Thresholds are quantiles over the writer's own texts
about validation problems, so that a share ``share`` of their places lies above; ``random`` has the share that
``kl`` really had. Both policies read the whole text of the hybrid.
Denominator: for shares, the tokens that were written. ``top five``: of the tokens put in, how many are among
the five likeliest of the writer there. Degenerate: where nothing is put in, that share is NaN.
Known bias: a token put in at a place of high KL is chosen by knowing the other policy there, which costs its
forward pass at every place; ``entropy`` and ``first`` cost it only where it speaks.
Source: Venhoff et al. 2025 (2510.07364), without vectors: its control "the teacher's token"; high-entropy
tokens: Wang et al. 2025 (2506.01939).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from keyturn.auditing.world_facts import given
from keyturn.core.lazy import torch
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.lab.session import Model, Session
from keyturn.policies.hooks import evaluating
from keyturn.policies.local import LocalPolicy
from keyturn.problems.contract import ProblemSet, answers, content_of

Rule: TypeAlias = Literal["none", "first", "kl", "entropy", "random"]
RULES: tuple[Rule, ...] = ("none", "first", "kl", "entropy", "random")
SHARE = 0.12
"""Share of the places of the writer's own texts above a threshold; the paper steers 12 % of tokens."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Hybrid:
    """What one rule gave.

    Args:
        success: of each problem, ``[problem]``.
        share: of the written tokens that were put in.
        top_five: share of these that are among the writer's five likeliest.
    """

    success: NDArray[np.float64]
    share: float
    top_five: float


def hybrid(
    session: Session,
    writer: Model,
    other: Model,
    rule: Rule,
    problems: ProblemSet,
    *,
    threshold: float = 0.0,
    label: str,
) -> Hybrid:
    """Write every problem once and grade it.

    Args:
        session: whose run folder keeps the texts.
        writer: writes.
        other: whose token is put in where the rule says.
        rule: see the module.
        problems: what is asked.
        threshold: of ``kl`` and ``entropy``, in nats; of ``random`` the probability of a place.
        label: names the random numbers.
    """
    fields = {
        "writer": writer.policy,
        "other": other.policy,
        "rule": rule,
        "threshold": threshold,
        "problems": content_of(problems.problems),
        "length": session.task.max_new_tokens,
        "label": label,
    }
    limit, streams = session.task.max_new_tokens, session.streams.child("hybrid", label)

    def compute() -> Mapping[str, NDArray]:
        return written(writer.policy, other.policy, rule, problems.problems, threshold, limit, streams)

    _, found = session.lab.arrays("hybrid", fields, compute, label=f"hybrid {rule}")
    lengths, put = found["length"], found["put"].astype(bool)
    texts = [[tuple(row[:length].tolist())] for row, length in zip(found["tokens"], lengths, strict=True)]
    rows = given(writer.policy, problems.problems, texts)
    grades = problems.grader.grade(problems.problems, rows)
    return Hybrid(
        success=answers(rule, problems.problems, rows, grades).rates(),
        share=float(put.sum() / lengths.sum()),
        top_five=float(found["five"][put].mean()) if put.any() else float("nan"),
    )


def threshold_of(session: Session, writer: Model, other: Model, rule: Rule, share: float = SHARE) -> float:
    """The threshold above which a share of the places of the writer's own texts about validation problems
    lies."""
    asked = session.task.validation.problems
    limit, streams = session.task.max_new_tokens, session.streams.child("hybrid", "threshold")
    fields = {
        "writer": writer.policy,
        "other": other.policy,
        "problems": content_of(asked),
        "length": limit,
    }

    def compute() -> Mapping[str, NDArray]:
        return written(writer.policy, other.policy, "none", asked, 0.0, limit, streams)

    _, found = session.lab.arrays("hybrid", {**fields, "rule": "threshold"}, compute, label="threshold")
    places = np.arange(found["tokens"].shape[1])[None] < found["length"][:, None]
    return float(np.quantile(found[rule][places], 1 - share))


def written(
    writer: LocalPolicy,
    other: LocalPolicy,
    rule: Rule,
    problems: tuple[Problem, ...],
    threshold: float,
    limit: int,
    streams: Streams,
) -> dict[str, NDArray]:
    """The texts of a rule: tokens, which were put in, which are in the writer's top five, KL and entropy.

    Returns:
        ``tokens``, ``put``, ``five``, ``kl``, ``entropy`` ``[problem, place]``; ``length`` ``[problem]``.
    """
    prompts = writer.prompts(problems)
    rows = [prompts.row(index) for index in range(len(problems))]
    shape = (len(rows), limit)
    out: dict[str, NDArray] = {name: np.zeros(shape) for name in ("five", "kl", "entropy", "put")}
    out["tokens"] = np.zeros(shape, dtype=np.int64)
    out["length"] = np.full(len(rows), limit)
    dice = streams.generator("tokens").random((*shape, 2))
    ends = list(writer.ends)
    for size in sorted({len(row) for row in rows}):
        own = np.array([index for index, row in enumerate(rows) if len(row) == size])
        text = torch.tensor(np.stack([rows[index] for index in own]), dtype=torch.long)
        going = np.ones(len(own), dtype=bool)
        for place in range(limit):
            mine, theirs = _next(writer, text), _next(other, text)
            kl = (theirs * (np.log(theirs + 1e-12) - np.log(mine + 1e-12))).sum(1)
            entropy = -(mine * np.log(mine + 1e-12)).sum(1)
            put = _chosen(rule, place, kl, entropy, threshold, dice[own, place, 1])
            law = np.where(put[:, None], theirs, mine)
            token = _drawn(law, dice[own, place, 0])
            five = np.argsort(-mine, axis=1, kind="stable")[:, :5]
            here = own[going]
            out["tokens"][here, place] = token[going]
            for name, found in (("kl", kl), ("entropy", entropy), ("put", put)):
                out[name][here, place] = found[going]
            out["five"][here, place] = (five == token[:, None]).any(1)[going]
            ended = going & np.isin(token, ends)
            out["length"][own[ended]] = place + 1
            going &= ~ended
            if not going.any():
                break
            text = torch.cat([text, torch.tensor(token)[:, None]], dim=1)
    return out


def _next(policy: LocalPolicy, text: torch.Tensor) -> NDArray[np.float64]:
    """The distribution of the next token, ``[row, token]``."""
    device = next(policy.model.parameters()).device
    with evaluating(policy.model), torch.no_grad():
        logits = policy.model(input_ids=text.to(device), use_cache=False).logits[:, -1]
    return logits.double().softmax(-1).cpu().numpy()


def _chosen(
    rule: Rule,
    place: int,
    kl: NDArray[np.float64],
    entropy: NDArray[np.float64],
    threshold: float,
    dice: NDArray[np.float64],
) -> NDArray[np.bool_]:
    if rule == "first":
        return np.full(len(kl), place == 0)
    if rule == "kl":
        return kl > threshold
    if rule == "entropy":
        return entropy > threshold
    return dice < threshold if rule == "random" else np.zeros(len(kl), dtype=bool)


def _drawn(law: NDArray[np.float64], dice: NDArray[np.float64]) -> NDArray[np.int64]:
    """A token of each row by inversion."""
    edges = law.cumsum(axis=1)
    return (edges < dice[:, None] * edges[:, -1:]).sum(axis=1).clip(max=law.shape[1] - 1)
