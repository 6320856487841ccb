"""How the answers of a stage are cut into parts, each stored when it is finished.

An interruption costs the part that was being drawn. It holds at most a number of answers, and of a model whose
tokens are dear only as many as take some half a minute. The cut follows from the problems, the limits and the
size of the model, never from a clock: which rows are read together decides the last bits of their
log-probabilities, so a stage that goes on has to cut as it did when it began. Every row has a stream of its
own, so another cut draws the same tokens, but for a few that last bits decide where a vocabulary is large.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from keyturn.core.errors import NewerError, StorageError
from keyturn.core.problem import Problem
from keyturn.core.rundir import remove
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Limits, Policy
from keyturn.policies.which_engine import engine_of
from keyturn.rollouts.store import completion_parts, read_completions

ROWS_A_PART = 4096
"""Answers of a part, at most."""
WORK_A_PART = 2.4e12
"""Parameters times tokens of a part, about: some half a minute of two cores."""
SAMPLED = 2
"""Tokens of a prompt that a token of an answer is worth, because those come one after another."""
FASTER = 200
"""Cores of a processor that one accelerator stands for, about."""
FEWEST = {"cpu": 64}
"""Answers of a part at least, by kind of device: with fewer, reading the weights takes the time."""
FEWEST_ELSEWHERE = 256

_log = logging.getLogger("keyturn")


def rows_a_part(
    policy: Policy, problems: Sequence[Problem], draws: range, limits: Limits, *, most: int = ROWS_A_PART
) -> int:
    """Answers that one part of a stage holds.

    Args:
        policy: the policy that answers. One whose model is not in this process, or is computed by the native
            engine, gets ``most``.
        problems: all problems of the stage.
        draws: which draws of every problem are made.
        limits: most tokens of an answer; their work is what is planned.
        most: answers at most.
    """
    if not problems or not isinstance(policy, LocalPolicy) or engine_of(policy) != "torch":
        return most
    weights = sum(tensor.numel() for tensor in policy.model.parameters())
    prompt = len(policy.prompts(problems).tokens) / len(problems)
    tokens = prompt / max(1, len(draws)) + SAMPLED * limits.max_new_tokens
    return min(most, affordable(weights * tokens, policy.model.device.type))


def affordable(work: float, device: str) -> int:
    """Answers whose work makes a part.

    Args:
        work: parameters times tokens of one answer.
        device: kind of the device.
    """
    if device in FEWEST:
        return max(FEWEST[device], int(WORK_A_PART / work))
    return max(FEWEST_ELSEWHERE, int(FASTER * WORK_A_PART / work))


def parts_of(problems: Sequence[Problem], draws: range, rows: int) -> list[Sequence[Problem]]:
    """The problems of a stage in parts that are drawn and stored one by one.

    Args:
        problems: all of them.
        draws: which draws of every problem are made.
        rows: answers of a part, at most; a part holds one problem at least.
    """
    size = max(1, rows // max(1, len(draws)))
    return [problems[start : start + size] for start in range(0, len(problems), size)]


def drawn_before(folder: Path, parts: Sequence[Sequence[Problem]], draws: range) -> set[int]:
    """Numbers of the parts that are finished, readable, and hold the answers to the problems of that part.

    Files of further parts, left by a stage that was cut in another way (on another device), are removed.

    Args:
        folder: the stage's folder.
        parts: its parts.
        draws: which draws of every problem are made.
    """
    for number in completion_parts(folder):
        if number >= len(parts):
            for path in (*folder.glob(f"*-{number:05d}.*"), folder / f"{number}.done"):
                remove(path)
    return {
        number
        for number, part in enumerate(parts)
        if (folder / f"{number}.done").exists() and _holds(folder, number, part, draws)
    }


def rows_of(parts: Iterable[Sequence[Problem]], draws: range) -> int:
    """Answers in these parts."""
    return sum(len(part) for part in parts) * len(draws)


def _holds(folder: Path, number: int, part: Sequence[Problem], draws: range) -> bool:
    """Whether a part that was written before an interruption is intact, and is that part."""
    try:
        found = read_completions(folder, [number])
    except NewerError:
        raise
    except StorageError as damage:
        _log.warning("a finished part is damaged and is drawn again: %s", damage.what)
        return False
    return found.prompts.ids == tuple(one.id for one in part) and len(found) == len(part) * len(draws)
