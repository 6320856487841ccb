"""Rollouts of verifiers: traces of version 0.4, and failed rollouts of versions 0.1 to 0.3.

- 0.4, ``traces.jsonl``: each record is a task with a trace for each agent, which is a tree of messages.
- 0.1 to 0.3: a rollout with an ``error`` has neither a completion nor a reward of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keyturn.rollouts.readers.layouts.contract import Layout
from keyturn.rollouts.readers.records import Record


def _all_traces(rows: Sequence[Record]) -> list[Record]:
    return [inner for row in rows for inner in _traces(row)]


def _is_trace(row: Record) -> bool:
    return isinstance(row.get("traces"), list) and isinstance(row.get("task"), Mapping)


def _traces(row: Record) -> list[Record]:
    """The traces of one episode, one for each agent."""
    if not _is_trace(row):
        return [row]
    task = row["task"]
    data = task.get("data") if isinstance(task.get("data"), Mapping) else {}
    asked = {
        "example_id": task.get("key", data.get("idx")),
        "prompt": data.get("prompt"),
        "answer": data.get("answer"),
        "task": task.get("type"),
    }
    known = {name: value for name, value in asked.items() if value is not None}
    traces = [trace for trace in row["traces"] if isinstance(trace, Mapping)]
    # An episode that failed before its first trace is a draw without an answer.
    return [{**known, **_trace(trace)} for trace in traces] or [{**known, "completion": None}]


def _trace(trace: Mapping[str, Any]) -> dict[str, Any]:
    nodes = [node for node in trace.get("nodes") or () if isinstance(node, Mapping)]
    failed = bool(trace.get("errors"))
    path = [] if failed else _branch(nodes)
    calls = [call for call in trace.get("calls") or () if isinstance(call, Mapping)]
    reasons = [call.get("finish_reason") for call in calls]
    agent = trace.get("agent")
    return {
        "completion": [node.get("message") for node in path if node.get("sampled")] or None,
        "rewards": None if failed else trace.get("rewards") or None,
        "is_truncated": bool(trace.get("is_truncated")) or "length" in reasons,
        "error": trace.get("errors") or None,
        **({"model": calls[0]["model"]} if calls and calls[0].get("model") else {}),
        **({"agent": agent.get("name")} if isinstance(agent, Mapping) and agent.get("name") else {}),
    }


def _branch(nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The messages that lead to the last sampled one, in order."""
    place = next((place for place in range(len(nodes) - 1, -1, -1) if nodes[place].get("sampled")), None)
    path: list[Mapping[str, Any]] = []
    while isinstance(place, int) and 0 <= place < len(nodes) and len(path) <= len(nodes):
        path.append(nodes[place])
        place = nodes[place].get("parent")
    return path[::-1]


def _may_have_failed(row: Record) -> bool:
    return "example_id" in row and "reward" in row and "error" in row


def _without_failures(rows: Sequence[Record]) -> list[Record]:
    return [{**row, "completion": None, "reward": None} if row.get("error") else row for row in rows]


TRACES = Layout(
    summary="verifiers 0.4, traces.jsonl: a task, in it a trace for each agent, in it a tree of messages",
    recognises=_is_trace,
    plain=_all_traces,
)
FAILED_ROLLOUTS = Layout(
    summary="verifiers 0.1 to 0.3: a rollout with an error has no completion and no reward of its own",
    recognises=_may_have_failed,
    plain=_without_failures,
)
