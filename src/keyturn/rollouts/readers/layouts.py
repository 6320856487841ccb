"""Layouts that need more than names of columns, recognised by content and turned into plain records.

- verifiers 0.4, ``traces.jsonl``: one record a task, in it one trace an agent, in it a tree of messages.
- verifiers 0.1 to 0.3: a rollout with an ``error`` has no completion and no reward of its own.
- lm-eval before 0.4.7: the filters of a task follow one another and no column says which is which.
- lm-eval's likelihoods: ``resps`` holds pairs of a log-likelihood and a truth value, and no text.
- draws inside a record, each a record of its own (``samples: [{output, score}, ...]``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from keyturn.rollouts.readers.columns import KNOWN
from keyturn.rollouts.readers.messages import said
from keyturn.rollouts.readers.records import Record

_NO_DRAWS = frozenset({*KNOWN["prompt"], "messages", "completion", "tools", "tool_calls", "traces"})
_BESIDE = tuple(name for purpose in ("success", "truncated") for name in KNOWN[purpose] if "." not in name)
"""Columns that may hold one entry a draw beside the list of draws."""
_FLAT = tuple(name for name in KNOWN["completion"] if "." not in name)


def plain_rows(rows: Sequence[Record]) -> Sequence[Record]:
    """Records in which names of columns are enough; most files pass as they are."""
    if any(_is_trace(row) for row in rows[:20]):
        rows = [inner for row in rows for inner in _traces(row)]
    if any("resps" in row and "doc_id" in row for row in rows[:20]):
        rows = _filters([_texts_only(row) for row in rows])
    if any("example_id" in row and "reward" in row and "error" in row for row in rows[:20]):
        rows = [{**row, "completion": None, "reward": None} if row.get("error") else row for row in rows]
    return _apart(rows)


def _is_trace(row: Record) -> bool:
    return isinstance(row.get("traces"), list) and isinstance(row.get("task"), Mapping)


def _traces(row: Record) -> list[Record]:
    """The traces of one episode, one an agent."""
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
    """The messages that lead to the last one that was sampled, in order."""
    place = next((place for place in range(len(nodes) - 1, -1, -1) if nodes[place].get("sampled")), None)
    path: list[Mapping[str, Any]] = []
    while isinstance(place, int) and 0 <= place < len(nodes) and len(path) <= len(nodes):
        path.append(nodes[place])
        place = nodes[place].get("parent")
    return path[::-1]


def _filters(rows: Sequence[Record]) -> Sequence[Record]:
    """Rows of lm-eval with a name for a filter that the file does not name."""
    if any("filter" in row for row in rows):
        return rows
    seen: Counter[str] = Counter()
    named: list[Record] = []
    for row in rows:
        key = repr((row.get("task"), row.get("doc_id"), row.get("doc_hash")))
        seen[key] += 1
        named.append({**row, "filter": f"unnamed-{seen[key]}"})
    return named if max(seen.values()) > 1 else rows


def _texts_only(row: Record) -> Record:
    """A row of lm-eval without its log-likelihoods."""
    resps = row.get("resps")
    pair = resps
    while isinstance(pair, list) and pair and isinstance(pair[0], list):
        pair = pair[0]
    if isinstance(pair, list) and len(pair) == 2 and str(pair[1]) in ("True", "False") and _is_number(pair[0]):
        return {**row, "resps": None}
    return row


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _apart(rows: Sequence[Record]) -> Sequence[Record]:
    """Draws that are records inside a record, each beside what all of them share."""
    name = next((key for row in rows[:20] for key in row if _are_draws(row, key)), "")
    if not name:
        return rows
    out: list[Record] = []
    for row in rows:
        shared = {key: value for key, value in row.items() if key != name}
        inner = row.get(name)
        draws = inner if isinstance(inner, list) else []
        beside = [key for key in _BESIDE if isinstance(row.get(key), list) and len(row[key]) == len(draws) > 1]
        for place, draw in enumerate(draws):
            own = draw if isinstance(draw, Mapping) else {}
            out.append({**shared, **{key: row[key][place] for key in beside}, **own})
        if not draws:
            out.append({**shared, name: None})
    return out


def _are_draws(row: Record, key: str) -> bool:
    value = row[key]
    if key in _NO_DRAWS or not isinstance(value, list) or not value:
        return False
    if any(said(row.get(other)) for other in _FLAT if other != key):
        return False
    draws = [one for one in value if one is not None]  # a draw that failed may be null
    return bool(draws) and all(
        isinstance(one, Mapping)
        and not {"role", "from", "type"} & set(one)
        and any(isinstance(one.get(name), str) for name in _FLAT)
        for one in draws
    )
