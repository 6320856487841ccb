"""Pages of methods: what each is, which claims are about it, and how to run it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keyturn.methods.catalogue import catalogue
from keyturn.site import paths
from keyturn.site.page import Page
from keyturn.site.source import Source
from keyturn.site.views.claims import claim_row

HEADS = {
    "method": "Methods: several stages that train a model",
    "objective": "Objectives: from rewards to a loss",
    "reward": "Rewards: what a completion is paid for",
    "other": "Experiments, and what claims name besides",
}


def pages(source: Source) -> Iterator[Page]:
    """Every method, and their list."""
    named = dict.fromkeys(name for claim in source.claims.values() for name in claim.methods)
    rows = [
        *catalogue(),
        *({"name": n, "kind": "other", "summary": "", "source": "", "command": ""} for n in named),
    ]
    found: dict[str, dict[str, Any]] = {row["name"]: dict(row) for row in reversed(rows)}
    for row in found.values():
        row["claims"] = [
            claim_row(source, claim) for claim in source.claims.values() if row["name"] in claim.methods
        ]
        row["path"] = paths.method(row["name"])
    for row in sorted(found.values(), key=lambda r: r["name"]):
        yield Page(
            path=row["path"],
            template="method.html.jinja",
            title=row["name"],
            summary=row["summary"],
            under="methods/index.html",
            shows={"method": row, "head": HEADS[row["kind"]].partition(":")[0]},
        )
    groups = [
        {
            "head": head,
            "methods": [row for row in sorted(found.values(), key=lambda r: r["name"]) if row["kind"] == kind],
        }
        for kind, head in HEADS.items()
    ]
    yield Page(
        path="methods/index.html",
        template="methods.html.jinja",
        title="Methods",
        shows={"groups": [group for group in groups if group["methods"]]},
    )
