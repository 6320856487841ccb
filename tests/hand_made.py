"""Completions written by hand: token ids of each row, and what else is not as usual."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keyturn.core.problem import Problem
from keyturn.problems.world.vocabulary import EOS, decode, encode
from keyturn.rollouts.completions import Completions, Prompts, Stop, ragged


def completions(
    rows: Sequence[Sequence[int]],
    problem: Sequence[int] | None = None,
    *,
    prompts: Prompts | None = None,
    texts: Sequence[str] | None = None,
    stop: Sequence[int] | None = None,
) -> Completions:
    """Rows of one problem, without text, ended by themselves, where nothing else is said."""
    tokens, offsets = ragged(rows)
    return Completions(
        policy="hand",
        prompts=prompts or Prompts.build(["a"], ["a"], [[0]]),
        problem=np.array(problem or [0] * len(rows), dtype=np.int32),
        draw=np.arange(len(rows), dtype=np.int32),
        tokens=tokens,
        offsets=offsets,
        logprobs=np.zeros(len(tokens), dtype=np.float32),
        entropies=np.zeros(len(tokens), dtype=np.float32),
        stop=np.array([Stop.EOS] * len(rows) if stop is None else stop, dtype=np.uint8),
        texts=tuple(texts or ("",) * len(rows)),
    )


def in_world(
    asked: Sequence[Problem],
    rows: Sequence[tuple[int, Sequence[int]]],
    *,
    prompts: Sequence[Sequence[int]] | None = None,
    texts: Sequence[str] | None = None,
    stop: Sequence[int] | None = None,
) -> Completions:
    """Answers to problems of a world, each the number of its problem and its ids; cut where no EOS ends it."""
    given = prompts or [encode(problem.prompt) for problem in asked]
    ids = [list(row) for _, row in rows]
    return completions(
        ids,
        [problem for problem, _ in rows],
        prompts=Prompts.build([p.id for p in asked], [p.prompt for p in asked], given),
        texts=texts or [decode(row, skip_special=True) for row in ids],
        stop=[Stop.EOS if row[-1:] == [EOS] else Stop.LENGTH for row in ids] if stop is None else stop,
    )
