"""Records as an RO-Crate: a description of who ran what, as other tools read it.

Source: RO-Crate 1.1 (https://w3id.org/ro/crate/1.1), profile Process Run Crate 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keyturn.atlas.evidence import Evidence

_CRATE = "https://w3id.org/ro/crate/1.1"
_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"


def crate(records: Sequence[Evidence], files: Sequence[str]) -> dict[str, Any]:
    """The metadata document.

    Args:
        records: in the order of the bundle.
        files: every other file of the bundle.
    """
    versions = sorted({one.environment.get("keyturn", "") for one in records} - {""})
    tools = {version: {"@id": f"https://pypi.org/project/keyturn/{version}/"} for version in versions}
    latest = max((one.made for one in records), default="1980-01-01")
    root: dict[str, Any] = {
        "@id": "./",
        "@type": "Dataset",
        "conformsTo": {"@id": _PROFILE},
        "name": "Evidence of keyturn",
        "description": f"{len(records)} records of studies that test published claims on post-training",
        "datePublished": latest,
        "license": {"@id": "#license"},
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
            {"@id": _PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
            {"@id": "#license", "@type": "CreativeWork", "name": "as its maker states; nothing is stated here"},
            *(
                {
                    **tools[version],
                    "@type": "SoftwareApplication",
                    "name": "keyturn",
                    "softwareVersion": version,
                }
                for version in versions
            ),
            *({"@id": name, "@type": "File", "encodingFormat": _format(name), "name": name} for name in files),
            *(_action(one, files, tools) for one in records),
        ],
    }


def _action(one: Evidence, files: Sequence[str], tools: dict[str, dict[str, str]]) -> dict[str, Any]:
    own = [name for name in files if name.startswith((f"runs/{one.digest}/", f"draws/{one.digest}/"))]
    made_by = tools.get(one.environment.get("keyturn", ""))
    return {
        "@id": f"#run-{one.digest}",
        "@type": "CreateAction",
        "name": f"study of {one.claim}, seed {one.seed}, profile {one.profile}",
        **({"instrument": made_by} if made_by else {}),
        **({"endTime": one.made} if one.made else {}),
        "object": [{"@id": name} for name in own if name.endswith("config.json")],
        "result": [{"@id": name} for name in ["records.jsonl", *own] if not name.endswith("config.json")],
    }


def _format(name: str) -> str:
    return {"jsonl": "application/jsonl", "json": "application/json"}.get(
        name.rpartition(".")[2], "application/vnd.apache.parquet"
    )
