"""Everything that trains, in one list: methods, objectives and rewards, each with a command to try."""

from __future__ import annotations

from keyturn.methods import METHODS
from keyturn.objectives import OBJECTIVES
from keyturn.rewards import REWARDS

_RL = "demo: the embedded run of its world; study: ten times as long; real: 200 steps of 32 x 8 draws"


def catalogue() -> list[dict[str, str]]:
    """Methods, objectives and rewards, each with ``name``, ``kind``, ``summary``, ``source``, ``cost`` and
    ``command``."""
    rows = []
    for name, method in METHODS.items():
        others = "".join(f" --{need} MODEL" for need in sorted(method.needs - {"world", "expert"}))
        words = f"{name} {method.domain}{others}"
        rows.append(_row(name, "method", method.summary, method.source, method.cost, words))
    for name, make in OBJECTIVES.items():
        one = make()
        rows.append(_row(name, "objective", one.summary, one.source, _RL, f"{name} chain"))
    for name, make in REWARDS.items():
        one = make()
        cost = "one pass over the completions' text"
        rows.append(_row(name, "reward", one.summary, one.source, cost, f"grpo chain --reward {name}"))
    return rows


def _row(name: str, kind: str, summary: str, source: str, cost: str, words: str) -> dict[str, str]:
    said = {"name": name, "kind": kind, "summary": summary, "source": source, "cost": cost}
    return {**said, "command": f"keyturn train {words} --dry-run"}
