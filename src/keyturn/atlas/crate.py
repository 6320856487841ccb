"""Records as an RO-Crate: a description of who ran what, as other tools read it.

Source: RO-Crate 1.3 (https://w3id.org/ro/crate/1.3), profile Process Run Crate 0.5.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from keyturn.atlas.evidence import Evidence

_CRATE = "https://w3id.org/ro/crate/1.3"
_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"


def crate(records: Sequence[Evidence], files: Mapping[str, bytes], whom: str = "") -> dict[str, Any]:
    """The metadata document.

    Args:
        records: in the order of the bundle.
        files: name -> content of every other file of the bundle.
        whom: who made it, in the maker's own words; empty where it does not say.
    """
    versions = sorted({one.environment.get("keyturn", "") for one in records} - {""})
    tools = {version: {"@id": f"https://pypi.org/project/keyturn/{version}/"} for version in versions}
    agent = {"@id": "#maker"} if whom else None
    latest = max((one.made for one in records), default="1980-01-01")
    root: dict[str, Any] = {
        "@id": "./",
        "@type": "Dataset",
        "conformsTo": {"@id": _PROFILE},
        "name": "Evidence of keyturn",
        "description": f"{len(records)} records of studies that test published claims on post-training",
        "datePublished": latest,
        "license": {"@id": "#license"},
        **({"creator": agent} if agent else {}),
        "hasPart": [{"@id": name} for name in files],
        "mentions": [{"@id": f"#run-{one.digest}"} for one in records],
    }
    return {
        "@context": f"{_CRATE}/context",
        "@graph": [
            {
                "@id": "ro-crate-metadata.json",
                "@type": "CreativeWork",
                "conformsTo": {"@id": _CRATE},
                "about": {"@id": "./"},
            },
            root,
            {
                "@id": _PROFILE,
                "@type": ["CreativeWork", "Profile"],
                "name": "Process Run Crate",
                "version": "0.5",
            },
            *([{**agent, "@type": "Person", "name": whom}] if agent else []),
            {"@id": "#license", "@type": "CreativeWork", "name": "as its maker states; nothing is stated here"},
            *(
                {
                    **tools[version],
                    "@type": "SoftwareApplication",
                    "name": "keyturn",
                    "url": f"https://pypi.org/project/keyturn/{version}/",
                    "version": version,
                    "softwareVersion": version,
                }
                for version in versions
            ),
            *(_file(name, data) for name, data in files.items()),
            *(_action(one, list(files), tools, agent) for one in records),
        ],
    }


def _file(name: str, data: bytes) -> dict[str, Any]:
    return {
        "@id": name,
        "@type": "File",
        "name": name,
        "description": _DESCRIBED.get(name.rpartition("/")[2], "draws to be graded again"),
        "encodingFormat": _format(name),
        "contentSize": str(len(data)),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


_DESCRIBED = {
    "records.jsonl": "the records, one a line, each with the hash of its text",
    "config.json": "what was run: claim, base, seed, profile, setting",
    "environment.json": "versions and machine",
    "contrasts.json": "differences between arms, over seeds",
    "rows.json": "every run of the study, a line each",
}


def _action(
    one: Evidence, files: Sequence[str], tools: dict[str, dict[str, str]], agent: dict[str, str] | None
) -> dict[str, Any]:
    own = [name for name in files if name.startswith((f"runs/{one.digest}/", f"draws/{one.digest}/"))]
    made_by = tools.get(one.environment.get("keyturn", ""))
    return {
        "@id": f"#run-{one.digest}",
        "@type": "CreateAction",
        "name": f"study of {one.claim}, seed {one.seed}, profile {one.profile}",
        "description": f"tests {one.claim} on the base {one.base_name}",
        **({"instrument": made_by} if made_by else {}),
        **({"agent": agent} if agent else {}),
        "actionStatus": {"@id": "http://schema.org/CompletedActionStatus"},
        **({"endTime": one.made} if one.made else {}),
        "object": [{"@id": name} for name in own if name.endswith("config.json")],
        "result": [{"@id": name} for name in ["records.jsonl", *own] if not name.endswith("config.json")],
    }


def _format(name: str) -> str:
    return {"jsonl": "application/jsonl", "json": "application/json"}.get(
        name.rpartition(".")[2], "application/vnd.apache.parquet"
    )
