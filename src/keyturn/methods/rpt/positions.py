"""Positions of texts as problems: the text before a position is the prompt, the continuation is the answer.

Formula: the entropy of a position, of the ``top`` most likely next tokens, renormalised::

    H_t = - sum_{v in top} q_v log q_v        [token], nats

Denominator: none. Degenerate: a position whose continuation is no text is left out.
Source: Dong et al. 2025, Reinforcement Pre-Training (2506.08007), section 3.1. Departures: nats; texts are
problems with their answers or solutions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.core.lazy import torch
from keyturn.core.problem import Problem, Split
from keyturn.core.streams import Streams
from keyturn.lab.fit_rows import digest
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model
from keyturn.lab.task import Task
from keyturn.policies.fit import Row
from keyturn.policies.local import LocalPolicy
from keyturn.rewards.prefix import PrefixConfig, accepted, predicted, with_continuation
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.grades import Grades

BANDS: tuple[tuple[str, float], ...] = (("hard", 1.5), ("medium", 1.0), ("easy", 0.5), ("plain", 0.0))
"""Band of a position -> its minimum entropy under the proxy (2506.08007: 0.5, 1.0 and 1.5)."""


@dataclass(frozen=True)
class PrefixGrader:
    """Judges predictions of how a text goes on; implements :class:`keyturn.problems.contract.Grader`.

    Args:
        config: where a prediction stands.
    """

    config: PrefixConfig

    @property
    def name(self) -> str:
        """What it judges."""
        return "predictions of how a text goes on"

    @property
    def reads_traces(self) -> bool:
        """There are none."""
        return False

    def grade(self, problems: tuple[Problem, ...], completions: Completions) -> Grades:
        """1 if the prediction is rewarded, 0 if not, NaN if the continuation is unknown."""
        paid = [accepted(problem, strip=self.config.strip) for problem in problems]
        said = [predicted(text, self.config) for text in completions.texts]
        found = [
            float("nan") if paid[index] is None else float(word in (paid[index] or ()))
            for index, word in zip(completions.problem.tolist(), said, strict=True)
        ]
        outcome = np.array(found, dtype=np.float32)
        names = tuple(word.decode(errors="replace") for word in said)
        return Grades(outcome=outcome, verified=np.full(len(outcome), np.nan, np.float32), answer=names)


@dataclass(frozen=True, kw_only=True, eq=False)
class Texts:
    """Texts of a split, tokenised.

    Args:
        problems: that they are made of, ``[text]``.
        rows: tokens with weight 1 from the first position on, ``[text]``.
    """

    problems: tuple[Problem, ...]
    rows: tuple[Row, ...]


def texts_of(task: Task, asked: Sequence[Problem], streams: Streams, *, joint: str, first: int) -> Texts:
    """The problems that have an answer, each followed by it; a file's worked solution where there is one.

    Args:
        task: its base's tokenizer, and its expert where it has no world.
        asked: the problems.
        streams: of the expert.
        joint: between problem and ending.
        first: tokens of a text before its first position.
    """
    policy, kept, rows = task.base, [], []
    for problem in asked:
        ending = problem.answer
        if task.world is None and task.expert is not None:
            ending = task.expert(problem, streams) or ending
        whole = policy.tokenizer(problem.prompt + joint + ending, add_special_tokens=False)
        tokens = np.array(whole["input_ids"], dtype=np.int32)
        if ending and len(tokens) > first:
            weights = (np.arange(len(tokens)) >= first).astype(np.float32)
            kept.append(problem)
            rows.append(Row(tokens=tokens, weights=weights))
    if not rows:
        raise UsageError("there are no texts: no problem has an answer", fix="problems with answers")
    return Texts(problems=tuple(kept), rows=tuple(rows))


def top_entropies(logits: torch.Tensor, top: int) -> torch.Tensor:
    """Entropy of the ``top`` most likely tokens, renormalised, nats: ``[..., vocab]`` to ``[...]``."""
    best = logits.float().topk(min(top, logits.shape[-1]), dim=-1).values
    logs = best.log_softmax(-1)
    return -(logs.exp() * logs).sum(-1)


def entropies(lab: Lab, proxy: Model, texts: Texts, top: int) -> list[NDArray[np.float32]]:
    """The proxy's entropy of predicting each token of each text, ``[text][token]``; 0 for the first."""

    def compute() -> Mapping[str, NDArray[np.float32]]:
        found = [np.zeros(0, np.float32)]
        with torch.no_grad():
            for item in texts.rows:
                tokens = torch.from_numpy(item.tokens.astype(np.int64))[None].to(proxy.policy.model.device)
                scores = top_entropies(proxy.policy.model(input_ids=tokens).logits[0, :-1], top)
                found.append(np.concatenate([np.zeros(1, np.float32), scores.cpu().numpy()]))
        return {"entropy": np.concatenate(found)}

    fields = {"policy": proxy.policy, "rows": digest(texts.rows), "top": top}
    _, arrays = lab.arrays("entropy", fields, compute, label="entropy of positions")
    ends = np.cumsum([len(item.tokens) for item in texts.rows])[:-1]
    return list(np.split(arrays["entropy"], ends))


def pieces(policy: LocalPolicy, tokens: Sequence[int]) -> list[bytes]:
    """The bytes of each token within a text; a character that tokens share belongs to the last of them."""
    out: list[bytes] = []
    before = b""
    for end in range(1, len(tokens) + 1):
        text = str(policy.tokenizer.decode(list(tokens[:end]), skip_special_tokens=False))
        now = text.encode(errors="replace")
        if "\ufffd" not in text and now.startswith(before):
            out.append(now[len(before) :])
            before = now
    return out


def band_of(entropy: float) -> str:
    """Name of the band of an entropy in nats."""
    return next(name for name, least in BANDS if entropy >= least)


def positions(
    task: Task,
    texts: Texts,
    entropy: Sequence[NDArray[np.float32]],
    split: Split,
    *,
    first: int,
    horizon: int,
    instruction: str,
) -> list[Problem]:
    """Every position as a problem, whatever its entropy, in the order of the texts.

    Args:
        task: its base's tokenizer.
        texts: that are cut.
        entropy: of predicting each token, ``[text][token]``.
        split: of the problems.
        first: tokens of a text before its first position.
        horizon: tokens of the continuation that a prediction may cover.
        instruction: what follows the context in a prompt.
    """
    out = []
    for problem, item, heights in zip(texts.problems, texts.rows, entropy, strict=True):
        tokens = item.tokens.tolist()
        for at in range(first, len(tokens)):
            parts = pieces(task.base, tokens[at : at + horizon])
            if not parts or not parts[0].strip():
                continue
            context = str(task.base.tokenizer.decode(tokens[:at], skip_special_tokens=False))
            score = float(heights[at])
            asked = Problem(
                id=f"{problem.id}@{at}",
                prompt=context + instruction,
                answer=parts[0].decode().strip(),
                cell={"domain": "text", "band": band_of(score), "last": int(at == len(tokens) - 1)},
                split=split,
                facts={"entropy": round(score, 6), "token": tokens[at], "context": context},
            )
            out.append(with_continuation(asked, parts))
    return out


def filtered(asked: Sequence[Problem], threshold: float) -> list[Problem]:
    """Positions whose entropy reaches a threshold.

    Raises:
        UsageError: there is none.
    """
    kept = [problem for problem in asked if float(problem.facts["entropy"]) >= threshold]
    if not kept:
        raise UsageError(f"no position has an entropy of {threshold} nats", fix="a lower threshold")
    return kept
