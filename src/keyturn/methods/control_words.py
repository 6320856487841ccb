"""Control words: the first word of a completion says how it answers; a grader that judges what follows it.

``CTL0 ANS 5`` answers at once and ``CTL1 k 3 6 ; ... ANS 5`` thinks first; both are judged by the answer alone,
since an answer at once has no trace to verify. A control word is one token of the policy's tokenizer, so that
the choice of a mode is one choice.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.core.lazy import torch, transformers
from keyturn.core.problem import Problem
from keyturn.lab.session import Session, loaded
from keyturn.lab.task import Task
from keyturn.policies.hooks import SoFar
from keyturn.policies.loading import save_policy
from keyturn.policies.local import LocalPolicy
from keyturn.problems.contract import Grader, ProblemSet
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.grades import Grades
from keyturn.training.loop import duplicate
from keyturn.training.record import MODEL


def spelled(policy: LocalPolicy, word: str) -> tuple[str, int]:
    """A control word as the tokenizer has it, bare or after a space, and its token.

    Raises:
        UsageError: the word is not one token, either way.
    """
    unknown = getattr(policy.tokenizer, "unk_token_id", None)
    for text in (word, f" {word}"):
        ids = list(policy.tokenizer(text, add_special_tokens=False)["input_ids"])  # type: ignore[arg-type]
        if len(ids) == 1 and ids[0] != unknown:
            return text, int(ids[0])
    raise UsageError(
        f"the control word {word!r} is not one token in this tokenizer",
        fix="name words that are: CTL0 and CTL1 in a world, ordinary words in a stock model",
    )


def control_ids(policy: LocalPolicy, words: Sequence[str]) -> tuple[int, ...]:
    """The token of each control word.

    Raises:
        UsageError: a word is not one token, or two words are the same token.
    """
    found = tuple(spelled(policy, word)[1] for word in words)
    if len(set(found)) < len(found):
        raise UsageError(f"two of the control words {', '.join(words)} are one token", fix="take two words")
    return found


def having_words(session: Session, words: Sequence[str]) -> Task:
    """The task with a base that has every word as one token; words that it lacks are added, a stage.

    A new word begins with the mean of all embeddings, so that it is nobody's synonym.
    """
    lacking = [word for word in words if not _has(session.task.base, word)]
    if not lacking:
        return session.task

    def work(folder: Path) -> None:
        policy = duplicate(session.task.base)
        model, tokenizer = policy.model, copy.deepcopy(policy.tokenizer)
        tokenizer.add_tokens([transformers.AddedToken(word, normalized=False) for word in lacking])
        embedding: Any = model.get_input_embeddings()
        before = int(embedding.weight.shape[0])
        most = 1 + max(int(tokenizer.convert_tokens_to_ids(word)) for word in lacking)  # type: ignore[arg-type]
        if most > before:
            with torch.random.fork_rng():
                model.resize_token_embeddings(most, mean_resizing=False)
            with torch.no_grad():
                tables: dict[int, Any] = {
                    id(t.weight): t.weight for t in (model.get_input_embeddings(), _head(model))
                }
                for weight in tables.values():
                    weight[before:] = weight[:before].mean(0)
        save_policy(folder / MODEL, model, tokenizer, session.task.world, None, overwrite=True)

    fields = {"policy": session.task.base, "words": lacking}
    stage, base = session.lab.stage(
        "words", fields, work, lambda f: loaded(session.task, f / MODEL), label="control words"
    )
    return replace(session.task, base=base, folder=str(stage.folder / MODEL))


def _head(model: Any) -> Any:
    return model.get_output_embeddings() or model.get_input_embeddings()


def _has(policy: LocalPolicy, word: str) -> bool:
    try:
        spelled(policy, word)
    except UsageError:
        return False
    return True


def first_tokens(completions: Completions) -> NDArray[np.int64]:
    """The first token of every completion, -1 of an empty one, int64 ``[row]``."""
    first = np.full(len(completions), -1, dtype=np.int64)
    some = completions.lengths > 0
    first[some] = completions.tokens[completions.offsets[:-1][some]]
    return first


def without_control(completions: Completions, ids: Sequence[int], words: Sequence[str]) -> Completions:
    """The completions without the control word that they begin with; those that begin otherwise as they are.

    Args:
        completions: with or without control words.
        ids: tokens of the words.
        words: the words, for the texts.
    """
    begins = np.isin(first_tokens(completions), np.array(ids))
    keep = np.ones(len(completions.tokens), dtype=bool)
    keep[completions.offsets[:-1][begins]] = False
    offsets = np.concatenate([[0], np.cumsum(completions.lengths - begins)]).astype(np.int64)
    texts = [_bare(text, words) if cut else text for text, cut in zip(completions.texts, begins, strict=True)]
    return replace(
        completions,
        tokens=completions.tokens[keep],
        offsets=offsets,
        logprobs=completions.logprobs[keep],
        entropies=completions.entropies[keep],
        texts=tuple(texts),
    )


def _bare(text: str, words: Sequence[str]) -> str:
    found = text.lstrip()
    for word in words:
        if found.startswith(word.strip()):
            return found.removeprefix(word.strip()).lstrip()
    return text


@dataclass(frozen=True)
class ControlGrader:
    """Judges the answer after a control word; implements :class:`keyturn.problems.contract.Grader`.

    Args:
        inner: judges what follows.
        ids: tokens of the control words; none: the answer alone is judged, whatever the text begins with.
        words: the words.
    """

    inner: Grader
    ids: Sequence[int]
    words: Sequence[str]

    @property
    def reads_traces(self) -> bool:
        """They are not looked at."""
        return False

    @property
    def name(self) -> str:
        """The inner grader's, and what is taken away before."""
        told = f" after {' or '.join(self.words)}" if self.words else ""
        return f"answers alone{told}; {self.inner.name}"

    def grade(self, problems: tuple[Problem, ...], completions: Completions) -> Grades:
        """Grade every row by its answer."""
        bare = without_control(completions, self.ids, self.words)
        found = self.inner.grade(problems, bare)
        return Grades(
            outcome=found.outcome,
            verified=np.full(len(completions), np.nan, dtype=np.float32),
            answer=found.answer,
            columns={name: column for name, column in found.columns.items() if name != "first_error"},
        )


def controlled(problems: ProblemSet, ids: Sequence[int], words: Sequence[str]) -> ProblemSet:
    """The same problems, judged by what follows a control word."""
    return replace(problems, grader=ControlGrader(problems.grader, ids, words))


@dataclass(frozen=True, kw_only=True)
class Force:
    """A logit processor: the first token of every completion is this one."""

    token: int
    """Its id."""

    @property
    def name(self) -> str:
        """Identity with its settings."""
        return f"begin with token {self.token}"

    def __call__(self, so_far: SoFar, logits: torch.Tensor) -> torch.Tensor:
        """Only that token at the first place, everything as it was afterwards."""
        if so_far.tokens.shape[1] > so_far.start:
            return logits
        only = torch.full_like(logits, -torch.inf)
        only[:, self.token] = 0.0
        return only
